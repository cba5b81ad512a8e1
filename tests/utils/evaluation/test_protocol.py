"""The protocol of a checkpoint: what it records, how flags change it, how it is printed."""

import json

import pytest

import evaluate
from utils.evaluation import protocol
from utils.options import evaluate as eval_options

META = {"num_classes": 19, "ignore_label": 255, "dataset": "cityscapes", "step": 9}


def settings(line, recorded=None, align_corners=True, **meta):
    """-> what inference_arguments gives for these flags and a checkpoint with this protocol."""
    args = evaluate.parse_args(["--restore-from", "a.npz", *line.split()])
    eval_options.check_inference(args)
    meta = {**META, **meta, **({"protocol": recorded} if recorded else {})}
    return eval_options.inference_arguments(args, meta, align_corners)


def test_a_record_is_what_json_gives_back():
    sliding = protocol.record((512, 512), (769, 769), dataset="cityscapes", classes=19)
    assert json.loads(json.dumps(sliding)) == sliding and sliding["overlap"] == 1 / 3
    scaled = protocol.record(short_side=512)
    assert (scaled["short_side"], scaled["long_side"], scaled["window"]) == (512, 2048, None)
    assert protocol.record(short_side=512, long_side=1000)["long_side"] == 1000
    assert protocol.record(long_side=1000)["long_side"] is None


def test_without_flags_the_recorded_protocol_applies():
    recorded = protocol.record((512, 512), (769, 769), 0.25, 512, flip=True, align_corners=False, classes=19)
    got, used, line = settings("", recorded, align_corners=False)
    assert used == recorded and got["tile"] == (769, 769) and got["flip"]
    assert (got["overlap"], got["short_side"], got["long_side"]) == (0.25, 512, 2048)
    assert line == (
        "protocol: sliding 769x769, overlap 0.25, short side 512 (long side at most 2048), mirrored; "
        "align_corners no; labels: unknown dataset, 19 classes, 255 ignored (recorded in the checkpoint)"
    )


def test_a_file_without_a_protocol_is_evaluated_on_whole_images():
    got, _, line = settings("")
    assert got["tile"] is None and not got["flip"] and got["short_side"] is None
    expected = (
        "protocol: whole images; align_corners yes; labels: cityscapes, 19 classes, 255 ignored (none is recorded)"
    )
    assert line == expected


@pytest.mark.parametrize(
    "flags, changed, names",
    [
        ("--whole", {"window": None}, "window"),
        ("--input-size 65", {"window": [65, 65]}, "window"),
        ("--short-side 0", {"short_side": None, "long_side": None}, "short side, long side"),
        ("--short-side 256", {"short_side": 256, "long_side": 1024}, "short side, long side"),
        ("--short-side 512 --long-side 999", {"long_side": 999}, "long side"),
        ("--long-side 999", {"long_side": 999}, "long side"),
        ("--overlap 0.5", {"overlap": 0.5}, "overlap"),
        ("--flip no", {"flip": False}, "flip"),
        ("--flip --whole no --input-size 769", {}, ""),
    ],
)
def test_a_flag_changes_its_part_and_is_named(flags, changed, names):
    recorded = protocol.record((512, 512), (769, 769), None, 512, flip=True)
    _, used, line = settings(flags, recorded)
    assert used == {**recorded, **changed}
    assert line.endswith(f"recorded in the checkpoint, changed by flags: {names})" if names else "in the checkpoint)")


def test_whole_no_slides_windows_of_the_crop_of_the_training():
    got, *_ = settings("--whole no", protocol.record((160, 224)))
    assert got["tile"] == (160, 224)
    with pytest.raises(ValueError, match="needs the size of the sliding windows"):
        settings("--whole no")


def test_flags_that_the_protocol_contradicts():
    sliding = protocol.record((65, 65), (65, 65))
    with pytest.raises(ValueError, match="this checkpoint slides windows: add --whole"):
        settings("--pad-multiple 32", sliding)
    assert settings("--pad-multiple 32 --whole", sliding)[0]["pad_multiple"] == 32
    with pytest.raises(ValueError, match="--overlap 0.5 is of sliding windows"):
        settings("--overlap 0.5 --whole", sliding)
    assert settings("--average logits", sliding)[0]["average"] == "logits"


def test_align_corners_is_that_of_the_network():
    _, used, line = settings("", protocol.record(align_corners=True), align_corners=False)
    assert used["align_corners"] is False and line.endswith("changed by flags: align corners)")


def test_clips_are_part_of_the_protocol():
    recorded, options = protocol.record(frames=5, frame_stride=2), {"model_options": {"frames": 5}}
    assert json.loads(json.dumps(recorded)) == recorded and protocol.clip(recorded) == {"frames": 5, "frame_stride": 2}
    assert protocol.clip(None) == protocol.clip(protocol.record()) == {"frames": 1, "frame_stride": 1}
    assert protocol.record(frames=1, frame_stride=None) == protocol.record()
    _, used, line = settings("", recorded, **options)
    assert used == recorded and "whole images, clips of 5 frames, stride 2; align_corners yes" in line
    _, used, line = settings("--frame-stride 30", recorded, **options)
    assert used == {**recorded, "frame_stride": 30} and line.endswith("changed by flags: frame stride)")
    _, used, line = settings("--frames 5", protocol.record(), **options)  # weights of the network for images
    assert protocol.clip(used) == {"frames": 5, "frame_stride": 1} and line.endswith("flags: frames)")
    _, used, line = settings("--frames 1", recorded)
    assert used == protocol.record() and line.endswith("changed by flags: frames, frame stride)")
    with pytest.raises(ValueError, match="--frame-stride 2 is of clips: add --frames"):
        settings("--frame-stride 2")


def test_a_protocol_of_a_published_file_is_called_that_of_its_code(monkeypatch):
    monkeypatch.delitem(META, "step")
    assert settings("", protocol.record())[2].endswith("(of the code that wrote the file)")
