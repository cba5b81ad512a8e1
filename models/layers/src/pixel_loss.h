// Cross entropy of each pixel of up-sampled logits on the CPU, without storing anything of the size classes x pixels.
// logits (batch, classes, h, w) are resized bilinearly to (height, width) on the fly, in registers. The output rows
// between two rows of logits form a band; a band is computed by one thread, and gradients are gathered from bands in a
// fixed order, so results do not depend on the number of threads. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/pixel_loss.h
#ifndef PIXEL_LOSS_H
#define PIXEL_LOSS_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#ifndef CCA_SIMD_H
#    include "../../cca/src/simd.h"
#endif
#ifndef RESIZE_H
#    include "resize.h"
#endif

namespace pixel_loss {

using resize::Axis;

typedef cca::Simd<float> Simd;
typedef Simd::V V;
typedef Simd::I I;
typedef int64_t Size;
const int N = Simd::N;

struct Shape {
    int batch, classes, h, w, height, width;
    bool corners;
};

// v[index[lane]] in each lane.
inline V pick(V v, I index) {
#if defined(__AVX512F__)
    return _mm512_permutexvar_ps((__m512i)index, v);
#else
    V y;
    for (int lane = 0; lane < N; lane++) y[lane] = v[index[lane]];
    return y;
#endif
}

inline I not_finite(V v) { return ((I)v & 0x7fffffff) >= 0x7f800000; }

// log(x) for 1 <= x < infinity.
inline V log_above_one(V x) {
    const I bits = (I)x;
    I exponent = (bits >> 23) - 127;
    V m = (V)((bits & 0x7fffff) | 0x3f800000);
    const I large = m > 1.41421356f;
    exponent -= large;  // true is -1
    m = large ? m * 0.5f : m;
    const V z = (m - 1.f) / (m + 1.f), square = z * z;
    const V series = 1.f + square * (1.f / 3 + square * (1.f / 5 + square * (1.f / 7 + square * (1.f / 9))));
    return __builtin_convertvector(exponent, V) * 0.693147180559945f + 2.f * z * series;
}

// The two rows of logits around a band, and their interpolation along x, one vector of columns at a time.
struct Band {
    const Shape s;
    const Axis& x;
    int stride;
    std::vector<float> rows, slopes;  // (classes, stride): the upper row, and the lower one minus the upper one
    std::vector<float> value, slope;  // (classes, N) at the current columns: logits are value + share * slope
    I bad;                            // lanes with logits that are NaN or infinity

    Band(Shape shape, const Axis& columns)
        : s(shape),
          x(columns),
          stride(s.w + N + 1),
          rows(s.classes * stride),
          slopes(rows.size()),
          value(s.classes * N),
          slope(value.size()) {}

    void load(const float* logits, int y) {
        const int below = std::min(y + 1, s.h - 1);
        for (int k = 0; k < s.classes; k++) {
            const float *a = logits + (Size(k) * s.h + y) * s.w, *b = logits + (Size(k) * s.h + below) * s.w;
            float *row = rows.data() + k * stride, *step = slopes.data() + k * stride;
            for (int i = 0; i < s.w; i++) {
                row[i] = a[i];
                step[i] = b[i] - a[i];
            }
            for (int i = s.w; i < stride; i++) {
                row[i] = row[s.w - 1];
                step[i] = step[s.w - 1];
            }
        }
    }

    void columns(int first, int lanes) {
        const int base = x.low[first];
        I index = {};
        V share = {};
        for (int lane = 0; lane < lanes; lane++) {
            index[lane] = x.low[first + lane] - base;
            share[lane] = x.share[first + lane];
        }
        const bool narrow = index[lanes - 1] < N;
        bad = I{};
        auto at = [&](const float* row) {
            V a, b;
            if (narrow) {
                a = pick(Simd::load(row + base), index);
                b = pick(Simd::load(row + base + 1), index);
            } else {
                for (int lane = 0; lane < N; lane++) {
                    a[lane] = row[base + index[lane]];
                    b[lane] = row[base + index[lane] + 1];
                }
            }
            const V y = a + share * (b - a);
            bad |= not_finite(y);
            return y;
        };
        for (int k = 0; k < s.classes; k++) {
            Simd::store(value.data() + k * N, at(rows.data() + k * stride));
            Simd::store(slope.data() + k * N, at(slopes.data() + k * stride));
        }
    }

