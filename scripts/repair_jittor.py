"""Repairs to the copy of Jittor 1.3.11 in this environment: what its CUDA side needs, each by name.

Used by scripts/prepare_jittor.py. A repair is a list of texts to replace, and of files to put aside. Whether it is
applied is read from the files themselves; applying twice changes nothing, and undoing gives back the published bytes.
Nothing is written unless every text is where it is expected.
"""

import importlib.util
import os
import re
import sys
from pathlib import Path

from utils.runtime import PREPARE, MachineError

VERSION = "1.3.11"
ASIDE = ".aside"  # Jittor compiles what ends in .cc, .h, .cu

WARP_SUM = """    typedef cub::WarpReduce<T> WarpReduce;
    typename WarpReduce::TempStorage temp_storage;
    value = WarpReduce(temp_storage).Sum(value);
    if (cub::LaneId() == 0)@
        atomicAdd(sum, value);
""".replace("@", " ")  # the published line ends in a space
WARP_SUM_OF_ANY_BLOCK = """    // the block may end within a warp: only lanes that exist take part
    const int thread = threadIdx.x + blockDim.x * threadIdx.y;
    const int lane = thread & 31, left = int(blockDim.x * blockDim.y) - (thread - lane), lanes = left < 32 ? left : 32;
    const unsigned mask = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    for (int step = 16; step > 0; step /= 2) {
        const T other = __shfl_down_sync(mask, value, step);
        if (lane + step < lanes) value += other;
    }
    if (lane == 0)
        atomicAdd(sum, value);
"""

CUTT_END = """            auto var = cutt_transpose(x, axes);
            forward(var);
            return;
        }
    }
    #endif"""
CUTT_OR_FUSED = """            auto var = cutt_transpose(x, axes);
            forward(var);
            return;
        }
        static VarPtr(*gpu_transpose)(Var*, NanoVector) =
            get_op_info("fuse_transpose").get_constructor<VarPtr, Var*, NanoVector>();
        auto var = gpu_transpose(x, axes);
        forward(var);
        return;
    }
    #endif"""

COUNT = """    if (count==-1)
        cudaGetDeviceCount(&count);
    return count;"""
COUNT_CHECKED = """    if (count==-1 && cudaGetDeviceCount(&count) != cudaSuccess)
        count = 0;
    return count;"""

CONVOLUTIONS = [
    f"extern/cuda/cudnn/ops/cudnn_{name}_op.cc"
    for name in ("conv", "conv_backward_x", "conv_backward_w", "conv3d", "conv3d_backward_x", "conv3d_backward_w")
]
RNN = [
    f"extern/cuda/cudnn/{name}"
    for name in (
        "inc/cudnn_rnn_descriptor.h",
        "src/cudnn_rnn_descriptor.cc",
        "ops/cudnn_rnn_op.cc",
        "ops/cudnn_rnn_op.h",
        "ops/cudnn_rnn_backward_x_op.cc",
        "ops/cudnn_rnn_backward_x_op.h",
    )
]


def always(found):
    return True


def cuda_13(found):  # CUDA 13 brings CCCL 3, and removes fields of cudaDeviceProp
    return found["cuda"] >= (13,)


def cudnn_9(found):
    return found["cudnn"] >= (9,)


# name, why, when, [(file, [(published text, ours, how often)])], [files put aside]
REPAIRS = (
    (
        "transpose",
        "without the cutt library a transpose that moves the last axis ran on the CPU; it stays on the GPU",
        always,
        [("src/ops/transpose_op.cc", [(CUTT_END, CUTT_OR_FUSED, 1)])],
        [],
    ),
    (
        "conv-float32",
        "float16 and bfloat16 convolutions add up in float32; their algorithms are chosen apart from those of float32",
        always,
        [
            (
                name,
                [
                    ("CUDNN_CROSS_CORRELATION, getDataType<Ty>()", "CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT", 1),
                    ('jk << dimX[0] << ","', 'jk << "@Ty," << dimX[0] << ","', 1),
                ],
            )
            for name in CONVOLUTIONS
        ],
        [],
    ),
    (
        "depthwise",
        "weight gradients of depthwise convolutions at any size (they took in lanes that do not exist), and on CUDA 13",
        always,
        [("depthwise_conv.py", [(WARP_SUM, WARP_SUM_OF_ANY_BLOCK, 1)])],
        [],
    ),
    (
        "device-count",
        "where no driver answers, the number of GPUs is 0 and not -1",
        always,
        [("src/misc/cuda_flags.cc", [(COUNT, COUNT_CHECKED, 1)])],
        [],
    ),
    (
        "device-properties",
        "CUDA 13 has no cudaDeviceProp::computeMode and ::clockRate; sample code used them",
        cuda_13,
        [
            (
                "extern/cuda/inc/helper_cuda.h",
                [
                    ("deviceProp.computeMode == cudaComputeModeProhibited", "false /* was: computeMode */", 1),
                    ("deviceProp.computeMode != cudaComputeModeProhibited", "true /* was: computeMode */", 2),
                    ("sm_per_multiproc * deviceProp.clockRate", "sm_per_multiproc /* was: * clockRate */", 1),
                ],
            )
        ],
        [],
    ),
    (
        "cub-where",
        "CUDA 13 has no cub::CountingInputIterator and cub::TransformInputIterator; thrust's do the same",
        cuda_13,
        [
            (
                "extern/cuda/cub/ops/cub_where_op.cc",
                [
                    (
                        "#include <cub/cub.cuh>\n#include <thrust/device_vector.h>",
                        "#include <cub/cub.cuh>\n#include <thrust/iterator/counting_iterator.h>\n"
                        "#include <thrust/iterator/transform_iterator.h>\n#include <thrust/device_vector.h>",
                        1,
                    ),
                    (
                        "cub::CountingInputIterator<To> counting_itr(0);",
                        "thrust::counting_iterator<To> counting_itr(0);",
                        1,
                    ),
                    (
                        "cub::TransformInputIterator<bool, NonZeroOp<Ti>, Ti*> itr(cond->ptr<Ti>(), NonZeroOp<Ti>());",
                        "auto itr = thrust::make_transform_iterator(cond->ptr<Ti>(), NonZeroOp<Ti>());",
                        1,
                    ),
                ],
            )
        ],
        [],
    ),
    (
        "cudnn-rnn",
        "cuDNN 9 has no longer the functions of Jittor's RNN operators (no network here has one): put aside",
        cudnn_9,
        [],
        RNN,
    ),
)


