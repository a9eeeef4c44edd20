// What students take from headers that neither NVRTC nor the simulator has. For NVRTC it is read line by line
// (nvrtc.py): a macro that one of CUDA's own headers defines stays as it is.
#define NULL 0
#define __NVCC__ 1
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define CUDART_INF_F __int_as_float(0x7f800000)
#define CUDART_NAN_F __int_as_float(0x7fffffff)
#define CUDART_PI_F 3.141592654f
#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define DBL_MAX 1.7976931348623157e+308
#define DBL_EPSILON 2.2204460492503131e-16
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define LLONG_MAX 9223372036854775807ll
#define INT32_MAX 2147483647
#define UINT32_MAX 4294967295u
#define UCHAR_MAX 255
#define M_PI 3.14159265358979323846
#define M_PI_2 1.57079632679489661923
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
