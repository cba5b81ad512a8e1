"""nvcc, without a GPU: its architectures, compiling for one of them, and the files that Jittor generates."""

import re
import shutil
import subprocess
from pathlib import Path

import jittor as jt
import pytest

NVCC = shutil.which("nvcc") or next((str(p) for p in [Path("/usr/local/cuda/bin/nvcc")] if p.exists()), None)
needed = pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")


def architectures():
    listed = subprocess.run([NVCC, "--list-gpu-arch"], capture_output=True, text=True, check=True).stdout
    return sorted(n for n in map(int, re.findall(r"compute_(\d+)\b", listed)) if n >= 70)


def compile_for(architecture, source, output, *flags):
    """-> what nvcc and ptxas print"""
    command = [NVCC, "-std=c++17", f"-arch=sm_{architecture}", "--use_fast_math", *flags, "-x", "cu", source]
    done = subprocess.run([str(part) for part in [*command, "-o", output]], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def generated_files():
    """The texts of the C++ files that Jittor has generated around the source of jt.code."""
    return [path.read_text() for path in Path(jt.flags.cache_path, "jit").glob("code__*_op.cc")]


def compile_generated(text, folder):
    """Compile such a file, generated with the stand-in, for a GPU. For CUDA one word of it differs."""
    text, count = re.subn("^#define JIT_cpu 1$", "#define JIT_cuda 1", text, flags=re.M)
    assert count == 1
    lines = [s for s in text.splitlines() if not re.search(r"cuda_standin|standin::|#define b?float16 ", s)]
    (folder / "op.cu").write_text("\n".join(lines))
    home = Path(jt.__file__).parent
    flags = ["-DHAS_CUDA", "-DIS_CUDA", "-I", home / "src", "-I", home / "extern/cuda/inc", "-w", "-c"]
    compile_for(80, folder / "op.cu", folder / "op.o", *flags)
