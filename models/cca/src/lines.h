// Matrix products of packed lines, blocked for registers. Two layouts:
//   lanes  (.., n, N)  N neighbouring lines, one per vector lane; all arithmetic is element-wise over the lanes;
//   rows   (.., n)     one line, its positions in the lanes, padded with zeros to full vectors.
// A block has 24 accumulators (12 if there are only 16 registers) and needs less than one load per two multiplications.
#ifndef CCA_LINES_H
#define CCA_LINES_H

#ifndef CCA_SIMD_H
#    include "simd.h"
#endif

namespace cca {

// out(m, n) = sum over k of a[m * am + k * ak] * b[n * bn + k * bk]. a is a vector or, with Splat, one number for all
// lanes; b is a vector. Strides are in elements. `emit(m, n, sum)` is called for each result; blocks are M x NN.
template <class T, bool Splat, int M, int NN, class Emit>
inline void block(i64 m0, i64 n0, i64 count, const T* a, i64 am, i64 ak, const T* b, i64 bn, i64 bk, const Emit& emit) {
    typedef Simd<T> S;
    typename S::V sum[M][NN] = {};
    a += m0 * am;
    b += n0 * bn;
    for (i64 k = 0; k < count; k++, a += ak, b += bk) {
        typename S::V right[NN];
        for (int n = 0; n < NN; n++) right[n] = S::load(b + n * bn);
        for (int m = 0; m < M; m++) {
            const typename S::V left = Splat ? S::splat(a[m * am]) : S::load(a + m * am);
            for (int n = 0; n < NN; n++) sum[m][n] += left * right[n];
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < NN; n++) emit(m0 + m, n0 + n, sum[m][n]);
}

template <class T, bool Splat, int NN, class Emit>
inline void strip(i64 rows, i64 n0, i64 count, const T* a, i64 am, i64 ak, const T* b, i64 bn, i64 bk,
                  const Emit& emit) {
    const int M = kAccumulators / NN;
    i64 m = 0;
    for (; m + M <= rows; m += M) block<T, Splat, M, NN>(m, n0, count, a, am, ak, b, bn, bk, emit);
    for (; m + 2 <= rows; m += 2) block<T, Splat, 2, NN>(m, n0, count, a, am, ak, b, bn, bk, emit);
    for (; m < rows; m++) block<T, Splat, 1, NN>(m, n0, count, a, am, ak, b, bn, bk, emit);
}

// out(rows, columns). The columns are divided evenly into strips of at most 4.
template <class T, bool Splat, class Emit>
void product(i64 rows, i64 columns, i64 count, const T* a, i64 am, i64 ak, const T* b, i64 bn, i64 bk,
             const Emit& emit) {
    const i64 strips = (columns + kStrip - 1) / kStrip;
    for (i64 s = 0; s < strips; s++) {
        const i64 n0 = s * columns / strips, wide = (s + 1) * columns / strips - n0;
        switch (wide) {
            case 1: strip<T, Splat, 1>(rows, n0, count, a, am, ak, b, bn, bk, emit); break;
            case 2: strip<T, Splat, 2>(rows, n0, count, a, am, ak, b, bn, bk, emit); break;
            case 3: strip<T, Splat, 3>(rows, n0, count, a, am, ak, b, bn, bk, emit); break;
            default: strip<T, Splat, 4>(rows, n0, count, a, am, ak, b, bn, bk, emit); break;
        }
    }
}

// The lines along `length` of a tensor (channels, outer, length, inner); neighbouring positions are `inner` apart.
struct Lines {
    i64 outer, length, inner;
    i64 plane() const { return outer * length * inner; }
};

// -> (channels, count, N): `count` positions of `lanes` neighbouring lines; the other lanes become 0.
template <class T>
void pack_lanes(T* to, const T* from, i64 channels, i64 count, const Lines& lines, int lanes) {
    typedef Simd<T> S;
    for (i64 c = 0; c < channels; c++, from += lines.plane())
        for (i64 l = 0; l < count; l++, to += S::N) S::store(to, S::load(from + l * lines.inner, lanes));
}

// -> (channels, pitch): one contiguous line, padded with 0.
template <class T>
void pack_row(T* to, const T* from, i64 channels, i64 pitch, const Lines& lines) {
    for (i64 c = 0; c < channels; c++, from += lines.plane(), to += pitch) {
        std::memcpy(to, from, lines.length * sizeof(T));
        std::memset(to + lines.length, 0, (pitch - lines.length) * sizeof(T));
    }
}

// (n, pitch) -> (n, pitch): transposes the n x n part, in tiles that fit into the L1 cache; the padding becomes 0.
template <class T>
void transpose(T* to, const T* from, i64 n, i64 pitch) {
    const i64 tile = 16;
    for (i64 i0 = 0; i0 < n; i0 += tile)
        for (i64 j0 = 0; j0 < n; j0 += tile)
            for (i64 i = i0; i < (i0 + tile < n ? i0 + tile : n); i++)
                for (i64 j = j0; j < (j0 + tile < n ? j0 + tile : n); j++) to[i * pitch + j] = from[j * pitch + i];
    for (i64 i = 0; i < n; i++)
        for (i64 j = n; j < pitch; j++) to[i * pitch + j] = T(0);
}

}  // namespace cca

#endif  // CCA_LINES_H
