// The CUDA kernels of models/layers as a library for the tests, executed by cuda_standin.h. Each call returns an error
// message or "".
//
//   g++ -fsyntax-only -include tests/support/cuda_standin.h -I models/layers/src tests/support/cuda_layers.cc
#include "batch_norm.cuh"
#include "pixel_loss.cuh"
#include "resize.cuh"
#include "guarded.h"

// FLOAT_ONLY: the tests of faults build the library once for each, and need no other type.
#ifdef FLOAT_ONLY
#    define CHOOSE(type, single, half, bfloat) (single)
#else
#    define CHOOSE(type, single, half, bfloat) ((type) == 0 ? (single) : (type) == 1 ? (half) : (bfloat))
#endif

namespace {

// x, add, y, g, dx, d_add, weight, bias, mean, var, count, row, both, part
struct Norm {
    void *x, *add, *y, *g, *dx, *d_add;
    float *weight, *bias, *mean, *var, *count, *row, *both, *part;
};

template <class T>
void norm(batch_norm::Maps m, int slices, float eps, float slope, const Norm& n) {
    const std::size_t size = sizeof(T) * m.batch * m.channels * m.area, c = 4 * m.channels;
    const batch_norm::Layer layer = {n.mean, n.var, n.weight, n.bias, eps, slope};
    const bool read_y = n.add && slope != 1;
    const standin::Buffer weights[] = {{"weight", n.weight, c, false}, {"bias", n.bias, c, false}};
    {
        const standin::Buffer buffers[] = {{"x", n.x, size, false},         {"add", n.add, n.add ? size : 0, false},
                                           {"y", n.y, size, true},          {"mean", n.mean, c, true},
                                           {"var", n.var, c, true},         {"count", n.count, 4, true},
                                           {"row", n.row, 2 * c + 4, true}, {"part", n.part, slices * 3 * c, true}};
        batch_norm::moments(m, slices, (const T*)n.x, n.part, n.row);
        batch_norm::merge(m, 1, n.row, n.mean, n.var, n.count);
        batch_norm::apply(m, layer, (const T*)n.x, (const T*)n.add, (T*)n.y);
    }
    const standin::Buffer buffers[] = {{"x", n.x, size, false},       {"y", n.y, size, false},
                                       {"g", n.g, size, false},       {"mean", n.mean, c, false},
                                       {"var", n.var, c, false},      {"count", n.count, 4, false},
                                       {"dx", n.dx, size, true},      {"d_add", n.d_add, read_y ? size : 0, true},
                                       {"both", n.both, 2 * c, true}, {"part", n.part, slices * 2 * c, true}};
    const T *g = (const T*)n.g, *x = (const T*)n.x, *y = read_y ? (const T*)n.y : nullptr;
    batch_norm::sums(m, layer, slices, g, x, y, n.part, n.both);
    batch_norm::gradient(m, layer, n.both, n.count, g, x, y, (T*)n.dx, read_y ? (T*)n.d_add : nullptr);
}

struct Loss {
    void *logits, *labels;
    float *loss, *log_sum, *g, *probability, *points;
    void* d_logits;
};

template <class T, class L>
void pixels(const pixel_loss::Shape& s, int rows, int columns, int ignore, const Loss& l) {
    const std::size_t size = sizeof(T) * s.batch * s.classes * s.h * s.w, count = s.batch * s.height * s.width;
    const standin::Buffer inputs[] = {{"logits", l.logits, size, false},
                                      {"labels", l.labels, count * sizeof(L), false},
                                      {"g", l.g, count * 4, false},
                                      {"probability", l.probability, count * 4, false},
                                      {"loss", l.loss, count * 4, true},
                                      {"log_sum", l.log_sum, count * 4, true},
                                      {"points", l.points, std::size_t(s.batch) * rows * columns * 4, true},
                                      {"d_logits", l.d_logits, size, true}};
    const T* logits = (const T*)l.logits;
    const L* labels = (const L*)l.labels;
    pixel_loss::forward(s, logits, labels, l.loss, l.log_sum);
    pixel_loss::backward(s, logits, labels, l.log_sum, l.g, (T*)l.d_logits);
    pixel_loss::coarse(s, rows, columns, ignore, logits, labels, l.log_sum, l.probability, l.points);
}

template <class T>
void resized(const int* s, bool corners, const void* x, void* y, const void* g, void* dx) {
    const std::size_t small = sizeof(T) * s[0] * s[1] * s[2], large = sizeof(T) * s[0] * s[3] * s[4];
    const standin::Buffer buffers[] = {
        {"x", x, small, false}, {"y", y, large, true}, {"g", g, large, false}, {"dx", dx, small, true}};
    resize::forward(s[0], s[1], s[2], s[3], s[4], corners, (const T*)x, (T*)y);
    resize::backward(s[0], s[1], s[2], s[3], s[4], corners, (const T*)g, (T*)dx);
}

}  // namespace

extern "C" {

// sizes: planes, h, w, height, width.
const char* run_resize(int type, const int* sizes, int corners, const void* x, void* y, const void* g, void* dx) {
    return guarded([&] {
        const auto f = CHOOSE(type, resized<float>, resized<__half>, resized<__nv_bfloat16>);
        f(sizes, corners != 0, x, y, g, dx);
    });
}

// type: 0 float, 1 half, 2 bfloat16. arrays: as in Norm; add and d_add may be null.
const char* run_norm(int type, int batch, int channels, int area, int slices, float eps, float slope, const Norm* n) {
    return guarded([&] {
        const auto f = CHOOSE(type, norm<float>, norm<__half>, norm<__nv_bfloat16>);
        f({batch, channels, area, 0}, slices, eps, slope, *n);
    });
}

const char* run_merge(int channels, int ranks, const float* rows, float* mean, float* var, float* count) {
    const std::size_t c = 4 * channels;
    const standin::Buffer buffers[] = {{"rows", rows, ranks * (2 * c + 4), false},
                                       {"mean", mean, c, true},
                                       {"var", var, c, true},
                                       {"count", count, 4, true}};
    return guarded([&] { batch_norm::merge({1, channels, 1, 0}, ranks, rows, mean, var, count); });
}

// bytes: size of a label, 1 or 4. sizes: batch, classes, h, w, height, width.
const char* run_pixel_loss(int type, int bytes, const int* sizes, int corners, int rows, int columns, int ignore,
                           const Loss* l) {
    const pixel_loss::Shape s = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], corners != 0};
    return guarded([&] {
        const auto wide = CHOOSE(type, (pixels<float, int>), (pixels<__half, int>), (pixels<__nv_bfloat16, int>));
        typedef unsigned char Byte;
        const auto narrow = CHOOSE(type, (pixels<float, Byte>), (pixels<__half, Byte>), (pixels<__nv_bfloat16, Byte>));
        (bytes == 1 ? narrow : wide)(s, rows, columns, ignore, *l);
    });
}

void set_processors(int processors) { standin::gpu.processors = processors; }
}
