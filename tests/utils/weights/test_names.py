"""Key maps and conventions: every released family of checkpoints converts to ours and back, bit for bit."""

import json

import numpy as np
import pytest
from support import key_lists as lists
from support.families import FAMILIES, expected, filled, shapes, to_ours

from models import build_model
from utils.weights import any_file, names


@pytest.mark.parametrize("family", FAMILIES)
def test_the_key_lists_are_the_published_ones(family):
    keys, digest, _ = FAMILIES[family]
    assert lists.digest(keys) == digest


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_our_keys_and_shapes(family):
    keys, _, (model, options, classes) = FAMILIES[family]
    arrays, notes = to_ours(filled(keys))
    assert shapes(arrays) == expected(family)
    assert notes["source"] == family.split("_")[0]
    meta = any_file.describe(arrays, notes)
    assert (meta["model"], meta["model_options"], meta["num_classes"]) == (model, options, classes)
    assert (meta["recurrence"], meta["ignore_label"]) == (2, 255)
    rgb = family.startswith(("mmseg", "torchvision", "van"))
    assert meta["normalisation"]["channels"] == ("rgb" if rgb else "bgr")
    assert meta["normalisation"]["std"][0] == (58.395 if rgb else 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_bit_equal(family):
    before = filled(FAMILIES[family][0])
    arrays, notes = to_ours(before)
    notes = json.loads(json.dumps(notes))  # as a checkpoint keeps them
    after = names.to_theirs(arrays, notes)
    lost = {"fc.weight", "fc.bias"} if not family.startswith("van") else {"head.weight", "head.bias"}
    assert list(after) == [key for key in before if key not in lost]
    for key, array in after.items():
        assert array.dtype == before[key].dtype and array.shape == before[key].shape
        if array.ndim < 2:
            assert array.tobytes() == before[key].tobytes(), key
        else:
            assert array.flat[0] == before[key].flat[0] and array.strides == before[key].strides, key


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "van_b6"])  # which is slow to build
def test_the_described_network_has_these_keys_and_shapes(family):
    arrays, notes = to_ours(filled(FAMILIES[family][0]))
    meta = any_file.describe(arrays, notes)
    network = build_model(meta["model"], meta["num_classes"] or 19, meta["recurrence"], **meta["model_options"])
    result = names.compare(arrays, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    assert not result["unexpected"] and not result["wrong shape"]
    heads = {key.split(".")[0] for key in result["missing"]}
    assert heads == (
        set() if meta["num_classes"] else {"head", "dsn"} | ({"squeeze"} if notes["layout"] == "van" else set())
    )


def test_some_names_of_mmseg():
    arrays, notes = to_ours(filled(lists.mmseg(lists.R50)))
    before = filled(lists.mmseg(lists.R50))
    for theirs, name in (
        ("backbone.stem.0.weight", "conv1.weight"),
        ("backbone.stem.4.running_var", "bn2.running_var"),
        ("backbone.stem.7.bias", "bn3.bias"),
        ("backbone.layer3.5.bn2.weight", "layer3.5.bn2.weight"),
        ("decode_head.convs.0.conv.weight", "head.conva.0.weight"),
        ("decode_head.convs.1.bn.running_mean", "head.convb.1.running_mean"),
        ("decode_head.conv_cat.bn.bias", "head.bottleneck.1.bias"),
        ("decode_head.conv_seg.bias", "head.bottleneck.3.bias"),
        ("decode_head.cca.key_conv.bias", "head.cca.key_conv.bias"),
        ("auxiliary_head.convs.0.bn.weight", "dsn.1.weight"),
        ("auxiliary_head.conv_seg.bias", "dsn.3.bias"),
    ):
        assert arrays[name].flat[0] == before[theirs].flat[0]
    assert arrays["head.cca.gamma"].shape == (1,)
    assert arrays["head.cca.gamma"][0] == before["decode_head.cca.gamma.scale"]
    assert notes["changed"] == {"head.cca.gamma": "shape () -> (1,)"}
    assert len(notes["dropped"]) == 59 and all(key.endswith("num_batches_tracked") for key in notes["dropped"])


def test_official_scales_are_those_of_in_place_abn():
    before = filled(lists.official())
    arrays, notes = to_ours(before)
    norms = [key for key in before if key.endswith("weight") and before[key].ndim == 1]
    assert len(norms) == 110 == len(notes["changed"])
    for key, array in arrays.items():
        if key in norms:
            np.testing.assert_array_equal(array, np.abs(before[key]) + np.float32(1e-5))
            assert array.min() > 0
        else:
            assert array is before[key]
    plain, notes = to_ours(before, "plain")
    assert all(plain[key] is before[key] for key in before) and not notes["changed"]


def test_scales_are_restored_bit_for_bit_where_rounding_loses_them():
    bits = np.random.default_rng(0).integers(0, 1 << 31, 20_000, dtype=np.int64).astype(np.uint32).view(np.float32)
    edges = np.float32([0, -0.0, 1e-45, -1e-5, 1e-5, 0.5, 1, 0.125]).repeat(3)
    edges[1::3], edges[2::3] = np.nextafter(edges[1::3], np.float32(-9)), np.nextafter(edges[2::3], np.float32(9))
    near = np.nextafter(np.float32(1), np.float32(0), dtype=np.float32) - np.arange(200, dtype=np.float32) * 6e-8
    weight = np.concatenate([bits[np.isfinite(bits)], edges, near, -near])
    scale, lost = names.from_abn(weight)
    assert names.to_abn(scale, json.loads(json.dumps(lost))).tobytes() == weight.tobytes()
    common = np.random.default_rng(1).uniform(0.1, 1.5, 50_000).astype(np.float32)
    assert len(names.from_abn(common)[1]) < 20  # what has to be noted is little


def test_a_changed_scale_is_not_replaced_by_the_old_one():
    scale, lost = names.from_abn(np.float32([-0.3, 0.7]))
    assert list(lost) == [0]
    back = names.to_abn(np.float32([0.5, scale[1]]), lost)
    np.testing.assert_allclose(back, [0.49999, 0.7], rtol=1e-6)


def test_scales_that_the_official_code_cannot_represent_are_named():
    arrays = filled(lists.official())
    notes = names.notes_for("ccnet")
    with pytest.raises(ValueError, match="110 BatchNorm layers have scales below 1e-5 .*--source plain"):
        names.to_theirs(arrays, notes)
    assert names.to_theirs(arrays, names.notes_for("ccnet", "plain"))["bn1.weight"] is arrays["bn1.weight"]


def test_networks_trained_here_get_the_names_of_their_source():
    van = filled(expected("van_tiny"))
    assert list(names.to_theirs(van, names.notes_for("van"))) == list(van)
    mmseg = filled(expected("mmseg_r50"))
    keys = set(names.to_theirs(mmseg, names.notes_for("ccnet_mmseg_r50")))
    assert keys == {key for key in lists.mmseg(lists.R50) if not key.endswith("num_batches_tracked")}
    serge = names.to_theirs(filled(lists.official()), names.notes_for("ccnet", "serge"))
    assert {"head.bottleneck.4.bias", "dsn.4.weight"} < set(serge) and "dsn.3.bias" not in serge
    with pytest.raises(ValueError, match="mmseg has no network like ccnet; choose official, serge, plain"):
        names.notes_for("ccnet", "mmseg")


@pytest.mark.parametrize("wrapper", ["", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
def test_wrappers_and_prefixes_are_removed(wrapper, prefix):
    state = {f"{prefix}{key}": value for key, value in filled(lists.mit()).items()}
    tree = {"epoch": 3, wrapper: state} if wrapper else {**state, "epoch": 3}
    arrays, result, stripped, others = names.unwrap(tree)
    assert (result, stripped, others) == (wrapper, prefix, [] if wrapper else ["epoch"])
    assert list(arrays) == list(lists.mit())


def test_a_van_as_a_backbone_loses_its_other_head():
    state = {f"backbone.{key}": value for key, value in filled(lists.van("van_small")).items()}
    state.update({"decode_head.conv_seg.weight": np.zeros((150, 128, 1, 1), np.float32)})
    arrays, notes = to_ours(state)
    assert shapes(arrays) == expected("van_small")
    assert notes["dropped"]["decode_head.conv_seg.weight"] == "another head"
    assert notes["dropped"]["backbone.head.weight"] == "the ImageNet classifier"
    assert set(names.to_theirs(arrays, notes)) == set(state) - {
        "decode_head.conv_seg.weight",
        "backbone.head.weight",
        "backbone.head.bias",
    }


def test_jittor_ports_keep_their_scales_and_report_what_differs():
    state = {key: value for key, value in filled(lists.mmseg(lists.R101, 150)).items() if not key.endswith("tracked")}
    state.update({"backbone.conv1.weight": np.zeros((64, 3, 7, 7)), "backbone.bn1.weight": np.zeros(64)})
    arrays, notes = to_ours(state, "jittor")
    assert arrays["bn1.weight"] is state["backbone.stem.1.weight"]
    assert sorted(notes["dropped"]) == ["backbone.bn1.weight", "backbone.conv1.weight"]
    meta = any_file.describe(arrays, notes)
    assert meta["num_classes"] == 150 and meta["model_options"]["dilations"] == [2, 8]
    assert any("layer4 with dilation 8" in remark for remark in meta["remarks"])
    del state["backbone.conv1.weight"], state["backbone.bn1.weight"]  # another port of mmsegmentation
    assert "dilations" not in any_file.describe(*to_ours(state, "jittor"))["model_options"]

    seed = filled(lists.official((3, 4, 12, 3)))
    arrays, notes = to_ours(seed, "jittor")
    assert arrays["bn1.weight"] is seed["bn1.weight"]
    meta = any_file.describe(arrays, notes)
    assert "blocks 3, 4, 12, 3 in its stages" in meta["remarks"][0]
    assert any("no activation" in text for text in meta["remarks"])
    options = {"blocks": [3, 4, 12, 3], "activation": "none", "whole_softmax": True}
    assert meta["model_options"] == options and meta["protocol"]["window"] == [512, 512]
    missing = names.compare(arrays, lists.official())["missing"]
    assert len(missing) == 11 * 15 and all(key.startswith("layer3.") for key in missing)


def test_other_dtypes_become_float32():
    arrays = {key: value.astype("f2") for key, value in filled(lists.mit()).items()}
    result, notes = to_ours(arrays)
    assert all(array.dtype == np.float32 for array in result.values())
    assert set(notes["changed"].values()) == {"float16 -> float32"} and len(notes["changed"]) == 530


def test_what_cannot_be_converted_is_reported():
    one = np.zeros(1, np.float32)
    for tree, words in (
        ([one], "holds a list; expected a dict"),
        ({"epoch": 1}, "no tensors in it, only epoch"),
        ({"a\nb": one}, "names of parameters"),
        ({1: one}, "names of parameters"),
        ({"a" * 300: one}, "names of parameters"),
    ):
        with pytest.raises(ValueError, match=words):
            names.unwrap(tree)
    with pytest.raises(ValueError, match=r"its keys, a .., match no known source \(official, serge"):
        names.layout_of({"a": one})
    with pytest.raises(ValueError, match="keys are those of serge .*, not of mmseg"):
        to_ours(filled(lists.serge()), "mmseg")
    with pytest.raises(ValueError, match="two of its keys become dsn.3.weight"):
        to_ours({**filled(lists.serge()), "dsn.3.weight": one})
    with pytest.raises(ValueError, match="36 blocks in layer3; ResNet-18, 50 and 101"):
        any_file.describe(*to_ours(filled(lists.official((3, 8, 36, 3)))))


def test_the_comparison_lists_every_mismatch():
    arrays = {"a": np.zeros(2), "b": np.zeros((2, 1)), "x": np.zeros(1)}
    assert names.compare(arrays, {"a": (2,), "b": (2,), "c": (1,)}) == {
        "matched": ["a"],
        "missing": ["c"],
        "unexpected": ["x"],
        "wrong shape": ["b"],
    }


def test_odd_shapes_and_types_end_in_an_error_or_in_the_comparison():
    good = filled(lists.serge())
    for odd in (np.ones(()), np.ones((1, 2, 3)), np.full((), np.inf), np.ones(2, bool)):
        assert shapes(to_ours({key: np.asarray(odd, "f4") for key in filled(lists.official())})[0])
        arrays, _ = to_ours({**good, "bn1.weight": odd, "bn1.num_batches_tracked": odd})
        assert names.compare(arrays, lists.official())["wrong shape"] == ["bn1.weight"]
    with pytest.raises(ValueError, match="bn1.weight has complex numbers"):
        to_ours({**good, "bn1.weight": np.ones(64, "c8")})
    with pytest.raises(ValueError, match="is a scalar"):
        any_file.describe(*to_ours({**good, "head.bottleneck.4.weight": np.ones(())}))


def test_the_report_folds_runs_of_blocks():
    keys = [f"layer3.{n}.bn1.weight" for n in range(3)] + ["layer3.4.bn2.bias", "bn1.bias", "layer1.0.a", "layer1.2.a"]
    folded = ["layer3.{0..2}.bn1.weight", "layer3.4.bn2.bias", "bn1.bias", "layer1.0.a", "layer1.2.a"]
    assert list(names.folded(keys)) == folded
    far = ["a.1.b", "a.9999.b", "a." + "9" * 100 + ".b"]  # not a list of all that lies between
    assert list(names.folded(far)) == far
