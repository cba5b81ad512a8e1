// One axis of the backward pass. The weights w of each line are recomputed from top and total. With the gradient g of
// out and delta = sum over channels of g * out,
//     dv(l) += sum_i w(i, l) g(i)        de(i, l) = w(i, l) (g(i) . v(l) - delta(i))
//     dq(i) += sum_l de(i, l) k(l)       dk(l) += sum_i de(i, l) q(i)
// The first axis writes dq, dk, dv, the later ones add to them. See cca_cpu.h.
#ifndef CCA_CPU_BACKWARD_H
#define CCA_CPU_BACKWARD_H

#ifndef CCA_CPU_COMMON_H
#    include "cpu_common.h"
#endif

namespace cca {

template <class T>
struct Gradients {
    const T *q, *k, *v, *g, *top, *total, *delta;
    T *dq, *dk, *dv;
};

// Writes or adds the lanes of a gradient. Position n of channel m is at to + m * plane + n * step.
template <class T>
struct Accumulate {
    typedef Simd<T> S;
    T* to;
    i64 plane, step;
    int lanes;
    bool write;
    void operator()(i64 m, i64 n, typename S::V sum) const {
        T* here = to + m * plane + n * step;
        S::store(here, write ? sum : S::load(here, lanes) + sum, lanes);
    }
};

template <class T>
void backward_lanes(const Problem& p, const Gradients<T>& x, bool first, int threads) {
    typedef Simd<T> S;
    const Lines& lines = p.lines;
    const i64 N = S::N, L = lines.length, plane = lines.plane(), groups = (p.in_lanes + N - 1) / N;
    const i64 tile = positions_in_tile(L, N), few = 64;  // channels packed at a time
    const i64 tasks = p.batch * lines.outer * groups, inner = lines.inner;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (i64 task = 0; task < tasks; task++) {
        const i64 group = task % groups, o = task / groups % lines.outer, b = task / groups / lines.outer;
        const i64 start = o * L * inner + group * N, at_q = b * p.cq * plane + start, at_v = b * p.c * plane + start;
        const int lanes = int(p.in_lanes - group * N < N ? p.in_lanes - group * N : N);
        Scratch<T> scratch(((p.cq + few) * (L + tile) + 2 * tile * L) * N);
        T *keys = scratch.take(p.cq * L * N), *queries = scratch.take(p.cq * tile * N);
        T *weights = scratch.take(tile * L * N), *energies = scratch.take(tile * L * N);  // energies: gradient of e
        T *values = scratch.take(few * L * N), *grads = scratch.take(few * tile * N);
        pack_lanes(keys, x.k + at_q, p.cq, L, lines, lanes);
        for (i64 i0 = 0; i0 < L; i0 += tile) {
            const i64 count = L - i0 < tile ? L - i0 : tile;
            const bool write = first && i0 == 0;
            pack_lanes(queries, x.q + at_q + i0 * inner, p.cq, count, lines, lanes);
            product<T, false>(count, L, p.cq, queries, N, count * N, keys, N, L * N,
                              [=](i64 i, i64 l, typename S::V e) { S::store(weights + (i * L + l) * N, e); });
            for (i64 i = 0; i < count; i++) {
                const i64 here = b * plane + start + (i0 + i) * inner;
                const typename S::V top = S::load(x.top + here, lanes);
                const typename S::V share = S::splat(T(1)) / S::load_or_one(x.total + here, lanes);
                if (!p.keep_self) S::store(weights + (i * L + i0 + i) * N, S::splat(T(kLowest)));
                for (T* w = weights + i * L * N; w < weights + (i + 1) * L * N; w += N)
                    S::store(w, exp_nonpositive(S::load(w) - top) * share);
            }
            for (i64 c0 = 0; c0 < p.c; c0 += few) {
                const i64 channels = p.c - c0 < few ? p.c - c0 : few, here = at_v + c0 * plane;
                pack_lanes(grads, x.g + here + i0 * inner, channels, count, lines, lanes);
                pack_lanes(values, x.v + here, channels, L, lines, lanes);
                product<T, false>(count, L, channels, grads, N, count * N, values, N, L * N,
                                  [=](i64 i, i64 l, typename S::V sum) {
                                      T* e = energies + (i * L + l) * N;
                                      S::store(e, c0 == 0 ? sum : S::load(e) + sum);
                                  });
                product<T, false>(channels, L, count, grads, count * N, N, weights, N, L * N,
                                  Accumulate<T>{x.dv + here, plane, inner, lanes, write});
            }
            for (i64 i = 0; i < count; i++) {
                const typename S::V delta = S::load(x.delta + b * plane + start + (i0 + i) * inner, lanes);
                for (i64 at = i * L * N; at < (i + 1) * L * N; at += N)
                    S::store(energies + at, S::load(weights + at) * (S::load(energies + at) - delta));
            }
            product<T, false>(p.cq, count, L, keys, L * N, N, energies, L * N, N,
                              Accumulate<T>{x.dq + at_q + i0 * inner, plane, inner, lanes, first});
            product<T, false>(p.cq, L, count, queries, count * N, N, energies, N, L * N,
                              Accumulate<T>{x.dk + at_q, plane, inner, lanes, write});
        }
    }
}

// Like Accumulate, for a contiguous line: vector n of channel m; the last vector may be partial.
template <class T>
struct AccumulateRow {
    typedef Simd<T> S;
    T* to;
    i64 plane, length;
    bool write;
    void operator()(i64 m, i64 n, typename S::V sum) const {
        const i64 rest = length - n * S::N;
        Accumulate<T>{to, plane, S::N, int(rest < S::N ? rest : S::N), write}(m, n, sum);
    }
};

template <class T>
void backward_rows(const Problem& p, const Gradients<T>& x, bool first, int threads) {
    typedef Simd<T> S;
    const Lines& lines = p.lines;
    const i64 N = S::N, L = lines.length, plane = lines.plane(), vectors = (L + N - 1) / N, pitch = vectors * N;
    const i64 few = 64;  // channels packed at a time
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (i64 task = 0; task < p.batch * lines.outer; task++) {
        const i64 b = task / lines.outer, start = task % lines.outer * L;
        const i64 at_q = b * p.cq * plane + start, at_v = b * p.c * plane + start, at = b * plane + start;
        Scratch<T> scratch((2 * p.cq + 2 * few + 4 * L) * pitch);
        T *keys = scratch.take(p.cq * pitch), *queries = scratch.take(p.cq * pitch);
        T *values = scratch.take(few * pitch), *grads = scratch.take(few * pitch);
        T *weights = scratch.take(L * pitch), *energies = scratch.take(L * pitch);      // (key, query)
        T *weights_t = scratch.take(L * pitch), *energies_t = scratch.take(L * pitch);  // (query, key)
        pack_row(keys, x.k + at_q, p.cq, pitch, lines);
        pack_row(queries, x.q + at_q, p.cq, pitch, lines);
        product<T, true>(L, vectors, p.cq, keys, 1, pitch, queries, N, pitch,
                         [=](i64 l, i64 n, typename S::V e) { S::store(weights + l * pitch + n * N, e); });
        if (!p.keep_self)
            for (i64 l = 0; l < L; l++) weights[l * pitch + l] = T(kLowest);
        for (i64 n = 0; n < vectors; n++) {
            const int lanes = int(L - n * N < N ? L - n * N : N);
            const typename S::V top = S::load(x.top + at + n * N, lanes);
            const typename S::V share = S::splat(T(1)) / S::load_or_one(x.total + at + n * N, lanes);
            for (T* w = weights + n * N; w < weights + L * pitch; w += pitch)
                S::store(w, exp_nonpositive(S::load(w) - top) * share);
        }
        transpose(weights_t, weights, L, pitch);
        for (i64 c0 = 0; c0 < p.c; c0 += few) {
            const i64 channels = p.c - c0 < few ? p.c - c0 : few, here = at_v + c0 * plane;
            pack_row(grads, x.g + here, channels, pitch, lines);
            pack_row(values, x.v + here, channels, pitch, lines);
            product<T, true>(L, vectors, channels, values, 1, pitch, grads, N, pitch,
                             [=](i64 l, i64 n, typename S::V sum) {
                                 T* e = energies + l * pitch + n * N;
                                 S::store(e, c0 == 0 ? sum : S::load(e) + sum);
                             });
            product<T, true>(channels, vectors, L, grads, pitch, 1, weights_t, N, pitch,
                             AccumulateRow<T>{x.dv + here, plane, L, first});
        }
        for (i64 n = 0; n < vectors; n++) {
            const typename S::V delta = S::load(x.delta + at + n * N, int(L - n * N < N ? L - n * N : N));
            for (i64 e = n * N; e < L * pitch; e += pitch)
                S::store(energies + e, S::load(weights + e) * (S::load(energies + e) - delta));
        }
        transpose(energies_t, energies, L, pitch);
        product<T, true>(p.cq, vectors, L, keys, pitch, 1, energies, N, pitch,
                         AccumulateRow<T>{x.dq + at_q, plane, L, first});
        product<T, true>(p.cq, vectors, L, queries, pitch, 1, energies_t, N, pitch,
                         AccumulateRow<T>{x.dk + at_q, plane, L, first});
    }
}

}  // namespace cca

#endif  // CCA_CPU_BACKWARD_H
