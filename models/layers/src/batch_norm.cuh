// BatchNorm in training on the GPU, for (B, C, n) float, half or bfloat16: y = activation(normalised x + add). Sums and
// statistics are float. `slope`: of the activation for negative inputs (0: ReLU, 1: none). `add`, the residual, may be
// null. Compiles on its own:
//
//   nvcc -std=c++14 -arch=sm_80 -cubin -o /dev/null models/layers/src/batch_norm.cuh -x cu
//
// The sums of a channel are divided among `slices` thread blocks, a number that depends on the shape only. Each block
// writes its part, and a second small kernel adds the parts in order: no atomics, bitwise reproducible. Planes of any
// size are read 16 bytes at a time; before the first and behind the last multiple of 16 bytes, element by element.
#ifndef BATCH_NORM_CUH
#define BATCH_NORM_CUH

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#ifndef CCA_CUDA_MEMORY_CUH
#    include "../../cca/src/cuda_memory.cuh"
#endif

namespace batch_norm {

using cca::from_float;
using cca::Global;
using cca::i64;
using cca::load_pack;
using cca::Pack;
using cca::Shared;
using cca::store_pack;
using cca::to_float;

const int kThreads = 256, kWarps = kThreads / 32;
const int kResident = 4;  // blocks of a multiprocessor: at most 64 registers a thread
const int kPiece = 8192;  // most values of a plane that a block processes at once

struct Maps {
    int batch, channels, area;
    int phase;  // elements between a multiple of 16 bytes and the first one; -1: arrays differ, or read singly
    __host__ __device__ int pieces() const { return (area + kPiece - 1) / kPiece; }  // of a plane
};

// The layer: statistics of the batch over all ranks, and weights. (channels) each.
struct Layer {
    const float *mean, *var, *weight, *bias;
    float eps, slope;
};

// One channel of it.
struct Channel {
    float mean, deviation, scale, shift, slope;
    __device__ Channel(const Layer& layer, int channel) : slope(layer.slope) {
        mean = Global<const float>(layer.mean)[channel];
        deviation = sqrtf(Global<const float>(layer.var)[channel] + layer.eps);
        scale = Global<const float>(layer.weight)[channel] / deviation;
        shift = Global<const float>(layer.bias)[channel];
    }
    __device__ float normalise(float x) const { return fmaf(x - mean, scale, shift); }
};

template <int N>
struct Width {
    static const int value = N;
};

// Calls work(Width<N>(), i), from the threads of the block, for groups of N neighbouring elements that start at i. They
// cover piece `piece` of a plane (an index of batch * channels + channel). N is 1 or, where aligned, 16 bytes.
template <class T, class Work>
__device__ inline void each(const Maps& m, i64 plane, int piece, const Work& work) {
    const int N = 16 / int(sizeof(T)), length = (m.area + m.pieces() - 1) / m.pieces(), start = piece * length;
    const int count = m.area - start < length ? m.area - start : length;
    const i64 first = plane * m.area + start;
    int head = m.phase < 0 ? count : int((N - (m.phase + first) % N) % N);  // elements before the first multiple
    if (head > count) head = count;
    const int packs = count > head ? (count - head) / N : 0;
    for (int i = threadIdx.x; i < head; i += kThreads) work(Width<1>(), first + i);
#pragma unroll 2
    for (int i = threadIdx.x; i < packs; i += kThreads) work(Width<N>(), first + head + i * N);
    for (int i = head + packs * N + threadIdx.x; i < count; i += kThreads) work(Width<1>(), first + i);
}

// Number of values, their mean and the sum of their squared deviations from it; two sets merge without cancellation.
struct Moments {
    float count, mean, squares;
    __device__ void add(float n, float other, float others) {
        if (n == 0) return;
        const float total = count + n, share = n / total, delta = other - mean;
        mean += delta * share;
        squares += others + delta * delta * count * share;
        count = total;
    }
    __device__ void exchange(int lane) {
        const float n = __shfl_xor_sync(0xffffffffu, count, lane);
        const float other = __shfl_xor_sync(0xffffffffu, mean, lane);
        add(n, other, __shfl_xor_sync(0xffffffffu, squares, lane));
    }
};

// part (slices, 3, channels): the moments of x minus the first value of the channel. One pass over x: with that shift,
// and deviations from the mean of each group, it is as exact as two.
template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    moments_part(const Maps m, int slices, const T* x_all, float* part_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Shared<float> warps(reinterpret_cast<float*>(memory));
    const Global<const T> x(x_all);
    const Global<float> part(part_all);
    const int channel = blockIdx.x / slices, slice = blockIdx.x % slices, pieces = m.pieces();
    const float shift = to_float(x[i64(channel) * m.area]);
    Moments all = {0, 0, 0};
    for (int task = slice; task < m.batch * pieces; task += slices)
        each<T>(m, i64(task / pieces) * m.channels + channel, task % pieces, [&](auto width, i64 at) {
            const int N = decltype(width)::value;
            const Pack<T, N> values = load_pack<N, T>(x + at);
            float v[N], sum = 0, squares = 0;
#pragma unroll
            for (int n = 0; n < N; n++) sum += v[n] = to_float(values.x[n]) - shift;
#pragma unroll
            for (int n = 0; n < N; n++) squares += (v[n] - sum / N) * (v[n] - sum / N);
            all.add(N, sum / N, squares);
        });
    for (int lane = 16; lane; lane /= 2) all.exchange(lane);
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) {
        warps[warp * 3] = all.count;
        warps[warp * 3 + 1] = all.mean;
        warps[warp * 3 + 2] = all.squares;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < kWarps; w++) all.add(warps[w * 3], warps[w * 3 + 1], warps[w * 3 + 2]);
    const Global<float> to = part + i64(slice) * 3 * m.channels + channel;
    to[0] = all.count;
    to[m.channels] = all.mean;
    to[2 * m.channels] = all.squares;
}

