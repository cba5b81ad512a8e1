// Replaces the CUDA runtime, cuDNN and cuBLAS in scripts/machine/compile_for_gpu.py, on a machine without a GPU. Device
// memory is host memory, nothing is computed, and every call succeeds. compile_for_gpu.py adds all functions of the
// real libraries that are not here; those only return 0.
#include <cuda_runtime.h>

#include <cstdlib>
#include <cstring>

#ifndef CAPABILITY
#    define CAPABILITY 90
#endif

namespace {

int anything;  // handles point here
const size_t MEMORY = size_t(80) << 30;

template <class Pointer>
int allocated(Pointer* pointer, size_t size) {
    *pointer = Pointer(std::calloc(size ? size : 1, 1));
    return 0;
}

template <class Handle>
int created(Handle* handle) {
    *handle = Handle(&anything);
    return 0;
}

struct Perf {  // cudnnConvolution*AlgoPerf_t
    int algo, status;
    float time;
    size_t memory;
    int determinism, math, reserved[3];
};

int first_algorithm(int* count, Perf* results) {
    *count = 1;
    results[0] = {};  // algorithm 0, which every direction has, and status 0: success
    return 0;
}

}  // namespace

#define FAKE(name, ...)                                                                            \
    extern "C" __attribute__((visibility("default"))) int fake_##name(__VA_ARGS__) __asm__(#name); \
    extern "C" int fake_##name(__VA_ARGS__)

FAKE(cudaMalloc, void** pointer, size_t size) { return allocated(pointer, size); }
FAKE(cudaMallocHost, void** pointer, size_t size) { return allocated(pointer, size); }
FAKE(cudaMallocManaged, void** pointer, size_t size, unsigned) { return allocated(pointer, size); }
FAKE(cudaHostAlloc, void** pointer, size_t size, unsigned) { return allocated(pointer, size); }
FAKE(cudaFree, void* pointer) {
    std::free(pointer);
    return 0;
}
FAKE(cudaFreeHost, void* pointer) {
    std::free(pointer);
    return 0;
}
FAKE(cudaMemcpy, void* to, const void* from, size_t size, int) {
    std::memmove(to, from, size);
    return 0;
}
FAKE(cudaMemcpyAsync, void* to, const void* from, size_t size, int, void*) {
    std::memmove(to, from, size);
    return 0;
}
FAKE(cudaMemset, void* pointer, int value, size_t size) {
    std::memset(pointer, value, size);
    return 0;
}
FAKE(cudaMemsetAsync, void* pointer, int value, size_t size, void*) {
    std::memset(pointer, value, size);
    return 0;
}
FAKE(cudaMemGetInfo, size_t* free_bytes, size_t* total) {
    *free_bytes = *total = MEMORY;
    return 0;
}
FAKE(cudaGetDevice, int* device) {
    *device = 0;
    return 0;
}
FAKE(cudaGetDeviceCount, int* count) {
    *count = 1;
    return 0;
}

int properties(cudaDeviceProp* found) {
    std::memset(found, 0, sizeof *found);
    std::strcpy(found->name, "no GPU");
    found->major = CAPABILITY / 10, found->minor = CAPABILITY % 10;
    found->totalGlobalMem = MEMORY, found->multiProcessorCount = 132, found->warpSize = 32;
    found->maxThreadsPerBlock = 1024, found->maxThreadsPerMultiProcessor = 2048;
    found->sharedMemPerBlock = 48 << 10, found->sharedMemPerBlockOptin = 227 << 10;
    for (int i = 0; i < 3; i++) found->maxGridSize[i] = 65535, found->maxThreadsDim[i] = 1024;
    return 0;
}
#undef cudaGetDeviceProperties  // CUDA 12 renames it to cudaGetDeviceProperties_v2
FAKE(cudaGetDeviceProperties, cudaDeviceProp* found, int) { return properties(found); }
FAKE(cudaGetDeviceProperties_v2, cudaDeviceProp* found, int) { return properties(found); }

