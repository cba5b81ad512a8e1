// What VAN computes between convolutions, on the CPU in float32, forward and backward, on all threads: GELU, the
// product of a gate, the sum with a scaled branch, and layer normalisation over the channels. Arrays are (batch,
// channels, n). Sums have a fixed order, so results do not depend on the number of threads. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/elementwise.h
#ifndef ELEMENTWISE_H
#define ELEMENTWISE_H

#include <algorithm>
#include <cmath>
#include <cstdint>

#ifndef CCA_SIMD_H
#    include "../../cca/src/simd.h"
#endif

namespace elementwise {

typedef cca::Simd<float> Simd;
typedef Simd::V V;
typedef Simd::I I;
typedef int64_t Size;
const int N = Simd::N;
const int BLOCK = 64;  // columns that layer normalisation computes together

// Calls work(first, lanes) for vectors of the elements 0 to count - 1.
template <class Work>
void vectors(Size count, Work work) {
#pragma omp parallel for
    for (Size first = 0; first < count; first += N) work(first, int(std::min(Size(N), count - first)));
}

// The normal distribution: its density without the factor 1 / sqrt(2 pi), and its integral up to x. With
// z = |x| / sqrt(2) and u = 1 / (1 + z / 2): integral(-|x|) = exp(-z * z) * u * polynomial(u), fitted with a relative
// error of 5e-8 for z < 9.5; beyond that exp(-z * z) is 0 in float32.
struct Normal {
    V density, integral;

    explicit Normal(V x) {
        const V z = (x < 0 ? -x : x) * 0.707106781f, u = 1.f / (1.f + 0.5f * z);
        density = cca::exp_nonpositive(-z * z);
        V y = Simd::splat(-0.029445009f);
        const float series[] = {0.141848995f, -0.242687343f, 0.137983347f, -0.012584416f,
                                0.101032808f, 0.121631105f,  0.141176649f, 0.141043844f};
        for (float c : series) y = y * u + c;
        y *= u * density;
        integral = x < 0 ? y : 1.f - y;
    }
};

inline void gelu(Size count, const float* x, float* y) {
    vectors(count, [=](Size at, int lanes) {
        const V v = Simd::load(x + at, lanes);
        Simd::store(y + at, v * Normal(v).integral, lanes);
    });
}

inline void gelu_gradient(Size count, const float* x, const float* g, float* dx) {
    vectors(count, [=](Size at, int lanes) {
        const V v = Simd::load(x + at, lanes);
        const Normal normal(v);
        Simd::store(dx + at, Simd::load(g + at, lanes) * (normal.integral + 0.398942280f * v * normal.density), lanes);
    });
}

inline void product(Size count, const float* x, const float* gate, float* y) {
#pragma omp parallel for simd
    for (Size i = 0; i < count; i++) y[i] = x[i] * gate[i];
}

inline void product_gradient(Size count, const float* x, const float* gate, const float* g, float* dx, float* d_gate) {
#pragma omp parallel for simd
    for (Size i = 0; i < count; i++) {
        const float given = g[i];
        dx[i] = given * gate[i];
        d_gate[i] = given * x[i];
    }
}

// y = x + factor * branch; factor (planes), the others (planes, area).
inline void scaled_sum(Size planes, Size area, const float* x, const float* branch, const float* factor, float* y) {
#pragma omp parallel for
    for (Size p = 0; p < planes; p++)
        for (Size i = p * area; i < (p + 1) * area; i++) y[i] = x[i] + factor[p] * branch[i];
}

// The gradients of branch and factor; that of x is g.
inline void scaled_sum_gradient(Size planes, Size area, const float* branch, const float* factor, const float* g,
                                float* d_branch, float* d_factor) {
#pragma omp parallel for
    for (Size p = 0; p < planes; p++) {
        double sum = 0;
        for (Size first = p * area; first < (p + 1) * area; first += 1024) {
            float part = 0;
            for (Size i = first; i < std::min(first + 1024, (p + 1) * area); i++) {
                part += g[i] * branch[i];
                d_branch[i] = g[i] * factor[p];
            }
            sum += part;
        }
        d_factor[p] = sum;
    }
}

struct Maps {
    Size batch, channels, area;