    V logit(int k, float share) const {
        return Simd::load(value.data() + k * N) + share * Simd::load(slope.data() + k * N);
    }

    // log of the sum of exp(logits) over the classes, for one output row; NaN in the lanes of `bad`.
    V log_sum_exp(float share) const {
        V most = logit(0, share), sum = {}, other = {};
        for (int k = 1; k < s.classes; k++) most = Simd::max(most, logit(k, share));
        int k = 0;
        for (; k + 1 < s.classes; k += 2) {
            sum += cca::exp_nonpositive(logit(k, share) - most);
            other += cca::exp_nonpositive(logit(k + 1, share) - most);
        }
        if (k < s.classes) sum += cca::exp_nonpositive(logit(k, share) - most);
        return Simd::or_bits(log_above_one(sum + other) + most, bad);
    }
};

// loss (batch, height, width): log_sum - the logit of the label; 0 where the label is not a class.
inline void forward(Shape s, const float* logits, const int32_t* labels, float* loss, float* log_sum) {
    const Axis y(s.h, s.height, s.corners), x(s.w, s.width, s.corners);
#pragma omp parallel
    {
        Band band(s, x);
#pragma omp for schedule(dynamic)
        for (int task = 0; task < s.batch * s.h; task++) {
            const int b = task / s.h, i = task % s.h;
            if (y.first[i] == y.first[i + 1]) continue;
            band.load(logits + Size(b) * s.classes * s.h * s.w, i);
            for (int first = 0; first < s.width; first += N) {
                const int lanes = std::min(N, s.width - first);
                band.columns(first, lanes);
                for (int row = y.first[i]; row < y.first[i + 1]; row++) {
                    const Size at = (Size(b) * s.height + row) * s.width + first;
                    const V total = band.log_sum_exp(y.share[row]);
                    V result = {};
                    for (int lane = 0; lane < lanes; lane++) {
                        const unsigned k = labels[at + lane];
                        if (k < unsigned(s.classes))
                            result[lane] =
                                total[lane] - (band.value[k * N + lane] + y.share[row] * band.slope[k * N + lane]);
                    }
                    Simd::store(log_sum + at, total, lanes);
                    Simd::store(loss + at, result, lanes);
                }
            }
        }
    }
}

// d_logits, given g, the gradient of `loss`. A band contributes to the rows above and below it: the first go to
// d_logits, the others to `lower`, and the two are added at the end.
inline void backward(Shape s, const float* logits, const int32_t* labels, const float* log_sum, const float* g,
                     float* d_logits) {
    const Axis y(s.h, s.height, s.corners), x(s.w, s.width, s.corners);
    const Size plane = Size(s.h) * s.w;
    std::vector<float> lower(s.batch * s.classes * plane);
#pragma omp parallel
    {
        Band band(s, x);
        const int stride = (s.width + N - 1) / N * N;
        std::vector<float> above(Size(s.classes) * stride), below(above.size());
#pragma omp for schedule(dynamic)
        for (int task = 0; task < s.batch * s.h; task++) {
            const int b = task / s.h, i = task % s.h;
            band.load(logits + b * s.classes * plane, i);
            for (int first = 0; first < s.width; first += N) {
                const int lanes = std::min(N, s.width - first);
                band.columns(first, lanes);
                for (int k = 0; k < s.classes; k++) {
                    V all = {}, down = {};
                    for (int row = y.first[i]; row < y.first[i + 1]; row++) {
                        const Size at = (Size(b) * s.height + row) * s.width + first;
                        const V p = cca::exp_nonpositive(band.logit(k, y.share[row]) - Simd::load(log_sum + at, lanes));
                        const V d = p * Simd::load(g + at, lanes);
                        all += d;
                        down += y.share[row] * d;
                    }
                    Simd::store(above.data() + Size(k) * stride + first, Simd::or_bits(all - down, band.bad));
                    Simd::store(below.data() + Size(k) * stride + first, down);
                }
            }
            for (int row = y.first[i]; row < y.first[i + 1]; row++) {
                const Size at = (Size(b) * s.height + row) * s.width;
                for (int n = 0; n < s.width; n++) {
                    const unsigned k = labels[at + n];
                    if (k >= unsigned(s.classes)) continue;
                    above[Size(k) * stride + n] -= g[at + n] * (1 - y.share[row]);
                    below[Size(k) * stride + n] -= g[at + n] * y.share[row];
                }
            }
            for (int k = 0; k < s.classes; k++) {
                const Size at = (Size(b) * s.classes + k) * plane + Size(i) * s.w;
                resize::shrink(x, s.w, above.data() + Size(k) * stride, d_logits + at);
                if (i + 1 < s.h) resize::shrink(x, s.w, below.data() + Size(k) * stride, lower.data() + at + s.w);
            }
        }
#pragma omp for
        for (Size n = 0; n < Size(lower.size()); n++) d_logits[n] += lower[n];
    }
}

// One axis of the grid of OHEM: `points` positions from the first to the last of `side` pixels.
struct Grid {
    std::vector<int> low, near;
    std::vector<double> share;

