"""The repairs to Jittor's CUDA code, for machines with a GPU; some depend on the versions of CUDA and cuDNN."""

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

NEWEST = """    max_arch = 90
    if nvcc_version < [11,]:
        max_arch = 75
    elif nvcc_version < [11,1]:
        max_arch = 80
    elif nvcc_version < [11,8]:
        max_arch = 86
"""
ANY = """    max_arch = 1000  # the nvcc script of scripts/prepare_jittor.py knows what nvcc can compile for
"""

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


def any_cuda(versions):
    return True


def cuda_13(versions):  # CUDA 13 has CCCL 3 and no longer some fields of cudaDeviceProp
    return versions["cuda"] >= (13,)


def cudnn_9(versions):
    return versions["cudnn"] >= (9,)


# as in repairs.py
REPAIRS = (
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
        "newer-gpus",
        "GPUs newer than sm_90 are not compiled for as sm_90, whose code does not run there",
        any_cuda,
        [("compiler.py", [(NEWEST, ANY, 1)])],
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
