// Depthwise convolution in CUDA: forward, gradient of the input, gradient of the weight. Any size, stride, padding and
// dilation. Sums in float (double for double), no atomics: results are bitwise reproducible. Compiles on its own:
//
//   nvcc -std=c++14 -c -o /dev/null -x cu models/layers/src/depthwise.cuh
//
// The threads are independent (no shared memory, no barriers), so tests can run the same kernels on the CPU, thread by
// thread. Each value is read about K*K times from the L1 cache, which limits the speed.
#ifndef DEPTHWISE_CUH
#define DEPTHWISE_CUH

namespace depthwise {

struct Shape {
    int batch, channels, h, w;  // of the input
    int oh, ow;                 // of the output
    int kh, kw, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w;
};

template <class T>
struct Sum {
    typedef float type;
};
template <>
struct Sum<double> {
    typedef double type;
};

// Index of this thread in the launch, and number of threads; the launch is 1-D.
__device__ inline long long first() { return (long long)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline long long step() { return (long long)gridDim.x * blockDim.x; }

// y (batch, channels, oh, ow), x (batch, channels, h, w), weight (channels, kh, kw). One thread per output. K: the
// kernel size if known at compile time (loops are unrolled), else 0.
template <class T, int K>
__global__ void forward(Shape s, const T* x, const T* weight, T* y) {
    const int kh = K ? K : s.kh, kw = K ? K : s.kw;
    const long long total = (long long)s.batch * s.channels * s.oh * s.ow;
    for (long long i = first(); i < total; i += step()) {
        const int ox = i % s.ow, oy = i / s.ow % s.oh;
        const long long plane = i / s.ow / s.oh;
        const T* from = x + plane * s.h * s.w;
        const T* k = weight + plane % s.channels * (kh * kw);
        typename Sum<T>::type sum = 0;
#pragma unroll
        for (int a = 0; a < kh; a++) {
            const int iy = oy * s.stride_h - s.pad_h + a * s.dil_h;
            if (iy < 0 || iy >= s.h) continue;
#pragma unroll
            for (int b = 0; b < kw; b++) {
                const int ix = ox * s.stride_w - s.pad_w + b * s.dil_w;
                if (ix < 0 || ix >= s.w) continue;
                sum += (typename Sum<T>::type)k[a * kw + b] * (typename Sum<T>::type)from[(long long)iy * s.w + ix];
            }
        }
        y[i] = (T)sum;
    }
}

// dx like x, dy like y. One thread per input position, which sums over the outputs that it contributed to.
template <class T, int K>
__global__ void input_gradient(Shape s, const T* dy, const T* weight, T* dx) {
    const int kh = K ? K : s.kh, kw = K ? K : s.kw;
    const long long total = (long long)s.batch * s.channels * s.h * s.w;
    for (long long i = first(); i < total; i += step()) {
        const int ix = i % s.w, iy = i / s.w % s.h;
        const long long plane = i / s.w / s.h;
        const T* from = dy + plane * s.oh * s.ow;
        const T* k = weight + plane % s.channels * (kh * kw);
        typename Sum<T>::type sum = 0;
#pragma unroll
        for (int a = 0; a < kh; a++) {
            const int y = iy + s.pad_h - a * s.dil_h, oy = y / s.stride_h;
            if (y < 0 || y % s.stride_h || oy >= s.oh) continue;
#pragma unroll
            for (int b = 0; b < kw; b++) {
                const int x = ix + s.pad_w - b * s.dil_w, ox = x / s.stride_w;
                if (x < 0 || x % s.stride_w || ox >= s.ow) continue;
                sum += (typename Sum<T>::type)k[a * kw + b] * (typename Sum<T>::type)from[(long long)oy * s.ow + ox];
            }
        }
        dx[i] = (T)sum;
    }
}

// partial (slices, channels * kh * kw): each slice sums over its part of the batch * oh output rows. Neighbouring
// threads compute neighbouring taps of a channel: they read the same dy and neighbouring x.
template <class T>
__global__ void weight_partial(Shape s, int slices, const T* x, const T* dy, typename Sum<T>::type* partial) {
    const int taps = s.kh * s.kw;
    const long long row = (long long)s.channels * taps, total = row * slices, rows = (long long)s.batch * s.oh;
    for (long long i = first(); i < total; i += step()) {
        const int tap = i % taps, channel = i / taps % s.channels;
        const long long slice = i / row;
        const int shift_y = tap / s.kw * s.dil_h - s.pad_h, shift_x = tap % s.kw * s.dil_w - s.pad_w;
        typename Sum<T>::type sum = 0;
        for (long long r = rows * slice / slices; r < rows * (slice + 1) / slices; r++) {
            const int oy = r % s.oh, iy = oy * s.stride_h + shift_y;
            if (iy < 0 || iy >= s.h) continue;
            const long long plane = r / s.oh * s.channels + channel;
            const T* g = dy + (plane * s.oh + oy) * s.ow;
            const T* from = x + (plane * s.h + iy) * s.w;
            for (int ox = 0; ox < s.ow; ox++) {
                const int ix = ox * s.stride_w + shift_x;
                if (ix >= 0 && ix < s.w) sum += (typename Sum<T>::type)g[ox] * (typename Sum<T>::type)from[ix];
            }
        }
        partial[i] = sum;
    }
}

// dw (channels * kh * kw): the sum of the slices, in order.
template <class T>
__global__ void weight_total(int slices, long long size, const typename Sum<T>::type* partial, T* dw) {
    for (long long i = first(); i < size; i += step()) {
        typename Sum<T>::type sum = 0;
        for (int n = 0; n < slices; n++) sum += partial[n * size + i];
        dw[i] = (T)sum;
    }
}

#ifdef __CUDACC__
const int THREADS = 256;

inline int blocks(long long items) {
    const long long n = (items + THREADS - 1) / THREADS;
    return n < 1 ? 1 : n > 1 << 20 ? 1 << 20 : (int)n;
}

template <class T>
void launch_forward(Shape s, const T* x, const T* weight, T* y) {
    const int grid = blocks((long long)s.batch * s.channels * s.oh * s.ow);
    if (s.kh == 3 && s.kw == 3)
        forward<T, 3><<<grid, THREADS>>>(s, x, weight, y);
    else if (s.kh == 5 && s.kw == 5)
        forward<T, 5><<<grid, THREADS>>>(s, x, weight, y);
    else if (s.kh == 7 && s.kw == 7)
        forward<T, 7><<<grid, THREADS>>>(s, x, weight, y);
    else
        forward<T, 0><<<grid, THREADS>>>(s, x, weight, y);
}

template <class T>
void launch_backward(Shape s, int slices, const T* x, const T* weight, const T* dy, T* dx, T* dw,
                     typename Sum<T>::type* partial) {
    const int grid = blocks((long long)s.batch * s.channels * s.h * s.w);
    if (s.kh == 3 && s.kw == 3)
        input_gradient<T, 3><<<grid, THREADS>>>(s, dy, weight, dx);
    else if (s.kh == 5 && s.kw == 5)
        input_gradient<T, 5><<<grid, THREADS>>>(s, dy, weight, dx);
    else if (s.kh == 7 && s.kw == 7)
        input_gradient<T, 7><<<grid, THREADS>>>(s, dy, weight, dx);
    else
        input_gradient<T, 0><<<grid, THREADS>>>(s, dy, weight, dx);
    const long long size = (long long)s.channels * s.kh * s.kw;
    weight_partial<T><<<blocks(size * slices), THREADS>>>(s, slices, x, dy, partial);
    weight_total<T><<<blocks(size), THREADS>>>(slices, size, partial, dw);
}
#endif

}  // namespace depthwise

#endif
