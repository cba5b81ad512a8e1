// Criss-cross attention in bfloat16 on the CPU, forward and backward, on maps (B, S, C): q, k with Cq and v, out with C
// channels at each of S = S1 * .. * Sn positions. Energies, softmax and sums are float32. Weights are rounded to
// bfloat16 for the weighted sums, as are their gradients. Each axis is one pass over its lines; a line is copied to
// scratch memory, so that rows and columns are the same to the rest. See cca_cpu.h for the method. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/cca/src/bf16_attention.h
//   g++ -std=c++14 -Ofast -march=sapphirerapids -fopenmp -fsyntax-only -x c++ models/cca/src/bf16_attention.h
#ifndef CCA_BF16_ATTENTION_H
#define CCA_BF16_ATTENTION_H

#include <vector>

#ifndef CCA_BF16_LAYOUT_H
#    include "bf16_layout.h"
#endif
#ifndef CCA_CPU_COMMON_H
#    include "cpu_common.h"
#endif

namespace cca {

struct Attention16 {
    i64 batch, cq, c;
    std::vector<i64> sides;

    i64 plane() const {
        i64 all = 1;
        for (i64 side : sides) all *= side;
        return all;
    }

    // Calls work(line, first pass, a position counts on this axis) for every line of every axis, in parallel within an
    // axis. A position lies on every axis, but counts on the last one only.
    template <class Work>
    void lines(const Work& work) const {
        bool first = true;
        for (std::size_t axis = 0; axis < sides.size(); axis++) {
            const bool last = axis + 1 == sides.size();
            const i64 length = sides[axis];
            if (length == 1 && !last) continue;
            i64 inner = 1;
            for (std::size_t a = axis + 1; a < sides.size(); a++) inner *= sides[a];
            const i64 tasks = batch * plane() / length;
#pragma omp parallel for schedule(dynamic)
            for (i64 task = 0; task < tasks; task++) {
                const Tiles tiles;
                work(Line{task / inner * length * inner + task % inner, inner, length}, first, last);
            }
            first = false;
        }
    }
};

inline float largest(V v) {
    float top = v[0];
    for (int n = 1; n < Lanes::N; n++) top = v[n] > top ? v[n] : top;
    return top;
}

inline float total_of(V v) {
    float sum = 0;
    for (int n = 0; n < Lanes::N; n++) sum += v[n];
    return sum;
}

// Energies of one position -> exp(energy - top) as bfloat16 in `weights`, with 0 up to padded(length). -> their sum,
// NaN if an energy is. `top`: of the earlier axes, becomes that of all.
inline float exponentials(const float* energies, i64 length, float& top, Number* weights) {
    const i64 N = Lanes::N;
    V best = Lanes::splat(top), sum = {};
    Lanes::I nan = {};
    for (i64 l = 0; l < length; l += N) {
        const int lanes = int(length - l < N ? length - l : N);
        const V e = load_some(energies + l, lanes, Lanes::splat(float(kLowest)));
        best = Lanes::max(best, e);
        nan |= Lanes::is_nan(e);
    }
    top = largest(best);
    for (i64 l = 0; l < length; l += N) {
        const int lanes = int(length - l < N ? length - l : N);
        const V e = load_some(energies + l, lanes, Lanes::splat(float(kLowest)));
        const V weight = rounded(exp_nonpositive(e - top));
        store_narrow(weights + l, weight, lanes);
        sum += weight;
    }
    std::memset(weights + length, 0, (padded(length) - length) * sizeof(Number));
    bool bad = false;
    for (int n = 0; n < N; n++) bad |= nan[n] != 0;
    const std::uint32_t quiet = 0x7fc00000;
    float result = total_of(sum);
    if (bad) std::memcpy(&result, &quiet, sizeof(result));
    return result;
}

// out: (B, S, C). stats (2, B, S) float32, kept for the backward pass: the largest energy, and the sum of exponentials.
inline void forward16(const Attention16& p, const Number* q, const Number* k, const Number* v, Number* out,
                      float* stats) {
    float *top = stats, *total = stats + p.batch * p.plane();
    p.lines([&](const Line& line, bool first, bool keep_self) {
        const i64 L = line.length, N = Lanes::N, width = padded(L), cq = padded(p.cq), c = padded(p.c);
        Scratch<Number> scratch(2 * width * cq + right_width(L) * cq + width * right_width(c) + 3 * width * width +
                                4 * width + 512);
        Number *queries = scratch.take(width * cq), *keys = scratch.take(width * cq);
        Number *key_pairs = scratch.take(right_width(L) * cq), *values = scratch.take(width * right_width(c));
        Number* weights = scratch.take(width * width);
        float *energies = (float*)scratch.take(2 * width * width), *scales = (float*)scratch.take(4 * width);
        copy_rows(queries, q, p.cq, line);
        copy_rows(keys, k, p.cq, line);
        pair_channels(key_pairs, keys, L, cq);
        product16(L, (L + N - 1) / N, p.cq, queries, cq, key_pairs,
                  [=](i64 i, i64 n, V sum) { Lanes::store(energies + i * width + n * N, sum); });
        for (i64 i = 0; i < L; i++) {
            const i64 at = line.first + i * line.step;
            if (!keep_self) energies[i * width + i] = float(kLowest);
            const float top_before = first ? float(kLowest) : top[at];
            float best = top_before;
            const float sum = exponentials(energies + i * width, L, best, weights + i * width);
            const float before = first ? 0 : total[at] * exp_nonpositive(Lanes::splat(top_before - best))[0];
            top[at] = best;
            total[at] = before + sum;
            scales[2 * i] = before / total[at];
            scales[2 * i + 1] = 1 / total[at];
        }
        pair_positions(values, v, p.c, line);
        product16(L, (p.c + N - 1) / N, L, weights, width, values, [=](i64 i, i64 n, V sum) {
            const int lanes = int(p.c - n * N < N ? p.c - n * N : N);
            Number* here = out + (line.first + i * line.step) * p.c + n * N;
            sum *= scales[2 * i + 1];
            store_narrow(here, first ? sum : sum + load_wide(here, lanes) * scales[2 * i], lanes);
        });
    });
}

// Writes or adds rows of a gradient.
struct Add16 {
    Number* to;
    i64 channels;
    Line line;
    bool write;
    void operator()(i64 l, i64 n, V sum) const {
        const i64 N = Lanes::N, rest = channels - n * N;
        const int lanes = int(rest < N ? rest : N);
        Number* here = to + (line.first + l * line.step) * channels + n * N;
        store_narrow(here, write ? sum : sum + load_wide(here, lanes), lanes);
    }
};

// g: the gradient of out. All elements of dq, dk, dv are written.
inline void backward16(const Attention16& p, const Number* q, const Number* k, const Number* v, const Number* out,
                       const float* stats, const Number* g, Number* dq, Number* dk, Number* dv) {
    const i64 positions = p.batch * p.plane();
    const float *top = stats, *total = stats + positions;
    p.lines([&](const Line& line, bool first, bool keep_self) {
        const i64 L = line.length, N = Lanes::N, width = padded(L), cq = padded(p.cq), c = padded(p.c);
        const i64 vectors = (L + N - 1) / N;
        const i64 right = (right_width(L) + width) * (cq + right_width(c));  // of the largest right operands
        Scratch<Number> scratch(2 * width * (cq + c) + right + 8 * width * width + 1024);
        Number *queries = scratch.take(width * cq), *keys = scratch.take(width * cq);
        Number *grads = scratch.take(width * c), *values = scratch.take(width * c), *pairs = scratch.take(right);
        Number *weights = scratch.take(width * width), *d_energies = scratch.take(width * width);
        Number *weights_t = scratch.take(width * width), *d_energies_t = scratch.take(width * width);
        float *energies = (float*)scratch.take(2 * width * width), *d_weights = (float*)scratch.take(2 * width * width);
        copy_rows(queries, q, p.cq, line);
        copy_rows(keys, k, p.cq, line);
        copy_rows(values, v, p.c, line);
        copy_rows(grads, g, p.c, line);
        pair_channels(pairs, keys, L, cq);
        product16(L, vectors, p.cq, queries, cq, pairs,
                  [=](i64 i, i64 n, V sum) { Lanes::store(energies + i * width + n * N, sum); });
        pair_channels(pairs, values, L, c);
        product16(L, vectors, p.c, grads, c, pairs,
                  [=](i64 i, i64 n, V sum) { Lanes::store(d_weights + i * width + n * N, sum); });
        for (i64 i = 0; i < L; i++) {
            const i64 at = line.first + i * line.step;
            const Number *from = out + at * p.c, *grad = g + at * p.c;
            float delta = 0;
            for (i64 n = 0; n < p.c; n++) delta += wide(from[n]) * wide(grad[n]);
            if (!keep_self) energies[i * width + i] = float(kLowest);
            const float share = 1 / total[at], best = top[at];
            for (i64 l = 0; l < L; l += N) {
                const int lanes = int(L - l < N ? L - l : N);
                const V w = exp_nonpositive(Lanes::load(energies + i * width + l, lanes) - best) * share;
                store_narrow(weights + i * width + l, w, lanes);
                const V d = w * (Lanes::load(d_weights + i * width + l, lanes) - delta);
                store_narrow(d_energies + i * width + l, d, lanes);
            }
            std::memset(weights + i * width + L, 0, (width - L) * sizeof(Number));
            std::memset(d_energies + i * width + L, 0, (width - L) * sizeof(Number));
        }
        transpose16(weights_t, weights, L, width);
        transpose16(d_energies_t, d_energies, L, width);
        pair_positions(pairs, g, p.c, line);
        product16(L, (p.c + N - 1) / N, L, weights_t, width, pairs, Add16{dv, p.c, line, first});
        pair_positions(pairs, k, p.cq, line);
        product16(L, (p.cq + N - 1) / N, L, d_energies, width, pairs, Add16{dq, p.cq, line, first});
        pair_positions(pairs, q, p.cq, line);
        product16(L, (p.cq + N - 1) / N, L, d_energies_t, width, pairs, Add16{dk, p.cq, line, first});
    });
}

}  // namespace cca

#endif  // CCA_BF16_ATTENTION_H
