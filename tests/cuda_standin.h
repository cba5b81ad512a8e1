// A stand-in for CUDA that lets g++ compile the .cuh files as they are and run them on a CPU:
//
//   g++ -std=c++14 -O2 -include tests/cuda_standin.h ...
//
// Modelled: blocks one after the other, the threads of a block as coroutines that run from barrier to barrier,
// __syncthreads, __syncwarp, __shfl_xor_sync, dynamic shared memory, wmma 16 x 16 x 16 with float sums, __half and
// __nv_bfloat16 with their rounding, launches and their limits, the few runtime calls in use. `__shared__` arrays of
// fixed size are one array for the block, but are not watched; the kernels have none.
// Found, with the place in memory and the thread, and thrown as standin::Fault by the launch:
//   - an access outside a buffer; a write to an input; vectors and wmma tiles at addresses that are not aligned;
//   - a read of memory that nothing has written, in shared memory and in outputs;
//   - a race: two threads at one place, one of them writing, between them neither a barrier nor, inside a warp, a
//     __syncwarp. Found by bookkeeping, whether or not this order of execution made it do harm;
//   - a barrier or warp instruction that not every thread reaches, or that meets another one.
// Not modelled: time, caches, bank conflicts, the order of additions inside a tensor core, --use_fast_math, votes,
// atomics, streams, several devices, clusters, asynchronous copies, threads and blocks along y and z.
#ifndef CUDA_STANDIN_H
#define CUDA_STANDIN_H

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define __syncthreads() standin::block_barrier(__FILE__, __LINE__)
#define __syncwarp() standin::warp_barrier(__FILE__, __LINE__, true)
#define CCA_DYNAMIC_SHARED(name) unsigned char* const name = (unsigned char*)standin::gpu.shared
#define CCA_LAUNCH(kernel, blocks, threads, bytes, ...) \
    standin::launch((const void*)(kernel), blocks, threads, bytes, [&] { kernel(__VA_ARGS__); })

static struct {
    unsigned x;
} threadIdx, blockIdx, blockDim, gridDim;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorInvalidConfiguration, cudaErrorNoDevice };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

namespace standin {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Two bytes of memory: who wrote and who read last, and when. Time counts barriers, of warps and of blocks.
struct Cell {
    std::uint32_t written, read;  // 0: never
    std::uint16_t writer, reader;
    bool shared_read;  // several lanes of one warp have read since its last barrier
};
const std::uint16_t kHost = 0xffff, kSeveralWarps = 0xfffe;

struct Region {
    std::string name;
    char* base;
    std::size_t bytes;
    bool writable;
    std::vector<Cell> cells;
};

enum State { kReady, kAtWarp, kAtBlock, kDone };
struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    State state;
    const char* file;
    int line;
};

struct Machine {
    int shared_limit = 232448, processors = 132;  // an H200; tests set others
    cudaError_t error = cudaSuccess;
    std::map<const void*, int> allowed;      // bytes of shared memory, of kernels that asked
    std::vector<std::vector<int>> launches;  // blocks, threads, bytes

    std::vector<std::unique_ptr<Region>> regions;  // the first is shared memory
    alignas(1024) char shared[256 << 10];
    std::vector<Thread> threads = std::vector<Thread>(1024);
    ucontext_t scheduler;
    std::function<void()> body;
    std::string fault;
    int count = 0, current = 0;  // threads of the block, and the one that runs
    std::uint32_t time = 1, launch_start = 1, block_start = 1, block_time = 1, warp_time[32] = {};
    float exchange[32][2][256];  // of each warp

    bool ordered(std::uint32_t when, int thread) const {  // has `thread` met the current one since then?
        if (thread == current || when < launch_start) return true;
        if (when < block_start) return false;
        return when < block_time || (thread / 32 == current / 32 && when < warp_time[current / 32]);
    }
};
static Machine gpu;

[[noreturn]] inline void fail(const std::string& what) {
    gpu.fault = what + ": block " + std::to_string(blockIdx.x) + ", thread " + std::to_string(gpu.current);
    swapcontext(&gpu.threads[gpu.current].context, &gpu.scheduler);
    std::abort();
}

