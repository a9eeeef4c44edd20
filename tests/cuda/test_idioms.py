# ruff: noqa: E501 (one idiom a line)
"""What teachers' kernels are written with: NVIDIA's compiler and the simulator take the same, a line each.

Each line is the body of a kernel with `float* a` (64 ones), `int* n` (64 ones) and `t = threadIdx.x`.
"""

import pytest
import torch

from cnnlab import cuda
from cnnlab.cuda import nvrtc

IDIOMS = """
printf("hello\\n");
printf("x"); printf("%s\\n", "text"); printf("%d %f %5.2f%%\\n", t, a[t], 1.0);
if (a == NULL) return; if (n != nullptr) a[t] = 2;
static __shared__ float s[32]; s[t] = a[t]; __syncthreads(); a[t] = s[31 - t];
__shared__ static int s[32]; s[t] = n[t]; __syncthreads(); n[t] = s[31 - t];
volatile __shared__ float s[32]; s[t] = a[t]; __syncthreads(); a[t] = s[t];
__shared__ volatile int s[2][32]; s[0][t] = n[t]; __syncthreads(); n[t] = s[0][t];
__shared__ float u[32], v[32]; u[t] = v[t] = a[t]; __syncthreads(); a[t] = u[31 - t] + v[t];
__shared__ float4 s[32]; s[t] = make_float4(1, 2, 3, 4); __syncthreads(); a[t] = s[31 - t].w;
extern __shared__ float s[]; s[t] = a[t]; __syncthreads(); a[t] = s[31 - t];
extern float __shared__ s[]; s[t] = a[t]; __syncthreads(); a[t] = s[31 - t];
extern volatile __shared__ float s[]; s[t] = a[t]; __syncthreads(); a[t] = s[31 - t];
extern __shared__ __align__(sizeof(float)) unsigned char raw[]; float* s = reinterpret_cast<float*>(raw); s[t] = 1; __syncthreads(); a[t] = s[31 - t];
extern __shared__ __align__(16) float s[]; s[t] = a[t]; __syncthreads(); a[t] = s[31 - t];
clock_t c = clock(); long long d = clock64(); a[t] = (float)((c > 0) + (d > 0));
float s, c; sincosf(a[t], &s, &c); a[t] = s + c; __sincosf(a[t], &s, &c); a[t] += s;
a[t] = lroundf(a[t]) + llroundf(1.5f) + nearbyintf(2.5f) + rintf(0.5f) + lrintf(1.2f);
a[t] = ldexpf(a[t], 3) + scalbnf(1.0f, 2) + erfcf(0.5f) + erff(0.1f) + normcdff(0.3f);
a[t] = cospif(0.5f) + sinpif(0.25f) + exp10f(0.1f) + cbrtf(8.0f) + rcbrtf(8.0f) + rsqrtf(4.0f) + hypotf(3, 4);
a[t] = tgammaf(3.0f) + lgammaf(3.0f) + log1pf(1.0f) + expm1f(0.1f) + fdimf(2, 1) + fmodf(5, 3) + remainderf(5, 3);
a[t] = asinhf(1) + acoshf(2) + atanhf(0.5f) + atan2f(1, 2) + copysignf(1, -2) + fminf(1, 2) + fmaxf(1, 2);
a[t] = __fdiv_rn(1, 3) + __fadd_rn(1, 2) + __fmul_rn(2, 3) + __fsub_rn(1, 2) + __frcp_rn(3) + __fsqrt_rn(2) + fdividef(1, 2);
a[t] = __expf(1) + __logf(2) + __log2f(2) + __log10f(2) + __powf(2, 3) + __sinf(1) + __cosf(1) + __tanf(1) + __fdividef(1, 2);
a[t] = pow(a[t], 2) + pow(2.0, 3.0) + sqrt(a[t]) + exp(a[t]) + abs(-1.5f) + fabs(-1.0f) + floor(1.5f) + max(1, 2) + min(1.0f, 2.0f);
a[t] = signbit(a[t]) + isnan(a[t]) + isinf(a[t]) + isfinite(a[t]);
a[t] = INFINITY > FLT_MAX ? FLT_MIN : NAN; n[t] = INT_MAX - (INT_MIN + 1 > 0) + (UINT_MAX > 1u) + (LLONG_MAX > 1);
n[t] = __popc(7) + __popcll(7ull) + __clz(1) + __clzll(1ll) + __ffs(8) + __ffsll(8ll) + (int)__brev(1u);
n[t] = __byte_perm(0x01020304, 0x05060708, 0x5410) + __funnelshift_l(1u, 2u, 3u) + __funnelshift_r(1u, 2u, 3u);
n[t] = __umulhi(1u << 31, 4u) + __mulhi(1 << 30, 8) + __mul24(3, 4) + __umul24(3u, 4u) + __sad(3, 5, 1u) + __dp4a(1, 2, 3);
n[t] = __float_as_int(a[t]) + (int)__float_as_uint(1.0f); a[t] = __int_as_float(0x3f800000) + __uint_as_float(0x40000000u);
n[t] = (int)__double_as_longlong(1.0) + __double2loint(2.0) + __double2hiint(2.0); a[t] = (float)__hiloint2double(1 << 30, 0);
n[t] = __float2int_rn(1.5f) + __float2int_rz(1.5f) + __float2int_rd(1.5f) + __float2int_ru(1.5f) + __double2int_rn(2.5);
a[t] = __int2float_rn(3) + __uint2float_rn(3u) + (float)__int2double_rn(3) + __double2float_rn(1.0);
atomicAdd(&a[32], 1.0f); atomicAdd(&n[32], 1); atomicSub(&n[33], 1); atomicMax(&n[34], t); atomicMin(&n[35], t);
atomicAdd_block(&a[32], 1.0f); atomicAdd_system(&n[32], 1); atomicMax_block(&n[33], t);
atomicAnd(&n[32], 1); atomicOr(&n[33], 2); atomicXor(&n[34], 3); atomicExch(&n[35], 4); atomicExch(&a[36], 4.0f); atomicCAS(&n[37], 1, 2);
atomicInc((unsigned*)&n[32], 7u); atomicDec((unsigned*)&n[33], 7u);
int old = n[40], seen; do { seen = old; old = atomicCAS(&n[40], seen, max(seen, t)); } while (old != seen);
a[t] = __shfl_sync(~0u, a[t], 3) + __shfl_up_sync(~0u, a[t], 1) + __shfl_down_sync(0xffffffff, a[t], 1) + __shfl_xor_sync(~0u, a[t], 16, 32);
n[t] = __ballot_sync(~0u, t & 1) + __any_sync(~0u, t == 3) + __all_sync(~0u, t >= 0) + __activemask();
int all; n[t] = __match_any_sync(~0u, t & 3) + __match_all_sync(~0u, 5, &all); n[t] += all;
n[t] = __reduce_add_sync(~0u, n[t]) + __reduce_max_sync(~0u, t) + __reduce_or_sync(~0u, (unsigned)t);
n[t] = __syncthreads_count(t > 3) + __syncthreads_and(1) + __syncthreads_or(0); __threadfence(); __threadfence_block(); __syncwarp();
a[t] = __ldg(&a[t]) + __ldcg(&a[t]) + __ldcs(&a[t]) + __ldca(&a[t]) + __ldcv(&a[t]); __stcs(&a[t], 1.0f); __stcg(&a[t], 2.0f);
float2 u = make_float2(1, 2); float4 v = *reinterpret_cast<float4*>(a + 32); int3 w = {1, 2, 3}; a[t] = u.x + v.y + w.z; uchar4 p = make_uchar4(1, 2, 3, 4); n[t] = p.w;
dim3 d(2, 3); dim3 e = blockDim; n[t] = d.x + d.z + e.x; uint3 i = threadIdx; n[t] += i.x;
long2 q = make_long2(1, 2); ulonglong2 r = make_ulonglong2(1, 2); n[t] = q.x + r.y; double2 d = {1, 2}; a[t] = d.y;
int8_t b = -1; uint8_t c = 255; int16_t d = b; uint32_t e = c; int64_t f = d; uint64_t g = e; n[t] = b + c + d + e + f + g; size_t z = sizeof(float); n[t] += z; uchar u = 1; n[t] += u;
auto f = [=](float x) { return x * t; }; a[t] = f(a[t]);
auto f = [] (float x) { return x + 1; }; a[t] = f(a[t]);
#pragma unroll;; for (int i = 0; i < 4; ++i) a[t] += i;
constexpr int N = 4; float r[N] = {}; for (int i = 0; i < N; ++i) r[i] = i; a[t] = r[t % N];
struct P { float x, y; __device__ float sum() const { return x + y; } }; P p{1, 2}; a[t] = p.sum();
assert(t < 32); if (t > 100) __trap(); __nanosleep(10); int sim_step = t, sim_time = 2; n[t] = sim_step + sim_time;
memcpy(&a[t], &n[t], 4); memset(&a[t], 0, 4);
a[t] = M_PI + FLT_EPSILON + CUDART_PI_F + (a[t] < CUDART_INF_F) + DBL_MAX * 0 + warpSize;
union { float f; int i; } u; u.f = 1.0f; n[t] = u.i;
switch (t % 3) { case 0: a[t] = 1; break; case 1: a[t] = 2; break; default: a[t] = 3; }
double x = norm3d(1.0, 2.0, 2.0) + rnorm3d(1.0, 2.0, 2.0) + norm4d(1.0, 1.0, 1.0, 1.0) + rhypot(3.0, 4.0) + rcbrt(8.0) + exp10(1.0) + sinpi(0.5) + cospi(1.0) + normcdf(0.0) + erfcx(0.5); a[t] = x + norm4df(1, 1, 1, 1) + rhypotf(3, 4) + erfcxf(0.5f);
double w; int e; a[t] = modf(2.5, &w) + frexp(8.0, &e) + w + e + scalbn(1.0, 3) + nextafter(1.0, 2.0) + logb(8.0) + fmax(1.0, 2.0f) + pow(a[t], 3.0) + sqrt(4) + (float)lrint(2.5) + llround(2.5) + ilogb(8.0);
float s, c; sincospif(0.25f, &s, &c); a[t] = s + c; double u, v; sincospi(0.25, &u, &v); a[t] += u + v + nextafterf(1.0f, 2.0f) + ilogbf(8.0f);
n[t] = umin(1u, 2u) + umax(1u, 2u) + llmin(1ll, 2ll) + llmax(1ll, 2ll) + llabs(-1ll) + labs(-1l) + __hadd(1, 3) + __rhadd(1, 2) + __uhadd(1u, 3u) + __usad(1u, 3u, 2u);
n[t] = (int)(__brevll(1ull) >> 60) + (int)__mul64hi(1ll << 40, 1ll << 30) + (int)__umul64hi(1ull << 40, 1ull << 30);
n[t] = __float2uint_ru(1.5f) + (int)__float2ll_rz(1.5f) + (int)__float2ull_rn(1.5f) + __double2int_rd(1.5) + __double2int_ru(1.5) + __double2uint_rn(1.5) + (int)__double2ll_rn(1.5);
a[t] = __uint2double_rn(3u) + __ll2double_rn(3ll) + __ull2float_rn(3ull) + __dsub_rn(3, 1) + __ddiv_rn(1, 2) + __dsqrt_rn(4) + __drcp_rn(4) + __fma_rn(1, 2, 3);
for (int i : {1, 2, 3}) n[t] += i; int list[] = {4, 5}; for (int v : list) n[t] += v;
auto g = [&] __device__ (int i) { return a[i]; }; a[t] = g(t); auto h = [=] __host__ __device__ () { return t; }; n[t] = h();
n[t] = CHAR_BIT + SHRT_MAX + USHRT_MAX + UINT8_MAX + INT16_MAX + UINT16_MAX + (SIZE_MAX > 1) + (ULLONG_MAX > 1) + (INT64_MAX > 1); a[t] = M_E + M_LN2 + M_SQRT2 + M_SQRT1_2 + M_1_PI + (a[t] < HUGE_VALF) + CUDART_PI + (1.0 < CUDART_INF) + DBL_MIN;
const float* __restrict__ p = a; float x = p[t]; a[t] = x; goto end; end: n[t] = 1;
"""
HALF = """
half h = __float2half(a[t]); h -= half(1.0f); h += h; h *= h; h /= half(2.0f); a[t] = __half2float(-h);
half2 v = make_half2(half(1.0f), half(2.0f)); half2 w = v + v * v - v; w += v; a[t] = __low2float(w) + __high2float(w);
half2 v = __floats2half2_rn(1, 2), w = __float2half2_rn(3); v = __hfma2(v, w, v); v = __hadd2(__hmul2(v, w), __hsub2(v, w)); float2 f = __half22float2(v); a[t] = f.x + f.y;
half h = a[t]; n[t] = __hgt(h, half(0.0f)) + __hlt(h, h) + __heq(h, h) + (h > half(0.5f)) + (h == h) + __hisnan(h);
a[t] = __half2float(hexp(half(1.0f))) + __half2float(hsqrt(half(4.0f))) + __half2float(__habs(half(-1.0f))) + __half2float(hlog(half(2.0f))) + __half2float(hrsqrt(half(4.0f)));
half2 m = __hmax2(make_half2(1, 2), make_half2(2, 1)); a[t] = __half2float(__hmax(__low2half(m), __high2half(m))); n[t] = __half2int_rn(half(2.5f)) + __half_as_ushort(half(1.0f));
half h = __int2half_rn(3); half2 p = __half2half2(h), q = __halves2half2(h, h), r = __float22half2_rn(make_float2(1, 2)); a[t] = __low2float(p) + __high2float(q) + __low2float(r);
half2 v(half(1.0f), half(4.0f)), w = h2rcp(v) + h2rsqrt(v) + __lowhigh2highlow(v); a[t] = __low2float(w) + __high2float(w); n[t] = v == v;
half h = a[t]; h = __hfma_relu(h, h, h); h = __hadd_sat(h, __hmul_sat(h, h)); n[t] = __hisinf(h) + __half2uint_rn(h); h = __double2half(1.0); h = __short2half_rn(3); h = __ushort2half_rn(4); a[t] = h;
__nv_bfloat16 b = __float2bfloat16(a[t]); b += __float2bfloat16(1.0f); a[t] = __bfloat162float(b * b);
"""
GROUPS = """
auto block = cg::this_thread_block(); block.sync(); cg::sync(block); a[t] = block.thread_rank() + block.size() + block.group_index().x + block.thread_index().x + block.group_dim().x;
auto warp = cg::tiled_partition<32>(cg::this_thread_block()); a[t] = warp.shfl_down(a[t], 1) + warp.meta_group_rank() + warp.meta_group_size() + warp.thread_rank() + warp.size();
auto warp = cg::tiled_partition<32>(cg::this_thread_block()); auto four = cg::tiled_partition<4>(warp); a[t] = four.shfl(a[t], 0) + four.shfl_xor(a[t], 1) + four.any(t == 1) + four.ballot(t & 1);
cg::thread_group g = cg::tiled_partition(cg::this_thread_block(), 8); g.sync(); a[t] = g.thread_rank() + g.size();
cg::thread_group g = cg::this_thread_block(); g.sync(); a[t] = g.size();
if (t < 7) { auto g = cg::coalesced_threads(); a[t] = g.thread_rank() + g.size() + g.shfl(a[t], 0); }
auto warp = cg::tiled_partition<32>(cg::this_thread_block()); a[t] = cg::reduce(warp, a[t], cg::plus<float>()); n[t] = cg::reduce(warp, n[t], cg::greater<int>());
auto warp = cg::tiled_partition<32>(cg::this_thread_block()); int all; n[t] = warp.match_all(1, all) + all; auto odd = cg::binary_partition(warp, t & 1); n[t] += odd.size() + odd.thread_rank(); auto same = cg::labeled_partition(warp, t & 3); n[t] += same.size(); cg::invoke_one(warp, [&] { n[40] = 1; });
auto tile = cg::tiled_partition<16>(cg::this_thread_block()); n[t] = cg::inclusive_scan(tile, n[t], cg::plus<int>()) + cg::exclusive_scan(tile, n[t]);
a[t] = INFINITY; uint u = 3; n[t] = u; float m = -INFINITY; a[t] = fmaxf(m, a[t]);
"""


