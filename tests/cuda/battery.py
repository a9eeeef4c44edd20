# ruff: noqa: E501 (kernels and sentences)
"""Correct kernels of many kinds, and the mistakes that people make in them.

`CORRECT` holds launches that must give the right numbers and no finding. `BUGS` changes one text in one
of those sources and names the kinds of finding, one of which must be reported.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F

import cnnlab.cuda

LADDER = Path(cnnlab.cuda.__file__).parent / "kernels"


def ladder(name: str) -> str:
    return (LADDER / name).read_text()


@dataclass
class Launch:
    """One launch: `arrays` are the tensors (the last is the output), `expected` what it must hold."""

    source: str
    grid: object
    block: object
    args: tuple
    out: torch.Tensor
    expected: torch.Tensor
    name: str = ""
    options: dict = field(default_factory=dict)
    tolerance: float = 1e-4

    def run(self, source: str | None = None, **options):
        kernel = cnnlab.cuda.compile(source or self.source, self.name, use_nvrtc=False)
        self.out.copy_(self.start)
        return kernel.launch(self.grid, self.block, *self.args, **self.options | options)

    def __post_init__(self):
        self.start = self.out.clone()

    @property
    def right(self) -> bool:
        return torch.allclose(
            self.out.double(), self.expected.double(), rtol=1e-4, atol=self.tolerance
        )


REDUCE = """
__global__ void total(const float* in, float* out, int n) {
    __shared__ float part[128];
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + t; i < n; i += gridDim.x * blockDim.x) sum += in[i];
    part[t] = sum;
    __syncthreads();
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        if (t < half) part[t] += part[t + half];
        __syncthreads();
    }
    if (t == 0) out[blockIdx.x] = part[0];
}
"""
WARP_REDUCE = """
__global__ void total(const float* in, float* out, int n) {
    __shared__ float warps[32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = i < n ? in[i] : 0.0f;
    for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffff, sum, d);
    if (lane == 0) warps[warp] = sum;
    __syncthreads();
    if (warp == 0) {
        sum = lane < blockDim.x / 32 ? warps[lane] : 0.0f;
        for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
        if (lane == 0) atomicAdd(out, sum);
    }
}
"""
WARP_SHARED = """
__global__ void total(const float* in, float* out, int n) {
    __shared__ float s[64];
    int t = threadIdx.x;
    s[t] = t < n ? in[t] : 0.0f;
    __syncthreads();
    if (t < 32) {
        float v = s[t] + s[t + 32];
        __syncwarp();
        s[t] = v;
        __syncwarp();
        for (int d = 16; d > 0; d /= 2) {
            float w = t < d ? s[t + d] : 0.0f;
            __syncwarp();
            if (t < d) s[t] += w;
            __syncwarp();
        }
        if (t == 0) out[0] = s[0];
    }
}
"""
TRANSPOSE = """
__global__ void transpose(const float* in, float* out, int h, int w) {
    __shared__ float tile[16][17];
    int x = blockIdx.x * 16 + threadIdx.x, y = blockIdx.y * 16 + threadIdx.y;
    if (x < w && y < h) tile[threadIdx.y][threadIdx.x] = in[y * w + x];
    __syncthreads();
    int r = blockIdx.x * 16 + threadIdx.y, c = blockIdx.y * 16 + threadIdx.x;
    if (r < w && c < h) out[r * h + c] = tile[threadIdx.x][threadIdx.y];
}
"""
STENCIL = """
#define R 3
#define N 64
__global__ void smooth(const float* in, float* out, int n) {
    __shared__ float s[N + 2 * R];
    int g = blockIdx.x * N + threadIdx.x, l = threadIdx.x + R;
    s[l] = g < n ? in[g] : 0.0f;
    if (threadIdx.x < R) {
        s[l - R] = g >= R ? in[g - R] : 0.0f;
        s[l + N] = g + N < n ? in[g + N] : 0.0f;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int d = -R; d <= R; ++d) sum += s[l + d];
    if (g < n) out[g] = sum / (2 * R + 1);
}
"""
HISTOGRAM = """
__global__ void histogram(const unsigned char* in, int* bins, int n) {
    __shared__ int local[256];
    for (int b = threadIdx.x; b < 256; b += blockDim.x) local[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x)
        atomicAdd(&local[in[i]], 1);
    __syncthreads();
    for (int b = threadIdx.x; b < 256; b += blockDim.x) atomicAdd(&bins[b], local[b]);
}
"""
SCAN = """
__global__ void scan(const float* in, float* out, int n) {
    extern __shared__ float buffer[];
    int t = threadIdx.x, from = 0;
    buffer[t] = t < n ? in[t] : 0.0f;
    __syncthreads();
    for (int d = 1; d < blockDim.x; d *= 2) {
        int to = 1 - from;
        float v = buffer[from * blockDim.x + t];
        if (t >= d) v += buffer[from * blockDim.x + t - d];
        buffer[to * blockDim.x + t] = v;
        __syncthreads();
        from = to;
    }
    if (t < n) out[t] = buffer[from * blockDim.x + t];
}
"""
BLELLOCH = """
__global__ void scan(const int* in, int* out, int n) {
    __shared__ int s[128];
    int t = threadIdx.x, offset = 1;
    s[2 * t] = 2 * t < n ? in[2 * t] : 0;
    s[2 * t + 1] = 2 * t + 1 < n ? in[2 * t + 1] : 0;
    for (int d = 64; d > 0; d /= 2) {
        __syncthreads();
        if (t < d) s[offset * (2 * t + 2) - 1] += s[offset * (2 * t + 1) - 1];
        offset *= 2;
    }
    if (t == 0) s[127] = 0;
    for (int d = 1; d < 128; d *= 2) {
        offset /= 2;
        __syncthreads();
        if (t < d) {
            int a = offset * (2 * t + 1) - 1, b = offset * (2 * t + 2) - 1;
            int v = s[a];
            s[a] = s[b];
            s[b] += v;
        }
    }
    __syncthreads();
    if (2 * t < n) out[2 * t] = s[2 * t];
    if (2 * t + 1 < n) out[2 * t + 1] = s[2 * t + 1];
}
"""
LAST_BLOCK = """
__device__ unsigned arrived;
__global__ void total(const float* in, float* partial, float* out, int n) {
    __shared__ float s[64];
    __shared__ bool last;
    int t = threadIdx.x, i = blockIdx.x * 64 + t;
    s[t] = i < n ? in[i] : 0.0f;
    __syncthreads();
    if (t == 0) {
        float sum = 0.0f;
        for (int k = 0; k < 64; ++k) sum += s[k];
        partial[blockIdx.x] = sum;
        __threadfence();
        last = atomicAdd(&arrived, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last && t == 0) {
        float sum = 0.0f;
        for (int b = 0; b < gridDim.x; ++b) sum += partial[b];
        out[0] = sum;
    }
}
"""
SOFTMAX = """
__inline__ __device__ float warp_max(float v) {
    for (int d = 16; d > 0; d >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
    return v;
}
__global__ void softmax(const float* in, float* out, int n) {
    const float* row = in + blockIdx.x * n;
    float top = -INFINITY, sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += 32) top = fmaxf(top, row[i]);
    top = warp_max(top);
    for (int i = threadIdx.x; i < n; i += 32) sum += expf(row[i] - top);
    for (int d = 16; d > 0; d >>= 1) sum += __shfl_xor_sync(~0u, sum, d);
    for (int i = threadIdx.x; i < n; i += 32) out[blockIdx.x * n + i] = expf(row[i] - top) / sum;
}
"""
COMPACT = """
__global__ void positive(const float* in, float* out, int* count, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
    bool keep = i < n && in[i] > 0.0f;
    unsigned votes = __ballot_sync(0xffffffffu, keep);
    int base = 0;
    if (lane == 0) base = atomicAdd(count, __popc(votes));
    base = __shfl_sync(0xffffffffu, base, 0);
    if (keep) out[base + __popc(votes & ((1u << lane) - 1))] = in[i];
}
"""
MAXPOOL = """
__global__ void maxpool(const float* in, float* out, int h, int w) {
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    int oh = h / 2, ow = w / 2;
    const float* image = in + blockIdx.z * h * w;
    if (x >= ow || y >= oh) return;
    float a = image[2 * y * w + 2 * x], b = image[2 * y * w + 2 * x + 1];
    float c = image[(2 * y + 1) * w + 2 * x], d = image[(2 * y + 1) * w + 2 * x + 1];
    out[(blockIdx.z * oh + y) * ow + x] = max(max(a, b), max(c, d));
}
"""
SAXPY = """
struct Line { float slope; __device__ float operator()(float x, float y) const { return slope * x + y; } };
__global__ void saxpy(float a, const float* __restrict__ x, float* __restrict__ y, int n) {
    Line line{a};
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) y[i] = line(x[i], y[i]);
}
"""
FLOAT4 = """
__global__ void scale(const float* in, float* out, float a, int n4) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n4) {
        float4 v = reinterpret_cast<const float4*>(in)[i];
        v.x *= a; v.y *= a; v.z *= a; v.w *= a;
        reinterpret_cast<float4*>(out)[i] = v;
    }
}
"""
RING = """
__global__ void rotate(const int* in, int* out, int times) {
    __shared__ int ring[2][32];
    int t = threadIdx.x;
    ring[0][t] = in[t];
    __syncwarp();
    for (int k = 0; k < times; ++k) {
        ring[(k + 1) & 1][t] = ring[k & 1][(t + 1) & 31];
        __syncwarp();
    }
    out[t] = ring[times & 1][t];
}
"""
BLUR = """
__constant__ float taps[3] = {0.25f, 0.5f, 0.25f};
template <typename T> __device__ T clampi(T v, T lo, T hi) { return v < lo ? lo : (v > hi ? hi : v); }
__global__ void blur(const float* in, float* out, int h, int w) {
    auto at = [&](int r, int c) { return in[clampi(r, 0, h - 1) * w + clampi(c, 0, w - 1)]; };
    int x = threadIdx.x + blockIdx.x * blockDim.x, y = threadIdx.y + blockIdx.y * blockDim.y;
    if (x < w && y < h) {
        float s = 0;
        for (int k = -1; k <= 1; ++k) s += taps[k + 1] * at(y, x + k);
        out[y * w + x] = s;
    }
}
"""
COUNT = """
__global__ void block_counts(const int* in, int* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    int c = __syncthreads_count(i < n && in[i] > 0);
    if (threadIdx.x == 0) out[blockIdx.x] = c;
}
"""
AXIS = """
__global__ void column_sums(const double* in, double* out, int h, int w) {
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= w) return;
    double s = 0;
    for (int r = 0; r < h; ++r) s += in[r * w + c];
    out[c] = s;
}
"""
MATVEC = """
__global__ void matvec(const float* a, const float* x, float* y, int m, int n) {
    extern __shared__ float xs[];
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    float sum = 0.0f;
    for (int k = 0; k < n; k += blockDim.x) {
        if (k + threadIdx.x < n) xs[threadIdx.x] = x[k + threadIdx.x];
        __syncthreads();
        int end = min((int)blockDim.x, n - k);
        if (row < m)
            for (int j = 0; j < end; ++j) sum += a[row * n + k + j] * xs[j];
        __syncthreads();
    }
    if (row < m) y[row] = sum;
}
"""


GROUPS = """
#include <cooperative_groups.h>
#include <cuda_fp16.h>
namespace cg = cooperative_groups;
__global__ void sums(const half* in, float* out) {
    __shared__ float s[64];
    cg::thread_block block = cg::this_thread_block();
    cg::thread_block_tile<32> warp = cg::tiled_partition<32>(block);
    s[block.thread_rank()] = __half2float(in[threadIdx.x] * __float2half(2.0f));
    block.sync();
    float v = s[63 - threadIdx.x];
    for (int d = 16; d > 0; d /= 2) v += warp.shfl_down(v, d);
    if (warp.thread_rank() == 0) out[threadIdx.x / 32] = v;
}
"""


def _g(seed=0):
    return torch.Generator().manual_seed(seed)


def _image(h=70, w=83):
    return torch.randn(h, w, generator=_g())


def _conv(image, filt):
    k = filt.shape[0]
    return F.conv2d(image[None, None].double(), filt[None, None].double(), padding=k // 2)[
        0, 0
    ].float()


def _layer(n=2, c=3, h=13, w=11, o=5, k=3, stride=2, padding=1, dilation=2):
    x, weight = torch.randn(n, c, h, w, generator=_g()), torch.randn(o, c, k, k, generator=_g(1))
    bias = torch.randn(o, generator=_g(2))
    y = F.conv2d(x, weight, bias, stride, padding, dilation)
    sizes = (c, h, w, o, k, stride, padding, dilation, *y.shape[2:])
    return x, weight, bias, y, sizes


def make() -> dict[str, Launch]:
    """Every correct launch, by name."""
    image, filt = _image(), torch.randn(5, 5, generator=_g(3))
    h, w = image.shape
    want, out = _conv(image, filt), torch.zeros(h, w)
    const = {"constants": {"filter": filt}}
    x, weight, bias, y, sizes = _layer()
    n, c, o, k, oh, ow = 2, 3, 5, 3, *y.shape[2:]
    flat = torch.randn(1000, generator=_g(4))
    bytes_ = torch.randint(0, 256, (h, w), generator=_g(5), dtype=torch.uint8)
    ones = torch.randint(0, 4, (3, 3), generator=_g(6), dtype=torch.uint8)
    ints = torch.randint(-5, 9, (100,), generator=_g(7), dtype=torch.int32)
    columns = F.unfold(x[:1], k, 2, 1, 2)[0]
    gy = torch.randn(y.shape, generator=_g(8))
    gx = torch.nn.grad.conv2d_input(x.shape, weight, gy, 2, 1, 2)
    gw = torch.nn.grad.conv2d_weight(x, weight.shape, gy, 2, 1, 2)
    a, b = torch.randn(37, 45, generator=_g(9)), torch.randn(45, 29, generator=_g(10))
    bias37 = torch.randn(37, generator=_g(11))
    small = torch.randn(64, generator=_g(12))
    last_out, partial = torch.zeros(1), torch.zeros(16)

    def launch(source, grid, block, inputs, out, expected, *scalars, name="", **options):
        tolerance = options.pop("tolerance", 1e-4)
        return Launch(
            source, grid, block, (*inputs, out, *scalars), out, expected, name, options, tolerance
        )

    z = torch.zeros
    positive = flat[flat > 0]
    cases = {
        "index": launch(ladder("index.cu"), (6, 5), (16, 16), [image], z(h, w), 2 * image + 1, h, w),
        "uchar": launch(
            ladder("uchar.cu"), (6, 5), (16, 16), [bytes_, ones], z(h, w, dtype=torch.uint8),
            _conv(bytes_.float(), ones.float()).clamp(max=255), 3, w, h,
        ),
        "coalesced": launch(
            ladder("coalescing.cu"), (3, 9), (32, 8), [image, filt], z(h, w), want, 5, h, w, name="conv2d"
        ),
        "columns": launch(
            ladder("coalescing.cu"), (3, 11), (32, 8), [image, filt], z(h, w), want, 5, h, w,
            name="conv2d_columns",
        ),
        "constant": launch(ladder("constant.cu"), (6, 5), (16, 16), [image], out, want, 5, h, w, **const),
        "tiled": launch(
            ladder("tiled.cu"), (6, 5), (16, 16), [image], z(h, w), want, h, w, name="conv2d<5, 16>", **const
        ),
        "layout": launch(
            ladder("layout.cu"), (2, 2, 2), (32, 8), [torch.randn(2, 45, 50, generator=_g(13))],
            z(2, 50, 45), torch.randn(2, 45, 50, generator=_g(13)).transpose(1, 2), 45, 50, name="to_channels_last",
        ),
        "relu": launch(
            ladder("layout.cu"), 5, 64, [flat[:999]], z(999), F.relu(flat[:999] * 0.5 + 0.1), 0.5, 0.1, 999,
            name="scale_shift_relu",
        ),
        "coarsened": launch(
            ladder("coarsened.cu"), (3, 3), (32, 4), [image], z(h, w), want, h, w,
            name="conv2d<5, 32, 4, 8>", **const,
        ),
        "channels": launch(
            ladder("channels.cu"), (2, o, n), 32, [x, weight, bias], torch.zeros_like(y), y, *sizes
        ),
        "im2col": launch(
            ladder("im2col.cu"), (1, 27), 64, [x], torch.zeros_like(columns), columns,
            c, 13, 11, k, 2, 1, 2, oh, ow, name="im2col",
        ),
        "gemm": launch(
            ladder("im2col.cu"), (4, 5), (8, 8), [a, b, bias37], z(37, 29), a @ b + bias37[:, None], 37, 29, 45,
            name="gemm<8>",
        ),
        "implicit": launch(
            ladder("implicit_gemm.cu"), (2, 1, n), (8, 8), [x, weight, bias], torch.zeros_like(y), y, *sizes,
            name="conv2d<8, 4>",
        ),
        "grad_input": launch(
            ladder("backward.cu"), (3, c, n), 64, [gy, weight], torch.zeros_like(gx), gx, *sizes, name="grad_input"
        ),
        "grad_weight": launch(
            ladder("backward.cu"), o * c * k * k, 64, [x, gy], torch.zeros_like(gw), gw, n, *sizes,
            name="grad_weight", shared_bytes=256,
        ),
        "reduce": launch(REDUCE, 4, 128, [flat], z(4),
                         torch.stack([sum(flat[i : i + 128].sum() for i in range(s, 1000, 512)) for s in range(0, 512, 128)]), 1000),
        "warp_reduce": launch(WARP_REDUCE, 8, 128, [flat], z(1), flat.sum()[None], 1000, tolerance=1e-3),
        "warp_shared": launch(WARP_SHARED, 1, 64, [small], z(1), small.sum()[None], 64),
        "transpose": launch(TRANSPOSE, (6, 5), (16, 16), [image], z(w, h), image.T.contiguous(), h, w),
        "stencil": launch(
            STENCIL, 16, 64, [flat], z(1000), F.avg_pool1d(flat[None], 7, 1, 3)[0], 1000
        ),
        "histogram": launch(
            HISTOGRAM, 3, 64, [bytes_], z(256, dtype=torch.int32),
            torch.bincount(bytes_.flatten().int(), minlength=256).int(), h * w,
        ),
        "scan": launch(SCAN, 1, 128, [flat[:100]], z(100), flat[:100].cumsum(0), 100, shared_bytes=1024),
        "blelloch": launch(
            BLELLOCH, 1, 64, [ints], z(100, dtype=torch.int32), (ints.cumsum(0) - ints).int(), 100
        ),
        "last_block": Launch(
            LAST_BLOCK, 16, 64, (flat, partial, last_out, 1000), last_out, flat.sum()[None], tolerance=1e-3
        ),
        "softmax": launch(SOFTMAX, 10, 32, [flat.view(10, 100)], z(10, 100), flat.view(10, 100).softmax(1), 100),
        "compact": Launch(
            COMPACT, 8, 128, (flat, z(len(positive)), cnt := z(1, dtype=torch.int32), 1000), cnt,
            torch.tensor([len(positive)]),
        ),
        "maxpool": launch(
            MAXPOOL, (3, 3, 2), (8, 8), [xx := torch.randn(2, 34, 41, generator=_g(14))], z(2, 17, 20),
            F.max_pool2d(xx, 2), 34, 41,
        ),
        "saxpy": Launch(
            SAXPY, 3, 64, (0.5, flat, acc := flat.flip(0).clone(), 1000), acc, 0.5 * flat + flat.flip(0)
        ),
        "float4": launch(FLOAT4, 4, 64, [flat], z(1000), flat * 3, 3.0, 250),
        "ring": launch(RING, 1, 32, [ints[:32].clone()], z(32, dtype=torch.int32), ints[:32].roll(-5), 5),
        "blur": launch(
            BLUR, (6, 5), (16, 16), [image], z(h, w),
            F.conv2d(F.pad(image[None, None], (1, 1, 0, 0), mode="replicate"),
                     torch.tensor([0.25, 0.5, 0.25]).view(1, 1, 1, 3))[0, 0], h, w,
        ),
        "count": launch(
            COUNT, 2, 64, [ints], z(2, dtype=torch.int32),
            torch.tensor([(ints[:64] > 0).sum(), (ints[64:] > 0).sum()]).int(), 100,
        ),
        "groups": launch(
            GROUPS, 1, 64, [hs := small.half()], z(2),
            2 * torch.stack([hs[32:].float().sum(), hs[:32].float().sum()]),
        ),
        "wmma": launch(
            ladder("wmma.cu"), (2, 3), 32, [ah := a.half(), bh := b.half()], z(37, 29), ah.float() @ bh.float(),
            37, 29, 45, tolerance=1e-3,
        ),
        "axis": launch(AXIS, 2, 64, [image.double()], z(w, dtype=torch.float64), image.double().sum(0), h, w),
        "matvec": launch(MATVEC, 3, 16, [a, b[:, 0].contiguous()], z(37), a @ b[:, 0], 37, 45, shared_bytes=64),
    }  # fmt: skip
    return cases


OOB, SHARED, GLOBAL, TWICE = "out-of-bounds", "shared-race", "global-race", "double-write"
UNINIT, UNWRITTEN, BARRIER = "uninitialised", "unwritten", "divergent-barrier"

# (kernel, old text, new text, kinds of which one must be reported)
BUGS = [
    ("index", "row >= h || col >= w", "row > h || col > w", {OOB}),
    ("index", "row >= h || ", "", {OOB}),
    ("index", "blockIdx.y * blockDim.y", "blockIdx.x * blockDim.y", {TWICE}),
    ("index", "row * w + col] = 2", "row * h + col] = 2", {TWICE}),
    ("index", "col >= w) return", "col >= w - 1) return", {UNWRITTEN}),
    ("uchar", "r >= 0 && r < h", "r >= 0 && r <= h", {OOB}),
    ("uchar", "c >= 0 && ", "", {OOB}),
    ("uchar", "int r = row - k / 2 + j", "unsigned r = row - k / 2 + j", set()),  # no bug: it wraps past h
    ("uchar", "(unsigned char)min(sum, 255)", "(unsigned char)(sum % (h - 70))", {"division-by-zero"}),
    ("coalesced", "r >= 0 && r < h && c >= 0 && c < w", "true", {OOB}),
    ("coalesced", "filter[j * k + i]", "filter[j * k + i + k]", {OOB}),
    ("constant", "filter[j * k + i]", "filter[225 + j * k + i]", {OOB}),
    ("constant", "float sum = 0.0f;", "float sum = 0.0f; filter[0] = 1.0f;", {"constant-store"}),
    ("constant", "++i) {", "i += 0) {", {"infinite-loop"}),
    ("tiled", "__syncthreads();", "", {SHARED}),
    ("tiled", "    __syncthreads();", "    if (blockIdx.y * TILE + threadIdx.y >= h) return;\n    __syncthreads();", {BARRIER}),
    ("tiled", "    __syncthreads();", "    if (threadIdx.x < 8) __syncthreads();", {BARRIER}),
    ("tiled", "    __syncthreads();", "    if (threadIdx.x < 8) __syncthreads();\n    else\n        __syncthreads();", {BARRIER}),
    ("tiled", "i < SIDE; i += TILE", "i < TILE; i += TILE", {UNINIT}),
    ("tiled", "SIDE = TILE + K - 1;", "SIDE = TILE + K - 2;", {OOB}),
    ("tiled", "float tile[SIDE][SIDE]", "float tile[SIDE - 1][SIDE]", {OOB}),
    ("tiled", "threadIdx.x + i] * filter", "threadIdx.x + i + 1] * filter", {OOB}),
    ("tiled", "tile[j][i] = ", "tile[j + TILE][i] = ", {OOB}),
    ("layout", "__syncthreads();", "__syncwarp();", {SHARED}),
    ("layout", "tile[32][33]", "tile[32][31]", {OOB}),
    ("layout", "if (c < channels && q < pixels) result[q * channels + c]", "result[q * channels + c]", {OOB, UNINIT}),
    ("relu", "in + i)", "in + i + 1)", {"misaligned"}),
    ("relu", "i + 3 < n", "i < n", {OOB}),
    ("coarsened", "row + o < h", "row + o <= h", {OOB}),
    ("coarsened", "threadIdx.y * ROWS", "threadIdx.y * ROWS + 1", {OOB}),
    ("coarsened", "__syncthreads();", "", {SHARED}),
    ("channels", "float sum = bias[o]", "float sum = bias[o] + 0.0f * y[0]", {GLOBAL}),
    ("channels", "r < 0 || ", "", {OOB}),
    ("channels", "if (p >= OH * OW) return", "if (p > OH * OW) return", {OOB, TWICE}),
    ("im2col", "r >= 0 && r < H && ", "", {OOB}),
    ("im2col", "(size_t)q * OH * OW + p", "(size_t)(q / 2) * OH * OW + p", {TWICE}),
    ("gemm", "        __syncthreads();  // after: all have used it, and it may be overwritten\n", "", {SHARED}),
    ("gemm", "        __syncthreads();  // before: all have stored this tile\n", "", {SHARED}),
    ("gemm", "row < M && i < K ? a[(size_t)row * K + i] : 0.0f", "a[(size_t)row * K + i]", {OOB}),
    ("gemm", "bs[t][threadIdx.x]", "bs[threadIdx.x][t + 1]", {OOB}),
    ("implicit", "T][SIDE + 1]", "T][SIDE - 1]", {OOB}),
    ("implicit", "        __syncthreads();\n    }", "    }", {SHARED}),
    ("implicit", "image[((size_t)(q / (K * K)) * H + r) * W + s]", "image[((size_t)q * H + r) * W + s]", {OOB}),
    ("grad_weight", "        __syncthreads();\n", "", {SHARED}),
    ("grad_weight", "threadIdx.x < half", "threadIdx.x <= half", {SHARED, OOB}),
    ("grad_weight", "if (threadIdx.x == 0) gw", "gw", {TWICE}),
    ("reduce", "part[128]", "part[64]", {OOB}),
    ("reduce", "        __syncthreads();\n    }", "    }", {SHARED}),
    ("reduce", "part[t] += part[t + half];\n        __syncthreads();", "{ part[t] += part[t + half];\n        __syncthreads(); }", {BARRIER}),
    ("reduce", "if (t == 0) out", "out", {TWICE}),
    ("warp_reduce", "        for (int d = 16; d > 0; d /= 2) sum += __shfl_xor", "        if (lane < 8) for (int d = 16; d > 0; d /= 2) sum += __shfl_xor", {"divergent-warp", "inactive-lane", "deadlock"}),
    ("warp_reduce", "__shfl_down_sync(0xffffffff", "__shfl_down_sync(0x0000ffff", {"warp-mask"}),
    ("warp_reduce", "atomicAdd(out, sum)", "*out += sum", {GLOBAL, TWICE}),
    ("warp_reduce", "lane < blockDim.x / 32 ? warps[lane] : 0.0f", "warps[lane]", {UNINIT}),
    ("warp_reduce", "    __syncthreads();\n", "", {SHARED}),
    ("warp_reduce", "if (warp == 0) {", "if (lane < 20) {", {"divergent-warp", "deadlock", "inactive-lane"}),
    ("warp_shared", "            __syncwarp();\n            if (t < d)", "            if (t < d)", set()),  # no bug: what is read then is not written
    ("warp_shared", "if (t < d) s[t] += w;\n            __syncwarp();", "if (t < d) s[t] += w;", {SHARED}),
    ("warp_shared", "    if (t < 32) {", "    if (t < 24) {", {"divergent-warp"}),
    ("transpose", "__syncthreads();", "", {SHARED}),
    ("transpose", "tile[threadIdx.x][threadIdx.y]", "tile[threadIdx.y][threadIdx.x]", {UNINIT}),
    ("transpose", "r < w && c < h", "r < h && c < w", {UNWRITTEN, OOB}),
    ("transpose", "if (x < w && y < h) tile", "if (x >= w || y >= h) return;\n    tile", {BARRIER}),
    ("stencil", "N + 2 * R]", "N + R]", {OOB}),
    ("stencil", "if (threadIdx.x < R) {", "if (threadIdx.x < R - 1) {", {UNINIT}),
    ("stencil", "g >= R ? in[g - R] : 0.0f", "in[g - R]", {OOB}),
    ("stencil", "    __syncthreads();\n", "", {SHARED}),
    ("stencil", "if (g < n) out[g]", "out[g]", {OOB}),
    ("histogram", "atomicAdd(&local[in[i]], 1)", "local[in[i]]++", {SHARED}),
    ("histogram", "atomicAdd(&bins[b], local[b])", "bins[b] += local[b]", {GLOBAL, TWICE}),
    ("histogram", "local[b] = 0", "local[b] = local[b]", {UNINIT}),
    ("histogram", "    __syncthreads();\n    for (int i", "    for (int i", {SHARED}),
    ("histogram", "local[256]", "local[200]", {OOB}),
    ("histogram", "local[256]", "local[256]; int* wild = (int*)0", set()),  # unused: no bug
    ("scan", "        __syncthreads();\n        from", "        from", {SHARED}),
    ("scan", "int to = 1 - from", "int to = from", {SHARED}),
    ("scan", "from * blockDim.x + t - d]", "(int)(from * blockDim.x + t - 2 * d)]", {OOB, SHARED}),
    ("scan", "if (t >= d) v", "v", {OOB}),
    ("blelloch", "        __syncthreads();\n        if (t < d) s[offset", "        if (t < d) s[offset", {SHARED}),
    ("blelloch", "s[128]", "s[127]", {OOB}),
    ("last_block", "        __threadfence();\n", "", {GLOBAL}),
    ("last_block", "last = atomicAdd(&arrived, 1u) == gridDim.x - 1", "last = arrived++ == gridDim.x - 1", {GLOBAL, TWICE}),
    ("softmax", "top = warp_max(top)", "if (threadIdx.x < 16) top = warp_max(top)", {"divergent-warp", "inactive-lane", "deadlock"}),
    ("compact", "if (keep) out[base", "out[base", {TWICE, OOB}),
    ("compact", "atomicAdd(count, __popc(votes))", "*count; *count += __popc(votes)", {GLOBAL, TWICE}),
    ("maxpool", "int oh = h / 2, ow = w / 2", "int oh = (h + 1) / 2, ow = (w + 1) / 2", {OOB, TWICE}),
    ("maxpool", "blockIdx.z * oh + y", "y", {TWICE}),
    ("maxpool", "float a = image", "float big[200000]; big[x * 100] = x; float a = big[y * 100] + image", {"stack-overflow"}),
    ("saxpy", "i += blockDim.x * gridDim.x", "i += blockDim.x", {TWICE, GLOBAL}),
    ("float4", "(in)[i]", "(in + 2)[i]", {"misaligned"}),
    ("float4", "i < n4", "i <= n4", {OOB}),
    ("float4", "float4 v = reinterpret_cast<const float4*>(in)[i]", "float4 v = *(const float4*)0", {"null-pointer"}),
    ("ring", "        __syncwarp();\n    }", "    }", {SHARED}),
    ("ring", "(k + 1) & 1][t]", "k & 1][t]", {SHARED}),
    ("blur", "taps[k + 1]", "taps[k + 2]", {OOB}),
    ("blur", "at(y, x + k)", "in[y * w + x + k]", {OOB}),
    ("count", "    int c = __sync", "    if (i >= n) return;\n    int c = __sync", {BARRIER}),
    ("groups", "    block.sync();\n", "", {SHARED}),
    ("groups", "    block.sync();\n", "    if (threadIdx.x < 40) block.sync();\n", {"deadlock"}),
    ("wmma", "        __syncwarp();  // all", "        // all", {SHARED}),
    ("wmma", "        __syncwarp();  // and", "        // and", {SHARED}),
    ("wmma", "wmma::mma_sync(", "if (threadIdx.x < 16) wmma::mma_sync(", {"divergent-warp", "deadlock"}),
    ("wmma", "sum, 16, wmma::mem_row_major", "sum, 32, wmma::mem_row_major", {OOB}),
    ("axis", "double s = 0;", "double s;", {UNINIT}),
    ("constant", "float sum = 0.0f;", "float sum;", {UNINIT}),
    ("axis", "r < h; ++r", "r <= h; ++r", {OOB}),
    ("axis", "if (c >= w) return", "if (c >= w) return; while (out[w - 1] == 0.0) { }", {"infinite-loop"}),
    ("matvec", "        __syncthreads();\n    }", "    }", {SHARED}),
    ("matvec", "int end = min((int)blockDim.x, n - k)", "int end = blockDim.x", {OOB, UNINIT}),
]  # fmt: skip
