// What the CUDA compiler provides by itself, for a host compiler: force-included before a student's kernel.
// No system header is included: that would double the compile time and let host functions in.
#pragma once

// ---- qualifiers ------------------------------------------------------------------------------
#define SIM_TEXT_(x) #x
#define SIM_TEXT(x) SIM_TEXT_(x)
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// The launcher answers __tls_get_addr, and so gives every shared array a place with room around it.
#define __shared__ static thread_local __attribute__((tls_model("global-dynamic")))
#define __constant__ __attribute__((aligned(128), section("cuda_constant." SIM_TEXT(__COUNTER__))))
#define SIM_HOOK static __attribute__((noinline, unused, no_sanitize("thread"), no_sanitize("undefined")))
#define SIM_INLINE static inline __attribute__((unused))
#define SIM_PC __builtin_return_address(0)
#define __CUDACC__ 1
#define __CUDA_ARCH__ 900

typedef decltype(sizeof(0)) size_t;
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned uint32_t; typedef unsigned long uint64_t;
typedef unsigned long uintptr_t; typedef long intptr_t; typedef long ptrdiff_t;
typedef unsigned char uchar; typedef unsigned short ushort; typedef unsigned uint; typedef unsigned long ulong;
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define FLT_MAX __FLT_MAX__
#define FLT_MIN __FLT_MIN__
#define FLT_EPSILON __FLT_EPSILON__
#define DBL_MAX __DBL_MAX__
#define INT_MAX __INT_MAX__
#define INT_MIN (-__INT_MAX__ - 1)
#define UINT_MAX (__INT_MAX__ * 2u + 1u)
#define CUDART_INF_F __builtin_inff()
#define M_PI 3.14159265358979323846

// ---- vector types ----------------------------------------------------------------------------
#define SIM_VECTORS(T, name, a1, a2, a4)                                                           \
    struct __attribute__((aligned(a1))) name##1 { T x; };                                          \
    struct __attribute__((aligned(a2))) name##2 { T x, y; };                                       \
    struct name##3 { T x, y, z; };                                                                 \
    struct __attribute__((aligned(a4))) name##4 { T x, y, z, w; };                                 \
    SIM_INLINE name##1 make_##name##1(T x) { return {x}; }                                         \
    SIM_INLINE name##2 make_##name##2(T x, T y) { return {x, y}; }                                 \
    SIM_INLINE name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                         \
    SIM_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
SIM_VECTORS(signed char, char, 1, 2, 4)
SIM_VECTORS(unsigned char, uchar, 1, 2, 4)
SIM_VECTORS(short, short, 2, 4, 8)
SIM_VECTORS(unsigned short, ushort, 2, 4, 8)
SIM_VECTORS(int, int, 4, 8, 16)
SIM_VECTORS(unsigned, uint, 4, 8, 16)
SIM_VECTORS(long long, longlong, 8, 16, 16)
SIM_VECTORS(unsigned long long, ulonglong, 8, 16, 16)
SIM_VECTORS(float, float, 4, 8, 16)
SIM_VECTORS(double, double, 8, 16, 16)
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

struct SimDim {  // as dim3; but without a constructor, so that a constant one counts as read-only
    unsigned x, y, z;
    operator dim3() const { return dim3(x, y, z); }
};
// Constant for the student, so that the compiler may keep them in registers and does not trace them.
extern const uint3 threadIdx __asm__("sim_threadIdx"), blockIdx __asm__("sim_blockIdx");
extern const SimDim blockDim __asm__("sim_blockDim"), gridDim __asm__("sim_gridDim");
static constexpr int warpSize = 32;

// ---- the launcher's side ---------------------------------------------------------------------
struct SimWarp { const unsigned long* values; unsigned lanes; };  // what each lane brought, and who came
extern "C" {
extern char sim_dynamic_shared[];
int sim_barrier(int line, int predicate, int op);
void sim_syncwarp(int line, unsigned mask);
SimWarp sim_warp(const char* what, unsigned mask, unsigned long value, void* pc);
unsigned sim_activemask(void* pc);
void sim_bad_lane(const char* what, int lane, void* pc);
void sim_atomic(void* address, unsigned size, void* pc);
void sim_fence();
void sim_trap(const char* what, int line);
long long sim_clock();
int printf(const char*, ...) __asm__("sim_printf");
}

