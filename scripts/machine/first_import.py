"""The first import of Jittor, which compiles it: in a separate process, with its progress on one line."""

import re
import shutil
import subprocess
import sys
import time

from scripts.machine.checks import fail, output_of
from utils import runtime


def until_it_works(env, log):
    """Import Jittor in a separate process until it works; returns the line to report.

    A first import that was killed leaves an incomplete cache. In some cases Jittor repairs it, in some it asks to be
    started again (with exit code 0!), in the others it fails: then this environment's part of the cache is deleted.
    """
    began = time.time()
    for attempt in range(4):
        if attempt == 2:
            clear_cache(env)
        state = import_once(env, log)
        if state == "ok":
            return f"imports in {warm_import_seconds(env):.1f} s (prepared in {time.time() - began:.0f} s)"
        print(f"  the import of Jittor did not finish: {state}; trying again", flush=True)
    tail = "\n".join(log.read_text(errors="replace").replace("\r", "\n").strip().splitlines()[-15:])
    fail(
        f"Jittor does not compile on this machine; the end of {log}:\n{tail}",
        "the lines above name the file or package",
    )


TRY_CPU = "import jittor as jt; assert (jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item() == 12; print('JITTOR_READY')"
TRY_CUDA = """
import jittor as jt
jt.flags.use_cuda = 1
assert (jt.ones((2, 3)) @ jt.ones((3, 2))).sum().item() == 12
for dtype in ("float32", "float16"):
    x = jt.arange(210).float32().reshape((2, 3, 5, 7)).cast(dtype)
    assert (x.transpose(0, 1, 3, 2).float32().numpy() == x.float32().numpy().transpose(0, 1, 3, 2)).all(), dtype
    y = jt.nn.conv2d(jt.ones((1, 8, 5, 5), dtype), jt.ones((8, 8, 3, 3), dtype))
    assert (y.float32().numpy() == 72).all(), dtype
print("JITTOR_READY")
"""


def import_once(env, log):
    with_gpu = env["nvcc_path"] and runtime.count_gpus()[0]
    code = TRY_CUDA if with_gpu else TRY_CPU
    env = {key: value for key, value in env.items() if key != "log_silent"}
    with open(log, "w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        tail, shown = "", ""
        try:
            while chunk := process.stdout.read(4096):
                text = chunk.decode(errors="replace")
                sink.write(text)
                tail = (tail + text)[-2000:]
                counts = re.findall(r"Compiling (\w+?)(?:_mkl\w*)?\((\d+)/(\d+)\)", tail)
                line = "compiling {} {}/{}".format(*counts[-1]) if counts else "reading Jittor's sources"
                if line != shown and sys.stdout.isatty():
                    print(f"\r  {line:60}", end="", flush=True)
                    shown = line
        except BaseException:  # Ctrl-C as well: leave no process behind
            process.kill()
            raise
        process.wait()
    if shown:
        print("\r" + " " * 64 + "\r", end="")
    if "JITTOR_READY" in tail and process.returncode == 0:
        return "ok"
    return (
        f"exit code {process.returncode}" if process.returncode else "it repaired its cache and asked to be run again"
    )


def clear_cache(env):
    code = "import jittor_utils; print('CACHE', jittor_utils.cache_path)"
    match = re.search(r"^CACHE (.+)$", output_of(sys.executable, "-c", code, env=env) or "", re.M)
    if match and ".cache/jittor/" in match.group(1):
        print(f"removing the incomplete cache {match.group(1)}")
        shutil.rmtree(match.group(1), ignore_errors=True)


def warm_import_seconds(env):
    began = time.time()
    output_of(sys.executable, "-c", "import jittor", env=env)
    return time.time() - began
