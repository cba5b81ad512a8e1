"""The repairs to Jittor 1.3.11: texts to replace and files to rename; repair.py applies them.

The first one is for every machine. Jittor compiles operators in several threads, which create graph nodes and write
files without a lock: now and then a run crashes. With the repair they hold a lock except while the C++ compiler runs,
which takes nearly all of the time.

An applied repair is recognised by its texts: after a change of them, existing environments must reinstall Jittor.
"""


def between(before, new, after):
    return before + after, before + new + after, 1


TURNS = """
// A thread has its turn but while the compiler itself runs; see jit_compiler.cc
namespace jit_compiler {
extern std::mutex turns;
extern thread_local std::unique_lock<std::mutex>* turn;
}
"""
ALONE = """
// Threads that compile operators take turns, but while the compiler itself runs, and no two write one file.
std::mutex turns;
thread_local std::unique_lock<std::mutex>* turn = nullptr;  // of a thread that compiles

struct Alone {
    const string path;
    static std::set<string>& under_way() { static std::set<string> paths; return paths; }
    static std::condition_variable& ended() { static std::condition_variable one; return one; }
    Alone(const string& path) : path(path) {
        if (!turn) return;
        while (under_way().count(path)) ended().wait(*turn);
        under_way().insert(path);
    }
    ~Alone() {
        if (!turn) return;
        under_way().erase(path);
        ended().notify_all();
    }
};

struct Pause {  // to be followed by what runs meanwhile
    Pause() { if (turn) turn->unlock(); }
    ~Pause() { if (turn) turn->lock(); }
};
"""
TAKE_TURN = """        std::unique_lock<std::mutex> turn(jit_compiler::turns);
        jit_compiler::turn = &turn;
"""
LEAVE_TURN = "        jit_compiler::turn = nullptr;\n"
PAUSE = "    Pause pause;\n"

WARP_SUM = """    typedef cub::WarpReduce<T> WarpReduce;
    typename WarpReduce::TempStorage temp_storage;
    value = WarpReduce(temp_storage).Sum(value);
    if (cub::LaneId() == 0)@
        atomicAdd(sum, value);
""".replace("@", " ")  # the published line ends with a space
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


def everywhere(versions):
    return True


def any_cuda(versions):
    return True


def cuda_13(versions):  # CUDA 13 has CCCL 3 and no longer some fields of cudaDeviceProp
    return versions["cuda"] >= (13,)


def cudnn_9(versions):
    return versions["cudnn"] >= (9,)


# name, reason, condition, [(file, [(published text, new text, number of occurrences)])], [files to rename]
REPAIRS = (
    (
        "parallel-compiler",
        "operators are compiled safely on all cores (threads wrote files at the same time)",
        everywhere,
        [
            (
                "src/parallel_compiler.cc",
                [
                    between("EXTERN_LIB int segfault_happen;\n", TURNS, "\n// simple thread"),
                    between("    auto func = [&](int tid) {\n", TAKE_TURN, "        auto& entrys"),
                    between("        }\n", LEAVE_TURN, "    }; // end of threads.launch_all"),
                ],
            ),
            (
                "src/jit_compiler.cc",
                [
                    between("#include <mutex>\n", "#include <condition_variable>\n#include <set>\n", "\n"),
                    between("std::mutex dl_open_mutex;\n", ALONE, "\njit_op_entry_t"),
                    between("    string other_src;\n", "    Alone alone(jit_lib_path);\n", "    LOGvvv"),
                    between("#endif\n", PAUSE, "    cache_compile(cmd, cache_path, jittor_path);\n"),
                ],
            ),
        ],
        [],
    ),
    (
        "transpose",
        "a transpose that moves the last axis runs on the GPU (without the cutt library it ran on the CPU)",
        any_cuda,
        [("src/ops/transpose_op.cc", [(CUTT_END, CUTT_OR_FUSED, 1)])],
        [],
    ),
    (
        "conv-float32",
        "float16 and bfloat16 convolutions accumulate in float32; algorithms are cached for each dtype",
        any_cuda,
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
        "weight gradients of depthwise convolutions are right at any size (they read missing lanes), also on CUDA 13",
        any_cuda,
        [("depthwise_conv.py", [(WARP_SUM, WARP_SUM_OF_ANY_BLOCK, 1)])],
        [],
    ),
    (
        "device-count",
        "without a CUDA driver the number of GPUs is 0, not -1",
        any_cuda,
        [("src/misc/cuda_flags.cc", [(COUNT, COUNT_CHECKED, 1)])],
        [],
    ),
    (
        "device-properties",
        "CUDA 13 has no cudaDeviceProp::computeMode and ::clockRate; helper code used them",
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
        "CUDA 13 has no cub::CountingInputIterator and cub::TransformInputIterator; those of thrust are used",
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
        "Jittor's RNN operators, which no network here uses, are disabled: cuDNN 9 lacks their functions",
        cudnn_9,
        [],
        RNN,
    ),
)
