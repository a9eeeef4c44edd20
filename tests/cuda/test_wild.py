# ruff: noqa: E501 (kernels)
"""Kernels of the kinds that textbooks, courses and puzzles are made of, in our own words.

Each runs clean and right, checked in two schedules and fast; what the lab does not have is refused by name.
"""

import math

import pytest
import torch
import torch.nn.functional as F

from cnnlab import cuda

I32, Z = torch.int32, torch.zeros


def r(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ints(n, most=100, seed=0):
    return torch.randint(0, most, (n,), generator=torch.Generator().manual_seed(seed), dtype=I32)


def mandelbrot(n):
    y, x = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    c = torch.complex(x * 3.0 / n - 2, y * 2.0 / n - 1)
    z = torch.zeros_like(c)
    for _ in range(50):
        z = torch.where(z.abs() < 2, z * z + c, z)
    return (z.abs() < 2).int().flatten()


A, B, V, IMAGE = r(48, 40), r(40, 56, seed=1), r(1000, seed=2), r(45, 70, seed=3)
TAPS = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0])
K = ints(1000, 16)

# name: source, kernel, grid, block, arguments (the output last), expected, options
WILD = {
    "guarded map": ("__global__ void f(const float* a, int n, float* out) { int i = blockDim.x * blockIdx.x + threadIdx.x; if (i < n) out[i] = a[i] + 10; }", "", 8, 128, (V, 1000, Z(1000)), V + 10, {}),
    "broadcast of a row and a column": ("__global__ void f(const float* a, const float* b, int n, float* out) { int x = threadIdx.x, y = threadIdx.y; if (x < n && y < n) out[y * n + x] = a[y] + b[x]; }", "", 1, (8, 8), (V[:6].clone(), V[6:12].clone(), 6, Z(6, 6)), V[:6, None] + V[6:12], {}),
    "grid stride": ("__global__ void f(const float* x, int n, float* y) { for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) y[i] = 2.0f * x[i] * x[i]; }", "", 3, 64, (V, 1000, Z(1000)), 2 * V * V, {}),
    "row convolution with a halo": ("#define RADIUS 2\n__constant__ float taps[2 * RADIUS + 1]; __global__ void rows(const float* in, int h, int w, float* out) { __shared__ float line[4][32 + 2 * RADIUS]; int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 4 + threadIdx.y; for (int i = threadIdx.x; i < 32 + 2 * RADIUS; i += 32) { int c = (int)blockIdx.x * 32 + i - RADIUS; line[threadIdx.y][i] = y < h && c >= 0 && c < w ? in[y * w + c] : 0; } __syncthreads(); float s = 0; for (int k = -RADIUS; k <= RADIUS; ++k) s += taps[k + RADIUS] * line[threadIdx.y][threadIdx.x + RADIUS + k]; if (x < w && y < h) out[y * w + x] = s; }", "", (3, 12), (32, 4), (IMAGE, 45, 70, Z(45, 70)), F.conv2d(IMAGE[None, None], TAPS.view(1, 1, 1, 5), padding=(0, 2))[0, 0], {"constants": {"taps": TAPS}}),
    "column convolution": ("__constant__ float taps[5]; __global__ void columns(const float* in, int h, int w, float* out) { int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y; if (x >= w || y >= h) return; float s = 0; for (int k = -2; k <= 2; ++k) if (y + k >= 0 && y + k < h) s += taps[k + 2] * in[(y + k) * w + x]; out[y * w + x] = s; }", "", (3, 12), (32, 4), (IMAGE, 45, 70, Z(45, 70)), F.conv2d(IMAGE[None, None], TAPS.view(1, 1, 5, 1), padding=(2, 0))[0, 0], {"constants": {"taps": TAPS}}),
    "box blur of bytes": ("__global__ void blur(const unsigned char* in, int w, int h, unsigned char* out) { int c = blockIdx.x * blockDim.x + threadIdx.x, r = blockIdx.y * blockDim.y + threadIdx.y; if (c < w && r < h) { int sum = 0, n = 0; for (int dr = -1; dr <= 1; ++dr) for (int dc = -1; dc <= 1; ++dc) { int y = r + dr, x = c + dc; if (y >= 0 && y < h && x >= 0 && x < w) sum += in[y * w + x], ++n; } out[r * w + c] = (unsigned char)(sum / n); } }", "", (2, 2), (8, 8), (torch.full((9, 11), 100, dtype=torch.uint8), 11, 9, Z(9, 11, dtype=torch.uint8)), torch.full((9, 11), 100), {}),
    "grey from RGB": ("__global__ void grey(const uchar3* in, int n, unsigned char* out) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) { uchar3 p = in[i]; out[i] = (unsigned char)(0.25f * p.x + 0.5f * p.y + 0.25f * p.z); } }", "", 2, 64, (torch.full((100, 3), 8, dtype=torch.uint8), 100, Z(100, dtype=torch.uint8)), torch.full((100,), 8), {}),
    "naive product": ("__global__ void mm(const float* a, const float* b, int m, int n, int k, float* c) { int row = blockIdx.y * blockDim.y + threadIdx.y, col = blockIdx.x * blockDim.x + threadIdx.x; if (row < m && col < n) { float s = 0; for (int i = 0; i < k; ++i) s += a[row * k + i] * b[i * n + col]; c[row * n + col] = s; } }", "", (4, 3), (16, 16), (A, B, 48, 56, 40, Z(48, 56)), A @ B, {}),
    "tiled product": ("#define T 16\n__global__ void mm(const float* a, const float* b, int m, int n, int k, float* c) { __shared__ float as[T][T], bs[T][T]; int tx = threadIdx.x, ty = threadIdx.y, row = blockIdx.y * T + ty, col = blockIdx.x * T + tx; float s = 0; for (int p = 0; p < (k + T - 1) / T; ++p) { as[ty][tx] = row < m && p * T + tx < k ? a[row * k + p * T + tx] : 0; bs[ty][tx] = col < n && p * T + ty < k ? b[(p * T + ty) * n + col] : 0; __syncthreads(); for (int i = 0; i < T; ++i) s += as[ty][i] * bs[i][tx]; __syncthreads(); } if (row < m && col < n) c[row * n + col] = s; }", "", (4, 3), (16, 16), (A, B, 48, 56, 40, Z(48, 56)), A @ B, {}),
    "register-tiled product": ("template <int BM, int BN, int BK, int TM> __global__ void mm(const float* a, const float* b, int m, int n, int k, float* c) { __shared__ float as[BM * BK], bs[BK * BN]; int col = threadIdx.x % BN, row = threadIdx.x / BN; float acc[TM] = {0}; for (int p = 0; p < k; p += BK) { for (int i = threadIdx.x; i < BM * BK; i += blockDim.x) { int r = blockIdx.y * BM + i / BK; as[i] = r < m && p + i % BK < k ? a[r * k + p + i % BK] : 0; } for (int i = threadIdx.x; i < BK * BN; i += blockDim.x) { int q = blockIdx.x * BN + i % BN; bs[i] = q < n && p + i / BN < k ? b[(p + i / BN) * n + q] : 0; } __syncthreads(); for (int d = 0; d < BK; ++d) { float t = bs[d * BN + col]; for (int i = 0; i < TM; ++i) acc[i] += as[(row * TM + i) * BK + d] * t; } __syncthreads(); } for (int i = 0; i < TM; ++i) { int r = blockIdx.y * BM + row * TM + i, q = blockIdx.x * BN + col; if (r < m && q < n) c[r * n + q] = acc[i]; } }", "mm<32, 32, 8, 4>", (2, 2), 256, (A, B, 48, 56, 40, Z(48, 56)), A @ B, {}),
    "product by warps": ("__global__ void mv(const float* a, const float* x, int m, int n, float* y) { int warp = (blockIdx.x * blockDim.x + threadIdx.x) / 32, lane = threadIdx.x & 31; if (warp >= m) return; float s = 0; for (int i = lane; i < n; i += 32) s += a[warp * n + i] * x[i]; for (int d = 16; d; d >>= 1) s += __shfl_down_sync(0xffffffff, s, d); if (!lane) y[warp] = s; }", "", 12, 128, (A, V[:40].clone(), 48, 40, Z(48)), A @ V[:40], {}),
    "transpose without conflicts": ("__global__ void tr(const float* in, int h, int w, float* out) { __shared__ float t[32][33]; int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y; for (int j = 0; j < 32; j += 8) if (x < w && y + j < h) t[threadIdx.y + j][threadIdx.x] = in[(y + j) * w + x]; __syncthreads(); x = blockIdx.y * 32 + threadIdx.x; y = blockIdx.x * 32 + threadIdx.y; for (int j = 0; j < 32; j += 8) if (x < h && y + j < w) out[(y + j) * h + x] = t[threadIdx.x][threadIdx.y + j]; }", "", (3, 2), (32, 8), (IMAGE, 45, 70, Z(70, 45)), IMAGE.T.contiguous(), {}),
    "reduction, interleaved": ("__global__ void sum(const float* in, int n, float* out) { extern __shared__ float s[]; unsigned t = threadIdx.x, i = blockIdx.x * blockDim.x + t; s[t] = i < n ? in[i] : 0; __syncthreads(); for (unsigned d = 1; d < blockDim.x; d *= 2) { if (t % (2 * d) == 0) s[t] += s[t + d]; __syncthreads(); } if (t == 0) out[blockIdx.x] = s[0]; }", "", 4, 256, (V, 1000, Z(4)), F.pad(V, (0, 24)).view(4, 256).sum(1), {"shared_bytes": 1024}),
    "reduction, sequential, unrolled last warp": ("template <unsigned N> __device__ void last(volatile float* s, unsigned t) { if (N >= 64) { s[t] += s[t + 32]; __syncwarp(); } for (int d = 16; d; d /= 2) { float v = s[t + d]; __syncwarp(); s[t] += v; __syncwarp(); } } template <unsigned N> __global__ void sum(const float* in, int n, float* out) { __shared__ float s[N + 16]; unsigned t = threadIdx.x; float v = 0; for (unsigned i = blockIdx.x * N * 2 + t; i < n; i += gridDim.x * N * 2) { v += in[i]; if (i + N < n) v += in[i + N]; } s[t] = v; if (t < 16) s[N + t] = 0; __syncthreads(); for (unsigned d = N / 2; d > 32; d /= 2) { if (t < d) s[t] += s[t + d]; __syncthreads(); } if (t < 32) last<N>(s, t); if (t == 0) out[blockIdx.x] = s[0]; }", "sum<128>", 1, 128, (V, 1000, Z(1)), V.sum()[None], {}),
    "block reduce by shuffles": ("__inline__ __device__ float warpSum(float v) { for (int o = warpSize / 2; o > 0; o >>= 1) v += __shfl_down_sync(0xffffffff, v, o); return v; } __inline__ __device__ float blockSum(float v) { static __shared__ float parts[32]; int lane = threadIdx.x % warpSize, w = threadIdx.x / warpSize; v = warpSum(v); if (lane == 0) parts[w] = v; __syncthreads(); v = threadIdx.x < blockDim.x / warpSize ? parts[lane] : 0; if (w == 0) v = warpSum(v); return v; } __global__ void sum(const float* in, int n, float* out) { float v = 0; for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) v += in[i]; v = blockSum(v); if (threadIdx.x == 0) atomicAdd(out, v); }", "", 3, 128, (V, 1000, Z(1)), V.sum()[None], {}),
    "maximum by compare and swap": ("__device__ void atomicMaxF(float* at, float v) { int* p = (int*)at; int old = *p, seen; do { seen = old; if (__int_as_float(seen) >= v) break; old = atomicCAS(p, seen, __float_as_int(v)); } while (old != seen); } __global__ void top(const float* in, int n, float* out) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) atomicMaxF(out, in[i]); }", "", 8, 128, (V, 1000, torch.full((1,), -1e9)), V.max()[None], {}),
    "minimum and maximum of a warp": ("__global__ void range(const int* in, int n, int* out) { int v = in[threadIdx.x]; int lo = __reduce_min_sync(~0u, v), hi = __reduce_max_sync(~0u, v); if (threadIdx.x == 0) out[0] = lo, out[1] = hi; }", "", 1, 32, (K[:32].clone(), 32, Z(2, dtype=I32)), torch.stack([K[:32].min(), K[:32].max()]), {}),
    "histogram, private copies": ("__global__ void hist(const int* in, int n, int* bins) { __shared__ int mine[16]; if (threadIdx.x < 16) mine[threadIdx.x] = 0; __syncthreads(); for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) atomicAdd(&mine[in[i]], 1); __syncthreads(); if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], mine[threadIdx.x]); }", "", 4, 64, (K, 1000, Z(16, dtype=I32)), torch.bincount(K, minlength=16).int(), {}),
    "scan, Hillis and Steele, two buffers": ("__global__ void scan(const int* in, int n, int* out) { __shared__ int b[2][256]; int t = threadIdx.x, p = 0; b[0][t] = t < n ? in[t] : 0; __syncthreads(); for (int d = 1; d < 256; d <<= 1) { b[1 - p][t] = t >= d ? b[p][t] + b[p][t - d] : b[p][t]; p = 1 - p; __syncthreads(); } if (t < n) out[t] = b[p][t]; }", "", 1, 256, (K[:200].clone(), 200, Z(200, dtype=I32)), K[:200].cumsum(0).int(), {}),
    "scan by warps": ("__global__ void scan(const int* in, int n, int* out) { __shared__ int ends[32]; int t = threadIdx.x, lane = t & 31, w = t >> 5, v = t < n ? in[t] : 0; for (int d = 1; d < 32; d *= 2) { int u = __shfl_up_sync(~0u, v, d); if (lane >= d) v += u; } if (lane == 31) ends[w] = v; __syncthreads(); if (w == 0) { int e = lane < blockDim.x / 32 ? ends[lane] : 0; for (int d = 1; d < 32; d *= 2) { int u = __shfl_up_sync(~0u, e, d); if (lane >= d) e += u; } ends[lane] = e; } __syncthreads(); if (w) v += ends[w - 1]; if (t < n) out[t] = v; }", "", 1, 256, (K[:200].clone(), 200, Z(200, dtype=I32)), K[:200].cumsum(0).int(), {}),
    "softmax of rows": ("__global__ void softmax(const float* in, int n, float* out) { __shared__ float s[64]; const float* x = in + blockIdx.x * n; float* y = out + blockIdx.x * n; int t = threadIdx.x; float m = -INFINITY; for (int i = t; i < n; i += 64) m = fmaxf(m, x[i]); s[t] = m; __syncthreads(); for (int d = 32; d; d /= 2) { if (t < d) s[t] = fmaxf(s[t], s[t + d]); __syncthreads(); } m = s[0]; __syncthreads(); float sum = 0; for (int i = t; i < n; i += 64) sum += expf(x[i] - m); s[t] = sum; __syncthreads(); for (int d = 32; d; d /= 2) { if (t < d) s[t] += s[t + d]; __syncthreads(); } for (int i = t; i < n; i += 64) y[i] = expf(x[i] - m) / s[0]; }", "", 48, 64, (A, 40, Z(48, 40)), A.softmax(1), {}),
    "layer norm with cooperative groups": ("#include <cooperative_groups.h>\n#include <cooperative_groups/reduce.h>\nnamespace cg = cooperative_groups; __global__ void norm(const float* in, int rows, int n, float* out) { cg::thread_block block = cg::this_thread_block(); cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block); int row = blockIdx.x * warp.meta_group_size() + warp.meta_group_rank(); if (row >= rows) return; const float* x = in + row * n; float s = 0, q = 0; for (int i = warp.thread_rank(); i < n; i += warp.size()) s += x[i], q += x[i] * x[i]; s = cg::reduce(warp, s, cg::plus<float>{}) / n; q = cg::reduce(warp, q, cg::plus<float>{}) / n; float k = rsqrtf(q - s * s + 1e-5f); for (int i = warp.thread_rank(); i < n; i += warp.size()) __stcs(out + row * n + i, (x[i] - s) * k); }", "", 12, 128, (A, 48, 40, Z(48, 40)), F.layer_norm(A, (40,)), {}),
    "RMS norm, float4": ("__global__ void rms(const float4* in, int n4, float4* out) { __shared__ float total; const float4* x = in + blockIdx.x * n4; float s = 0; for (int i = threadIdx.x; i < n4; i += 32) { float4 v = x[i]; s += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; } for (int d = 16; d; d /= 2) s += __shfl_xor_sync(~0u, s, d); if (threadIdx.x == 0) total = rsqrtf(s / (4 * n4)); __syncthreads(); for (int i = threadIdx.x; i < n4; i += 32) { float4 v = x[i]; out[blockIdx.x * n4 + i] = make_float4(v.x * total, v.y * total, v.z * total, v.w * total); } }", "", 48, 32, (A, 10, Z(48, 40)), A * A.square().mean(1, keepdim=True).rsqrt(), {}),
    "GELU": ("__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.0f + tanhf(0.7978845608f * (x + 0.044715f * x * x * x))); } __global__ void act(const float* __restrict__ x, int n, float* __restrict__ y) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) y[i] = gelu(__ldg(x + i)); }", "", 8, 128, (V, 1000, Z(1000)), F.gelu(V, approximate="tanh"), {}),
    "half2 axpy": ("#include <cuda_fp16.h>\n__global__ void axpy(const half2* x, const half2* y, int n2, half2* out) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n2) out[i] = __hfma2(__float2half2_rn(2.0f), x[i], y[i]); }", "", 4, 128, (V.half(), V.flip(0).half().contiguous(), 500, Z(1000).half()), (2 * V.half().double() + V.flip(0).half().double()).half(), {}),
    "product on tensor cores": ("#include <mma.h>\nusing namespace nvcuda; __global__ void mm(const half* a, const half* b, int n, float* c) { wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa; wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::col_major> fb; wmma::fragment<wmma::accumulator, 16, 16, 16, float> fc; wmma::fill_fragment(fc, 0.0f); for (int k = 0; k < n; k += 16) { wmma::load_matrix_sync(fa, a + blockIdx.y * 16 * n + k, n); wmma::load_matrix_sync(fb, b + blockIdx.x * 16 * n + k, n); wmma::mma_sync(fc, fa, fb, fc); } wmma::store_matrix_sync(c + blockIdx.y * 16 * n + blockIdx.x * 16, fc, n, wmma::mem_row_major); }", "", (3, 3), 32, (r(48, 48).half(), r(48, 48, seed=5).half(), 48, Z(48, 48)), r(48, 48).half().float() @ r(48, 48, seed=5).half().float().T, {}),
    "maximum pooling": ("__global__ void pool(const float* in, int h, int w, float* out) { int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y; if (x < w / 2 && y < h / 2) { const float* p = in + 2 * y * w + 2 * x; out[y * (w / 2) + x] = fmaxf(fmaxf(p[0], p[1]), fmaxf(p[w], p[w + 1])); } }", "", (5, 3), (8, 8), (IMAGE[:44].contiguous(), 44, 70, Z(22, 35)), F.max_pool2d(IMAGE[None, :44], 2)[0], {}),
    "odd-even sort": ("__global__ void sort(int* a, int n, int* out) { __shared__ int s[128]; int t = threadIdx.x; s[t] = a[t]; s[t + 64] = a[t + 64]; __syncthreads(); for (int p = 0; p < n; ++p) { int i = 2 * t + (p & 1); if (i + 1 < n && s[i] > s[i + 1]) { int v = s[i]; s[i] = s[i + 1]; s[i + 1] = v; } __syncthreads(); } out[t] = s[t]; out[t + 64] = s[t + 64]; }", "", 1, 64, (K[:128].clone(), 128, Z(128, dtype=I32)), K[:128].sort()[0], {}),
    "bitonic sort": ("__global__ void sort(const float* in, float* out) { __shared__ float s[128]; unsigned t = threadIdx.x; s[t] = in[t]; __syncthreads(); for (unsigned k = 2; k <= 128; k *= 2) for (unsigned j = k / 2; j; j /= 2) { unsigned o = t ^ j; if (o > t) { bool up = (t & k) == 0; if ((s[t] > s[o]) == up) { float v = s[t]; s[t] = s[o]; s[o] = v; } } __syncthreads(); } out[t] = s[t]; }", "", 1, 128, (V[:128].clone(), Z(128)), V[:128].sort()[0], {}),
    "compaction by ballot": ("__global__ void keep(const float* in, int n, int* count, float* out) { int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31; bool k = i < n && in[i] > 0; unsigned m = __ballot_sync(~0u, k); int at = 0; if (lane == 0 && m) at = atomicAdd(count, __popc(m)); at = __shfl_sync(~0u, at, 0) + __popc(m & ((1u << lane) - 1)); if (k) out[at] = in[i]; }", "", 8, 128, (V, 1000, Z(1, dtype=I32), Z(int((V > 0).sum()))), V[V > 0], {}),
    "finite differences, 3 axes": ("__global__ void heat(const float* u, int n, float* v) { int x = threadIdx.x, y = threadIdx.y, z = threadIdx.z, i = (z * n + y) * n + x; bool edge = x == 0 || y == 0 || z == 0 || x == n - 1 || y == n - 1 || z == n - 1; v[i] = edge ? u[i] : (u[i - 1] + u[i + 1] + u[i - n] + u[i + n] + u[i - n * n] + u[i + n * n]) / 6; }", "", 1, (8, 8, 8), (torch.ones(8, 8, 8), 8, Z(8, 8, 8)), torch.ones(8, 8, 8), {}),
    "Mandelbrot": ("__global__ void set(int n, int* out) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i >= n * n) return; float cr = i % n * 3.0f / n - 2, ci = i / n * 2.0f / n - 1, zr = 0, zi = 0; int k = 0; while (k < 50 && zr * zr + zi * zi < 4) { float t = zr * zr - zi * zi + cr; zi = 2 * zr * zi + ci; zr = t; ++k; } out[i] = k > 49; }", "", 1, 64, (8, Z(64, dtype=I32)), mandelbrot(8), {}),
    "last block sums up": ("__device__ unsigned done = 0; __global__ void sum(const float* in, int n, volatile float* part, float* out) { __shared__ float s[64]; __shared__ bool last; int t = threadIdx.x; float v = 0; for (int i = blockIdx.x * 64 + t; i < n; i += gridDim.x * 64) v += in[i]; s[t] = v; __syncthreads(); for (int d = 32; d; d /= 2) { if (t < d) s[t] += s[t + d]; __syncthreads(); } if (t == 0) { part[blockIdx.x] = s[0]; __threadfence(); last = atomicInc(&done, gridDim.x) == gridDim.x - 1; } __syncthreads(); if (last && t == 0) { float all = 0; for (int b = 0; b < gridDim.x; ++b) all += part[b]; out[0] = all; } }", "", 4, 64, (V, 1000, Z(4), Z(1)), V.sum()[None], {}),
    "attention, one query a block": ("__global__ void attend(const float* q, const float* k, const float* v, int n, int d, float* out) { extern __shared__ float p[]; int t = threadIdx.x; float s = 0; for (int i = 0; i < d; ++i) s += q[blockIdx.x * d + i] * k[t * d + i]; p[t] = expf(s * rsqrtf((float)d)); __syncthreads(); float sum = 0; for (int i = 0; i < n; ++i) sum += p[i]; if (t < d) { float o = 0; for (int i = 0; i < n; ++i) o += p[i] * v[i * d + t]; out[blockIdx.x * d + t] = o / sum; } }", "", 8, 24, (r(8, 16), r(24, 16, seed=1), r(24, 16, seed=2), 24, 16, Z(8, 16)), ((r(8, 16) @ r(24, 16, seed=1).T) / math.sqrt(16)).softmax(1) @ r(24, 16, seed=2), {"shared_bytes": 96}),
}  # fmt: skip


