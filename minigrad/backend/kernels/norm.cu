// Layer norm and RMS norm, one block per row of D elements. weight and bias may be null.

// y = x̂·w + b,  x̂ = (x − mean)·r,  r = 1/√(mean (x − mean)² + ε)
template <class T>
__global__ void layer_norm_rows(const T* x, const T* weight, const T* bias, T* y, T* r, int D, float eps) {
    x += (long long)blockIdx.x * D, y += (long long)blockIdx.x * D;
    float mean = 0, var = 0;
    for EACH(j, D) mean += (float)x[j];
    mean = block_sum(mean) / D;
    for EACH(j, D) var += ((float)x[j] - mean) * ((float)x[j] - mean);
    const float scale = 1.0f / sqrtf(block_sum(var) / D + eps);
    for EACH(j, D) {
        const float h = ((float)x[j] - mean) * scale;
        y[j] = T(h * (weight ? (float)weight[j] : 1.0f) + (bias ? (float)bias[j] : 0.0f));
    }
    if (threadIdx.x == 0) r[blockIdx.x] = T(scale);
}

// gx = r·(g − mean g − x̂·mean(g·x̂)) with g = gy·w; and gy·x̂, whose sum over rows is gw. Either may be null
template <class T>
__global__ void layer_norm_rows_backward(const T* gy, const T* x, const T* r, const T* weight, T* gx, T* gy_xhat, int D) {
    const long long start = (long long)blockIdx.x * D;
    const float scale = r[blockIdx.x];
    gy += start, x += start;
    float center = 0, mean = 0, along = 0;
    for EACH(j, D) center += (float)x[j];
    center = block_sum(center) / D;
    for EACH(j, D) {
        const float g = (float)gy[j] * (weight ? (float)weight[j] : 1.0f), h = ((float)x[j] - center) * scale;
        mean += g;
        along += g * h;
        if (gy_xhat) gy_xhat[start + j] = T((float)gy[j] * h);
    }
    if (!gx) return;
    mean = block_sum(mean) / D;
    along = block_sum(along) / D;
    for EACH(j, D) {
        const float g = (float)gy[j] * (weight ? (float)weight[j] : 1.0f), h = ((float)x[j] - center) * scale;
        gx[start + j] = T(scale * (g - mean - h * along));
    }
}

// y = x̂·w,  x̂ = x·r,  r = 1/√(mean x² + ε)
template <class T>
__global__ void rms_norm_rows(const T* x, const T* weight, T* y, T* xhat, T* r, int D, float eps) {
    x += (long long)blockIdx.x * D, y += (long long)blockIdx.x * D, xhat += (long long)blockIdx.x * D;
    float square = 0;
    for EACH(j, D) square += (float)x[j] * (float)x[j];
    const float scale = 1.0f / sqrtf(block_sum(square) / D + eps);
    for EACH(j, D) {
        xhat[j] = T((float)x[j] * scale);
        y[j] = T((float)x[j] * scale * (weight ? (float)weight[j] : 1.0f));
    }
    if (threadIdx.x == 0) r[blockIdx.x] = T(scale);
}

// gx = r·(g − x̂·mean(g·x̂)) with g = gy·w
template <class T>
__global__ void rms_norm_rows_backward(const T* gy, const T* xhat, const T* r, const T* weight, T* gx, int D) {
    gy += (long long)blockIdx.x * D, xhat += (long long)blockIdx.x * D, gx += (long long)blockIdx.x * D;
    float along = 0;
    for EACH(j, D) along += (float)gy[j] * (weight ? (float)weight[j] : 1.0f) * (float)xhat[j];
    along = block_sum(along) / D;
    for EACH(j, D) {
        const float g = (float)gy[j] * (weight ? (float)weight[j] : 1.0f);
        gx[j] = T((float)r[blockIdx.x] * (g - (float)xhat[j] * along));
    }
}
