"""The fused kernels, compared with published results, finite differences and the reference; reproducibility."""

import ctypes
from pathlib import Path

import jittor as jt
import numpy as np
import pytest

from models.cca import RCCA, CrissCrossAttention, criss_cross_attention
from models.cca.functional import resolve

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
BACKENDS = ("reference", "fused")
# one-pixel lines; no multiples of vectors, tiles or strips; longer than a tile; more than one group of lanes
SIZES = [
    (1, 1),
    (1, 9),
    (9, 1),
    (5, 7),
    (16, 16),
    (17, 33),
    (97, 13),
    (3, 130),
    (150, 18),
    (2, 3, 4),
    (5, 1, 18),
    (7, 17, 1),
]


@pytest.fixture
def float64_arrays():
    """jt.array keeps float64 instead of converting to float32."""
    jt.flags.auto_convert_64_to_32 = 0
    yield
    jt.flags.auto_convert_64_to_32 = 1


def run(q, k, v, g, backend):
    """-> out, dq, dk, dv; numpy in and out."""
    q, k, v, g = (jt.array(x) for x in (q, k, v, g))
    out = criss_cross_attention(q, k, v, backend)
    return [x.numpy() for x in (out, *jt.grad((out * g).sum(), [q, k, v]))]


def draw(rng, sides, batch=2, cq=3, c=10, dtype="float32"):
    shapes = [(batch, n, *sides) for n in (cq, cq, c, c)]
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def relative(result, expected):
    return np.abs(result - expected).max() / max(np.abs(expected).max(), 1)


def golden_cases():
    for name in ("cca2d_ops.npz", "cca3d_ops.npz"):
        with np.load(GOLDEN / name) as file:
            for case in sorted({key.split("/")[0] for key in file.files if not key.startswith("module")}):
                yield pytest.param({part: file[f"{case}/{part}"] for part in "q k v g out dq dk dv".split()}, id=case)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("case", golden_cases())
def test_published_results(case, dtype, tolerance, backend, float64_arrays):
    results = run(*(case[part].astype(dtype) for part in "qkvg"), backend)
    for part, result in zip(("out", "dq", "dk", "dv"), results):
        assert result.dtype == dtype and relative(result, case[part]) < tolerance, part


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recurrence", [1, 2])
def test_published_results_of_the_module(recurrence, backend):
    with np.load(GOLDEN / "cca2d_ops.npz") as file:
        case = {key.split("/", 1)[1]: file[key].astype(np.float32) for key in file.files if f"_r{recurrence}/" in key}
    module = RCCA(16, recurrence, backend)
    weights = {key[2:]: value for key, value in case.items() if key.startswith("w/")}
    for key, value in module.state_dict().items():
        value.assign(jt.array(weights[key]))
    x = jt.array(case["x"])
    out = module(x)
    names = list(weights)
    grads = jt.grad((out * jt.array(case["g"])).sum(), [x, *(module.state_dict()[name] for name in names)])
    assert relative(out.numpy(), case["out"]) < 1e-5 and relative(grads[0].numpy(), case["dx"]) < 1e-5
    for name, grad in zip(names, grads[1:]):
        if name != "key_conv.bias":  # does not change the softmax: the gradient is 0 up to rounding
            assert relative(grad.numpy(), case[f"d/{name}"]) < 2e-5, name
        else:
            assert np.abs(grad.numpy()).max() < 1e-4


@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("sides", SIZES)
def test_fused_equals_reference(rng, sides, dtype, tolerance, float64_arrays):
    inputs = draw(rng, sides, dtype=dtype)
    for result, expected in zip(run(*inputs, "fused"), run(*(x.astype("float64") for x in inputs), "reference")):
        assert result.dtype == dtype and np.abs(result - expected).max() < tolerance * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("cq, c", [(1, 1), (64, 512), (5, 49)])
def test_any_number_of_channels(rng, cq, c):
    inputs = draw(rng, (19, 21), batch=1, cq=cq, c=c)
    inputs[0] *= 0.3
    for result, expected in zip(run(*inputs, "fused"), run(*(x.astype("float64") for x in inputs), "reference")):
        assert relative(result, expected) < 2e-5


@pytest.mark.parametrize("sides", [(4, 3), (2, 3, 2)])
def test_finite_differences(rng, sides, float64_arrays):
    """(f(x + h) - f(x - h)) / 2h along random directions, for each input, in float64."""
    q, k, v, g = draw(rng, sides, dtype="float64")
    _, *grads = run(q, k, v, g, "fused")
    h = 1e-6
    for index, grad in enumerate(grads):
        for _ in range(3):
            step = rng.standard_normal(grad.shape)
            f = []
            for sign in (1, -1):
                moved = [x + sign * h * step if i == index else x for i, x in enumerate((q, k, v))]
                f.append((run(*moved, g, "fused")[0] * g).sum())
            np.testing.assert_allclose((f[0] - f[1]) / (2 * h), (grad * step).sum(), rtol=1e-7, atol=1e-8)


def test_results_are_bitwise_reproducible_with_any_number_of_threads(rng):
    inputs = draw(rng, (37, 53), cq=8, c=70)
    threads = ctypes.CDLL("libgomp.so.1").omp_set_num_threads
    before = ctypes.CDLL("libgomp.so.1").omp_get_max_threads()
    results = []
    try:
        for count in (1, 2, 3, 1, 7):
            threads(count)
            results.append(run(*inputs, "fused"))
    finally:
        threads(before)
    for other in results[1:]:
        assert all((a == b).all() for a, b in zip(results[0], other))


