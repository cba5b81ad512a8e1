"""Weights from any supported file."""

import json
from pathlib import Path

import numpy as np
import pytest
from support import handmade as hand
from support import key_lists as lists
from support import rule_weights
from support.small_weights import SMALL, abn, backbone, random_network, same, save_official

from models import build_model
from utils.weights import any_file, checkpoint
from utils.weights.formats import pytorch, safetensors


@pytest.fixture(scope="module")
def network():
    return random_network()


@pytest.fixture(scope="module")
def official(network, tmp_path_factory):
    return save_official(tmp_path_factory.mktemp("official"), network[1])


def test_an_official_file_gives_what_evaluation_needs(official, network):
    arrays, meta = any_file.read(official)
    same(arrays, abn(network[1]))
    assert {key: meta[key] for key in SMALL} == SMALL and meta["normalisation"]["channels"] == "bgr"
    notes = meta["provenance"]
    assert (notes["file"], notes["source"], notes["wrapper"], notes["prefix"]) == (
        "CS_scenes_9.pth",
        "official",
        "model",
        "module.",
    )
    json.dumps(meta)
    same(any_file.read(official, "plain")[0], network[1])


def test_a_pytorch_file_is_opened_once(official, monkeypatch):
    opened, real = [], open

    def counted(path, *arguments, **options):
        opened.append(path)
        return real(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", counted)
    monkeypatch.setattr("io.open", counted)  # zipfile's
    any_file.take(official)
    assert opened == [str(official)]


def test_checkpoints_of_ours_are_read_as_they_are(network, tmp_path):
    model, arrays = network
    meta = {**SMALL, "normalisation": {"channels": "bgr"}, "step": 7}
    checkpoint.save(tmp_path / "a.npz", model, meta)
    got, read_meta = any_file.read(tmp_path / "a.npz")
    same(got, {key: value.numpy() for key, value in model.state_dict().items()})
    assert read_meta == meta
    any_file.write(tmp_path / "a.safetensors", arrays, meta)
    got, read_meta = any_file.read(tmp_path / "a.safetensors")
    same(got, arrays)
    assert read_meta == meta and any_file.read_with_origin(tmp_path / "a.safetensors")[2]


def test_the_checkpoint_module_reads_a_written_npz(network, tmp_path):
    model, arrays = network
    any_file.write(tmp_path / "a.npz", arrays, {"step": 1})
    got, meta = checkpoint.load(tmp_path / "a.npz")
    same(got, arrays)
    assert meta == {"step": 1} and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_safetensors_of_others_are_recognised_by_their_keys(network, tmp_path):
    safetensors.save(tmp_path / "a.safetensors", network[1], {"format": "pt"})
    arrays, meta = any_file.read(tmp_path / "a.safetensors")
    same(arrays, abn(network[1]))
    assert meta["provenance"]["format"] == "safetensors"
    assert not any_file.read_with_origin(tmp_path / "a.safetensors")[2]


def test_jittor_files_keep_their_scales(network, tmp_path):
    import jittor as jt

    jt.save(network[1], str(tmp_path / "a.pkl"))
    arrays, meta = any_file.read(tmp_path / "a.pkl")
    same(arrays, network[1])
    assert meta["provenance"]["source"] == "jittor" and any("no activation" in text for text in meta["remarks"])


def test_what_the_metadata_lacks_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.zeros(1), __meta__=np.array("{}"))
    with pytest.raises(ValueError, match="a.npz: its metadata lacks model, num_classes, recurrence"):
        any_file.read(tmp_path / "a.npz")
    safetensors.save(tmp_path / "a.safetensors", {"w": np.zeros(1)}, {"ccnet": "[" * 1000})
    with pytest.raises(ValueError, match="a.safetensors: JSON nested"):
        any_file.read(tmp_path / "a.safetensors")


