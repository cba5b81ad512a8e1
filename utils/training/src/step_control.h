// Whether a step may change the weights, and the loss scale of float16: a few numbers, computed on the device, so that
// the host need not wait for them. The same for the CPU (optimizer.h) and CUDA (optimizer.cuh). Compiles on
// its own:
//
//   g++ -std=c++14 -fsyntax-only -x c++ utils/training/src/step_control.h
#ifndef STEP_CONTROL_H
#define STEP_CONTROL_H

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#    define STEP_CONTROL_BOTH __host__ __device__ inline
#else
#    define STEP_CONTROL_BOTH inline
#endif

namespace optimizer {

// What the host passes: `dynamic`: float16; `values`: the leading numbers of the row that must be finite, the last of
// them the norm of the gradients; `step`: the number of this step, from 1; beta_m, beta_values: of AdamW, or 0.
struct Rules {
    bool dynamic;
    int values;
    double step, patience, largest, beta_m, beta_values;
};
// The state of a run, five numbers: loss scale, good steps since it changed, skipped steps, 1 if training has ended, 1
// if the latest step changed the weights.
const int kScale = 0, kGood = 1, kSkipped = 2, kHalted = 3, kUpdated = 4;
// What the optimizer reads, four numbers.
const int kGo = 0, kInverse = 1, kCorrectionM = 2, kCorrectionValues = 3;

// By its bits: -Ofast and --use_fast_math assume that no number is NaN or infinite.
STEP_CONTROL_BOTH bool finite(float x) {
    std::uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits >> 23 & 255) != 255;
}

// P, Q: pointers to float. In float16 a gradient that overflows skips the step and halves the scale. Everything else
// that is not finite, and an overflow at scale 1, ends training: no later step changes the weights.
template <class P, class Q>
STEP_CONTROL_BOTH void decide_step(const Rules& rules, P row, P state, Q control, Q next) {
    bool finite_values = true;
    for (int n = 0; n < rules.values - 1; n++) finite_values = finite(row[n]) && finite_values;
    const bool gradient = finite(row[rules.values - 1]), ended = state[kHalted] != 0;
    const float scale = state[kScale];
    float good = state[kGood], skipped = state[kSkipped], new_scale = scale;
    bool halt = ended, go = false;
    if (!ended && rules.dynamic && !gradient) {
        skipped += 1;
        good = 0;
        halt = scale <= 1;
        if (!halt) new_scale = scale / 2;
    } else if (!ended) {
        halt = !(finite_values && gradient);
        go = !halt;
        if (go && rules.dynamic && ++good >= rules.patience) {
            good = 0;
            new_scale = scale * 2 < rules.largest ? scale * 2 : float(rules.largest);
        }
    }
    const double updates = rules.step - skipped;
    control[kGo] = go;
    control[kInverse] = 1 / scale;
    control[kCorrectionM] = 1 - std::pow(rules.beta_m, updates);
    control[kCorrectionValues] = 1 - std::pow(rules.beta_values, updates);
    next[kScale] = new_scale;
    next[kGood] = good;
    next[kSkipped] = skipped;
    next[kHalted] = halt;
    next[kUpdated] = go;
}

}  // namespace optimizer

#endif