@pytest.mark.parametrize("name", WILD)
def test_it_runs_clean_and_right(name):
    source, kernel, grid, block, args, expected, options = WILD[name]
    built = cuda.compile(source, kernel, use_nvrtc=False)
    for how in ({}, {"reverse": True}, {"mode": "fast"}):
        copies = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
        report = built.launch(grid, block, *copies, **options, **how)
        assert report.ok, report
        out = copies[-1].double()
        if name == "compaction by ballot":  # in the order in which warps came
            out, expected = out.sort()[0], expected.sort()[0]
        torch.testing.assert_close(out, expected.double(), rtol=2e-3, atol=2e-4)


REFUSED = {
    "inline PTX": 'unsigned id; asm("mov.u32 %0, %laneid;" : "=r"(id));',
    "textures": "float v = tex2D<float>(0, 1, 2);",
    "asynchronous copies": "__pipeline_memcpy_async(p, p, 16);",
    "clusters": "cluster_group c;",
    "grid-wide barriers": "cooperative_groups::this_grid().sync();",
    "malloc or new": "float* q = new float[8];",
    "cuRAND": "curandState s;",
    "host code": "cudaMemcpy(p, p, 4, 0);",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_lab_does_not_have_is_refused_by_name(what):
    with pytest.raises(cuda.CompileError, match=what):
        cuda.compile(f"__global__ void k(float* p) {{ {REFUSED[what]} }}", use_nvrtc=False)
