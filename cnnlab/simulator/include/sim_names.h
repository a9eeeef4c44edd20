// What students take from headers that neither NVRTC nor the simulator has. For NVRTC it is read line by line
// (nvrtc.py): a macro that one of CUDA's own headers defines stays as it is.
#define NULL 0
#define __NVCC__ 1
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define HUGE_VALF INFINITY
#define CUDART_INF __longlong_as_double(0x7ff0000000000000ll)
#define CUDART_PI_F 3.141592654f
#define CUDART_PI 3.14159265358979323846
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define DBL_MIN 2.2250738585072014e-308
#define DBL_MAX 1.7976931348623157e+308
#define DBL_EPSILON 2.2204460492503131e-16
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LONG_MAX 9223372036854775807l
#define LLONG_MAX 9223372036854775807ll
#define ULLONG_MAX 18446744073709551615ull
#define SIZE_MAX 18446744073709551615ul
#define CHAR_BIT 8
#define CHAR_MAX 127
#define SHRT_MAX 32767
#define USHRT_MAX 65535
#define UINT8_MAX 255
#define INT16_MAX 32767
#define UINT16_MAX 65535
#define INT64_MAX 9223372036854775807ll
#define UINT64_MAX 18446744073709551615ull
#define INT32_MAX 2147483647
#define UINT32_MAX 4294967295u
#define UCHAR_MAX 255
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
#define M_1_PI 0.31830988618379067154
#define M_E 2.7182818284590452354
#define M_LN2 0.69314718055994530942
#define M_SQRT2 1.41421356237309504880
#define M_SQRT1_2 0.70710678118654752440
#ifndef __FLT_MAX__
#define __FLT_MAX__ FLT_MAX
#endif
typedef signed char int8_t;
typedef short int16_t;
typedef int int32_t;
typedef unsigned char uint8_t, uchar;
typedef unsigned short uint16_t, ushort;
typedef unsigned uint32_t, uint;
typedef long long int64_t, intptr_t;  // as NVIDIA's own <cuda/std/cstdint> has them
typedef unsigned long long uint64_t, uintptr_t;
typedef unsigned long ulong;
typedef long clock_t;
