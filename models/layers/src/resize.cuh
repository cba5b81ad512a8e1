// Bilinear resizing of (planes, h, w) to (planes, height, width) on the GPU, for float, half or bfloat16; sums in
// float. The gradient is gathered: each input sums over the outputs that it contributed to, in a fixed order, without
// atomics. Positions are ratios of integers, so both directions agree exactly on the cell of an output. Sibling:
// resize.h. Compiles on its own:
//
//   nvcc -std=c++14 -arch=sm_80 -cubin -o /dev/null models/layers/src/resize.cuh -x cu
#ifndef RESIZE_CUH
#define RESIZE_CUH

#include <stdexcept>
#include <string>

#ifndef CCA_CUDA_MEMORY_CUH
#    include "../../cca/src/cuda_memory.cuh"
#endif

namespace resize {

using cca::from_float;
using cca::Global;
using cca::i64;
using cca::to_float;

const int kThreads = 256;

// Bilinear interpolation along one axis: output n lies at (n * step + base) / unit, between inputs `low(n)` and
// low(n) + 1.
struct Axis {
    int from, to, step, base, unit, top;
    float inverse;
    __host__ __device__ Axis(int from, int to, bool corners) : from(from), to(to) {
        step = corners ? from - 1 : 2 * from;
        base = corners ? 0 : from - to;
        unit = corners ? (to > 1 ? to - 1 : 1) : 2 * to;
        top = (from - 1) * unit;
        inverse = 1.f / unit;
    }
    __device__ int place(int n) const {
        const int at = n * step + base;
        return at < 0 ? 0 : at > top ? top : at;
    }
    __device__ int low(int n) const { return place(n) / unit; }
    __device__ float share(int n, int low) const { return (place(n) - low * unit) * inverse; }
    // The weight of input i in output n, one of those from first(i - 1) to first(i + 1) - 1.
    __device__ float weight(int n, int i) const {
        const int cell = low(n);
        return cell == i ? 1 - share(n, cell) : share(n, cell);
    }
    // The first output with low(n) >= i.
    __device__ int first(int i) const {
        if (i <= 0 || i >= from) return i <= 0 ? 0 : to;
        const int n = (i * unit - base + step - 1) / step;
        return n < to ? n : to;
    }
};

struct Grid {
    Axis y, x;
    __host__ __device__ Grid(int h, int w, int height, int width, bool corners)
        : y(h, height, corners), x(w, width, corners) {}
};

template <class T>
__global__ void __launch_bounds__(kThreads) each_output(i64 planes, const Grid grid, const T* from, T* to) {
    const int h = grid.y.from, w = grid.x.from, height = grid.y.to, width = grid.x.to;
    const i64 n = i64(blockIdx.x) * kThreads + threadIdx.x, image = i64(height) * width;
    if (n >= planes * image) return;
    const int at = int(n % image), row = at / width, column = at % width;
    const int i = grid.y.low(row), j = grid.x.low(column), right = j + 1 < w ? j + 1 : j;
    const Global<const T> above = Global<const T>(from) + (n / image * h + i) * w;
    const Global<const T> below = above + (i + 1 < h ? w : 0);
    const float down = grid.y.share(row, i), aside = grid.x.share(column, j);
    const float a = to_float(above[j]), b = to_float(above[right]);
    const float c = to_float(below[j]), d = to_float(below[right]);
    const float upper = a + aside * (b - a), lower = c + aside * (d - c);
    (Global<T>(to) + n)[0] = from_float<T>(upper + down * (lower - upper));
}

// dx (planes, h, w) from the gradient g of the output.
template <class T>
__global__ void __launch_bounds__(kThreads) each_input(i64 planes, const Grid grid, const T* g_all, T* dx) {
    const int h = grid.y.from, w = grid.x.from, height = grid.y.to, width = grid.x.to;
    const i64 n = i64(blockIdx.x) * kThreads + threadIdx.x, image = i64(h) * w;
    if (n >= planes * image) return;
    const int at = int(n % image), i = at / w, j = at % w;
    const Global<const T> g = Global<const T>(g_all) + n / image * height * width;
    const int left = grid.x.first(j - 1), right = grid.x.first(j + 1), bottom = grid.y.first(i + 1);
    float total = 0;
    for (int row = grid.y.first(i - 1); row < bottom; row++) {
        float sum = 0;
        for (int column = left; column < right; column++)
            sum += grid.x.weight(column, j) * to_float(g[row * width + column]);
        total += grid.y.weight(row, i) * sum;
    }
    (Global<T>(dx) + n)[0] = from_float<T>(total);
}

inline bool fits(i64 h, i64 w, i64 height, i64 width) {
    const i64 limit = i64(1) << 29;
    return h * height < limit && w * width < limit && h * w < 2 * limit && height * width < 2 * limit;
}

inline int blocks_of(i64 planes, int h, int w, int height, int width, i64 size) {
    const i64 blocks = (planes * size + kThreads - 1) / kThreads;
    if (blocks < i64(1) << 30 && fits(h, w, height, width)) return int(blocks);
    throw std::runtime_error("resizing on the GPU: too large (" + std::to_string(planes) + " planes, " +
                             std::to_string(h) + "x" + std::to_string(w) + " to " + std::to_string(height) + "x" +
                             std::to_string(width) + ")");
}
inline void check() {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("resizing on the GPU: ") + cudaGetErrorString(error));
}

template <class T>
void forward(int planes, int h, int w, int height, int width, bool corners, const T* x, T* y) {
    const int blocks = blocks_of(planes, h, w, height, width, i64(height) * width);
    CCA_LAUNCH(each_output<T>, blocks, kThreads, 0, planes, Grid(h, w, height, width, corners), x, y);
    check();
}

template <class T>
void backward(int planes, int h, int w, int height, int width, bool corners, const T* g, T* dx) {
    const int blocks = blocks_of(planes, h, w, height, width, i64(h) * w);
    CCA_LAUNCH(each_input<T>, blocks, kThreads, 0, planes, Grid(h, w, height, width, corners), g, dx);
    check();
}

}  // namespace resize

#endif  // RESIZE_CUH
