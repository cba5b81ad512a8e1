// Depthwise convolution of stride 1 on the CPU, float32: y, and the gradients of input, weight and bias. A plane (one
// channel of one image) is copied once into a buffer with the zero padding; then vectors of columns are computed for
// several rows at a time, so that each loaded vector serves several taps. Each plane (weight: each channel) is computed
// by one thread: results do not depend on the number of threads. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/depthwise_cpu.h
#ifndef DEPTHWISE_CPU_H
#define DEPTHWISE_CPU_H

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifndef CCA_SIMD_H
#    include "../../cca/src/simd.h"
#endif

namespace depthwise_cpu {

typedef cca::Simd<float> Simd;
typedef Simd::V V;
typedef int64_t Size;
const int N = Simd::N;
const int ROWS = 4;  // output rows computed together

struct Shape {
    int batch, channels, h, w, oh, ow, pad, dilation;  // oh = h + 2 * pad - dilation * (kernel - 1), ow likewise
};

// A copy of a plane (h, w) with `top` and `left` zeros before and zeros behind it. `data` is kept between calls.
struct Padded {
    std::vector<float> data;
    int stride;

    void load(const float* from, int h, int w, int top, int left, int rows, int columns) {
        stride = columns;
        data.assign(Size(rows) * columns + 2 * N, 0);
        for (int y = 0; y < h && y + top < rows; y++)
            if (y + top >= 0) std::memcpy(row(y + top) + left, from + Size(y) * w, w * sizeof(float));
    }
    float* row(int y) { return data.data() + Size(y) * stride; }
};

inline int whole(int n) { return (n + N - 1) / N * N; }

// Two vectors of columns of the rows y, y + dilation, ..: R of them.
template <int K, int R>
inline void block(Padded& in, const float* weight, float bias, int dilation, int y, int x, int lanes, int ow,
                  float* out) {
    V sum[R][2];
    for (int r = 0; r < R; r++) sum[r][0] = sum[r][1] = Simd::splat(bias);
    for (int b = 0; b < K; b++) {
        const float* from = in.row(y) + x + b * dilation;
        const Size step = Size(in.stride) * dilation;
#pragma GCC unroll 16
        for (int a = 0; a < R + K - 1; a++) {
            const V left = Simd::load(from + a * step), right = Simd::load(from + a * step + N);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                if (a - r < 0 || a - r >= K) continue;
                const float tap = weight[(a - r) * K + b];
                sum[r][0] += tap * left;
                sum[r][1] += tap * right;
            }
        }
    }
    for (int r = 0; r < R; r++) {
        float* to = out + Size(y + r * dilation) * ow + x;
        Simd::store(to, sum[r][0], std::min(lanes, N));
        if (lanes > N) Simd::store(to + N, sum[r][1], lanes - N);
    }
}

template <int K>
void plane(Padded& in, const float* weight, float bias, int dilation, int oh, int ow, float* out) {
    for (int start = 0; start < oh; start += ROWS * dilation)
        for (int y = start; y < std::min(start + dilation, oh); y++) {
            const int rows = std::min(ROWS, (oh - y + dilation - 1) / dilation);
            for (int x = 0; x < ow; x += 2 * N) {
                const int lanes = std::min(2 * N, ow - x);
                if (rows == 4) block<K, 4>(in, weight, bias, dilation, y, x, lanes, ow, out);
                if (rows == 3) block<K, 3>(in, weight, bias, dilation, y, x, lanes, ow, out);
                if (rows == 2) block<K, 2>(in, weight, bias, dilation, y, x, lanes, ow, out);
                if (rows == 1) block<K, 1>(in, weight, bias, dilation, y, x, lanes, ow, out);
            }
        }
}

// y = x * weight + bias; bias may be null. With `flip`, the taps are reversed: the gradient of the input, given that of
// the output.
template <int K>
void convolve(Shape s, bool flip, const float* x, const float* weight, const float* bias, float* y) {
    const int reach = s.dilation * (K - 1);
#pragma omp parallel
    {
        Padded in;
#pragma omp for schedule(static)
        for (int p = 0; p < s.batch * s.channels; p++) {
            const int c = p % s.channels;
            float taps[K * K];
            for (int k = 0; k < K * K; k++) taps[k] = weight[c * K * K + (flip ? K * K - 1 - k : k)];
            in.load(x + Size(p) * s.h * s.w, s.h, s.w, s.pad, s.pad, s.oh + reach, whole(s.ow) + N + reach + s.pad);
            plane<K>(in, taps, bias ? bias[c] : 0, s.dilation, s.oh, s.ow, y + Size(p) * s.oh * s.ow);
        }
    }
}

