# ruff: noqa: E501 (kernels)
"""More for the battery: what a GPU course teaches after its first weeks, and what goes wrong there.

Pipelines with several buffers, shared memory that is used twice, carved dynamic memory, scopes of
atomics and fences, tails of warps, indices that leave the range of int. `make` and `BUGS` are as
in `battery`.
"""

import torch
import torch.nn.functional as F
from battery import Launch, ladder

# The next tile is fetched while this one is used; one barrier a round is enough for two buffers.
DOUBLE_BUFFER = """
#define T 16
__global__ void product(const float* a, const float* b, float* c, int m, int n, int k) {
    __shared__ float as[2][T][T], bs[2][T][T];
    int x = threadIdx.x, y = threadIdx.y, row = blockIdx.y * T + y, col = blockIdx.x * T + x;
    auto fetch = [&](int s, int p) {
        as[s][y][x] = row < m && p + x < k ? a[row * k + p + x] : 0.0f;
        bs[s][y][x] = col < n && p + y < k ? b[(p + y) * n + col] : 0.0f;
    };
    float sum = 0.0f;
    int s = 0;
    fetch(0, 0);
    __syncthreads();
    for (int p = 0; p < k; p += T) {
        if (p + T < k) fetch(s ^ 1, p + T);
        for (int i = 0; i < T; ++i) sum += as[s][y][i] * bs[s][i][x];
        __syncthreads();  // the next buffer is full, and this one free
        s ^= 1;
    }
    if (row < m && col < n) c[row * n + col] = sum;
}
"""
# A ring of three buffers, filled two rounds ahead: what round i reads is overwritten in round i + 1, after its barrier.
STAGES = """
#define N 64
#define STAGES 3
__global__ void running(const float* in, float* out, int rounds) {
    __shared__ float ring[STAGES][N];
    int t = threadIdx.x;
    for (int s = 0; s < STAGES - 1 && s < rounds; ++s) ring[s][t] = in[s * N + t];
    float sum = 0.0f;
    for (int i = 0; i < rounds; ++i) {
        __syncthreads();
        int ahead = i + STAGES - 1;
        if (ahead < rounds) ring[ahead % STAGES][t] = in[ahead * N + t];
        sum += ring[i % STAGES][N - 1 - t];
    }
    out[t] = sum;
}
"""
# Mean, then variance, by one reduction used twice with the same shared array.
NORM = """
__device__ float block_sum(float v, float* part) {
    int t = threadIdx.x;
    for (int d = 16; d > 0; d /= 2) v += __shfl_down_sync(0xffffffff, v, d);
    __syncthreads();  // the last sum has been read by all
    if (t % 32 == 0) part[t / 32] = v;
    __syncthreads();
    float sum = 0.0f;
    for (int w = 0; w < blockDim.x / 32; ++w) sum += part[w];
    return sum;
}
__global__ void layer_norm(const float* in, float* out, int n) {
    __shared__ float part[32];
    const float* row = in + blockIdx.x * n;
    float sum = 0.0f, square = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[i];
    float mean = block_sum(sum, part) / n;
    for (int i = threadIdx.x; i < n; i += blockDim.x) square += (row[i] - mean) * (row[i] - mean);
    float scale = rsqrtf(block_sum(square, part) / n + 1e-5f);
    for (int i = threadIdx.x; i < n; i += blockDim.x) out[blockIdx.x * n + i] = (row[i] - mean) * scale;
}
"""
# Rows into shared memory, then columns out of it; the tile is taller than the block by the halo.
SEPARABLE = """
#define B 16
#define R 2
__constant__ float taps[2 * R + 1];
__global__ void smooth(const float* in, float* out, int h, int w) {
    __shared__ float mid[B + 2 * R][B];
    int left = blockIdx.x * B, top = blockIdx.y * B, x = left + threadIdx.x;
    for (int j = threadIdx.y; j < B + 2 * R; j += B) {
        int r = top + j - R;
        float s = 0.0f;
        for (int k = -R; k <= R; ++k)
            if (r >= 0 && r < h && x + k >= 0 && x + k < w) s += taps[k + R] * in[r * w + x + k];
        mid[j][threadIdx.x] = s;
    }
    __syncthreads();
    int y = top + threadIdx.y;
    float s = 0.0f;
    for (int k = 0; k <= 2 * R; ++k) s += taps[k] * mid[threadIdx.y + k][threadIdx.x];
    if (x < w && y < h) out[y * w + x] = s;
}
"""
# The largest element and where it is, as one pair that goes through the warp and then through the block.
ARGMAX = """
__device__ void better(float& v, int& i, float w, int j) {
    if (w > v || (w == v && j < i)) v = w, i = j;
}
__global__ void argmax(const float* in, int* out, int n) {
    __shared__ float values[4];
    __shared__ int places[4];
    float v = -INFINITY;
    int best = 0, t = threadIdx.x;
    for (int i = t; i < n; i += blockDim.x) better(v, best, in[i], i);
    for (int d = 16; d > 0; d /= 2) {
        float w = __shfl_xor_sync(0xffffffff, v, d);
        int j = __shfl_xor_sync(0xffffffff, best, d);
        better(v, best, w, j);
    }
    if (t % 32 == 0) values[t / 32] = v, places[t / 32] = best;
    __syncthreads();
    if (t == 0) {
        for (int k = 1; k < blockDim.x / 32; ++k) better(v, best, values[k], places[k]);
        out[0] = best;
    }
}
"""
# Blocks of 128 keys sorted by a bitonic network.
BITONIC = """
#define N 128
__global__ void sort(const int* in, int* out, int n) {
    __shared__ int key[N];
    int t = threadIdx.x, at = blockIdx.x * N + t;
    key[t] = at < n ? in[at] : 0x7fffffff;
    for (int size = 2; size <= N; size *= 2)
        for (int stride = size / 2; stride > 0; stride /= 2) {
            __syncthreads();
            int other = t ^ stride;
            if (other > t) {
                bool up = (t & size) == 0;
                int a = key[t], b = key[other];
                if ((a > b) == up) key[t] = b, key[other] = a;
            }
        }
    __syncthreads();
    if (at < n) out[at] = key[t];
}
"""
# One piece of dynamic shared memory, cut into arrays of two types: doubles first, so that they lie at multiples of 8.
CARVED = """
extern __shared__ unsigned char memory[];
__global__ void lookup(const float* in, const int* index, double* out, int n) {
    double* table = reinterpret_cast<double*>(memory);
    int* place = reinterpret_cast<int*>(table + blockDim.x);
    int t = threadIdx.x;
    table[t] = in[t];
    place[t] = index[t];
    __syncthreads();
    if (t < n) out[t] = 2.0 * table[place[n - 1 - t]];
}
"""
# Labels flow until none changes: all threads see whether any has changed something.
LABELS = """
__global__ void components(const int* left, const int* right, int* label, int edges, int n) {
    __shared__ int best[64];
    int t = threadIdx.x, moved = 1;
    if (t < n) best[t] = t;
    __syncthreads();
    while (__syncthreads_or(moved)) {
        moved = 0;
        for (int e = t; e < edges; e += blockDim.x) {
            int a = atomicMin(&best[left[e]], 0x7fffffff), b = atomicMin(&best[right[e]], 0x7fffffff);
            if (a < b) moved |= atomicMin(&best[right[e]], a) > a;
            if (b < a) moved |= atomicMin(&best[left[e]], b) > b;
        }
    }
    if (t < n) label[t] = best[t];
}
"""
# 2.5-D: a plane in shared memory, its neighbours above and below in registers that move on.
MARCH = """
#define B 8
__global__ void laplace(const float* in, float* out, int d, int h, int w) {
    __shared__ float plane[B + 2][B + 2];
    int x = blockIdx.x * B + threadIdx.x, y = blockIdx.y * B + threadIdx.y, i = threadIdx.x + 1, j = threadIdx.y + 1;
    auto at = [&](int z, int y, int x) {
        return z >= 0 && z < d && y >= 0 && y < h && x >= 0 && x < w ? in[((size_t)z * h + y) * w + x] : 0.0f;
    };
    float below = 0.0f, here = at(0, y, x);
    for (int z = 0; z < d; ++z) {
        float above = at(z + 1, y, x);
        plane[j][i] = here;
        if (threadIdx.x == 0) plane[j][0] = at(z, y, x - 1);
        if (threadIdx.x == B - 1) plane[j][B + 1] = at(z, y, x + 1);
        if (threadIdx.y == 0) plane[0][i] = at(z, y - 1, x);
        if (threadIdx.y == B - 1) plane[B + 1][i] = at(z, y + 1, x);
        __syncthreads();
        float s = below + above + plane[j - 1][i] + plane[j + 1][i] + plane[j][i - 1] + plane[j][i + 1] - 6.0f * here;
        if (x < w && y < h) out[((size_t)z * h + y) * w + x] = s;
        __syncthreads();
        below = here, here = above;
    }
}
"""
# Each gradient goes back to the pixel that was the largest; windows overlap, so several may meet there.
POOL_BACK = """
__global__ void pool_back(const float* in, const float* grad, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i + 2 >= n) return;
    int best = i;
    for (int k = 1; k < 3; ++k)
        if (in[i + k] > in[best]) best = i + k;
    atomicAdd(out + best, grad[i]);
}
"""
# Squares of numbers as indices: beyond 46,340 they do not fit an int any more.
SQUARES = """
__global__ void residues(const int* table, int* out, int first, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < 256) out[i] = table[(long long)(first + i) * (first + i) % n];
}
"""
# A scan of a segment a warp; the last warp is not full.
SEGMENTS = """
__global__ void scan(const int* in, int* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x & 31;
    unsigned mask = __ballot_sync(0xffffffff, i < n);
    if (i < n) {
        int v = in[i];
        for (int d = 1; d < 32; d *= 2) {
            int w = __shfl_up_sync(mask, v, d);
            if (lane >= d) v += w;
        }
        out[i] = v;
    }
}
"""
# A block counts for itself, and then once for all.
SCOPES = """
__global__ void count(const int* in, int* blocks, int* total, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) blocks[blockIdx.x] = 0;
    __syncthreads();
    if (i < n && in[i] > 0) atomicAdd_block(&blocks[blockIdx.x], 1);
    __syncthreads();
    if (threadIdx.x == 0) atomicAdd(total, blocks[blockIdx.x]);
}
"""
# One warp produces, another one consumes, with a flag of the block between them.
HANDOVER = """
__global__ void handover(const float* in, float* out) {
    __shared__ float box[32];
    __shared__ int full;
    int t = threadIdx.x;
    if (t == 0) full = 0;
    __syncthreads();
    if (t < 32) {
        box[t] = 2.0f * in[t];
        __threadfence_block();
        __syncwarp();
        if (t == 0) {
            __threadfence_block();
            atomicExch(&full, 1);
        }
    } else {
        while (atomicAdd(&full, 0) == 0) {}
        __threadfence_block();
        out[t - 32] = box[63 - t];
    }
}
"""
# Pairs of half precision, with a last element that has no partner.
HALF2 = """
#include <cuda_fp16.h>
__global__ void relu(const half* in, half* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (2 * i + 1 < n) {
        half2 v = reinterpret_cast<const half2*>(in)[i];
        reinterpret_cast<half2*>(out)[i] = __hmax2(v, __float2half2_rn(0.0f));
    } else if (2 * i < n) out[2 * i] = __hmax(in[2 * i], __float2half(0.0f));
}
"""
# A table looked up by bytes, which may be negative.
TABLE = """
__global__ void translate(const signed char* in, const int* table, int* out, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        out[i] = table[(unsigned char)in[i]];
}
"""
# The polynomial of a thread: coefficients in registers, of which the last is the constant one.
HORNER = """
__global__ void horner(const float* in, const float* x, float* out, int n) {
    float c[5];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    for (int k = 0; k < 5; ++k) c[k] = in[k];
    float s = 0.0f;
    for (int k = 0; k < 5; ++k) s = s * x[i] + c[k];
    out[i] = fminf(fmaxf(s, -1.0f), 1.0f);
}
"""


