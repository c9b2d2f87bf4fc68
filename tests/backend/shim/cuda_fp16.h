// Stands in for CUDA when g++ compiles minigrad/backend/kernels: the words of CUDA C++ that they use, on a CPU.
//
// A block's threads are run one after the other, each until it reaches __syncthreads() or its end; when all have, the next
// round begins. Odd rounds go backwards through the threads, if asked: a kernel that forgets a barrier then gives another
// result. A barrier that some threads reach and others do not, a hang on a GPU, is reported.
#pragma once
#include <ucontext.h>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

typedef _Float16 __half;
#define __global__
#define __device__ static
#define __shared__ static

struct Dim { unsigned x, y, z; };
static Dim threadIdx, blockIdx, blockDim, gridDim;

static const int MOST = 1024, STACK = 64 * 1024;
static ucontext_t scheduler, threads[MOST];
static bool finished[MOST];
static std::vector<char> stacks;
static std::function<void()>* body;

static void __syncthreads() {
    if (blockDim.x > 1) swapcontext(&threads[threadIdx.x], &scheduler);
}
static float atomicAdd(float* place, float value) { float old = *place; *place += value; return old; }

static unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
static float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }

static void run_thread() {
    (*body)();
    finished[threadIdx.x] = true;
    swapcontext(&threads[threadIdx.x], &scheduler);
}

static bool run_block(bool back_and_forth) {
    const unsigned n = blockDim.x;
    if (n == 1) { threadIdx.x = 0; (*body)(); return true; }
    stacks.resize((size_t)MOST * STACK);
    for (unsigned t = 0; t < n; ++t) {
        finished[t] = false;
        getcontext(&threads[t]);
        threads[t].uc_stack.ss_sp = stacks.data() + (size_t)t * STACK;
        threads[t].uc_stack.ss_size = STACK;
        threads[t].uc_link = nullptr;
        makecontext(&threads[t], run_thread, 0);
    }
    for (unsigned round = 0;; ++round) {
        unsigned ended = 0;
        for (unsigned i = 0; i < n; ++i) {
            threadIdx.x = back_and_forth && round % 2 ? n - 1 - i : i;
            swapcontext(&scheduler, &threads[threadIdx.x]);
        }
        for (unsigned t = 0; t < n; ++t) ended += finished[t];
        if (ended == n) return true;
        if (ended > 0) return false;
    }
}

// ---- kernels by name, with the types of their parameters: * writes, & reads only ----

template <class A> struct Code;
template <> struct Code<float> { static std::string s() { return "f"; } };
template <> struct Code<__half> { static std::string s() { return "h"; } };
template <> struct Code<int> { static std::string s() { return "i"; } };
template <> struct Code<long long> { static std::string s() { return "l"; } };
template <> struct Code<bool> { static std::string s() { return "b"; } };
template <> struct Code<unsigned char> { static std::string s() { return "u"; } };
template <class A> struct Code<A*> { static std::string s() { return "*" + Code<A>::s(); } };
template <class A> struct Code<const A*> { static std::string s() { return "&" + Code<A>::s(); } };

struct Entry { std::string types; std::function<void(void**)> call; };

template <class... A, size_t... I> void unpack(void (*kernel)(A...), void** args, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(args[I])...);
}
template <class... A> Entry entry(void (*kernel)(A...)) {
    std::string types;
    ((types += Code<A>::s() + " "), ...);
    return {types, [kernel](void** args) { unpack(kernel, args, std::index_sequence_for<A...>()); }};
}

static std::map<std::string, Entry>& table();

extern "C" const char* types_of(const char* name) {
    auto found = table().find(name);
    return found == table().end() ? nullptr : found->second.types.c_str();
}
extern "C" int launch(const char* name, unsigned x, unsigned y, unsigned n, int back_and_forth, void** args) {
    std::function<void()> call = [&] { table()[name].call(args); };
    body = &call;
    gridDim = {x, y, 1}, blockDim = {n, 1, 1}, threadIdx = {0, 0, 0};
    for (blockIdx.y = 0; blockIdx.y < y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < x; ++blockIdx.x)
            if (!run_block(back_and_forth)) return 1;
    return 0;
}
