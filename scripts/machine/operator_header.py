"""The headers of all CPU operators, compiled once: most of the time to compile an operator was reading them.

The C++ compiler reads operator.h.gch instead of operator.h; it silently falls back to operator.h where they do not fit
(other flags, another compiler). The repair "operator-header" includes it in every operator that Jittor compiles.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from scripts.machine.checks import output_of
from utils.files import whole_file

# As the source of a CPU operator begins, then what most operators include.
TEXT = """#define JIT 1
#define JIT_cpu 1
#include <algorithm>
#include <assert.h>
#include <cmath>
#include <limits>
#include "executor.h"
#include "fused_op.h"
#include "misc/cpu_math.h"
#include "misc/cuda_flags.h"
#include "ops/array_op.h"
#include "ops/binary_op.h"
#include "ops/broadcast_to_op.h"
#include "ops/code_op.h"
#include "ops/op_register.h"
#include "ops/reduce_op.h"
#include "ops/reindex_op.h"
#include "ops/ternary_op.h"
#include "ops/unary_op.h"
#include "var.h"
"""
FACTS = """
import json, jittor as jt
flags = jt.flags.cc_flags + " " + jt.compiler.kernel_opt_flags
print("FACTS", json.dumps([jt.compiler.cache_path, jt.flags.cc_path, flags, jt.compiler.jittor_path]))
"""


def prepare(env):
    """Compile the header for the cache that Jittor uses with the environment `env`. -> the line to report."""
    printed = output_of(sys.executable, "-c", FACTS, env=env) or ""
    lines = [line[6:] for line in printed.splitlines() if line.startswith("FACTS ")]
    if not lines:
        return "not compiled: Jittor does not name its cache"
    cache, compiler, flags, source = json.loads(lines[-1])
    header = Path(cache) / "operator.h"
    command = [compiler, *for_a_header(flags), "-x", "c++-header", str(header)]
    text = f"// {shlex.join(command)}\n{TEXT}"
    if is_fresh(header, text, Path(source) / "src"):
        return "in place"
    with whole_file(header) as file:
        file.write(text.encode())
    return compile_header(command, header)


def for_a_header(flags):
    """The flags of an operator without those of the linker, which a header has no use for."""
    linker = ("-l", "-L", "-Wl,", "-shared")
    return [flag for flag in shlex.split(flags) if not flag.startswith(linker)]


def is_fresh(header, text, source):
    """Was it compiled by the same command, after the last change of Jittor's headers?"""
    compiled = header.with_suffix(".h.gch")
    if not compiled.is_file() or not header.is_file() or header.read_text() != text:
        return False
    return compiled.stat().st_mtime > max(path.stat().st_mtime for path in source.rglob("*.h"))


def compile_header(command, header):
    compiled = header.with_suffix(".h.gch")
    part = f"{compiled}.{os.getpid()}.part"
    done = subprocess.run([*command, "-o", part], capture_output=True, text=True)
    if done.returncode:
        Path(part).unlink(missing_ok=True)
        compiled.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines() or ["no message"]
        reason = next((line for line in lines if "error" in line), lines[-1])
        return f"not compiled, operators compile more slowly: {reason[:200]}"
    os.replace(part, compiled)
    return f"compiled ({compiled.stat().st_size >> 20} MB)"