def make() -> dict[str, Launch]:
    g = torch.Generator().manual_seed(0)
    z, i32 = torch.zeros, torch.int32

    def r(*shape):
        return torch.randn(*shape, generator=g)

    def launch(source, grid, block, inputs, out, expected, *scalars, name="", **options):
        return Launch(source, grid, block, (*inputs, out, *scalars), out, expected, name, options)

    a, b, rows, image, volume = r(37, 45), r(45, 29), r(5, 200), r(37, 41), r(6, 19, 21)
    flat, taps = r(1000), r(5)
    ints = torch.randint(-50, 50, (300,), generator=g, dtype=i32)
    stages, index = r(7 * 64), torch.randperm(64, generator=g).int()
    cross = z(1, 1, 3, 3, 3)
    cross[0, 0, :, 1, 1] = cross[0, 0, 1, :, 1] = cross[0, 0, 1, 1, :] = 1
    cross[0, 0, 1, 1, 1] = -6
    left, right = torch.arange(0, 58, dtype=i32), torch.arange(2, 60, dtype=i32)  # evens, odds
    pooled = z(1000)
    best = flat.unfold(0, 3, 1).argmax(1) + torch.arange(998)
    blocks = (F.pad(ints, (0, 84)).view(6, 64) > 0).sum(1).int()
    bytes_ = torch.randint(-128, 128, (500,), generator=g, dtype=torch.int8)
    table = torch.randint(0, 9, (256,), generator=g, dtype=i32)
    n, first = 199, 60000
    wide, square = r(19, 246), r(5, 5)
    segments = torch.cat([part.cumsum(0) for part in ints[:77].split(32)]).int()
    halves = r(301).half()
    smooth = F.conv2d(image[None, None], taps.view(1, 1, 1, 5), padding=(0, 2))
    smooth = F.conv2d(smooth, taps.view(1, 1, 5, 1), padding=(2, 0))[0, 0]
    powers = torch.stack([flat**k for k in (4, 3, 2, 1, 0)])
    sums = stages.view(7, 64).sum(0).flip(0)
    return {
        "double_buffer": launch(DOUBLE_BUFFER, (2, 3), (16, 16), [a, b], z(37, 29), a @ b, 37, 29, 45),
        "stages": launch(STAGES, 1, 64, [stages], z(64), sums, 7),
        "norm": launch(NORM, 5, 128, [rows], z(5, 200), F.layer_norm(rows, (200,)), 200),
        "separable": launch(SEPARABLE, (3, 3), (16, 16), [image], z(37, 41), smooth, 37, 41, constants={"taps": taps}),
        "argmax": launch(ARGMAX, 1, 128, [flat], z(1, dtype=i32), flat.argmax()[None], 1000),
        "bitonic": launch(BITONIC, 3, 128, [ints], z(300, dtype=i32), torch.cat([p.sort()[0] for p in ints.split(128)]), 300),
        "carved": launch(CARVED, 1, 64, [flat[:64].clone(), index], z(60, dtype=torch.float64), 2 * flat[:64][index[:60].flip(0)], 60, shared_bytes=64 * 12),
        "labels": launch(LABELS, 1, 32, [left, right], z(30, dtype=i32), torch.arange(30) % 2, 28, 30),
        "march": launch(MARCH, (3, 3), (8, 8), [volume], z(6, 19, 21), F.conv3d(volume[None, None], cross, padding=1)[0, 0], 6, 19, 21),
        "pool_back": launch(POOL_BACK, 8, 128, [flat, rows.flatten()], pooled, z(1000).index_add(0, best, rows.flatten()[:998]), 1000),
        "squares": launch(SQUARES, 4, 64, [table], z(256, dtype=i32), table[torch.arange(first, first + 256) ** 2 % n], first, n),
        "segments": launch(SEGMENTS, 2, 64, [ints], z(77, dtype=i32), segments, 77),
        "scopes": launch(SCOPES, 6, 64, [ints, z(6, dtype=i32)], z(1, dtype=i32), blocks.sum()[None], 300),
        "handover": launch(HANDOVER, 1, 64, [flat[:32].clone()], z(32), 2 * flat[:32].flip(0)),
        "half2": launch(HALF2, 3, 64, [halves], halves * 0, halves.relu(), 301),
        "table": launch(TABLE, 2, 64, [bytes_, table], z(500, dtype=i32), table[bytes_.long() & 255], 500),
        "streaming": launch(ladder("streaming.cu"), (2, 3), (32, 2), [wide], z(19, 246), F.conv2d(wide[None, None], square[None, None], padding=2)[0, 0], 19, 246, name="conv2d<5, 2, 8>", constants={"filter": square}),
        "horner": launch(HORNER, 8, 128, [taps, flat], z(1000), (taps @ powers).clamp(-1, 1), 1000),
    }  # fmt: skip


