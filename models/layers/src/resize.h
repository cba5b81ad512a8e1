// Bilinear resizing of (planes, h, w) on the CPU, forward and backward, one plane by one thread: results do not depend
// on the number of threads. The gradient is gathered. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/resize.h
#ifndef RESIZE_H
#define RESIZE_H

#include <algorithm>
#include <cstdint>
#include <vector>

namespace resize {

typedef int64_t Size;

// Bilinear interpolation along one axis: output n lies between `low[n]` and `low[n] + 1`, at the fraction `share[n]`.
// The outputs first[i] to first[i + 1] - 1 have low == i.
struct Axis {
    std::vector<int> low, first;
    std::vector<float> share;

    Axis(int from, int to, bool corners) : low(to), first(from + 1), share(to) {
        const double scale = corners ? (from - 1.0) / std::max(to - 1, 1) : double(from) / to;
        for (int n = 0; n < to; n++) {
            const double at = std::min(std::max(corners ? n * scale : (n + 0.5) * scale - 0.5, 0.0), from - 1.0);
            low[n] = int(at);
            share[n] = at - low[n];
            first[low[n] + 1]++;
        }
        for (int i = 0; i < from; i++) first[i + 1] += first[i];
    }
};

// to (w): the adjoint of the interpolation of w values, applied to `from`.
inline void shrink(const Axis& x, int w, const float* from, float* to) {
    for (int j = 0; j < w; j++) to[j] = 0;
    for (int j = 0; j < w; j++) {
        float all = 0, right = 0;
        for (int n = x.first[j]; n < x.first[j + 1]; n++) {
            all += from[n];
            right += x.share[n] * from[n];
        }
        to[j] += all - right;
        if (j + 1 < w) to[j + 1] += right;
    }
}

inline void forward(int planes, int h, int w, int height, int width, bool corners, const float* x, float* y) {
    const Axis rows(h, height, corners), columns(w, width, corners);
#pragma omp parallel
    {
        std::vector<float> line(w + 1);
#pragma omp for
        for (int p = 0; p < planes; p++)
            for (int i = 0; i < height; i++) {
                const float* a = x + (Size(p) * h + rows.low[i]) * w;
                const float* b = x + (Size(p) * h + std::min(rows.low[i] + 1, h - 1)) * w;
                for (int j = 0; j < w; j++) line[j] = a[j] + rows.share[i] * (b[j] - a[j]);
                line[w] = line[w - 1];
                float* to = y + (Size(p) * height + i) * width;
                for (int n = 0; n < width; n++) {
                    const float left = line[columns.low[n]];
                    to[n] = left + columns.share[n] * (line[columns.low[n] + 1] - left);
                }
            }
    }
}

inline void backward(int planes, int h, int w, int height, int width, bool corners, const float* g, float* dx) {
    const Axis rows(h, height, corners), columns(w, width, corners);
#pragma omp parallel
    {
        std::vector<float> above(width), below(width), part(w), rest(w);
#pragma omp for
        for (int p = 0; p < planes; p++) {
            std::fill(rest.begin(), rest.end(), 0);
            for (int i = 0; i < h; i++) {
                std::fill(above.begin(), above.end(), 0);
                std::fill(below.begin(), below.end(), 0);
                for (int row = rows.first[i]; row < rows.first[i + 1]; row++) {
                    const float* from = g + (Size(p) * height + row) * width;
                    for (int n = 0; n < width; n++) {
                        above[n] += (1 - rows.share[row]) * from[n];
                        below[n] += rows.share[row] * from[n];
                    }
                }
                shrink(columns, w, above.data(), part.data());
                float* to = dx + (Size(p) * h + i) * w;
                for (int j = 0; j < w; j++) to[j] = part[j] + rest[j];
                shrink(columns, w, below.data(), rest.data());
            }
        }
    }
}

}  // namespace resize

#endif