// row (2 * channels + 1): means, squared deviations, count of this rank. A warp adds the slices of a channel.
template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    moments_total(const Maps m, int slices, const T* x_all, const float* part_all, float* row_all) {
    const Global<const T> x(x_all);
    const Global<float> part(const_cast<float*>(part_all)), row(row_all);
    const int channel = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
    Moments all = {0, 0, 0};
    if (channel < m.channels)
        for (int slice = lane; slice < slices; slice += 32) {
            const Global<float> from = part + i64(slice) * 3 * m.channels + channel;
            all.add(from[0], from[m.channels], from[2 * m.channels]);
        }
    for (int other = 16; other; other /= 2) all.exchange(other);
    if (channel >= m.channels || lane > 0) return;
    row[channel] = to_float(x[i64(channel) * m.area]) + all.mean;
    row[m.channels + channel] = all.squares;
    if (channel == 0) row[2 * m.channels] = float(m.batch) * m.area;
}

// rows (ranks, 2 * channels + 1) -> mean, biased variance (channels), count (1) of the values of all ranks.
static __global__ void __launch_bounds__(kThreads, kResident)
    merge_ranks(int channels, int ranks, const float* rows_all, float* mean_all, float* var_all, float* count_all) {
    const Global<const float> rows(rows_all);
    const Global<float> mean(mean_all), var(var_all), count(count_all);
    const int channel = blockIdx.x * kThreads + threadIdx.x, length = 2 * channels + 1;
    if (channel >= channels) return;
    Moments all = {0, 0, 0};
#pragma unroll 1
    for (int rank = 0; rank < ranks; rank++) {
        const Global<const float> row = rows + i64(rank) * length;
        all.add(row[length - 1], row[channel], row[channels + channel]);
    }
    mean[channel] = all.mean;
    var[channel] = all.squares / all.count;
    if (channel == 0) count[0] = all.count;
}

template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    apply_layer(const Maps m, const Layer layer, const T* x_all, const T* add_all, T* y_all) {
    const Global<const T> x(x_all), add(add_all);
    const Global<T> y(y_all);
    const int plane = blockIdx.x / m.pieces();
    const bool with_add = add_all != nullptr;
    const Channel c(layer, plane % m.channels);
    each<T>(m, plane, blockIdx.x % m.pieces(), [&](auto width, i64 at) {
        const int N = decltype(width)::value;
        Pack<T, N> values = load_pack<N, T>(x + at), more;
        if (with_add) more = load_pack<N, T>(add + at);
#pragma unroll
        for (int n = 0; n < N; n++) {
            const float z = c.normalise(to_float(values.x[n])) + (with_add ? to_float(more.x[n]) : 0.f);
            values.x[n] = from_float<T>(z > 0 ? z : z * c.slope);
        }
        store_pack<N, T>(y + at, values);
    });
}