OOB, SHARED, GLOBAL, TWICE = "out-of-bounds", "shared-race", "global-race", "double-write"
UNINIT, UNWRITTEN, BARRIER = "uninitialised", "unwritten", "divergent-barrier"
WARP = {"divergent-warp", "deadlock", "inactive-lane", "warp-mask"}

BUGS = [
    ("double_buffer", "        __syncthreads();  // the next buffer is full, and this one free\n", "", {SHARED}),
    ("double_buffer", "fetch(s ^ 1, p + T)", "fetch(s, p + T)", {SHARED}),
    ("double_buffer", "    fetch(0, 0);\n    __syncthreads();", "    fetch(0, 0);", {SHARED}),
    ("double_buffer", "if (p + T < k) fetch(s ^ 1, p + T);", "if (p + T < k) fetch(s + 1, p + T);", {OOB}),
    ("double_buffer", "        __syncthreads();  // the next buffer is full, and this one free", "        if (p + T < k && row < m) __syncthreads();", {BARRIER, SHARED}),
    ("stages", "#define STAGES 3", "#define STAGES 2", set()),  # two buffers do as well, filled one round ahead
    ("stages", "        __syncthreads();\n        int ahead", "        if (i % 2 == 0) __syncthreads();\n        int ahead", {SHARED}),
    ("stages", "int ahead = i + STAGES - 1", "int ahead = i + STAGES", {SHARED, UNINIT}),
    ("stages", "        sum += ring[i % STAGES][N - 1 - t];", "        sum += ring[ahead % STAGES][N - 1 - t];", {SHARED, UNINIT}),
    ("stages", "if (ahead < rounds) ring", "ring", {OOB}),
    ("norm", "    __syncthreads();  // the last sum has been read by all\n", "", {SHARED}),
    ("norm", "    __syncthreads();\n    float sum", "    __syncwarp();\n    float sum", {SHARED}),
    ("norm", "float mean = block_sum(sum, part) / n;", "if (threadIdx.x >= n - 100) return;\n    float mean = block_sum(sum, part) / n;", WARP | {BARRIER}),
    ("norm", "w < blockDim.x / 32", "w <= blockDim.x / 32", {UNINIT}),
    ("separable", "j < B + 2 * R; j += B", "j < B + R; j += B", {UNINIT}),
    ("separable", "mid[B + 2 * R][B]", "mid[B + R][B]", {OOB}),
    ("separable", "k <= 2 * R", "k <= 2 * R + 1", {OOB, UNINIT}),
    ("separable", "    __syncthreads();\n    int y = top + threadIdx.y;", "    int y = top + threadIdx.y;\n    if (x >= w || y >= h) return;\n    __syncthreads();", {BARRIER}),
    ("argmax", "if (t % 32 == 0) values[t / 32] = v, places[t / 32] = best;", "values[t / 32] = v, places[t / 32] = best;", {SHARED}),
    ("argmax", "values[4]", "values[3]", {OOB}),
    ("argmax", "for (int i = t; i < n; i += blockDim.x) better", "for (int i = t; i < n; i += blockDim.x / 2) better", set()),  # no bug: some are seen twice
    ("argmax", "if (t == 0) {\n        for", "if (t < 2) {\n        for", {TWICE}),
    ("bitonic", "            __syncthreads();\n            int other", "            if (stride >= 32) __syncthreads();\n            int other", {SHARED}),
    ("bitonic", "if (other > t) {", "{", {SHARED}),
    ("bitonic", "int other = t ^ stride", "int other = t + stride", {OOB, SHARED}),
    ("bitonic", "            __syncthreads();\n            int other = t ^ stride;\n            if (other > t) {", "            int other = t ^ stride;\n            if (other > t) {\n            __syncthreads();", {BARRIER, "deadlock"}),
    ("carved", "double* table = reinterpret_cast<double*>(memory);\n    int* place = reinterpret_cast<int*>(table + blockDim.x);", "int* place = reinterpret_cast<int*>(memory);\n    double* table = reinterpret_cast<double*>(place + blockDim.x - 1);", {"misaligned"}),
    ("carved", "(table + blockDim.x)", "(table + blockDim.x / 2)", {SHARED}),
    ("carved", "(table + blockDim.x)", "(table + 2 * blockDim.x)", {OOB}),
    ("carved", "table[place[n - 1 - t]]", "table[index[t] + place[n - 1 - t]]", {OOB, UNINIT}),
    ("labels", "while (__syncthreads_or(moved))", "while (moved)", {SHARED, UNINIT, GLOBAL}),
    ("labels", "if (t < n) best[t] = t;\n    __syncthreads();", "if (t < n) best[t] = t;", set()),  # no bug: the loop begins with a barrier
    ("labels", "int a = atomicMin(&best[left[e]], 0x7fffffff), b", "int a = best[left[e]], b", {SHARED}),
    ("march", "        __syncthreads();\n        below", "        below", {SHARED}),
    ("march", "if (threadIdx.y == B - 1) plane", "if (threadIdx.y == B) plane", {UNINIT}),
    ("march", "plane[B + 2][B + 2]", "plane[B + 2][B + 1]", {OOB}),
    ("march", "if (x < w && y < h) out", "if (x <= w && y < h) out", {OOB, TWICE}),
    ("march", "float below = 0.0f, here", "if (x >= w) return;\n    float below = 0.0f, here", {BARRIER, UNINIT}),
    ("pool_back", "atomicAdd(out + best, grad[i])", "out[best] += grad[i]", {GLOBAL, TWICE}),
    ("pool_back", "i + 2 >= n", "i >= n", {OOB}),
    ("squares", "(long long)(first + i)", "(first + i)", {OOB}),
    ("squares", "int first, int n", "unsigned first, unsigned n", set()),  # no bug: the product stays a long long
    ("segments", "__shfl_up_sync(mask", "__shfl_up_sync(0xffffffff", WARP),
    ("segments", "    unsigned mask = __ballot_sync(0xffffffff, i < n);\n    if (i < n) {", "    if (i < n) {\n        unsigned mask = __ballot_sync(0xffffffff, i < n);", WARP),
    ("segments", "if (lane >= d) v += w", "v += w, out[i - d] = v", {TWICE, OOB, GLOBAL}),
    ("scopes", "atomicAdd(total", "atomicAdd_block(total", {TWICE, GLOBAL}),
    ("scopes", "    __syncthreads();\n    if (threadIdx.x == 0) atomic", "    if (threadIdx.x == 0) atomic", {GLOBAL}),
    ("scopes", "    __syncthreads();\n    if (i < n", "    if (i < n", {TWICE, GLOBAL}),
    ("handover", "        __threadfence_block();\n        __syncwarp();\n        if (t == 0) {\n            __threadfence_block();\n", "        __syncwarp();\n        if (t == 0) {\n", {SHARED}),
    ("handover", "while (atomicAdd(&full, 0) == 0) {}", "while (full == 0) {}", {"infinite-loop", SHARED}),
    ("handover", "box[63 - t]", "box[64 - t]", {UNINIT, OOB}),
    ("half2", "if (2 * i + 1 < n)", "if (2 * i < n)", {OOB}),
    ("half2", "(in)[i]", "(in + 1)[i]", {"misaligned"}),
    ("table", "(unsigned char)in[i]", "in[i]", {OOB}),
    ("table", "i < n; i += gridDim.x * blockDim.x", "i < n; i += gridDim.x", {TWICE}),
    ("streaming", "lane > 0 && lane < 31", "lane > 0", {TWICE}),
    ("streaming", "4 * (30 * (", "4 * (32 * (", {UNWRITTEN}),
    ("streaming", "min(top + ROWS, h)", "min(top + ROWS, h + 1)", {OOB}),
    ("streaming", "w % 4 == 0", "w % 2 == 0", {"misaligned"}),
    ("streaming", "r - R >= top && ", "", {TWICE}),
    ("streaming", "if (col + x < w) to[x]", "to[x]", {OOB, TWICE}),
    ("streaming", "v[i] = __shfl_up_sync(0xffffffff", "if (mine) v[i] = __shfl_up_sync(0xffffffff", WARP),
    ("streaming", "float v[4 + 2 * R]", "float v[3 + 2 * R]", {OOB}),
    ("horner", "for (int k = 0; k < 5; ++k) c[k]", "for (int k = 1; k < 5; ++k) c[k]", {UNINIT}),
    ("horner", "for (int k = 0; k < 5; ++k) c[k] = in[k];", "for (int k = 0; k < 5; ++k) c[k] = in[k + 1];", {OOB}),
    ("horner", "float c[5]", "float c[4]", {OOB}),
]  # fmt: skip
