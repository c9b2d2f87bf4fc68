// The loss of a language model, one block per row of V scores: the row is read twice and its log-probabilities written.

// loss = −log_p[target] where the row is valid, else 0;  log_p = x − max − ln Σ e^(x − max)
template <class T>
__global__ void cross_entropy_rows(const T* x, const long long* targets, const bool* valid, T* loss, T* log_p, int V) {
    x += (long long)blockIdx.x * V, log_p += (long long)blockIdx.x * V;
    float top = LOWEST;
    for EACH(j, V) top = fmaxf(top, (float)x[j]);
    top = block_max(top);
    float total = 0;
    for EACH(j, V) total += expf((float)x[j] - top);
    total = logf(block_sum(total));
    for EACH(j, V) log_p[j] = T((float)x[j] - top - total);
    if (threadIdx.x == 0)
        loss[blockIdx.x] = T(valid[blockIdx.x] ? total - ((float)x[targets[blockIdx.x]] - top) : 0.0f);
}

// gx = gy · (e^log_p − (1−ε)·[j = target] − ε/V) where the row is valid, else 0
template <class T>
__global__ void cross_entropy_rows_backward(const T* gy, const T* log_p, const long long* targets, const bool* valid,
                                            T* gx, int V, float smoothing) {
    log_p += (long long)blockIdx.x * V, gx += (long long)blockIdx.x * V;
    const float g = valid[blockIdx.x] ? (float)gy[blockIdx.x] : 0.0f, even = smoothing / V;
    const int target = (int)targets[blockIdx.x];
    for EACH(j, V) gx[j] = T(g * (expf((float)log_p[j]) - even - (j == target ? 1.0f - smoothing : 0.0f)));
}
