// The backward pass on the GPU. With the gradient g of out, w(i, l) = exp(e(i, l) - top(i)) / total(i), recomputed from
// the statistics of the forward pass, and delta(i) = sum over c of g(c, i) out(c, i), computed in a launch of its own,
//     dv(c, l) = sum over i of w(i, l) g(c, i)          d(i, l) = w(i, l) (sum over c of g(c, i) v(c, l) - delta(i))
//     dq(c, i) = sum over l of d(i, l) k(c, l)          dk(c, l) = sum over i of d(i, l) q(c, i)
// `gradients` is launched once per axis. A thread block processes all tiles (queries x keys) of its lines one after the
// other, so that no other block adds to the same outputs: no atomics, bitwise reproducible. g . v is accumulated in
// registers over chunks of channels; each chunk of g is also used for that chunk of dv. Columns write, rows add.
//
// At 8x512x97x97 with 64 query channels (rates as in cuda_forward.cuh):
//   delta        float32  309 MB:               H200  72 us memory;                 V100  343
//                16 bits  154 MB                      36                                  172
//   gradients    float32 1274 MB, 35.5 GFLOP:        296             530 arithmetic      1415, 2262
//                16 bits  830 MB                     193              45                  923,  284
// The sums of g . v limit the tile: 8 warps hold 128 x 128 of them, or half as many for each of two lines. Larger tiles
// do not fit into the registers; smaller ones read g or v, and update dv, more often.
#ifndef CCA_CUDA_BACKWARD_CUH
#define CCA_CUDA_BACKWARD_CUH

#ifndef CCA_CUDA_TILES_CUH
#    include "cuda_tiles.cuh"
#endif

namespace cca {

template <class T>
struct Gradients {
    const T *q, *k, *v, *out, *g;
    const float* stats;
    float *delta, *dq_sums, *dk_sums, *dv_sums;  // scratch; for float the sums are dq, dk, dv
    T *dq, *dk, *dv;
};

// delta (B, plane). 32 positions per block, whose warps share the channels; neighbouring lanes read neighbouring
// values.
template <class T>
__global__ void __launch_bounds__(32 * kMostWarps)
    delta(int c, int plane, const T* g_all, const T* out_all, float* to) {
    CCA_DYNAMIC_SHARED(memory);
    const Shared<float> sums(reinterpret_cast<float*>(memory));  // (warp, lane)
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int chunks = (plane + 31) / 32, i = blockIdx.x % chunks * 32 + lane;
    const i64 b = blockIdx.x / chunks;
    const Global<const T> g = Global<const T>(g_all) + b * c * plane, out = Global<const T>(out_all) + b * c * plane;
    float sum = 0;
    if (i < plane)
#pragma unroll 4
        for (int channel = warp; channel < c; channel += kMostWarps)
            sum += to_float(g[channel * plane + i]) * to_float(out[channel * plane + i]);
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp > 0 || i >= plane) return;
    for (int w = 1; w < kMostWarps; w++) sum += sums[w * 32 + lane];
    const Global<float> here = Global<float>(to) + b * plane + i;
    *here = sum;
}

