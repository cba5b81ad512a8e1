// Depthwise convolution in bfloat16 on maps (B, H, W, C), forward and gradients: stride 1, a square kernel of 3, 5
// or 7. Weights and sums are float32, and each result is rounded once. Sums run over a fixed number of parts, so
// results do not depend on the number of threads. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/depthwise16.h
#ifndef DEPTHWISE16_H
#define DEPTHWISE16_H

#include <vector>

#ifndef CCA_BF16_PRODUCT_H
#    include "../../cca/src/bf16_product.h"
#endif
#ifndef ELEMENTWISE_H
#    include "elementwise.h"
#endif

namespace van16 {

using bf16::Number;
using cca::load_wide;
using cca::store_narrow;
typedef cca::Lanes Lanes;
typedef Lanes::V V;
typedef std::int64_t Size;
const int N = Lanes::N;
const int PARTS = 32;  // of a sum over all rows

inline V gelu(V v) { return v * elementwise::Normal(v).integral; }

struct Shape {
    int batch, h, w, channels, oh, ow, pad, dilation;  // oh = h + 2 * pad - dilation * (kernel - 1), ow likewise

    const Number* row(const Number* map, int y) const { return map + Size(y) * w * channels; }
};

// Calls work(first column, number of columns) for chains of at most R columns, `dilation` apart.
template <int R, class Work>
inline void chains(int columns, int dilation, Work work) {
    for (int start = 0; start < std::min(dilation, columns); start++)
        for (int x = start; x < columns; x += R * dilation)
            work(x, std::min(R, (columns - x + dilation - 1) / dilation));
}

// Calls work(r, b, v) for each output r of a chain that begins at column x and each column b of the taps, v: the input
// under it in `line`.
template <int K, int R, class Work>
inline void pairs(const Shape& s, const Number* line, int x, int lanes, Work work) {
#pragma GCC unroll 16
    for (int k = 0; k < R + K - 1; k++) {
        const int column = x + k * s.dilation - s.pad;
        if (column < 0 || column >= s.w) continue;
        const V v = load_wide(line + Size(column) * s.channels, lanes);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
            if (k - r >= 0 && k - r < K) work(r, k - r, v);
    }
}

// `count` <= R outputs of row y, from column x on and `dilation` apart. taps: (K * K, channels).
template <int K, int R>
inline void outputs(const Shape& s, const Number* map, const float* taps, V bias, bool activated, int y, int x,
                    int count, int lanes, Number* out) {
    V sum[R];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++) sum[r] = bias;
    for (int a = 0; a < K; a++) {
        const int row = y + a * s.dilation - s.pad;
        if (row < 0 || row >= s.h) continue;
        const Number* line = s.row(map, row);
        V tap[K];
#pragma GCC unroll 8
        for (int b = 0; b < K; b++) tap[b] = Lanes::load(taps + Size(a * K + b) * s.channels, lanes);
        pairs<K, R>(s, line, x, lanes, [&](int r, int b, V v) { sum[r] += tap[b] * v; });
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)  // not up to `count`: the sums are registers
        if (r < count)
            store_narrow(out + Size(x + r * s.dilation) * s.channels, activated ? gelu(sum[r]) : sum[r], lanes);
}

// y = x * weight + bias; bias may be null. With `flip`, the taps are reversed: the gradient of the input, given that of
// the output. weight: (channels, K, K).
template <int K>
void convolve(const Shape& s, bool flip, bool activated, const Number* x, const float* weight, const float* bias,
              Number* y) {
    std::vector<float> taps(K * K * Size(s.channels));
    for (int c = 0; c < s.channels; c++)
        for (int k = 0; k < K * K; k++) taps[Size(k) * s.channels + c] = weight[c * K * K + (flip ? K * K - 1 - k : k)];
#pragma omp parallel for schedule(static)
    for (int line = 0; line < s.batch * s.oh; line++) {
        const Number* map = s.row(x, line / s.oh * s.h);
        Number* out = y + Size(line) * s.ow * s.channels;
        chains<8>(s.ow, s.dilation, [&](int column, int count) {
            for (int c = 0; c < s.channels; c += N) {
                const int lanes = std::min(N, s.channels - c);
                const V start = bias ? Lanes::load(bias + c, lanes) : V{};
                (count > 4 ? outputs<K, 8> : outputs<K, 4>)(s, map + c, &taps[c], start, activated, line % s.oh, column,
                                                            count, lanes, out + c);
            }
        });
    }
}

