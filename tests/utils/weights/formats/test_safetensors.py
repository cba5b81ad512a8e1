import json
import struct

import numpy as np
import pytest

from utils.weights.formats import safetensors


def test_round_trip_is_bit_equal(tmp_path, rng):
    arrays = {"w": rng.standard_normal((3, 5)).astype("f4").T, "n": np.arange(3), "flag": np.array([True, False])}
    arrays.update(scalar=np.array(2.5), half=np.float16([[1.5]]), none=np.zeros((0, 4), "u1"))
    safetensors.save(tmp_path / "a.safetensors", arrays, {"format": "pt", "note": "ä"})
    got, metadata = safetensors.load(tmp_path / "a.safetensors")
    assert metadata == {"format": "pt", "note": "ä"} and set(got) == set(arrays)
    for key, array in arrays.items():
        assert got[key].dtype == array.dtype and got[key].shape == array.shape
        assert got[key].tobytes() == array.tobytes() and (not got[key].size or not got[key].flags.writeable)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_layout_is_that_of_the_specification(tmp_path):
    """The header is as the format's documentation describes, and tensors start at multiples of their element size."""
    arrays = {"b": np.arange(3, dtype="u1"), "a": np.arange(4, dtype="f8"), "c": np.arange(2, dtype="f4")}
    safetensors.save(tmp_path / "a.safetensors", arrays)
    data = (tmp_path / "a.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, end = json.loads(data[8 : 8 + length]), 0
    assert length % 8 == 0 and list(header) == ["a", "c", "b"]
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        assert first == end and first % arrays[name].itemsize == 0
        assert data[8 + length + first : 8 + length + last] == arrays[name].tobytes()
        end = last
    assert 8 + length + end == len(data)


def test_bfloat16_is_read_as_float32(tmp_path):
    header = b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<2H", 0x3F80, 0xC000))
    assert safetensors.load(path)[0]["a"].tolist() == [1, -2]


def test_unsupported_dtypes_are_refused_and_no_file_is_left(tmp_path):
    with pytest.raises(ValueError, match="w has dtype complex64"):
        safetensors.save(tmp_path / "a.safetensors", {"w": np.zeros(2, "c8")})
    assert not list(tmp_path.iterdir())
