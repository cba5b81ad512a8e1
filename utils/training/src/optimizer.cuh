// The functions of optimizer.h in CUDA: one launch for all parameters of a table, squares in two. A block processes one
// piece of one parameter; no atomics: partial sums are added in the order of the pieces. Compiles on its own:
//
//   nvcc -std=c++14 -c -o /dev/null -x cu utils/training/src/optimizer.cuh
#ifndef OPTIMIZER_CUH
#define OPTIMIZER_CUH

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

#ifndef STEP_CONTROL_H  // Jittor includes it by its path
#    include "step_control.h"
#endif

#if defined(__CUDACC__)  // tests/support/cuda_standin.h has its own, which check every access
#    define OPTIMIZER_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#    define OPTIMIZER_LAUNCH(kernel, blocks, threads, bytes, ...) kernel<<<blocks, threads, bytes>>>(__VA_ARGS__)
namespace optimizer {
template <class T>
using Global = T*;
}
#else
#    define OPTIMIZER_SHARED CCA_DYNAMIC_SHARED
#    define OPTIMIZER_LAUNCH CCA_LAUNCH
namespace optimizer {
template <class T>
using Global = cca::Global<T>;
}
#endif

namespace optimizer {

typedef long long Size;
const int kThreads = 256, kAtOnce = 4;  // loads of a thread before its first store
const int kPiece = 16384;               // elements of a block
const int kMost = 48;                   // parameters of a launch: kernel arguments are limited to 4 KB

struct Parameter {
    Size count;
    const float *p, *g, *values, *m;
    float *new_p, *new_values, *new_m;
    int block;  // the first one of this parameter
};

struct Table {
    Parameter all[kMost];
    int count;
};

struct Numbers {  // of an optimizer
    float lr, momentum, decay, keep, new_m, new_values, beta_m, beta_values, eps;
};

// -> number of blocks
inline int blocks_of(Parameter* all, int count, Table& table) {
    if (count > kMost) throw std::runtime_error("more parameters than a launch can have");
    int blocks = 0;
    for (int k = 0; k < count; k++) {
        all[k].block = blocks;
        table.all[k] = all[k];
        blocks += int((all[k].count + kPiece - 1) / kPiece);
    }
    table.count = count;
    return blocks;
}

inline void check() {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) throw std::runtime_error(std::string("optimizer kernel: ") + cudaGetErrorString(error));
}

