// The forward pass on the GPU. Two kernels, each launched once an axis, columns first:
//   statistics   e(i, l) = q(i) . k(l) over the line; top(i), the largest e, and total(i), the sum of exp(e - top),
//                merged with those of the earlier axes (their logarithm in two parts: exact for equal energies);
//   values       sum(c, i) += sum over l of exp(e(i, l) - top(i)) v(c, l); after the last axis out = sum / total.
// Energies are made again instead of kept: the weights of a tile live in shared memory while the channels of v stream
// by. A position counts itself on the last axis only.
//
// At 8x512x97x97 with 64 query channels, all axes, every tensor moved once a launch (an H200: 4.3 TB/s, 67 TFLOP/s
// float32, 790 16 bits, measured; a V100: 0.9 TB/s, 15.7 and 125 TFLOP/s, by its data sheet). 97 positions fill 7
// squares of 16, so the arithmetic of a real run is (112 / 97)^2 = 1.33 times that:
//   statistics   float32  79 MB,  1.9 GFLOP: H200 18 us memory, 28 arithmetic; V100   88,  119
//                16 bits  40 MB                    9             2                     45,   15
//   values       float32 850 MB, 16.8 GFLOP:      198           251                   944, 1071
//                16 bits 580 MB                   135            21                   644,  135
// So float32 waits for arithmetic: 32 x 64 sums in the registers of a warp, long lines of keys. 16 bits wait for
// memory: all queries of a line in one tile, where shared memory has room for their weights, so that v comes by once;
// sums stay in float32 between the axes at the price of a quarter of those bytes. `plan` in cca_cuda.cuh weighs this
// for each card.
#ifndef CCA_CUDA_FORWARD_CUH
#define CCA_CUDA_FORWARD_CUH

#ifndef CCA_CUDA_PRODUCT_CUH
#    include "cuda_product.cuh"
#endif

namespace cca {

enum Kernel { kStatistics, kValues, kGradients };

// One axis of one kernel, and its tiles. A thread block takes `queries` positions of the lines of a group, `round` of
// them at a time, 16 to a warp; the keys come in tiles of `keys`.
struct Pass {
    Axis axis;
    int batch, cq, c;
    bool keep_self, first, last;  // of the axes that have something to do
    int shift, queries, round, keys;
    int parts;  // thread blocks that share the channels of a group, in `values`

    __host__ __device__ int groups() const { return (axis.lines + (1 << shift) - 1) >> shift; }
    __host__ __device__ int tiles() const { return (axis.length + queries - 1) / queries; }
    __host__ __device__ int row_blocks() const { return (round / kBlock + kRows - 1) / kRows; }
    __host__ __device__ int column_blocks() const { return (keys / kBlock + kColumns - 1) / kColumns; }
    __host__ __device__ int warps() const { return row_blocks() * column_blocks() << shift; }
};

// Where things lie in the shared memory of a block, in bytes from its start.
template <class T>
struct Layout {
    int weights, a, b, sums, bytes;

    __host__ __device__ Layout(Kernel kernel, const Pass& p) {
        const int lines = 1 << p.shift, wide = kernel == kGradients && p.keys > p.round ? p.keys : p.round;
        weights = 0;  // (line, query, key)
        a = weights + (kernel == kStatistics ? 0 : Tile<T>(p.queries, p.keys).bytes(lines));
        b = a + Tile<T>(kernel == kGradients ? kChunk : depth<T>(), p.round).bytes(lines);
        sums = b + Tile<T>(kernel == kStatistics ? depth<T>() : kChunk, p.keys).bytes(lines);
        const int squares = p.warps() * kBlock * (kBlock + 4) * int(sizeof(float));
        const int tile = kernel == kStatistics ? 0 : Tile<float>(kChunk, wide).bytes(lines);
        bytes = sums + (tile > squares ? tile : squares);
    }
};

// What this block, and this warp in it, is to do.
struct Place {
    int b, tile, part;
    Group group;
    int line, row,
        column;  // of the warp's energies: line of the group, first query of the round, first key of the tile
    int start;   // of that line

