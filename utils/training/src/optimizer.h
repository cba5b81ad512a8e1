// Steps of the optimizers for many parameters at once, on all threads of the CPU: one pass over the memory. The work is
// cut into pieces of PIECE elements of one parameter; sums are added in the order of the pieces, so results do not
// depend on the number of threads. optimizer.cuh has the same functions for CUDA. Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ utils/training/src/optimizer.h
#ifndef OPTIMIZER_H
#define OPTIMIZER_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#ifndef STEP_CONTROL_H  // Jittor includes it by its path
#    include "step_control.h"
#endif

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

// Calls update(parameter, first, end) for each piece. Copies: what a loop writes could otherwise change what it reads.
template <class Update>
void over_pieces(const Parameter* all, int count, const Update& update) {
    const std::vector<Piece> list = pieces(all, count);
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const Update mine = update;
        const Piece piece = list[n];
        mine(all[piece.parameter], piece.first, piece.end);
    }
}

// A step that may not change the weights (step_control.h) gives the old values.
inline void keep(const Parameter* all, int count) {
    over_pieces(all, count, [](const Parameter a, Size first, Size end) {
        std::copy(a.p + first, a.p + end, a.new_p + first);
        std::copy(a.values + first, a.values + end, a.new_values + first);
        if (a.m) std::copy(a.m + first, a.m + end, a.new_m + first);
    });
}

// control: the numbers of step_control.h.
inline void sgd(const Parameter* all, int count, const float* control, float lr, float momentum, float decay) {
    if (!control[kGo]) return keep(all, count);
    const float inverse = control[kInverse];
    over_pieces(all, count, [=](const Parameter a, Size first, Size end) {
        for (Size i = first; i < end; i++) {
            const float v = momentum * a.values[i] + (a.p[i] * decay + a.g[i] * inverse);
            a.new_values[i] = v;
            a.new_p[i] = a.p[i] - v * lr;
        }
    });
}

// m, values: the averages of the gradients and of their squares.
inline void adamw(const Parameter* all, int count, const float* control, double lr, double decay, double beta_m,
                  double beta_values, float eps) {
    if (!control[kGo]) return optimizer::keep(all, count);
    const float inverse = control[kInverse];
    const float keep = 1 - lr * decay, size = lr / control[kCorrectionM];
    const float root = std::sqrt(control[kCorrectionValues]), b_m = beta_m, b_values = beta_values;
    const float new_m = 1 - beta_m, new_values = 1 - beta_values;  // in double: 1 - 0.999f has a relative error of 1e-5
    over_pieces(all, count, [=](const Parameter a, Size first, Size end) {
        for (Size i = first; i < end; i++) {
            const float g = a.g[i] * inverse, m = b_m * a.m[i] + new_m * g;
            const float v = b_values * a.values[i] + new_values * g * g;
            a.new_m[i] = m;
            a.new_values[i] = v;
            a.new_p[i] = a.p[i] * keep - size * m / (std::sqrt(v) / root + eps);
        }
    });
}

// new_p = p + g: the sum of gradients of the pieces of a batch.
inline void add(const Parameter* all, int count) {
    over_pieces(all, count, [](const Parameter a, Size first, Size end) {
        for (Size i = first; i < end; i++) a.new_p[i] = a.p[i] + a.g[i];
    });
}

// total = before + the sum of the squares of all g / scale; partial: a number for each piece.
inline void squares(const Parameter* all, int count, const float* state, const float* before, double* partial,
                    float* total) {
    const std::vector<Piece> list = pieces(all, count);
    const float inverse = 1 / state[kScale];
#pragma omp parallel for schedule(static)
    for (Size n = 0; n < Size(list.size()); n++) {
        const float* g = all[list[n].parameter].g;
        double sum = 0;
        for (Size i = list[n].first; i < list[n].end; i += 1024) {
            float part = 0;
            for (Size k = i; k < std::min(i + 1024, list[n].end); k++) part += (g[k] * inverse) * (g[k] * inverse);
            sum += part;
        }
        partial[n] = sum;
    }
    double sum = *before;
    for (Size n = 0; n < Size(list.size()); n++) sum += partial[n];
    *total = sum;
}

// All g, one behind the other, in `flat`.
inline void pack(Parameter* all, int count, float* flat) {
    for (int k = 0; k < count; flat += all[k++].count) all[k].new_p = flat;
    over_pieces(all, count,
                [](const Parameter a, Size first, Size end) { std::copy(a.g + first, a.g + end, a.new_p + first); });
}

// The way back: each new_p from `flat`, times `share`. (With -Ofast, a vector division is inexact even by 2.)
inline void unpack(Parameter* all, int count, const float* flat, float share) {
    for (int k = 0; k < count; flat += all[k++].count) all[k].g = flat;
    over_pieces(all, count, [=](const Parameter a, Size first, Size end) {
        for (Size i = first; i < end; i++) a.new_p[i] = a.g[i] * share;
    });
}

// The numbers of several small arrays, one behind the other.
inline void gather(const Parameter* all, int count, float* row) {
    for (int k = 0; k < count; k++) row = std::copy(all[k].g, all[k].g + all[k].count, row);
}

inline void decide(const Rules& rules, const float* row, const float* state, float* control, float* next) {
    decide_step(rules, row, state, control, next);
}

}  // namespace optimizer

#endif
