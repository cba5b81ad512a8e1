// Shared by all CUDA kernels: pointers, conversions, lines of a tensor, copying tiles to and from shared memory.
//
// A block processes a group of 1, 2, 4 or 8 lines. Along the contiguous axis a group is one line, and the threads of a
// warp read neighbouring positions. Along the other axes a group consists of neighbouring lines, and the threads of a
// warp first read across the lines, then along them: 32 / group contiguous pieces of `group` elements. Memory is moved
// in sectors of 32 bytes: if rows are not aligned, reading one line of 2-byte elements from the L2 cache costs 16 times
// its size, a group of 4 lines 5 times, a group of 8 three times. In shared memory the order is (line, channel,
// position), padded with zeros to multiples of 16 positions.
#ifndef CCA_CUDA_MEMORY_CUH
#define CCA_CUDA_MEMORY_CUH

#include <cstdint>

#if defined(__CUDACC__)
#    include <cuda_bf16.h>
#    include <cuda_fp16.h>
#endif

namespace cca {

typedef long long i64;

const int kBlock = 16;         // tiles consist of squares of 16 x 16, the shape of the tensor cores
const int kRows = 2;           // squares in the registers of a warp: 32 queries ..
const int kColumns = 4;        // .. against 64 keys
const int kMostWarps = 8;      // per thread block, so that each thread can have 255 registers
const int kMostKeys = 128;     // per tile
const int kChunk = 32;         // channels of values staged at a time
const float kLowest = -1e30f;  // used as -infinity; differences do not overflow

template <class T>
__host__ __device__ constexpr int depth() {  // channels of queries and keys staged at a time
    return 64 / int(sizeof(T));
}

// ------------------------------------------------------------------------------------------------------------ pointers

#if defined(__CUDACC__)  // tests/support/cuda_standin.h has its own, which check every access
template <class T>
using Global = T*;
template <class T>
using Shared = T*;

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {  // N elements of one memory access; the address must be aligned to its size
    T x[N];
};
template <int N, class T>
__device__ inline Pack<T, N> load_pack(const T* p) {
    return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <int N, class T>
__device__ inline void store_pack(T* p, const Pack<T, N>& pack) {
    *reinterpret_cast<Pack<T, N>*>(p) = pack;
}
template <int N, class T>
__device__ inline bool aligned(const T* p) {
    return reinterpret_cast<std::uintptr_t>(p) % (N * sizeof(T)) == 0;
}
// x, but what is computed from it is not computed earlier: fewer registers hold results for later.
__device__ inline int not_before(int x) {
    asm volatile("" : "+r"(x));
    return x;
}
#    define CCA_DYNAMIC_SHARED(name) extern __shared__ __align__(128) unsigned char name[]
#    define CCA_LAUNCH(kernel, blocks, threads, bytes, ...) kernel<<<blocks, threads, bytes>>>(__VA_ARGS__)
#endif

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T>
__device__ inline T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
    return x;
}
template <>
__device__ inline __half from_float<__half>(float x) {
    return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
    return __float2bfloat16_rn(x);
}

// --------------------------------------------------------------------------------------------------------------- lines

// A tensor (channels, outer, length, inner) as outer * inner lines along `length`.
struct Axis {
    int length, inner, lines, plane;  // plane: positions of a channel; an image has fewer than 2^31 elements
    __host__ __device__ int start(int line) const { return line / inner * length * inner + line % inner; }
};

// The lines of this block. Neighbouring threads read neighbouring lines; `line` and `start` are those of this thread.
struct Group {
    int size, shift;  // 1 << shift
    int lines;        // existing lines; fewer than size in the last group
    int line;         // of this thread
    int start, first;
    bool together;  // all lines exist and are adjacent in memory

