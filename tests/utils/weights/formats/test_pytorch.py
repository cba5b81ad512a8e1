"""Files of PyTorch and Jittor, most of them written byte by byte (handmade.py); PyTorch is not needed."""

import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from support import handmade as hand

from utils.weights.formats import pytorch

NUMBERS = np.arange(24, dtype="<f4")


@pytest.fixture(params=["zip", "legacy"])
def write(request, tmp_path):
    """(body, storages) -> path of a file in either format; the tensors in the body depend on the format."""

    def file(items, storages):
        legacy = request.param == "legacy"
        body = hand.mapping({key: hand.tensor(**value, legacy=legacy) for key, value in items.items()})
        return (hand.legacy_file if legacy else hand.zip_file)(tmp_path / "a.pth", body, storages)

    return file


def test_a_tensor_has_its_shape_dtype_and_values(write):
    got = pytorch.load(write({"w": {"key": "0", "shape": (2, 3, 4)}}, {"0": NUMBERS}))
    assert list(got) == ["w"] and got["w"].dtype == np.float32
    np.testing.assert_array_equal(got["w"], NUMBERS.reshape(2, 3, 4))


def test_views_share_a_storage_and_keep_offset_and_strides(write):
    items = {
        "transposed": {"key": "0", "shape": (4, 6), "strides": (1, 4)},
        "part": {"key": "0", "shape": (2, 3), "strides": (8, 2), "offset": 5, "count": 24},
        "scalar": {"key": "0", "shape": (), "offset": 7, "count": 24},
        "none": {"key": "0", "shape": (0, 3), "count": 24},
        "spread": {"key": "0", "shape": (5, 2), "strides": (0, 1), "count": 24},
    }
    got = pytorch.load(write(items, {"0": NUMBERS}))
    np.testing.assert_array_equal(got["transposed"], NUMBERS.reshape(6, 4).T)
    np.testing.assert_array_equal(got["part"], [[5, 7, 9], [13, 15, 17]])
    assert got["scalar"].shape == () and got["scalar"] == 7 and got["none"].shape == (0, 3)
    np.testing.assert_array_equal(got["spread"], [[0, 1]] * 5)


def test_every_dtype(write):
    dtypes = {
        "DoubleStorage": "<f8",
        "HalfStorage": "<f2",
        "LongStorage": "<i8",
        "IntStorage": "<i4",
        "ShortStorage": "<i2",
        "CharStorage": "i1",
        "ByteStorage": "u1",
        "BoolStorage": "?",
        "ComplexFloatStorage": "<c8",
        "ComplexDoubleStorage": "<c16",
    }
    values = {name: (np.arange(6) - 1).astype(dtype) for name, dtype in dtypes.items()}
    got = pytorch.load(write({name: {"key": name, "shape": (2, 3), "storage_class": name} for name in dtypes}, values))
    for name, value in values.items():
        assert got[name].dtype == value.dtype
        np.testing.assert_array_equal(got[name], value.reshape(2, 3))


def test_bfloat16_is_read_as_float32(write):
    half = np.array([0x3F80, 0xC000, 0x4049, 0x7F80], "<u2")  # 1, -2, 3.140625, infinity
    got = pytorch.load(write({"w": {"key": "0", "shape": (4,), "storage_class": "BFloat16Storage"}}, {"0": half}))["w"]
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [1, -2, 3.140625, np.inf])


