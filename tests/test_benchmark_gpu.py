"""The benchmarks for a GPU, tried out on the CPU, and PyTorch's twin of the network."""

import numpy as np
import pytest

from models import MODELS, build_model
from scripts import benchmark_gpu


def test_the_floor_counts_operations_and_bytes():
    """97x97, 512 channels: 2.1 GFLOP forward, and each of q, k, v and out moved once."""
    operations, moved = benchmark_gpu.work("forward", 1, 512, 97, 97, 4)
    assert operations == 2 * 9409 * 194 * (64 + 512) and moved == 9409 * (4 * (64 + 64 + 512 + 512) + 4)
    both, more = benchmark_gpu.work("both", 1, 512, 97, 97, 4)
    assert both - operations == 2 * 9409 * 194 * (3 * 64 + 2 * 512)
    assert more - moved == 9409 * (4 * (4 * 64 + 4 * 512) + 8)  # q k v g in, three gradients, and out again


def test_attention_against_pytorch(run_command, tmp_path):
    pytest.importorskip("torch")
    options = "--device cpu --sizes 5,7 --batch 1 2 --channels 16 --dtypes float32 --rounds 2 --repeats 1 --json"
    options = [*options.split(), tmp_path / "all.json", "--only", "fused", "reference", "torch-eager", "torch-sdpa"]
    done = run_command("python", "scripts/benchmark_gpu.py", *options)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| float32")]
    assert len(rows) == 4 * 2 * 2 and all(float(row[5]) > 0 for row in rows)
    assert "measured here: copy" in done.stdout and "fused is" in done.stdout and "left out" not in done.stdout
    assert len((tmp_path / "all.json").read_text()) > 1000


def test_a_step_of_training(run_command):
    options = "--device cpu --model ccnet_r18 --batch 2 --input-size 33 --steps 2 --warm 1 --only jittor"
    done = run_command("python", "scripts/benchmark_step.py", *options.split(), "--precision", "float32")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("| float32 | jittor"))
    cells = [cell.strip() for cell in row.split("|")[3:]]
    assert float(cells[0]) > 0 and float(cells[1]) > 0 and np.isfinite([float(x) for x in cells[4].split()]).all()


def test_without_a_gpu_the_benchmarks_say_so(run_command):
    from utils import runtime

    if runtime.count_gpus()[0]:
        pytest.skip("there is a GPU")
    for script in ("benchmark_gpu", "benchmark_step"):
        done = run_command("python", f"scripts/{script}.py")
        assert (
            done.returncode == 1 and f"{script}.py: --device cuda: " in done.stderr and "Traceback" not in done.stderr
        )


@pytest.mark.slow
def test_pytorchs_twin_is_the_same_network(rng):
    """ResNet-50 with the same weights under the same names: logits of both heads."""
    torch = pytest.importorskip("torch")
    if "ccnet_r50" not in MODELS:
        pytest.skip("no ccnet_r50 yet")
    from scripts import torch_ccnet

    ours, twin = build_model("ccnet_r50", 5, 2, aux_always=True), torch_ccnet.CCNet(5, 2, depth=50)
    ours.eval()
    twin.eval()
    state = {key: torch.from_numpy(value.numpy().copy()) for key, value in ours.state_dict().items()}
    state["head.cca.gamma"] = torch.full((1,), 0.5)
    ours.load_parameters({"head.cca.gamma": np.full(1, 0.5, "float32")})
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    import jittor as jt

    jt.sync_all()
    x = rng.standard_normal((1, 3, 65, 49)).astype("float32")
    with torch.no_grad():
        theirs = twin(torch.from_numpy(x))
    for a, b in zip(ours(jt.array(x)), theirs):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-4)
