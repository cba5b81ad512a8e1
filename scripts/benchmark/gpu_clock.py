"""Time on the GPU, for the benchmarks: CUDA events around runs that the host has queued in advance.

For PyTorch and Jittor, which both use the default stream.
"""

import ctypes
import statistics
import subprocess
import time


class Clock:
    """clock(run) -> (device ms, host ms). `busy(seconds)` queues other work, `wait()` waits for the device."""

    def __init__(self, cuda, busy, wait, repeats):
        self.busy, self.wait, self.repeats = busy, wait, repeats
        self.library = ctypes.CDLL(cudart()) if cuda else None
        if cuda:
            self.events = [ctypes.c_void_p(), ctypes.c_void_p()]
            for event in self.events:
                self.check(self.library.cudaEventCreate(ctypes.byref(event)))

    def check(self, code):
        if code:
            raise RuntimeError(f"CUDA error {code} while timing")

    def __call__(self, run):
        """-> (device ms, host ms) of one run; the first runs compile and are not counted."""
        for _ in range(3):
            run()
        self.wait()
        began = time.perf_counter()
        for _ in range(self.repeats):
            run()
        queued = time.perf_counter() - began
        self.wait()
        host = 1e3 * (time.perf_counter() - began) / self.repeats
        if not self.library:
            return host, host
        values = []
        for _ in range(3):
            self.busy(1.5 * queued + 2e-3)
            self.check(self.library.cudaEventRecord(self.events[0], None))
            for _ in range(self.repeats):
                run()
            self.check(self.library.cudaEventRecord(self.events[1], None))
            self.wait()
            elapsed = ctypes.c_float()
            self.check(self.library.cudaEventElapsedTime(ctypes.byref(elapsed), *self.events))
            values.append(elapsed.value / self.repeats)
        return statistics.median(values), host


def cudart():
    """Path of the CUDA runtime that this process has loaded."""
    with open("/proc/self/maps") as maps:
        return next(line.split()[-1] for line in maps if "libcudart" in line)


def busy_with(product, wait):
    """-> busy(seconds): queues about that much work. The first call measures the time of one product."""
    seconds_each = []

    def busy(seconds):
        if not seconds_each:
            for _ in range(2):
                product()
            wait()
            began = time.perf_counter()
            for _ in range(10):
                product()
            wait()
            seconds_each.append((time.perf_counter() - began) / 10)
        for _ in range(min(500, int(seconds / seconds_each[0]) + 1)):
            product()

    return busy


def free_memory():
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ctypes.CDLL("libcuda.so.1").cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    return free.value


def driver():
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    return done.stdout.split("\n")[0].strip() or "?"
