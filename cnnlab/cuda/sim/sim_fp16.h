// cuda_fp16.h for the simulator: numbers of 16 bits, rounded to nearest even after each operation.
#pragma once
struct __half {
    unsigned short bits;
    __half() = default;
    __half(float x) : bits(round(x)) {}
    __half(double x) : __half((float)x) {}
    __half(int x) : __half((float)x) {}
    operator float() const {
        float f = __uint_as_float((bits & 0x7fffu) << 13) * 0x1p112f;  // right for subnormals too
        if ((bits & 0x7c00) == 0x7c00) f = __uint_as_float(0x7f800000u | (bits & 0x3ffu) << 13);
        return bits >> 15 ? -f : f;
    }
    static unsigned short round(float x) {
        unsigned u = __float_as_uint(x), sign = u >> 16 & 0x8000;
        u &= 0x7fffffff;
        if (u > 0x7f800000) return sign | 0x7fff;
        if (u >= 0x477ff000) return sign | 0x7c00;  // 65520 and more
        if (u < 0x38800000) return sign | (__float_as_uint(__uint_as_float(u) + 0.5f) - 0x3f000000);
        return sign | ((u + 0xc8000fff + (u >> 13 & 1)) >> 13);
    }
    __half& operator+=(__half o) { return *this = __half((float)*this + (float)o); }
    __half& operator*=(__half o) { return *this = __half((float)*this * (float)o); }
};
typedef __half half;
#define CNNLAB_HALF(op, name)                                                                         \
    CNNLAB_INLINE __half operator op(__half a, __half b) { return __half((float)a op (float)b); }     \
    CNNLAB_INLINE __half name(__half a, __half b) { return a op b; }
CNNLAB_HALF(+, __hadd) CNNLAB_HALF(-, __hsub) CNNLAB_HALF(*, __hmul) CNNLAB_HALF(/, __hdiv)
#undef CNNLAB_HALF
CNNLAB_INLINE __half __hfma(__half a, __half b, __half c) { return __half((double)(float)a * (float)b + (float)c); }
CNNLAB_INLINE __half __hmax(__half a, __half b) { return (float)a > (float)b ? a : b; }
CNNLAB_INLINE __half __hmin(__half a, __half b) { return (float)a < (float)b ? a : b; }
CNNLAB_INLINE __half __float2half(float x) { return __half(x); }
CNNLAB_INLINE __half __float2half_rn(float x) { return __half(x); }
CNNLAB_INLINE float __half2float(__half x) { return x; }
struct __attribute__((aligned(4))) __half2 { __half x, y; };
typedef __half2 half2;
CNNLAB_INLINE __half2 make_half2(__half x, __half y) { return {x, y}; }
CNNLAB_INLINE __half2 __halves2half2(__half x, __half y) { return {x, y}; }
CNNLAB_INLINE __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
CNNLAB_INLINE __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
CNNLAB_INLINE float2 __half22float2(__half2 v) { return {v.x, v.y}; }
CNNLAB_INLINE float __low2float(__half2 v) { return v.x; }
CNNLAB_INLINE float __high2float(__half2 v) { return v.y; }
CNNLAB_INLINE __half2 __hadd2(__half2 a, __half2 b) { return {a.x + b.x, a.y + b.y}; }
CNNLAB_INLINE __half2 __hmul2(__half2 a, __half2 b) { return {a.x * b.x, a.y * b.y}; }
CNNLAB_INLINE __half2 __hfma2(__half2 a, __half2 b, __half2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }
