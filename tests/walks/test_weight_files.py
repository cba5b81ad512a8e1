"""A walk from each published weight file: training from a backbone, evaluation and prediction with a complete network,
conversion there and back. Only sizes are reduced (walks/places.py)."""

import numpy as np
import pytest
from walks.places import CUT, SCENES, check_run, evaluate, predict, python, walk

from utils.weights import any_file, names
from utils.weights.formats import pytorch

SMALL = [*CUT, "--input-size", "33", "--data-dir", SCENES["camvid"], "--snapshot-dir", "run"]
DROPPED = (
    "fc.",
    "head.weight",
    "head.bias",
    "backbone.head.",
    "backbone.conv1.",
    "backbone.bn1.",
    "decode_head.conv_seg",
)

V1 = "ccnet_r18 --stem v1"
BACKBONES = {  # file -> flags of train.py beside it, arrays that the network takes from it
    "resnet18-5c106cde.pth": (V1, 100),
    "resnet18-f37072fd.pth": (V1, 100),
    "resnet18.pkl": (V1, 100),
    "van_tiny_754.pth.tar": ("van --van-size van_tiny", 370),
    "van_tiny.pth": ("van --van-size van_tiny", 370),
    "van_b0.pth": ("van --van-size van_tiny", 370),
    "van_tiny.pkl": ("van --van-size van_tiny", 370),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_training_starts_from_a_backbone(place, weights, name):
    """resnet101-imagenet.pth, van_large.pth and resnet50_v1c are in test_recipe_walks.py."""
    flags, count = BACKBONES[name]
    done = walk(place, python("train.py", "--model", *flags.split(), "--restore-from", weights(name), *SMALL))
    assert f"{name}: {count} arrays loaded" in done.output
    check_run(place / "run", 2)


# torchvision's files without --stem v1: the 7x7 stem is detected from the file
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, model, count", [("resnet50-0676ba61.pth", "ccnet_r50", 265), ("resnet18.pkl", "ccnet_r18", 100)]
)
def test_the_stem_of_torchvision_is_recognised(place, weights, name, model, count):
    done = walk(place, python("train.py", "--model", model, "--restore-from", weights(name), *SMALL))
    assert f"{name}: {count} arrays loaded" in done.output
    check_run(place / "run", 2)


NOT_ALIGNED = {"align_corners": False}  # mmsegmentation, except crop 769
COMPLETE = {  # file -> dataset, classes
    "CS_scenes_60000.pth": ("cityscapes", 19),
    "CS_scenes_60000_serge.pth": ("cityscapes", 19),
    "ccnet_r50-d8_512x1024_40k_cityscapes_20200616_142517-4123f401.pth": ("cityscapes", 19),
    "train_ccnet_resnet_epoch80000.pkl": ("ade20k", 150),
    "CS_scenes_60000_model.pth": ("cityscapes", 19),
    "ours.npz": ("cityscapes", 19),
    "ours.safetensors": ("cityscapes", 19),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_network_evaluates_and_predicts(place, weights, name):
    data, classes = COMPLETE[name]
    evaluate(place, weights(name), SCENES[data], classes, "--input-size", "65")
    predict(place, weights(name), classes, "--input-size", "65")


PROTOCOLS = {  # file -> protocol of the code that it is of: window, short side, flip, align_corners, dataset
    "CS_scenes_60000_model.pth": ([769, 769], None, False, True, "cityscapes"),
    "ccnet_r50-d8_512x1024_40k_cityscapes_20200616_142517-4123f401.pth": (None, None, False, False, "cityscapes"),
    "train_ccnet_resnet_epoch80000.pkl": (None, None, True, False, "ade20k"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PROTOCOLS)
def test_without_flags_a_published_file_is_evaluated_as_by_its_own_code(place, weights, name):
    data, classes = COMPLETE[name]
    protocol = evaluate(place, weights(name), SCENES[data], classes)["settings"]["protocol"]
    got = [protocol[key] for key in ("window", "short_side", "flip", "align_corners")]
    assert (*got, protocol["labels"]["dataset"]) == PROTOCOLS[name]


@pytest.mark.slow
def test_training_starts_from_a_complete_network(place, weights):
    """ours.safetensors has 19 classes, CamVid 11: the classifiers keep their random start, the rest is loaded."""
    done = walk(
        place, python("train.py", "--model", "ccnet_r50", "--restore-from", weights("ours.safetensors"), *SMALL)
    )
    assert "4 keep their random start: head.bottleneck.3.weight, head.bottleneck.3.bias, dsn.3.weight" in done.output
    check_run(place / "run", 2)


CONVERTED = [*BACKBONES, *COMPLETE, "resnet101-imagenet.pth", "resnet50-0676ba61.pth", "resnet50_v1c-2cccc1ad.pth"]
CONVERTED = [name for name in [*CONVERTED, "van_large_839.pth.tar"] if not name.startswith("ours.")]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERTED)
def test_a_file_is_converted_there_and_back(place, weights, name):
    """Every array of the published file is restored bit for bit, except those that no network here has."""
    alone, source = name.startswith(("resnet", "van")), weights(name)
    done = walk(place, python("scripts/convert_weights.py", source, "ours.npz", *["--allow-missing"] * alone))
    assert "wrong shape" not in done.output and ("missing" in done.output) == alone
    ours = "ours.npz"
    if name in ("CS_scenes_60000.pth", "van_tiny_754.pth.tar"):
        walk(place, python("scripts/convert_weights.py", ours, "ours.safetensors"))
        ours = "ours.safetensors"
    walk(place, python("scripts/convert_weights.py", ours, "back.pth", "--to", "pytorch"))
    there, back = arrays_of(source), arrays_of(place / "back.pth")
    assert all(key.startswith(DROPPED) for key in set(there) - set(back)) and not set(back) - set(there)
    assert len(back) > 0.9 * len(there)
    for key, array in back.items():
        assert array.size == there[key].size and array.dtype == there[key].dtype, key
        np.testing.assert_array_equal(array.reshape(-1).view(np.uint8), there[key].reshape(-1).view(np.uint8), key)


def arrays_of(path):
    return names.unwrap(pytorch.load(str(path)))[0]


@pytest.mark.parametrize(
    "name, source, model, options",
    [
        ("ccnet_r101-d8_512x512_80k_ade20k_20200615_003848-aa2b3c3b.pth", "mmseg", "ccnet_mmseg_r101", NOT_ALIGNED),
        ("van_small_811.pth.tar", "van", "van", {"van_size": "van_small"}),
        ("van_base_828.pth.tar", "van", "van", {"van_size": "van_base"}),
        ("van_base-cub.pkl", "jittor", "van", {"van_size": "van_base"}),
        ("resnet.pkl", "jittor", "ccnet", {"stem": "v1"}),
    ],
)
def test_other_sizes_of_these_layouts_are_recognised(weights, name, source, model, options):
    _, meta = any_file.read(weights(name))
    assert (meta["provenance"]["source"], meta["model"], meta["model_options"]) == (source, model, options)
    assert meta["num_classes"] == (150 if "ade20k" in name else None)


def test_a_port_whose_backbone_is_not_a_resnet_is_evaluated_as_itself(place, weights):
    """tests/models/test_ports.py compares its numbers with those of the port."""
    name = "ccnet_R2_cityscape_60000.pkl"
    call = python("evaluate.py", "--restore-from", weights(name), "--data-dir", SCENES["cityscapes"])
    done = walk(place, [*call, "--input-size", "65", "--eval-images", "1", "--save-dir", "scores", "--device", "cpu"])
    assert "blocks 3, 4, 5, 3 in its stages: a Jittor port's, not a ResNet-50's" in done.output
    assert "no activation in the heads, and a softmax over the whole image" in done.output
    assert "protocol: sliding 65x65, overlap 1/3; " in done.output and "changed by flags: window)" in done.output


@pytest.mark.slow
def test_a_converted_file_gives_the_same_scores(place, weights):
    """Evaluation of the published file, with the prefix of DataParallel, and of its conversion."""
    source = weights("CS_scenes_60000_module.pth")
    walk(place, python("scripts/convert_weights.py", source, "ours.npz"))
    ours = evaluate(place, "ours.npz", SCENES["cityscapes"], 19, "--input-size", "65")
    theirs = evaluate(place, source, SCENES["cityscapes"], 19, "--input-size", "65")
    assert ours["iou"] == theirs["iou"] and ours["pixel_accuracy"] == theirs["pixel_accuracy"]
