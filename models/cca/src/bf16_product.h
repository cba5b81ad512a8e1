// Matrix products of bfloat16 with float32 sums: AMX tiles, AVX512-BF16 dot products, or the same in float32 vectors.
// The right operand is stored in strips of 4 vectors of columns, a strip as (k/2, column, 2): one 32-bit number holds
// two neighbouring k, and a strip is contiguous. Its depth is padded(k), its width right_width(columns).
//
// The AMX path has been compiled, but not run yet: no machine with AMX was available.
#ifndef CCA_BF16_PRODUCT_H
#define CCA_BF16_PRODUCT_H

#ifndef BF16_H
#    include "bf16.h"
#endif
#ifndef CCA_SIMD_H
#    include "simd.h"
#endif

#if defined(__AMX_BF16__) && defined(__AMX_TILE__)
#    include <sys/syscall.h>
#    include <unistd.h>
#endif

namespace cca {

using bf16::narrow;
using bf16::Number;
using bf16::wide;
typedef Simd<float> Lanes;
typedef Lanes::V V;
typedef std::uint32_t Words __attribute__((vector_size(kBytes)));

inline i64 padded(i64 n) { return (n + 31) / 32 * 32; }  // a depth that fills AMX tiles
inline i64 right_width(i64 columns) {
    const i64 strip = kStrip * Lanes::N;
    return (columns + strip - 1) / strip * strip;
}

// Loads or stores the first `lanes` numbers as float32; the other lanes become 0 or are not written.
inline V load_wide(const Number* p, int lanes) {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    const __mmask16 some = (1u << lanes) - 1;
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, p)), 16);
#else
    float numbers[Lanes::N] = {};
    for (int n = 0; n < lanes; n++) numbers[n] = wide(p[n]);
    return Lanes::load(numbers);
#endif
}

inline void store_narrow(Number* p, V v, int lanes) {
#if defined(__AVX512BF16__) && defined(__AVX512VL__)
    _mm256_mask_storeu_epi16(p, (1u << lanes) - 1, (__m256i)_mm512_cvtneps_pbh((__m512)v));
#else
    float numbers[Lanes::N];
    Lanes::store(numbers, v);
    for (int n = 0; n < lanes; n++) p[n] = narrow(numbers[n]);
#endif
}

inline V rounded(V v) {
#if defined(__AVX512BF16__)
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)v)), 16);
#else
    for (int n = 0; n < Lanes::N; n++) v[n] = wide(narrow(v[n]));
    return v;
#endif
}

// sum + a0 b0 + a1 b1 in each lane; `pair` holds a0 and a1.
inline V dot(V sum, std::uint32_t pair, const Number* b) {
#if defined(__AVX512BF16__)
    return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(int(pair)), (__m512bh)_mm512_loadu_si512(b));
#else
    Words words;
    std::memcpy(&words, b, sizeof(words));
    const Words both = Words{} + pair;
    return sum + (V)(both << 16) * (V)(words << 16) + (V)(both & 0xffff0000u) * (V)(words & 0xffff0000u);
#endif
}

template <int M, int NN, class Emit>
inline void block16(i64 m0, i64 n0, i64 pairs, const Number* a, i64 pitch, const Number* b, const Emit& emit) {
    V sum[M][NN] = {};
    a += m0 * pitch;
    for (i64 k = 0; k < pairs; k++, b += 2 * kStrip * Lanes::N)
        for (int m = 0; m < M; m++) {
            std::uint32_t pair;
            std::memcpy(&pair, a + m * pitch + 2 * k, sizeof(pair));
            for (int n = 0; n < NN; n++) sum[m][n] = dot(sum[m][n], pair, b + n * Lanes::N * 2);
        }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < NN; n++) emit(m0 + m, n0 + n, sum[m][n]);
}

template <int NN, class Emit>
inline void strip16(i64 rows, i64 n0, i64 pairs, const Number* a, i64 pitch, const Number* b, const Emit& emit) {
    const int M = kAccumulators / NN;
    i64 m = 0;
    for (; m + M <= rows; m += M) block16<M, NN>(m, n0, pairs, a, pitch, b, emit);
    for (; m + 2 <= rows; m += 2) block16<2, NN>(m, n0, pairs, a, pitch, b, emit);
    for (; m < rows; m++) block16<1, NN>(m, n0, pairs, a, pitch, b, emit);
}

