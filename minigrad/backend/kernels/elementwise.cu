// Element by element: a fixed number of threads goes through the array in strides, however long it is.

// y = ½x(1 + tanh u), u = √(2/π)(x + 0.044715x³);  slope = dy/dx, unless null
template <class T> __global__ void gelu_tanh(const T* x, T* y, T* slope, long long n) {
    const float c = 0.7978845608028654f, cubic = 0.044715f;
    for EACH_OF_ALL(i, n) {
        const float v = (float)x[i], t = tanhf(c * v * (1.0f + cubic * v * v));
        y[i] = T(0.5f * v * (1.0f + t));
        if (slope) slope[i] = T(0.5f * (1.0f + t) + 0.5f * v * (1.0f - t * t) * c * (1.0f + 3.0f * cubic * v * v));
    }
}

// y = erf x = 2/√π ∫₀ˣ e^(−t²) dt
template <class T> __global__ void erf_elements(const T* x, T* y, long long n) {
    for EACH_OF_ALL(i, n) y[i] = T(erff((float)x[i]));
}

// y = 1/(1 + e^−x), with an exponent that is never positive
template <class T> __global__ void sigmoid_elements(const T* x, T* y, long long n) {
    for EACH_OF_ALL(i, n) {
        const float v = (float)x[i], e = expf(-fabsf(v));
        y[i] = T((v >= 0 ? 1.0f : e) / (1.0f + e));
    }
}

// y[i, j] += b[j], in place: y (N, D), b (D,)
template <class T> __global__ void add_bias(T* y, const T* b, long long n, int D) {
    for EACH_OF_ALL(i, n) y[i] = T((float)y[i] + (float)b[i % D]);
}
