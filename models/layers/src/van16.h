// The layers of a VAN that other networks do not have, in bfloat16 on maps (B, H, W, C), besides depthwise16.h: GELU,
// the product of a gate, the sum with a scaled branch, layer normalisation. Arithmetic is float32, and each result is
// rounded once. Sums run over a fixed number of parts, so results do not depend on the number of threads.
// Compiles on its own:
//
//   g++ -std=c++14 -Ofast -march=native -fopenmp -fsyntax-only -x c++ models/layers/src/van16.h
#ifndef VAN16_H
#define VAN16_H

#ifndef DEPTHWISE16_H
#    include "depthwise16.h"
#endif
#ifndef MAPS16_H
#    include "maps16.h"
#endif

namespace van16 {

inline void gelu(Size count, const Number* x, Number* y) {
    elementwise::vectors(count,
                         [=](Size at, int lanes) { store_narrow(y + at, gelu(load_wide(x + at, lanes)), lanes); });
}

inline void gelu_gradient(Size count, const Number* x, const Number* g, Number* dx) {
    elementwise::vectors(count, [=](Size at, int lanes) {
        const V v = load_wide(x + at, lanes);
        const elementwise::Normal normal(v);
        const V slope = normal.integral + 0.398942280f * v * normal.density;
        store_narrow(dx + at, load_wide(g + at, lanes) * slope, lanes);
    });
}

inline void product(Size count, const Number* x, const Number* gate, Number* y) {
    elementwise::vectors(count, [=](Size at, int lanes) {
        store_narrow(y + at, load_wide(x + at, lanes) * load_wide(gate + at, lanes), lanes);
    });
}

inline void product_gradient(Size count, const Number* x, const Number* gate, const Number* g, Number* dx,
                             Number* d_gate) {
    elementwise::vectors(count, [=](Size at, int lanes) {
        const V given = load_wide(g + at, lanes);
        store_narrow(dx + at, given * load_wide(gate + at, lanes), lanes);
        store_narrow(d_gate + at, given * load_wide(x + at, lanes), lanes);
    });
}

struct Branch {
    Size batch, area, channels;
};

// y = x + factor * (a + b): maps (batch, area, channels), factor (batch, channels); b may be null.
inline void branch_sum(const Branch& s, const Number* x, const float* factor, const Number* a, const Number* b,
                       Number* y) {
#pragma omp parallel for
    for (Size row = 0; row < s.batch * s.area; row++) {
        const float* f = factor + row / s.area * s.channels;
        for (Size c = 0; c < s.channels; c += N) {
            const int lanes = std::min(Size(N), s.channels - c);
            const Size at = row * s.channels + c;
            V sum = load_wide(a + at, lanes);
            if (b) sum += load_wide(b + at, lanes);
            store_narrow(y + at, load_wide(x + at, lanes) + Lanes::load(f + c, lanes) * sum, lanes);
        }
    }
}

// The gradient of a, which is that of b, and the gradient of factor; that of x is g.
inline void branch_sum_gradient(const Branch& s, const float* factor, const Number* a, const Number* b, const Number* g,
                                Number* da, float* d_factor) {
    const Size C = s.channels, each = (s.area + PARTS - 1) / PARTS;
    std::vector<float> sums(s.batch * PARTS * C);
#pragma omp parallel for
    for (Size task = 0; task < s.batch * PARTS; task++) {
        const Size image = task / PARTS, first = task % PARTS * each;
        for (Size row = first; row < std::min(s.area, first + each); row++)
            for (Size c = 0; c < C; c += N) {
                const int lanes = std::min(Size(N), C - c);
                const Size at = (image * s.area + row) * C + c;
                const V given = load_wide(g + at, lanes);
                V branch = load_wide(a + at, lanes);
                if (b) branch += load_wide(b + at, lanes);
                store_narrow(da + at, given * Lanes::load(factor + image * C + c, lanes), lanes);
                float* sum = &sums[task * C + c];
                Lanes::store(sum, Lanes::load(sum, lanes) + given * branch, lanes);
            }
    }
    for (Size image = 0; image < s.batch; image++)
        for (Size c = 0; c < C; c++) {
            double sum = 0;
            for (Size part = 0; part < PARTS; part++) sum += sums[(image * PARTS + part) * C + c];
            d_factor[image * C + c] = sum;
        }
}

// y = (x - mean) * factor * weight + bias over the channels, with factor = 1 / sqrt(variance + eps).
inline void layer_norm(maps16::Rows r, float eps, const Number* x, const float* weight, const float* bias, Number* y,
                       float* mean, float* factor) {
    using bf16::narrow;
    using bf16::wide;
    r.each([=](Size at) {
        float sum = 0, squares = 0;
        for (Size c = 0; c < r.channels; c++) sum += wide(x[at + c]);
        const float middle = sum / r.channels;
        for (Size c = 0; c < r.channels; c++) {
            const float d = wide(x[at + c]) - middle;
            squares += d * d;
        }
        const float scale = 1 / std::sqrt(squares / r.channels + eps);
        mean[at / r.channels] = middle;
        factor[at / r.channels] = scale;
#pragma omp simd
        for (Size c = 0; c < r.channels; c++)
            y[at + c] = narrow((wide(x[at + c]) - middle) * scale * weight[c] + bias[c]);
    });
}

inline void layer_norm_gradient(maps16::Rows r, const Number* x, const float* weight, const float* mean,
                                const float* factor, const Number* g, Number* dx, float* dw, float* db) {
    using bf16::narrow;
    using bf16::wide;
    const Size C = r.channels, parts = r.parts();
    std::vector<float> of_weight(parts * C), of_bias(parts * C);
    r.each_part([&](Size part, Size first, Size end) {
        float *sum = &of_bias[part * C], *slope = &of_weight[part * C];
        for (Size row = first; row < end; row++) {
            const Number *in = x + row * C, *given = g + row * C;
            Number* out = dx + row * C;
            const float middle = mean[row], scale = factor[row];
            float all = 0, along = 0;
            for (Size c = 0; c < C; c++) {
                const float h = wide(given[c]) * weight[c];
                all += h;
                along += h * (wide(in[c]) - middle);
            }
            all /= C;
            along *= scale * scale / C;
#pragma omp simd
            for (Size c = 0; c < C; c++) {
                const float d = wide(in[c]) - middle;
                out[c] = narrow((wide(given[c]) * weight[c] - all - d * along) * scale);
                sum[c] += wide(given[c]);
                slope[c] += wide(given[c]) * d * scale;
            }
        }
    });
    for (Size c = 0; c < C; c++) {
        double a = 0, b = 0;
        for (Size p = 0; p < parts; p++) a += of_weight[p * C + c], b += of_bias[p * C + c];
        dw[c] = a;
        db[c] = b;
    }
}

}  // namespace van16

#endif
