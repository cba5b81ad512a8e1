// The CUDA kernels as a library for the tests, executed by cuda_standin.h. Each call returns an error message or "".
//
//   g++ -std=c++14 -O2 -shared -fPIC -include tests/support/cuda_standin.h -I models/cca/src tests/support/cuda_cca.cc
#include "cuda_both_axes.cuh"
#include "guarded.h"

namespace {

cca::Call call_of(int batch, int cq, int c, int axes, const int* sides) {
    return {batch, cq, c, std::vector<int>(sides, sides + axes)};
}

template <class T>
void forward(const cca::Call& call, const void* q, const void* k, const void* v, void* out, float* stats, float* sums,
             bool by_image) {
    call.passes();  // throws if the shape is too large
    std::size_t positions = call.batch;
    for (int side : call.sides) positions *= side;
    const bool separate = (const void*)sums != out;  // for float, sums is out
    const standin::Buffer buffers[] = {
        {"q", q, positions * call.cq * sizeof(T), false},
        {"k", k, positions * call.cq * sizeof(T), false},
        {"v", v, positions * call.c * sizeof(T), false},
        {"out", out, positions * call.c * sizeof(T), true},
        {"stats", stats, positions * 2 * sizeof(float), true},
        {"sums", separate ? sums : nullptr, positions / (by_image ? call.batch : 1) * call.c * 4 * separate, true}};
    const auto f = by_image ? cca::forward_by_image<T> : cca::forward_cuda<T>;
    f(call, (const T*)q, (const T*)k, (const T*)v, (T*)out, stats, sums);
}

template <class T>
void backward(const cca::Call& call, const void* const* in, void* const* to, float* const* sums) {
    std::size_t positions = call.batch;
    for (int side : call.sides) positions *= side;
    const std::size_t few = positions * call.cq * sizeof(T), many = positions * call.c * sizeof(T);
    const bool separate = (const void*)sums[0] != to[0];
    const std::size_t scale = separate * sizeof(float) / sizeof(T);
    const standin::Buffer buffers[] = {{"q", in[0], few, false},
                                       {"k", in[1], few, false},
                                       {"v", in[2], many, false},
                                       {"out", in[3], many, false},
                                       {"stats", in[4], positions * 2 * sizeof(float), false},
                                       {"g", in[5], many, false},
                                       {"dq", to[0], few, true},
                                       {"dk", to[1], few, true},
                                       {"dv", to[2], many, true},
                                       {"sums of dq", separate ? sums[0] : nullptr, few * scale, true},
                                       {"sums of dk", separate ? sums[1] : nullptr, few * scale, true},
                                       {"sums of dv", separate ? sums[2] : nullptr, many * scale, true},
                                       {"delta", sums[3], positions * sizeof(float), true}};
    cca::backward_cuda<T>(
        call, {(const T*)in[0], (const T*)in[1], (const T*)in[2], (const T*)in[3], (const T*)in[5], (const float*)in[4],
               sums[3], sums[0], sums[1], sums[2], (T*)to[0], (T*)to[1], (T*)to[2]});
}

}  // namespace

extern "C" {

// type: 0 float, 1 half, 2 bfloat16
const char* cca_forward(int type, int batch, int cq, int c, int axes, const int* sides, const void* q, const void* k,
                        const void* v, void* out, float* stats, float* sums, int by_image) {
    return guarded([&] {
        const auto f = type == 0 ? forward<float> : type == 1 ? forward<__half> : forward<__nv_bfloat16>;
        f(call_of(batch, cq, c, axes, sides), q, k, v, out, stats, sums, by_image);
    });
}

// in: q, k, v, out, stats, g; to: dq, dk, dv; sums: sums of dq, dk, dv, and delta
const char* cca_backward(int type, int batch, int cq, int c, int axes, const int* sides, const void* const* in,
                         void* const* to, float* const* sums) {
    return guarded([&] {
        const auto f = type == 0 ? backward<float> : type == 1 ? backward<__half> : backward<__nv_bfloat16>;
        f(call_of(batch, cq, c, axes, sides), in, to, sums);
    });
}

// Sets the properties of the device and clears the list of launches.
void cca_device(int shared_limit, int processors, int major) {
    standin::gpu.launches.clear();
    standin::gpu.shared_limit = shared_limit;
    standin::gpu.processors = processors;
    standin::gpu.major = major;
}

// Blocks, threads and bytes of shared memory of launch n. Returns 0 if there is no launch n.
int cca_launch(int n, int* numbers) {
    if (n >= int(standin::gpu.launches.size())) return 0;
    std::copy_n(standin::gpu.launches[n].begin(), 3, numbers);
    return 1;
}

// The tiles of a kernel for one axis (0: columns): lines, queries, round, keys, parts, threads, bytes, ahead.
void cca_plan(int type, int kernel, int axis, int batch, int cq, int c, int height, int width, int shared,
              int processors, int major, int* numbers) {
    const cca::Call call = {batch, cq, c, {height, width}};
    const cca::Device device = {shared, processors, major >= 8};
    const cca::Pass pass = call.passes()[axis];
    const cca::Kernel k = cca::Kernel(kernel);
    const cca::Pass p = type == 0   ? cca::plan<float>(call, k, pass, device)
                        : type == 1 ? cca::plan<__half>(call, k, pass, device)
                                    : cca::plan<__nv_bfloat16>(call, k, pass, device);
    const int bytes = type == 0 ? cca::Layout<float>(k, p).bytes : cca::Layout<__half>(k, p).bytes;
    const int all[] = {1 << p.shift, p.queries, p.round, p.keys, p.parts, 32 * p.warps(), bytes, p.ahead};
    std::copy_n(all, 8, numbers);
}
}
