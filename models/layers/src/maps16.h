// What stands between the convolutions of a network in bfloat16, on maps (B, H, W, C) seen as rows of C channels:
// BatchNorm with sum and activation, max pooling, sums and concatenation. Arithmetic is float32, and each result is
// rounded once. Sums run over parts of a fixed number of rows, so results do not depend on the number of threads.
// Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/maps16.h
#ifndef MAPS16_H
#define MAPS16_H

#include <algorithm>
#include <vector>

#ifndef BF16_H
#    include "../../cca/src/bf16.h"
#endif

namespace maps16 {

using bf16::narrow;
using bf16::Number;
using bf16::wide;
typedef std::int64_t Size;

struct Rows {
    Size count, channels;

    Size in_part() const { return std::max(Size(8), 65536 / channels); }
    Size parts() const { return (count + in_part() - 1) / in_part(); }

    // Calls work(part, first row, end) for each part, in parallel.
    template <class Work>
    void each_part(Work work) const {
        const Size step = in_part(), all = parts();
#pragma omp parallel for
        for (Size part = 0; part < all; part++) work(part, part * step, std::min(count, (part + 1) * step));
    }

    // Calls work(first element) for each row, in parallel.
    template <class Work>
    void each(Work work) const {
#pragma omp parallel for
        for (Size row = 0; row < count; row++) work(row * channels);
    }
};

// For each channel the mean and the sum of squared deviations from it.
inline void moments(Rows r, const Number* x, float* mean, float* squares) {
    const Size C = r.channels;
    std::vector<float> means(r.parts() * C), deviations(r.parts() * C);
    r.each_part([&](Size part, Size first, Size end) {
        float *m = &means[part * C], *d = &deviations[part * C];
        const float share = 1.f / (end - first);
        for (Size row = first; row < end; row++)
            for (Size c = 0; c < C; c++) m[c] += wide(x[row * C + c]);
        for (Size c = 0; c < C; c++) m[c] *= share;
        for (Size row = first; row < end; row++)
            for (Size c = 0; c < C; c++) {
                const float z = wide(x[row * C + c]) - m[c];
                d[c] += z * z;
            }
    });
    const Size step = r.in_part(), parts = r.parts();
#pragma omp parallel for
    for (Size c = 0; c < C; c++) {
        double sum = 0, all = 0;
        for (Size p = 0; p < parts; p++) sum += double(means[p * C + c]) * std::min(step, r.count - p * step);
        const double middle = sum / r.count;
        for (Size p = 0; p < parts; p++) {
            const double off = means[p * C + c] - middle;
            all += deviations[p * C + c] + off * off * std::min(step, r.count - p * step);
        }
        mean[c] = middle;
        squares[c] = all;
    }
}

// y = activation((x - mean) * scale + bias + add). add may be null. slope: of the activation for negative inputs.
inline void apply(Rows r, float slope, const Number* x, const float* mean, const float* scale, const float* bias,
                  const Number* add, Number* y) {
    r.each([=](Size at) {
        const float below = slope;
        const auto of = [=](Size c) { return (wide(x[at + c]) - mean[c]) * scale[c] + bias[c]; };
        const auto activated = [=](float z) { return narrow(z > 0 ? z : z * below); };
        if (add) {
#pragma omp simd
            for (Size c = 0; c < r.channels; c++) y[at + c] = activated(of(c) + wide(add[at + c]));
        } else {
#pragma omp simd
            for (Size c = 0; c < r.channels; c++) y[at + c] = activated(of(c));
        }
    });
}

// For each channel the sums of h and h (x - mean), where h is the gradient before the activation.
inline void sums(Rows r, float slope, const Number* g, const Number* x, const Number* y, const float* mean, float* of_h,
                 float* of_h_x) {
    const Size C = r.channels, parts = r.parts();
    std::vector<float> first_sums(parts * C), second_sums(parts * C);
    r.each_part([&](Size part, Size first, Size end) {
        float *a = &first_sums[part * C], *b = &second_sums[part * C];
        const float below = slope;
        for (Size row = first; row < end; row++)
#pragma omp simd
            for (Size c = 0; c < C; c++) {
                const float h = wide(g[row * C + c]) * (wide(y[row * C + c]) > 0 ? 1 : below);
                a[c] += h;
                b[c] += h * (wide(x[row * C + c]) - mean[c]);
            }
    });
#pragma omp parallel for
    for (Size c = 0; c < C; c++) {
        double a = 0, b = 0;
        for (Size p = 0; p < parts; p++) a += first_sums[p * C + c], b += second_sums[p * C + c];
        of_h[c] = a;
        of_h_x[c] = b;
    }
}

// dx = h * scale - (x - mean) * tilt - shift, and d_add = h unless d_add is null.
inline void gradient(Rows r, float slope, const Number* g, const Number* x, const Number* y, const float* mean,
                     const float* scale, const float* tilt, const float* shift, Number* dx, Number* d_add) {
    r.each([=](Size at) {
        const float below = slope;
        const auto of = [=](Size i) { return wide(g[i]) * (wide(y[i]) > 0 ? 1 : below); };
#pragma omp simd
        for (Size c = 0; c < r.channels; c++)
            dx[at + c] = narrow(of(at + c) * scale[c] - (wide(x[at + c]) - mean[c]) * tilt[c] - shift[c]);
        if (!d_add) return;
#pragma omp simd
        for (Size c = 0; c < r.channels; c++) d_add[at + c] = narrow(of(at + c));
    });
}

// y = a + factor * b
inline void add(Rows r, float factor, const Number* a, const Number* b, Number* y) {
    r.each([=](Size at) {
        for (Size i = at; i < at + r.channels; i++) y[i] = narrow(wide(a[i]) + factor * wide(b[i]));
    });
}

inline void multiply(Rows r, float factor, const Number* x, Number* y) {
    r.each([=](Size at) {
        for (Size i = at; i < at + r.channels; i++) y[i] = narrow(factor * wide(x[i]));
    });
}

// The sum of all a * b.
inline void inner_product(Rows r, const Number* a, const Number* b, float* y) {
    std::vector<double> of_part(r.parts());
    r.each_part([&](Size part, Size first, Size end) {
        double all = 0;
        for (Size row = first; row < end; row++) {
            float sum = 0;
            for (Size i = row * r.channels; i < (row + 1) * r.channels; i++) sum += wide(a[i]) * wide(b[i]);
            all += sum;
        }
        of_part[part] = all;
    });
    double all = 0;
    for (double one : of_part) all += one;
    *y = all;
}

// The channels of a, then those of b; or back.
inline void join(Size rows, Size in_a, Size in_b, const Number* a, const Number* b, Number* y) {
#pragma omp parallel for
    for (Size row = 0; row < rows; row++) {
        std::memcpy(y + row * (in_a + in_b), a + row * in_a, in_a * sizeof(Number));
        std::memcpy(y + row * (in_a + in_b) + in_a, b + row * in_b, in_b * sizeof(Number));
    }
}

inline void split(Size rows, Size in_a, Size in_b, const Number* y, Number* a, Number* b) {
#pragma omp parallel for
    for (Size row = 0; row < rows; row++) {
        std::memcpy(a + row * in_a, y + row * (in_a + in_b), in_a * sizeof(Number));
        std::memcpy(b + row * in_b, y + row * (in_a + in_b) + in_a, in_b * sizeof(Number));
    }
}

struct Pool {
    Size batch, h, w, channels, oh, ow, kernel, stride, pad;
};

// The largest number of each window, and its place in the window: row * kernel + column, the first one if several.
inline void max_pool(const Pool& p, const Number* x, Number* y, std::uint8_t* place) {
#pragma omp parallel for
    for (Size line = 0; line < p.batch * p.oh; line++) {
        std::vector<float> best(p.channels);
        std::vector<std::uint8_t> where(p.channels);
        const Size b = line / p.oh, top = line % p.oh * p.stride - p.pad;
        for (Size j = 0; j < p.ow; j++) {
            const Size left = j * p.stride - p.pad, to = (line * p.ow + j) * p.channels;
            std::fill(best.begin(), best.end(), -3.4e38f);
            for (Size n = 0; n < p.kernel * p.kernel; n++) {
                const Size row = top + n / p.kernel, column = left + n % p.kernel;
                if (row < 0 || row >= p.h || column < 0 || column >= p.w) continue;
                const Number* from = x + ((b * p.h + row) * p.w + column) * p.channels;
                for (Size c = 0; c < p.channels; c++) {
                    const float value = wide(from[c]);
                    where[c] = value > best[c] ? n : where[c];
                    best[c] = value > best[c] ? value : best[c];
                }
            }
            for (Size c = 0; c < p.channels; c++) y[to + c] = narrow(best[c]), place[to + c] = where[c];
        }
    }
}

// Each position of x adds the gradients of the windows whose largest number it is.
inline void max_pool_gradient(const Pool& p, const Number* g, const std::uint8_t* place, Number* dx) {
#pragma omp parallel for
    for (Size line = 0; line < p.batch * p.h; line++) {
        std::vector<float> sum(p.channels);
        const Size b = line / p.h, row = line % p.h;
        for (Size column = 0; column < p.w; column++) {
            std::fill(sum.begin(), sum.end(), 0.f);
            for (Size n = 0; n < p.kernel * p.kernel; n++) {
                const Size top = row + p.pad - n / p.kernel, left = column + p.pad - n % p.kernel;
                if (top < 0 || left < 0 || top % p.stride || left % p.stride) continue;
                const Size i = top / p.stride, j = left / p.stride;
                if (i >= p.oh || j >= p.ow) continue;
                const Size from = ((b * p.oh + i) * p.ow + j) * p.channels;
                for (Size c = 0; c < p.channels; c++) sum[c] += place[from + c] == n ? wide(g[from + c]) : 0;
            }
            for (Size c = 0; c < p.channels; c++) dx[(line * p.w + column) * p.channels + c] = narrow(sum[c]);
        }
    }
}

}  // namespace maps16

#endif