    __device__ explicit Place(const Pass& p)
        : b(int(blockIdx.x) / p.parts / p.tiles() / p.groups()),
          tile(int(blockIdx.x) / p.parts % p.tiles()),
          part(int(blockIdx.x) % p.parts),
          group(p.axis, p.shift, int(blockIdx.x) / p.parts / p.tiles() % p.groups()) {
        const int warp = threadIdx.x / 32;
        line = warp & (group.size - 1);
        row = (warp >> p.shift) % p.row_blocks() * kRows * kBlock;
        column = (warp >> p.shift) / p.row_blocks() * kColumns * kBlock;
        const int first = int(blockIdx.x) / p.parts / p.tiles() % p.groups() << p.shift;
        start = p.axis.start(first + (line < group.lines ? line : 0));
    }
    __device__ bool busy(int queries, int keys) const { return line < group.lines && row < queries && column < keys; }
};

typedef int Squares;  // a number of 16 x 16 squares
__device__ inline Squares squares(int n, int most) { return n < most * kBlock ? up(n) / kBlock : most; }
__device__ inline int at_most(int n, int most) { return n < most ? n : most; }

// sum(i, l) = a(i) . b(l) over the channels that are staged, for the queries and keys of the warp.
template <class T>
__device__ void meet(Sums<T, kRows, kColumns>& sum, const Place& here, Shared<const T> a, const Tile<T>& at_a,
                     Shared<const T> b, const Tile<T>& at_b, int queries, int keys) {
    if (here.busy(queries, keys))
        sum.template add<false, false>(a + here.line * at_a.line() + here.row, at_a.pitch(),
                                       b + here.line * at_b.line() + here.column, at_b.pitch(), at_a.channels,
                                       squares(queries - here.row, kRows), squares(keys - here.column, kColumns));
}

// sum(i, l) = q(i) . k(l). q and k point to the channels of one picture.
template <class T>
__device__ void energies(Sums<T, kRows, kColumns>& sum, const Pass& p, const Place& here, Global<const T> q,
                         Global<const T> k, int i0, int queries, int l0, int keys, Shared<T> a, Shared<T> b) {
    const Tile<T> at_a(depth<T>(), p.round), at_b(depth<T>(), p.keys);
    sum.clear();
    __syncthreads();  // whatever was in shared memory has been read
    for (int c = 0; c < p.cq; c += depth<T>()) {
        stage<T>(a, at_a, q + c * p.axis.plane, p.axis, here.group, p.cq - c, i0, queries);
        stage<T>(b, at_b, k + c * p.axis.plane, p.axis, here.group, p.cq - c, l0, keys);
        __syncthreads();
        meet<T>(sum, here, a, at_a, b, at_b, queries, keys);
        __syncthreads();
    }
}

// Gives the sums of a warp to f(m, column, 8 numbers beside each other). Two lanes share a row, that of m * 16 + lane
// / 2.
template <class T, class F>
__device__ void spread(const Sums<T, kRows, kColumns>& sum, Shared<float> square, const Place& here, int queries,
                       int keys, const F& f) {
    const int lane = threadIdx.x % 32, column = lane % 2 * 8, pitch = kBlock + 4;
#pragma unroll
    for (int m = 0; m < kRows; m++)
#pragma unroll
        for (int n = 0; n < kColumns; n++) {
            if (here.row + m * kBlock >= queries || here.column + n * kBlock >= keys) break;
            sum.template store<false>(m, n, square, pitch);
            __syncwarp();
            const Pack<float, 4> left = load_pack<4, float>(square + lane / 2 * pitch + column);
            const Pack<float, 4> right = load_pack<4, float>(square + lane / 2 * pitch + column + 4);
            __syncwarp();
            const float x[8] = {left.x[0],  left.x[1],  left.x[2],  left.x[3],
                                right.x[0], right.x[1], right.x[2], right.x[3]};
            f(m, here.column + n * kBlock + column, x);
        }
}

// sum(c, i) = sum over the keys of b(c, l) weights(i, l), for the staged channels: a square of positions to a warp at a
// time, as long as there are any, into the tile of sums.
template <class T>
__device__ void against_queries(const Pass& p, const Group& group, Shared<const T> b, const Tile<T>& at_b,
                                Shared<const T> weights, const Tile<T>& at_w, Shared<float> sums,
                                const Tile<float>& at_s, int queries, int keys) {
    for (int unit = threadIdx.x / 32; unit < up(queries) / kBlock << p.shift; unit += blockDim.x / 32) {
        const int line = unit & (group.size - 1), row = (unit >> p.shift) * kBlock;
        if (line >= group.lines) continue;
        Sums<T, kChunk / kBlock, 1> sum;
        sum.clear();
        sum.template add<true, true>(b + line * at_b.line(), at_b.pitch(),
                                     weights + line * at_w.line() + row * at_w.pitch(), at_w.pitch(), up(keys));
#pragma unroll
        for (int m = 0; m < kChunk / kBlock; m++)
            sum.template store<true>(m, 0, sums + line * at_s.line() + m * kBlock * at_s.pitch() + row, at_s.pitch());
    }
}

template <class T>
__device__ void store8(Shared<T> to, const float* x) {
    const int N = 16 / sizeof(T);
#pragma unroll
    for (int n = 0; n < 8; n += N) {
        Pack<T, N> pack;
#pragma unroll
        for (int j = 0; j < N; j++) pack.x[j] = from_float<T>(x[n + j]);
        store_pack<N, T>(to + n, pack);
    }
}

template <class T>
__device__ void load8(float* x, Shared<const T> from) {
    const int N = 16 / sizeof(T);
#pragma unroll
    for (int n = 0; n < 8; n += N) {
        const Pack<T, N> pack = load_pack<N, T>(from + n);
#pragma unroll
        for (int j = 0; j < N; j++) x[n + j] = to_float(pack.x[j]);
    }
}

// The largest energy so far, and the sum of exp(energy - top). A NaN makes the sum NaN.
struct Softmax {
    float top, total;
    __device__ void merge(float other_top, float other_total) {
        const float m = fmaxf(top, other_top);
        total = total * expf(top - m) + other_total * expf(other_top - m);
        top = m;
    }
};

// stats: (2, B, positions), top and then total.
template <class T>
__global__ void __launch_bounds__(32 * kMostWarps, side_by_side<T>())
    statistics(const Pass p, const T* q_all, const T* k_all, float* stats_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Layout<T> at(kStatistics, p);
    const Place here(p);
    const Shared<T> a(reinterpret_cast<T*>(memory + at.a)), b(reinterpret_cast<T*>(memory + at.b));
    const Shared<float> square(reinterpret_cast<float*>(memory + at.sums) + threadIdx.x / 32 * kBlock * (kBlock + 4));
    const Global<const T> q = Global<const T>(q_all) + i64(here.b) * p.cq * p.axis.plane;
    const Global<const T> k = Global<const T>(k_all) + i64(here.b) * p.cq * p.axis.plane;
    const int i0 = here.tile * p.queries, row = here.row + threadIdx.x % 32 / 2;
    const int queries = at_most(p.axis.length - i0, p.queries);
    Softmax mine[kRows];
    for (Softmax& one : mine) one = {kLowest, 0};
    for (int l0 = 0; l0 < p.axis.length; l0 += p.keys) {
        const int keys = at_most(p.axis.length - l0, p.keys);
        Sums<T, kRows, kColumns> sum;
        energies<T>(sum, p, here, q, k, i0, queries, l0, keys, a, b);
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
__global__ void __launch_bounds__(32 * kMostWarps, side_by_side<T>())
    values(const Pass p, const T* q_all, const T* k_all, const T* v_all, const float* stats_all, float* sums_all,
           T* out_all) {
    CCA_DYNAMIC_SHARED(memory);
    const Layout<T> at(kValues, p);
    const Place here(p);
    const Axis& axis = p.axis;
    const Shared<T> weights(reinterpret_cast<T*>(memory + at.weights)), a(reinterpret_cast<T*>(memory + at.a)),
        b(reinterpret_cast<T*>(memory + at.b));
    const Shared<float> sums(reinterpret_cast<float*>(memory + at.sums));
    const Tile<T> at_w(p.queries, p.keys), at_v(kChunk, p.keys);
    const Tile<float> at_s(kChunk, p.round);
    const i64 picture = i64(here.b) * axis.plane;
    const Global<const float> stats(stats_all);
    const int i0 = here.tile * p.queries;
    const int queries = at_most(axis.length - i0, p.queries);
    const int c_begin = int(i64(here.part) * p.c / p.parts), c_end = int(i64(here.part + 1) * p.c / p.parts);

    for (int l0 = 0; l0 < axis.length; l0 += p.keys) {
        const int keys = at_most(axis.length - l0, p.keys);
        for (int r = 0; r < queries; r += p.round) {
            const int now = at_most(queries - r, p.round), row = here.row + threadIdx.x % 32 / 2;
            Sums<T, kRows, kColumns> sum;
            energies<T>(sum, p, here, Global<const T>(q_all) + p.cq * picture, Global<const T>(k_all) + p.cq * picture,
                        i0 + r, now, l0, keys, a, b);
            if (!here.busy(now, keys)) continue;
            float top[kRows];
#pragma unroll
            for (int m = 0; m < kRows; m++)
                top[m] = row + m * kBlock < now ? stats[picture + here.start + (i0 + r + row + m * kBlock) * axis.inner]
                                                : -kLowest;  // weight 0
            const Shared<T> to = weights + here.line * at_w.line() + (r + row) * at_w.pitch();
            spread<T>(sum, sums + threadIdx.x / 32 * kBlock * (kBlock + 4), here, now, keys,
                      [&](int m, int column, const float* x) {
                          const int l = l0 + column, itself = p.keep_self ? -1 : i0 + r + row + m * kBlock;
                          float w[8];
#pragma unroll
                          for (int n = 0; n < 8; n++)
                              w[n] = column + n < keys && l + n != itself ? expf(x[n] - top[m]) : 0.f;
                          store8<T>(to + m * kBlock * at_w.pitch() + column, w);
                      });
        }
        __syncthreads();  // weights are complete, and the squares in `sums` read
        for (int c = c_begin; c < c_end; c += kChunk) {
            const int channels = at_most(c_end - c, kChunk);
            const i64 chunk = p.c * picture + i64(c) * axis.plane;
            stage<T>(b, at_v, Global<const T>(v_all) + chunk, axis, here.group, channels, l0, keys);
            __syncthreads();
            for (int r = 0; r < queries; r += p.round) {
                const int now = at_most(queries - r, p.round);
                against_queries<T>(p, here.group, b, at_v, weights + r * at_w.pitch(), at_w, sums, at_s, now, keys);
                __syncthreads();
                const Output<T> out = {Global<float>(sums_all) + chunk, Global<T>(out_all) + chunk, p.first && l0 == 0,
                                       p.last && l0 + p.keys >= axis.length};
                const Global<const float> totals = stats + p.batch * i64(axis.plane) + picture;
                deliver(out, sums, at_s, axis, here.group, channels, i0 + r, now, [&](float x, int i) {
                    return __fdiv_rn(x, totals[here.group.start + (i0 + r + i) * axis.inner]);
                });
                __syncthreads();  // sums and values have been read
            }
        }
    }
}

}  // namespace cca

#endif  // CCA_CUDA_FORWARD_CUH