// Adds to sums (K, channels) the products of the row `line` of the input with the gradient `dy` of a row of the output.
template <int K, int R>
inline void tap_sums(const Shape& s, const Number* line, const Number* dy, int x, int count, int lanes, float* sums) {
    V sum[K], given[R];
#pragma GCC unroll 8
    for (int b = 0; b < K; b++) sum[b] = V{};
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
        given[r] = r < count ? load_wide(dy + Size(x + r * s.dilation) * s.channels, lanes) : V{};
    pairs<K, R>(s, line, x, lanes, [&](int r, int b, V v) { sum[b] += given[r] * v; });
#pragma GCC unroll 8
    for (int b = 0; b < K; b++) {
        float* to = sums + b * s.channels;
        Lanes::store(to, Lanes::load(to, lanes) + sum[b], lanes);
    }
}

// dw (channels, K, K) and db (channels), given dy.
template <int K>
void weight_gradient(const Shape& s, const Number* x, const Number* dy, float* dw, float* db) {
    const int lines = s.batch * s.oh, C = s.channels, each = (lines + PARTS - 1) / PARTS;
    std::vector<float> sums(Size(PARTS) * (K * K + 1) * C);  // the last of K * K + 1: of the bias
#pragma omp parallel for schedule(static)
    for (int part = 0; part < PARTS; part++) {
        float* of_part = &sums[Size(part) * (K * K + 1) * C];
        for (int line = part * each; line < std::min(lines, (part + 1) * each); line++) {
            const Number* given = dy + Size(line) * s.ow * C;
            for (int a = 0; a < K; a++) {
                const int row = line % s.oh + a * s.dilation - s.pad;
                if (row < 0 || row >= s.h) continue;
                const Number* from = s.row(x, line / s.oh * s.h + row);
                chains<8>(s.ow, s.dilation, [&](int column, int count) {
                    for (int c = 0; c < C; c += N) {
                        const int lanes = std::min(N, C - c);
                        (count > 4 ? tap_sums<K, 8> : tap_sums<K, 4>)(s, from + c, given + c, column, count, lanes,
                                                                      of_part + a * K * C + c);
                    }
                });
            }
            for (int column = 0; column < s.ow; column++)
                for (int c = 0; c < C; c++) of_part[K * K * C + c] += bf16::wide(given[Size(column) * C + c]);
        }
    }
    for (int k = 0; k <= K * K; k++)
        for (int c = 0; c < C; c++) {
            double sum = 0;
            for (int part = 0; part < PARTS; part++) sum += sums[(Size(part) * (K * K + 1) + k) * C + c];
            (k < K * K ? dw[c * K * K + k] : db[c]) = sum;
        }
}

inline void depthwise(int kernel, const Shape& s, bool activated, const Number* x, const float* weight,
                      const float* bias, Number* y) {
    (kernel == 3 ? convolve<3> : kernel == 5 ? convolve<5> : convolve<7>)(s, false, activated, x, weight, bias, y);
}

inline void depthwise_gradient(int kernel, const Shape& s, const Number* x, const float* weight, const Number* dy,
                               Number* dx, float* dw, float* db) {
    const int pad = s.dilation * (kernel - 1) - s.pad;
    const Shape back = {s.batch, s.oh, s.ow, s.channels, s.h, s.w, pad, s.dilation};
    (kernel == 3 ? convolve<3> : kernel == 5 ? convolve<5> : convolve<7>)(back, true, false, dy, weight, nullptr, dx);
    (kernel == 3 ? weight_gradient<3> : kernel == 5 ? weight_gradient<5> : weight_gradient<7>)(s, x, dy, dw, db);
}

}  // namespace van16

#endif