#if defined(__AMX_BF16__) && defined(__AMX_TILE__)
// Whether Linux lets this process use AMX: asked once.
inline bool amx_allowed() {
    static const bool allowed = syscall(SYS_arch_prctl, 0x1023, 18) == 0;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    return allowed;
}

// Eight tiles of 16 rows of 64 bytes, for as long as the object lives.
class Tiles {
  public:
    Tiles() {
        if (!amx_allowed()) return;
        struct {
            std::uint8_t palette, start, reserved[14];
            std::uint16_t bytes[16];
            std::uint8_t rows[16];
        } settings = {};
        settings.palette = 1;
        for (int n = 0; n < 8; n++) settings.bytes[n] = 64, settings.rows[n] = 16;
        _tile_loadconfig(&settings);
    }
    ~Tiles() {
        if (amx_allowed()) _tile_release();
    }
};

// Blocks of 32 x 32 of one strip. Rows of `a` up to a multiple of 16 are read; the results of the others are not used.
template <class Emit>
void tile_strip(i64 rows, i64 n0, i64 vectors, i64 pairs, const Number* a, i64 pitch, const Number* b,
                const Emit& emit) {
    float sums[32 * 32];
    for (i64 m = 0; m < rows; m += 32)
        for (i64 n = 0; n < vectors; n += 2) {
            const bool below = m + 16 < rows, right = n + 1 < vectors;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (i64 k = 0; k < pairs; k += 16) {
                const Number* from = b + (k * kStrip + n) * 16 * 2;
                _tile_loadd(4, a + m * pitch + 2 * k, pitch * 2);
                _tile_loadd(6, from, kStrip * 64);
                _tile_dpbf16ps(0, 4, 6);
                if (right) {
                    _tile_loadd(7, from + 32, kStrip * 64);
                    _tile_dpbf16ps(1, 4, 7);
                }
                if (!below) continue;
                _tile_loadd(5, a + (m + 16) * pitch + 2 * k, pitch * 2);
                _tile_dpbf16ps(2, 5, 6);
                if (right) _tile_dpbf16ps(3, 5, 7);
            }
            _tile_stored(0, sums, 128);
            _tile_stored(1, sums + 16, 128);
            _tile_stored(2, sums + 16 * 32, 128);
            _tile_stored(3, sums + 16 * 32 + 16, 128);
            for (i64 i = 0; i < 32 && m + i < rows; i++)
                for (int j = 0; j <= right; j++) emit(m + i, n0 + n + j, Lanes::load(sums + i * 32 + j * 16));
        }
}
#else
inline bool amx_allowed() { return false; }
struct Tiles {
    ~Tiles() {}
};
#endif

// out(m, n) = sum over k of a[m * pitch + k] b(k, n). `emit(m, n, sums)` is called for each vector of results. Numbers
// of `a` and b from `depth` up to padded(depth) must be 0.
template <class Emit>
void product16(i64 rows, i64 vectors, i64 depth, const Number* a, i64 pitch, const Number* b, const Emit& emit) {
    const i64 pairs = (depth + 1) / 2;
    for (i64 n = 0; n < vectors; n += kStrip, b += padded(depth) * kStrip * Lanes::N) {
        const i64 wide = vectors - n < kStrip ? vectors - n : kStrip;
#if defined(__AMX_BF16__) && defined(__AMX_TILE__)
        if (amx_allowed()) {
            tile_strip(rows, n, wide, pairs, a, pitch, b, emit);
            continue;
        }
#endif
        switch (wide) {
            case 1: strip16<1>(rows, n, pairs, a, pitch, b, emit); break;
            case 2: strip16<2>(rows, n, pairs, a, pitch, b, emit); break;
            case 3: strip16<3>(rows, n, pairs, a, pitch, b, emit); break;
            default: strip16<4>(rows, n, pairs, a, pitch, b, emit); break;
        }
    }
}

}  // namespace cca

#endif  // CCA_BF16_PRODUCT_H
