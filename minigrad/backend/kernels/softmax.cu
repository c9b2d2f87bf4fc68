// Softmax and its relatives, one block per row of n elements.

#define LOWEST -3.402823466e38f                     // the smallest float: never −inf, because −inf − (−inf) is NaN

// yⱼ = e^(xⱼ − max) / Σ e^(xⱼ − max)
template <class T> __global__ void softmax_rows(const T* x, T* y, int n) {
    x += (long long)blockIdx.x * n, y += (long long)blockIdx.x * n;
    float top = LOWEST;
    for EACH(j, n) top = fmaxf(top, (float)x[j]);
    top = block_max(top);
    float total = 0;
    for EACH(j, n) total += expf((float)x[j] - top);
    total = block_sum(total);
    for EACH(j, n) y[j] = T(expf((float)x[j] - top) / total);
}

// gx = y · (gy − Σ gy·y)
template <class T> __global__ void softmax_rows_backward(const T* gy, const T* y, T* gx, int n) {
    gy += (long long)blockIdx.x * n, y += (long long)blockIdx.x * n, gx += (long long)blockIdx.x * n;
    float along = 0;
    for EACH(j, n) along += (float)gy[j] * (float)y[j];
    along = block_sum(along);
    for EACH(j, n) gx[j] = T((float)y[j] * ((float)gy[j] - along));
}

// y = x − max − ln Σ e^(x − max)
template <class T> __global__ void log_softmax_rows(const T* x, T* y, int n) {
    x += (long long)blockIdx.x * n, y += (long long)blockIdx.x * n;
    float top = LOWEST;
    for EACH(j, n) top = fmaxf(top, (float)x[j]);
    top = block_max(top);
    float total = 0;
    for EACH(j, n) total += expf((float)x[j] - top);
    total = logf(block_sum(total));
    for EACH(j, n) y[j] = T((float)x[j] - top - total);
}

// gx = gy − e^y · Σ gy
template <class T> __global__ void log_softmax_rows_backward(const T* gy, const T* y, T* gx, int n) {
    gy += (long long)blockIdx.x * n, y += (long long)blockIdx.x * n, gx += (long long)blockIdx.x * n;
    float total = 0;
    for EACH(j, n) total += (float)gy[j];
    total = block_sum(total);
    for EACH(j, n) gx[j] = T((float)gy[j] - expf((float)y[j]) * total);
}

// p = softmax of (s + additive) over what is visible; 0 elsewhere, and in a row that sees nothing. May be done in place.
// visible: `rows` rows of n, used again and again for the rows of s; null: all visible. additive: like s, or null.
template <class T>
__global__ void masked_softmax_rows(const T* s, const bool* visible, const T* additive, T* p, int n, int rows) {
    const long long row = (long long)blockIdx.x * n;
    s += row, p += row;
    if (additive) additive += row;
    if (visible) visible += (long long)(blockIdx.x % rows) * n;
    float top = LOWEST, total = 0;
    for EACH(j, n) {
        if (visible && !visible[j]) continue;
        top = fmaxf(top, (float)s[j] + (additive ? (float)additive[j] : 0.0f));
    }
    top = block_max(top);
    for EACH(j, n) {
        if (visible && !visible[j]) continue;
        total += expf((float)s[j] + (additive ? (float)additive[j] : 0.0f) - top);
    }
    total = block_sum(total);
    for EACH(j, n) {                                // in place: s[j] is read by the thread that writes p[j], and before it
        if (total == 0 || (visible && !visible[j])) p[j] = T(0.0f);
        else p[j] = T(expf((float)s[j] + (additive ? (float)additive[j] : 0.0f) - top) / total);
    }
}
