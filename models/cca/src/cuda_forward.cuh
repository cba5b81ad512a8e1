// The forward pass on the GPU. Two kernels, each launched once per axis, columns first:
//   statistics   e(i, l) = q(i) . k(l) over the line; top(i), the maximum of e, and total(i), the sum of exp(e - top),
//                merged with those of the earlier axes (log-sum-exp in two parts, exact for equal energies);
//   values       sum(c, i) += sum over l of exp(e(i, l) - top(i)) v(c, l); after the last axis out = sum / total.
// Energies are recomputed instead of stored: the weights of a tile stay in shared memory while the channels of v are
// read in chunks. A position is counted on the last axis only.
//
// Lower bounds in microseconds at 8x512x97x97 with 64 query channels, all axes, if every tensor is moved once per
// launch (H200: 4.3 TB/s, 67 TFLOP/s in float32, 790 in 16 bits, measured; V100: 0.9 TB/s, 15.7 and 125 TFLOP/s, data
// sheet). 97 positions need 7 squares of 16, so the actual arithmetic is (112 / 97)^2 = 1.33 times that:
//   statistics   float32  79 MB,  1.9 GFLOP: H200 18 us memory, 28 arithmetic; V100   88,  119
//                16 bits  40 MB                    9             2                     45,   15
//   values       float32 850 MB, 16.8 GFLOP:      198           251                   944, 1071
//                16 bits 580 MB                   135            21                   644,  135
// So float32 is limited by arithmetic: 32 x 64 sums in the registers of a warp, long tiles of keys. 16 bits are limited
// by memory: all queries of a line in one tile, if shared memory has room for their weights, so that v is read once;
// tiles are fetched ahead where the card can (cuda_ahead.cuh).
// Sums stay in float32 between the axes, which takes a quarter of those bytes. `plan` in cca_cuda.cuh chooses the tiles
// for each card.
#ifndef CCA_CUDA_FORWARD_CUH
#define CCA_CUDA_FORWARD_CUH

#ifndef CCA_CUDA_TILES_CUH
#    include "cuda_tiles.cuh"
#endif

