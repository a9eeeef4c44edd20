// What the CUDA compiler provides by itself, for a host compiler: force-included before a student's kernel.
// No system header is included: that would double the compile time and let host functions in.
#pragma once

// ---- qualifiers ------------------------------------------------------------------------------
#define CNNLAB_TEXT_(x) #x
#define CNNLAB_TEXT(x) CNNLAB_TEXT_(x)
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
#define __constant__ __attribute__((aligned(128), section("cuda_constant." CNNLAB_TEXT(__COUNTER__))))
#define CNNLAB_HOOK static __attribute__((noinline, unused, no_sanitize("thread"), no_sanitize("undefined")))
#define CNNLAB_INLINE static inline __attribute__((unused))
#define CNNLAB_PC __builtin_return_address(0)
#define __builtin_align__(n) __align__(n)
#define __CUDACC__ 1
#define __CUDACC_VER_MAJOR__ 13
#define __CUDA_ARCH__ 900

typedef decltype(sizeof(0)) size_t;
typedef long ptrdiff_t;
#include "sim_names.h"
namespace std {  // for `for (int i : {1, 2, 3})`; its members' order is the compiler's own
template <class T> class initializer_list {
    const T* first;
    size_t count;
public:
    constexpr const T* begin() const noexcept { return first; }
    constexpr const T* end() const noexcept { return first + count; }
    constexpr size_t size() const noexcept { return count; }
};
}

// ---- vector types ----------------------------------------------------------------------------
#define CNNLAB_VECTORS(T, name, a1, a2, a4)                                                           \
    struct __attribute__((aligned(a1))) name##1 { T x; };                                          \
    struct __attribute__((aligned(a2))) name##2 { T x, y; };                                       \
    struct name##3 { T x, y, z; };                                                                 \
    struct __attribute__((aligned(a4))) name##4 { T x, y, z, w; };                                 \
    CNNLAB_INLINE name##1 make_##name##1(T x) { return {x}; }                                         \
    CNNLAB_INLINE name##2 make_##name##2(T x, T y) { return {x, y}; }                                 \
    CNNLAB_INLINE name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                         \
    CNNLAB_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CNNLAB_VECTORS(signed char, char, 1, 2, 4)
CNNLAB_VECTORS(unsigned char, uchar, 1, 2, 4)
CNNLAB_VECTORS(short, short, 2, 4, 8)
CNNLAB_VECTORS(unsigned short, ushort, 2, 4, 8)
CNNLAB_VECTORS(int, int, 4, 8, 16)
CNNLAB_VECTORS(unsigned, uint, 4, 8, 16)
CNNLAB_VECTORS(long, long, 8, 16, 16)
CNNLAB_VECTORS(unsigned long, ulong, 8, 16, 16)
CNNLAB_VECTORS(long long, longlong, 8, 16, 16)
CNNLAB_VECTORS(unsigned long long, ulonglong, 8, 16, 16)
CNNLAB_VECTORS(float, float, 4, 8, 16)
CNNLAB_VECTORS(double, double, 8, 16, 16)
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 v) : x(v.x), y(v.y), z(v.z) {}
};

struct CnnlabDim {  // as dim3; but without a constructor, so that a constant one counts as read-only
    unsigned x, y, z;
    operator dim3() const { return dim3(x, y, z); }
};
// Constant for the student, so that the compiler may keep them in registers and does not trace them.
extern const uint3 threadIdx __asm__("cnnlab_threadIdx"), blockIdx __asm__("cnnlab_blockIdx");
extern const CnnlabDim blockDim __asm__("cnnlab_blockDim"), gridDim __asm__("cnnlab_gridDim");
static constexpr int warpSize = 32;

// ---- the launcher's side ---------------------------------------------------------------------
struct CnnlabWarp { const unsigned long* values; unsigned lanes; };  // what each lane brought, and who came
extern "C" {
extern char cnnlab_dynamic_shared[];
int cnnlab_barrier(int line, int predicate, int op);
void cnnlab_syncwarp(int line, unsigned mask);
CnnlabWarp cnnlab_warp(const char* what, unsigned mask, unsigned long value, void* pc);
unsigned cnnlab_activemask(void* pc);
void cnnlab_bad_lane(const char* what, int lane, void* pc);
void cnnlab_atomic(void* address, unsigned size, bool block, bool adds, void* pc);  // block: for one block's threads only
void cnnlab_fence(bool block);
void cnnlab_trap(const char* what, int line);
long long cnnlab_clock();
void cnnlab_frame(void* frame);
int printf(const char*, ...) __asm__("cnnlab_printf");
}