// ---- barriers, fences ------------------------------------------------------------------------
#define __syncthreads() sim_barrier(__LINE__, 0, 0)
#define __syncthreads_count(p) sim_barrier(__LINE__, (p) != 0, 1)
#define __syncthreads_and(p) sim_barrier(__LINE__, (p) != 0, 2)
#define __syncthreads_or(p) sim_barrier(__LINE__, (p) != 0, 3)
static inline void sim_syncwarp_(int line, unsigned mask = 0xffffffffu) { sim_syncwarp(line, mask); }
#define __syncwarp(...) sim_syncwarp_(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __threadfence() sim_fence()
#define __threadfence_block() sim_fence()
#define __threadfence_system() sim_fence()
#define __trap() sim_trap("__trap() was called", __LINE__)
#define assert(x) ((x) ? (void)0 : sim_trap("assertion failed: " #x, __LINE__))
#define __builtin_assume(x) ((void)0)
SIM_INLINE long long clock64() { return sim_clock(); }
SIM_INLINE int clock() { return (int)sim_clock(); }
SIM_INLINE void __nanosleep(unsigned) {}

// ---- warp intrinsics -------------------------------------------------------------------------
template <class T> struct SimSame { typedef T type; };
template <class T> SIM_INLINE unsigned long sim_bits(T v) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned long b = 0;
    __builtin_memcpy(&b, &v, sizeof v);
    return b;
}
template <class T> SIM_INLINE T sim_value(unsigned long b) {
    T v;
    __builtin_memcpy(&v, &b, sizeof v);
    return v;
}
SIM_INLINE unsigned sim_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}
template <class T> SIM_HOOK T sim_shuffle(const char* what, unsigned mask, T v, int source, void* pc) {
    SimWarp w = sim_warp(what, mask, sim_bits(v), pc);
    if (!(w.lanes >> (source & 31) & 1)) sim_bad_lane(what, source & 31, pc);
    return sim_value<T>(w.values[source & 31]);
}
template <class T> SIM_HOOK T __shfl_sync(unsigned mask, T v, int source, int width = 32) {
    int base = sim_lane() & ~(width - 1);
    return sim_shuffle("__shfl_sync", mask, v, base + (source & (width - 1)), SIM_PC);
}
template <class T> SIM_HOOK T __shfl_up_sync(unsigned mask, T v, unsigned delta, int width = 32) {
    int lane = sim_lane(), source = lane - (int)delta;
    return sim_shuffle("__shfl_up_sync", mask, v, source < (lane & ~(width - 1)) ? lane : source, SIM_PC);
}
template <class T> SIM_HOOK T __shfl_down_sync(unsigned mask, T v, unsigned delta, int width = 32) {
    int lane = sim_lane(), source = lane + (int)delta;
    return sim_shuffle("__shfl_down_sync", mask, v, source > (lane | (width - 1)) ? lane : source, SIM_PC);
}
template <class T> SIM_HOOK T __shfl_xor_sync(unsigned mask, T v, int bits, int width = 32) {
    int lane = sim_lane(), source = lane ^ bits;
    return sim_shuffle("__shfl_xor_sync", mask, v, source > (lane | (width - 1)) ? lane : source, SIM_PC);
}
SIM_HOOK unsigned sim_ballot(SimWarp w) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) votes |= (unsigned)((w.lanes >> i & 1) && w.values[i]) << i;
    return votes;
}
SIM_HOOK unsigned __ballot_sync(unsigned mask, int p) { return sim_ballot(sim_warp("__ballot_sync", mask, p != 0, SIM_PC)); }
SIM_HOOK int __any_sync(unsigned mask, int p) { return sim_ballot(sim_warp("__any_sync", mask, p != 0, SIM_PC)) != 0; }
SIM_HOOK int __all_sync(unsigned mask, int p) {
    SimWarp w = sim_warp("__all_sync", mask, p != 0, SIM_PC);
    return sim_ballot(w) == w.lanes;
}
template <class T> SIM_HOOK unsigned __match_any_sync(unsigned mask, T v) {
    SimWarp w = sim_warp("__match_any_sync", mask, sim_bits(v), SIM_PC);
    unsigned same = 0;
    for (int i = 0; i < 32; ++i) same |= (unsigned)((w.lanes >> i & 1) && w.values[i] == sim_bits(v)) << i;
    return same;
}
#define SIM_REDUCE(name, step)                                                                     \
    template <class T> SIM_HOOK T name(unsigned mask, T v) {                                       \
        SimWarp w = sim_warp(#name, mask, sim_bits(v), SIM_PC);                                    \
        T r = v;                                                                                   \
        for (int i = 0; i < 32; ++i)                                                               \
            if (i != (int)sim_lane() && (w.lanes >> i & 1)) { T x = sim_value<T>(w.values[i]); r = step; } \
        return r;                                                                                  \
    }
SIM_REDUCE(__reduce_add_sync, r + x)
SIM_REDUCE(__reduce_min_sync, x < r ? x : r)
SIM_REDUCE(__reduce_max_sync, x > r ? x : r)
SIM_REDUCE(__reduce_and_sync, r & x)
SIM_REDUCE(__reduce_or_sync, r | x)
SIM_REDUCE(__reduce_xor_sync, r ^ x)
#undef SIM_REDUCE
SIM_HOOK unsigned __activemask() { return sim_activemask(SIM_PC); }

// ---- atomics ---------------------------------------------------------------------------------
#define SIM_ATOMIC(name, update)                                                                   \
    template <class T> SIM_HOOK T name(T* p, typename SimSame<T>::type v) {                        \
        sim_atomic((void*)p, sizeof *p, SIM_PC);                                                   \
        T old = *p;                                                                                \
        *p = update;                                                                               \
        return old;                                                                                \
    }
SIM_ATOMIC(atomicAdd, old + v)
SIM_ATOMIC(atomicSub, old - v)
SIM_ATOMIC(atomicExch, v)
SIM_ATOMIC(atomicMin, v < old ? v : old)
SIM_ATOMIC(atomicMax, v > old ? v : old)
SIM_ATOMIC(atomicAnd, old & v)
SIM_ATOMIC(atomicOr, old | v)
SIM_ATOMIC(atomicXor, old ^ v)
SIM_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
SIM_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
#undef SIM_ATOMIC
template <class T> SIM_HOOK T atomicCAS(T* p, typename SimSame<T>::type expected, typename SimSame<T>::type v) {
    sim_atomic((void*)p, sizeof *p, SIM_PC);
    T old = *p;
    if (old == expected) *p = v;
    return old;
}

// ---- arithmetic ------------------------------------------------------------------------------
template <class A, class B> SIM_INLINE constexpr auto min(A a, B b) -> decltype(1 ? A() : B()) { return a < b ? a : b; }
template <class A, class B> SIM_INLINE constexpr auto max(A a, B b) -> decltype(1 ? A() : B()) { return a > b ? a : b; }
#define SIM_MATH1(name)                                                                            \
    extern "C" double name(double) noexcept;                                                       \
    extern "C" float name##f(float) noexcept;                                                      \
    SIM_INLINE float name(float x) { return __builtin_##name##f(x); }                              \
    SIM_INLINE double name(int x) { return __builtin_##name((double)x); }
SIM_MATH1(sqrt) SIM_MATH1(cbrt) SIM_MATH1(exp) SIM_MATH1(exp2) SIM_MATH1(expm1) SIM_MATH1(log) SIM_MATH1(log2)
SIM_MATH1(log10) SIM_MATH1(log1p) SIM_MATH1(sin) SIM_MATH1(cos) SIM_MATH1(tan) SIM_MATH1(asin) SIM_MATH1(acos)
SIM_MATH1(atan) SIM_MATH1(sinh) SIM_MATH1(cosh) SIM_MATH1(tanh) SIM_MATH1(erf) SIM_MATH1(floor) SIM_MATH1(ceil)
SIM_MATH1(trunc) SIM_MATH1(round) SIM_MATH1(rint) SIM_MATH1(fabs)
#undef SIM_MATH1
#define SIM_MATH2(name)                                                                            \
    extern "C" double name(double, double) noexcept;                                               \
    extern "C" float name##f(float, float) noexcept;                                               \
    SIM_INLINE float name(float x, float y) { return __builtin_##name##f(x, y); }
SIM_MATH2(pow) SIM_MATH2(fmod) SIM_MATH2(atan2) SIM_MATH2(hypot) SIM_MATH2(fmax) SIM_MATH2(fmin) SIM_MATH2(copysign)
#undef SIM_MATH2
extern "C" int abs(int) noexcept;
SIM_INLINE float abs(float x) { return __builtin_fabsf(x); }
SIM_INLINE double abs(double x) { return __builtin_fabs(x); }
SIM_INLINE long long abs(long long x) { return x < 0 ? -x : x; }
// Contraction is off here, so a fused multiply-add is exact only where it is asked for, as the guide says.
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double fma(double, double, double) noexcept;
SIM_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
SIM_INLINE float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
SIM_INLINE double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
SIM_INLINE float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
#define __expf(x) __builtin_expf(x)
#define __exp10f(x) __builtin_exp10f(x)
#define __logf(x) __builtin_logf(x)
#define __log2f(x) __builtin_log2f(x)
#define __sinf(x) __builtin_sinf(x)
#define __cosf(x) __builtin_cosf(x)
#define __tanf(x) __builtin_tanf(x)
#define __powf(x, y) __builtin_powf(x, y)
#define __fdividef(x, y) ((float)(x) / (float)(y))
#define __fmaf_rn(a, b, c) __builtin_fmaf(a, b, c)
#define __fadd_rn(a, b) ((float)(a) + (float)(b))
#define __fmul_rn(a, b) ((float)(a) * (float)(b))
#define __frcp_rn(a) (1.0f / (float)(a))
#define __fsqrt_rn(a) __builtin_sqrtf(a)
#define __frsqrt_rn(a) (1.0f / __builtin_sqrtf(a))
#define __mul24(a, b) ((int)(a) * (int)(b))
#define __umul24(a, b) ((unsigned)(a) * (unsigned)(b))
SIM_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
SIM_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
SIM_INLINE int __clz(int x) { return x ? __builtin_clz(x) : 32; }
SIM_INLINE int __ffs(int x) { return __builtin_ffs(x); }
SIM_INLINE unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
    return r;
}
SIM_INLINE int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
    return c;
}
SIM_INLINE int __float_as_int(float x) { return sim_value<int>(sim_bits(x)); }
SIM_INLINE unsigned __float_as_uint(float x) { return sim_value<unsigned>(sim_bits(x)); }
SIM_INLINE float __int_as_float(int x) { return sim_value<float>(sim_bits(x)); }
SIM_INLINE float __uint_as_float(unsigned x) { return sim_value<float>(sim_bits(x)); }
SIM_INLINE int __float2int_rn(float x) { return (int)__builtin_rintf(x); }
SIM_INLINE int __float2int_rd(float x) { return (int)__builtin_floorf(x); }
SIM_INLINE int __float2int_ru(float x) { return (int)__builtin_ceilf(x); }
SIM_INLINE int __float2int_rz(float x) { return (int)x; }
SIM_INLINE unsigned __float2uint_rn(float x) { return (unsigned)__builtin_rintf(x); }
SIM_INLINE float __int2float_rn(int x) { return (float)x; }
SIM_INLINE float __uint2float_rn(unsigned x) { return (float)x; }
#define __ldg(p) (*(p))
#define __ldca(p) (*(p))
#define __ldcg(p) (*(p))
#define __ldcs(p) (*(p))
#define __stcs(p, v) (*(p) = (v))
SIM_INLINE void* sim_memcpy(void* to, const void* from, size_t n) {
    for (size_t i = 0; i < n; ++i) ((char*)to)[i] = ((const char*)from)[i];
    return to;
}
SIM_INLINE void* sim_memset(void* to, int v, size_t n) {
    for (size_t i = 0; i < n; ++i) ((char*)to)[i] = (char)v;
    return to;
}
#define memcpy sim_memcpy
#define memset sim_memset

// ---- calling a kernel without parsing its parameters: void** as for cuLaunchKernel -----------
template <unsigned... I> struct SimIndices {};
template <class... A, unsigned... I>
SIM_HOOK void sim_call(void (*kernel)(A...), void** a, SimIndices<I...>) { kernel(*(A*)a[I]...); }
template <class... A> SIM_HOOK void sim_call(void (*kernel)(A...), void** a) {
    sim_call(kernel, a, SimIndices<__integer_pack(sizeof...(A))...>());
}
// The text of this function's name holds the parameter types; the parent finds it in the object.
template <class... A> const char* sim_signature(void (*)(A...)) { return __PRETTY_FUNCTION__; }
