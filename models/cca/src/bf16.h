// bfloat16: the upper half of a float32. Compiles on its own:
//
//   g++ -std=c++14 -fsyntax-only -x c++ models/cca/src/bf16.h
#ifndef BF16_H
#define BF16_H

#include <cstdint>
#include <cstring>

namespace bf16 {

struct Number {
    std::uint16_t bits;
};

inline float wide(const Number& x) {
    const std::uint32_t bits = std::uint32_t(x.bits) << 16;
    float y;
    std::memcpy(&y, &bits, sizeof(y));
    return y;
}

// Rounds to the nearest number, half to even. Jittor's own cast truncates. NaN stays NaN.
inline Number narrow(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    const std::uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    return Number{std::uint16_t(((bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : rounded) >> 16)};
}

}  // namespace bf16

#endif
