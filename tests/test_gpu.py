"""On a GPU: the repairs to Jittor, networks compared with the CPU, mixed precision, a training run.

CCNET_TEST_DEVICE=cuda python -m pytest -q tests/test_gpu.py
"""

import csv
import itertools
import os

import jittor as jt
import numpy as np
import pytest
from jittor import nn

from models import MODELS, build_model
from models.layers import dropout
from models.losses import segmentation_losses
from utils import runtime
from utils.training import amp

pytestmark = pytest.mark.cuda
HALVES = ("float16", "bfloat16")


def compute(cuda, work):
    """The results of `work()` as arrays, computed on the GPU or on the CPU."""
    with jt.flag_scope(use_cuda=int(cuda)):
        results = [x.float32() if "float" in str(x.dtype) else x for x in work()]
        return [x.numpy() for x in results]


def distance(a, b):
    """The largest relative distance of two lists of arrays."""
    return max(float(np.linalg.norm(x - y) / max(np.linalg.norm(x), 1e-6)) for x, y in zip(a, b))


def test_transposes_stay_on_the_gpu(rng):
    """With use_cuda = 2 an operator without a CUDA kernel is an error. All orders of four axes, some of five."""
    x = rng.standard_normal((2, 3, 5, 7)).astype("float32")
    y = rng.standard_normal((2, 3, 4, 5, 6)).astype("float32")
    orders = [*itertools.permutations(range(4)), (4, 3, 2, 1, 0), (0, 2, 4, 1, 3), (1, 0, 2, 4, 3)]
    with jt.flag_scope(use_cuda=2):
        for order in orders:
            array = x if len(order) == 4 else y
            for dtype in ("float32", *HALVES):
                v = jt.array(array).cast(dtype)
                expected = v.float32().numpy().transpose(order)
                assert np.array_equal(v.transpose(order).float32().numpy(), expected), (order, dtype)


CONVOLUTIONS = {  # channels in, out, kernel, stride, padding, dilation, groups, height, width
    "1x1": (16, 24, 1, 1, 0, 1, 1, 13, 17),
    "3x3": (16, 8, 3, 1, 1, 1, 1, 13, 17),
    "strided": (16, 8, 3, 2, 1, 1, 1, 13, 17),
    "dilated": (16, 8, 3, 1, 4, 4, 1, 13, 17),
    "grouped": (16, 8, 3, 1, 1, 1, 4, 13, 17),
    "depthwise 5x5": (12, 12, 5, 1, 2, 1, 12, 7, 9),
    "depthwise 7x7 dilated": (12, 12, 7, 1, 9, 3, 12, 33, 17),
    "depthwise strided": (12, 12, 3, 2, 1, 1, 12, 11, 45),
}


PAIRS = [(name, dtype) for name in CONVOLUTIONS for dtype in ("float32", *HALVES)]


@pytest.mark.parametrize("name, dtype", [p for p in PAIRS if p[1] == "float32" or "depthwise" not in p[0]])
def test_convolutions_and_their_gradients(rng, name, dtype):
    """Jittor's layers, compared with the CPU in float32. At odd sizes warps and tiles are incomplete."""
    cin, cout, kernel, stride, padding, dilation, groups, height, width = CONVOLUTIONS[name]
    x = rng.standard_normal((2, cin, height, width)).astype("float32")
    layer = nn.Conv2d(cin, cout, kernel, stride, padding, dilation, groups, bias=False)  # built with CUDA on
    assert hasattr(layer, "depthwise_conv") == (groups == cin)  # Jittor's kernel, which is repaired
    weight = layer.weight.numpy()

    def work(dtype):
        v, w = jt.array(x).cast(dtype), jt.array(weight).cast(dtype)
        if jt.flags.use_cuda:
            layer.weight = w
            y = layer(v)
        else:
            y = nn.conv2d(v, w, None, stride, padding, dilation, groups)
        g = jt.array(np.cos(np.arange(y.numel())).reshape(y.shape).astype("float32"))
        return [y, *jt.grad((y.float32() * g).sum(), [v, w])]

    tolerance = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 1.5e-2}[dtype]
    assert distance(compute(False, lambda: work("float32")), compute(True, lambda: work(dtype))) < tolerance


@pytest.mark.parametrize("dtype", HALVES)
def test_convolutions_accumulate_in_float32(dtype):
    """4608 products of 0.0625: sums in float16 would be rounded from 128 on, those in bfloat16 from 16 on."""
    x, w = jt.full((1, 512, 9, 9), 0.25).cast(dtype), jt.full((16, 512, 3, 3), 0.25).cast(dtype)
    assert (nn.conv2d(x, w).float32().numpy() == 288).all()


def test_operators_of_the_networks_agree_with_the_cpu(rng):
    x = rng.standard_normal((2, 6, 9, 11)).astype("float32")
    labels = rng.integers(0, 6, (2, 17, 21)).astype("int32")
    labels[:, :3] = 255

    def work():
        v = jt.array(x)
        up = nn.interpolate(v, size=(17, 21), mode="bilinear", align_corners=True)
        loss = segmentation_losses([v, v * 0.5], jt.array(labels))["loss"]
        pooled = nn.Pool(3, 2, 1, ceil_mode=True, op="maximum")(v)
        index, _ = jt.argmax(v, 1)
        indices = jt.concat([i.float32() for i in (v > 0.5).where()])
        mixed = [nn.softmax(v, 1), nn.relu(v), nn.gelu(v), jt.concat([v, up[:, :, :9, :11]], 1)]
        return [up, loss, pooled, index, indices, *mixed, *jt.grad(loss + pooled.sum(), [v])]

    assert distance(compute(False, work), compute(True, work)) < 1e-5