    __device__ Group(const Axis& axis, int shift, int number) : size(1 << shift), shift(shift) {
        const int at = number << shift, rest = axis.lines - at;
        lines = rest < size ? rest : size;
        line = int(threadIdx.x) & (size - 1);
        first = axis.start(at);
        start = line < lines ? axis.start(at + line) : first;
        together = lines == size && at % axis.inner + size <= axis.inner;
    }
};

// A tile (line, channel, position) in shared memory. The pitch of channels is an odd multiple of 16 bytes, that of
// lines an odd multiple of 32, so that neighbours start in different banks.
template <class T>
struct Tile {
    int channels, positions;  // multiples of 16
    __host__ __device__ Tile(int channels, int positions) : channels(channels), positions(positions) {}
    __host__ __device__ int pitch() const { return positions + 16 / int(sizeof(T)); }
    __host__ __device__ int line() const { return channels * pitch() + 32 / int(sizeof(T)); }
    __host__ __device__ int bytes(int lines) const { return (lines * line() * int(sizeof(T)) + 127) / 128 * 128; }
};

__host__ __device__ constexpr int up(int n) { return (n + kBlock - 1) / kBlock * kBlock; }

// Copies `channels` channels (the first at `from`, one plane apart) and `positions` positions, starting at i0, of the
// lines of the group to a tile and fills the rest with zeros. 16 bytes at a time, along the line or across the group,
// if the addresses are aligned; otherwise single elements, four loads in flight.
template <class T>
__device__ void stage(Shared<T> to, const Tile<T>& tile, Global<const T> from, const Axis& axis, const Group& group,
                      int channels, int i0, int positions) {
    const int N = 16 / sizeof(T), lane = threadIdx.x % 32, warps = blockDim.x / 32;
    const bool along = axis.inner == 1;
    const bool vectors = along ? positions % N == 0 : group.size == N && group.together && axis.inner % N == 0;
#pragma unroll 1
    for (int c = threadIdx.x / 32; c < tile.channels; c += warps) {
        const Global<const T> channel = from + c * axis.plane + i0 * axis.inner;
        const Shared<T> row = to + c * tile.pitch();
        if (vectors && c < channels && aligned<N, T>(channel + group.first)) {
#pragma unroll 1
            for (int i = along ? lane * N : lane; i < tile.positions; i += along ? 32 * N : 32) {
                Pack<T, N> pack;
                if (i < positions)
                    pack = load_pack<N, T>(channel + group.first + i * axis.inner);
                else
                    for (T& x : pack.x) x = from_float<T>(0.f);
                if (along)
                    store_pack<N, T>(row + i, pack);
                else
                    for (int n = 0; n < N; n++) row[n * tile.line() + i] = pack.x[n];
            }
        } else {
            const bool real = c < channels && group.line < group.lines;
            const int step = 32 >> group.shift, place = group.line * tile.line();
#pragma unroll 1
            for (int i0 = lane >> group.shift; i0 < tile.positions; i0 += 4 * step) {
                T x[4];
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    const int i = i0 + n * step;
                    x[n] = real && i < positions ? channel[group.start + i * axis.inner] : from_float<T>(0.f);
                }
#pragma unroll
                for (int n = 0; n < 4; n++)
                    if (i0 + n * step < tile.positions) row[place + i0 + n * step] = x[n];
            }
        }
    }
}

// Where the sums of a tile are written (`first`) or added. Until the `last` time they are stored as float in `sums`,
// then as T in `to`. For float, `sums` and `to` are the same.
template <class T>
struct Output {
    Global<float> sums;
    Global<T> to;
    bool first, last;
};

// finish(sum, position in the image) is applied to complete sums. A thread has four neighbouring elements, along the
// line or across the group, if they are aligned, else four single ones; all loads precede the stores.
template <class T, class Finish>
__device__ void deliver(const Output<T>& out, Shared<const float> from, const Tile<float>& tile, const Axis& axis,
                        const Group& group, int channels, int i0, int positions, const Finish& finish) {
    const int thread = not_before(threadIdx.x), lane = thread % 32, warps = blockDim.x / 32;
    const bool along = axis.inner == 1;
    const bool vectors = along ? positions % 4 == 0 : group.size % 4 == 0 && group.together && axis.inner % 4 == 0;
#pragma unroll 1
    for (int c = thread / 32; c < channels; c += warps) {
        const int channel = c * axis.plane, corner = i0 * axis.inner + group.first;
        if (vectors && aligned<4, float>(out.sums + (channel + corner)) && aligned<4, T>(out.to + (channel + corner))) {
            const int shift = along ? 0 : group.shift - 2;  // 1 << shift lanes have one position
            const int line = (lane & ((1 << shift) - 1)) * 4, apart = along ? 1 : tile.line();
            const Shared<const float> row = from + line * tile.line() + c * tile.pitch();
#pragma unroll 1
            for (int i = along ? 4 * lane : lane >> shift; i < positions; i += along ? 128 : 32 >> shift) {
                const int at = corner + line + i * axis.inner;
                Pack<float, 4> x = {{0, 0, 0, 0}};
                if (!out.first) x = load_pack<4, float>(out.sums + (channel + at));
#pragma unroll
                for (int n = 0; n < 4; n++)
                    x.x[n] = out.first ? float(row[i + n * apart]) : row[i + n * apart] + x.x[n];
                if (out.last) {
                    Pack<T, 4> result;
#pragma unroll
                    for (int n = 0; n < 4; n++) result.x[n] = from_float<T>(finish(x.x[n], at + n));
                    store_pack<4, T>(out.to + (channel + at), result);
                } else {
                    store_pack<4, float>(out.sums + (channel + at), x);
                }
            }
        } else if (group.line < group.lines) {
            const Shared<const float> row = from + group.line * tile.line() + c * tile.pitch();
            const int step = 32 >> group.shift;
#pragma unroll 1
            for (int i = lane >> group.shift; i < positions; i += 4 * step) {
                const int at = (i0 + i) * axis.inner + group.start, apart = step * axis.inner;
                float x[4];
#pragma unroll
                for (int n = 0; n < 4; n++)
                    x[n] = !out.first && i + n * step < positions ? float(out.sums[channel + at + n * apart]) : 0.f;
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    if (i + n * step >= positions) break;
                    x[n] = out.first ? float(row[i + n * step]) : row[i + n * step] + x[n];
                    if (out.last) x[n] = finish(x[n], at + n * apart);
                }
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    if (i + n * step >= positions) break;
                    if (out.last)
                        out.to[channel + at + n * apart] = from_float<T>(x[n]);
                    else
                        out.sums[channel + at + n * apart] = x[n];
                }
            }
        }
    }
}

}  // namespace cca

#endif  // CCA_CUDA_MEMORY_CUH