@pytest.mark.parametrize("backend", BACKENDS)
def test_mirroring_and_transposing_the_input_does_the_same_to_the_result(rng, backend):
    inputs = draw(rng, (11, 18))
    plain = run(*inputs, backend)
    for move in (lambda x: x[..., ::-1], lambda x: x[:, :, ::-1], lambda x: x.transpose(0, 1, 3, 2)):
        moved = run(*(np.ascontiguousarray(move(x)) for x in inputs), backend)
        for result, expected in zip(moved, plain):
            np.testing.assert_allclose(result, move(expected), atol=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_pass_depends_on_the_cross_and_two_on_every_pixel(backend):
    """The gradient of one output pixel is nonzero exactly where the input affects it."""
    x = jt.randn(1, 16, 6, 7)
    for recurrence in (1, 2):
        module = RCCA(16, recurrence, backend)
        module.gamma.assign(jt.array([1.0]))
        jt.sync_all()
        reached = np.abs(jt.grad(module(x)[0, :, 2, 4].sum(), x).numpy()).max((0, 1)) > 0
        cross = np.zeros((6, 7), bool)
        cross[2], cross[:, 4] = True, True
        np.testing.assert_array_equal(reached, cross if recurrence == 1 else np.ones_like(cross))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_error_in_16_bits_is_at_most_twice_that_of_the_reference(rng, dtype):
    """The criterion of flash attention, relative to float64."""
    inputs = [jt.array(x).cast(dtype) for x in draw(rng, (13, 20), cq=8, c=24)]
    exact = run(*(x.float32().numpy().astype("float64") for x in inputs), "reference")
    errors = {}
    for backend in BACKENDS:
        q, k, v, g = inputs
        out = criss_cross_attention(q, k, v, backend)
        grads = jt.grad((out.float32() * g.float32()).sum(), [q, k, v])
        assert out.dtype == dtype and all(x.dtype == dtype for x in grads)
        errors[backend] = [np.abs(x.float32().numpy() - e).max() for x, e in zip((out, *grads), exact)]
    for fused, reference in zip(errors["fused"], errors["reference"]):
        assert fused <= 2 * reference + 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_extreme_energies_neither_overflow_nor_vanish(backend):
    """The largest of very different energies gets all the weight; energies of 1e6 do not give NaN."""
    q = jt.ones((1, 1, 3, 40))
    k = jt.zeros((1, 1, 3, 40))
    k[0, 0, 1, 7] = 1e6
    v = jt.randn(1, 2, 3, 40)
    out = criss_cross_attention(q, k, v, backend).numpy()
    np.testing.assert_allclose(out[0, :, 1], np.repeat(v.numpy()[0, :, 1, 7:8], 40, 1), rtol=1e-6)
    assert np.isfinite(criss_cross_attention(-q, k, v, backend).numpy()).all()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_nan_propagates(rng, place, backend):
    """Although -Ofast assumes that there is no NaN: a diverged training run must be detected."""
    inputs = draw(rng, (5, 21), batch=1)
    inputs[place][0, 0, 3, 4] = np.nan
    nan = np.isnan(run(*inputs, backend)[0])
    assert nan[0, 0, 3, 4]
    if place > 0:  # a key or value affects its row and column only
        assert nan[0, 0, 3].all() and nan[0, 0, :, 4].all() and not nan[0, :, 0, 0].any()


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 3, 0, 5), (1, 3, 4, 0)])
def test_empty_inputs_give_empty_outputs(shape):
    q, v = jt.zeros(shape), jt.zeros((shape[0], 6, *shape[2:]))
    for backend in BACKENDS:
        assert tuple(criss_cross_attention(q, q, v, backend).shape) == tuple(v.shape)


def test_the_backend_can_be_chosen_per_call_and_per_module():
    assert resolve("auto") == resolve("fused") == "fused" and resolve("reference") == "reference"
    x = jt.randn(1, 16, 5, 6)
    outs = []
    for backend in BACKENDS:
        module = CrissCrossAttention(16, backend)
        for value, constant in zip(module.state_dict().values(), range(1, 99)):
            value.assign(jt.array(np.cos(np.arange(value.numel()) * constant).reshape(value.shape).astype(np.float32)))
        outs.append(module(x).numpy())
    np.testing.assert_allclose(*outs, atol=1e-4)


def test_a_fallback_is_reported_once_and_an_unavailable_backend_is_an_error(monkeypatch, capsys):
    from models.cca import functional

    monkeypatch.setattr(functional, "why_not_fused", lambda: "there is no compiler")
    monkeypatch.setattr(functional, "_reported", set())
    assert resolve("auto") == resolve("auto") == "reference"
    assert capsys.readouterr().err == "attention: reference instead of fused, because there is no compiler\n"
    with pytest.raises(
        RuntimeError, match="fused attention cannot run here: there is no compiler. Fix: backend='auto'"
    ):
        resolve("fused")


def test_the_check_script(run_command):
    done = run_command("python", "scripts/benchmark/check_cca.py", "--device", "cpu")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("exact") > 40 and "WRONG" not in done.stdout
