// Matrix products of one warp: operands in shared memory, sums in float registers. Two classes with one interface:
//   Tensor  half on every card from V100 on, bfloat16 from A100 on: tensor cores through wmma;
//   Simt    float, and bfloat16 on older cards: each lane computes 2 x 4 elements of every 16 x 16 square.
// add<KA, KB>(a, .., b, .., depth): sum(m, n) += over k < depth of a(m, k) b(k, n), depth a multiple of 16.
//   KA: a(m, k) is at a[m * lda + k], otherwise at a[k * lda + m];
//   KB: b(k, n) is at b[n * ldb + k], otherwise at b[k * ldb + n].
// In Simt, a lane needs 2 M + 4 N loads of 16 bytes for 32 M N multiply-adds, that is 8 to 13 per load: it is limited
// by arithmetic, not by shared memory.
#ifndef CCA_CUDA_PRODUCT_CUH
#define CCA_CUDA_PRODUCT_CUH

#include <type_traits>

#if defined(__CUDACC__)
#    include <mma.h>
#endif

#ifndef CCA_CUDA_MEMORY_CUH
#    include "cuda_memory.cuh"
#endif

namespace cca {

template <class T, int M, int N>
struct Simt {
    float sum[M][N][2][4];  // rows r, r + 8; columns 4 c + j, or c + 4 j with KB: no bank conflicts

    __device__ void clear() {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int j = 0; j < 8; j++) sum[m][n][j / 4][j % 4] = 0;
    }

    // Only the first `rows` x `columns` squares are computed.
    template <bool KA, bool KB>
    __device__ void add(Shared<const T> a, int lda, Shared<const T> b, int ldb, int depth, int rows = M,
                        int columns = N) {
        const int lane = threadIdx.x % 32, r = lane / 4, c = lane % 4;
#pragma unroll 1
        for (int k = 0; k < depth; k += 4) {
            float x[2 * M][4];  // (row, k)
#pragma unroll
            for (int m = 0; m < 2 * M; m++) {
                const int row = (m / 2 < rows ? m / 2 : 0) * kBlock + m % 2 * 8 + r;
                if (KA) {
                    const Pack<T, 4> pack = load_pack<4, T>(a + row * lda + k);
#pragma unroll
                    for (int i = 0; i < 4; i++) x[m][i] = to_float(pack.x[i]);
                } else {
#pragma unroll
                    for (int i = 0; i < 4; i++) x[m][i] = to_float(a[(k + i) * lda + row]);
                }
            }
            if (KB) {
#pragma unroll
                for (int n = 0; n < N; n++) {
                    if (n >= columns) break;
#pragma unroll
                    for (int j = 0; j < 4; j++) {
                        const Pack<T, 4> y = load_pack<4, T>(b + (n * kBlock + c + 4 * j) * ldb + k);
#pragma unroll
                        for (int i = 0; i < 4; i++)
#pragma unroll
                            for (int m = 0; m < 2 * M; m++) sum[m / 2][n][m % 2][j] += x[m][i] * to_float(y.x[i]);
                    }
                }
            } else {
#pragma unroll
                for (int i = 0; i < 4; i++)
#pragma unroll
                    for (int n = 0; n < N; n++) {
                        if (n >= columns) break;
                        const Pack<T, 4> y = load_pack<4, T>(b + (k + i) * ldb + n * kBlock + 4 * c);
#pragma unroll
                        for (int j = 0; j < 4; j++)
#pragma unroll
                            for (int m = 0; m < 2 * M; m++) sum[m / 2][n][m % 2][j] += x[m][i] * to_float(y.x[j]);
                    }
            }
        }
    }

    template <bool KB>
    __device__ void store(int m, int n, Shared<float> to, int pitch) const {
        const int lane = threadIdx.x % 32, r = lane / 4, c = lane % 4;
#pragma unroll
        for (int j = 0; j < 8; j++)
            to[(r + j / 4 * 8) * pitch + (KB ? c + j % 4 * 4 : 4 * c + j % 4)] = sum[m][n][j / 4][j % 4];
    }
};

template <class T, int M, int N>
struct Tensor {
    template <class Use, class Layout>
    using Fragment = nvcuda::wmma::fragment<Use, kBlock, kBlock, kBlock, T, Layout>;
    typedef nvcuda::wmma::row_major Rows;
    typedef nvcuda::wmma::col_major Columns;

    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kBlock, kBlock, kBlock, float> sum[M][N];

    __device__ void clear() {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < N; n++) nvcuda::wmma::fill_fragment(sum[m][n], 0.f);
    }

    template <bool KA, bool KB>
    __device__ void add(Shared<const T> a, int lda, Shared<const T> b, int ldb, int depth, int rows = M,
                        int columns = N) {
#pragma unroll 1
        for (int k = 0; k < depth; k += kBlock) {
            Fragment<nvcuda::wmma::matrix_a, typename std::conditional<KA, Rows, Columns>::type> x[M];
#pragma unroll
            for (int m = 0; m < M; m++)
                if (m < rows)
                    nvcuda::wmma::load_matrix_sync(x[m], KA ? a + m * kBlock * lda + k : a + k * lda + m * kBlock, lda);
#pragma unroll
            for (int n = 0; n < N; n++) {
                if (n >= columns) break;
                Fragment<nvcuda::wmma::matrix_b, typename std::conditional<KB, Columns, Rows>::type> y;
                nvcuda::wmma::load_matrix_sync(y, KB ? b + n * kBlock * ldb + k : b + k * ldb + n * kBlock, ldb);
#pragma unroll
                for (int m = 0; m < M; m++)
                    if (m < rows) nvcuda::wmma::mma_sync(sum[m][n], x[m], y, sum[m][n]);
            }
        }
    }

    template <bool KB>
    __device__ void store(int m, int n, Shared<float> to, int pitch) const {
        nvcuda::wmma::store_matrix_sync(to, sum[m][n], pitch, nvcuda::wmma::mem_row_major);
    }
};

template <class T>
struct HasTensorCores {
    static const bool value = true;
};
template <>
struct HasTensorCores<float> {
    static const bool value = false;
};
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
template <>
struct HasTensorCores<__nv_bfloat16> {
    static const bool value = false;
};
#endif

// Thread blocks per multiprocessor for __launch_bounds__: a thread may use 128 registers with two, 255 with one. Tensor
// cores on V100, and bfloat16 without tensor cores, need more than 128.
template <class T>
__host__ __device__ constexpr int side_by_side() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 750
    return 1;
#else
    return sizeof(T) == 4 || HasTensorCores<T>::value ? 2 : 1;
#endif
}

template <class T, int M, int N>
using Sums = typename std::conditional<HasTensorCores<T>::value, Tensor<T, M, N>, Simt<T, M, N>>::type;

}  // namespace cca

#endif  // CCA_CUDA_PRODUCT_CUH
