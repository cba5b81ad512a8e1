"""The table of scripts/benchmark/step_gpu.py --count: what a training step must move and compute, and the time that
this takes at least. Counted, not measured.

The floor of a kernel is max(bytes / bandwidth, operations / rate) with the numbers of the data sheets; a step is the
sum over its kernels, as if each ran alone at the limit of the card. Real kernels reach 60 to 90% of either.
"""

from scripts.benchmark import step_kernels, step_memory

# card -> bytes a second, operations a second in float32 and in 16 bits on tensor cores (dense)
CARDS = {
    "V100": (900e9, 15.7e12, 125e12),
    "A100 80 GB": (2039e9, 19.5e12, 312e12),
    "A100 40 GB": (1555e9, 19.5e12, 312e12),
    "H100 SXM": (3350e9, 67e12, 989e12),
    "H200": (4800e9, 67e12, 989e12),
}
NO_BFLOAT16 = ("V100",)
SEVERAL = "all-reduce"  # only with several GPUs: not in the sum


def floor(kernel, card, dtype):
    """Seconds that one kernel takes at least."""
    bandwidth, plain, tensor_cores = CARDS[card]
    rate = tensor_cores if kernel.matrix and dtype != "float32" else plain
    return max(kernel.bytes / bandwidth, kernel.operations / rate)


def rows(kernels, dtype, each=False):
    """[name, kernels, bytes, operations, {card: seconds}] of each group, or of equal kernels with `each`; at the end
    the sum of all."""
    parts = {}
    for kernel in kernels:
        key = (kernel.group, kernel.name, kernel.bytes) if each else (kernel.group,)
        parts.setdefault(key, []).append(kernel)
    names = sorted(parts, key=lambda key: step_kernels.GROUPS.index(key[0]))
    lines = [row(": ".join(key[:2]), parts[key], dtype) for key in names]
    return [*lines, row("sum", [kernel for kernel in kernels if kernel.group != SEVERAL], dtype)]


def row(name, kernels, dtype):
    cards = {card: sum(floor(kernel, card, dtype) for kernel in kernels) for card in CARDS}
    moved, operations = (sum(getattr(kernel, field) for kernel in kernels) for field in ("bytes", "operations"))
    return name, len(kernels), moved, operations, cards


def table(kernels, dtype, each=False):
    """The lines of one dtype, in Markdown."""
    absent = NO_BFLOAT16 if dtype == "bfloat16" else ()
    cards = [card for card in CARDS if card not in absent]
    yield f"| {dtype} | kernels | GB | TFLOP | {' | '.join(f'{card} ms' for card in cards)} |"
    yield "|---" * (4 + len(cards)) + "|"
    for name, number, moved, operations, seconds in rows(kernels, dtype, each):
        name = f"{name} (several GPUs; not in the sum)" if name.startswith(SEVERAL) else name
        times = " | ".join(f"{1e3 * seconds[card]:.1f}" for card in cards)
        yield f"| {name} | {number} | {moved / 1e9:.1f} | {operations / 1e12:.2f} | {times} |"


def report(model, shape, labels, precisions, workspace, each=False):
    """All lines. `shape`: of the images; `labels`: of the labels; `workspace`: bytes for cuDNN."""
    calls = step_kernels.record(model, shape)
    parameters = sum(p.numel() for p in model.parameters() if not p.is_stop_grad())
    yield f"counted, not measured; {parameters / 1e6:.1f} M weights\n"
    for dtype in precisions:
        yield from table(step_kernels.count(calls, labels, dtype, parameters), dtype, each)
        yield ""
    yield f"| memory at the peak, GB | {' | '.join(precisions)} |"
    yield "|---" * (1 + len(precisions)) + "|"
    peaks = [step_memory.peak(calls, labels, dtype, parameters, workspace) for dtype in precisions]
    for what in dict.fromkeys(key for peak in peaks for key in peak):
        yield f"| {what} | {' | '.join(f'{peak.get(what, 0) / 1e9:.2f}' for peak in peaks)} |"
