// Steps of the optimizers for many parameters at once, on all threads of the CPU: one pass over the memory. The work is
// cut into pieces of PIECE elements of one parameter; sums are added in the order of the pieces, so results do not
// depend on the number of threads. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ utils/training/src/optimizer.h
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace optimizer {

typedef int64_t Size;
const Size PIECE = 16384;

// The arrays of one parameter: p, g and the moments are read, the new ones written.
struct Parameter {
    Size count;
    const float *p, *g, *values, *m;
    float *new_p, *new_values, *new_m;
};

struct Piece {
    int parameter;
    Size first, end;
};

inline std::vector<Piece> pieces(const Parameter* all, int count) {
    std::vector<Piece> list;
    for (int k = 0; k < count; k++)
        for (Size first = 0; first < all[k].count; first += PIECE)
            list.push_back({k, first, std::min(first + PIECE, all[k].count)});
    return list;
}

inline void sgd(const Parameter* all, int count, float lr, float momentum, float decay) {
    const std::vector<Piece> list = pieces(all, count);
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const Parameter a = all[list[n].parameter];
        for (Size i = list[n].first; i < list[n].end; i++) {
            const float v = momentum * a.values[i] + (a.p[i] * decay + a.g[i]);
            a.new_values[i] = v;
            a.new_p[i] = a.p[i] - v * lr;
        }
    }
}

// m, values: the averages of the gradients and of their squares. correction: 1 - beta ** step.
inline void adamw(const Parameter* all, int count, double lr, double decay, double beta_m, double beta_values,
                  double correction_m, double correction_values, float eps) {
    const std::vector<Piece> list = pieces(all, count);
    const float keep = 1 - lr * decay, size = lr / correction_m, root = std::sqrt(correction_values);
    const float b_m = beta_m, b_values = beta_values;
    const float new_m = 1 - beta_m, new_values = 1 - beta_values;  // in double: 1 - 0.999f has a relative error of 1e-5
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const Parameter a = all[list[n].parameter];
        for (Size i = list[n].first; i < list[n].end; i++) {
            const float g = a.g[i], m = b_m * a.m[i] + new_m * g;
            const float v = b_values * a.values[i] + new_values * g * g;
            a.new_m[i] = m;
            a.new_values[i] = v;
            a.new_p[i] = a.p[i] * keep - size * m / (std::sqrt(v) / root + eps);
        }
    }
}

// new_p = p + g: the sum of gradients of the pieces of a batch.
inline void add(const Parameter* all, int count) {
    const std::vector<Piece> list = pieces(all, count);
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const Parameter a = all[list[n].parameter];
        for (Size i = list[n].first; i < list[n].end; i++) a.new_p[i] = a.p[i] + a.g[i];
    }
}

// The sum of the squares of all g.
inline float squares(const Parameter* all, int count) {
    const std::vector<Piece> list = pieces(all, count);
    std::vector<double> sums(list.size());
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const float* g = all[list[n].parameter].g;
        double sum = 0;
        for (Size i = list[n].first; i < list[n].end; i += 1024) {
            float part = 0;
            for (Size k = i; k < std::min(i + 1024, list[n].end); k++) part += g[k] * g[k];
            sum += part;
        }
        sums[n] = sum;
    }
    double total = 0;
    for (double sum : sums) total += sum;
    return total;
}

}  // namespace optimizer

#endif
