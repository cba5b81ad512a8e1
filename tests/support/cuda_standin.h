// A stand-in for CUDA: with it, g++ compiles the unchanged .cuh files, and the kernels run on a CPU:
//
//   g++ -std=c++14 -O2 -include tests/support/cuda_standin.h ...
//
// Supported: blocks run one after the other, the threads of a block as coroutines that switch at barriers;
// __syncthreads, __syncwarp, __shfl_xor_sync, dynamic shared memory, wmma 16 x 16 x 16 with float sums, __half and
// __nv_bfloat16 with their rounding, asynchronous copies, launches and their limits, the runtime calls in use.
// `__shared__` arrays of fixed size work but are not checked; the kernels have none.
// Detected, and thrown as an exception by the launch, with memory location and thread:
//   - accesses outside a buffer; writes to an input; vectors and wmma tiles at misaligned addresses;
//   - reads of uninitialised memory, in shared memory and in outputs;
//   - races: two threads access a location, at least one writes, and there is no barrier (in a warp: no __syncwarp)
//     between them. Each access is recorded, so a race is detected even if the result happens to be correct;
//   - a barrier or warp instruction that not every thread reaches, or different ones reached at the same time;
//   - access to the destination of an asynchronous copy before the thread that started it waits, by other threads
//     before the next barrier; a thread that ends without waiting; misaligned copies.
// Not supported: time, caches, bank conflicts, the order of additions inside a tensor core, --use_fast_math, votes,
// atomics, streams, several devices, clusters, TMA, wgmma, threads and blocks along y and z.
#ifndef CUDA_STANDIN_H
#define CUDA_STANDIN_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define STANDIN_TEXT(x) #x
#define STANDIN_HERE(line) __FILE__ ":" STANDIN_TEXT(line)
#define __syncthreads() standin::wait(standin::kAtBlock, STANDIN_HERE(__LINE__))
#define __syncwarp() standin::warp_barrier(STANDIN_HERE(__LINE__), true)
#define CCA_DYNAMIC_SHARED(name) unsigned char* const name = (unsigned char*)standin::gpu.shared
#define CCA_LAUNCH(kernel, blocks, threads, bytes, ...) \
    standin::launch((const void*)(kernel), blocks, threads, bytes, [&] { kernel(__VA_ARGS__); })

static struct {
    unsigned x;
} threadIdx, blockIdx, blockDim;

enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorInvalidConfiguration, cudaErrorNoDevice };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
const cudaDeviceAttr cudaDevAttrComputeCapabilityMajor = cudaDeviceAttr(2);
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

namespace standin {

// State of two bytes of memory: the threads that wrote and read last, and when. Time is counted in barriers.
struct Cell {
    std::uint32_t written, read;  // 0: never
    std::uint16_t writer, reader;
    bool shared_read;  // read by several lanes of one warp since its last barrier
    bool expected;     // an asynchronous copy will write here
};
const std::uint16_t kSeveralWarps = 0xffff;

struct Region {
    std::string name;
    char* base;
    std::size_t bytes;
    bool writable;
    std::vector<Cell> cells;
};

enum State { kReady, kAtWarp, kAtBlock, kDone };
struct Copy {  // asynchronous, not waited for
    unsigned group, at, bytes;
    char data[16];
};
struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    State state;
    const char* place;  // source location of the barrier
    std::deque<Copy> copies;
    unsigned groups;  // number of groups of copies that are complete
};

struct Machine {
    int shared_limit = 232448, processors = 132, major = 9;  // an H200; set by cca_device()
    cudaError_t error = cudaSuccess;
    std::map<const void*, int> allowed;            // kernel -> bytes of shared memory requested
    std::vector<std::vector<int>> launches;        // blocks, threads, bytes
    std::vector<std::unique_ptr<Region>> regions;  // the first is shared memory
    alignas(1024) char shared[256 << 10];
    std::vector<Thread> threads = std::vector<Thread>(1024);
    ucontext_t scheduler;
    std::function<void()> body;
    std::string fault;
    int count = 0, current = 0;  // number of threads of the block; running thread
    std::uint32_t time = 1, launch_start = 1, block_start = 1, block_time = 1, warp_time[32] = {};
    float exchange[32][2][256];  // of each warp
    Machine() { regions.emplace_back(new Region{"shared memory", shared, 0, true, {}}); }
    bool ordered(std::uint32_t when, int thread) const {  // is there a barrier between `when` and now?
        if (thread == current || when < launch_start) return true;
        if (when < block_start) return false;
        return when < block_time || (thread / 32 == current / 32 && when < warp_time[current / 32]);
    }
};
static Machine gpu;