NETWORKS = [name for name in ("ccnet_r18", "ccnet_r50", "van") if name in MODELS]


def network(name, rng):
    """-> (model in training mode, work() -> logits and all gradients for two small images)."""
    model = build_model(name, 7, 2, **({"van_size": "van_tiny"} if name == "van" else {}))
    model.head.cca.gamma.assign(jt.array([0.5]))
    jt.sync_all()
    x = rng.standard_normal((2, 3, 97, 65)).astype("float32")
    parameters = [p for p in model.parameters() if not p.is_stop_grad()]

    def work():
        dropout.at(5, 1, 0)  # the same dropout and drop path each time
        logits = model(jt.array(x))[0]
        return [logits, *jt.grad((logits * logits).mean(), parameters)]

    return model, work


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_give_the_logits_of_the_cpu(rng, name):
    _, work = network(name, rng)
    cpu, gpu = compute(False, work), compute(True, work)
    assert np.abs(cpu[0] - gpu[0]).max() < 1e-3
    assert distance(cpu[:1], gpu[:1]) < 1e-3
    gradients = [np.concatenate([x.ravel() for x in results[1:]]) for results in (cpu, gpu)]
    assert distance(gradients[:1], gradients[1:]) < 2e-2


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("name", NETWORKS)
def test_mixed_precision_is_close_to_float32(rng, name, dtype):
    if dtype == "bfloat16" and min(runtime.compute_capabilities()) < 80:
        pytest.skip("this GPU has no bfloat16")
    model, work = network(name, rng)
    full = compute(True, work)
    amp.mixed(model, dtype)
    half = compute(True, work)
    assert 0 < distance(full[:1], half[:1]) < (5e-2 if dtype == "float16" else 2e-1)
    assert all(np.isfinite(x).all() for x in half)


@pytest.mark.parametrize("dtype", HALVES)
def test_training_in_mixed_precision_learns_and_keeps_float32_weights(rng, dtype):
    if dtype == "bfloat16" and min(runtime.compute_capabilities()) < 80:
        pytest.skip("this GPU has no bfloat16")
    jt.set_global_seed(3)
    model = amp.mixed(build_model("ccnet_r18", 4, 2), dtype)
    optimizer, scaler = jt.optim.SGD(model.parameters(), 1e-2, 0.9, 1e-4), amp.LossScaler(dtype)
    images = jt.array(rng.standard_normal((4, 3, 65, 65)).astype("float32"))
    labels = jt.array((np.arange(4 * 65 * 65).reshape(4, 65, 65) // 900 % 4).astype("int32"))
    losses = []
    for _ in range(40):
        loss = segmentation_losses(model(images), labels)["loss"]
        scaler.step(optimizer, loss)
        losses.append(float(loss.item()))
    assert np.isfinite(losses).all() and losses[-1] < 0.6 * losses[0], losses
    assert all(value.dtype == "float32" for value in model.state_dict().values())
    assert scaler.skipped < 10


def curve(run_command, folder, *options):
    command = "train.py --model ccnet_r18 --dataset scenes --scene-size 96,192 --input-size 96,128 --batch-size 4"
    threads = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0)))}
    options = ("--learning-rate", "5e-3", *options)
    done = run_command("python", *command.split(), *options, "--snapshot-dir", folder, env=threads, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    return np.array([float(row["main"]) for row in csv.DictReader(open(folder / "log.csv"))])


@pytest.mark.slow
def test_a_training_run_follows_the_curve_of_the_cpu(run_command, tmp_path):
    """With the same weights, images, order and dropout. The first losses are equal; later ones differ by rounding."""
    curve(run_command, tmp_path / "start", "--device", "cpu", "--num-steps", "1")
    steps = ("--num-steps", "60", "--restore-from", str(tmp_path / "start" / "CS_scenes_1.npz"))
    gpu = curve(run_command, tmp_path / "gpu", "--device", "cuda", *steps)
    cpu = curve(run_command, tmp_path / "cpu", "--device", "cpu", *steps)
    print("step, cpu, gpu:", *(f"{i + 1} {cpu[i]:.4f} {gpu[i]:.4f};" for i in range(0, 60, 6)))
    np.testing.assert_allclose(gpu[:5], cpu[:5], rtol=1e-3)
    np.testing.assert_allclose(gpu[:20].mean(), cpu[:20].mean(), rtol=2e-2)
    np.testing.assert_allclose(gpu[-20:].mean(), cpu[-20:].mean(), rtol=1e-1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
def test_train_py_with_amp(run_command, tmp_path, dtype):
    if dtype == "bfloat16" and min(runtime.compute_capabilities()) < 80:
        pytest.skip("this GPU has no bfloat16")
    full = curve(run_command, tmp_path / "full", "--device", "cuda", "--num-steps", "60")
    half = curve(run_command, tmp_path / "half", "--device", "cuda", "--num-steps", "60", "--amp", dtype)
    np.testing.assert_allclose(half[-20:].mean(), full[-20:].mean(), rtol=1.5e-1)
