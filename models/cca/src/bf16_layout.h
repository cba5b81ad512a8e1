// Copies of bfloat16 lines in the layouts that bf16_product.h multiplies, and transposes.
#ifndef CCA_BF16_LAYOUT_H
#define CCA_BF16_LAYOUT_H

#ifndef CCA_BF16_PRODUCT_H
#    include "bf16_product.h"
#endif

namespace cca {

// One line of positions: first, first + step, ..
struct Line {
    i64 first, step, length;
};

// -> (length, pitch): rows of channels; pitch = padded(channels), the rest is 0.
inline void copy_rows(Number* to, const Number* from, i64 channels, const Line& line) {
    const i64 pitch = padded(channels);
    for (i64 l = 0; l < line.length; l++, to += pitch) {
        std::memcpy(to, from + (line.first + l * line.step) * channels, channels * sizeof(Number));
        std::memset(to + channels, 0, (pitch - channels) * sizeof(Number));
    }
}

// Channels of positions -> right operand with the positions as depth.
inline void pair_positions(Number* to, const Number* from, i64 channels, const Line& line) {
    const i64 depth = padded(line.length) / 2, strip = kStrip * Lanes::N, whole = right_width(channels);
    for (i64 k = 0; k < depth; k++) {
        const i64 l = 2 * k;
        const Number *a = from + (line.first + l * line.step) * channels, *b = a + line.step * channels;
        for (i64 c0 = 0; c0 < whole; c0 += strip) {
            std::uint32_t* out = (std::uint32_t*)(to + (c0 * depth + k * strip) * 2);
            const i64 count = channels - c0 < strip ? channels - c0 : strip;
            if (l + 5 < line.length && line.step > 1)  // the memory of a column is not contiguous
                for (i64 c = 0; c < count; c += 32) {
                    __builtin_prefetch(a + 4 * line.step * channels + c0 + c);
                    __builtin_prefetch(b + 4 * line.step * channels + c0 + c);
                }
            if (l + 1 < line.length)
                for (i64 c = 0; c < count; c++) out[c] = a[c0 + c].bits | std::uint32_t(b[c0 + c].bits) << 16;
            else
                for (i64 c = 0; c < count; c++) out[c] = l < line.length ? a[c0 + c].bits : 0;
            for (i64 c = count; c < strip; c++) out[c] = 0;
        }
    }
}

#if defined(__AVX512BW__)
// Transposes 16 x 16 numbers of 32 bits: exchanges the blocks beside the diagonal, of 1, 2, 4 and 8 numbers.
inline void transpose_words(__m512i* x) {
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    for (int half = 1; half < 16; half *= 2) {
        const __mmask16 upper = _mm512_test_epi32_mask(lane, _mm512_set1_epi32(half));
        // lane j takes a[j] or b[j - half]; a[j + half] or b[j]. Indices from 16 on mean b.
        const __m512i first = _mm512_mask_add_epi32(lane, upper, lane, _mm512_set1_epi32(16 - half));
        const __m512i second =
            _mm512_mask_add_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(half)), upper, lane, _mm512_set1_epi32(16));
        for (int r = 0; r < 16; r++) {
            if (r & half) continue;
            const __m512i a = x[r], b = x[r + half];
            x[r] = _mm512_permutex2var_epi32(a, first, b);
            x[r + half] = _mm512_permutex2var_epi32(a, second, b);
        }
    }
}
#endif

// Rows (length, pitch) -> right operand with the channels as depth and the positions as columns.
inline void pair_channels(Number* to, const Number* rows, i64 length, i64 pitch) {
    const i64 strip = kStrip * Lanes::N, depth = pitch / 2;
    std::uint32_t* out = (std::uint32_t*)to;
    const std::uint32_t* in = (const std::uint32_t*)rows;
    for (i64 l0 = 0; l0 < right_width(length); l0 += 16) {
        std::uint32_t* here = out + l0 / strip * strip * depth + l0 % strip;
        for (i64 c0 = 0; c0 < depth; c0 += 16) {
#if defined(__AVX512BW__)
            __m512i x[16];
            for (i64 l = 0; l < 16; l++)
                x[l] = l0 + l < length ? _mm512_loadu_si512(in + (l0 + l) * depth + c0) : _mm512_setzero_si512();
            transpose_words(x);
            for (i64 c = 0; c < 16; c++) _mm512_storeu_si512(here + (c0 + c) * strip, x[c]);
#else
            for (i64 c = c0; c < c0 + 16; c++)
                for (i64 l = 0; l < 16; l++) here[c * strip + l] = l0 + l < length ? in[(l0 + l) * depth + c] : 0;
#endif
        }
    }
}

// to[c * to_pitch + r] = from[r * from_pitch + c] for rows r0 .. r0 + 31 and all columns.
inline void transpose_rows(Number* to, i64 to_pitch, const Number* from, i64 from_pitch, i64 r0, i64 rows,
                           i64 columns) {
    const i64 many = rows - r0 < 32 ? rows - r0 : 32;
    for (i64 c0 = 0; c0 < columns; c0 += 16) {
        const i64 wide = columns - c0 < 16 ? columns - c0 : 16;
#if defined(__AVX512BW__) && defined(__AVX512VL__)
        const __mmask16 in = (1u << wide) - 1;
        const __mmask32 out = std::uint32_t((std::uint64_t(1) << many) - 1);
        auto row = [&](i64 r) {
            return r < many ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, from + (r0 + r) * from_pitch + c0))
                            : _mm512_setzero_si512();
        };
        __m512i x[16];
        for (int r = 0; r < 16; r++) x[r] = _mm512_or_si512(row(2 * r), _mm512_slli_epi32(row(2 * r + 1), 16));
        transpose_words(x);
        for (i64 c = 0; c < wide; c++) _mm512_mask_storeu_epi16(to + (c0 + c) * to_pitch + r0, out, x[c]);
#else
        for (i64 c = c0; c < c0 + wide; c++)
            for (i64 r = r0; r < r0 + many; r++) to[c * to_pitch + r] = from[r * from_pitch + c];
#endif
    }
}

// (n, pitch) -> (n, pitch), the n x n part; the padding becomes 0.
inline void transpose16(Number* to, const Number* from, i64 n, i64 pitch) {
    for (i64 r0 = 0; r0 < n; r0 += 32) transpose_rows(to, pitch, from, pitch, r0, n, n);
    for (i64 i = 0; i < n; i++) std::memset(to + i * pitch + n, 0, (pitch - n) * sizeof(Number));
}

// (B, rows, columns) -> (B, columns, rows)
inline void transpose_maps(i64 batch, i64 rows, i64 columns, const Number* from, Number* to) {
    const i64 tiles = (rows + 31) / 32;
#pragma omp parallel for
    for (i64 task = 0; task < batch * tiles; task++) {
        const i64 at = task / tiles * rows * columns;
        transpose_rows(to + at, rows, from + at, columns, task % tiles * 32, rows, columns);
    }
}

}  // namespace cca

#endif  // CCA_BF16_LAYOUT_H