// h, the gradient before the activation, of N neighbouring values whose gradient behind it is g. The sign comes from y
// if there is one (with a residual), else from x.
template <class T, int N>
__device__ inline void before_activation(const Channel& c, const Pack<T, N>& g, const Pack<T, N>& x, const T* y_all,
                                         i64 at, float* h) {
    const bool from_y = y_all != nullptr;
    Pack<T, N> y;
    if (from_y) y = load_pack<N, T>(Global<const T>(y_all) + at);
#pragma unroll
    for (int n = 0; n < N; n++) {
        const float z = from_y ? to_float(y.x[n]) : c.normalise(to_float(x.x[n]));
        h[n] = to_float(g.x[n]) * (z > 0 ? 1.f : c.slope);
    }
}

// part (slices, 2, channels): sums of h and of h (x - mean).
template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    sums_part(const Maps m, const Layer layer, int slices, const T* g_all, const T* x_all, const T* y,
              float* part_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Shared<float> warps(reinterpret_cast<float*>(memory));
    const Global<const T> g(g_all), x(x_all);
    const Global<float> part(part_all);
    const int channel = blockIdx.x / slices, slice = blockIdx.x % slices, pieces = m.pieces();
    const Channel c(layer, channel);
    float of_h = 0, of_h_x = 0;
    for (int task = slice; task < m.batch * pieces; task += slices)
        each<T>(m, i64(task / pieces) * m.channels + channel, task % pieces, [&](auto width, i64 at) {
            const int N = decltype(width)::value;
            const Pack<T, N> values = load_pack<N, T>(x + at);
            float h[N];
            before_activation<T, N>(c, load_pack<N, T>(g + at), values, y, at, h);
#pragma unroll
            for (int n = 0; n < N; n++) {
                of_h += h[n];
                of_h_x += h[n] * (to_float(values.x[n]) - c.mean);
            }
        });
    for (int lane = 16; lane; lane /= 2) {
        of_h += __shfl_xor_sync(0xffffffffu, of_h, lane);
        of_h_x += __shfl_xor_sync(0xffffffffu, of_h_x, lane);
    }
    const int warp = threadIdx.x / 32;
    if (threadIdx.x % 32 == 0) {
        warps[warp * 2] = of_h;
        warps[warp * 2 + 1] = of_h_x;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int w = 1; w < kWarps; w++) {
        of_h += warps[w * 2];
        of_h_x += warps[w * 2 + 1];
    }
    const Global<float> to = part + i64(slice) * 2 * m.channels + channel;
    to[0] = of_h;
    to[m.channels] = of_h_x;
}

// both (2, channels): the gradients of bias and weight by the values of this rank.
template <class Sum>
__global__ void __launch_bounds__(kThreads, kResident)
    sums_total(int channels, int slices, const Layer layer, const Sum* part_all, Sum* both_all) {
    const Global<Sum> part(const_cast<Sum*>(part_all)), both(both_all);
    const int channel = blockIdx.x * kWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
    Sum of_h = 0, of_h_x = 0;
    if (channel < channels)
        for (int slice = lane; slice < slices; slice += 32) {
            const Global<Sum> from = part + i64(slice) * 2 * channels + channel;
            of_h += from[0];
            of_h_x += from[channels];
        }
    for (int other = 16; other; other /= 2) {
        of_h += __shfl_xor_sync(0xffffffffu, of_h, other);
        of_h_x += __shfl_xor_sync(0xffffffffu, of_h_x, other);
    }
    if (channel >= channels || lane > 0) return;
    both[channel] = of_h;
    both[channels + channel] = of_h_x / Channel(layer, channel).deviation;
}

