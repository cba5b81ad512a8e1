// Vectors of T of one register, with the vector extension of GCC and clang (x86 and Arm). Intrinsics only for masks.
#ifndef CCA_SIMD_H
#define CCA_SIMD_H

#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__AVX512F__)
#    include <immintrin.h>
#endif

namespace cca {

typedef std::int64_t i64;

#if defined(__AVX512F__)
const int kBytes = 64;
const int kAccumulators = 24;
#elif defined(__AVX__)
const int kBytes = 32;
const int kAccumulators = 12;
#else
const int kBytes = 16;
const int kAccumulators = 12;
#endif

const int kStrip = 4;  // vectors of the right operand in a block

template <class T>
struct Bits;
template <>
struct Bits<float> {
    typedef std::int32_t type;
    static const type infinity = 0x7f800000;
};
template <>
struct Bits<double> {
    typedef std::int64_t type;
    static const type infinity = 0x7ff0000000000000;
};

// Load or store the first `lanes` elements only; the other lanes are taken from `rest` or not written.
template <class V, class T>
inline V load_some(const T* p, int lanes, V rest) {
    std::memcpy(&rest, p, lanes * sizeof(T));
    return rest;
}
template <class V, class T>
inline void store_some(T* p, V v, int lanes) {
    std::memcpy(p, &v, lanes * sizeof(T));
}
#if defined(__AVX512F__)  // one instruction instead of a call
inline __m512 load_some(const float* p, int lanes, __m512 rest) {
    return _mm512_mask_loadu_ps(rest, (1u << lanes) - 1, p);
}
inline __m512d load_some(const double* p, int lanes, __m512d rest) {
    return _mm512_mask_loadu_pd(rest, (1u << lanes) - 1, p);
}
inline void store_some(float* p, __m512 v, int lanes) { _mm512_mask_storeu_ps(p, (1u << lanes) - 1, v); }
inline void store_some(double* p, __m512d v, int lanes) { _mm512_mask_storeu_pd(p, (1u << lanes) - 1, v); }
#endif

template <class T>
struct Simd {
    static const int N = kBytes / sizeof(T);
    typedef T V __attribute__((vector_size(kBytes)));
    typedef typename Bits<T>::type I __attribute__((vector_size(kBytes)));

    static V load(const T* p) {
        V v;
        std::memcpy(&v, p, sizeof(V));
        return v;
    }
    static void store(T* p, V v) { std::memcpy(p, &v, sizeof(V)); }
    static V splat(T s) { return V{} + s; }
    static V load(const T* p, int lanes) { return lanes == N ? load(p) : load_some(p, lanes, V{}); }
    static V load_or_one(const T* p, int lanes) { return load_some(p, lanes, splat(T(1))); }
    static void store(T* p, V v, int lanes) { lanes == N ? store(p, v) : store_some(p, v, lanes); }
    static V max(V a, V b) { return a > b ? a : b; }
    // All bits set in the lanes that are NaN. Integer arithmetic, because -Ofast assumes that there is no NaN.
    static I is_nan(V v) { return ((I)v & std::numeric_limits<typename Bits<T>::type>::max()) > Bits<T>::infinity; }
    static V or_bits(V v, I bits) { return (V)((I)v | bits); }
};

// exp(x) for x <= 0, vectorised: 2^n by setting the exponent bits, times a polynomial on [-ln2/2, ln2/2]. Subnormal
// results are 0. Rounding uses a conversion to integer, which -Ofast cannot optimise away. The relative error is about
// |x| ulp; it is harmless because the weight exp(x) is small for large |x|.
inline Simd<float>::V exp_nonpositive(Simd<float>::V x) {
    typedef Simd<float> S;
    typedef S::I I;
    const S::V low = S::splat(-87.f);
    const S::V t = (x < low ? low : x) * 1.44269504088896f;
    const I n = __builtin_convertvector(t - 0.5f, I);  // truncates towards 0; together: rounds to nearest
    const S::V z = (t - __builtin_convertvector(n, S::V)) * 0.693147180559945f;
    S::V y = S::splat(1.f / 5040);
    const float series[] = {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f};
    for (float c : series) y = y * z + c;
    return x < low ? S::V{} : y * (S::V)((n + 127) << 23);
}

inline Simd<double>::V exp_nonpositive(Simd<double>::V x) {
    typedef Simd<double> S;
    typedef S::I I;
    const S::V low = S::splat(-708.0);
    const S::V t = (x < low ? low : x) * 1.4426950408889634;
    const I n = __builtin_convertvector(t - 0.5, I);
    const S::V z = (t - __builtin_convertvector(n, S::V)) * 0.6931471805599453;
    S::V y = S::splat(1.0 / 6227020800.0);
    const double series[] = {
        1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
    for (double c : series) y = y * z + c;
    return x < low ? S::V{} : y * (S::V)((n + 1023) << 52);
}

}  // namespace cca

#endif  // CCA_SIMD_H