def test_arrays_are_views_of_the_mapped_file(tmp_path):
    """Reading 300 MB in 300 tensors takes at most a tenth of that in anonymous memory."""
    one = np.zeros(250_000, np.float32)
    pytorch.save(tmp_path / "big.pth", {f"w{n}": one for n in range(300)})
    code = (
        "import sys, re; from utils.weights.formats import pytorch\n"
        "anonymous = lambda: int(re.search(r'RssAnon:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "before = anonymous(); got = pytorch.load(sys.argv[1]); print(len(got), anonymous() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "big.pth"], capture_output=True, text=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 300 and kilobytes < 30_000, done.stdout + done.stderr


def test_arrays_cannot_write_to_the_file(write):
    got = pytorch.load(write({"w": {"key": "0", "shape": (24,)}}, {"0": NUMBERS}))["w"]
    with pytest.raises(ValueError, match="read-only"):
        got[0] = 1


def test_plain_values_and_containers(tmp_path):
    namespace = b"c" + b"argparse\nNamespace\n)\x81" + hand.mapping({"lr": b"G" + b"\x3f\xe0" + bytes(6)}) + b"b"
    body = hand.mapping(
        {
            "state_dict": hand.call("collections", "OrderedDict"),
            "args": namespace,
            "list": b"](" + hand.number(-5) + b"\x88N" + hand.text("ä") + b"e",
            "size": hand.call("torch", "Size", hand.integers(2, 3)),
            "device": hand.call("torch", "device", hand.text("cuda"), hand.number(1)),
            "dtype": hand.refer("torch", "float32"),
            "big": hand.number(10**12),
            "set": hand.call("__builtin__", "set", b"](" + hand.number(1) + b"e"),
            "python2": b"U\x02ok",
        }
    )
    assert pytorch.load(hand.zip_file(tmp_path / "a.pth", body, {})) == {
        "state_dict": {},
        "args": {"lr": 0.5},
        "list": [-5, True, None, "ä"],
        "size": (2, 3),
        "device": "cuda:1",
        "dtype": "torch.float32",
        "big": 10**12,
        "set": {1},
        "python2": "ok",
    }


@pytest.mark.parametrize("signed", [True, False])
def test_jittor_pickles(tmp_path, signed):
    var = hand.refer("jittor", "jittor_core.Var") + hand.several(hand.array(NUMBERS.reshape(4, 6))) + b"R"
    body = hand.mapping({"var": var, "array": hand.array(np.arange(3)), "none": hand.array(np.zeros((0, 2)))})
    got = pytorch.load(hand.jittor_file(tmp_path / "a.pkl", body, signed))
    np.testing.assert_array_equal(got["var"], NUMBERS.reshape(4, 6))
    assert got["array"].tolist() == [0, 1, 2] and got["none"].shape == (0, 2)


def test_what_jittor_saves(tmp_path):
    import jittor as jt

    tree = {"w": jt.array(NUMBERS.reshape(4, 6)), "step": 3, "rate": [0.5, None], "n": np.arange(4.0)}
    jt.save(tree, str(tmp_path / "a.pkl"))
    got = pytorch.load(tmp_path / "a.pkl")
    np.testing.assert_array_equal(got["w"], NUMBERS.reshape(4, 6))
    assert got["step"] == 3 and got["rate"] == [0.5, None] and got["n"].tolist() == [0, 1, 2, 3]


def test_a_written_file_is_read_back_bit_for_bit(tmp_path, rng):
    tree = {"w": rng.standard_normal((3, 5)).astype("f4").T, "half": np.float16([1.5, 65504]), "scalar": np.array(3)}
    tree.update(flags=np.array([True, False]), none=np.zeros((0, 3), "f8"), meta={"x": [1, 2.5, None, True, "é", (1,)]})
    tree["big"] = -(10**12)
    pytorch.save(tmp_path / "a.pth", tree)
    got = pytorch.load(tmp_path / "a.pth")
    assert list(got) == list(tree) and got["meta"] == tree["meta"] and got["big"] == tree["big"]
    for key in ("w", "half", "scalar", "flags", "none"):
        assert got[key].dtype == tree[key].dtype and got[key].shape == tree[key].shape
        assert got[key].tobytes() == tree[key].tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        used = {opcode.name for opcode, _, _ in pickletools.genops(archive.read("archive/data.pkl"))}
        assert archive.testzip() is None and "STACK_GLOBAL" not in used


def test_a_failed_save_leaves_the_old_file(tmp_path):
    pytorch.save(tmp_path / "a.pth", {"w": NUMBERS})
    for wrong in (object(), np.array(["text"])):
        with pytest.raises(ValueError):
            pytorch.save(tmp_path / "a.pth", {"w": wrong})
    assert pytorch.load(tmp_path / "a.pth")["w"].size == 24 and len(list(tmp_path.iterdir())) == 1


def test_other_files_are_recognised(tmp_path):
    for content, words in (
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"hello", "not a checkpoint: its first bytes"),
        (b"", "empty"),
    ):
        (tmp_path / "a.pth").write_bytes(content)
        with pytest.raises(ValueError, match=words):
            pytorch.load(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError, match="no checkpoint .*gone.pth"):
        pytorch.load(tmp_path / "gone.pth")
    with pytest.raises(ValueError, match="a folder"):
        pytorch.load(tmp_path)