inline void touch(Region* r, const void* p, std::size_t bytes, bool write) {
    const std::ptrdiff_t at = r ? (const char*)p - r->base : 0;
    const auto place = [&] { return r->name + " at byte " + std::to_string(at) + " of " + std::to_string(r->bytes); };
    if (!r) fail("a pointer into no known buffer");
    if (at < 0 || at + bytes > r->bytes) fail((write ? "write outside " : "read outside ") + place());
    if (write && !r->writable) fail("write to the input " + place());
    if (!r->writable) return;
    for (std::size_t n = at / 2; n < (at + bytes + 1) / 2; n++) {
        Cell& c = r->cells[n];
        if (!write && c.written == 0) fail("read of what nothing has written, " + place());
        if (c.writer != kHost && c.written && !gpu.ordered(c.written, c.writer))
            fail("race: thread " + std::to_string(c.writer) + " wrote before without a barrier, " + place());
        const bool same_warp = c.reader / 32 == gpu.current / 32 && c.reader != kSeveralWarps;
        const bool recent =
            c.read && (c.reader == kSeveralWarps ? c.read >= gpu.block_time : !gpu.ordered(c.read, c.reader));
        const bool others =
            c.shared_read && same_warp && c.read >= std::max(gpu.block_time, gpu.warp_time[gpu.current / 32]);
        if (write) {
            if (recent || others) fail("race: written while another thread may still read, " + place());
            c.written = gpu.time;
            c.writer = gpu.current;
            c.read = 0;
        } else {
            c.shared_read = same_warp && (recent || others);
            c.reader = recent && !same_warp ? kSeveralWarps : gpu.current;
            c.read = gpu.time;
        }
    }
}

template <class T>
class Checked;
template <class T>
struct Place {  // what *p is, where T may be written
    Checked<T> p;
    operator T() const { return p.read(); }
    const Place& operator=(T x) const { return p.write(x), *this; }
    const Place& operator=(const Place& x) const { return p.write(x), *this; }
};

// A pointer that knows its buffer.
template <class T>
class Checked {
  public:
    typedef typename std::remove_const<T>::type Number;
    explicit Checked(T* p) : p_(p), region_(nullptr) {
        for (auto& r : gpu.regions)
            if ((char*)p >= r->base && (char*)p < r->base + r->bytes) region_ = r.get();
    }
    Checked(T* p, Region* region) : p_(p), region_(region) {}
    operator Checked<const T>() const { return Checked<const T>(p_, region_); }
    Checked operator+(std::ptrdiff_t n) const { return Checked(p_ + n, region_); }
    typename std::conditional<std::is_const<T>::value, Number, Place<T>>::type operator*() const { return get(this); }
    auto operator[](std::ptrdiff_t n) const { return *(*this + n); }
    T* raw() const { return p_; }

    Number read() const { return touch(region_, p_, sizeof(T), false), *p_; }
    void write(const Number& x) const { touch(region_, p_, sizeof(T), true), *const_cast<Number*>(p_) = x; }

  private:
    static Number get(const Checked<const Number>* p) { return p->read(); }
    template <class U>
    static Place<U> get(const Checked<U>* p) {
        return Place<U>{*p};
    }
    T* p_;
    Region* region_;
};

// A buffer the kernels may use, as long as this lives. An output counts as unwritten.
struct Buffer {
    Region* region;
    Buffer(const char* name, const void* p, std::size_t bytes, bool writable) : region(new Region) {
        *region = Region{name, (char*)p, bytes, writable, std::vector<Cell>(writable ? (bytes + 1) / 2 : 0)};
        gpu.regions.emplace_back(region);
    }
    ~Buffer() {
        for (std::size_t n = 0; n < gpu.regions.size(); n++)
            if (gpu.regions[n].get() == region) gpu.regions.erase(gpu.regions.begin() + n);
    }
};

// ------------------------------------------------------------------------------------------------ threads and blocks

inline void wait(State state, const char* file, int line) {
    Thread& t = gpu.threads[gpu.current];
    t.state = state;
    t.file = file;
    t.line = line;
    swapcontext(&t.context, &gpu.scheduler);
}
inline void block_barrier(const char* file, int line) { wait(kAtBlock, file, line); }
inline void warp_barrier(const char* file, int line, bool orders) {
    const int warp = gpu.current / 32;
    wait(kAtWarp, file, line);
    if (orders && gpu.current % 32 == 0) gpu.warp_time[warp] = ++gpu.time;  // lane 0 is the first to go on
}

// True if threads [from, to) all wait in this state, and at the same line.
inline bool together(int from, int to, State state) {
    int waiting = 0;
    for (int n = from; n < to; n++) waiting += gpu.threads[n].state == state;
    if (waiting < to - from) return false;
    const Thread &a = gpu.threads[from], *b = &a;
    for (int n = from; n < to; n++)
        if (gpu.threads[n].line != a.line || std::strcmp(gpu.threads[n].file, a.file)) b = &gpu.threads[n];
    if (b != &a)
        throw Fault(std::string("threads meet at different barriers: ") + a.file + ":" + std::to_string(a.line) +
                    " and " + b->file + ":" + std::to_string(b->line) + ", block " + std::to_string(blockIdx.x));
    return true;
}

inline void entry() {
    gpu.body();
    gpu.threads[gpu.current].state = kDone;
    swapcontext(&gpu.threads[gpu.current].context, &gpu.scheduler);
}

