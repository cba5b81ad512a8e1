// One axis of the forward pass: energies of all pairs of positions of a line, softmax merged with top and total of the
// earlier axes, weighted sum of the values merged into out. See cca_cpu.h.
#ifndef CCA_CPU_FORWARD_H
#define CCA_CPU_FORWARD_H

#ifndef CCA_CPU_COMMON_H
#    include "cpu_common.h"
#endif

namespace cca {

template <class T>
void forward_lanes(const Problem& p, const T* q, const T* k, const T* v, T* out, const T* top0, const T* total0,
                   T* top1, T* total1, bool first, bool last, int threads) {
    typedef Simd<T> S;
    const Lines& lines = p.lines;
    const i64 N = S::N, L = lines.length, plane = lines.plane(), groups = (p.in_lanes + N - 1) / N;
    const i64 tile = positions_in_tile(L, N), few = 6;  // channels of v packed at a time
    i64 parts = 1;  // with more threads than lines, several threads share a line, each for a part of the channels
    while (p.batch * lines.outer * groups * parts < 2 * threads && parts * 64 < p.c) parts *= 2;
    const i64 tasks = p.batch * lines.outer * groups * parts;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (i64 task = 0; task < tasks; task++) {
        const i64 part = task % parts, group = task / parts % groups, o = task / parts / groups % lines.outer;
        const i64 b = task / parts / groups / lines.outer, start = o * L * lines.inner + group * N;
        const int lanes = int(p.in_lanes - group * N < N ? p.in_lanes - group * N : N);
        Scratch<T> scratch((p.cq * (L + tile) + tile * L + few * L + tile) * N);
        T *keys = scratch.take(p.cq * L * N), *queries = scratch.take(p.cq * tile * N);
        T *weights = scratch.take(tile * L * N), *values = scratch.take(few * L * N);
        T* scale_old = scratch.take(tile * N);
        pack_lanes(keys, k + b * p.cq * plane + start, p.cq, L, lines, lanes);
        for (i64 i0 = 0; i0 < L; i0 += tile) {
            const i64 count = L - i0 < tile ? L - i0 : tile, at = b * plane + start + i0 * lines.inner;
            pack_lanes(queries, q + b * p.cq * plane + start + i0 * lines.inner, p.cq, count, lines, lanes);
            product<T, false>(count, L, p.cq, queries, N, count * N, keys, N, L * N,
                              [=](i64 i, i64 l, typename S::V e) { S::store(weights + (i * L + l) * N, e); });
            for (i64 i = 0; i < count; i++) {
                if (!p.keep_self) S::store(weights + (i * L + i0 + i) * N, S::splat(T(kLowest)));
                const i64 here = at + i * lines.inner;
                typename S::V before = first ? typename S::V{} : S::load(top0 + here, lanes);
                typename S::V sum = first ? typename S::V{} : S::load(total0 + here, lanes);
                Merge<T> m(weights + i * L * N, L, N, first, before, sum);
                S::store(scale_old + i * N, m.scale_old);
                if (part == 0) S::store(top1 + here, m.top, lanes), S::store(total1 + here, m.total, lanes);
            }
            const i64 c_end = (part + 1) * p.c / parts;
            for (i64 c0 = part * p.c / parts; c0 < c_end; c0 += few) {
                const i64 channels = c_end - c0 < few ? c_end - c0 : few;
                pack_lanes(values, v + (b * p.c + c0) * plane + start, channels, L, lines, lanes);
                T* to = out + (b * p.c + c0) * plane + start + i0 * lines.inner;
                product<T, false>(channels, count, L, values, L * N, N, weights, L * N, N,
                                  [=](i64 c, i64 i, typename S::V sum) {
                                      T* here = to + c * plane + i * lines.inner;
                                      if (!first) sum += S::load(here, lanes) * S::load(scale_old + i * N);
                                      S::store(here, sum, lanes);
                                  });
            }
        }
    }
}

template <class T>
void forward_rows(const Problem& p, const T* q, const T* k, const T* v, T* out, const T* top0, const T* total0, T* top1,
                  T* total1, bool first, bool last, int threads) {
    typedef Simd<T> S;
    const Lines& lines = p.lines;
    const i64 N = S::N, L = lines.length, plane = lines.plane(), vectors = (L + N - 1) / N, pitch = vectors * N;
    const i64 few = 24;  // channels of a line before the next line
    i64 together = 4;    // neighbouring lines per task: longer contiguous reads
    while (together > 1 && p.batch * lines.outer < together * 2 * threads) together /= 2;
    while (together > 1 && together * L * pitch * i64(sizeof(T)) > (768 << 10)) together /= 2;
    const i64 bundles = (lines.outer + together - 1) / together;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
    for (i64 task = 0; task < p.batch * bundles; task++) {
        const i64 b = task / bundles, o0 = task % bundles * together;
        const i64 rows = lines.outer - o0 < together ? lines.outer - o0 : together;
        Scratch<T> scratch(2 * p.cq * pitch + together * (L + 3) * pitch);
        T *keys = scratch.take(p.cq * pitch), *queries = scratch.take(p.cq * pitch);
        T *weights = scratch.take(together * L * pitch), *scales = scratch.take(together * 3 * pitch);
        for (i64 r = 0; r < rows; r++) {
            const i64 at = b * plane + (o0 + r) * L;
            T *w = weights + r * L * pitch, *scale_old = scales + 3 * r * pitch;
            pack_row(keys, k + b * p.cq * plane + (o0 + r) * L, p.cq, pitch, lines);
            pack_row(queries, q + b * p.cq * plane + (o0 + r) * L, p.cq, pitch, lines);
            product<T, true>(L, vectors, p.cq, keys, 1, pitch, queries, N, pitch,  // weights (key, query)
                             [=](i64 l, i64 n, typename S::V e) { S::store(w + l * pitch + n * N, e); });
            if (!p.keep_self)
                for (i64 l = 0; l < L; l++) w[l * pitch + l] = T(kLowest);
            for (i64 n = 0; n < vectors; n++) {
                const int lanes = int(L - n * N < N ? L - n * N : N);
                typename S::V before = first ? typename S::V{} : S::load(top0 + at + n * N, lanes);
                typename S::V sum = first ? typename S::V{} : S::load(total0 + at + n * N, lanes);
                Merge<T> m(w + n * N, L, pitch, first, before, sum);
                S::store(scale_old + n * N, m.scale_old);
                S::store(scale_old + pitch + n * N, m.total);
                S::store(scale_old + 2 * pitch + n * N, T(1) / m.total);
                S::store(top1 + at + n * N, m.top, lanes);
                S::store(total1 + at + n * N, m.total, lanes);
            }
        }
        for (i64 c0 = 0; c0 < p.c; c0 += few) {
            const i64 channels = p.c - c0 < few ? p.c - c0 : few;
            for (i64 r = 0; r < rows; r++) {
                const i64 at = (b * p.c + c0) * plane + (o0 + r) * L;
                T* to = out + at;
                const T* scale = scales + 3 * r * pitch;
                product<T, true>(channels, vectors, L, v + at, plane, 1, weights + r * L * pitch, N, pitch,
                                 [=](i64 c, i64 n, typename S::V sum) {
                                     const int lanes = int(L - n * N < N ? L - n * N : N);
                                     T* here = to + c * plane + n * N;
                                     if (!first) sum += S::load(here, lanes) * S::load(scale + n * N);
                                     if (last) {  // sum / total with one correction step: exact if the quotient is
                                         const typename S::V share = S::load(scale + 2 * pitch + n * N);
                                         const typename S::V quotient = sum * share;
                                         sum = quotient + (sum - quotient * S::load(scale + pitch + n * N)) * share;
                                     }
                                     S::store(here, sum, lanes);
                                 });
            }
        }
    }
}

}  // namespace cca

#endif  // CCA_CPU_FORWARD_H
