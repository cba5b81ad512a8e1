"""Files that PyTorch writes and reads, where it is installed."""

import argparse
from collections import Counter, OrderedDict

import numpy as np
import pytest

from utils.weights.formats import pytorch


def alike(got, tensor):
    torch = pytest.importorskip("torch")
    tensor = tensor.detach()
    tensor = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    expected = tensor.numpy()
    assert got.dtype == expected.dtype and got.shape == expected.shape and got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_files_of_pytorch(tmp_path, new, protocol):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    base, layer = torch.randn(10, 12), torch.nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.randn(1, 3, 5, 5)).sum().backward()
    optimizer.step()
    marked = torch.ones(2)
    marked.no_decay = True
    names = "float16 bfloat16 float64 int8 uint8 int16 int32 int64 bool complex64 complex128".split()
    tensors = {name: (torch.randn(3, 4) * 3).to(getattr(torch, name)) for name in names}
    tensors.update(
        parameter=torch.nn.Parameter(torch.ones(2)),
        view=base[2:5, 3:9:2],
        transposed=base.t(),
        base=base,
        scalar=torch.tensor(3.0),
        none=torch.zeros(0, 3),
        spread=torch.ones(1, 3).expand(4, 3),
        bfloat16_view=tensors["bfloat16"].t()[1:],
        marked=marked,
    )
    plain = {"args": argparse.Namespace(lr=0.1, sizes=[1]), "bytes": b"a\xff", "count": Counter([1, 1]), "set": {1}}
    plain.update(complex=3 + 4j, array=np.asfortranarray(np.arange(6.0).reshape(2, 3)), score=np.float64(0.5))
    tree = {**tensors, **plain, "layer": layer.state_dict(), "optimizer": optimizer.state_dict()}
    path = tmp_path / "a.pth"
    torch.save(tree, path, _use_new_zipfile_serialization=new, pickle_protocol=protocol)
    got = pytorch.load(path)
    for name, tensor in tensors.items():
        alike(got[name], tensor)
    for name, tensor in layer.state_dict().items():
        alike(got["layer"][name], tensor)
    alike(got["optimizer"]["state"][0]["exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"])
    assert got["optimizer"]["param_groups"][0]["lr"] == 1e-3
    np.testing.assert_array_equal(got.pop("array"), plain.pop("array"))
    assert {name: got[name] for name in plain} == {**plain, "args": {"lr": 0.1, "sizes": [1]}}


def test_unsigned_integers_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.arange(5).to(getattr(torch, name)) for name in ("uint16", "uint32", "uint64")}
    torch.save(tensors, tmp_path / "a.pth")
    got = pytorch.load(tmp_path / "a.pth")
    for name in tensors:
        assert got[name].dtype == name and got[name].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_pytorch_to_here_to_pytorch_is_bit_equal(tmp_path, new):
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.PReLU())
    before = OrderedDict((key, value * 1.7 if value.ndim else value) for key, value in layers.state_dict().items())
    before["transposed"] = torch.randn(5, 4).t()
    torch.save(before, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    pytorch.save(tmp_path / "b.pth", pytorch.load(tmp_path / "a.pth"))
    for mapped in (False, True):
        after = torch.load(tmp_path / "b.pth", weights_only=True, mmap=mapped)
        assert list(after) == list(before)
        for key, tensor in before.items():
            assert after[key].dtype == tensor.dtype and torch.equal(after[key], tensor)
    layers.load_state_dict({key: after[key] for key in layers.state_dict()})
