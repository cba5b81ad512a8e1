// Shared by the forward and the backward pass: scratch memory, tile sizes, the softmax of a line merged with earlier
// axes.
#ifndef CCA_CPU_COMMON_H
#define CCA_CPU_COMMON_H

#include <cstdlib>

#ifndef CCA_LINES_H
#    include "lines.h"
#endif

namespace cca {

// Scratch memory of a thread, kept between calls. `take` returns consecutive parts that start at separate cache lines.
template <class T>
class Scratch {
  public:
    explicit Scratch(i64 numbers) {
        static thread_local Block block;
        const std::size_t bytes = (numbers + 16 * 64) * sizeof(T);
        if (block.bytes < bytes) {
            std::free(block.memory);
            block.memory = nullptr;
            block.bytes = 0;
            if (posix_memalign(&block.memory, 4096, bytes) != 0) std::abort();
            block.bytes = bytes;
        }
        next_ = (T*)block.memory;
    }
    T* take(i64 numbers) {
        T* here = next_;
        next_ += (numbers + 63) / 64 * 64;
        return here;
    }

  private:
    struct Block {
        void* memory = nullptr;
        std::size_t bytes = 0;
        ~Block() { std::free(memory); }
    };
    T* next_;
};

struct Problem {
    i64 batch, cq, c;
    Lines lines;
    bool keep_self;  // whether a position is counted on this axis
    i64 in_lanes;    // lines along `inner` processed N at a time; see cpu_rest.h for the others
};

// Number of queries whose weights fill about half of an L2 cache.
inline i64 positions_in_tile(i64 length, i64 lanes) {
    const i64 most = (1088 << 10) / (length * lanes * 4);
    const i64 tiles = (length + most - 1) / (most > 0 ? most : 1);
    return most < 8 ? (length < 8 ? length : 8) : (length + tiles - 1) / tiles;
}

const i64 kLowest = -1000000000000000000;  // used as -infinity; differences do not overflow

// energy -> exp(energy - top) in place, for `count` vectors at a distance of `step`. `top` and `total` include the
// earlier axes, whose sums have to be multiplied by scale_old. If an energy is NaN, total is NaN.
template <class T>
struct Merge {
    typedef Simd<T> S;
    typename S::V top, total, scale_old;

    Merge(T* energy, i64 count, i64 step, bool first, typename S::V top_before, typename S::V total_before) {
        top = first ? S::splat(T(kLowest)) : top_before;
        typename S::I nan = {};
        for (i64 l = 0; l < count; l++) {
            const typename S::V e = S::load(energy + l * step);
            top = S::max(top, e);
            nan |= S::is_nan(e);
        }
        typename S::V sum = {};
        for (i64 l = 0; l < count; l++) {
            const typename S::V e = exp_nonpositive(S::load(energy + l * step) - top);
            S::store(energy + l * step, e);
            sum += e;
        }
        scale_old = first ? typename S::V{} : exp_nonpositive(top_before - top);
        total = S::or_bits(first ? sum : total_before * scale_old + sum, nan);
    }
};

}  // namespace cca

#endif  // CCA_CPU_COMMON_H
