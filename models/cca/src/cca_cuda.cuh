// Criss-cross attention on the GPU for float, half or bfloat16 tensors (B, channels, S1, .., Sn): choice of the tiles
// and launches. Compiles on its own:
//
//   nvcc -std=c++14 -arch=sm_80 -cubin -o /dev/null models/cca/src/cca_cuda.cuh -x cu
//
// The axes are processed one after the other, columns first; the first writes, the others add. Everything runs on the
// default stream without synchronisation. Errors are C++ exceptions that contain the shape; Jittor converts them into
// Python exceptions.
#ifndef CCA_CUDA_CUH
#define CCA_CUDA_CUH

#include <cmath>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#ifndef CCA_CUDA_FORWARD_CUH
#    include "cuda_forward.cuh"
#endif
#ifndef CCA_CUDA_BACKWARD_CUH
#    include "cuda_backward.cuh"
#endif

namespace cca {

struct Device {
    int shared;      // largest shared memory of a thread block in bytes (opt-in)
    int processors;  // multiprocessors
    bool ahead;      // copies to shared memory that threads do not wait for: compute capability 8.0 or later
};

// The shape of a call. It appears in error messages: "batch 8, 64 and 512 channels, size 97x97".
struct Call {
    int batch, cq, c;
    std::vector<int> sides;

    void check(cudaError_t error, const char* what) const {
        if (error == cudaSuccess) return;
        std::string text = std::string("criss-cross attention on the GPU: ") + what + ": " + cudaGetErrorString(error) +
                           " (batch " + std::to_string(batch) + ", " + std::to_string(cq) + " and " +
                           std::to_string(c) + " channels, size ";
        for (std::size_t n = 0; n < sides.size(); n++) text += (n ? "x" : "") + std::to_string(sides[n]);
        throw std::runtime_error(text + ")");
    }

    Device device() const {
        int number = 0;
        int major = 0;
        Device d = {};
        check(cudaGetDevice(&number), "no device");
        check(cudaDeviceGetAttribute(&d.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, number), "shared memory");
        check(cudaDeviceGetAttribute(&d.processors, cudaDevAttrMultiProcessorCount, number), "multiprocessors");
        check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, number), "compute capability");
        d.ahead = major >= 8;
        return d;
    }

    // One Pass per axis that contributes. A position lies on every axis but is counted on the last one only, so an
    // earlier axis of length 1 contributes nothing.
    std::vector<Pass> passes() const {
        i64 plane = 1;
        for (int side : sides) plane *= side;
        if (plane * (c > cq ? c : cq) > 0x7fffffff) check(cudaErrorInvalidValue, "2^31 elements or more in an image");
        std::vector<Pass> list;
        for (std::size_t n = 0; n < sides.size(); n++) {
            const bool last = n + 1 == sides.size();
            if (!last && sides[n] == 1) continue;
            Axis axis = {sides[n], 1, int(plane / sides[n]), int(plane)};
            for (std::size_t m = n + 1; m < sides.size(); m++) axis.inner *= sides[m];
            list.push_back(Pass{axis, batch, cq, c, last, list.empty(), last, 0, 0, 0, 0, 1, false});
        }
        return list;
    }
};

inline int even_tile(int length, int tiles) { return up((length + tiles - 1) / tiles); }

// Estimated bytes moved between the L2 cache and the multiprocessors per position and channel, including waste. The
// lower bounds at the top of the files hold if every tensor is read once; small tiles read v or g several times, and
// single lines along a strided axis read a whole sector per element. Only used to compare tiles.
template <class T>
double cost(Kernel kernel, const Pass& p, const Device& d) {
    const double size = sizeof(T), group = size * (1 << p.shift);  // contiguous bytes
    double sectors = 1;
    if (p.axis.inner > 1)  // full sectors if rows are aligned, else about one more per group
        sectors = p.axis.inner * int(sizeof(T)) % 32 == 0 ? (group < 32 ? 32 : group) / group : (32 - size) / group + 1;
    const double keys = (p.axis.length + p.keys - 1) / p.keys, queries = p.tiles();  // tiles of a line
    double bytes = 0;
    if (kernel == kStatistics) bytes = size * (keys + queries);                         // q; k
    if (kernel == kValues) bytes = size * queries + 4 * (2 * keys - 1);                 // v; sums
    if (kernel == kGradients) bytes = size * (keys + queries) + 4 * (2 * queries - 1);  // g, v; sums of dv
    const double waves = double(p.batch) * p.groups() * (kernel == kGradients ? 1 : queries) / d.processors;
    // If only one block fits on a multiprocessor, it cannot compute while it loads, except what is on its way ahead.
    const bool alone = kernel != kGradients && Layout<T>(kernel, p).bytes * 2 > d.shared;
    return bytes * sectors * std::ceil(waves) / waves * (alone ? 1.5 : 1) * (p.ahead ? 0.7 : 1);
}

// Takes p as the best so far if it fits and moves less; with and without buffers for the next chunk.
template <class T>
void consider(Kernel kernel, Pass p, const Device& d, Pass& chosen, double& best) {
    const bool adjacent = p.axis.lines == p.axis.inner || p.axis.inner % (1 << p.shift) == 0;  // lines of a group
    const bool possible = d.ahead && sizeof(T) == 2 && (p.axis.inner == 1 || (p.shift > 0 && adjacent));
    for (int ahead = 0; ahead <= possible; ahead++) {
        p.ahead = ahead;
        if (Layout<T>(kernel, p).bytes > d.shared) continue;
        const double now = cost<T>(kernel, p, d);
        if (best < 0 || now < best) best = now, chosen = p;
    }
}

