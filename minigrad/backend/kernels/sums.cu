// Sums over rows whose order is always the same, so that the same run gives the same bits.

// part[c, j] = Σ x[i, j] over the rows i of chunk c: neighboring threads read neighboring columns.
// A second launch, on the parts as one chunk, makes the sum of all rows: the gradient of a bias.
template <class T, class S>
__global__ void column_sum(const T* x, S* part, int N, int D, int rows_per_chunk) {
    const int first = blockIdx.y * rows_per_chunk;
    for EACH_OF_ALL(j, D) {
        float total = 0;
        for (int i = first; i < N && i < first + rows_per_chunk; ++i) total += (float)x[(long long)i * D + j];
        part[(long long)blockIdx.y * D + j] = S(total);
    }
}

// gw[row[k]] = Σ gy[order[i]] for i from start[k] to start[k+1]: one block per row that was used, in a fixed order.
// plan holds the three lists one after the other: order (n), start (used + 1), row (used).
template <class T>
__global__ void embedding_gradient_in_order(const T* gy, const long long* plan, T* gw, int n, int used, int D) {
    const long long *order = plan, *start = plan + n, *row = start + used + 1;
    const int k = blockIdx.x;
    for EACH(j, D) {
        float total = 0;
        for (long long i = start[k]; i < start[k + 1]; ++i) total += (float)gy[order[i] * D + j];
        gw[row[k] * D + j] = T(total);
    }
}

// gw[ids[i]] += gy[i], all at once: faster when few rows get many gradients, but the order, and so the last bit, varies.
__global__ void embedding_gradient_atomic(const float* gy, const long long* ids, float* gw, long long n, int D) {
    for EACH_OF_ALL(i, n) atomicAdd(gw + ids[i / D] * D + i % D, gy[i]);
}
