"""Files that benchmark servers accept. tests/test_evaluate_data.py runs the official Cityscapes tool on such files."""

import numpy as np
import pytest
from PIL import Image

from utils.evaluation import exports
from utils.evaluation.exports import Export


def test_cityscapes_files_hold_label_ids_under_the_right_names(tmp_path, rng):
    stem = "berlin_000000_000019"
    export = Export("cityscapes", str(tmp_path), "test", 19, [stem])
    prediction = rng.integers(0, 19, (20, 30)).astype(np.uint8)
    export.write(stem, prediction)
    files = list((tmp_path / "export_cityscapes").iterdir())
    assert [f.name for f in files] == ["berlin_000000_000019_pred_labelIds.png"]
    image = Image.open(files[0])
    values = np.asarray(image)
    assert image.mode == "L" and image.size == (30, 20) and values.dtype == np.uint8
    ids = dict(enumerate([7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]))
    np.testing.assert_array_equal(values, np.vectorize(ids.get)(prediction))


def test_ade20k_files_hold_1_to_150(tmp_path):
    prediction = np.arange(150, dtype=np.uint8).reshape(10, 15)
    Export("ade20k", str(tmp_path), "test", 150, ["ADE_test_00000001"]).write("ADE_test_00000001", prediction)
    values = np.asarray(Image.open(tmp_path / "export_ade20k" / "ADE_test_00000001.png"))
    np.testing.assert_array_equal(values, prediction + 1)
    other = np.arange(151, dtype=np.uint8)[None]  # the form in which class 0 is "other": as it is
    Export("ade20k", str(tmp_path / "b"), "test", 151, ["x"]).write("x", other)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b" / "export_ade20k" / "x.png")), other)


def test_voc_files_are_palette_images_where_the_server_looks(tmp_path):
    prediction = np.arange(21, dtype=np.uint8)[None].repeat(4, 0)
    Export("voc", str(tmp_path), "test", 21, ["2008_000006"]).write("2008_000006", prediction)
    image = Image.open(tmp_path / "results/VOC2012/Segmentation/comp6_test_cls/2008_000006.png")
    assert image.mode == "P"
    np.testing.assert_array_equal(np.asarray(image), prediction)
    assert image.convert("RGB").getpixel((15, 0)) == (192, 128, 128)  # person


def test_what_the_server_would_reject_is_rejected_at_once(tmp_path):
    with pytest.raises(ValueError, match="needs 19 classes; this checkpoint has 9"):
        Export("cityscapes", str(tmp_path), "test", 9, ["a"])
    with pytest.raises(ValueError, match="street_7 is not named CITY_SEQUENCE_FRAME"):
        Export("cityscapes", str(tmp_path), "test", 19, ["street_7"])
    with pytest.raises(ValueError, match="the same file name"):
        Export("cityscapes", str(tmp_path), "test", 19, ["bonn_000000_000019_a", "bonn_000000_000019_b"])
    export = Export("voc", str(tmp_path), "test", 21, ["a"])
    with pytest.raises(ValueError, match="class 21 is not one of 21"):
        export.write("a", np.uint8([[21]]))
    assert not list((tmp_path / "results/VOC2012/Segmentation/comp6_test_cls").iterdir())


def test_nothing_else_may_be_in_the_folder_but_a_second_run_may_write_it_again(tmp_path):
    for _ in range(2):
        export = Export("ade20k", str(tmp_path), "val", 150, ["a", "b"])
        export.write("a", np.zeros((2, 2), np.uint8))
    (tmp_path / "export_ade20k" / "colours.png").touch()
    with pytest.raises(ValueError, match=r"holds 1 other files \(colours.png\)"):
        Export("ade20k", str(tmp_path), "val", 150, ["a", "b"])


def test_label_images_keep_classes_and_show_colours(tmp_path):
    exports.save_label(np.uint8([[0, 1, 255]]), [(10, 20, 30), (40, 50, 60)], str(tmp_path / "a.png"))
    image = Image.open(tmp_path / "a.png")
    assert np.asarray(image).tolist() == [[0, 1, 255]]
    assert np.asarray(image.convert("RGB"))[0].tolist() == [[10, 20, 30], [40, 50, 60], [0, 0, 0]]
    exports.save_label(np.int32([[0, 300]]), [(1, 2, 3)], str(tmp_path / "b.png"))
    assert np.asarray(Image.open(tmp_path / "b.png")).tolist() == [[0, 300]]
