// The forward pass image by image: both axes of an image directly after one another, with one scratch image for the
// sums of all images. The kernels are those of cuda_forward.cuh.
//
// Counted for 8x512x97x97 in 16 bits: v of an image has 9.6 MB and its sums in float32 19 MB. The L2 cache of an H100
// holds 50 MB (A100: 40). So the second axis finds v and the sums in the cache, and since the next image overwrites the
// same sums, they need not go to memory: v is read once and out written once, 214 MB with the statistics instead of
// 619 MB. That is 71 us at 3 TB/s instead of 206; what remains is the traffic between L2 and the multiprocessors, which
// does not change, and 16 launches instead of 2. A block for channels of a whole image in shared memory (12 channels in
// 227 KB) was considered: each of its 43 blocks an image needs all weights of the image, 1.25 GB in all from L2, and
// clusters to share them.
//
// It has not run on a card, so it is only used on request (CCA_BOTH_AXES=1).
#ifndef CCA_CUDA_BOTH_AXES_CUH
#define CCA_CUDA_BOTH_AXES_CUH

#ifndef CCA_CUDA_CUH
#    include "cca_cuda.cuh"
#endif

namespace cca {

// Like forward_cuda. sums: (C, S), of one image; for float it is not used.
template <class T>
void forward_by_image(const Call& call, const T* q, const T* k, const T* v, T* out, float* stats, float* sums) {
    const i64 plane = call.passes()[0].axis.plane;
    Call image = call;
    image.batch = 1;
    statistics_cuda<T>(call, q, k, stats);
    for (i64 b = 0; b < call.batch; b++) {
        const T* const here = v + b * call.c * plane;
        T* const to = out + b * call.c * plane;
        const i64 keys = b * call.cq * plane;
        values_cuda<T>(image, {q + keys, k + keys, here, stats + b * plane, stats + (call.batch + b) * plane,
                               sizeof(T) == 4 ? reinterpret_cast<float*>(to) : sums, to});
    }
}

}  // namespace cca

#endif  // CCA_CUDA_BOTH_AXES_CUH
