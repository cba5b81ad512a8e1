// Tiles of 16-bit elements that travel to shared memory while the previous ones are multiplied (cp.async, compute
// capability 8.0 or later).
//
// cp.async copies aligned words of 4, 8 or 16 bytes, but a row of 97 elements of 2 bytes starts anywhere. So `fetch`
// copies the aligned words that cover a piece of memory, as they are, to a buffer, and `unpack` shifts them into a
// tile:
//   along the contiguous axis   for each channel the words of 16 bytes that cover the line;
//   across a group of lines     for each channel and position the words of 4 bytes that cover its elements. They are
//                               packed by pairs of positions, which need size + 1 words together, because if rows have
//                               an odd length, exactly one of the two starts in the middle of a word; that odd distance
//                               also avoids bank conflicts. Groups of 8 that are aligned: one word of 16 bytes.
// The buffer is free again when the tile is complete. So buffer and tile are the two buffers of a pipeline.
#ifndef CCA_CUDA_AHEAD_CUH
#define CCA_CUDA_AHEAD_CUH

#ifndef CCA_CUDA_MEMORY_CUH
#    include "cuda_memory.cuh"
#endif

namespace cca {

#if defined(__CUDACC__)  // tests/support/cuda_standin.h has its own
// Starts a copy of N elements to shared memory. Only the first `count` are read, the others become zero.
template <int N, class T>
__device__ inline void copy_async(T* to, const T* from, int count) {
#    if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    const unsigned at = unsigned(__cvta_generic_to_shared(to));
    const int bytes = count * int(sizeof(T));
    if (N * sizeof(T) >= 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(at), "l"(from),
                     "n"(N * sizeof(T) < 16 ? N * sizeof(T) : 4), "r"(bytes)
                     : "memory");
#    endif
}
__device__ inline void commit_copies() {
#    if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#    endif
}
// Waits for the copies that this thread has committed. Other threads see them after a barrier.
__device__ inline void wait_for_copies() {
#    if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group 0;" ::: "memory");
#    endif
}
#endif

template <class Pointer>
__device__ inline std::uintptr_t address(Pointer p) {
    return (std::uintptr_t)p;
}

template <class T>
__host__ __device__ constexpr bool can_fetch() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    return false;
#else
    return sizeof(T) == 2;
#endif
}

// The buffer of a tile: elements of a channel, and bytes of all.
template <class T>
struct Raw {
    int pitch, bytes;
    __host__ __device__ Raw(const Tile<T>& tile, const Axis& axis, int lines)
        : pitch(axis.inner == 1 ? tile.positions + 16 / int(sizeof(T)) : tile.positions * (lines + 1)),
          bytes((tile.channels * pitch * int(sizeof(T)) + 127) / 128 * 128) {}
};

// Where the elements of a group are in the buffer of a channel: position i is at `channel[i * axis.inner]` in memory.
template <class T>
struct Words {
    const Axis& axis;
    const Group& group;
    bool wide;

    __device__ Words(const Axis& axis, const Group& group)
        : axis(axis), group(group), wide(group.size == 8 && axis.inner % 8 == 0) {}
    static __device__ int odd(Global<const T> p) { return int(address(p) / sizeof(T)) & 1; }
    // First element of position i, for groups that are not wide.
    __device__ int at(Global<const T> channel, int i) const {
        const int here = odd(channel + i * axis.inner);
        return i / 2 * 2 * (group.size + 1) + here + (i % 2 ? group.size + 2 * odd(channel + (i - 1) * axis.inner) : 0);
    }
};

// Starts copying the tile that `stage` would copy. The caller commits, waits and calls `unpack`.
template <class T>
__device__ void fetch(Shared<T> raw, const Tile<T>& tile, Global<const T> from, const Axis& axis, const Group& group,
                      int channels, int i0, int positions) {
    const int thread = not_before(threadIdx.x), lane = thread % 32, warps = blockDim.x / 32,
              most = channels < tile.channels ? channels : tile.channels;
    const int pitch = Raw<T>(tile, axis, group.size).pitch;
    const Words<T> words(axis, group);
#pragma unroll 1
    for (int c = thread / 32; c < most; c += warps) {
        const Global<const T> channel = from + c * axis.plane + i0 * axis.inner + group.first;
        const Shared<T> row = raw + c * pitch;
        if (axis.inner == 1) {
            const int skip = int(address(channel) / sizeof(T)) & 7, end = skip + positions;
#pragma unroll 1
            for (int n = lane * 8; n < end; n += 32 * 8)
                copy_async<8, T>(row + n, channel + (n - skip), end - n < 8 ? end - n : 8);
        } else if (words.wide) {
#pragma unroll 1
            for (int i = lane; i < positions; i += 32) copy_async<8, T>(row + i * 8, channel + i * axis.inner, 8);
        } else {
            const int each = group.size + 1, inverse = (1 << 16) / each + 1;
#pragma unroll 1
            for (int n = lane; n < (positions + 1) / 2 * each; n += 32) {
                const int pair = n * inverse >> 16, word = n - pair * each;
                const int skip = words.odd(channel + 2 * pair * axis.inner), first = group.size / 2 + skip;
                const int i = 2 * pair + (word >= first);
                const Global<const T> here = channel + i * axis.inner;
                const int k = word < first ? 2 * word - skip : 2 * (word - first) - words.odd(here);  // line
                if (i < positions && k < group.lines)
                    copy_async<2, T>(row + 2 * n, here + k, group.lines - k < 2 ? group.lines - k : 2);
            }
        }
    }
}

// Makes the tile out of the buffer, after a wait and a barrier.
template <class T>
__device__ void unpack(Shared<T> to, const Tile<T>& tile, Shared<const T> raw, Global<const T> from, const Axis& axis,
                       const Group& group, int channels, int i0, int positions) {
    const int thread = not_before(threadIdx.x), lane = thread % 32, warps = blockDim.x / 32,
              pitch = Raw<T>(tile, axis, group.size).pitch;
    const Words<T> words(axis, group);
    const T zero = from_float<T>(0.f);
#pragma unroll 1
    for (int c = thread / 32; c < tile.channels; c += warps) {
        const Global<const T> channel = from + c * axis.plane + i0 * axis.inner + group.first;
        const Shared<const T> row = raw + c * pitch;
        const Shared<T> mine = to + c * tile.pitch();
        const int real = c < channels ? positions : 0;
        if (words.wide) {
#pragma unroll 1
            for (int i = lane; i < tile.positions; i += 32) {
                Pack<T, 8> pack;
                for (T& x : pack.x) x = zero;
                if (i < real) pack = load_pack<8, T>(row + i * 8);
                for (int n = 0; n < 8; n++) mine[n * tile.line() + i] = pack.x[n];
            }
            continue;
        }
        const int skip = int(address(channel) / sizeof(T)) & 7;
#pragma unroll 1
        for (int i = 2 * lane; i < tile.positions; i += 2 * 32) {
            const int left = axis.inner == 1 ? skip + i : words.at(channel, i);
            const int right = axis.inner == 1 ? left + 1 : words.at(channel, i + 1);
#pragma unroll 1
            for (int n = 0; n < group.lines; n++) {
                Pack<T, 2> pack;
                pack.x[0] = i < real ? T(row[left + n]) : zero;
                pack.x[1] = i + 1 < real ? T(row[right + n]) : zero;
                store_pack<2, T>(mine + n * tile.line() + i, pack);
            }
        }
    }
}

}  // namespace cca

#endif  // CCA_CUDA_AHEAD_CUH