    Grid(int points, int side) : low(points), near(points), share(points) {
        for (int n = 0; n < points; n++) {
            const double at = n * ((side - 1.0) / std::max(points - 1, 1));
            low[n] = std::min(int(at), side - 1);
            near[n] = int(at + 0.5);
            share[n] = at - low[n];
        }
    }
};

// Probability of the label at the points (batch, rows, columns) of a coarse grid, 2 where it is `ignore`:
// probabilities are interpolated between the four pixels around a point. At a pixel it is that of `probability`.
inline void coarse(Shape s, int rows, int columns, int ignore, const float* logits, const int32_t* labels,
                   const float* log_sum, const float* probability, float* points) {
    const Axis y(s.h, s.height, s.corners), x(s.w, s.width, s.corners);
    const Grid v(rows, s.height), u(columns, s.width);
#pragma omp parallel for
    for (int task = 0; task < s.batch * rows; task++) {
        const int b = task / rows, i = task % rows;
        const Size image = Size(b) * s.height * s.width;
        for (int j = 0; j < columns; j++) {
            const Size pixel = image + Size(v.near[i]) * s.width + u.near[j];
            const int label = labels[pixel];
            float& result = points[Size(task) * columns + j];
            if (label == ignore || label < 0 || label >= s.classes) {
                result = 2;
                continue;
            }
            if (v.share[i] == 0 && u.share[j] == 0) {
                result = probability[pixel];
                continue;
            }
            const float* plane = logits + (Size(b) * s.classes + label) * s.h * s.w;
            double sum = 0;
            for (int corner = 0; corner < 4; corner++) {
                const int down = corner / 2, right = corner % 2;
                const double share = (down ? v.share[i] : 1 - v.share[i]) * (right ? u.share[j] : 1 - u.share[j]);
                const int row = std::min(v.low[i] + down, s.height - 1), n = std::min(u.low[j] + right, s.width - 1);
                const float* a = plane + Size(y.low[row]) * s.w;
                const float* c = plane + Size(std::min(y.low[row] + 1, s.h - 1)) * s.w;
                const int left = x.low[n], next = std::min(left + 1, s.w - 1);
                const float above = a[left] + x.share[n] * (a[next] - a[left]);
                const float below = c[left] + x.share[n] * (c[next] - c[left]);
                const float logit = above + y.share[row] * (below - above);
                sum += share * std::exp(logit - log_sum[image + Size(row) * s.width + n]);
            }
            result = std::min(sum, 1.0);
        }
    }
}

}  // namespace pixel_loss

#endif
