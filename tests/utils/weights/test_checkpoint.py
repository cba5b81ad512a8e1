import jittor as jt
import numpy as np
import pytest

from models.cca import CrissCrossAttention
from utils.weights import checkpoint


def small(width=16):
    return CrissCrossAttention(width)


def test_round_trip_is_exact_and_leaves_no_temporary_file(tmp_path):
    model, path = small(), tmp_path / "a.npz"
    checkpoint.save(path, model, {"step": 7, "normalisation": {"channels": "bgr"}})
    arrays, meta = checkpoint.load(path)
    other = small()
    checkpoint.load_weights(other, arrays)
    assert meta == {"step": 7, "normalisation": {"channels": "bgr"}}
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy())
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


def test_a_failed_save_keeps_the_old_file(tmp_path):
    model, path = small(), tmp_path / "a.npz"
    checkpoint.save(path, model, {"step": 1})
    with pytest.raises(TypeError):
        checkpoint.save(path, model, {"step": object()})
    assert checkpoint.load(path)[1] == {"step": 1}


def test_keys_that_do_not_fit_are_named_and_nothing_is_changed(tmp_path):
    model, path = small(), tmp_path / "a.npz"
    checkpoint.save(path, model, {})
    arrays, _ = checkpoint.load(path)
    before = {key: value.numpy().copy() for key, value in model.state_dict().items()}
    wrong = {**arrays, "extra.weight": np.zeros(1), "gamma": np.zeros((2,), np.float32)}
    wrong.pop("query_conv.bias")
    wrong["key_conv.bias"] = wrong["key_conv.bias"] + 1
    with pytest.raises(
        ValueError,
        match=r"1 missing: query_conv.bias; 1 unexpected: extra.weight; 1 of another shape: gamma \(2,\) for \(1,\)",
    ):
        checkpoint.load_weights(model, wrong, "a.npz")
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint .*gone.npz"):
        checkpoint.load(tmp_path / "gone.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="text.npz is not a checkpoint"):
        checkpoint.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz .*without '__meta__'"):
        checkpoint.load(tmp_path / "other.npz")
    checkpoint.save(tmp_path / "cut.npz", small(), {})
    data = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="cut.npz .*damaged"):
        checkpoint.load(tmp_path / "cut.npz")


def test_reading_executes_no_code_from_the_file(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "bomb.npz", a=np.array([Bomb()], dtype=object))
    with pytest.raises(ValueError, match="bomb.npz"):
        checkpoint.load(tmp_path / "bomb.npz")
    assert not (tmp_path / "ran").exists() and jt.flags.use_cuda == 0
