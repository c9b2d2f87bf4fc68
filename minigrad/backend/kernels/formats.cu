// Float arrays rounded to the grid of a narrower format: y = the representable number nearest to x. One kernel per format,
// and only operations that every machine does alike, so that the bits are the same everywhere. x and y may be one array.

__device__ float not_a_number() { return __uint_as_float(0x7fc00000u); }

// To nearest, ties to even, for m mantissa bits and exponents emin … emax. Adding M = 1.5·2^(e + 23 − m), whose last bit is
// worth the format's, makes float's own addition do the rounding; below 2^emin the last bit stays where it is (subnormals).
__device__ float narrowed(float x, int m, int emin, int emax, float largest, float beyond) {
    if (x != x) return x;
    unsigned e = __float_as_uint(x) & 0x7f800000u;
    const unsigned low = (unsigned)(emin + 127) << 23, high = (unsigned)(emax + 128) << 23;
    e = e < low ? low : e > high ? high : e;
    const float M = __uint_as_float((e + ((unsigned)(23 - m) << 23)) | 0x400000u);
    const float y = (x + M) - M;
    return copysignf(fabsf(y) > largest ? beyond : y, x);
}

// 5 exponent bits, 10 mantissa bits; beyond 65504 infinity
__global__ void round_fp16(const float* x, float* y, long long n) {
    for EACH_OF_ALL(i, n) y[i] = narrowed(x[i], 10, -14, 15, 65504.0f, __uint_as_float(0x7f800000u));
}

// 4 exponent bits, 3 mantissa bits, no infinity: beyond 448 NaN
__global__ void round_fp8_e4m3(const float* x, float* y, long long n) {
    for EACH_OF_ALL(i, n) y[i] = narrowed(x[i], 3, -6, 8, 448.0f, not_a_number());
}

// 5 exponent bits, 2 mantissa bits; beyond 57344 infinity
__global__ void round_fp8_e5m2(const float* x, float* y, long long n) {
    for EACH_OF_ALL(i, n) y[i] = narrowed(x[i], 2, -14, 15, 57344.0f, __uint_as_float(0x7f800000u));
}

// float without its lower 16 bits, to nearest, ties to even; a carry past the largest number makes infinity by itself
__global__ void round_bf16(const float* x, float* y, long long n) {
    for EACH_OF_ALL(i, n) {
        const unsigned u = __float_as_uint(x[i]);
        y[i] = x[i] != x[i] ? x[i] : __uint_as_float((u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u);
    }
}

// float without its lower 13 bits, likewise
__global__ void round_tf32(const float* x, float* y, long long n) {
    for EACH_OF_ALL(i, n) {
        const unsigned u = __float_as_uint(x[i]);
        y[i] = x[i] != x[i] ? x[i] : __uint_as_float((u + 0xfffu + ((u >> 13) & 1u)) & 0xffffe000u);
    }
}