[[noreturn]] inline void fail(const std::string& what) {
    gpu.fault = what;
    swapcontext(&gpu.threads[gpu.current].context, &gpu.scheduler);
    std::abort();
}

inline void touch(Region* r, const void* p, std::size_t bytes, bool write) {
    const std::ptrdiff_t at = r ? (const char*)p - r->base : 0;
    const auto place = [&] { return r->name + " at byte " + std::to_string(at) + " of " + std::to_string(r->bytes); };
    if (!r) fail("a pointer outside all known buffers");
    if (at < 0 || at + bytes > r->bytes) fail((write ? "write outside " : "read outside ") + place());
    if (write && !r->writable) fail("write to the input " + place());
    if (!r->writable) return;
    for (std::size_t n = at / 2; n < (at + bytes + 1) / 2; n++) {
        Cell& c = r->cells[n];
        if (c.expected) fail("access to memory that an asynchronous copy still writes, " + place());
        if (!write && c.written == 0) fail("read of uninitialised memory, " + place());
        if (c.written && !gpu.ordered(c.written, c.writer))
            fail("race: thread " + std::to_string(c.writer) + " wrote before without a barrier, " + place());
        const bool same_warp = c.reader / 32 == gpu.current / 32 && c.reader != kSeveralWarps;
        const bool recent =
            c.read && (c.reader == kSeveralWarps ? c.read >= gpu.block_time : !gpu.ordered(c.read, c.reader));
        const bool others =
            c.shared_read && same_warp && c.read >= std::max(gpu.block_time, gpu.warp_time[gpu.current / 32]);
        if (write) {
            if (recent || others) fail("race: write while another thread may still read, " + place());
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

// A pointer that checks every access against its buffer.
template <class T>
struct Checked {
    struct Place {
        Checked p;
        operator T() const { return touch(p.region, p.raw, sizeof(T), false), *p.raw; }
        const Place& operator=(const T& x) const { return touch(p.region, p.raw, sizeof(T), true), *p.raw = x, *this; }
        const Place& operator=(const Place& x) const { return *this = T(x); }
    };
    T* raw;
    Region* region;
    explicit Checked(T* p) : raw(p), region(nullptr) {
        for (auto& r : gpu.regions)
            if ((char*)p >= r->base && (char*)p < r->base + r->bytes) region = r.get();
    }
    Checked(T* p, Region* region) : raw(p), region(region) {}
    template <class U>
    operator Checked<U>() const {
        return {raw, region};
    }
    explicit operator std::uintptr_t() const { return (std::uintptr_t)raw; }
    Checked operator+(std::ptrdiff_t n) const { return {raw + n, region}; }
    Place operator[](std::ptrdiff_t n) const { return {*this + n}; }
    Place operator*() const { return {*this}; }
};

// Registers a buffer that kernels may access, for the lifetime of the object. Outputs count as uninitialised.
struct Buffer {
    Buffer(const char* name, const void* p, std::size_t bytes, bool writable) {
        std::vector<Cell> cells(writable ? (bytes + 1) / 2 : 0);
        gpu.regions.emplace_back(new Region{name, (char*)p, bytes, writable, cells});
    }
    ~Buffer() { gpu.regions.pop_back(); }  // destroyed in reverse order
};

// ------------------------------------------------------------------------------------------- threads and blocks

inline void wait(State state, const char* place) {
    Thread& t = gpu.threads[gpu.current];
    t.state = state;
    t.place = place;
    swapcontext(&t.context, &gpu.scheduler);
}
inline void warp_barrier(const char* place, bool orders = false) {
    wait(kAtWarp, place);
    if (orders && gpu.current % 32 == 0) gpu.warp_time[gpu.current / 32] = ++gpu.time;  // lane 0 continues first
}

[[noreturn]] inline void give_up(const std::string& what) {
    throw std::runtime_error(what + ": block " + std::to_string(blockIdx.x) + ", thread " +
                             std::to_string(gpu.current));
}

// Continues threads [from, to) if all of them wait in this state at the same source location.
inline bool release(int from, int to, State state) {
    for (int n = from; n < to; n++)
        if (gpu.threads[n].state != state) return false;
    const std::string place = gpu.threads[from].place;
    for (int n = from; n < to; n++) {
        if (gpu.threads[n].place != place)
            give_up("threads wait at different barriers: " + place + " and " + gpu.threads[n].place);
        gpu.threads[n].state = kReady;
    }
    return true;
}

inline void mark(const Copy& copy, bool expected) {
    Cell* cells = gpu.regions[0]->cells.data();
    for (unsigned k = copy.at / 2; k < (copy.at + copy.bytes) / 2; k++)
        cells[k].expected = expected, cells[k].written = gpu.time;
}

// Copies `bytes` to shared memory, of which the first `real` are read and the others become zero. Until the copy has
// been waited for, the destination has no defined content.
inline void copy_async(void* to, const void* from, Region* source, std::size_t bytes, std::size_t real) {
    Thread& t = gpu.threads[gpu.current];
    const std::string what = "asynchronous copy of " + std::to_string(bytes) + " bytes";
    if ((bytes != 4 && bytes != 8 && bytes != 16) || real > bytes) fail("an " + what + "; possible are 4, 8 and 16");
    if ((std::uintptr_t)to % bytes || (std::uintptr_t)from % bytes) fail("misaligned " + what);
    touch(source, from, real, false), touch(gpu.regions[0].get(), to, bytes, true);
    t.copies.push_back({t.groups, unsigned((char*)to - gpu.shared), unsigned(bytes), {}});
    std::memcpy(t.copies.back().data, from, real), mark(t.copies.back(), true);
}

// The copies of this thread arrive, except those of its last `n` groups and those without a group.
inline void wait_for_copies(unsigned n) {
    Thread& t = gpu.threads[gpu.current];
    for (; !t.copies.empty() && t.copies[0].group + n < t.groups; t.copies.pop_front()) {
        std::memcpy(gpu.shared + t.copies[0].at, t.copies[0].data, t.copies[0].bytes);
        mark(t.copies[0], false);
    }
}

inline void entry() {
    gpu.body();
    if (!gpu.threads[gpu.current].copies.empty()) fail("a thread ends before its asynchronous copies arrive");
    wait(kDone, "the end");
}

inline void run_block(int bytes) {
    std::memset(gpu.shared, 0xff, bytes);  // NaN in every type
    gpu.regions[0]->bytes = bytes;
    gpu.regions[0]->cells.assign(bytes / 2, Cell());
    gpu.block_start = gpu.block_time = ++gpu.time;
    std::fill_n(gpu.warp_time, 32, gpu.time);
    for (int n = 0; n < gpu.count; n++) {
        Thread& t = gpu.threads[n];
        getcontext(&t.context);
        t.stack.resize(64 << 10);
        t.context.uc_stack.ss_sp = t.stack.data();
        t.context.uc_stack.ss_size = t.stack.size();
        t.state = kReady;
        t.copies.clear(), t.groups = 0;
        makecontext(&t.context, entry, 0);
    }
    do {
        gpu.block_time = ++gpu.time;
        for (int warp = 0; warp < gpu.count; warp += 32) {
            do {
                for (int n = warp; n < warp + 32; n++) {
                    if (gpu.threads[n].state != kReady) continue;
                    gpu.current = threadIdx.x = n;
                    swapcontext(&gpu.scheduler, &gpu.threads[n].context);
                    if (!gpu.fault.empty()) give_up(gpu.fault);
                }
            } while (release(warp, warp + 32, kAtWarp));
        }
    } while (release(0, gpu.count, kAtBlock));
    for (int n = 0; n < gpu.count; n++)
        if (gpu.threads[n].state != kDone)
            give_up(std::string("not every thread reaches the barrier at ") + gpu.threads[n].place);
}

inline void launch(const void* kernel, unsigned blocks, unsigned threads, int bytes, std::function<void()> body) {
    const int most = gpu.allowed.count(kernel) ? gpu.allowed[kernel] : 48 << 10;
    if (blocks == 0 || threads == 0 || threads > 1024 || threads % 32 || bytes > most)
        return void(gpu.error = cudaErrorInvalidConfiguration);
    gpu.launches.push_back({int(blocks), int(threads), bytes});
    gpu.fault.clear();
    gpu.body = body;
    gpu.count = threads;
    blockDim.x = threads;
    gpu.launch_start = ++gpu.time;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++) run_block(bytes);
}

}  // namespace standin

template <class T>
T __shfl_xor_sync(unsigned, T x, int other) {
    auto& slots = standin::gpu.exchange[threadIdx.x / 32][0];
    slots[threadIdx.x % 32] = x;
    standin::warp_barrier("__shfl_xor_sync");
    x = slots[(threadIdx.x ^ other) % 32];
    return standin::warp_barrier("end of __shfl_xor_sync"), x;
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline cudaError_t cudaGetDevice(int*) { return standin::gpu.processors ? cudaSuccess : cudaErrorNoDevice; }
inline cudaError_t cudaGetLastError() { return std::exchange(standin::gpu.error, cudaSuccess); }
inline const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaErrorNoDevice ? "no CUDA-capable device" : "invalid value or configuration";
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr what, int) {
    const int values[] = {standin::gpu.shared_limit, standin::gpu.processors, standin::gpu.major};
    *value = values[what];
    return cudaSuccess;
}
template <class F>
cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute, int bytes) {
    if (bytes > standin::gpu.shared_limit) return cudaErrorInvalidValue;
    standin::gpu.allowed[(const void*)kernel] = bytes;
    return cudaSuccess;
}
// ------------------------------------------------------------------------------------------- 16-bit floating point

