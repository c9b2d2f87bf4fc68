// One pass over the flat arrays of an optimizer: each number is read once and written once.

// m ← β₁m + (1−β₁)g;  v ← β₂v + (1−β₂)g²;  p ← keep·p − step·m/(√v/root + ε)
// keep = 1 − lr·λ (AdamW), l2 = λ (Adam: g ← g + λp), step = lr/(1−β₁ᵗ), root = √(1−β₂ᵗ); new1 = 1−β₁, new2 = 1−β₂.
template <class T>
__global__ void adam(T* p, const T* g, T* m, T* v, long long n, float beta1, float new1, float beta2, float new2,
                     float keep, float l2, float step, float root, float eps) {
    for EACH_OF_ALL(i, n) {
        const float old = (float)p[i] * keep, gi = (float)g[i] + l2 * old;
        const float mi = (float)m[i] * beta1 + new1 * gi, vi = (float)v[i] * beta2 + new2 * (gi * gi);
        m[i] = T(mi);
        v[i] = T(vi);
        p[i] = T(old - step * mi / (sqrtf(vi) / root + eps));
    }
}

// g ← g·factor (1/loss scale), and overflow ← 1 if a result is infinite or NaN (whoever finds one writes the same 1)
template <class T> __global__ void unscale(const T* g, T* out, float* overflow, long long n, float factor) {
    for EACH_OF_ALL(i, n) {
        const T scaled = T((float)g[i] * factor);
        out[i] = scaled;
        if (!(fabsf((float)scaled) <= 3.402823466e38f)) *overflow = 1.0f;
    }
}