def test_a_backbone_is_detected_from_its_missing_head(network, tmp_path):
    pytorch.save(tmp_path / "mit.pth", {**backbone(network[1]), "fc.bias": np.zeros(1000, np.float32)})
    got, meta = any_file.read(tmp_path / "mit.pth")
    same(got, backbone(network[1]))
    assert meta["num_classes"] is None and meta["model"] == "ccnet_r18"
    assert meta["provenance"]["source"] == "mit" and meta["provenance"]["dropped"] == {
        "fc.bias": "the ImageNet classifier"
    }


def test_training_starts_from_a_backbone_and_lists_what_is_random(network, tmp_path):
    _, arrays = network
    pytorch.save(tmp_path / "mit.pth", {**backbone(arrays), "fc.bias": np.zeros(1000, np.float32)})
    got, meta = any_file.read(tmp_path / "mit.pth")
    assert meta["num_classes"] is None and meta["model"] == "ccnet_r18"
    other = build_model("ccnet_r18", 9)
    before = other.head.conva[0].weight.numpy().copy()
    text = any_file.start_from(other, got, "mit.pth")
    assert f"{len(got)} arrays loaded; 32 keep their random start: head.conva.{{0..1}}.weight" in text
    np.testing.assert_array_equal(other.layer4[1].bn2.weight.numpy(), arrays["layer4.1.bn2.weight"])
    np.testing.assert_array_equal(other.head.conva[0].weight.numpy(), before)


def test_training_starts_from_other_classes(network):
    _, arrays = network
    other = build_model("ccnet_r18", 4)
    assert "4 keep their random start: head.bottleneck.3.weight" in any_file.start_from(other, arrays, "a.npz")
    np.testing.assert_array_equal(other.head.cca.query_conv.weight.numpy(), arrays["head.cca.query_conv.weight"])


def test_training_does_not_start_from_arrays_that_do_not_fit(network):
    model, arrays = network
    lacking = {key: value for key, value in arrays.items() if not key.startswith("layer3.")}
    for wrong in (lacking, {**arrays, "layer5.weight": np.zeros(1)}, {**arrays, "conv1.weight": np.zeros(1)}):
        with pytest.raises(ValueError, match="a.npz does not fit this model"):
            any_file.start_from(model, wrong, "a.npz")


def test_legacy_files_reach_the_network_from_any_address(tmp_path):
    """Storages are at unaligned addresses there; the network gets the right values nevertheless."""
    from models.cca import CrissCrossAttention

    layer, aligned = CrissCrossAttention(16), set()
    state = {key: value.numpy() for key, value in layer.state_dict().items()}
    values = {"key_conv.weight": np.arange(32, dtype="f4"), "query_conv.bias": np.float32([5, 6])}
    shapes = {"key_conv.weight": (2, 16, 1, 1), "query_conv.bias": (2,)}
    for shift in range(4):
        tensors = {key: hand.tensor(key, shape, legacy=True) for key, shape in shapes.items()}
        body = hand.mapping({**tensors, "shift": hand.text("x" * shift)})
        got = pytorch.load(hand.legacy_file(tmp_path / "a.pth", body, values))
        aligned.update(got[key].flags.aligned for key in values)
        checkpoint.load_weights(layer, {**state, **{key: got[key] for key in values}})
        assert layer.key_conv.weight.numpy().ravel().tolist() == list(range(32))
        assert layer.query_conv.bias.numpy().tolist() == [5, 6]
    assert aligned == {True, False}


def test_evaluation_takes_a_file_of_the_official_code(official, tmp_path, run_command):
    size = "--device cpu --scene-size 48,96 --eval-images 2 --batch-size 2".split()
    done = run_command("python", "evaluate.py", "--restore-from", official, "--save-dir", tmp_path, *size)
    assert done.returncode == 0, done.stderr
    assert "in-place ABN" in done.stdout and json.loads((tmp_path / "result.json").read_text())["images"] == 2
    pytorch.save(tmp_path / "mit.pth", backbone(any_file.read(official)[0]))
    done = run_command("python", "evaluate.py", "--restore-from", tmp_path / "mit.pth", *size)
    assert (
        done.returncode == 1 and "backbone without a classifier" in done.stderr and len(done.stderr.splitlines()) == 1
    )