// The cheapest tiles that fit. The smallest (one line, 16 x 16) fit on every card.
template <class T>
Pass plan(const Call& call, Kernel kernel, Pass p, const Device& d) {
    const int length = p.axis.length;
    double best = -1;
    Pass chosen = p;
    const int most_keys = kernel == kStatistics ? kColumns * kBlock : kMostKeys;  // there a warp handles whole tiles
    for (p.shift = 0; p.shift < 4 && (p.shift == 0 || (p.axis.inner > 1 && p.axis.lines >> p.shift > 0)); p.shift++)
        for (int key_tiles = (length + most_keys - 1) / most_keys;; key_tiles *= 2) {
            p.keys = even_tile(length, key_tiles);
            const int most = kRows * kBlock * (kMostWarps / p.column_blocks() >> p.shift);  // queries per round
            for (int query_tiles = 1; most > 0; query_tiles *= 2) {
                p.queries = even_tile(length, query_tiles);
                p.round = p.queries < most ? p.queries : most;
                if (kernel != kValues) p.queries = p.round;
                consider<T>(kernel, p, d, chosen, best);
                if (p.queries == kBlock) break;
            }
            if (p.keys == kBlock) break;
        }
    if (best < 0) call.check(cudaErrorInvalidConfiguration, "no tile fits into shared memory");
    if (kernel == kValues)  // few lines: several blocks share them, each for a part of the channels
        while (chosen.parts < 8 && p.c / chosen.parts >= 4 * kChunk &&
               chosen.batch * chosen.groups() * chosen.tiles() * chosen.parts * 2 <= 2 * d.processors)
            chosen.parts *= 2;
    return chosen;
}

// cp.async needs aligned addresses: all tensors must start at a multiple of 16 bytes.
inline bool aligned_16(std::initializer_list<const void*> all) {
    for (const void* p : all)
        if (reinterpret_cast<std::uintptr_t>(p) % 16) return false;
    return true;
}

// Requests the shared memory and calls `launch(blocks, threads, bytes)`.
template <class T, class F, class Launch>
void run(const Call& call, const char* what, Kernel kernel, F* function, const Pass& p, const Launch& launch) {
    const int bytes = Layout<T>(kernel, p).bytes;
    const i64 blocks = i64(p.batch) * p.groups() * (kernel == kGradients ? 1 : p.tiles()) * p.parts;
    if (blocks > 0x7fffffff) call.check(cudaErrorInvalidConfiguration, "too many lines");
    call.check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), what);
    launch(unsigned(blocks), unsigned(32 * p.warps()), bytes);
    call.check(cudaGetLastError(), what);
}

// stats (2, B, S) is also kept for the backward pass.
template <class T>
void statistics_cuda(const Call& call, const T* q, const T* k, float* stats) {
    Device d = call.device();
    d.ahead = d.ahead && aligned_16({q, k});
    for (const Pass& axis : call.passes()) {
        const Pass p = plan<T>(call, kStatistics, axis, d);
        const auto kernel = p.ahead ? statistics<T, sizeof(T) == 2> : statistics<T, false>;
        run<T>(call, "statistics", kStatistics, kernel, p, [&](unsigned blocks, unsigned threads, int bytes) {
            CCA_LAUNCH(kernel, blocks, threads, bytes, p, q, k, stats);
        });
    }
}

// x.out like v. x.sums (B, C, S) is scratch memory; for float it is out.
template <class T>
void values_cuda(const Call& call, const Forward<T>& x) {
    Device d = call.device();
    d.ahead = d.ahead && aligned_16({x.q, x.k, x.v});
    for (const Pass& axis : call.passes()) {
        const Pass p = plan<T>(call, kValues, axis, d);
        const auto kernel = p.ahead ? values<T, sizeof(T) == 2> : values<T, false>;
        run<T>(call, "values", kValues, kernel, p,
               [&](unsigned blocks, unsigned threads, int bytes) { CCA_LAUNCH(kernel, blocks, threads, bytes, p, x); });
    }
}

template <class T>
void forward_cuda(const Call& call, const T* q, const T* k, const T* v, T* out, float* stats, float* sums) {
    const float* const totals = stats + call.batch * i64(call.passes()[0].axis.plane);
    statistics_cuda<T>(call, q, k, stats);
    values_cuda<T>(call, {q, k, v, stats, totals, sums, out});
}

// All elements of x.dq, x.dk, x.dv are written.
template <class T>
void backward_cuda(const Call& call, const Gradients<T>& x) {
    Device d = call.device();
    d.ahead = d.ahead && aligned_16({x.q, x.k, x.v, x.g});
    const int plane = call.passes()[0].axis.plane;
    CCA_LAUNCH(delta<T>, unsigned(call.batch * ((plane + 31) / 32)), 32 * kMostWarps,
               32 * kMostWarps * int(sizeof(float)), call.c, plane, x.g, x.out, x.delta);
    call.check(cudaGetLastError(), "delta");
    for (const Pass& axis : call.passes()) {
        const Pass p = plan<T>(call, kGradients, axis, d);
        const auto kernel = p.ahead ? gradients<T, sizeof(T) == 2> : gradients<T, false>;
        run<T>(call, "gradients", kGradients, kernel, p,
               [&](unsigned blocks, unsigned threads, int bytes) { CCA_LAUNCH(kernel, blocks, threads, bytes, p, x); });
    }
}

}  // namespace cca

#endif  // CCA_CUDA_CUH
