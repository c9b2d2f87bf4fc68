// What every kernel here may use. A row kernel is run by one block per row: its threads share the row's elements,
//     for (int j = threadIdx.x; j < n; j += blockDim.x) …
// and add up what each has found with block_sum. Nothing depends on how many threads there are, only that their number
// is a power of two, at most 1024; one thread alone is legal, which is how a CPU can run the same source.
#include <cuda_fp16.h>                              // __half: half-precision storage; all arithmetic here is in float

#define EACH(j, n) (int j = threadIdx.x; j < (n); j += blockDim.x)
#define EACH_OF_ALL(i, n)                                                                                    \
    (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (long long)gridDim.x * blockDim.x)

// Σ v over the threads of the block, given to all of them. Halves are folded onto each other: 8 threads need 3 rounds.
__device__ float block_sum(float v) {
    __shared__ float s[1024];
    s[threadIdx.x] = v;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) s[threadIdx.x] += s[threadIdx.x + half];
        __syncthreads();
    }
    v = s[0];
    __syncthreads();                                // nobody writes the next sum before everybody has read this one
    return v;
}

// The largest v of the block's threads, given to all of them.
__device__ float block_max(float v) {
    __shared__ float s[1024];
    s[threadIdx.x] = v;
    __syncthreads();
    for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) s[threadIdx.x] = s[threadIdx.x + half] > s[threadIdx.x] ? s[threadIdx.x + half]
                                                                                        : s[threadIdx.x];
        __syncthreads();
    }
    v = s[0];
    __syncthreads();
    return v;
}