namespace cca {

// The maximum energy so far and the sum of exp(energy - top). If an energy is NaN, the sum is NaN.
struct Softmax {
    float top, total;
    __device__ void merge(float other_top, float other_total) {
        const float m = fmaxf(top, other_top);
        total = total * expf(top - m) + other_total * expf(other_top - m);
        top = m;
    }
};

// stats: (2, B, positions), top, then total.
template <class T, bool Ahead>
__global__ void __launch_bounds__(32 * kMostWarps, side_by_side<T>())
    statistics(const Pass p, const T* q_all, const T* k_all, float* stats_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Layout<T> at(kStatistics, p);
    const Place here(p, int(blockIdx.x));
    const Shared<T> a(reinterpret_cast<T*>(memory + at.a)), b(reinterpret_cast<T*>(memory + at.b));
    const Shared<float> square(reinterpret_cast<float*>(memory + at.sums) + threadIdx.x / 32 * kBlock * (kBlock + 4));
    const Global<const T> q = Global<const T>(q_all) + i64(here.b) * p.cq * p.axis.plane;
    const Global<const T> k = Global<const T>(k_all) + i64(here.b) * p.cq * p.axis.plane;
    const Shared<T> raw_a(reinterpret_cast<T*>(memory + at.raw_a)), raw_b(reinterpret_cast<T*>(memory + at.raw_b));
    const int i0 = here.tile * p.queries, row = here.row + threadIdx.x % 32 / 2;
    const int queries = at_most(p.axis.length - i0, p.queries);
    const bool ahead = Ahead && can_fetch<T>();
    const Operand<T> for_q = {a, raw_a, Tile<T>(depth<T>(), p.round), q, i0, queries};
    Softmax mine[kRows];
    for (Softmax& one : mine) one = {kLowest, 0};
    for (int l0 = 0; l0 < p.axis.length; l0 += p.keys) {
        const int keys = at_most(p.axis.length - l0, p.keys);
        Sums<T, kRows, kColumns> sum;
        energies<T>(sum, p, here, for_q, Operand<T>{b, raw_b, Tile<T>(depth<T>(), p.keys), k, l0, keys}, ahead);
        spread<T>(sum, square, here, here.busy(queries, keys) ? queries : 0, keys,
                  [&](int m, int column, const float* x) {
                      const int l = l0 + column, itself = p.keep_self ? -1 : i0 + row + m * kBlock;
                      Softmax eight = {kLowest, 0};
#pragma unroll
                      for (int n = 0; n < 8; n++)
                          if (column + n < keys && l + n != itself) eight.top = fmaxf(eight.top, x[n]);
#pragma unroll
                      for (int n = 0; n < 8; n++)
                          if (column + n < keys && l + n != itself) eight.total += expf(x[n] - eight.top);
                      mine[m].merge(eight.top, eight.total);
                  });
    }
    const Global<float> stats = Global<float>(stats_all) + i64(here.b) * p.axis.plane + here.start;
    const i64 totals = i64(p.batch) * p.axis.plane;
#pragma unroll
    for (int m = 0; m < kRows; m++) {
        mine[m].merge(__shfl_xor_sync(0xffffffffu, mine[m].top, 1), __shfl_xor_sync(0xffffffffu, mine[m].total, 1));
        if (threadIdx.x % 2 || row + m * kBlock >= queries || here.line >= here.group.lines) continue;
        const i64 at = (i0 + row + m * kBlock) * p.axis.inner;
        if (!p.first) mine[m].merge(stats[at], stats[totals + at]);
        stats[at] = mine[m].top;
        stats[totals + at] = mine[m].total;
    }
}

template <class T>
struct Forward {
    const T *q, *k, *v;
    const float *tops, *totals;  // the statistics
    float* sums;
    T* out;
};

// The weights of the queries of this block against the keys from l0 on.
template <class T, bool Ahead>
__device__ void weigh(const Pass& p, const Forward<T>& x, unsigned char* memory, int l0) {
    const bool ahead = Ahead && can_fetch<T>();
    const Layout<T> at(kValues, p);
    const Place here(p);
    const Axis& axis = p.axis;
    const Shared<T> weights(reinterpret_cast<T*>(memory + at.weights)), a(reinterpret_cast<T*>(memory + at.a)),
        b(reinterpret_cast<T*>(memory + at.b)), raw_a(reinterpret_cast<T*>(memory + at.raw_a)),
        raw_b(reinterpret_cast<T*>(memory + at.raw_b));
    const Shared<float> square(reinterpret_cast<float*>(memory + at.sums) + threadIdx.x / 32 * kBlock * (kBlock + 4));
    const Tile<T> at_w(p.queries, p.keys);
    const i64 image = i64(here.b) * axis.plane;
    const Global<const float> tops(x.tops);
    const int i0 = here.tile * p.queries, keys = at_most(axis.length - l0, p.keys);
    const int queries = at_most(axis.length - i0, p.queries);
    for (int r = 0; r < queries; r += p.round) {
        const int now = at_most(queries - r, p.round), row = here.row + threadIdx.x % 32 / 2;
        Sums<T, kRows, kColumns> sum;
        energies<T>(sum, p, here,
                    {a, raw_a, Tile<T>(depth<T>(), p.round), Global<const T>(x.q) + p.cq * image, i0 + r, now},
                    {b, raw_b, Tile<T>(depth<T>(), p.keys), Global<const T>(x.k) + p.cq * image, l0, keys}, ahead);
        if (!here.busy(now, keys)) continue;
        float top[kRows];
#pragma unroll
        for (int m = 0; m < kRows; m++)
            top[m] = row + m * kBlock < now ? tops[image + here.start + (i0 + r + row + m * kBlock) * axis.inner]
                                            : -kLowest;  // weight 0
        const Shared<T> to = weights + here.line * at_w.line() + (r + row) * at_w.pitch();
        spread<T>(sum, square, here, now, keys, [&](int m, int column, const float* e) {
            const int l = l0 + column, itself = p.keep_self ? -1 : i0 + r + row + m * kBlock;
            float w[8];
#pragma unroll
            for (int n = 0; n < 8; n++) w[n] = column + n < keys && l + n != itself ? expf(e[n] - top[m]) : 0.f;
            store8<T>(to + m * kBlock * at_w.pitch() + column, w);
        });
    }
    __syncthreads();  // weights are complete, and the squares have been read
}

// Adds the values of these keys with their weights to the sums of the queries.
template <class T, bool Ahead>
__device__ void apply(const Pass& p, const Forward<T>& x, unsigned char* memory, int l0) {
    const bool ahead = Ahead && can_fetch<T>();
    const Layout<T> at(kValues, p);
    const Place here(p);
    const Axis& axis = p.axis;
    const Shared<T> weights(reinterpret_cast<T*>(memory + at.weights)), b(reinterpret_cast<T*>(memory + at.b)),
        raw(reinterpret_cast<T*>(memory + at.raw_v));
    const Shared<float> sums(reinterpret_cast<float*>(memory + at.sums));
    const Tile<T> at_w(p.queries, p.keys), at_v(kChunk, p.keys);
    const Tile<float> at_s(kChunk, p.round);
    const i64 image = i64(here.b) * axis.plane;
    const Global<const float> totals = Global<const float>(x.totals) + image;
    const int i0 = here.tile * p.queries, keys = at_most(axis.length - l0, p.keys);
    const int queries = at_most(axis.length - i0, p.queries);
    const int begin = int(i64(here.part) * p.c / p.parts), end = int(i64(here.part + 1) * p.c / p.parts);
    const Operand<T> v = {b, raw, at_v, Global<const T>(x.v) + p.c * image, l0, keys};
    const auto ask = [&](int c) {
        v.ask(axis, here.group, c, end - c);
        commit_copies();
    };
    if (ahead) {
        ask(begin);
        wait_for_copies();
        __syncthreads();
    }
    for (int c = begin; c < end; c += kChunk) {
        const int channels = at_most(end - c, kChunk);
        const i64 chunk = p.c * image + i64(c) * axis.plane;
        v.take(axis, here.group, c, channels, ahead);
        __syncthreads();
        if (ahead && c + kChunk < end) ask(c + kChunk);
        for (int r = 0; r < queries; r += p.round) {
            const int now = at_most(queries - r, p.round);
            against_queries<T>(p, here.group, b, at_v, weights + r * at_w.pitch(), at_w, sums, at_s, now, keys);
            __syncthreads();
            const Output<T> out = {Global<float>(x.sums) + chunk, Global<T>(x.out) + chunk, p.first && l0 == 0,
                                   p.last && l0 + p.keys >= axis.length};
            deliver(out, sums, at_s, axis, here.group, channels, i0 + r, now,
                    [&](float sum, int i) { return __fdiv_rn(sum, totals[i]); });
            if (ahead && r + p.round >= queries) wait_for_copies();
            __syncthreads();  // sums and values have been read
        }
    }
}

template <class T, bool Ahead>
__global__ void __launch_bounds__(32 * kMostWarps, side_by_side<T>()) values(const Pass p, const Forward<T> x) {
    CCA_DYNAMIC_SHARED(memory);
    for (int l0 = 0; l0 < p.axis.length; l0 += p.keys) {
        weigh<T, Ahead>(again(p), x, memory, l0);
        apply<T, Ahead>(again(p), x, memory, l0);
    }
}

}  // namespace cca

#endif  // CCA_CUDA_FORWARD_CUH