inline float total(V v) {
    float sum = 0;
    for (int lane = 0; lane < N; lane++) sum += v[lane];
    return sum;
}

// Adds G rows of taps, from row `a` on, of the weight gradient of one plane. `dy` has (G - 1) * dilation zero rows
// before and behind it, and zeros to the right.
template <int K, int G>
void taps(Padded& in, Padded& dy, int rows, int columns, int dilation, int a, double* dw) {
    V sum[G][K];
    for (int g = 0; g < G; g++)
        for (int b = 0; b < K; b++) sum[g][b] = V{};
    for (int y = 0; y < rows + (G - 1) * dilation; y++) {
        const float *from = in.row(y + a * dilation), *given = dy.row(y + (G - 1) * dilation);
        for (int x = 0; x < columns; x += N) {
            V d[G];
#pragma GCC unroll 4
            for (int g = 0; g < G; g++) d[g] = Simd::load(given + x - Size(g) * dilation * dy.stride);
#pragma GCC unroll 8
            for (int b = 0; b < K; b++) {
                const V v = Simd::load(from + x + b * dilation);
#pragma GCC unroll 4
                for (int g = 0; g < G; g++) sum[g][b] += v * d[g];
            }
        }
    }
    for (int g = 0; g < G; g++)
        for (int b = 0; b < K; b++) dw[(a + g) * K + b] += total(sum[g][b]);
}

// dw (channels, K, K) and db (channels), given dy.
template <int K>
void weight_gradient(Shape s, const float* x, const float* dy, float* dw, float* db) {
    const int reach = s.dilation * (K - 1), columns = whole(s.ow);
#pragma omp parallel
    {
        Padded in, given;
#pragma omp for schedule(static)
        for (int c = 0; c < s.channels; c++) {
            double sums[K * K] = {}, bias = 0;
            for (int b = 0; b < s.batch; b++) {
                const Size p = Size(b) * s.channels + c;
                const float* from = dy + p * s.oh * s.ow;
                in.load(x + p * s.h * s.w, s.h, s.w, s.pad, s.pad, s.oh + reach, columns + reach + s.pad);
                given.load(from, s.oh, s.ow, s.dilation, 0, s.oh + 2 * s.dilation, columns);
                int a = 0;
                for (; a + 2 <= K; a += 2) taps<K, 2>(in, given, s.oh, columns, s.dilation, a, sums);
                given.load(from, s.oh, s.ow, 0, 0, s.oh, columns);
                taps<K, 1>(in, given, s.oh, columns, s.dilation, a, sums);
                for (int y = 0; y < s.oh; y++) {
                    float part = 0;
                    for (int i = 0; i < s.ow; i++) part += from[Size(y) * s.ow + i];
                    bias += part;
                }
            }
            for (int k = 0; k < K * K; k++) dw[c * K * K + k] = sums[k];
            db[c] = bias;
        }
    }
}

inline void forward(int kernel, Shape s, const float* x, const float* weight, const float* bias, float* y) {
    (kernel == 3 ? convolve<3> : kernel == 5 ? convolve<5> : convolve<7>)(s, false, x, weight, bias, y);
}

inline void backward(int kernel, Shape s, const float* x, const float* weight, const float* dy, float* dx, float* dw,
                     float* db) {
    const Shape back = {s.batch, s.channels, s.oh, s.ow, s.h, s.w, s.dilation * (kernel - 1) - s.pad, s.dilation};
    (kernel == 3 ? convolve<3> : kernel == 5 ? convolve<5> : convolve<7>)(back, true, dy, weight, nullptr, dx);
    (kernel == 3 ? weight_gradient<3> : kernel == 5 ? weight_gradient<5> : weight_gradient<7>)(s, x, dy, dw, db);
}

}  // namespace depthwise_cpu

#endif