// ---- barriers, fences ------------------------------------------------------------------------
#define __syncthreads() cnnlab_barrier(__LINE__, 0, 0)
#define __syncthreads_count(p) cnnlab_barrier(__LINE__, (p) != 0, 1)
#define __syncthreads_and(p) cnnlab_barrier(__LINE__, (p) != 0, 2)
#define __syncthreads_or(p) cnnlab_barrier(__LINE__, (p) != 0, 3)
static inline void cnnlab_syncwarp_(int line, unsigned mask = 0xffffffffu) { cnnlab_syncwarp(line, mask); }
#define __syncwarp(...) cnnlab_syncwarp_(__LINE__ __VA_OPT__(, ) __VA_ARGS__)
#define __threadfence() cnnlab_fence(false)
#define __threadfence_block() cnnlab_fence(true)
#define __threadfence_system() cnnlab_fence(false)
#define __trap() cnnlab_trap("__trap() was called", __LINE__)
#define assert(x) ((x) ? (void)0 : cnnlab_trap("assertion failed: " #x, __LINE__))
#define __builtin_assume(x) ((void)0)
CNNLAB_INLINE long long clock64() { return cnnlab_clock(); }
CNNLAB_INLINE int clock() { return (int)cnnlab_clock(); }
CNNLAB_INLINE void __nanosleep(unsigned) {}