template <int>
struct Bits16 {
    std::uint16_t bits;
};
typedef Bits16<0> __half;
typedef Bits16<1> __nv_bfloat16;
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
    return {std::isnan(f) ? std::uint16_t(0x7fff) : std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline float number(__half x) { return __half2float(x); }
inline float number(__nv_bfloat16 x) { return __bfloat162float(x); }

// ------------------------------------------------------------------------------------ wmma, 8 elements per lane

namespace nvcuda {
namespace wmma {
struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major };
template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {  // each lane has row lane / 2, columns lane % 2 * 8 to + 7
    static_assert(M == 16 && N == 16 && K == 16, "only 16 x 16 x 16");
    float x[8];
};

// Index of element n of the lane in a tile.
template <class T>
int place(const T* tile, int pitch, int n, bool rows) {
    if ((std::uintptr_t)tile % 32 || pitch * sizeof(T) % 16)
        standin::fail("a wmma tile must start at a multiple of 32 bytes, with a pitch that is a multiple of 16 bytes");
    const int row = threadIdx.x % 32 / 2, column = threadIdx.x % 2 * 8 + n;
    return rows ? row * pitch + column : column * pitch + row;
}
template <class Use, class T, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, Layout>& f, standin::Checked<const T> p, unsigned pitch) {
    for (int n = 0; n < 8; n++) f.x[n] = number(p[place(p.raw, pitch, n, std::is_same<Layout, row_major>::value)]);
    standin::warp_barrier("load_matrix_sync");
}
inline void store_matrix_sync(standin::Checked<float> p, const fragment<accumulator, 16, 16, 16, float>& f,
                              unsigned pitch, layout_t) {
    for (int n = 0; n < 8; n++) p[place(p.raw, pitch, n, true)] = f.x[n];
    standin::warp_barrier("store_matrix_sync");
}
inline void fill_fragment(fragment<accumulator, 16, 16, 16, float>& f, float x) { std::fill_n(f.x, 8, x); }
template <class A, class B, class T>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d, const fragment<matrix_a, 16, 16, 16, T, A>& a,
              const fragment<matrix_b, 16, 16, 16, T, B>& b, const fragment<accumulator, 16, 16, 16, float>& c) {
    const int lane = threadIdx.x % 32;
    auto& both = standin::gpu.exchange[threadIdx.x / 32];
    std::copy_n(a.x, 8, both[0] + lane * 8);
    std::copy_n(b.x, 8, both[1] + lane * 8);
    standin::warp_barrier("mma_sync");
    d = c;
    for (int n = 0; n < 8; n++)
        for (int k = 0; k < 16; k++) d.x[n] += both[0][lane / 2 * 16 + k] * both[1][k * 16 + lane % 2 * 8 + n];
    standin::warp_barrier("end of mma_sync");
}
}  // namespace wmma
}  // namespace nvcuda

// ---------------------------------------------------------------- replaces the CUDA part of cuda_memory.cuh

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
    return (std::uintptr_t)p.raw % (N * sizeof(T)) == 0;
}
template <int N, class T>
Pack<T, N> load_pack(standin::Checked<const T> p) {
    if (!aligned<N, T>(p)) standin::fail("misaligned vector read");
    Pack<T, N> pack;
    for (int n = 0; n < N; n++) pack.x[n] = p[n];
    return pack;
}
template <int N, class T>
void store_pack(standin::Checked<T> p, const Pack<T, N>& pack) {
    if (!aligned<N, T>(p)) standin::fail("misaligned vector write");
    for (int n = 0; n < N; n++) p[n] = pack.x[n];
}
template <int N, class T>
void copy_async(standin::Checked<T> to, standin::Checked<const T> from, int count) {
    standin::copy_async(to.raw, from.raw, from.region, N * sizeof(T), count * sizeof(T));
}
inline int not_before(int x) { return x; }
inline void commit_copies() { standin::gpu.threads[standin::gpu.current].groups++; }
inline void wait_for_copies() { standin::wait_for_copies(0); }
}  // namespace cca

#endif  // CUDA_STANDIN_H