inline void resume(int thread) {
    gpu.current = thread;
    threadIdx.x = thread;
    swapcontext(&gpu.scheduler, &gpu.threads[thread].context);
    if (!gpu.fault.empty()) throw Fault(gpu.fault);
}

inline void run_block(int bytes) {
    const std::size_t stack = 64 << 10;
    std::memset(gpu.shared, 0xff, bytes);  // NaN in every type
    Region& shared = *gpu.regions[0];
    shared.bytes = bytes;
    shared.cells.assign(bytes / 2, Cell());
    gpu.block_start = gpu.block_time = ++gpu.time;
    for (auto& t : gpu.warp_time) t = gpu.time;
    for (int n = 0; n < gpu.count; n++) {
        Thread& t = gpu.threads[n];
        if (!t.stack) t.stack.reset(new char[stack]);
        getcontext(&t.context);
        t.context.uc_stack.ss_sp = t.stack.get();
        t.context.uc_stack.ss_size = stack;
        t.context.uc_link = nullptr;
        t.state = kReady;
        makecontext(&t.context, entry, 0);
    }
    for (;;) {
        for (int warp = 0; warp < gpu.count; warp += 32) do {
                for (int n = warp; n < warp + 32; n++)
                    if (gpu.threads[n].state == kReady) resume(n);
                if (!together(warp, warp + 32, kAtWarp)) break;
                for (int n = warp; n < warp + 32; n++) gpu.threads[n].state = kReady;
            } while (true);
        if (together(0, gpu.count, kAtBlock)) {
            gpu.block_time = ++gpu.time;
            for (int n = 0; n < gpu.count; n++) gpu.threads[n].state = kReady;
            continue;
        }
        for (int n = 0; n < gpu.count; n++)
            if (gpu.threads[n].state != kDone)
                throw Fault("not every thread reaches the barrier at " + std::string(gpu.threads[n].file) + ":" +
                            std::to_string(gpu.threads[n].line) + ", block " + std::to_string(blockIdx.x));
        return;
    }
}

inline void launch(const void* kernel, unsigned blocks, unsigned threads, int bytes, std::function<void()> body) {
    const int most = gpu.allowed.count(kernel) ? gpu.allowed[kernel] : 48 << 10;
    if (blocks == 0 || threads == 0 || threads > 1024 || threads % 32 || bytes > most) {
        gpu.error = cudaErrorInvalidConfiguration;
        return;
    }
    if (gpu.regions.empty() || gpu.regions[0]->base != gpu.shared)
        gpu.regions.emplace(gpu.regions.begin(), new Region{"shared memory", gpu.shared, 0, true, {}});
    gpu.launches.push_back({int(blocks), int(threads), bytes});
    gpu.fault.clear();
    gpu.body = body;
    gpu.count = threads;
    gridDim.x = blocks;
    blockDim.x = threads;
    gpu.launch_start = ++gpu.time;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) run_block(bytes);
}

}  // namespace standin

template <class T>
T __shfl_xor_sync(unsigned, T x, int other) {
    float* slots = standin::gpu.exchange[standin::gpu.current / 32][0];
    const int lane = standin::gpu.current % 32;
    slots[lane] = x;
    standin::warp_barrier("__shfl_xor_sync", 0, false);
    const T result = slots[lane ^ other];
    standin::warp_barrier("__shfl_xor_sync", 1, false);
    return result;
}

inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }

inline cudaError_t cudaGetDevice(int* device) {
    return *device = 0, standin::gpu.processors ? cudaSuccess : cudaErrorNoDevice;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
    *value = what == cudaDevAttrMultiProcessorCount ? standin::gpu.processors : standin::gpu.shared_limit;
    return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute, int bytes) {
    if (bytes > standin::gpu.shared_limit) return cudaErrorInvalidValue;
    standin::gpu.allowed[(const void*)kernel] = bytes;
    return cudaSuccess;
}
inline cudaError_t cudaGetLastError() {
    const cudaError_t error = standin::gpu.error;
    return standin::gpu.error = cudaSuccess, error;
}
inline const char* cudaGetErrorString(cudaError_t error) {
    const char* texts[] = {"no error", "invalid argument", "invalid configuration argument", "no CUDA-capable device"};
    return texts[error];
}

// ------------------------------------------------------------------------------------------------- numbers of 16 bits

