"""step_gpu.py --count: operations as PyTorch counts them, memory as Jittor's allocator reports it, floors."""

import jittor as jt
import numpy as np
import pytest

from models import build_model
from models.losses import segmentation_losses
from scripts.benchmark import step_count, step_kernels, step_memory


def counted(name, shape, classes=19):
    model = build_model(name, classes)
    calls = step_kernels.record(model, shape)
    parameters = sum(p.numel() for p in model.parameters() if not p.is_stop_grad())
    return model, calls, parameters


@pytest.mark.parametrize("name, depth, shape", [("ccnet_r18", 18, (2, 3, 65, 97)), ("ccnet", 101, (8, 3, 769, 769))])
def test_operations_are_those_that_pytorch_counts(name, depth, shape):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from scripts.benchmark.torch_models import CCNet

    with torch.device("meta"):  # shapes alone
        model, images = CCNet(depth, 19), torch.zeros(shape)
        with FlopCounterMode(display=False) as counter:
            sum(logits.sum() for logits in model(images)).backward()
    theirs = {str(key): value for key, value in counter.get_flop_counts()["Global"].items()}
    kernels = step_kernels.count(counted(name, shape)[1], (shape[0], *shape[2:]), "float32", 1)
    ours = {group: sum(k.operations for k in kernels if k.group == group) for group in step_kernels.GROUPS}
    backward = ours["convolution backward_x"] + ours["convolution backward_w"]
    assert ours["convolution forward"] == pytest.approx(theirs["aten.convolution"], rel=1e-9)
    assert backward == pytest.approx(theirs["aten.convolution_backward"], rel=1e-2)
    attention = sum(k.operations for k in kernels if k.group == "attention" and k.name in ("statistics", "values"))
    h, w = (-(-side // 8) for side in shape[2:])
    c = 512 if depth == 101 else 128
    assert attention == 2 * 2 * shape[0] * h * w * (h + w) * (2 * (c // 8) + c)  # two passes


def test_the_gradients_of_a_map_with_several_readers_are_added():
    _, calls, _ = counted("ccnet_r18", (1, 3, 65, 65))
    sums = list(step_kernels.gradient_sums(calls, 4))
    # eight blocks read their input twice; so do both passes of the attention; two heads read stage 3, one stage 4 twice
    assert len(sums) == 8 + 2 + 1 and all(kernel.bytes % 4 == 0 for kernel in sums)
    assert len(step_kernels.outputs(calls)) == 2


def test_activations_are_those_of_jittors_allocator():
    """Within 15%: the allocator rounds up to blocks, and keeps the remains of blocks that it has split."""
    shape = (2, 3, 129, 129)
    model, calls, parameters = counted("ccnet_r18", shape)
    jt.sync_all()
    counted_bytes = step_memory.peak(calls, (2, 129, 129), "float32", parameters)
    del calls
    images = jt.array(np.zeros(shape, np.float32))
    labels = jt.array(np.zeros((2, 129, 129), np.int32))
    jt.sync_all()
    jt.gc()
    before = jt.get_mem_info().total_cpu_used
    loss = segmentation_losses(model(images), labels, 255)["loss"]
    loss.sync()
    jt.gc()
    measured = jt.get_mem_info().total_cpu_used - before
    assert measured == pytest.approx(counted_bytes["activations"] + counted_bytes["labels and losses"], rel=0.15)


def test_16_bits_halve_the_activations_and_keep_the_weights():
    _, calls, parameters = counted("ccnet_r18", (2, 3, 65, 65))
    full, half = (step_memory.peak(calls, (2, 65, 65), dtype, parameters) for dtype in ("float32", "float16"))
    assert full["weights"] == half["weights"] == 4 * parameters
    assert 0.5 < half["activations"] / full["activations"] < 0.65  # pooling is computed in float32
    assert full["peak"] == sum(value for key, value in full.items() if key != "peak")


def test_the_floor_is_the_larger_of_both_limits():
    moves = step_kernels.Kernel("BatchNorm", "forward", 900e9, 1e9, False)
    computes = step_kernels.Kernel("convolution forward", "3x3", 1e9, 125e12, True)
    assert step_count.floor(moves, "V100", "float16") == 1 and step_count.floor(computes, "V100", "float16") == 1
    assert step_count.floor(computes, "V100", "float32") == pytest.approx(125 / 15.7)
    lines = list(step_count.table([moves, computes], "bfloat16"))
    assert "V100" not in lines[0] and "H200" in lines[0] and lines[-1].startswith("| sum | 2 | 901.0 |")


def test_the_command(run_command):
    options = "--count --model ccnet_r18 --batch 2 --input-size 65 --precision float32 bfloat16"
    done = run_command("python", "scripts/benchmark/step_gpu.py", *options.split())
    assert done.returncode == 0, done.stderr
    assert "counted, not measured" in done.stdout and done.stdout.count("| sum | ") == 2
    assert "| memory at the peak, GB | float32 | bfloat16 |" in done.stdout
    done = run_command("python", "scripts/benchmark/step_gpu.py", "--count", "kernels", *options.split()[1:])
    assert "convolution forward: 3x3 3-64 33x33" in done.stdout
    done = run_command("python", "scripts/benchmark/step_gpu.py", "--count", "--model", "van")
    assert done.returncode == 1 and "--count knows ccnet, " in done.stderr
