// Criss-cross attention on the CPU, forward and backward, without storing the attention. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/cca/src/cca_cpu.h
//
// q, k: (B, Cq, S), v, out: (B, C, S) with S = S1 * .. * Sn positions. Each axis is one pass over its lines: the
// energies q . k of all pairs of positions of a line, softmax, weighted sum of the values, merged with the result of
// the earlier axes. Per position only the maximum energy (`top`) and the sum of exponentials (`total`) are kept; the
// backward pass recomputes the weights from them. The last axis is contiguous and is processed line by line (rows), the
// other axes N neighbouring lines at a time (lanes), so that memory is always read contiguously. No two threads write
// to the same line, so results do not depend on the number of threads.
#ifndef CCA_CPU_H
#define CCA_CPU_H

#include <memory>
#include <vector>

#ifndef CCA_CPU_REST_H
#    include "cpu_rest.h"
#endif

#if defined(_OPENMP)
#    include <omp.h>
#endif

namespace cca {

inline int threads_available() {
#if defined(_OPENMP)
    return omp_get_max_threads();
#else
    return 1;
#endif
}

// One Problem per axis that contributes. A position lies on every axis but is counted on the last one only, so an
// earlier axis of length 1 contributes nothing.
inline std::vector<Problem> passes(i64 batch, i64 cq, i64 c, const std::vector<i64>& sides, i64 lanes) {
    std::vector<Problem> list;
    for (std::size_t axis = 0; axis < sides.size(); axis++) {
        const bool last = axis + 1 == sides.size();
        Lines lines = {1, sides[axis], 1};
        for (std::size_t a = 0; a < sides.size(); a++)
            if (a != axis) (a < axis ? lines.outer : lines.inner) *= sides[a];
        const i64 rest = lines.inner % lanes;
        if (last || lines.length > 1)
            list.push_back(Problem{batch, cq, c, lines, last,
                                   lines.inner > lanes && rest <= lanes / 2 ? lines.inner - rest : lines.inner});
    }
    return list;
}

// out (B, C, S). stats (2, B, S) is kept for the backward pass: top, then total.
template <class T>
void forward(i64 batch, i64 cq, i64 c, const std::vector<i64>& sides, const T* q, const T* k, const T* v, T* out,
             T* stats) {
    const std::vector<Problem> list = passes(batch, cq, c, sides, Simd<T>::N);
    const i64 positions = batch * list[0].lines.plane();
    if (positions == 0) return;
    std::unique_ptr<T[]> other(list.size() > 1 ? new T[2 * positions] : nullptr);
    T *from = nullptr, *to = list.size() % 2 == 1 ? stats : other.get();  // alternate; the last pass writes to stats
    for (std::size_t n = 0; n < list.size(); n++) {
        const bool first = n == 0, last = n + 1 == list.size();
        const T *top0 = from, *total0 = from + positions;
        T *top1 = to, *total1 = to + positions;
        const int threads = threads_available();
        if (list[n].lines.inner == 1) {
            forward_rows<T>(list[n], q, k, v, out, top0, total0, top1, total1, first, last, threads);
        } else {
            const Rest<T> rest(list[n], threads);
            forward_lanes<T>(list[n], q, k, v, out, top0, total0, top1, total1, first, last, threads);
            if (!rest.empty()) rest.forward(q, k, v, out, top0, total0, top1, total1, first);
        }
        from = to;
        to = to == stats ? other.get() : stats;
    }
}

// g is the gradient of out; all elements of dq, dk, dv are written.
template <class T>
void backward(i64 batch, i64 cq, i64 c, const std::vector<i64>& sides, const T* q, const T* k, const T* v, const T* out,
              const T* stats, const T* g, T* dq, T* dk, T* dv) {
    const std::vector<Problem> list = passes(batch, cq, c, sides, Simd<T>::N);
    const i64 plane = list[0].lines.plane(), positions = batch * plane, chunk = 256;
    if (positions == 0) return;
    std::unique_ptr<T[]> delta(new T[positions]);  // sum over channels of g * out
    const i64 chunks = (plane + chunk - 1) / chunk;
#pragma omp parallel for num_threads(threads_available())
    for (i64 task = 0; task < batch * chunks; task++) {
        const i64 b = task / chunks, s0 = task % chunks * chunk, s1 = s0 + chunk < plane ? s0 + chunk : plane;
        for (i64 s = s0; s < s1; s++) delta[b * plane + s] = 0;
        for (i64 channel = b * c; channel < (b + 1) * c; channel++)
            for (i64 s = s0; s < s1; s++) delta[b * plane + s] += g[channel * plane + s] * out[channel * plane + s];
    }
    const Gradients<T> x = {q, k, v, g, stats, stats + positions, delta.get(), dq, dk, dv};
    for (std::size_t n = 0; n < list.size(); n++) {
        const int threads = threads_available();
        if (list[n].lines.inner == 1) {
            backward_rows<T>(list[n], x, n == 0, threads);
        } else {
            const Rest<T> rest(list[n], threads);
            backward_lanes<T>(list[n], x, n == 0, threads);
            if (!rest.empty()) rest.backward(x, n == 0);
        }
    }
}

}  // namespace cca

#endif  // CCA_CPU_H
