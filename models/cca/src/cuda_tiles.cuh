// Operations on a tile (queries x keys of a group of lines), used by the forward and the backward kernels: layout of
// shared memory, energies (or g . v) in registers, weights in shared memory, products of channels with the weights.
#ifndef CCA_CUDA_TILES_CUH
#define CCA_CUDA_TILES_CUH

#ifndef CCA_CUDA_PRODUCT_CUH
#    include "cuda_product.cuh"
#endif
#ifndef CCA_CUDA_AHEAD_CUH
#    include "cuda_ahead.cuh"
#endif

namespace cca {

enum Kernel { kStatistics, kValues, kGradients };

// One axis of one kernel, and its tiles. A thread block processes `queries` positions of the lines of a group, `round`
// of them at a time, and the keys in tiles of `keys`. A warp has 32 x 64 energies of one line in its registers.
struct Pass {
    Axis axis;
    int batch, cq, c;
    bool keep_self, first, last;  // first, last: among the axes that contribute
    int shift, queries, round, keys;
    int parts;   // thread blocks that share the channels of a group, in `values`
    bool ahead;  // the next chunk of channels is fetched ahead (cuda_ahead.cuh): kernels with Ahead

    __host__ __device__ int groups() const { return (axis.lines + (1 << shift) - 1) >> shift; }
    __host__ __device__ int tiles() const { return (axis.length + queries - 1) / queries; }
    __host__ __device__ int row_blocks() const { return (round / kBlock + kRows - 1) / kRows; }
    __host__ __device__ int column_blocks() const { return (keys / kBlock + kColumns - 1) / kColumns; }
    __host__ __device__ int warps() const { return row_blocks() * column_blocks() << shift; }
};

// Offsets in the shared memory of a block, in bytes. With p.ahead, a tile of a, b or the values has a buffer. In
// `values` they need little memory of their own: those of a and b end in `sums`, which is not in use meanwhile; that of
// the values begins in a, likewise.
template <class T>
struct Layout {
    int weights, a, b, sums, bytes;
    int raw_a, raw_b, raw_v;

    __host__ __device__ Layout(Kernel kernel, const Pass& p) {
        const int lines = 1 << p.shift, wide = kernel == kGradients && p.keys > p.round ? p.keys : p.round;
        weights = 0;  // (line, query, key)
        const Tile<T> at_a(kernel == kGradients ? kChunk : depth<T>(), p.round);
        const Tile<T> at_b(kernel == kStatistics ? depth<T>() : kChunk, p.keys);
        b = weights + (kernel == kStatistics ? 0 : Tile<T>(p.queries, p.keys).bytes(lines));
        a = b + at_b.bytes(lines);
        raw_v = a;
        raw_b = a + at_a.bytes(lines);
        raw_a = raw_b + (p.ahead ? Raw<T>(at_b, p.axis, lines).bytes : 0);
        const int raw_end = raw_a + (p.ahead ? Raw<T>(at_a, p.axis, lines).bytes : 0);
        const int squares = p.warps() * kBlock * (kBlock + 4) * int(sizeof(float));
        const int tile = kernel == kStatistics ? 0 : Tile<float>(kChunk, wide).bytes(lines);
        const int rest = tile > squares ? tile : squares;
        sums = raw_end;
        if (kernel == kValues && p.ahead) {
            const int end_of_v = raw_v + Raw<T>(at_b, p.axis, lines).bytes;
            sums = raw_end - rest > raw_b ? raw_end - rest : raw_b;
            sums = sums > end_of_v ? sums : end_of_v;
        }
        bytes = sums + rest;
    }
};

// The part of the work of this block and of this warp.
struct Place {
    int b, tile, part;
    Group group;
    int line, start;  // of this warp: line of the group, and its first position
    int row, column;  // of this warp: first query of the round, first key of the tile

