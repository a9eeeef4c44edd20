// cuda_fp16.h and cuda_bf16.h for the simulator: numbers of 16 bits, rounded to nearest even after each operation.
#pragma once
CNNLAB_INLINE float cnnlab_half_to_float(unsigned short bits) {
    float f = __uint_as_float((bits & 0x7fffu) << 13) * 0x1p112f;  // right for subnormals too
    if ((bits & 0x7c00) == 0x7c00) f = __uint_as_float(0x7f800000u | (bits & 0x3ffu) << 13);
    return bits >> 15 ? -f : f;
}
CNNLAB_INLINE unsigned short cnnlab_float_to_half(float x) {
    unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000) return sign | 0x7fff;
    if (u >= 0x477ff000) return sign | 0x7c00;  // 65520 and more
    if (u < 0x38800000) return sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - 0x3f000000);
    return sign | ((u + 0xc8000fff + (u >> 13 & 1)) >> 13);
}
CNNLAB_INLINE float cnnlab_bf_to_float(unsigned short bits) { return __uint_as_float((unsigned)bits << 16); }
CNNLAB_INLINE unsigned short cnnlab_float_to_bf(float x) {
    unsigned u = __float_as_uint(x);
    return (u & 0x7fffffff) > 0x7f800000 ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
// T: the number, T2: a pair of them; the functions have the same names for both formats.
#define CNNLAB_REAL16(T, T2, to_float, from_float)                                                                      \
    struct T {                                                                                                         \
        unsigned short bits;                                                                                           \
        T() = default;                                                                                                 \
        T(float x) : bits(from_float(x)) {}                                                                            \
        T(double x) : T((float)x) {}                                                                                   \
        T(int x) : T((float)x) {}                                                                                      \
        T(unsigned x) : T((float)x) {}                                                                                 \
        operator float() const { return to_float(bits); }                                                              \
        T& operator+=(T o) { return *this = T((float)*this + (float)o); }                                              \
        T& operator-=(T o) { return *this = T((float)*this - (float)o); }                                              \
        T& operator*=(T o) { return *this = T((float)*this * (float)o); }                                              \
        T& operator/=(T o) { return *this = T((float)*this / (float)o); }                                              \
        T operator-() const { return T(-(float)*this); }                                                               \
    };                                                                                                                 \
    struct __attribute__((aligned(4))) T2 {                                                                            \
        T x, y;                                                                                                        \
        T2() = default;                                                                                                \
        T2(T x, T y) : x(x), y(y) {}                                                                                   \
    };                                                                                                                 \
    CNNLAB_OP16(T, T2, +, __hadd, __hadd2, __hadd_rn) CNNLAB_OP16(T, T2, -, __hsub, __hsub2, __hsub_rn)                \
    CNNLAB_OP16(T, T2, *, __hmul, __hmul2, __hmul_rn) CNNLAB_OP16(T, T2, /, __hdiv, __h2div, __hdiv_rn)                \
    CNNLAB_ORDER16(T, T2, <, __hlt) CNNLAB_ORDER16(T, T2, >, __hgt) CNNLAB_ORDER16(T, T2, <=, __hle)                   \
    CNNLAB_ORDER16(T, T2, >=, __hge) CNNLAB_ORDER16(T, T2, ==, __heq) CNNLAB_ORDER16(T, T2, !=, __hne)                 \
    CNNLAB_MATH16(T, T2, exp) CNNLAB_MATH16(T, T2, exp2) CNNLAB_MATH16(T, T2, log) CNNLAB_MATH16(T, T2, log2)          \
    CNNLAB_MATH16(T, T2, sqrt) CNNLAB_MATH16(T, T2, sin) CNNLAB_MATH16(T, T2, cos) CNNLAB_MATH16(T, T2, floor)         \
    CNNLAB_MATH16(T, T2, ceil) CNNLAB_MATH16(T, T2, tanh) CNNLAB_MATH16(T, T2, trunc) CNNLAB_MATH16(T, T2, rint)       \
    CNNLAB_INLINE T hrcp(T a) { return T(1.0f / (float)a); }                                                           \
    CNNLAB_INLINE T hrsqrt(T a) { return T(1.0f / __builtin_sqrtf(a)); }                                               \
    CNNLAB_INLINE T __habs(T a) { return T(__builtin_fabsf(a)); }                                                      \
    CNNLAB_INLINE T __hneg(T a) { return -a; }                                                                         \
    CNNLAB_INLINE bool __hisnan(T a) { return __builtin_isnan((float)a); }                                             \
    CNNLAB_INLINE int __hisinf(T a) { return __builtin_isinf_sign((float)a); }                                         \
    CNNLAB_INLINE T __hadd_sat(T a, T b) { return T(__saturatef((float)a + (float)b)); }                               \
    CNNLAB_INLINE T __hmul_sat(T a, T b) { return T(__saturatef((float)a * (float)b)); }                               \
    CNNLAB_INLINE T2 h2rcp(T2 a) { return {hrcp(a.x), hrcp(a.y)}; }                                                    \
    CNNLAB_INLINE T2 h2rsqrt(T2 a) { return {hrsqrt(a.x), hrsqrt(a.y)}; }                                              \
    CNNLAB_INLINE bool operator==(T2 a, T2 b) { return a.x == b.x && a.y == b.y; }                                     \
    CNNLAB_INLINE T2 __lowhigh2highlow(T2 a) { return {a.y, a.x}; }                                                    \
    CNNLAB_INLINE T __hfma(T a, T b, T c) { return T((double)(float)a * (float)b + (float)c); }                        \
    CNNLAB_INLINE T __hfma_relu(T a, T b, T c) { T r = __hfma(a, b, c); return (float)r > 0 ? r : T(0); }              \
    CNNLAB_INLINE T __hmax(T a, T b) { return (float)a > (float)b ? a : b; }                                           \
    CNNLAB_INLINE T __hmin(T a, T b) { return (float)a < (float)b ? a : b; }                                           \
    CNNLAB_INLINE T2 operator-(T2 a) { return {-a.x, -a.y}; }                                                          \
    CNNLAB_INLINE T2 __hneg2(T2 a) { return -a; }                                                                      \
    CNNLAB_INLINE T2 __habs2(T2 a) { return {__habs(a.x), __habs(a.y)}; }                                              \
    CNNLAB_INLINE T2 __hfma2(T2 a, T2 b, T2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }              \
    CNNLAB_INLINE T2 __hmax2(T2 a, T2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }                              \
    CNNLAB_INLINE T2 __hmin2(T2 a, T2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }                              \
    CNNLAB_INLINE float __low2float(T2 v) { return v.x; }                                                              \
    CNNLAB_INLINE float __high2float(T2 v) { return v.y; }
#define CNNLAB_OP16(T, T2, op, name, name2, name3)                                                                      \
    CNNLAB_INLINE T operator op(T a, T b) { return T((float)a op (float)b); }                                          \
    CNNLAB_INLINE T name(T a, T b) { return a op b; }                                                                  \
    CNNLAB_INLINE T name3(T a, T b) { return a op b; }                                                                 \
    CNNLAB_INLINE T2 operator op(T2 a, T2 b) { return {a.x op b.x, a.y op b.y}; }                                      \
    CNNLAB_INLINE T2& operator op##=(T2& a, T2 b) { return a = a op b; }                                               \
    CNNLAB_INLINE T2 name2(T2 a, T2 b) { return a op b; }
#define CNNLAB_ORDER16(T, T2, op, name)                                                                                 \
    CNNLAB_INLINE bool operator op(T a, T b) { return (float)a op (float)b; }                                          \
    CNNLAB_INLINE bool name(T a, T b) { return a op b; }                                                               \
    CNNLAB_INLINE T2 name##2(T2 a, T2 b) { return {T(a.x op b.x), T(a.y op b.y)}; }
#define CNNLAB_MATH16(T, T2, name)                                                                                      \
    CNNLAB_INLINE T h##name(T a) { return T(__builtin_##name##f(a)); }                                                 \
    CNNLAB_INLINE T2 h2##name(T2 a) { return {h##name(a.x), h##name(a.y)}; }
CNNLAB_REAL16(__half, __half2, cnnlab_half_to_float, cnnlab_float_to_half)
CNNLAB_REAL16(__nv_bfloat16, __nv_bfloat162, cnnlab_bf_to_float, cnnlab_float_to_bf)
typedef __half half; typedef __half2 half2; typedef __nv_bfloat16 nv_bfloat16; typedef __nv_bfloat162 nv_bfloat162;

#define CNNLAB_CONVERT16(T, T2, half, half2, pair)                                                                      \
    CNNLAB_INLINE T __float2##half(float x) { return T(x); }                                                           \
    CNNLAB_INLINE T __float2##half##_rn(float x) { return T(x); }                                                      \
    CNNLAB_INLINE float __##half##2float(T x) { return x; }                                                            \
    CNNLAB_INLINE T __int2##half##_rn(int x) { return T(x); }                                                          \
    CNNLAB_INLINE T __uint2##half##_rn(unsigned x) { return T(x); }                                                    \
    CNNLAB_INLINE T __double2##half(double x) { return T(x); }                                                         \
    CNNLAB_INLINE T __short2##half##_rn(short x) { return T((int)x); }                                                 \
    CNNLAB_INLINE T __ushort2##half##_rn(unsigned short x) { return T((int)x); }                                       \
    CNNLAB_INLINE unsigned __##half##2uint_rn(T x) { return (unsigned)__builtin_rintf(x); }                            \
    CNNLAB_INLINE int __##half##2int_rn(T x) { return (int)__builtin_rintf(x); }                                       \
    CNNLAB_INLINE int __##half##2int_rz(T x) { return (int)(float)x; }                                                 \
    CNNLAB_INLINE unsigned short __##half##_as_ushort(T x) { return x.bits; }                                          \
    CNNLAB_INLINE T __ushort_as_##half(unsigned short b) { T x; x.bits = b; return x; }                                \
    CNNLAB_INLINE T2 pair(T x, T y) { return {x, y}; }                                                                 \
    CNNLAB_INLINE T2 __halves2##half2(T x, T y) { return {x, y}; }                                                     \
    CNNLAB_INLINE T2 __##half##2##half2(T x) { return {x, x}; }                                                        \
    CNNLAB_INLINE T2 __floats2##half2##_rn(float x, float y) { return {T(x), T(y)}; }                                  \
    CNNLAB_INLINE T2 __float2##half2##_rn(float x) { return {T(x), T(x)}; }                                            \
    CNNLAB_INLINE T2 __float22##half2##_rn(float2 v) { return {T(v.x), T(v.y)}; }                                      \
    CNNLAB_INLINE float2 __##half2##2float2(T2 v) { return {v.x, v.y}; }                                               \
    CNNLAB_INLINE T __low2##half(T2 v) { return v.x; }                                                                 \
    CNNLAB_INLINE T __high2##half(T2 v) { return v.y; }                                                                \
    CNNLAB_INLINE T2 __low2##half2(T2 v) { return {v.x, v.x}; }                                                        \
    CNNLAB_INLINE T2 __high2##half2(T2 v) { return {v.y, v.y}; }                                                       \
    CNNLAB_INLINE T2 __lows2##half2(T2 a, T2 b) { return {a.x, b.x}; }                                                 \
    CNNLAB_INLINE T2 __highs2##half2(T2 a, T2 b) { return {a.y, b.y}; }
CNNLAB_CONVERT16(__half, __half2, half, half2, make_half2)
CNNLAB_CONVERT16(__nv_bfloat16, __nv_bfloat162, bfloat16, bfloat162, make_bfloat162)