def _cases():
    for lines, head in (
        (IDIOMS, "#include <stdio.h>\n#include <math_constants.h>\n"),
        (HALF, "#include <cuda_fp16.h>\n#include <cuda_bf16.h>\n"),
        (GROUPS, "#include <cooperative_groups.h>\n#include <cooperative_groups/reduce.h>\n#include <cooperative_groups/scan.h>\nnamespace cg = cooperative_groups;\n"),
    ):  # fmt: skip
        for line in lines.strip().splitlines():
            body = line.replace(";;", "\n")
            yield f"{head}__global__ void k(float* a, int* n) {{ int t = threadIdx.x; a[t] += 1, n[t] += 1;\n{body}\n}}"


@pytest.mark.parametrize("source", list(_cases()), ids=lambda s: s.splitlines()[-2][:40])
def test_the_simulator_takes_it(source):
    kernel = cuda.compile(source, use_nvrtc=False)
    report = kernel.launch(
        1, 32, torch.ones(64), torch.ones(64, dtype=torch.int32), shared_bytes=128
    )
    assert report.ok, report


@pytest.mark.slow
@pytest.mark.skipif(not nvrtc.installed(), reason="NVRTC is not installed")
def test_nvidias_compiler_takes_all_of_them():
    refused = {}
    for source in _cases():
        try:
            cuda.compile(source, use_nvrtc=True)
        except cuda.CompileError as error:
            refused[source.splitlines()[-2]] = str(error)
    assert not refused
