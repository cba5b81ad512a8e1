"""What a file records of its network, compared with the flags: files in the published layouts, and our own."""

import numpy as np
import pytest
from support import key_lists as lists

from utils.options import train as train_options
from utils.weights import any_file, names, network

OURS = {"model": "ccnet_r18", "num_classes": 9, "recurrence": 1, "model_options": {}, "normalisation": {}}


def read(keys):
    """As utils.weights reads a file with these keys: -> (arrays, meta). The values do not matter."""
    tree = {key: np.broadcast_to(np.float32(1), shape) for key, shape in keys.items() if "tracked" not in key}
    arrays, notes = names.to_ours(tree, names.layout_of(tree))
    return arrays, {**any_file.describe(arrays, notes), "provenance": notes}


def train(line, keys=None, meta=None):
    import train as entry

    flags = train_options.network_options(vars(entry.parse_args(line.split())))
    arrays, meta = read(keys) if keys else ((), meta)
    settings, lines = network.resolve(flags, "f.pth" if meta else "", arrays, meta, training=True)
    return settings, lines, network.summary(settings, flags, meta or {})


def ours(keys):
    """The arrays of a checkpoint of ours whose network has these keys."""
    return read(keys)[0]


PUBLISHED = [  # keys of a released file, what a run without flags builds from it
    (lists.torchvision(lists.R50), "ccnet_r50", {"stem": "v1"}),
    (lists.mit(), "ccnet", {"stem": "deep"}),
    (lists.mmseg(lists.R101), "ccnet_mmseg_r101", {"stem": "v1c", "align_corners": False}),
    ({k: v for k, v in lists.mmseg(lists.R50).items() if "head" not in k}, "ccnet_mmseg_r50", {"stem": "v1c"}),
    (lists.serge(), "ccnet", {"stem": "deep", "activation": "relu"}),
    (lists.official(), "ccnet", {"stem": "deep"}),
    (lists.van("van_small"), "van", {"van_size": "van_small"}),
]


@pytest.mark.parametrize("keys, model, options", PUBLISHED, ids=range(len(PUBLISHED)))
def test_training_builds_the_network_of_the_file_without_a_flag(keys, model, options):
    settings, lines, taken = train("", keys)
    assert (settings["model"], settings["options"], settings["recurrence"]) == (model, options, 2)
    assert all(f"{name.replace('_', ' ')} {value}" in taken for name, value in {"model": model, **options}.items())
    assert "input " in taken and not [line for line in lines if "recurrence" not in line]


@pytest.mark.parametrize(
    "line, keys, words",
    [
        ("--stem deep", lists.torchvision(lists.R50), "--stem deep contradicts f.pth, which has stem v1"),
        ("--stem v1", lists.official(), "--stem v1 contradicts f.pth, which has stem deep"),
        ("--model ccnet", lists.torchvision(lists.R50), "--model ccnet contradicts f.pth, which has model ccnet_r50"),
        ("--model ccnet_mmseg_r101", lists.official(), "which has model ccnet; leave --model out"),
        ("--model van", lists.mit(), "--model van contradicts"),
        (
            "--van-size van_base",
            lists.van("van_small"),
            "--van-size van_base contradicts f.pth, which has van size",
        ),
        ("--van-size van_base", lists.mit(), "--van-size van_base contradicts f.pth, which is ccnet; leave --van-size"),
        ("--output-stride 8", lists.mit(), "--output-stride 8 contradicts f.pth, which is ccnet"),
    ],
)
def test_a_flag_that_contradicts_the_file_is_one_error(line, keys, words):
    with pytest.raises(ValueError, match=words):
        train(line, keys)


@pytest.mark.parametrize("line", ["--model ccnet_r50", "--model ccnet_mmseg_r50", "--stem v1"])
def test_a_backbone_starts_every_network_that_has_it(line):
    settings, _, taken = train(line, lists.torchvision(lists.R50))
    assert settings["options"]["stem"] == "v1" and settings["model"] in (line.split()[1], "ccnet_r50")
    assert ("stem" in taken) == ("--stem" not in line) and ("model" in taken) == ("--model" not in line)


def test_flags_that_agree_or_that_the_file_leaves_open_are_taken():
    settings, _, _ = train("--van-size b1 --output-stride 16 --plain-stride --drop-path 0.2", lists.van("van_small"))
    assert settings["options"] == {"van_size": "van_small", "output_stride": 16, "dilate": False, "drop_path": 0.2}
    assert train("--model ccnet_large --recurrence 3", lists.official())[0]["recurrence"] == 3
    assert not [line for line in train("--recurrence 3", lists.official())[1] if "recurrence" in line]
    assert "recurrence is not in the file: using 2" in train("", lists.official())[1]