// ---- warp intrinsics -------------------------------------------------------------------------
template <class T> struct CnnlabSame { typedef T type; };
template <class T> CNNLAB_INLINE unsigned long cnnlab_bits(T v) {
    static_assert(sizeof(T) <= 8, "a shuffle moves at most 8 bytes");
    unsigned long b = 0;
    __builtin_memcpy(&b, &v, sizeof v);
    return b;
}
template <class T> CNNLAB_INLINE T cnnlab_value(unsigned long b) {
    T v;
    __builtin_memcpy(&v, &b, sizeof v);
    return v;
}
CNNLAB_INLINE unsigned cnnlab_lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31;
}
template <class T> CNNLAB_HOOK T cnnlab_shuffle(const char* what, unsigned mask, T v, int source, void* pc) {
    CnnlabWarp w = cnnlab_warp(what, mask, cnnlab_bits(v), pc);
    if (!(w.lanes >> (source & 31) & 1)) cnnlab_bad_lane(what, source & 31, pc);
    return cnnlab_value<T>(w.values[source & 31]);
}
#define CNNLAB_SHUFFLE(name, type, x, place) /* a lane's own value where that is beyond its group */   \
    template <class T> CNNLAB_HOOK T name(unsigned mask, T v, type x, int width = 32) {            \
        int lane = cnnlab_lane(), base = lane & ~(width - 1), source = place;                      \
        return cnnlab_shuffle(#name, mask, v, source < base + width ? source : lane, CNNLAB_PC);   \
    }
CNNLAB_SHUFFLE(__shfl_sync, int, i, base + (i & (width - 1)))
CNNLAB_SHUFFLE(__shfl_up_sync, unsigned, d, lane - (int)d < base ? lane : lane - (int)d)
CNNLAB_SHUFFLE(__shfl_down_sync, unsigned, d, lane + (int)d)
CNNLAB_SHUFFLE(__shfl_xor_sync, int, bits, lane ^ bits)
CNNLAB_HOOK unsigned cnnlab_ballot(CnnlabWarp w) {
    unsigned votes = 0;
    for (int i = 0; i < 32; ++i) votes |= (unsigned)((w.lanes >> i & 1) && w.values[i]) << i;
    return votes;
}
CNNLAB_HOOK unsigned __ballot_sync(unsigned mask, int p) { return cnnlab_ballot(cnnlab_warp("__ballot_sync", mask, p != 0, CNNLAB_PC)); }
CNNLAB_HOOK int __any_sync(unsigned mask, int p) { return cnnlab_ballot(cnnlab_warp("__any_sync", mask, p != 0, CNNLAB_PC)) != 0; }
CNNLAB_HOOK int __all_sync(unsigned mask, int p) {
    CnnlabWarp w = cnnlab_warp("__all_sync", mask, p != 0, CNNLAB_PC);
    return cnnlab_ballot(w) == w.lanes;
}
template <class T> CNNLAB_HOOK unsigned __match_any_sync(unsigned mask, T v) {
    CnnlabWarp w = cnnlab_warp("__match_any_sync", mask, cnnlab_bits(v), CNNLAB_PC);
    unsigned same = 0;
    for (int i = 0; i < 32; ++i) same |= (unsigned)((w.lanes >> i & 1) && w.values[i] == cnnlab_bits(v)) << i;
    return same;
}
#define CNNLAB_REDUCE(name, step)                                                                     \
    template <class T> CNNLAB_HOOK T name(unsigned mask, T v) {                                       \
        CnnlabWarp w = cnnlab_warp(#name, mask, cnnlab_bits(v), CNNLAB_PC);                                    \
        T r = v;                                                                                   \
        for (int i = 0; i < 32; ++i)                                                               \
            if (i != (int)cnnlab_lane() && (w.lanes >> i & 1)) { T x = cnnlab_value<T>(w.values[i]); r = step; } \
        return r;                                                                                  \
    }
CNNLAB_REDUCE(__reduce_add_sync, r + x)
CNNLAB_REDUCE(__reduce_min_sync, x < r ? x : r)
CNNLAB_REDUCE(__reduce_max_sync, x > r ? x : r)
CNNLAB_REDUCE(__reduce_and_sync, r & x)
CNNLAB_REDUCE(__reduce_or_sync, r | x)
CNNLAB_REDUCE(__reduce_xor_sync, r ^ x)
template <class T> CNNLAB_HOOK unsigned __match_all_sync(unsigned mask, T v, int* all) {
    CnnlabWarp w = cnnlab_warp("__match_all_sync", mask, cnnlab_bits(v), CNNLAB_PC);
    *all = 1;
    for (int i = 0; i < 32; ++i) *all &= !(w.lanes >> i & 1) || w.values[i] == cnnlab_bits(v);
    return *all ? mask : 0;
}
CNNLAB_HOOK unsigned __activemask() { return cnnlab_activemask(CNNLAB_PC); }

// ---- atomics ---------------------------------------------------------------------------------
template <class T> struct CnnlabWhole { static constexpr bool value = false; };
#define CNNLAB_WHOLE(T) template <> struct CnnlabWhole<T> { static constexpr bool value = true; };
CNNLAB_WHOLE(int) CNNLAB_WHOLE(unsigned) CNNLAB_WHOLE(long) CNNLAB_WHOLE(unsigned long) CNNLAB_WHOLE(long long)
CNNLAB_WHOLE(unsigned long long)
#define CNNLAB_ATOMIC1(name, block, adds, whole, update)                                           \
    template <class T> CNNLAB_HOOK T name(T* p, typename CnnlabSame<T>::type v) {                  \
        static_assert(!whole || CnnlabWhole<T>::value, #name " takes integers only");              \
        cnnlab_atomic((void*)p, sizeof *p, block, adds, CNNLAB_PC);                                \
        T old = *p;                                                                                \
        *p = update;                                                                               \
        return old;                                                                                \
    }
#define CNNLAB_ATOMIC(name, adds, whole, update)                                                   \
    CNNLAB_ATOMIC1(name, false, adds, whole, update) CNNLAB_ATOMIC1(name##_block, true, adds, whole, update) \
    CNNLAB_ATOMIC1(name##_system, false, adds, whole, update)
CNNLAB_ATOMIC(atomicAdd, true, false, old + v)
CNNLAB_ATOMIC(atomicSub, true, true, old - v)
CNNLAB_ATOMIC(atomicExch, false, false, v)
CNNLAB_ATOMIC(atomicMin, false, true, v < old ? v : old)
CNNLAB_ATOMIC(atomicMax, false, true, v > old ? v : old)
CNNLAB_ATOMIC(atomicAnd, false, true, old & v)
CNNLAB_ATOMIC(atomicOr, false, true, old | v)
CNNLAB_ATOMIC(atomicXor, false, true, old ^ v)
CNNLAB_ATOMIC(atomicInc, true, true, old >= v ? 0 : old + 1)
CNNLAB_ATOMIC(atomicDec, true, true, old == 0 || old > v ? v : old - 1)
#define CNNLAB_CAS(name, block)                                                                    \
    template <class T> CNNLAB_HOOK T name(T* p, typename CnnlabSame<T>::type expected, typename CnnlabSame<T>::type v) { \
        cnnlab_atomic((void*)p, sizeof *p, block, false, CNNLAB_PC);                               \
        T old = *p;                                                                                \
        if (old == expected) *p = v;                                                               \
        return old;                                                                                \
    }
CNNLAB_CAS(atomicCAS, false) CNNLAB_CAS(atomicCAS_block, true) CNNLAB_CAS(atomicCAS_system, false)

// ---- arithmetic ------------------------------------------------------------------------------
// CUDA's own overloads, so that what is ambiguous there (a float and an int) is so here.
#define CNNLAB_LEAST(R, A, B)                                                                      \
    CNNLAB_INLINE constexpr R min(A a, B b) { return (R)a < (R)b ? a : b; }                        \
    CNNLAB_INLINE constexpr R max(A a, B b) { return (R)a > (R)b ? a : b; }
#define CNNLAB_LEASTS(S, U) CNNLAB_LEAST(S, S, S) CNNLAB_LEAST(U, U, U) CNNLAB_LEAST(U, U, S) CNNLAB_LEAST(U, S, U)
CNNLAB_LEASTS(int, unsigned) CNNLAB_LEASTS(long, unsigned long) CNNLAB_LEASTS(long long, unsigned long long)
CNNLAB_LEAST(float, float, float) CNNLAB_LEAST(double, double, double) CNNLAB_LEAST(double, double, float) CNNLAB_LEAST(double, float, double)
#define CNNLAB_MATH1(name)                                                                            \
    extern "C" double name(double) noexcept;                                                       \
    extern "C" float name##f(float) noexcept;                                                      \
    CNNLAB_INLINE float name(float x) { return __builtin_##name##f(x); }                              \
    CNNLAB_INLINE double name(int x) { return __builtin_##name((double)x); }
CNNLAB_MATH1(sqrt) CNNLAB_MATH1(cbrt) CNNLAB_MATH1(exp) CNNLAB_MATH1(exp2) CNNLAB_MATH1(expm1) CNNLAB_MATH1(log) CNNLAB_MATH1(log2)
CNNLAB_MATH1(log10) CNNLAB_MATH1(log1p) CNNLAB_MATH1(sin) CNNLAB_MATH1(cos) CNNLAB_MATH1(tan) CNNLAB_MATH1(asin) CNNLAB_MATH1(acos)
CNNLAB_MATH1(atan) CNNLAB_MATH1(sinh) CNNLAB_MATH1(cosh) CNNLAB_MATH1(tanh) CNNLAB_MATH1(erf) CNNLAB_MATH1(floor) CNNLAB_MATH1(ceil)
CNNLAB_MATH1(trunc) CNNLAB_MATH1(round) CNNLAB_MATH1(rint) CNNLAB_MATH1(fabs) CNNLAB_MATH1(nearbyint) CNNLAB_MATH1(erfc)
CNNLAB_MATH1(asinh) CNNLAB_MATH1(acosh) CNNLAB_MATH1(atanh) CNNLAB_MATH1(tgamma) CNNLAB_MATH1(lgamma) CNNLAB_MATH1(logb)
#define CNNLAB_MATH2(name)                                                                            \
    extern "C" double name(double, double) noexcept;                                               \
    extern "C" float name##f(float, float) noexcept;                                               \
    CNNLAB_INLINE float name(float x, float y) { return __builtin_##name##f(x, y); }
CNNLAB_MATH2(pow) CNNLAB_MATH2(fmod) CNNLAB_MATH2(atan2) CNNLAB_MATH2(hypot) CNNLAB_MATH2(fmax) CNNLAB_MATH2(fmin) CNNLAB_MATH2(copysign)
CNNLAB_MATH2(fdim) CNNLAB_MATH2(remainder)
extern "C" int abs(int) noexcept;
CNNLAB_INLINE float abs(float x) { return __builtin_fabsf(x); }
CNNLAB_INLINE double abs(double x) { return __builtin_fabs(x); }
CNNLAB_INLINE long long abs(long long x) { return x < 0 ? -x : x; }
// Contraction is off here, so a fused multiply-add is exact only where it is asked for, as the guide says.
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double fma(double, double, double) noexcept;
CNNLAB_INLINE float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
CNNLAB_INLINE float rsqrtf(float x) { return 1.0f / __builtin_sqrtf(x); }
CNNLAB_INLINE double rsqrt(double x) { return 1.0 / __builtin_sqrt(x); }
CNNLAB_INLINE void sincosf(float x, float* s, float* c) { *s = __builtin_sinf(x), *c = __builtin_cosf(x); }
CNNLAB_INLINE void sincos(double x, double* s, double* c) { *s = __builtin_sin(x), *c = __builtin_cos(x); }
CNNLAB_INLINE float fdividef(float x, float y) { return x / y; }
#define CNNLAB_OWN(T, f) /* what the C library lacks, in double and in float */                                \
    CNNLAB_INLINE T exp10##f(T x) { return pow(T(10), x); }                                                    \
    CNNLAB_INLINE T rcbrt##f(T x) { return 1 / cbrt(x); }                                                      \
    CNNLAB_INLINE T sinpi##f(T x) { return sin(x * T(3.14159265358979323846)); }                               \
    CNNLAB_INLINE T cospi##f(T x) { return cos(x * T(3.14159265358979323846)); }                               \
    CNNLAB_INLINE void sincospi##f(T x, T* s, T* c) { *s = sinpi##f(x), *c = cospi##f(x); }                    \
    CNNLAB_INLINE T normcdf##f(T x) { return erfc(x * T(-0.70710678118654752440)) / 2; }                       \
    CNNLAB_INLINE T erfcx##f(T x) { return exp(x * x) * erfc(x); }                                             \
    CNNLAB_INLINE T rhypot##f(T x, T y) { return 1 / hypot(x, y); }                                            \
    CNNLAB_INLINE T norm3d##f(T x, T y, T z) { return sqrt(x * x + y * y + z * z); }                           \
    CNNLAB_INLINE T rnorm3d##f(T x, T y, T z) { return 1 / norm3d##f(x, y, z); }                               \
    CNNLAB_INLINE T norm4d##f(T x, T y, T z, T w) { return sqrt(x * x + y * y + z * z + w * w); }              \
    CNNLAB_INLINE T ldexp##f(T x, int e) { return __builtin_ldexp##f(x, e); }                                  \
    CNNLAB_INLINE T scalbn##f(T x, int e) { return __builtin_ldexp##f(x, e); }                                 \
    CNNLAB_INLINE T frexp##f(T x, int* e) { return __builtin_frexp##f(x, e); }                                 \
    CNNLAB_INLINE T modf##f(T x, T* w) { return __builtin_modf##f(x, w); }                                     \
    CNNLAB_INLINE T nextafter##f(T x, T to) { return __builtin_nextafter##f(x, to); }                          \
    CNNLAB_INLINE T nan##f(const char*) { return __builtin_nan##f(""); }                                       \
    CNNLAB_INLINE int ilogb##f(T x) { return (int)logb(x); }                                                   \
    CNNLAB_INLINE long lround##f(T x) { return (long)round(x); }                                               \
    CNNLAB_INLINE long lrint##f(T x) { return (long)rint(x); }                                                 \
    CNNLAB_INLINE long long llround##f(T x) { return (long long)round(x); }                                    \
    CNNLAB_INLINE long long llrint##f(T x) { return (long long)rint(x); }
CNNLAB_OWN(double, ) CNNLAB_OWN(float, f)
CNNLAB_INLINE float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0f) : 0.0f; }
#define isnan(x) __builtin_isnan(x)
#define isinf(x) __builtin_isinf(x)
#define isfinite(x) __builtin_isfinite(x)
#define signbit(x) __builtin_signbit(x)
// The quick ones, and those that name their rounding, to nearest, as all are rounded here.
#define CNNLAB_QUICK(name) CNNLAB_INLINE float __##name##f(float x) { return __builtin_##name##f(x); }
CNNLAB_QUICK(exp) CNNLAB_QUICK(exp10) CNNLAB_QUICK(log) CNNLAB_QUICK(log2) CNNLAB_QUICK(log10)
CNNLAB_QUICK(sin) CNNLAB_QUICK(cos) CNNLAB_QUICK(tan) CNNLAB_QUICK(tanh)
CNNLAB_INLINE float __powf(float x, float y) { return __builtin_powf(x, y); }
CNNLAB_INLINE float __fdividef(float x, float y) { return x / y; }
CNNLAB_INLINE void __sincosf(float x, float* s, float* c) { sincosf(x, s, c); }
#define CNNLAB_NEAREST(k, T, f)                                                                    \
    CNNLAB_INLINE T __##k##add_rn(T a, T b) { return a + b; }                                      \
    CNNLAB_INLINE T __##k##sub_rn(T a, T b) { return a - b; }                                      \
    CNNLAB_INLINE T __##k##mul_rn(T a, T b) { return a * b; }                                      \
    CNNLAB_INLINE T __##k##div_rn(T a, T b) { return a / b; }                                      \
    CNNLAB_INLINE T __##k##rcp_rn(T a) { return 1 / a; }                                           \
    CNNLAB_INLINE T __##k##sqrt_rn(T a) { return __builtin_sqrt##f(a); }                           \
    CNNLAB_INLINE T __fma##f##_rn(T a, T b, T c) { return __builtin_fma##f(a, b, c); }
CNNLAB_NEAREST(f, float, f) CNNLAB_NEAREST(d, double, )
CNNLAB_INLINE float __frsqrt_rn(float a) { return 1 / __builtin_sqrtf(a); }
#define __mul24(a, b) ((int)(a) * (int)(b))
#define __umul24(a, b) ((unsigned)(a) * (unsigned)(b))
CNNLAB_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
CNNLAB_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
CNNLAB_INLINE int __clz(int x) { return x ? __builtin_clz(x) : 32; }
CNNLAB_INLINE int __ffs(int x) { return __builtin_ffs(x); }
CNNLAB_INLINE unsigned __brev(unsigned x) {
    unsigned r = 0;
    for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
    return r;
}
CNNLAB_INLINE int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
CNNLAB_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
CNNLAB_INLINE unsigned long long __brevll(unsigned long long x) {
    return (unsigned long long)__brev((unsigned)x) << 32 | __brev((unsigned)(x >> 32));
}
CNNLAB_INLINE long long __mul64hi(long long a, long long b) { return (__int128)a * b >> 64; }
CNNLAB_INLINE unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
CNNLAB_INLINE unsigned umin(unsigned a, unsigned b) { return a < b ? a : b; }
CNNLAB_INLINE unsigned umax(unsigned a, unsigned b) { return a > b ? a : b; }
CNNLAB_INLINE long long llmin(long long a, long long b) { return a < b ? a : b; }
CNNLAB_INLINE long long llmax(long long a, long long b) { return a > b ? a : b; }
CNNLAB_INLINE long long llabs(long long x) { return x < 0 ? -x : x; }
CNNLAB_INLINE long labs(long x) { return x < 0 ? -x : x; }
CNNLAB_INLINE int __hadd(int a, int b) { return ((long)a + b) >> 1; }
CNNLAB_INLINE int __rhadd(int a, int b) { return ((long)a + b + 1) >> 1; }
CNNLAB_INLINE unsigned __uhadd(unsigned a, unsigned b) { return ((unsigned long)a + b) >> 1; }
CNNLAB_INLINE unsigned __usad(unsigned a, unsigned b, unsigned c) { return c + (a > b ? a - b : b - a); }
CNNLAB_INLINE unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long)a * b >> 32; }
CNNLAB_INLINE int __mulhi(int a, int b) { return (long)a * b >> 32; }
CNNLAB_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) { return ((unsigned long)hi << 32 | lo) << (n & 31) >> 32; }
CNNLAB_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) { return ((unsigned long)hi << 32 | lo) >> (n & 31); }
CNNLAB_INLINE unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
    unsigned long both = (unsigned long)b << 32 | a;
    unsigned r = 0;
    for (int i = 0; i < 4; ++i) r |= (unsigned)(both >> 8 * (s >> 4 * i & 7) & 255) << 8 * i;
    return r;
}
CNNLAB_INLINE unsigned __vadd4(unsigned a, unsigned b) {
    unsigned r = 0;
    for (int i = 0; i < 32; i += 8) r |= ((a >> i) + (b >> i) & 255u) << i;
    return r;
}
CNNLAB_INLINE unsigned __sad(int a, int b, unsigned c) { return c + (a > b ? (unsigned)a - b : (unsigned)b - a); }
CNNLAB_INLINE unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
    return c;
}
CNNLAB_INLINE int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 32; i += 8) c += (int)(signed char)(a >> i) * (int)(signed char)(b >> i);
    return c;
}
CNNLAB_INLINE int __float_as_int(float x) { return cnnlab_value<int>(cnnlab_bits(x)); }
CNNLAB_INLINE unsigned __float_as_uint(float x) { return cnnlab_value<unsigned>(cnnlab_bits(x)); }
CNNLAB_INLINE float __int_as_float(int x) { return cnnlab_value<float>(cnnlab_bits(x)); }
CNNLAB_INLINE float __uint_as_float(unsigned x) { return cnnlab_value<float>(cnnlab_bits(x)); }
#define CNNLAB_ROUND(from, f, to, type) /* to nearest, to zero, down, up */                          \
    CNNLAB_INLINE type __##from##2##to##_rn(from x) { return (type)__builtin_rint##f(x); }         \
    CNNLAB_INLINE type __##from##2##to##_rz(from x) { return (type)x; }                            \
    CNNLAB_INLINE type __##from##2##to##_rd(from x) { return (type)__builtin_floor##f(x); }        \
    CNNLAB_INLINE type __##from##2##to##_ru(from x) { return (type)__builtin_ceil##f(x); }
