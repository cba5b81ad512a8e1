"""The repairs to Jittor's cuDNN convolutions, besides conv-float32 in cuda_repairs.py: tensor cores and workspace.

cuDNN's fast algorithms need workspace, temporary memory on the GPU. As published, Jittor ends the program where a
workspace cannot be allocated, although slower algorithms need less or none.
"""

from scripts.machine.compiler_repairs import between
from scripts.machine.cuda_repairs import CONVOLUTIONS, any_cuda

FORWARD, BACKWARD_X, BACKWARD_W, FORWARD_3D, BACKWARD_X_3D, BACKWARD_W_3D = CONVOLUTIONS
CALLS = {  # cuDNN's word for the direction, the order of its descriptors
    FORWARD: ("Forward", "cudnnIdesc, cudnnFdesc, cudnnConvDesc, cudnnOdesc"),
    BACKWARD_X: ("BackwardData", "cudnnFdesc, cudnnOdesc, cudnnConvDesc, cudnnIdesc"),
    BACKWARD_W: ("BackwardFilter", "cudnnIdesc, cudnnOdesc, cudnnConvDesc, cudnnFdesc"),
}
CALLS.update({FORWARD_3D: CALLS[FORWARD], BACKWARD_X_3D: CALLS[BACKWARD_X], BACKWARD_W_3D: CALLS[BACKWARD_W]})

TENSOR_CORES = "    if(use_tensorcore){\n"
TENSOR_CORES_FOR_16_BITS = "    if (use_tensorcore || sizeof(Tx) == 2 || sizeof(Tw) == 2 || sizeof(Ty) == 2) {\n"

COMPLETE_LIST = between(
    "        CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3,\n",
    "        CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD,\n",
    "        CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,\n",
)
ALLOCATOR = between('#include "common.h"\n', '#include "mem/allocator.h"\n', "\nnamespace jittor")
HELPER = """
// Allocates `size` bytes; with too little free memory, cached blocks are freed first, then `size` is halved down to 0.
inline void* allocate_up_to(Allocator* allocator, size_t& size, size_t& allocation) {
    for (bool collected = false;; collected = true) {
        try {
            return allocator->alloc(size, allocation);
        } catch (const std::exception&) {
            if (size == 0) throw;
            if (!collected) gc_all();
            else size = size >= (2u << 20) ? size / 2 : 0;
        }
    }
}
"""
HELPER = between("EXTERN_LIB float max_workspace_ratio;\n", HELPER, "\n// @pyjt(set_algorithm_cache_size)")
TRIAL = "void* ws = exe.temp_allocator->alloc(max_ws_size, allocation);"
TRIAL_THAT_FITS = "void* ws = allocate_up_to(exe.temp_allocator, max_ws_size, allocation);"
RUN = """        workSpace = exe.temp_allocator->alloc(workSpaceSize, allocation);
"""
RUN_THAT_FITS = """        size_t available = workSpaceSize;
        workSpace = allocate_up_to(exe.temp_allocator, available, allocation);
        if (available < workSpaceSize) {  // this time with the fastest algorithm whose workspace fits
            checkCudaErrors(cudnnGetConvolution%(name)sAlgorithm_v7(
                handle_, %(order)s, num_algos, &perf_count, perf_results));
            bool found = false;
            for (int i = 0; i < perf_count && !found; i++) {
                size_t needed = 0;
                found = perf_results[i].status == CUDNN_STATUS_SUCCESS &&
                    cudnnGetConvolution%(name)sWorkspaceSize(
                        handle_, %(order)s, perf_results[i].algo, &needed) == CUDNN_STATUS_SUCCESS &&
                    needed <= available;
                if (found) algo = perf_results[i].algo;
            }
            ASSERT(found) << "GPU memory is used up: no algorithm of this convolution works with" << available
                << "bytes of workspace. Fix: a smaller batch or crop";
            workSpaceSize = available;
        }
"""


def workspace_edits(file):
    name, order = CALLS[file]
    return (file, [(TRIAL, TRIAL_THAT_FITS, 1), (RUN, RUN_THAT_FITS % {"name": name, "order": order}, 1)])


# as in repairs.py
REPAIRS = (
    (
        "conv-tensor-cores",
        "gradients of float16 and bfloat16 convolutions use tensor cores, as the forward already did",
        any_cuda,
        [(file, [(TENSOR_CORES, TENSOR_CORES_FOR_16_BITS, 1)]) for file in CONVOLUTIONS if file != FORWARD],
        [],
    ),
    (
        "conv-algorithms",
        "the list of algorithms for weight gradients is complete (the loop read past its end)",
        any_cuda,
        [(file, [COMPLETE_LIST]) for file in (BACKWARD_W, BACKWARD_W_3D)],
        [],
    ),
    (
        "conv-workspace",
        "a convolution whose workspace cannot be allocated uses an algorithm with less, not an error",
        any_cuda,
        [
            ("extern/cuda/cudnn/inc/cudnn_wrapper.h", [ALLOCATOR, HELPER]),
            *map(workspace_edits, CONVOLUTIONS),
        ],
        [],
    ),
)