def test_without_a_file_the_flags_and_the_defaults_decide():
    assert train("")[0] == {"model": "ccnet", "num_classes": None, "recurrence": 2, "options": {}}
    settings, lines, _ = train("--model van --van-size b0 --output-stride 8 --stem v1 --recurrence 0")
    assert (settings["options"], settings["recurrence"]) == ({"van_size": "b0", "output_stride": 8}, 0)
    assert lines == ["--stem v1 has no effect with --model van"]
    assert train("--drop-path 0.1")[1] == ["--drop-path 0.1 has no effect without --model van"]
    assert train("--model van --plain-stride")[1] == ["--plain-stride has no effect at output stride multi"]


def test_another_recurrence_is_allowed_in_training_and_an_error_in_evaluation():
    settings, lines, _ = train("--recurrence 2", meta=OURS)
    assert settings["recurrence"] == 2 and lines == ["--recurrence 2: f.pth was trained with 1"]
    assert train("", meta=OURS)[0]["recurrence"] == 1
    with pytest.raises(ValueError, match="--recurrence 2 contradicts f.npz, which has recurrence 1; leave"):
        network.resolve({"recurrence": 2}, "f.npz", (), OURS)


def van_of_ours(**options):
    keys = {**lists.van("van_tiny"), "head.conva.0.weight": (128, 256, 3, 3)}
    return {key: np.zeros(1) for key in keys}, {**OURS, "model": "van", "model_options": options}


def test_the_weights_fit_any_number_of_frames():
    official = ours(lists.official())
    clips = {**OURS, "model": "ccnet", "model_options": {"frames": 5}}
    for training in (False, True):
        settings, lines = network.resolve({}, "c.npz", official, clips, training)
        assert settings["options"]["frames"] == 5 and lines == []
        settings, lines = network.resolve({"frames": 1}, "c.npz", official, clips, training)
        assert "frames" not in settings["options"] and lines == ["--frames 1: c.npz was trained with 5"]
        settings, lines = network.resolve({"frames": 3}, "i.npz", official, {**clips, "model_options": {}}, training)
        assert settings["options"]["frames"] == 3 and lines == ["--frames 3: i.npz was trained with 1"]
    assert train("--frames 5", meta={})[0]["options"] == {"frames": 5}


def test_our_own_files_keep_stride_and_dilation():
    arrays, meta = van_of_ours(van_size="van_tiny", output_stride=16, dilate=False)
    settings, _ = network.resolve({}, "f.npz", arrays, meta, training=True)
    assert settings["options"] == {"van_size": "van_tiny", "output_stride": 16, "dilate": False}
    for flags in ({"output_stride": 8}, {"output_stride": "multi"}):
        with pytest.raises(ValueError, match="contradicts f.npz, which has output stride 16; leave --out"):
            network.resolve(flags, "f.npz", arrays, meta, training=True)
    arrays, meta = van_of_ours(output_stride=16)
    with pytest.raises(ValueError, match="--plain-stride contradicts"):
        network.resolve({"dilate": False}, "f.npz", arrays, meta, training=True)
    arrays["squeeze.0.weight"] = np.zeros(1)
    with pytest.raises(ValueError, match="which has output stride multi"):
        network.resolve({"output_stride": 8}, "f.npz", arrays, {**meta, "model_options": {}}, training=True)


def test_other_code_does_not_record_the_output_stride():
    arrays, meta = van_of_ours(output_stride=8, van_size="van_tiny")
    meta.update(provenance={}, assumed=["output_stride", "recurrence"])
    assert network.resolve({}, "f", arrays, meta)[1] == [
        "output stride is not in the file: using 8",
        "recurrence is not in the file: using 2",
    ]
    assert network.resolve({"output_stride": 32}, "f", arrays, meta, training=True)[0]["options"]["output_stride"] == 32
    with pytest.raises(ValueError, match="--output-stride multi contradicts f, which has output stride 8, 16 or 32"):
        network.resolve({"output_stride": "multi"}, "f", arrays, meta, training=True)


def test_evaluation_takes_from_the_file_what_no_flag_gives():
    meta = {**OURS, "recurrence": 2}
    for flags in ({}, {"model": None}, {"recurrence": 2, "num_classes": 9, "model": "ccnet_r18"}):
        settings, lines = network.resolve(flags, "f.npz", (), meta)
        assert settings == {"model": "ccnet_r18", "num_classes": 9, "recurrence": 2, "options": {}} and not lines
    for name, value in dict(model="ccnet", num_classes=19, recurrence=1).items():
        with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} {value} contradicts f.npz, .* leave"):
            network.resolve({name: value}, "f.npz", (), meta)
    arrays, van = van_of_ours(van_size="van_tiny")
    assert network.resolve({"van_size": "b0"}, "f", arrays, van)[0]["options"]["van_size"] == "van_tiny"


def test_the_shapes_of_other_networks_determine_nothing():
    assert any_file.shape_facts({}) == any_file.shape_facts({"conv1.weight": np.zeros((16, 3, 3, 3))}) == {}
    assert any_file.shape_facts({key: np.zeros(()) for key in lists.official()})["backbone"] == "r101"
