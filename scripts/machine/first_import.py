"""Jittor's first import, which compiles it: in a process of its own, its progress on one line, until it works."""

import re
import shutil
import subprocess
import sys
import time

from scripts.machine.checks import fail, output_of
from utils import runtime


def until_it_works(env, log):
    """Import Jittor in processes of their own until it works; returns a line about it.

    A first import that was killed leaves a half-written cache. Jittor mends most of it by itself, asks to be run again
    (with exit code 0!) for some, and stumbles over the rest: then this environment's part of the cache is made anew.
    """
    began = time.time()
    for attempt in range(4):
        if attempt == 2:
            clear_cache(env)
        state = import_once(env, log)
        if state == "ok":
            return f"imports in {warm_import_seconds(env):.1f} s (prepared in {time.time() - began:.0f} s)"
        print(f"  Jittor's import did not finish: {state}; trying again", flush=True)
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
for kind in ("float32", "float16"):
    x = jt.arange(210).float32().reshape((2, 3, 5, 7)).cast(kind)
    assert (x.transpose(0, 1, 3, 2).float32().numpy() == x.float32().numpy().transpose(0, 1, 3, 2)).all(), kind
    y = jt.nn.conv2d(jt.ones((1, 8, 5, 5), kind), jt.ones((8, 8, 3, 3), kind))
    assert (y.float32().numpy() == 72).all(), kind
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
        except BaseException:  # Ctrl-C: leave nothing running
            process.kill()
            raise
        process.wait()
    if shown:
        print("\r" + " " * 64 + "\r", end="")
    if "JITTOR_READY" in tail and process.returncode == 0:
        return "ok"
    return f"exit code {process.returncode}" if process.returncode else "it mended its cache and asked to be run again"


def clear_cache(env):
    where = (
        output_of(sys.executable, "-c", "import jittor_utils; print('CACHE', jittor_utils.cache_path)", env=env) or ""
    )
    found = re.search(r"^CACHE (.+)$", where, re.M)
    if found and ".cache/jittor/" in found.group(1):
        print(f"removing the half-written cache {found.group(1)}")
        shutil.rmtree(found.group(1), ignore_errors=True)


def warm_import_seconds(env):
    began = time.time()
    output_of(sys.executable, "-c", "import jittor", env=env)
    return time.time() - began