    // Calls work(first, columns, n): first: index of the first channel of a block of at most BLOCK columns; n: index of
    // the block's first column in an array (batch, area).
    template <class Work>
    void blocks(Work work) const {
        const Size each = (area + BLOCK - 1) / BLOCK;
#pragma omp parallel for
        for (Size task = 0; task < batch * each; task++) {
            const Size b = task / each, at = task % each * BLOCK;
            work(b * channels * area + at, int(std::min(Size(BLOCK), area - at)), b * area + at);
        }
    }
};

// y = (x - mean) * factor * weight + bias, with factor = 1 / sqrt(variance + eps); mean and factor (batch, area).
inline void layer_norm(Maps m, float eps, const float* x, const float* weight, const float* bias, float* y, float* mean,
                       float* factor) {
    m.blocks([=](Size first, int columns, Size n) {
        float middle[BLOCK] = {}, square[BLOCK] = {};
        for (Size c = 0; c < m.channels; c++)
            for (int i = 0; i < columns; i++) middle[i] += x[first + c * m.area + i];
        for (int i = 0; i < columns; i++) middle[i] /= m.channels;
        for (Size c = 0; c < m.channels; c++)
            for (int i = 0; i < columns; i++) {
                const float d = x[first + c * m.area + i] - middle[i];
                square[i] += d * d;
            }
        for (int i = 0; i < columns; i++) {
            square[i] = 1 / std::sqrt(square[i] / m.channels + eps);
            mean[n + i] = middle[i];
            factor[n + i] = square[i];
        }
        for (Size c = 0; c < m.channels; c++)
            for (int i = 0; i < columns; i++) {
                const Size at = first + c * m.area + i;
                y[at] = (x[at] - middle[i]) * square[i] * weight[c] + bias[c];
            }
    });
}

inline void layer_norm_gradient(Maps m, const float* x, const float* weight, const float* mean, const float* factor,
                                const float* g, float* dx, float* dw, float* db) {
    m.blocks([=](Size first, int columns, Size n) {
        float all[BLOCK] = {}, slope[BLOCK] = {};
        for (Size c = 0; c < m.channels; c++)
            for (int i = 0; i < columns; i++) {
                const Size at = first + c * m.area + i;
                const float h = g[at] * weight[c];
                all[i] += h;
                slope[i] += h * (x[at] - mean[n + i]);
            }
        for (int i = 0; i < columns; i++) {
            all[i] /= m.channels;
            slope[i] *= factor[n + i] * factor[n + i] / m.channels;
        }
        for (Size c = 0; c < m.channels; c++)
            for (int i = 0; i < columns; i++) {
                const Size at = first + c * m.area + i;
                dx[at] = (g[at] * weight[c] - all[i] - (x[at] - mean[n + i]) * slope[i]) * factor[n + i];
            }
    });
#pragma omp parallel for
    for (Size c = 0; c < m.channels; c++) {
        double of_weight = 0, of_bias = 0;
        for (Size b = 0; b < m.batch; b++) {
            const float *in = x + (b * m.channels + c) * m.area, *given = g + (b * m.channels + c) * m.area;
            const float *middle = mean + b * m.area, *scale = factor + b * m.area;
            for (Size start = 0; start < m.area; start += 1024) {
                float part = 0, slope = 0;
                for (Size i = start; i < std::min(start + 1024, m.area); i++) {
                    part += given[i];
                    slope += given[i] * (in[i] - middle[i]) * scale[i];
                }
                of_bias += part;
                of_weight += slope;
            }
        }
        dw[c] = of_weight;
        db[c] = of_bias;
    }
}

}  // namespace elementwise

#endif
