// BatchNorm in training on the CPU, for (B, C, n) float32: y = activation((x - mean) * scale + bias + add). Each
// channel is computed by one thread, so results do not depend on the number of threads. `slope`: of the activation for
// negative inputs (0: ReLU, 1: none). `add`, the residual, may be null. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/batch_norm.h
#ifndef BATCH_NORM_H
#define BATCH_NORM_H

#include <algorithm>
#include <cstdint>

namespace norm {

typedef int64_t Size;
const Size RUN = 1024;  // elements summed in float32 before they are added to a sum in double

struct Maps {
    Size batch, channels, area;

    // Calls work(first) for each plane of a channel; first: index of its first element.
    template <class Work>
    void planes(Size channel, Work work) const {
        for (Size b = 0; b < batch; b++) work((b * channels + channel) * area);
    }

    // Calls work(first, count) for pieces of at most RUN elements.
    template <class Work>
    void runs(Size channel, Work work) const {
        planes(channel, [&](Size first) {
            for (Size at = 0; at < area; at += RUN) work(first + at, std::min(RUN, area - at));
        });
    }
};

// For each channel the mean and the sum of squared deviations from it.
inline void moments(Maps m, const float* x, float* mean, float* squares) {
#pragma omp parallel for
    for (Size c = 0; c < m.channels; c++) {
        double all = 0, all_squares = 0;
        m.runs(c, [=, &all](Size first, Size count) {
            float part = 0;
            for (Size i = first; i < first + count; i++) part += x[i];
            all += part;
        });
        const float middle = all / (m.batch * m.area);
        m.runs(c, [=, &all_squares](Size first, Size count) {
            float part = 0;
            for (Size i = first; i < first + count; i++) part += (x[i] - middle) * (x[i] - middle);
            all_squares += part;
        });
        mean[c] = middle;
        squares[c] = all_squares;
    }
}

inline void apply(Maps m, float slope, const float* x, const float* mean, const float* scale, const float* bias,
                  const float* add, float* y) {
#pragma omp parallel for
    for (Size c = 0; c < m.channels; c++) {
        const float middle = mean[c], factor = scale[c], shift = bias[c];
        m.planes(c, [=](Size first) {
            for (Size i = first; i < first + m.area; i++) {
                const float z = (x[i] - middle) * factor + shift + (add ? add[i] : 0);
                y[i] = z > 0 ? z : z * slope;
            }
        });
    }
}

// For each channel the sums of h and h (x - mean), where h is the gradient before the activation.
inline void sums(Maps m, float slope, const float* g, const float* x, const float* y, const float* mean, float* of_h,
                 float* of_h_x) {
#pragma omp parallel for
    for (Size c = 0; c < m.channels; c++) {
        const float middle = mean[c];
        double all = 0, all_x = 0;
        m.runs(c, [=, &all, &all_x](Size first, Size count) {
            const float *in = g + first, *from = x + first, *sign = y + first;
            float part = 0, part_x = 0;
            for (Size i = 0; i < count; i++) {
                const float h = in[i] * (sign[i] > 0 ? 1 : slope);
                part += h;
                part_x += h * (from[i] - middle);
            }
            all += part;
            all_x += part_x;
        });
        of_h[c] = all;
        of_h_x[c] = all_x;
    }
}

// dx = h * scale - (x - mean) * tilt - shift, and d_add = h unless d_add is null.
inline void gradient(Maps m, float slope, const float* g, const float* x, const float* y, const float* mean,
                     const float* scale, const float* tilt, const float* shift, float* dx, float* d_add) {
#pragma omp parallel for
    for (Size c = 0; c < m.channels; c++) {
        const float middle = mean[c], a = scale[c], b = tilt[c], d = shift[c];
        m.planes(c, [=](Size first) {
            for (Size i = first; i < first + m.area; i++) {
                const float h = g[i] * (y[i] > 0 ? 1 : slope);
                if (d_add) d_add[i] = h;
                dx[i] = h * a - (x[i] - middle) * b - d;
            }
        });
    }
}

}  // namespace norm

#endif