template <class T, bool Ahead>
__global__ void __launch_bounds__(32 * kMostWarps) gradients(const Pass p, const Gradients<T> x) {
    CCA_DYNAMIC_SHARED(memory);
    const Layout<T> at(kGradients, p);
    const Place here(p, int(blockIdx.x));
    const Axis& axis = p.axis;
    const Group& group = here.group;
    const Shared<T> weights(reinterpret_cast<T*>(memory + at.weights)), a(reinterpret_cast<T*>(memory + at.a)),
        b(reinterpret_cast<T*>(memory + at.b)), raw_a(reinterpret_cast<T*>(memory + at.raw_a)),
        raw_b(reinterpret_cast<T*>(memory + at.raw_b));
    const Shared<float> sums(reinterpret_cast<float*>(memory + at.sums));
    const Shared<float> square = sums + threadIdx.x / 32 * kBlock * (kBlock + 4);
    const Tile<T> at_w(p.round, p.keys), at_a(kChunk, p.round), at_b(kChunk, p.keys);
    const Tile<float> at_s(kChunk, p.keys > p.round ? p.keys : p.round);
    const i64 plane_q = i64(here.b) * p.cq * axis.plane, plane_v = i64(here.b) * p.c * axis.plane;
    const Global<const T> q = Global<const T>(x.q) + plane_q, k = Global<const T>(x.k) + plane_q;
    const Global<const T> v = Global<const T>(x.v) + plane_v, g = Global<const T>(x.g) + plane_v;
    const Global<const float> stats(x.stats), deltas(x.delta);
    const bool ahead = Ahead && can_fetch<T>();
    const auto as_is = [](float sum, int) { return sum; };
    const auto ask = [&](const Operand<T>& left, const Operand<T>& right, int c, int channels) {
        left.ask(axis, group, c, channels);
        right.ask(axis, group, c, channels);
        commit_copies();
    };

    for (int l0 = 0; l0 < axis.length; l0 += p.keys)
        for (int i0 = 0; i0 < axis.length; i0 += p.round) {
            const int keys = at_most(axis.length - l0, p.keys), queries = at_most(axis.length - i0, p.round);
            const bool first_keys = l0 == 0, last_keys = l0 + p.keys >= axis.length;
            const bool first_queries = i0 == 0, last_queries = i0 + p.round >= axis.length;
            const int busy = here.busy(queries, keys) ? queries : 0;
            const int row = here.row + threadIdx.x % 32 / 2;  // first query of this thread in weights and d
            const Shared<T> mine = weights + here.line * at_w.line() + row * at_w.pitch();
            const i64 where = i64(here.b) * axis.plane + here.start + (i0 + row) * axis.inner;
            const Operand<T> for_g = {a, raw_a, at_a, g, i0, queries}, for_v = {b, raw_b, at_b, v, l0, keys};
            const Operand<T> for_q = {a, raw_a, at_a, q, i0, queries}, for_k = {b, raw_b, at_b, k, l0, keys};
            {
                Sums<T, kRows, kColumns> energy;
                energies<T>(energy, p, here, {a, raw_a, Tile<T>(depth<T>(), p.round), q, i0, queries},
                            {b, raw_b, Tile<T>(depth<T>(), p.keys), k, l0, keys}, ahead);
                if (ahead) ask(for_g, for_v, 0, p.c);
                float top[kRows], share[kRows];
#pragma unroll
                for (int m = 0; m < kRows; m++) {
                    const i64 at = where + m * kBlock * axis.inner;
                    const bool real = row + m * kBlock < busy;
                    top[m] = real ? stats[at] : -kLowest;  // weight 0
                    share[m] = real ? __frcp_rn(stats[i64(p.batch) * axis.plane + at]) : 0.f;
                }
                spread<T>(energy, square, here, busy, keys, [&](int m, int column, const float* e) {
                    const int l = l0 + column, itself = p.keep_self ? -1 : i0 + row + m * kBlock;
                    float w[8];
#pragma unroll
                    for (int n = 0; n < 8; n++)
                        w[n] = column + n < keys && l + n != itself ? expf(e[n] - top[m]) * share[m] : 0.f;
                    store8<T>(mine + m * kBlock * at_w.pitch() + column, w);
                });
            }
            Sums<T, kRows, kColumns> dw;  // g . v
            dw.clear();
            for (int c = 0; c < p.c; c += kChunk) {
                const int channels = at_most(p.c - c, kChunk);
                if (ahead) wait_for_copies();
                __syncthreads();  // weights are complete; sums, a and b have been read
                for_g.take(axis, group, c, channels, ahead);
                for_v.take(axis, group, c, channels, ahead);
                __syncthreads();
                if (ahead && c + kChunk < p.c) ask(for_g, for_v, c + kChunk, p.c - c - kChunk);
                meet<T>(dw, here, a, at_a, b, at_b, queries, keys);
                against_keys<T>(p, group, a, at_a, weights, at_w, sums, at_s, queries, keys);
                __syncthreads();
                const i64 chunk = plane_v + c * axis.plane;
                deliver(Output<T>{Global<float>(x.dv_sums) + chunk, Global<T>(x.dv) + chunk, p.first && first_queries,
                                  p.last && last_queries},
                        sums, at_s, axis, group, channels, l0, keys, as_is);
            }
            if (ahead) ask(for_q, for_k, 0, p.cq);
            __syncthreads();
            float delta[kRows];
#pragma unroll
            for (int m = 0; m < kRows; m++)
                delta[m] = row + m * kBlock < busy ? deltas[where + m * kBlock * axis.inner] : 0.f;
            spread<T>(dw, square, here, busy, keys, [&](int m, int column, const float* e) {  // weights become d
                const Shared<T> w = mine + m * kBlock * at_w.pitch() + column;
                float d[8];
                load8<T>(d, w);
#pragma unroll
                for (int n = 0; n < 8; n++) d[n] *= e[n] - delta[m];
                store8<T>(w, d);
            });
            for (int c = 0; c < p.cq; c += kChunk) {
                const int channels = at_most(p.cq - c, kChunk);
                const i64 chunk = plane_q + c * axis.plane;
                if (ahead) wait_for_copies();
                __syncthreads();
                for_q.take(axis, group, c, channels, ahead);
                for_k.take(axis, group, c, channels, ahead);
                __syncthreads();
                if (ahead && c + kChunk < p.cq) ask(for_q, for_k, c + kChunk, p.cq - c - kChunk);
                against_queries<T>(p, group, b, at_b, weights, at_w, sums, at_s, queries, keys);
                __syncthreads();
                deliver(Output<T>{Global<float>(x.dq_sums) + chunk, Global<T>(x.dq) + chunk, p.first && first_keys,
                                  p.last && last_keys},
                        sums, at_s, axis, group, channels, i0, queries, as_is);
                __syncthreads();
                against_keys<T>(p, group, a, at_a, weights, at_w, sums, at_s, queries, keys);
                __syncthreads();
                deliver(Output<T>{Global<float>(x.dk_sums) + chunk, Global<T>(x.dk) + chunk, p.first && first_queries,
                                  p.last && last_queries},
                        sums, at_s, axis, group, channels, l0, keys, as_is);
            }
        }
}

}  // namespace cca

#endif  // CCA_CUDA_BACKWARD_CUH
