// Feature maps are often 16 n + 1 wide, and the last column alone would cost as much as sixteen. Remaining lines that
// fill at most half a group of N are therefore copied to contiguous memory and processed as rows.
#ifndef CCA_CPU_REST_H
#define CCA_CPU_REST_H

#include <memory>

#ifndef CCA_CPU_BACKWARD_H
#    include "cpu_backward.h"
#endif
#ifndef CCA_CPU_FORWARD_H
#    include "cpu_forward.h"
#endif

namespace cca {

template <class T>
class Rest {
  public:
    Rest(const Problem& p, int threads) : p_(p), threads_(threads), count_(p.lines.inner - p.in_lanes) {
        lines_ = Problem{p.batch * p.lines.outer, p.cq, p.c, Lines{count_, p.lines.length, 1}, p.keep_self, 0};
    }
    bool empty() const { return count_ == 0; }

    void forward(const T* q, const T* k, const T* v, T* out, const T* top0, const T* total0, T* top1, T* total1,
                 bool first) const {
        const Copy q1(*this, q, p_.cq), k1(*this, k, p_.cq), v1(*this, v, p_.c),
            out1(*this, first ? nullptr : out, p_.c);
        const Copy top(*this, first ? nullptr : top0, 1), total(*this, first ? nullptr : total0, 1);
        const Copy new_top(*this, nullptr, 1), new_total(*this, nullptr, 1);
        forward_rows<T>(lines_, q1.at(), k1.at(), v1.at(), out1.at(), top.at(), total.at(), new_top.at(),
                        new_total.at(), first, false, threads_);
        out1.put(*this, out, p_.c, true);
        new_top.put(*this, top1, 1, true);
        new_total.put(*this, total1, 1, true);
    }

    void backward(const Gradients<T>& x, bool first) const {
        const Copy q(*this, x.q, p_.cq), k(*this, x.k, p_.cq), v(*this, x.v, p_.c), g(*this, x.g, p_.c);
        const Copy top(*this, x.top, 1), total(*this, x.total, 1), delta(*this, x.delta, 1);
        const Copy dq(*this, nullptr, p_.cq), dk(*this, nullptr, p_.cq), dv(*this, nullptr, p_.c);
        backward_rows<T>(
            lines_,
            Gradients<T>{q.at(), k.at(), v.at(), g.at(), top.at(), total.at(), delta.at(), dq.at(), dk.at(), dv.at()},
            true, threads_);
        dq.put(*this, x.dq, p_.cq, first);
        dk.put(*this, x.dk, p_.cq, first);
        dv.put(*this, x.dv, p_.c, first);
    }

  private:
    // The remaining lines as (batch x outer, channels, count, length), copied from and to (batch, channels, plane).
    class Copy {
      public:
        Copy(const Rest& rest, const T* from, i64 channels)
            : numbers_(new T[rest.lines_.batch * channels * rest.lines_.lines.plane()]) {
            if (from == nullptr) return;
            rest.each(channels, [=](i64 here, i64 there) { numbers_[here] = from[there]; });
        }
        T* at() const { return numbers_.get(); }
        void put(const Rest& rest, T* to, i64 channels, bool write) const {
            rest.each(channels,
                      [=](i64 here, i64 there) { to[there] = write ? numbers_[here] : to[there] + numbers_[here]; });
        }

      private:
        std::unique_ptr<T[]> numbers_;
    };

    template <class Move>
    void each(i64 channels, const Move& move) const {
        const Lines& lines = p_.lines;
        const i64 count = count_, length = lines.length, first = p_.in_lanes, tasks = p_.batch * lines.outer * channels;
#pragma omp parallel for num_threads(threads_)
        for (i64 task = 0; task < tasks; task++) {
            const i64 c = task % channels, o = task / channels % lines.outer, b = task / channels / lines.outer;
            const i64 there = (b * channels + c) * lines.plane() + o * length * lines.inner + first;
            for (i64 l = 0; l < length; l++)
                for (i64 r = 0; r < count; r++) move((task * count + r) * length + l, there + l * lines.inner + r);
        }
    }

    Problem p_, lines_;
    int threads_;
    i64 count_;
};

}  // namespace cca

#endif  // CCA_CPU_REST_H