#define CNNLAB_CONVERT(name, type)                                                                 \
    CNNLAB_ROUND(float, f, name, type) CNNLAB_ROUND(double, , name, type)                          \
    CNNLAB_INLINE float __##name##2float_rn(type x) { return (float)x; }                           \
    CNNLAB_INLINE double __##name##2double_rn(type x) { return (double)x; }
CNNLAB_CONVERT(int, int) CNNLAB_CONVERT(uint, unsigned) CNNLAB_CONVERT(ll, long long) CNNLAB_CONVERT(ull, unsigned long long)
CNNLAB_INLINE float __double2float_rn(double x) { return (float)x; }
CNNLAB_INLINE long long __double_as_longlong(double x) { return cnnlab_value<long long>(cnnlab_bits(x)); }
CNNLAB_INLINE double __longlong_as_double(long long x) { return cnnlab_value<double>(cnnlab_bits(x)); }
CNNLAB_INLINE int __double2loint(double x) { return (int)__double_as_longlong(x); }
CNNLAB_INLINE int __double2hiint(double x) { return (int)(__double_as_longlong(x) >> 32); }
CNNLAB_INLINE double __hiloint2double(int hi, int lo) { return __longlong_as_double((long long)hi << 32 | (unsigned)lo); }
// Loads and stores that give a cache a hint; inlined, so that they are at the student's line.
#define CNNLAB_LOAD(name) template <class T> CNNLAB_INLINE __attribute__((always_inline)) T name(const T* p) { return *p; }
#define CNNLAB_STORE(name) template <class T> CNNLAB_INLINE __attribute__((always_inline)) void name(T* p, typename CnnlabSame<T>::type v) { *p = v; }
CNNLAB_LOAD(__ldg) CNNLAB_LOAD(__ldca) CNNLAB_LOAD(__ldcg) CNNLAB_LOAD(__ldcs) CNNLAB_LOAD(__ldcv) CNNLAB_LOAD(__ldlu)
CNNLAB_STORE(__stcs) CNNLAB_STORE(__stcg) CNNLAB_STORE(__stwb) CNNLAB_STORE(__stwt)
CNNLAB_INLINE void* cnnlab_memcpy(void* to, const void* from, size_t n) {
    for (size_t i = 0; i < n; ++i) ((char*)to)[i] = ((const char*)from)[i];
    return to;
}
CNNLAB_INLINE void* cnnlab_memset(void* to, int v, size_t n) {
    for (size_t i = 0; i < n; ++i) ((char*)to)[i] = (char)v;
    return to;
}
#define memcpy cnnlab_memcpy
#define memset cnnlab_memset

// ---- calling a kernel without parsing its parameters: void** as for cuLaunchKernel -----------
template <unsigned... I> struct CnnlabIndices {};
template <class... A, unsigned... I>
CNNLAB_HOOK void cnnlab_call(void (*kernel)(A...), void** a, CnnlabIndices<I...>) {
    void (*volatile call)(A...) = kernel;  // not inlined, so that its locals have a frame of their own
    cnnlab_frame(__builtin_frame_address(0));
    call(*(A*)a[I]...);
}
template <class... A> CNNLAB_HOOK void cnnlab_call(void (*kernel)(A...), void** a) {
    cnnlab_call(kernel, a, CnnlabIndices<__integer_pack(sizeof...(A))...>());
}
// The text of this function's name holds the parameter types; the parent finds it in the object.
template <class... A> const char* cnnlab_signature(void (*)(A...)) { return __PRETTY_FUNCTION__; }
