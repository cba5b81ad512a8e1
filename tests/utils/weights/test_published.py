"""What is known about published files beside their arrays: the protocol of the code that they come from."""

import pytest

from utils.weights import published


@pytest.mark.parametrize(
    "file, crop, dataset, known",
    [
        ("ccnet_r50-d8_512x1024_40k_cityscapes_20200616_142517-4123f401.pth", (512, 1024), "cityscapes", True),
        ("ccnet_r101-d8_769x769_80k_cityscapes_20200618_035014-b5a3f8f0.pth", (769, 769), "cityscapes", True),
        ("ccnet_r50-d8_512x512_80k_ade20k_20200615_014848-aa37f61e.pth", (512, 512), "ade20k", True),
        ("ccnet_r101-d8_512x512_20k_voc12aug_20200617_193212-0b8a1e3c.pth", (512, 512), "voc", True),
        ("ccnet_r50-d8_4xb2-40k_cityscapes-769x769.pth", (769, 769), "cityscapes", True),
        ("latest.pth", (512, 1024), "cityscapes", False),
    ],
)
def test_the_name_of_a_file_of_mmsegmentation_names_its_config(file, crop, dataset, known):
    assert published.mmseg_config(file, 19 if dataset == "cityscapes" else None) == (crop, dataset, known)


def test_protocols_of_the_config_families_of_mmsegmentation():
    large, remarks = published.protocol("mmseg", "mmseg", "ccnet_r50-d8_769x769_40k_cityscapes_2020.pth", 19)
    assert large["window"] == (769, 769) and large["align_corners"] and not remarks
    assert (large["short_side"], large["long_side"]) == (1025, 2049)
    for name, classes in (
        ("ccnet_r50-d8_512x512_80k_ade20k_1.pth", 150),
        ("ccnet_r50-d8_512x512_20k_voc12aug_1.pth", 21),
    ):
        small, _ = published.protocol("mmseg", "mmseg", name, classes)
        assert "window" not in small and not small["align_corners"]
        assert (small["short_side"], small["long_side"]) == (512, 2048)
    wide, remarks = published.protocol("mmseg", "mmseg", "latest.pth", 19)
    assert "window" not in wide and "short_side" not in wide and not wide["align_corners"]
    assert remarks == ["crop size is not in the name of the file: using 512x1024"]


def test_protocols_of_the_official_code_and_its_ports():
    for layout, source, window in (
        ("official", "official", (769, 769)),
        ("serge", "serge", (769, 769)),
        ("official", "jittor", (512, 512)),
    ):
        values, _ = published.protocol(layout, source, "a.pth", 19)
        assert values["window"] == window and values["dataset"] == "cityscapes"
    values, _ = published.protocol("mmseg", "jittor", "a.pkl", 150)
    assert values["flip"] and "window" not in values and values["align_corners"] is False
    assert published.protocol("van", "van", "a.pth", 7)[0] == {"dataset": None, "classes": 7}
