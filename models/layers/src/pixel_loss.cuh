// Cross entropy of each pixel of resized logits on the GPU, without storing anything of the size classes x pixels.
// logits (batch, classes, h, w) in float, half or bfloat16 are resized bilinearly to (height, width) on the fly; labels
// (batch, height, width) are uint8 or int32; all else is float. Siblings: pixel_loss.h on the CPU, and
// `plain` in pixel_loss.py. Compiles on its own:
//
//   nvcc -std=c++14 -arch=sm_80 -cubin -o /dev/null models/layers/src/pixel_loss.cuh -x cu
//
// The gradient is gathered: each logit sums over the pixels that it contributed to, in a fixed order, without atomics.
// The lanes of a warp are classes of one position of the logits, so that what belongs to a pixel is read once for 32
// classes. Positions are ratios of integers, so both directions agree exactly on the cell of a pixel.
#ifndef PIXEL_LOSS_CUH
#define PIXEL_LOSS_CUH

#include <cmath>
#include <stdexcept>
#include <string>

#ifndef CCA_CUDA_MEMORY_CUH
#    include "../../cca/src/cuda_memory.cuh"
#endif
#ifndef RESIZE_CUH
#    include "resize.cuh"
#endif

namespace pixel_loss {

using cca::from_float;
using cca::Global;
using cca::i64;
using cca::to_float;
using resize::Grid;

const int kThreads = 256;

struct Shape {
    int batch, classes, h, w, height, width;
    bool corners;
};

__device__ inline Grid grid_of(const Shape& s) { return {s.h, s.w, s.height, s.width, s.corners}; }

// The four logits around a pixel, of one class after the other.
template <class T>
struct Cell {
    int above, below, left, right;
    float down, aside;
    __device__ Cell(const Shape& s, const Grid& grid, int row, int column) {
        const int i = grid.y.low(row), j = grid.x.low(column);
        above = i * s.w;
        below = (i + 1 < s.h ? i + 1 : i) * s.w;
        left = j;
        right = j + 1 < s.w ? j + 1 : j;
        down = grid.y.share(row, i);
        aside = grid.x.share(column, j);
    }
    __device__ float logit(Global<const T> plane) const {
        const float a = to_float(plane[above + left]), b = to_float(plane[above + right]);
        const float c = to_float(plane[below + left]), d = to_float(plane[below + right]);
        const float upper = a + aside * (b - a), lower = c + aside * (d - c);
        return upper + down * (lower - upper);
    }
};

__device__ inline bool finite(float x) { return fabsf(x) <= 3.402823466e38f; }

// loss, log_sum (batch, height, width): -log softmax at the label, 0 where the label is not a class; log of the sum of
// exp(logits). NaN where a logit is not finite. One thread per pixel.
template <class T, class L>
__global__ void __launch_bounds__(kThreads)
    each_pixel(const Shape s, const T* logits, const L* labels, float* loss_all, float* log_sum_all) {
    const Global<float> loss(loss_all), log_sum(log_sum_all);
    const i64 pixel = i64(blockIdx.x) * kThreads + threadIdx.x, image = i64(s.height) * s.width;
    if (pixel >= s.batch * image) return;
    const int at = int(pixel % image), label = int(Global<const L>(labels)[pixel]), plane = s.h * s.w;
    const Cell<T> cell(s, grid_of(s), at / s.width, at % s.width);
    const Global<const T> classes = Global<const T>(logits) + pixel / image * s.classes * plane;
    float most = -3e38f, sum = 0, mine = 0;
    bool all_finite = true;
#pragma unroll 4
    for (int k = 0; k < s.classes; k++) {
        const float x = cell.logit(classes + i64(k) * plane), larger = fmaxf(x, most);
        sum = sum * expf(most - larger) + expf(x - larger);
        most = larger;
        if (k == label) mine = x;
        all_finite = all_finite && finite(x);
    }
    const float log_of_sum = all_finite ? logf(sum) : NAN;
    log_sum[pixel] = most + log_of_sum;
    loss[pixel] = label >= 0 && label < s.classes ? log_of_sum + (most - mine) : 0.f;
}

// d_logits, from the gradient g of loss. A warp computes 32 classes at one position (i, j) of the logits.
template <class T, class L>
__global__ void __launch_bounds__(kThreads) each_logit(const Shape s, const T* logits, const L* labels_all,
                                                       const float* log_sum_all, const float* g_all, T* d_logits) {
    const int plane = s.h * s.w;
    const i64 warp = i64(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32, positions = i64(s.batch) * plane;
    const i64 at = warp % positions, b = at / plane;  // the warps of a block read neighbouring logits
    const int k = int(warp / positions) * 32 + threadIdx.x % 32;
    if (k >= s.classes) return;
    const int i = int(at % plane) / s.w, j = int(at % plane) % s.w;
    const Grid grid = grid_of(s);
    const i64 here = (b * s.classes + k) * plane;
    const Global<const T> x = Global<const T>(logits) + here;
    const Global<const L> labels = Global<const L>(labels_all) + b * s.height * s.width;
    const Global<const float> log_sum = Global<const float>(log_sum_all) + b * s.height * s.width;
    const Global<const float> g = Global<const float>(g_all) + b * s.height * s.width;
    float total = 0;
    for (int quarter = 0; quarter < 4; quarter++) {  // the cells around (i, j), named by their first row and column
        const int top = i - 1 + quarter / 2, left = j - 1 + quarter % 2;
        if (top < 0 || left < 0) continue;
        const int bottom = top + 1 < s.h ? top + 1 : top, right = left + 1 < s.w ? left + 1 : left;
        const float a = to_float(x[top * s.w + left]), c = to_float(x[bottom * s.w + left]);
        const float across_a = to_float(x[top * s.w + right]) - a, across_c = to_float(x[bottom * s.w + right]) - c;
        const int last_row = grid.y.first(top + 1), last_column = grid.x.first(left + 1);
        for (int row = grid.y.first(top); row < last_row; row++) {
            const float down = grid.y.share(row, top), of_row = top < i ? down : 1 - down;
            float sum = 0;
            for (int column = grid.x.first(left); column < last_column; column++) {
                const float aside = grid.x.share(column, left);
                const float upper = a + aside * across_a, lower = c + aside * across_c;
                const int pixel = row * s.width + column;
                const float p = expf(upper + down * (lower - upper) - log_sum[pixel]);
                sum += (left < j ? aside : 1 - aside) * g[pixel] * (p - (int(labels[pixel]) == k ? 1.f : 0.f));
            }
            total += of_row * sum;
        }
    }
    (Global<T>(d_logits) + here)[i * s.w + j] = from_float<T>(total);
}

// A product that is not contracted with the sum behind it: rounds as on the CPU.
__device__ inline double times(int n, double scale) {
#if defined(__CUDACC__)
    return __dmul_rn(n, scale);
#else
    return n * scale;
#endif
}

// Point n of a side of the grid of OHEM: `scale` pixels from the point before.
struct Point {
    int low, near;
    float share;
    __device__ Point(int n, double scale, int side) {
        const double at = times(n, scale);
        low = int(at) < side - 1 ? int(at) : side - 1;
        near = int(at + 0.5);
        share = float(at - low);
    }
};

// points (batch, rows, columns): the probability of the label, interpolated between the four pixels around a point, or
// that of `probability` if the point is on a pixel; 2 where the label is `ignore`.
template <class T, class L>
__global__ void __launch_bounds__(kThreads)
    each_point(const Shape s, int rows, int columns, double scale_y, double scale_x, int ignore, const T* logits,
               const L* labels, const float* log_sum_all, const float* probability, float* points_all) {
    const Global<const float> log_sum(log_sum_all);
    const i64 n = i64(blockIdx.x) * kThreads + threadIdx.x, image = i64(s.height) * s.width;
    if (n >= i64(s.batch) * rows * columns) return;
    const i64 b = n / columns / rows;
    const Point y(int(n / columns % rows), scale_y, s.height), x(int(n % columns), scale_x, s.width);
    const i64 pixel = b * image + i64(y.near) * s.width + x.near;
    const int label = int(Global<const L>(labels)[pixel]);
    float result = 0;
    if (label == ignore || label < 0 || label >= s.classes) {
        result = 2;
    } else if (y.share == 0 && x.share == 0) {
        result = Global<const float>(probability)[pixel];
    } else {
        const Global<const T> plane = Global<const T>(logits) + (b * s.classes + label) * s.h * s.w;
        for (int corner = 0; corner < 4; corner++) {
            const int down = corner / 2, aside = corner % 2;
            const int row = y.low + down < s.height ? y.low + down : y.low;
            const int column = x.low + aside < s.width ? x.low + aside : x.low;
            const float logit = Cell<T>(s, grid_of(s), row, column).logit(plane);
            const float p = expf(logit - log_sum[b * image + i64(row) * s.width + column]);
            result += (down ? y.share : 1 - y.share) * (aside ? x.share : 1 - x.share) * p;
        }
        result = result > 1 ? 1.f : result;
    }
    (Global<float>(points_all) + n)[0] = result;
}

// ---------------------------------------------------------------------------------------------------------- launches

inline std::runtime_error failure(const Shape& s, const std::string& what) {
    const auto size = [](int a, int b) { return std::to_string(a) + "x" + std::to_string(b); };
    return std::runtime_error("pixel loss on the GPU: " + what + " (batch " + std::to_string(s.batch) + ", " +
                              std::to_string(s.classes) + " classes, logits " + size(s.h, s.w) + ", labels " +
                              size(s.height, s.width) + ")");
}
inline void check(const Shape& s) {
    const cudaError_t error = cudaGetLastError();
    if (error != cudaSuccess) throw failure(s, cudaGetErrorString(error));
}
inline int blocks_of(const Shape& s, i64 threads) {
    const i64 blocks = (threads + kThreads - 1) / kThreads;
    if (blocks >= i64(1) << 30 || !resize::fits(s.h, s.w, s.height, s.width)) throw failure(s, "too large");
    return int(blocks);
}

template <class T, class L>
void forward(const Shape& s, const T* logits, const L* labels, float* loss, float* log_sum) {
    const auto kernel = each_pixel<T, L>;
    const int blocks = blocks_of(s, i64(s.batch) * s.height * s.width);
    CCA_LAUNCH(kernel, blocks, kThreads, 0, s, logits, labels, loss, log_sum);
    check(s);
}

template <class T, class L>
void backward(const Shape& s, const T* logits, const L* labels, const float* log_sum, const float* g, T* d_logits) {
    const auto kernel = each_logit<T, L>;
    const int blocks = blocks_of(s, i64(s.batch) * s.h * s.w * ((s.classes + 31) / 32) * 32);
    CCA_LAUNCH(kernel, blocks, kThreads, 0, s, logits, labels, log_sum, g, d_logits);
    check(s);
}

template <class T, class L>
void coarse(const Shape& s, int rows, int columns, int ignore, const T* logits, const L* labels, const float* log_sum,
            const float* probability, float* points) {
    const auto kernel = each_point<T, L>;
    const auto scale = [](int side, int points) { return (side - 1.0) / (points > 1 ? points - 1 : 1); };
    const double scale_y = scale(s.height, rows), scale_x = scale(s.width, columns);
    const int blocks = blocks_of(s, i64(s.batch) * rows * columns);
    CCA_LAUNCH(kernel, blocks, kThreads, 0, s, rows, columns, scale_y, scale_x, ignore, logits, labels, log_sum,
               probability, points);
    check(s);
}

}  // namespace pixel_loss

#endif  // PIXEL_LOSS_CUH
