// 1x1 convolution with bias on the CPU as matrix products of oneDNN, on ordinary arrays (B, C, n): nothing is
// reordered. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -I$HOME/.cache/jittor/mkl/dnnl_lnx_2.2.0_cpu_gomp/include
//   -fsyntax-only -x c++ models/layers/src/pointwise.h
#ifndef POINTWISE_H
#define POINTWISE_H

#include <algorithm>
#include <cstdint>

#include <dnnl.h>

namespace pointwise {

typedef int64_t Size;

struct Shape {
    Size batch, in, out, area;
};

// y (B, out, n) = weight (out, in) * x (B, in, n) + bias; bias may be null.
inline void forward(Shape s, const float* x, const float* weight, const float* bias, float* y) {
    if (bias) {
#pragma omp parallel for
        for (Size p = 0; p < s.batch * s.out; p++) std::fill_n(y + p * s.area, s.area, bias[p % s.out]);
    }
    for (Size b = 0; b < s.batch; b++)
        dnnl_sgemm('N', 'N', s.out, s.area, s.in, 1, weight, s.in, x + b * s.in * s.area, s.area, bias ? 1 : 0,
                   y + b * s.out * s.area, s.area);
}

// The gradients, given dy like y; db may be null.
inline void backward(Shape s, const float* x, const float* weight, const float* dy, float* dx, float* dw, float* db) {
    for (Size b = 0; b < s.batch; b++) {
        const float *given = dy + b * s.out * s.area, *from = x + b * s.in * s.area;
        dnnl_sgemm('T', 'N', s.in, s.area, s.out, 1, weight, s.in, given, s.area, 0, dx + b * s.in * s.area, s.area);
        dnnl_sgemm('N', 'T', s.out, s.in, s.area, 1, given, s.area, from, s.area, b ? 1 : 0, dw, s.in);
    }
    if (!db) return;
#pragma omp parallel for
    for (Size o = 0; o < s.out; o++) {
        double sum = 0;
        for (Size b = 0; b < s.batch; b++) {
            const float* from = dy + (b * s.out + o) * s.area;
            for (Size first = 0; first < s.area; first += 1024) {
                float part = 0;
                for (Size i = first; i < std::min(first + 1024, s.area); i++) part += from[i];
                sum += part;
            }
        }
        db[o] = sum;
    }
}

}  // namespace pointwise

#endif
