"""One process of cca_gpu.py: measures every case of one framework, Jittor or PyTorch, and prints lines of JSON."""

import json
import platform
import sys

from scripts.benchmark import cca_cases
from scripts.benchmark.gpu_clock import Clock, busy_with, driver, free_memory
from utils import runtime

NAMES = {
    "jittor": ("fused", "reference"),
    "torch": ("torch-eager", "torch-compile", "torch-sdpa"),
}
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def jittor_setup(args):
    """-> (clock, make(name, dtype, sizes) -> run(backward), function that measures memory or None, versions)."""
    runtime.start(args.device)
    import jittor as jt

    cuda = args.device == "cuda"
    side = jt.randn(4096 if cuda else 64, 4096 if cuda else 64)

    def product():
        jt.sync([side @ side])

    clock = Clock(cuda, busy_with(product, lambda: jt.sync_all(True)), lambda: jt.sync_all(True), args.repeats)

    def make(name, dtype, sizes):
        q, k, v, gradient = (jt.array(x).cast(dtype) for x in cca_cases.arrays(*sizes))
        if args.modules:
            block = cca_cases.jittor_block(name, args.channels)
            if dtype != "float32":
                from utils.training import amp

                block = amp.mixed(block, dtype)
            lazy = cca_cases.jittor_module(block, v)
        else:
            lazy = cca_cases.jittor_attention(name, q, k, v, gradient)
        jt.sync_all(True)

        def run(backward):
            results = lazy(backward)
            jt.sync(results)
            return results

        return run

    def memory(run, backward):
        jt.gc()
        before = free_memory()
        results = run(backward)
        jt.sync_all(True)
        return before - free_memory() - sum(r.numel() * BYTES.get(str(r.dtype), 4) for r in results)

    return clock, make, memory if cuda else None, {"jittor": jt.__version__}


def torch_setup(args):
    """As jittor_setup; the versions include the measured ceilings of the device."""
    import torch

    from scripts.benchmark.torch_models import CrissCross, criss_cross, non_local

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    cuda = args.device == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    side = torch.randn(4096 if cuda else 64, 4096 if cuda else 64, device=args.device)
    clock = Clock(cuda, busy_with(lambda: side @ side, wait), wait, args.repeats)

    def make(name, dtype, sizes):
        dtype = getattr(torch, dtype)
        *inputs, gradient = (torch.from_numpy(x).to(args.device, dtype) for x in cca_cases.arrays(*sizes))
        forward = non_local if name == "torch-sdpa" else criss_cross
        if args.modules:
            block = CrissCross(args.channels, forward, 1 if name == "torch-sdpa" else 2)
            forward, inputs = block.to(args.device, dtype), inputs[2:]
        if name == "torch-compile":
            torch.compiler.reset()  # compile each size separately
            forward = torch.compile(forward, dynamic=False)
        return cca_cases.torch_attention(forward, inputs, gradient)

    def memory(run, backward):
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        results = run(backward)
        wait()
        return torch.cuda.max_memory_allocated() - before - sum(r.numel() * r.element_size() for r in results)

    versions = {"torch": torch.__version__, "device": torch.cuda.get_device_name() if cuda else platform.processor()}
    if cuda:
        versions.update(driver=driver(), cuda=torch.version.cuda, cudnn=str(torch.backends.cudnn.version()))
    versions["ceilings"] = ceilings(torch, clock, args)
    return clock, make, memory if cuda else None, versions


def ceilings(torch, clock, args):
    """{"bytes": bytes a second of a large copy, dtype: operations a second of a large matrix product}."""
    cuda = args.device == "cuda"
    source = torch.randn(2**29 if cuda else 2**20, device=args.device)  # 2 GB
    target = torch.empty_like(source)
    rates = {"bytes": 2 * source.numel() * 4 / (1e-3 * clock(lambda: target.copy_(source))[0])}
    n = 8192 if cuda else 128
    for dtype in args.dtypes:
        a, b = (torch.randn(n, n, device=args.device, dtype=getattr(torch, dtype)) for _ in range(2))
        rates[dtype] = 2 * n**3 / (1e-3 * clock(lambda a=a, b=b: a @ b)[0])
    return rates


def measure_all(args):
    """Prints the versions, then a line of JSON for each measurement."""
    clock, make, memory, versions = (jittor_setup if args.worker == "jittor" else torch_setup)(args)
    print(json.dumps({"known": versions}), flush=True)
    for name in [name for name in NAMES[args.worker] if not args.only or name in args.only]:
        for dtype in args.dtypes:
            for batch in args.batch:
                for height, width in args.sizes:
                    row = {"name": name, "case": [dtype, batch, height, width]}
                    try:
                        run = make(name, dtype, (batch, args.channels, height, width))
                        for mode, backward in (("forward", False), ("both", True)):
                            device, host = clock(lambda run=run, backward=backward: run(backward))
                            extra = memory(run, backward) if memory else None
                            print(json.dumps({**row, "mode": mode, "device": device, "host": host, "memory": extra}))
                    except Exception as error:  # out of memory, or no compiler: the other cases are still measured
                        print(json.dumps({**row, "error": f"{type(error).__name__}: {str(error)[:200]}"}))
                    sys.stdout.flush()
