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

#ifndef CCA_BF16_PRODUCT_H
#    include "bf16_product.h"
#endif
#ifndef CCA_CPU_COMMON_H
#    include "cpu_common.h"
#endif

namespace cca {

// One line of positions: first, first + step, ..
struct Line {
    i64 first, step, length;
};

// -> (length, pitch): rows of channels; pitch = padded(channels), the rest is 0.
inline void copy_rows(Number* to, const Number* from, i64 channels, const Line& line) {
    const i64 pitch = padded(channels);
    for (i64 l = 0; l < line.length; l++, to += pitch) {
        std::memcpy(to, from + (line.first + l * line.step) * channels, channels * sizeof(Number));
        std::memset(to + channels, 0, (pitch - channels) * sizeof(Number));
    }
}

// Rows (length, pitch) -> pairs of positions (padded(length) / 2, pitch, 2).
inline void pair_positions(Number* to, const Number* rows, i64 length, i64 pitch) {
    for (i64 l = 0; l < padded(length); l += 2, to += 2 * pitch) {
        const Number *a = rows + l * pitch, *b = a + pitch;
        for (i64 c = 0; c < pitch; c++) {
            to[2 * c] = l < length ? a[c] : Number{0};
            to[2 * c + 1] = l + 1 < length ? b[c] : Number{0};
        }
    }
}

// Rows (length, pitch) -> pairs of channels (pitch / 2, padded(length), 2).
inline void pair_channels(Number* to, const Number* rows, i64 length, i64 pitch) {
    const i64 width = padded(length), tile = 16;
    std::uint32_t* out = (std::uint32_t*)to;
    const std::uint32_t* in = (const std::uint32_t*)rows;
    for (i64 l0 = 0; l0 < width; l0 += tile)
        for (i64 c = 0; c < pitch / 2; c++)
            for (i64 l = l0; l < l0 + tile; l++) out[c * width + l] = l < length ? in[l * (pitch / 2) + c] : 0;
}

// (n, pitch) -> (n, pitch), the n x n part; the padding becomes 0.
inline void transpose16(Number* to, const Number* from, i64 n, i64 pitch) {
    const i64 tile = 16;
    for (i64 i0 = 0; i0 < n; i0 += tile)
        for (i64 j0 = 0; j0 < n; j0 += tile)
            for (i64 i = i0; i < (i0 + tile < n ? i0 + tile : n); i++)
                for (i64 j = j0; j < (j0 + tile < n ? j0 + tile : n); j++) to[i * pitch + j] = from[j * pitch + i];
    for (i64 i = 0; i < n; i++)
        for (i64 j = n; j < pitch; j++) to[i * pitch + j] = Number{0};
}

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
        store_narrow(weights + l, exp_nonpositive(Lanes::load(energies + l, lanes) - top), lanes);
        sum += load_wide(weights + l, lanes);
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
        Scratch<Number> scratch(3 * width * cq + 2 * width * c + width * width + 3 * width * width + 512);
        Number *queries = scratch.take(width * cq), *keys = scratch.take(width * cq), *pairs = scratch.take(width * cq);
        Number *values = scratch.take(width * c), *value_pairs = scratch.take(width * c);
        Number* weights = scratch.take(width * width);
        float *energies = (float*)scratch.take(2 * width * width), *scales = (float*)scratch.take(4 * width);
        copy_rows(queries, q, p.cq, line);
        copy_rows(keys, k, p.cq, line);
        pair_channels(pairs, keys, L, cq);
        product16(L, (L + N - 1) / N, p.cq, queries, cq, pairs, width,
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
        copy_rows(values, v, p.c, line);
        pair_positions(value_pairs, values, L, c);
        product16(L, (p.c + N - 1) / N, L, weights, width, value_pairs, c, [=](i64 i, i64 n, V sum) {
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
        Scratch<Number> scratch(5 * width * cq + 4 * width * c + 8 * width * width + 1024);
        Number *queries = scratch.take(width * cq), *keys = scratch.take(width * cq);
        Number *query_pairs = scratch.take(width * cq), *key_pairs = scratch.take(width * cq);
        Number *grads = scratch.take(width * c), *values = scratch.take(width * c), *pairs = scratch.take(width * c);
        Number *weights = scratch.take(width * width), *d_energies = scratch.take(width * width);
        Number *weights_t = scratch.take(width * width), *d_energies_t = scratch.take(width * width);
        float *energies = (float*)scratch.take(2 * width * width), *d_weights = (float*)scratch.take(2 * width * width);
        copy_rows(queries, q, p.cq, line);
        copy_rows(keys, k, p.cq, line);
        copy_rows(values, v, p.c, line);
        copy_rows(grads, g, p.c, line);
        pair_channels(key_pairs, keys, L, cq);
        product16(L, vectors, p.cq, queries, cq, key_pairs, width,
                  [=](i64 i, i64 n, V sum) { Lanes::store(energies + i * width + n * N, sum); });
        pair_channels(pairs, values, L, c);
        product16(L, vectors, p.c, grads, c, pairs, width,
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
        pair_positions(pairs, grads, L, c);
        product16(L, (p.c + N - 1) / N, L, weights_t, width, pairs, c, Add16{dv, p.c, line, first});
        pair_positions(key_pairs, keys, L, cq);
        pair_positions(query_pairs, queries, L, cq);
        product16(L, (p.cq + N - 1) / N, L, d_energies, width, key_pairs, cq, Add16{dq, p.cq, line, first});
        product16(L, (p.cq + N - 1) / N, L, d_energies_t, width, query_pairs, cq, Add16{dk, p.cq, line, first});
    });
}

// (B, rows, columns) -> (B, columns, rows)
inline void transpose_maps(i64 batch, i64 rows, i64 columns, const Number* from, Number* to) {
    const i64 tile = 32, tiles = (rows + tile - 1) / tile;
#pragma omp parallel for
    for (i64 task = 0; task < batch * tiles; task++) {
        const i64 b = task / tiles, r0 = task % tiles * tile, r1 = r0 + tile < rows ? r0 + tile : rows;
        const Number* in = from + b * rows * columns;
        Number* out = to + b * rows * columns;
        for (i64 c0 = 0; c0 < columns; c0 += tile)
            for (i64 c = c0; c < (c0 + tile < columns ? c0 + tile : columns); c++)
                for (i64 r = r0; r < r1; r++) out[c * rows + r] = in[r * columns + c];
    }
}

}  // namespace cca

#endif  // CCA_BF16_ATTENTION_H