    __device__ explicit Place(const Pass& p) : Place(p, not_before(int(blockIdx.x))) {}
    __device__ Place(const Pass& p, int block)
        : b(block / p.parts / p.tiles() / p.groups()),
          tile(block / p.parts % p.tiles()),
          part(block % p.parts),
          group(p.axis, p.shift, block / p.parts / p.tiles() % p.groups()) {
        const int warp = threadIdx.x / 32;
        line = warp & (group.size - 1);
        row = (warp >> p.shift) % p.row_blocks() * kRows * kBlock;
        column = (warp >> p.shift) / p.row_blocks() * kColumns * kBlock;
        const int first = block / p.parts / p.tiles() % p.groups() << p.shift;
        start = p.axis.start(first + (line < group.lines ? line : 0));
    }
    __device__ bool busy(int queries, int keys) const { return line < group.lines && row < queries && column < keys; }
};

// p, but what is computed from its tiles is computed again instead of kept in registers from an earlier use.
__device__ inline Pass again(Pass p) {
    p.shift = not_before(p.shift);
    p.queries = not_before(p.queries);
    p.round = not_before(p.round);
    p.keys = not_before(p.keys);
    return p;
}

// Number of squares of 16 for n positions, at most `most`.
__device__ inline int squares(int n, int most) { return n < most * kBlock ? up(n) / kBlock : most; }
__device__ inline int at_most(int n, int most) { return n < most ? n : most; }

// sum(i, l) += a(i) . b(l) over the staged channels, for the queries and keys of the warp.
template <class T>
__device__ void meet(Sums<T, kRows, kColumns>& sum, const Place& here, Shared<const T> a, const Tile<T>& at_a,
                     Shared<const T> b, const Tile<T>& at_b, int queries, int keys) {
    if (here.busy(queries, keys))
        sum.template add<false, false>(a + here.line * at_a.line() + here.row, at_a.pitch(),
                                       b + here.line * at_b.line() + here.column, at_b.pitch(), at_a.channels,
                                       squares(queries - here.row, kRows), squares(keys - here.column, kColumns));
}

// A tile and the piece of a tensor that it takes chunks of channels from: positions i0 to i0 + positions of the lines.
template <class T>
struct Operand {
    Shared<T> to, raw;
    Tile<T> tile;
    Global<const T> from;
    int i0, positions;

    __device__ void ask(const Axis& axis, const Group& group, int c, int channels) const {
        fetch<T>(raw, tile, from + c * axis.plane, axis, group, channels, i0, positions);
    }
    __device__ void take(const Axis& axis, const Group& group, int c, int channels, bool ahead) const {
        if (ahead)
            unpack<T>(to, tile, raw, from + c * axis.plane, axis, group, channels, i0, positions);
        else
            stage<T>(to, tile, from + c * axis.plane, axis, group, channels, i0, positions);
    }
};

// sum(i, l) = q(i) . k(l). q and k point to the channels of one image. The next chunk of channels is on its way while
// one is multiplied.
template <class T>
__device__ void energies(Sums<T, kRows, kColumns>& sum, const Pass& p, const Place& here, const Operand<T>& q,
                         const Operand<T>& k, bool ahead) {
    const auto ask = [&](int c) {
        q.ask(p.axis, here.group, c, p.cq - c);
        k.ask(p.axis, here.group, c, p.cq - c);
        commit_copies();
    };
    sum.clear();
    if (ahead) {
        __syncthreads();  // the previous content of shared memory has been read
        ask(0);
    }
    for (int c = 0; c < p.cq; c += depth<T>()) {
        if (ahead) wait_for_copies();
        __syncthreads();  // the tiles have been read; the copies have arrived
        q.take(p.axis, here.group, c, p.cq - c, ahead);
        k.take(p.axis, here.group, c, p.cq - c, ahead);
        __syncthreads();
        if (ahead && c + depth<T>() < p.cq) ask(c + depth<T>());
        meet<T>(sum, here, q.to, q.tile, k.to, k.tile, q.positions, k.positions);
    }
}

// Calls f(m, column, 8 neighbouring sums) for all sums of a warp. Two lanes share row m * 16 + lane / 2.
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

// sums(c, i) = sum over the keys of b(c, l) weights(i, l), for the staged channels. Each warp computes one square of
// positions at a time.
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

// sums(c, l) = sum over the queries of the tile of a(c, i) weights(i, l), for the channels staged in a.
template <class T>
__device__ void against_keys(const Pass& p, const Group& group, Shared<const T> a, const Tile<T>& at_a,
                             Shared<const T> weights, const Tile<T>& at_w, Shared<float> sums, const Tile<float>& at_s,
                             int queries, int keys) {
    for (int unit = threadIdx.x / 32; unit < up(keys) / kBlock << p.shift; unit += blockDim.x / 32) {
        const int line = unit & (group.size - 1), column = (unit >> p.shift) * kBlock;
        if (line >= group.lines) continue;
        Sums<T, kChunk / kBlock, 1> sum;
        sum.clear();
        sum.template add<true, false>(a + line * at_a.line(), at_a.pitch(), weights + line * at_w.line() + column,
                                      at_w.pitch(), up(queries));
#pragma unroll
        for (int m = 0; m < kChunk / kBlock; m++)
            sum.template store<false>(m, 0, sums + line * at_s.line() + m * kBlock * at_s.pitch() + column,
                                      at_s.pitch());
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

}  // namespace cca

#endif  // CCA_CUDA_TILES_CUH