__device__ inline int parameter_of(const Table& table, int block) {
    int low = 0, high = table.count - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (table.all[middle].block <= block)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

// The elements of this block, kAtOnce of them at a time: load(n, i) for all n, then store(n, i).
template <class Load, class Store>
__device__ inline void over_piece(const Parameter& a, const Load& load, const Store& store) {
    const Size first = Size(int(blockIdx.x) - a.block) * kPiece;
    const Size end = first + kPiece < a.count ? first + kPiece : a.count;
    for (Size i = first + threadIdx.x; i < end; i += kThreads * kAtOnce) {
#pragma unroll
        for (int n = 0; n < kAtOnce; n++)
            if (i + n * kThreads < end) load(n, i + n * kThreads);
#pragma unroll
        for (int n = 0; n < kAtOnce; n++)
            if (i + n * kThreads < end) store(n, i + n * kThreads);
    }
}

__global__ void __launch_bounds__(kThreads) sgd_kernel(const Table table, const float* numbers, const Numbers o) {
    const Parameter& a = table.all[parameter_of(table, blockIdx.x)];
    const Global<const float> control(numbers), p(a.p), g(a.g), values(a.values);
    const Global<float> new_p(a.new_p), new_values(a.new_values);
    const bool go = control[kGo] != 0;
    const float inverse = control[kInverse];
    float p0[kAtOnce], g0[kAtOnce], v0[kAtOnce];
    over_piece(
        a, [&](int n, Size i) { p0[n] = p[i], g0[n] = g[i], v0[n] = values[i]; },
        [&](int n, Size i) {
            const float v = o.momentum * v0[n] + (p0[n] * o.decay + g0[n] * inverse);
            new_values[i] = go ? v : v0[n];
            new_p[i] = go ? p0[n] - v * o.lr : p0[n];
        });
}

__global__ void __launch_bounds__(kThreads) adamw_kernel(const Table table, const float* numbers, const Numbers o) {
    const Parameter& a = table.all[parameter_of(table, blockIdx.x)];
    const Global<const float> control(numbers), p(a.p), g(a.g), values(a.values), m(a.m);
    const Global<float> new_p(a.new_p), new_values(a.new_values), new_m(a.new_m);
    const bool go = control[kGo] != 0;
    const float inverse = control[kInverse], size = o.lr / float(control[kCorrectionM]);
    const float root = std::sqrt(float(control[kCorrectionValues]));
    float p0[kAtOnce], g0[kAtOnce], v0[kAtOnce], m0[kAtOnce];
    over_piece(
        a, [&](int n, Size i) { p0[n] = p[i], g0[n] = g[i] * inverse, v0[n] = values[i], m0[n] = m[i]; },
        [&](int n, Size i) {
            const float m1 = o.beta_m * m0[n] + o.new_m * g0[n];
            const float v1 = o.beta_values * v0[n] + o.new_values * g0[n] * g0[n];
            new_m[i] = go ? m1 : m0[n];
            new_values[i] = go ? v1 : v0[n];
            new_p[i] = go ? p0[n] * o.keep - size * m1 / (std::sqrt(v1) / root + o.eps) : p0[n];
        });
}

// new_p = (p + g) * share; p may be absent.
__global__ void __launch_bounds__(kThreads) sum_kernel(const Table table, const float share) {
    const Parameter& a = table.all[parameter_of(table, blockIdx.x)];
    const bool both = a.p != nullptr;
    const Global<const float> p(both ? a.p : a.g), g(a.g);
    const Global<float> new_p(a.new_p);
    float sum[kAtOnce];
    over_piece(
        a, [&](int n, Size i) { sum[n] = both ? p[i] + g[i] : float(g[i]); },
        [&](int n, Size i) { new_p[i] = sum[n] * share; });
}

// The sum of a number of each thread, in thread 0.
__device__ inline double block_sum(double x, Global<double> shared) {
    shared[threadIdx.x] = x;
    for (int half = kThreads / 2; half; half /= 2) {
        __syncthreads();
        if (int(threadIdx.x) < half) shared[threadIdx.x] = shared[threadIdx.x] + shared[threadIdx.x + half];
    }
    return threadIdx.x ? 0 : double(shared[0]);
}

__global__ void __launch_bounds__(kThreads) squares_kernel(const Table table, const float* numbers, double* sums) {
    OPTIMIZER_SHARED(memory);
    const Parameter& a = table.all[parameter_of(table, blockIdx.x)];
    const Global<const float> state(numbers), g(a.g);
    const Global<double> partial(sums);
    const float inverse = 1 / float(state[kScale]);
    float x[kAtOnce], sum = 0;
    over_piece(a, [&](int n, Size i) { x[n] = g[i] * inverse; }, [&](int n, Size) { sum += x[n] * x[n]; });
    const double total = block_sum(sum, Global<double>((double*)memory));
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

__global__ void __launch_bounds__(kThreads)
    total_kernel(const int blocks, const float* first, const double* sums, float* out) {
    OPTIMIZER_SHARED(memory);
    const Global<const float> before(first);
    const Global<const double> partial(sums);
    const Global<float> total(out);
    double sum = 0;
    for (int n = threadIdx.x; n < blocks; n += kThreads) sum += partial[n];
    sum = block_sum(sum, Global<double>((double*)memory));
    if (threadIdx.x == 0) total[0] = float(before[0] + sum);
}

__global__ void gather_kernel(const Table table, float* out) {
    const Global<float> row(out);
    int at = 0;
    for (int k = 0; k < table.count; at += int(table.all[k++].count)) {
        const Global<const float> part(table.all[k].g);
        for (int n = threadIdx.x; n < table.all[k].count; n += 32) row[at + n] = part[n];
    }
}

__global__ void decide_kernel(const Rules rules, const float* row, const float* state, float* control, float* next) {
    if (threadIdx.x == 0)
        decide_step(rules, Global<const float>(row), Global<const float>(state), Global<float>(control),
                    Global<float>(next));
}

// ------------------------------------------------------------------------------------------------------------ launches

inline void sgd(Parameter* all, int count, const float* control, double lr, double momentum, double decay) {
    Table table;
    const int blocks = blocks_of(all, count, table);
    const Numbers o = {float(lr), float(momentum), float(decay), 0, 0, 0, 0, 0, 0};
    OPTIMIZER_LAUNCH(sgd_kernel, blocks, kThreads, 0, table, control, o);
    check();
}

inline void adamw(Parameter* all, int count, const float* control, double lr, double decay, double beta_m,
                  double beta_values, double eps) {
    Table table;
    const int blocks = blocks_of(all, count, table);
    const Numbers o = {float(lr),
                       0,
                       0,
                       float(1 - lr * decay),
                       float(1 - beta_m),
                       float(1 - beta_values),
                       float(beta_m),
                       float(beta_values),
                       float(eps)};
    OPTIMIZER_LAUNCH(adamw_kernel, blocks, kThreads, 0, table, control, o);
    check();
}

inline void add(Parameter* all, int count, float share = 1) {
    Table table;
    const int blocks = blocks_of(all, count, table);
    OPTIMIZER_LAUNCH(sum_kernel, blocks, kThreads, 0, table, share);
    check();
}

inline void squares(Parameter* all, int count, const float* state, const float* before, double* partial, float* total) {
    Table table;
    const int blocks = blocks_of(all, count, table), bytes = kThreads * int(sizeof(double));
    OPTIMIZER_LAUNCH(squares_kernel, blocks, kThreads, bytes, table, state, partial);
    OPTIMIZER_LAUNCH(total_kernel, 1, kThreads, bytes, blocks, before, partial, total);
    check();
}

inline void pack(Parameter* all, int count, float* flat) {
    for (int k = 0; k < count; flat += all[k++].count) all[k].new_p = flat;
    add(all, count);
}

inline void unpack(Parameter* all, int count, const float* flat, float share) {
    for (int k = 0; k < count; flat += all[k++].count) all[k].g = flat;
    add(all, count, share);
}

inline void gather(Parameter* all, int count, float* row) {
    Table table;
    blocks_of(all, count, table);
    OPTIMIZER_LAUNCH(gather_kernel, 1, 32, 0, table, row);
    check();
}

inline void decide(const Rules& rules, const float* row, const float* state, float* control, float* next) {
    OPTIMIZER_LAUNCH(decide_kernel, 1, 32, 0, rules, row, state, control, next);
    check();
}

}  // namespace optimizer

#endif