def test_a_file_of_another_format_with_the_same_name_is_used_and_reported(network, tmp_path):
    meta = {**SMALL, "normalisation": {"channels": "bgr"}}
    any_file.write(tmp_path / "CS_scenes_9.npz", network[1], meta)
    missing = str(tmp_path / "CS_scenes_9.pth")
    path, arrays, read_meta = any_file.take(missing)
    assert path == str(tmp_path / "CS_scenes_9.npz") and read_meta["remarks"] == [
        f"{missing} does not exist: using {path}"
    ]
    same(arrays, network[1])
    assert any_file.take(path)[2]["remarks"] == []
    any_file.write(tmp_path / "CS_scenes_9.safetensors", network[1], meta)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*9.pth, but .*9.npz and .* exist: name one"):
        any_file.take(missing)
    with pytest.raises(FileNotFoundError, match="no checkpoint .*gone.pth"):
        any_file.take(tmp_path / "gone.pth")


def test_source_decides_how_scales_are_read_and_has_no_effect_on_our_own_files(official, network, tmp_path):
    same(any_file.take(official, "plain")[1], network[1])
    assert any("use --source plain" in line for line in any_file.take(official)[2]["remarks"])
    arrays, meta = any_file.read(official)
    any_file.write(tmp_path / "a.npz", arrays, meta)
    _, _, meta = any_file.take(tmp_path / "a.npz", "plain")
    assert meta["remarks"][0] == f"--source plain has no effect: {tmp_path / 'a.npz'} is a file of this project"


@pytest.mark.slow
def test_pytorch_opens_what_the_script_writes(tmp_path, run_command):
    """The complete file of the official network, 562 keys and 71 million numbers, in PyTorch's strict reader."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    keys = {key: shape for key, shape in lists.official().items()}
    before = {key: torch.from_numpy(rng.standard_normal(shape, dtype=np.float32)) for key, shape in keys.items()}
    torch.save(before, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    arrays, meta = any_file.read(tmp_path / "a.pth")
    assert meta["model"] == "ccnet" and sum(v.size for v in arrays.values()) > 71e6
    any_file.write(tmp_path / "b.pth", arrays, meta)
    after = torch.load(tmp_path / "b.pth", weights_only=True)
    assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("source", ["official", "plain"])
def test_an_official_file_gives_the_published_logits(source, tmp_path):
    """Weights made by rule, read from a file as in-place ABN or plain BatchNorm, give the logits that PyTorch gave."""
    import jittor as jt

    golden = np.load(Path(__file__).resolve().parents[2] / "golden" / "networks.npz")
    pytorch.save(tmp_path / "CS_scenes_60000.pth", rule_weights.ccnet(lists.official()))
    arrays, meta = any_file.read(tmp_path / "CS_scenes_60000.pth", "auto" if source == "official" else source)
    assert (meta["model"], meta["num_classes"], meta["provenance"]["source"]) == ("ccnet", 19, source)
    model = build_model(meta["model"], meta["num_classes"], meta["recurrence"], **meta["model_options"])
    checkpoint.load_weights(model, arrays)
    model.eval()
    with jt.no_grad():
        logits = model(jt.array(rule_weights.image("golden/in97x97", (1, 3, 97, 97))))[0].numpy().ravel()
    kept = logits[:: logits.size // 256]
    right, other = (golden[f"ccnet/{name}"] for name in ("logits_absgamma", "logits_f64"))
    if source == "plain":
        right, other = other, right
    assert np.abs(kept - right).max() < 2e-4 < 5e-3 < np.abs(kept - other).max()