struct __half {
    std::uint16_t bits;
};
struct __nv_bfloat16 {
    std::uint16_t bits;
};
inline float __half2float(__half h) {
    const int e = h.bits >> 10 & 31, m = h.bits & 1023;
    const float x = e == 31 ? (m ? NAN : INFINITY) : e ? std::ldexp(1024.f + m, e - 25) : std::ldexp(float(m), -24);
    return h.bits >> 15 ? -x : x;
}
inline __half __float2half_rn(float f) {
    const std::uint16_t sign = std::signbit(f) << 15;
    const float x = std::fabs(f);
    if (std::isnan(f)) return {0x7fff};
    if (x >= 65520) return {std::uint16_t(sign | 0x7c00)};
    int e;
    std::frexp(x, &e);  // x = m 2^e, 1/2 <= m < 1
    e = x == 0 || e < -13 ? -13 : e;
    return {std::uint16_t(sign | (((e + 13) << 10) + int(std::nearbyint(std::ldexp(x, 11 - e)))))};
}
inline float __bfloat162float(__nv_bfloat16 b) {
    const std::uint32_t bits = std::uint32_t(b.bits) << 16;
    float x;
    return std::memcpy(&x, &bits, 4), x;
}
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
    std::uint32_t bits;
    std::memcpy(&bits, &f, 4);
    if (std::isnan(f)) return {0x7fff};
    return {std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float number(float x) { return x; }
inline float number(__half x) { return __half2float(x); }
inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }

// ------------------------------------------------------------------------------------------------ wmma: 8 numbers a
// lane

namespace nvcuda {
namespace wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };
template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {  // the lane has row lane / 2, columns lane % 2 * 8 to + 7
    static_assert(M == 16 && N == 16 && K == 16, "only 16 x 16 x 16");
    float x[8];
};

template <class T>
void check_tile(const T* p, unsigned pitch) {
    if ((std::uintptr_t)p % 32 || pitch * sizeof(T) % 16)
        standin::fail("a wmma tile must start at a multiple of 32 bytes, its rows be a multiple of 16 apart");
}
template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& f, standin::Checked<const T> p, unsigned pitch) {
    check_tile(p.raw(), pitch);
    const int lane = threadIdx.x % 32, row = lane / 2, column = lane % 2 * 8;
    for (int n = 0; n < 8; n++)
        f.x[n] =
            number(p[std::is_same<Layout, row_major>::value ? row * pitch + column + n : (column + n) * pitch + row]);
    standin::warp_barrier("load_matrix_sync", 0, false);
}
template <class T>
void fill_fragment(fragment<accumulator, 16, 16, 16, T>& f, T x) {
    for (float& y : f.x) y = x;
}
template <class A, class B, class T>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d, const fragment<matrix_a, 16, 16, 16, T, A>& a,
              const fragment<matrix_b, 16, 16, 16, T, B>& b, const fragment<accumulator, 16, 16, 16, float>& c) {
    const int lane = threadIdx.x % 32, row = lane / 2, column = lane % 2 * 8;
    auto& both = standin::gpu.exchange[threadIdx.x / 32];
    std::memcpy(both[0] + lane * 8, a.x, sizeof(a.x));
    std::memcpy(both[1] + lane * 8, b.x, sizeof(b.x));
    standin::warp_barrier("mma_sync", 0, false);
    for (int n = 0; n < 8; n++) {
        float sum = c.x[n];
        for (int k = 0; k < 16; k++) sum += both[0][row * 16 + k] * both[1][k * 16 + column + n];
        d.x[n] = sum;
    }
    standin::warp_barrier("mma_sync", 1, false);
}
inline void store_matrix_sync(standin::Checked<float> p, const fragment<accumulator, 16, 16, 16, float>& f,
                              unsigned pitch, layout_t) {
    check_tile(p.raw(), pitch);
    const int lane = threadIdx.x % 32;
    for (int n = 0; n < 8; n++) p[lane / 2 * pitch + lane % 2 * 8 + n] = f.x[n];
    standin::warp_barrier("store_matrix_sync", 0, false);
}
}  // namespace wmma
}  // namespace nvcuda

// -------------------------------------------------------------------------- what cuda_memory.cuh leaves to its
// compiler

namespace cca {
template <class T>
using Global = standin::Checked<T>;
template <class T>
using Shared = standin::Checked<T>;
template <class T, int N>
struct Pack {
    T x[N];
};
template <int N, class T>
bool aligned(standin::Checked<const T> p) {
    return (std::uintptr_t)p.raw() % (N * sizeof(T)) == 0;
}
template <int N, class T>
Pack<T, N> load_pack(standin::Checked<const T> p) {
    if (!aligned<N, T>(p)) standin::fail("a vector is read where it is not aligned");
    Pack<T, N> pack;
    for (int n = 0; n < N; n++) pack.x[n] = p[n];
    return pack;
}
template <int N, class T>
void store_pack(standin::Checked<T> p, const Pack<T, N>& pack) {
    if (!aligned<N, T>(p)) standin::fail("a vector is written where it is not aligned");
    for (int n = 0; n < N; n++) p[n] = pack.x[n];
}
}  // namespace cca

#endif  // CUDA_STANDIN_H