def jittor_folder():
    """Where `import jittor` would find it. Nothing is imported."""
    spec = importlib.util.find_spec("jittor")
    if spec is None or not spec.submodule_search_locations:
        raise MachineError("Jittor is not installed. Next: python -m pip install -r requirements.txt")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def belongs_to_this_environment(folder, prefix=None, base=None):
    """Inside a virtual or conda environment of its own, not in the Python that everybody on the machine uses."""
    prefix, base = Path(prefix or sys.prefix).resolve(), Path(base or sys.base_prefix).resolve()
    own = prefix != base or (prefix.parent.name == "envs" and (prefix / "conda-meta").is_dir())
    return own and prefix in Path(folder).resolve().parents


def check_version(folder):
    found = re.search(r"^__version__ = ['\"]([^'\"]+)", (folder / "__init__.py").read_text(), re.M)
    version = found.group(1) if found else "of an unknown version"
    if not (version + ".").startswith(VERSION + "."):
        raise MachineError(
            f"the repairs are for Jittor {VERSION}, and {folder} is {version}: nothing was changed\n"
            f"  mend: {sys.executable} -m pip install jittor=={VERSION}.0"
        )


def is_applied(repair, folder):
    """True or False; an error if the files are neither as published nor as repaired."""
    name, _, _, edits, asides = repair
    states = set()
    for file, texts in edits:
        text = read(folder / file, name)
        for old, new, count in texts:
            states.add({(count, 0): False, (0, count): True}.get((text.count(old), text.count(new))))
    for file in asides:
        here, away = (folder / file).is_file(), (folder / (file + ASIDE)).is_file()
        states.add({(True, False): False, (False, True): True}.get((here, away)))
    if len(states) != 1 or None in states:
        raise MachineError(
            f"repair {name}: {', '.join(f for f, _ in edits) or asides[0]} in {folder} is neither as published nor as "
            f"repaired; nothing was changed\n  mend: {sys.executable} -m pip install --force-reinstall --no-deps "
            f"jittor=={VERSION}.0, then {PREPARE}"
        )
    return states.pop()


def read(path, name):
    try:
        return path.read_bytes().decode()  # not read_text: line ends stay as they are
    except OSError as error:
        raise MachineError(f"repair {name}: {error}; nothing was changed") from None


def bring_to(folder, wanted):
    """`wanted`: {name: applied or not}. Checks everything, then writes. -> names that changed."""
    check_version(folder)
    changing = [repair for repair in REPAIRS if is_applied(repair, folder) != wanted[repair[0]]]
    for name, _, _, edits, asides in changing:
        for file, texts in edits:
            text = read(folder / file, name)
            for old, new, _count in texts:
                text = text.replace(old, new) if wanted[name] else text.replace(new, old)
            write(folder / file, text)
        for file in asides:
            pair = (folder / file, folder / (file + ASIDE))
            os.rename(*(pair if wanted[name] else reversed(pair)))
    return [repair[0] for repair in changing]


def write(path, text):
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(text.encode())
    os.chmod(part, path.stat().st_mode)
    os.replace(part, path)


def apply(folder, found, yes=False):
    """Bring Jittor to what this toolkit needs. `found`: {"cuda": (13, 0), "cudnn": (9, 19)}. -> lines about it."""
    if not yes and not belongs_to_this_environment(folder):
        raise MachineError(
            f"{folder} is not in an environment of this project, and CUDA needs repairs to it\n  mend: make one "
            f"(python -m venv .venv, as scripts/test.sh does), or allow the changes with --yes"
        )
    wanted = {name: bool(when(found)) for name, _, when, _, _ in REPAIRS}
    changed = bring_to(folder, wanted)
    return [
        f"{name}: {why} ({'applied now' if name in changed else 'in place'})"
        for name, why, _, _, _ in REPAIRS
        if wanted[name]
    ]


def undo(folder):
    """Back to the published files. -> names of what was taken back."""
    return bring_to(folder, {repair[0]: False for repair in REPAIRS})