FAKE(cudaDeviceGetAttribute, int* value, int attribute, int) {
    switch (attribute) {
        case cudaDevAttrComputeCapabilityMajor: *value = CAPABILITY / 10; break;
        case cudaDevAttrComputeCapabilityMinor: *value = CAPABILITY % 10; break;
        case cudaDevAttrMultiProcessorCount: *value = 132; break;
        case cudaDevAttrMaxThreadsPerBlock: *value = 1024; break;
        case cudaDevAttrWarpSize: *value = 32; break;
        default: *value = 48 << 10;
    }
    if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) *value = 227 << 10;
    return 0;
}
FAKE(cudaFuncGetAttributes, cudaFuncAttributes* found, const void*) {
    std::memset(found, 0, sizeof *found);
    found->maxThreadsPerBlock = 1024, found->ptxVersion = found->binaryVersion = CAPABILITY;
    return 0;
}
FAKE(cudaOccupancyMaxActiveBlocksPerMultiprocessor, int* blocks, const void*, int, size_t) {
    *blocks = 2;
    return 0;
}
FAKE(cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags, int* blocks, const void*, int, size_t, unsigned) {
    *blocks = 2;
    return 0;
}
FAKE(cudaStreamCreate, void** stream) { return created(stream); }
FAKE(cudaStreamCreateWithFlags, void** stream, unsigned) { return created(stream); }
FAKE(cudaEventCreate, void** event) { return created(event); }
FAKE(cudaEventCreateWithFlags, void** event, unsigned) { return created(event); }
FAKE(cudaLaunchHostFunc, void*, void (*function)(void*), void* data) {
    function(data);
    return 0;
}
extern "C" const char* fake_name(int) __asm__("cudaGetErrorName");
extern "C" const char* fake_name(int) { return "no error"; }
extern "C" const char* fake_text(int) __asm__("cudaGetErrorString");
extern "C" const char* fake_text(int) { return "no error"; }
extern "C" void** fake_register(void*) __asm__("__cudaRegisterFatBinary");
extern "C" void** fake_register(void*) { return reinterpret_cast<void**>(&anything); }

FAKE(cublasCreate_v2, void** handle) { return created(handle); }
FAKE(cudnnCreate, void** handle) { return created(handle); }
FAKE(cudnnCreateTensorDescriptor, void** descriptor) { return created(descriptor); }
FAKE(cudnnCreateFilterDescriptor, void** descriptor) { return created(descriptor); }
FAKE(cudnnCreateConvolutionDescriptor, void** descriptor) { return created(descriptor); }
FAKE(cudnnGetConvolutionForwardWorkspaceSize, void*, void*, void*, void*, void*, int, size_t* size) {
    *size = 1 << 20;
    return 0;
}
FAKE(cudnnGetConvolutionBackwardDataWorkspaceSize, void*, void*, void*, void*, void*, int, size_t* size) {
    *size = 1 << 20;
    return 0;
}
FAKE(cudnnGetConvolutionBackwardFilterWorkspaceSize, void*, void*, void*, void*, void*, int, size_t* size) {
    *size = 1 << 20;
    return 0;
}
FAKE(cudnnFindConvolutionForwardAlgorithmEx, void*, void*, void*, void*, void*, void*, void*, void*, int, int* count,
     Perf* results, void*, size_t) {
    return first_algorithm(count, results);
}
FAKE(cudnnFindConvolutionBackwardDataAlgorithmEx, void*, void*, void*, void*, void*, void*, void*, void*, int,
     int* count, Perf* results, void*, size_t) {
    return first_algorithm(count, results);
}
FAKE(cudnnFindConvolutionBackwardFilterAlgorithmEx, void*, void*, void*, void*, void*, void*, void*, void*, int,
     int* count, Perf* results, void*, size_t) {
    return first_algorithm(count, results);
}