// dx, and d_add = h unless d_add is null. both (2, channels): gradients of bias and weight, summed over the ranks;
// count (1): values of a channel of all ranks.
template <class T>
__global__ void __launch_bounds__(kThreads, kResident)
    gradient_of_x(const Maps m, const Layer layer, const float* both_all, const float* count_all, const T* g_all,
                  const T* x_all, const T* y, T* dx_all, T* d_add_all) {
    const Global<const float> both(both_all), count(count_all);
    const Global<const T> g(g_all), x(x_all);
    const Global<T> dx(dx_all), d_add(d_add_all);
    const int plane = blockIdx.x / m.pieces(), channel = plane % m.channels;
    const bool with_add = d_add_all != nullptr;
    const Channel c(layer, channel);
    const float part = c.scale / count[0], shift = part * both[channel];
    const float tilt = part / c.deviation * both[m.channels + channel];
    each<T>(m, plane, blockIdx.x % m.pieces(), [&](auto width, i64 at) {
        const int N = decltype(width)::value;
        Pack<T, N> values = load_pack<N, T>(x + at), result;
        float h[N];
        before_activation<T, N>(c, load_pack<N, T>(g + at), values, y, at, h);
#pragma unroll
        for (int n = 0; n < N; n++) {
            const float centred = to_float(values.x[n]) - c.mean;
            result.x[n] = from_float<T>(h[n] * c.scale - centred * tilt - shift);
            if (with_add) values.x[n] = from_float<T>(h[n]);
        }
        store_pack<N, T>(dx + at, result);
        if (with_add) store_pack<N, T>(d_add + at, values);
    });
}

// ---------------------------------------------------------------------------------------------------------- launches

inline void check(const Maps& m, const char* what) {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("BatchNorm on the GPU, ") + what + ": " + cudaGetErrorString(error) +
                                 " (" + std::to_string(m.batch) + " x " + std::to_string(m.channels) + " channels of " +
                                 std::to_string(m.area) + " values)");
}

// Elements between a multiple of 16 bytes and each of the arrays, -1 if they differ. Arrays that are null do not count.
inline int phase_of(std::initializer_list<const void*> arrays, int size) {
    int phase = -2;
    for (const void* array : arrays) {
        const int here = reinterpret_cast<std::uintptr_t>(array) % 16 / size;
        if (array) phase = phase == -2 || phase == here ? here : -1;
        if (phase == -1) break;
    }
    return phase;
}

inline int blocks_of(int items, int each) { return (items + each - 1) / each; }

template <class T>
void moments(Maps m, int slices, const T* x, float* part, float* row) {
    m.phase = phase_of({x}, sizeof(T));
    CCA_LAUNCH(moments_part<T>, m.channels * slices, kThreads, 3 * kWarps * 4, m, slices, x, part);
    CCA_LAUNCH(moments_total<T>, blocks_of(m.channels, kWarps), kThreads, 0, m, slices, x, part, row);
    check(m, "statistics");
}

inline void merge(Maps m, int ranks, const float* rows, float* mean, float* var, float* count) {
    CCA_LAUNCH(merge_ranks, blocks_of(m.channels, kThreads), kThreads, 0, m.channels, ranks, rows, mean, var, count);
    check(m, "statistics of all ranks");
}

template <class T>
void apply(Maps m, const Layer& layer, const T* x, const T* add, T* y) {
    m.phase = phase_of({x, add, y}, sizeof(T));
    CCA_LAUNCH(apply_layer<T>, m.batch * m.channels * m.pieces(), kThreads, 0, m, layer, x, add, y);
    check(m, "output");
}

template <class T>
void sums(Maps m, const Layer& layer, int slices, const T* g, const T* x, const T* y, float* part, float* both) {
    m.phase = phase_of({g, x, y}, sizeof(T));
    CCA_LAUNCH(sums_part<T>, m.channels * slices, kThreads, 2 * kWarps * 4, m, layer, slices, g, x, y, part);
    CCA_LAUNCH(sums_total<float>, blocks_of(m.channels, kWarps), kThreads, 0, m.channels, slices, layer, part, both);
    check(m, "sums of the gradient");
}

template <class T>
void gradient(Maps m, const Layer& layer, const float* both, const float* count, const T* g, const T* x, const T* y,
              T* dx, T* d_add) {
    m.phase = phase_of({g, x, y, dx, d_add}, sizeof(T));
    CCA_LAUNCH(gradient_of_x<T>, m.batch * m.channels * m.pieces(), kThreads, 0, m, layer, both, count, g, x, y, dx,
               d_add);
    check(m, "gradient");
}

}  // namespace batch_norm

#endif  // BATCH_NORM_CUH
