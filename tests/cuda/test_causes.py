# ruff: noqa: E501 (kernels and sentences)
"""A verdict follows from its evidence, and is never the lab's own failure."""

import io
import signal

import numpy as np
import pytest
import torch
from elftools.elf.elffile import ELFFile

from cnnlab import cuda
from cnnlab.assignments import sources
from cnnlab.assignments.sources import NotJudged, SourceCase, SourceSpec, judge_source
from cnnlab.cuda import compiler, cpu, workers
from cnnlab.cuda.source import read
from cnnlab.simulator import debuginfo

Z = torch.zeros
INTS = torch.zeros(64, dtype=torch.int32)


def launch(source, *how, **options):
    grid, block, *args = how
    args = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    return cuda.compile(source, use_nvrtc=False).launch(grid, block, *args, **options)


WRONG = {
    "one sum, no atomic": (
        "__global__ void k(const float* a, float* sum) { int t = threadIdx.x;\n sum[0] = sum[0] + a[t]; }",
        (2, 64, Z(64), Z(1)), "global-race", ["no barrier helps", "atomicAdd"], ["__syncthreads() is missing", "Blocks run"],
    ),
    "histogram ++ in one block": (
        "__global__ void k(const int* in, int* h) {\n h[in[threadIdx.x]]++; }",
        (1, 64, INTS, INTS), "global-race", ["no barrier helps"], ["Blocks run"],
    ),
    "in-place scan in one block": (
        "__global__ void k(float* x) { int t = threadIdx.x; for (int s = 1; s < 64; s *= 2) { if (t >= s)\n x[t] += x[t - s];\n __syncthreads(); } }",
        (1, 64, Z(64)), "global-race", ["A __syncthreads() is missing"], ["Blocks run", "atomicAdd"],
    ),
    "warp reduction without a barrier": (
        "__global__ void k(float* x) { __shared__ float s[64]; int t = threadIdx.x; s[t] = x[t]; __syncthreads();\n if (t < 32) {\n s[t] += s[t + 32];\n if (t < 16) s[t] += s[t + 16];\n }\n if (t == 0) x[0] = s[0]; }",
        (1, 64, Z(64)), "shared-race", ["A __syncwarp() is missing between line 3 and line 4"], ["A __syncthreads() is missing"],
    ),
    "tree reduction without barriers": (
        "__global__ void k(float* x) { __shared__ float s[128]; int t = threadIdx.x;\n s[t] = x[t];\n for (int d = 64; d > 0; d /= 2)\n if (t < d) s[t] += s[t + d];\n if (t == 0) x[0] = s[0]; }",
        (1, 128, Z(128)), "shared-race", ["A __syncthreads() is missing between line 2 and line 4"], ["__syncwarp"],
    ),
    "neighbour's result in place": (
        "__global__ void k(float* x) { int i = blockIdx.x * 32 + threadIdx.x;\n if (i) x[i] = x[i - 1]; }",
        (4, 32, Z(128)), "global-race", ["Blocks run in any order"], ["atomicAdd(&"],
    ),
    "two threads, one output": (
        "__global__ void k(const float* a, float* o) { int t = threadIdx.x;\n o[t / 2] = a[t] + t; }",
        (1, 64, Z(64), Z(32)), "double-write", ["index follows from threadIdx"], ["same value"],
    ),
    "every thread writes the total": (
        "__global__ void k(const float* a, float* o) {\n o[0] = a[0] + 1; }",
        (1, 64, Z(64), Z(1)), "double-write", ["the same value", "threadIdx.x == 0"], ["lost"],
    ),
    "unsigned halo": (
        "__global__ void k(const float* x, float* o) { unsigned i = threadIdx.x;\n o[i] = x[i - 3]; }",
        (1, 64, Z(64), Z(64)), "out-of-bounds", ["unsigned number is never negative", "x[-3]"], ["row"],
    ),
    "before a 2-D array": (
        "__global__ void k(const float* x, float* o, int w) { int t = threadIdx.x;\n o[t] = x[t - 3 * w - 3]; }",
        (1, 32, Z(8, 64), Z(32), 64), "out-of-bounds", ["x[-195], valid", ">= 0 is missing"], ["row -4"],
    ),
    "600,000 elements behind a small filter": (
        "__global__ void k(const float* f, const float* x, float* o) { int t = threadIdx.x;\n o[t] = x[t] + f[600000]; }",
        (1, 64, Z(25), Z(64), Z(64)), "out-of-bounds", ["f[600000], valid: 0..24", "far beyond"], ["x["],
    ),
    "a product of a size": (
        "__global__ void k(const float* x, float* o, int n) { int t = threadIdx.x;\n o[t] = x[t * n]; }",
        (1, 64, Z(64), Z(64), 200_000_000), "out-of-bounds", ["x[200000000]"], ["o["],
    ),
    "grid rounded down": (
        "__global__ void k(float* o) { o[blockIdx.x * 32 + threadIdx.x] = 1; }",
        (3, 32, Z(100)), "unwritten", ["96 threads were launched for 100 elements"], [],
    ),
    "constant never set": (
        "__constant__ float c[4]; __global__ void k(float* o) {\n o[threadIdx.x] = c[threadIdx.x]; }",
        (1, 4, Z(4)), "uninitialised", ["constants={'c': ...}"], ["barrier"],
    ),
    "tile one column too narrow": (
        "__global__ void k(const float* a, float* o) { __shared__ float other[64], tile[16][16]; int x = threadIdx.x, y = threadIdx.y; if (y == 0) other[x] = 0;\n tile[y][x + 1] = a[y * 16 + x];\n __syncthreads();\n o[y * 16 + x] = other[0] + (x > 0 ? tile[y][x] : 0); }",
        (1, (16, 16), Z(256), Z(256)), "out-of-bounds", ["tile[0][16] (row 0, column 16)", "TILE + K - 1"], [],
    ),
    "local array, by name": (
        "__global__ void k(float* a) { float s[4]; for (int i = 0; i < 4; ++i) s[i] = 0;\n s[threadIdx.x] = 1;\n a[threadIdx.x] = s[0] + s[3]; }",
        (1, 32, Z(32)), "out-of-bounds", ["s[4]", "belongs to one thread"], ["pointer was"],
    ),
    "local array, by a pointer": (
        "__global__ void k(float* a) { float s[4]; float* p = s; for (int i = 0; i < 4; ++i) p[i] = 0;\n p[threadIdx.x] = 1;\n a[threadIdx.x] = s[0] + p[3]; }",
        (1, 32, Z(32)), "out-of-bounds", ["local arrays", "belongs to one thread"], ["pointer was"],
    ),
    "behind a constant array": (
        "__constant__ float c[9]; __global__ void k(float* a) {\n a[threadIdx.x] = c[threadIdx.x]; }",
        (1, 16, Z(16)), "out-of-bounds", ["c[9]", "c has index 0..8"], ["row", "far"], {"constants": {"c": torch.ones(9)}},
    ),
    "index never set": (
        "__global__ void k(float* a) { int i; if (threadIdx.x == 40) i = 0;\n a[i] = 1; }",
        (1, 16, Z(16)), "uninitialised", ["the variable i", "where it is declared"], [],
    ),
    "variable set in one branch only": (
        "__global__ void k(float* a) { int t = threadIdx.x; float s; if (t > 3) s = 1;\n a[t] = s; }",
        (1, 8, Z(8)), "uninitialised", ["the variable s", "where it is declared"], [],
    ),
    "sums that do not start from zero": (
        "__global__ void k(const float* x, float* o) { float r[2];\n float acc[2][2];\n for (int k = 0; k < 4; ++k) { for (int i = 0; i < 2; ++i) r[i] = x[k + i];\n for (int i = 0; i < 2; ++i) for (int j = 0; j < 2; ++j) acc[i][j] += r[i] * r[j]; }\n o[threadIdx.x] = acc[0][0] + acc[1][1]; }",
        (1, 8, torch.ones(8), Z(8)), "uninitialised", ["the array acc is read before"], ["r,"],
    ),
    "counts that do not start from zero": (
        "__global__ void k(const int* x, int* o) {\n int n[4];\n for (int i = 0; i < 8; ++i) n[x[i] & 3]++;\n o[threadIdx.x] = n[threadIdx.x & 3]; }",
        (1, 8, INTS, INTS[:8]), "uninitialised", ["the array n is read before"], [],
    ),
    "the first of a few counts left out": (
        "__global__ void k(const int* x, int* o) {\n int n[4];\n for (int i = 1; i < 4; ++i) n[i] = x[i];\n int s = 0; for (int i = 0; i < 4; ++i) s += n[i] & 3;\n o[threadIdx.x] = s; }",
        (1, 8, INTS, INTS[:8]), "uninitialised", ["the array n is read before"], [],
    ),
    "an element that no round has come to": (
        "__global__ void k(const unsigned char* x, unsigned char* o) { int t = threadIdx.x;\n unsigned char line[9];\n for (int i = 0; i < t; ++i) line[i] = x[i];\n o[t] = line[t]; }",
        (1, 8, INTS.byte(), INTS.byte()), "uninitialised", ["the array line is read before"], [],
    ),
    "a maximum over one element too many": (
        "__global__ void k(const float* x, float* o) {\n float v[4];\n for (int i = 0; i < 3; ++i) v[i] = x[i] - 5;\n float top = v[0]; for (int i = 1; i < 4; ++i) top = fmaxf(top, v[i]);\n o[threadIdx.x] = top; }",
        (1, 8, Z(8), Z(8)), "uninitialised", ["the array v is read before"], [],
    ),
    "local array too short, beside another array": (
        "__global__ void k(const float* x, float* o) { __shared__ float s[8][33]; float r[4]; int t = threadIdx.x; for (int i = 0; i < 8; ++i) s[i][t] = x[t]; __syncthreads();\n for (int i = 0; i <= 4; ++i) r[i] = s[i][t];\n o[t] = r[0] + r[3]; }",
        (1, 32, Z(32), Z(32)), "out-of-bounds", ["r[4]", "r has index 0..3"], ["s["],
    ),
    "two elements swapped in a loop without a barrier": (
        "__global__ void k(float* x) { __shared__ float s[128]; int t = threadIdx.x; s[t] = s[t + 64] = x[t]; __syncthreads(); for (int d = 1, w = 64; d < 128; d *= 2, w /= 2) { if (t < d) { int a = w * (2 * t + 1) - 1, b = a + w;\n float v = s[a]; s[a] = s[b]; s[b] += v;\n } } __syncthreads(); x[t] = s[t]; }",
        (1, 64, Z(64)), "shared-race", ["A __syncthreads() is missing"], ["no barrier helps"],
    ),
    "the last block adds up, no fence": (
        "__device__ int count; __global__ void k(float* part, float* sum) { part[blockIdx.x] = 1; if (atomicAdd(&count, 1) == gridDim.x - 1) { float s = 0;\n for (int b = 0; b < gridDim.x; ++b) s += part[b];\n *sum = s; } }",
        (4, 1, Z(4), Z(1)), "global-race", ["__threadfence() behind the write"], ["Blocks run"],
    ),
    "the last block adds up, a fence for one block": (
        "__device__ int count; __global__ void k(float* part, float* sum) { part[blockIdx.x] = 1; __threadfence_block(); if (atomicAdd(&count, 1) == gridDim.x - 1) { __threadfence_block(); float s = 0;\n for (int b = 0; b < gridDim.x; ++b) s += part[b];\n *sum = s; } }",
        (4, 1, Z(4), Z(1)), "global-race", ["__threadfence() behind the write", "within a block only"], ["Blocks run"],
    ),
    "one counter for the grid, atomic for a block": (
        "__global__ void k(int* count) {\n atomicAdd_block(count, 1); }",
        (4, 32, INTS[:1]), "double-write", ["atomicAdd_block is atomic among the threads of one block only", "use atomicAdd."], ["index"],
    ),
    "a look at shared counts before all have counted": (
        "__global__ void k(const int* x, int* o) { __shared__ int n; if (threadIdx.x == 0) n = 0; __syncthreads();\n if (x[threadIdx.x] == 0) atomicAdd(&n, 1);\n if (threadIdx.x == 0) o[0] = n; }",
        (1, 64, INTS, INTS[:1]), "shared-race", ["A __syncthreads() is missing between line 2 and line 3"], ["__syncwarp"],
    ),
    "a __syncwarp() where other warps read": (
        "__global__ void k(const float* x, float* o) { __shared__ float s[64]; float v = 0; for (int i = 0; i < 2; ++i) v += x[i];\n s[threadIdx.x] = v;\n __syncwarp();\n o[threadIdx.x] = s[63 - threadIdx.x]; }",
        (1, 64, Z(64), Z(64)), "shared-race", ["A __syncthreads() is missing between line 2 and line 4"], ["round"],
    ),
    "one sum used twice": (
        "__device__ float total(float v, float* s) {\n if (threadIdx.x % 32 == 0) s[threadIdx.x / 32] = v;\n __syncthreads();\n float sum = 0; for (int i = 0; i < 2; ++i) sum += s[i];\n return sum; }\n__global__ void k(const float* x, float* o) { __shared__ float s[2]; float v = x[threadIdx.x]; for (int i = 0; i < 2; ++i) v = total(v, s);\n o[threadIdx.x] = v; }",
        (1, 64, Z(64), Z(64)), "shared-race", ["between line 4 and the next call, which comes to line 2 again"], [],
    ),
    "doubles behind an odd number of floats": (
        "extern __shared__ float s[]; __global__ void k(float* o) { double* d = (double*)(s + 5); s[threadIdx.x] = 0;\n d[threadIdx.x] = 1;\n __syncthreads(); o[threadIdx.x] = d[threadIdx.x]; }",
        (1, 5, Z(5)), "misaligned", ["byte 20 of s, no multiple of 8", "largest elements come first"], ["width"], {"shared_bytes": 64},
    ),
    "a product beyond int": (
        "__global__ void k(const int* x, int* o, int n) { int i = 60000 + threadIdx.x;\n o[threadIdx.x] = x[i * i % n]; }",
        (1, 8, INTS, INTS[:8], 63), "out-of-bounds", ["too large for int"], [],
    ),
    "a lock without fences": (
        "__global__ void k(int* lock, float* s) { while (atomicCAS(lock, 0, 1) != 0) {}\n s[0] += 1.0f;\n atomicExch(lock, 0); }",
        (4, 1, INTS[:1], Z(1)), "global-race", ["it lacks its fences"], ["Blocks run"],
    ),
    "neighbours in place, of other blocks and of one's own warp": (
        "__global__ void k(float* x) { int i = blockIdx.x * 32 + threadIdx.x; if (i > 0 && i < 127)\n x[i] = x[i - 1] + x[i + 1]; }",
        (4, 32, Z(128)), "global-race", ["Blocks run in any order"], ["__syncwarp() is missing"],
    ),
    "two shared arrays, one barrier for both": (
        "__global__ void k(const float* a, float* o) { __shared__ float s[16][16], t[16][16]; int x = threadIdx.x, y = threadIdx.y;\n s[y][x] = a[x]; t[y][x] = a[y];\n float v = 0; for (int i = 0; i < 16; ++i) v += s[y][i] * t[i][x];\n o[y * 16 + x] = v; }",
        (1, (16, 16), Z(16), Z(256)), "shared-race", ["A __syncthreads() is missing between line 2 and line 3"], ["__syncwarp() is missing"],
    ),
    "dynamic shared memory that was not asked for": (
        "extern __shared__ float s[]; __global__ void k(float* x) { int t = threadIdx.x;\n s[t] = x[t];\n __syncthreads(); x[t] = s[31 - t]; }",
        (1, 32, Z(32)), "out-of-bounds", ["gave 0 bytes of dynamic shared memory", "shared_bytes="], ["tensor"],
    ),
    "half a pair beyond the end": (
        "__global__ void k(const float* x, float* o) { int t = threadIdx.x; const float2* p = (const float2*)x;\n float2 v = p[t];\n o[t] = v.x + v.y; }",
        (1, 4, Z(7), Z(4)), "out-of-bounds", ["x[6..7], valid: 0..6"], [],
    ),
    "a pointer that was not given": (
        "__global__ void k(const float* x, const float* y, float* o) { int t = threadIdx.x;\n o[t] = x[t] + y[t]; }",
        (1, 4, Z(4), None, Z(4)), "null-pointer", ["the launch gave None for y"], [],
    ),
    "a maximum that one thread sets first": (
        "__global__ void k(const int* x, int* o) { __shared__ int m; int t = threadIdx.x; if (t == 0) m = -1;\n int old = m; while (old < x[t]) { int seen = old; old = atomicCAS(&m, seen, x[t]); if (old == seen) break; }\n __syncthreads(); if (t == 0) o[0] = m; }",
        (1, 64, INTS, INTS[:1]), "shared-race", ["A __syncthreads() is missing"], [],
    ),
    "grid of two dimensions too small": (
        "__global__ void k(float* o, int w) { o[(blockIdx.y * 8 + threadIdx.y) * w + blockIdx.x * 8 + threadIdx.x] = 1; }",
        ((2, 2), (8, 8), Z(20, 20), 20), "unwritten", ["256 threads were launched for 400 elements"], [],
    ),
    "a look beside an atomic": (
        "__global__ void k(const int* edge, int* level, int n) { int v = blockIdx.x * blockDim.x + threadIdx.x;\n if (v < n && level[v] == 0) {\n atomicCAS(&level[edge[v]], -1, 1); } }",
        (2, 2, torch.tensor([2, 3, 0, 0], dtype=torch.int32), torch.tensor([0, 0, -1, -1], dtype=torch.int32), 4), "global-race", ["Line 3 changes level by an atomic, while line 2 reads it", "volatile"], ["Blocks run", "__syncthreads"],
    ),
    "a place in a list by a look": (
        "__global__ void k(const int* x, int* o, int* n) { if (x[threadIdx.x] & 1) {\n int at = *n; atomicAdd(n, 1);\n o[at] = x[threadIdx.x]; } }",
        (2, 32, torch.arange(32, dtype=torch.int32), INTS, INTS[:1]), "global-race", ["n[0]", "What atomicAdd returns"], ["__syncthreads"],
    ),
    "another thread's local array": (
        "__global__ void k(float* o) { __shared__ float* p; float mine[4] = {1, 2, 3, 4}; if (threadIdx.x == 0) p = mine; __syncthreads();\n o[threadIdx.x] = p[threadIdx.x & 3]; }",
        (1, 32, Z(32)), "out-of-bounds", ["reads the local memory of another thread", "was handed on"], ["past the end"],
    ),
    "a reduction by volatile, as before Volta": (
        "__global__ void k(float* x) { __shared__ float s[64]; int t = threadIdx.x; s[t] = x[t]; __syncthreads(); if (t < 32) { volatile float* v = s;\n v[t] += v[t + 32]; v[t] += v[t + 16]; v[t] += v[t + 8];\n } if (t == 0) x[0] = s[0]; }",
        (1, 64, Z(64)), "shared-race", ["A __syncwarp() is missing between the reading and the writing in line 2"], ["loop"],
    ),
    "a look, then a store": (
        "__global__ void k(const float* x, float* best) { int t = threadIdx.x;\n if (x[t] > *best) *best = x[t]; }",
        (1, 64, torch.arange(64.0), Z(1)), "global-race", ["looks at best and then sets it", "atomicMax"], ["Blocks run", "__syncthreads"],
    ),
    "the second barrier of a loop": (
        "__global__ void k(const float* a, float* o) { __shared__ float s[64]; float v = 0; int t = threadIdx.x; for (int i = 0; i < 4; ++i) { s[t] = a[t + i];\n\n __syncthreads();\n v += s[63 - t]; }\n o[t] = v; }",
        (1, 64, Z(80), Z(64)), "shared-race", ["between line 4 and the next round of the loop, which comes to line 1 again"], ["between line 1 and line 4"],
    ),
    "a loop over the grid that goes on by a block": (
        "__global__ void k(float* x, int n) { for (int i = blockIdx.x * 64 + threadIdx.x; i < n; i += 64)\n x[i] *= 2; }",
        (4, 64, Z(256), 256), "global-race", ["goes on by blockDim.x * gridDim.x"], ["a lock"],
    ),
    "a flag, and its reset without a barrier": (
        "__global__ void k(const float* x, int* o) { __shared__ bool found; if (threadIdx.x == 0) found = false;\n if (x[threadIdx.x] > 0) found = true;\n __syncthreads(); if (threadIdx.x == 0) o[0] = found; }",
        (1, 64, torch.arange(64.0), INTS[:1]), "shared-race", ["A __syncthreads() is missing between line 1 and line 2"], [],
    ),
    "a volatile flag, and its reset without a barrier": (
        "__global__ void k(const float* x, int* o) { __shared__ volatile bool found; if (threadIdx.x == 0) found = false;\n if (x[threadIdx.x] > 0) found = true;\n __syncthreads(); if (threadIdx.x == 0) o[0] = found; }",
        (1, 64, torch.arange(64.0), INTS[:1]), "shared-race", ["A __syncthreads() is missing between line 1 and line 2"], [],
    ),
    "an index out of another array": (
        "__global__ void k(const int* x, int* o) { __shared__ int s[8]; s[threadIdx.x & 7] = 0; __syncthreads();\n atomicAdd(&s[x[threadIdx.x]], 1);\n __syncthreads(); o[threadIdx.x] = s[threadIdx.x & 7]; }",
        (1, 32, torch.arange(32, dtype=torch.int32), INTS), "out-of-bounds", ["comes out of another array"], ["guard"],
    ),
    "blocks that wait for earlier ones, the last block first": (
        "__global__ void k(volatile int* f, float* x) { int b = blockIdx.x; if (b > 0)\n while (f[b - 1] == 0) {}\n __threadfence(); x[b] = 1; __threadfence(); f[b] = 1; }",
        (4, 1, INTS[:4], Z(4)), "infinite-loop", ["never ends: it waits", "atomic counter"], ["mode="], {"timeout": 0.5, "reverse": True},
    ),
    "two arrays cut out of one, too short": (
        "extern __shared__ float s[]; __global__ void k(const float* x, float* o, int n) { float *a = s, *b = s + n / 2; int t = threadIdx.x; a[t] = x[t];\n b[t] = x[t] + 1;\n __syncthreads(); o[t] = a[n - 1 - t] + b[t]; }",
        (1, 64, torch.arange(64.0), Z(64), 64), "shared-race", ["cut out of s overlap"], [], {"shared_bytes": 512},
    ),
    "the remainder of a negative number": (
        "__global__ void k(const float* x, float* o, int n) { int t = threadIdx.x;\n o[t] = x[(t - 1) % n]; }",
        (1, 64, Z(64), Z(64), 64), "out-of-bounds", ["x[-1]", "remainder (%) of a negative number"], [],
    ),
    "a flag without its fences": (
        "__global__ void k(const float* x, float* o) { __shared__ float s[32]; __shared__ volatile int ready; int t = threadIdx.x; if (t == 0) ready = 0; __syncthreads(); if (t < 32) { s[t] = x[t]; __syncwarp();\n if (t == 0) ready = 1; }\n else { while (ready == 0) {}\n o[t - 32] = s[t - 32]; } }",
        (1, 64, Z(32), Z(32)), "shared-race", ["ready is a flag", "lacks its fences"], ["__syncthreads() is missing"],
    ),
    "a lock that nobody opens": (
        "__global__ void k(int* lock, float* s) { if (threadIdx.x == 0) {\n while (atomicCAS(lock, 0, 1) != 0) {}\n s[0] += 1.0f; } }",
        (2, 32, INTS[:1], Z(1)), "infinite-loop", ["never ends"], [], {"timeout": 0.3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_cause_follows_from_the_evidence(name):
    source, how, kind, said, unsaid, *options = WRONG[name]
    first, *rest = launch(source, *how, **options[0] if options else {}).findings
    elsewhere = (
        kind == "unwritten" or "reduction" in name or "second barrier" in name or "cut out" in name
    )
    assert first.kind == kind and (2 in first.lines or elsewhere)
    text = f"{first.message} {first.cause}"
    assert all(words in text for words in said), text
    assert not any(words in text for words in unsaid), text
    if any(words in name for words in ("local array", "constant array", "tile")):
        assert not rest  # no false one in its train


FLAG = "__global__ void k(volatile int* ready, float* data) {{ int b = blockIdx.x; if (b > 0) {{ while (ready[b - 1] == 0) {{}}\n __threadfence(); data[b] = data[b - 1] * 2; }} else data[0] = 1; {} ready[b] = 1; }}"
RIGHT = {
    "a volatile flag that says that a thread of one's own block is ready": (
        "__global__ void k(volatile int* f, float* x) { int t = threadIdx.x; if (t == 0) { while (*f == 0) {} __threadfence(); x[1] = x[0] + 1; } if (t == 40) { x[0] = 1; __threadfence(); *f = 1; } }",
        (1, 64, INTS[:1], Z(2)),
    ),
    "a volatile flag in shared memory between two warps": (
        "__global__ void k(const float* x, float* o) { __shared__ float s[32]; __shared__ volatile int ready; int t = threadIdx.x; if (t == 0) ready = 0; __syncthreads(); if (t < 32) { s[t] = x[t]; __threadfence_block(); __syncwarp(); if (t == 0) { __threadfence_block(); ready = 1; } } else { while (ready == 0) {} __threadfence_block(); o[t - 32] = s[t - 32]; } }",
        (1, 64, Z(32), Z(32)),
    ),
    "a flag that all set": ("__global__ void k(int* f) { if (threadIdx.x > 3) *f = 1; }", (4, 64, INTS[:1])),
    "a volatile flag that ends a search": (
        "__global__ void k(const int* x, int* found) { for (int i = threadIdx.x; i < 64; i += 32) { if (*(volatile int*)found) return; if (x[i] == 0) *(volatile int*)found = 1; } }",
        (4, 32, INTS, INTS[:1]),
    ),
    "a look before an atomicMax": (
        "__global__ void k(const int* x, int* top) { int v = x[threadIdx.x]; if (v > *top) atomicMax(top, v); }",
        (2, 64, torch.arange(64, dtype=torch.int32), INTS[:1]),
    ),
    "a lock": (
        "__global__ void k(int* lock, float* s) { bool done = false; while (!done) if (atomicCAS(lock, 0, 1) == 0) { __threadfence(); s[0] += 1.0f; __threadfence(); atomicExch(lock, 0); done = true; } }",
        (4, 64, INTS[:1], Z(1)),
    ),
    "the guide's own CAS loop": (
        "__global__ void k(const float* x, float* m) { int* p = (int*)m; int old = *p, seen; float v = x[threadIdx.x]; do { seen = old; old = atomicCAS(p, seen, __float_as_int(fmaxf(v, __int_as_float(seen)))); } while (seen != old); }",
        (4, 64, Z(64), Z(1)),
    ),
    "5,000 __syncwarp()": (
        "__global__ void k(int* x) { __shared__ int r[2][32]; int t = threadIdx.x; r[0][t] = x[t]; __syncwarp(); for (int i = 0; i < 5000; ++i) { r[(i + 1) & 1][t] = r[i & 1][(t + 1) & 31]; __syncwarp(); } x[t] = r[0][t]; }",
        (1, 32, INTS[:32]),
    ),
    "an input full of NaN": ("__global__ void k(float* x, float* o) { o[threadIdx.x] = x[threadIdx.x]; }", (1, 4, torch.full((4,), torch.nan), Z(4))),
    "a constant with a value in the source": ("__constant__ float c[2] = {1, 2}; __global__ void k(float* o) { o[threadIdx.x] = c[threadIdx.x]; }", (1, 2, Z(2))),
    "names of one's own": ("struct SimParams { int n; };\n__global__ void k(int* o) { SimParams sim_p{3}; int sim_step = sim_p.n; o[threadIdx.x] = sim_step; }", (1, 4, INTS[:4])),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_has_no_finding(name):
    source, how = RIGHT[name]
    for reverse in (False, True):
        report = launch(source, *how, reverse=reverse)
        assert report.ok, report


def test_two_dynamic_arrays_are_one():
    source = "__global__ void k(float* o) { extern __shared__ float a[]; extern __shared__ int b[]; int t = threadIdx.x; a[t] = 1; b[t] = 2; o[t] = a[t]; }"
    (note,) = launch(source, 1, 4, Z(4), shared_bytes=32).notes
    assert "a and b are one array" in note
    two = source + source.replace("k(", "l(").replace("a[", "c[").replace("b[", "d[")
    assert not cuda.compile(two, "k", use_nvrtc=False)[1, 4, 32](Z(4)).notes


def test_a_flag_is_a_note_and_so_are_old_contents():
    assert "same constant" in str(
        launch(*RIGHT["a flag that all set"][:1], *RIGHT["a flag that all set"][1])
    )
    (note,) = launch("__global__ void k(int* h) { atomicAdd(&h[0], 1); }", 1, 32, INTS[:1]).notes
    assert "h was read before it was written" in note


COMPACT = "__global__ void k(const int* x, int* o, int* n) { int v = x[threadIdx.x]; if (v & 1) o[atomicAdd(n, 1)] = v; }"


def test_a_list_of_what_was_found_need_not_fill_its_array():
    how = (1, 64, torch.arange(64, dtype=torch.int32), INTS, INTS[:1])
    report = launch(COMPACT, *how)
    assert report.ok and any("32 of 64 elements of o were not written" in n for n in report.notes)
    assert launch(COMPACT, *how, outputs=["o"]).kinds == {"unwritten"}


def test_named_outputs_are_all_the_outputs():
    mark = "__global__ void k(const float* x, float* o) { int t = threadIdx.x; if (x[t] > 0) o[t] = 1; }"
    (finding,) = launch(mark, 1, 32, torch.arange(32.0), Z(32)).findings
    assert finding.kind == "unwritten" and "outputs=" in finding.cause
    assert launch(mark, 1, 32, torch.arange(32.0), Z(32), outputs=[]).ok


def test_a_line_that_says_also_names_other_lines_only():
    text = str(launch("""__global__ void k(float* x) { __shared__ float s[64]; int t = threadIdx.x;
s[t] = x[t];
x[t] = s[63 - t];
s[t] = 2;
}""", 1, 64, Z(64)))  # fmt: skip
    assert "Also between lines 3 and 4." in text and "3 and 2" not in text


def test_what_went_out_of_bounds_is_missing_elsewhere():
    source = "__global__ void k(float* o, int w) { int t = threadIdx.x; o[t * w] = t; }"
    _, unwritten = launch(source, 1, 32, Z(32), 2).findings
    assert unwritten.kind == "unwritten" and "went out of bounds" in unwritten.cause


def test_a_wrong_mask_comes_before_what_follows_from_it():
    source = "__global__ void k(int* x) { int t = threadIdx.x; for (int d = 1; d < 32; d *= 2)\n x[t] += __shfl_up_sync(0xffff, t, d);\n __syncthreads(); }"
    assert [f.kind for f in launch(source, 1, 64, INTS).findings] == ["warp-mask", "deadlock"]


@pytest.mark.parametrize("call", ["v += w.shfl_down(v, 1);", "v += w.any(v > 1);", "v += cg::reduce(w, v, cg::plus<float>());"])  # fmt: skip
def test_a_group_operation_that_some_leave_out_is_told_at_its_line(call):
    (finding,) = launch(f"""#include <cooperative_groups/reduce.h>
namespace cg = cooperative_groups;
__global__ void k(float* a) {{ auto w = cg::tiled_partition<32>(cg::this_thread_block());
float v = a[threadIdx.x];
if (threadIdx.x < 5)
    {call}
__syncthreads();
a[threadIdx.x] = v; }}""", 1, 64, Z(64)).findings  # fmt: skip
    assert finding.kind == "deadlock" and finding.line == 6


def test_a_volatile_flag_between_blocks_needs_its_fence():
    how = (4, 1, INTS[:4], Z(4))
    assert launch(FLAG.format("__threadfence();"), *how).ok
    assert launch(FLAG.format(""), *how).kinds == {"global-race"}


def test_a_slow_kernel_is_not_called_endless():
    copy = "__global__ void k(const float* a, float* o, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) o[i] = a[i]; }"
    (slow,) = launch(copy, 1_000_000, 1024, Z(64), Z(64), 64, timeout=0.3).findings
    assert (
        slow.kind == "timeout"
        and "of 1,000,000 blocks done" in slow.message
        and "no endless loop" in slow.cause
    )
    (endless,) = launch(
        "__global__ void k(float* o) { while (true) {} }", 2, 32, Z(1), timeout=0.3
    ).findings
    assert endless.kind == "infinite-loop" and endless.line == 1
    (many,) = launch(
        "__global__ void k(int* o) { o[0] = 1; }",
        (65536, 32768, 2),
        1,
        INTS[:1],
        mode="fast",
        timeout=0.3,
    ).findings
    assert many.kind == "timeout" and "of 4,294,967,296 blocks" in many.message


C = "__constant__ float c[4]; __device__ int d; __global__ void k(float* o) { o[threadIdx.x] = c[threadIdx.x]; if (threadIdx.x == 0) atomicAdd(&d, 5); }"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.ones(4, dtype=torch.int32), r"c is a float\[4\] and takes float32, got int32"),
        (np.ones(4), r"c is a float\[4\] and takes float32, got float64"),
        (["a"], "which cannot hold"),
        (torch.ones(5), "'c' holds 16 bytes, 20 were given"),
    ],
)
def test_constants_are_checked_as_arguments_are(given, message):
    with pytest.raises(cuda.LaunchError, match=message):
        launch(C, 1, 4, Z(4), constants={"c": given})


def test_constants_take_numbers_and_are_watched_to_their_end():
    assert launch(C, 1, 4, Z(4), constants={"c": [1, 2, 3, 4]}).ok
    (f,) = launch(C, 1, 4, Z(4), constants={"c": [1, 2, 3]}).findings
    assert f.kind == "uninitialised" and f.array.name == "c" and f.element == 3


def test_a_device_variable_comes_back():
    d = torch.tensor([2], dtype=torch.int32)
    launch(C, 1, 4, Z(4), constants={"c": [1, 2, 3, 4], "d": d})
    assert d.item() == 7


def test_debug_information_names_arrays_and_shapes():
    kernel = cuda.compile(
        "#define W 5\n__constant__ short f[W * W]; template <int N> __global__ void k(float* o) { __shared__ float s[N + 2][N]; double l[W]; s[threadIdx.x][0] = 1; l[threadIdx.x] = f[0]; o[0] = s[0][0] + l[threadIdx.y]; }",
        "k<6>", use_nvrtc=False,
    )  # fmt: skip
    known = {
        v.name: (v.space, v.shape, v.type, v.itemsize)
        for v in debuginfo.variables(kernel.built("checked").path)
        if v.name in "fsl"
    }
    assert known == {
        "f": ("static", (25,), "short int", 2),
        "s": ("shared", (8, 6), "float", 4),
        "l": ("local", (5,), "double", 8),
    }


GUARDED = """
struct Pixel { float v; __device__ Pixel() {} };
__global__ void k(float* o, long away) {
    __shared__ float a[32];
    __shared__ Pixel p[4];
    int t = threadIdx.x;
    a[t] = p[t & 3].v = 1;
    if (t == 0) ((char*)a)[away] = 1;
    o[t] = a[t];
}"""


def test_the_compilers_own_flag_is_no_access_outside():
    """g++ 13 sets a guard of an array of structures from another array; here the source does."""
    kernel = cuda.compile(GUARDED, use_nvrtc=False)
    elf = ELFFile(io.BytesIO(kernel.built("checked").path.read_bytes()))
    symbols = {s.name[:4]: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()
               if s["st_info"]["type"] == "STT_TLS" and s.name[-1] in "ap"}  # fmt: skip
    guard = symbols["_ZGV"] - symbols["_ZZ1"]
    assert kernel[1, 32](Z(32), guard).ok
    assert kernel[1, 32](Z(32), guard + 1).kinds == {"out-of-bounds"}


# ---- the lab's own failures ---------------------------------------------------------------------

ONES = "__global__ void k(float* out) { out[threadIdx.x] = 1.0f; }"
CASE = SourceCase("four ones", "k", (1,), (4,), (torch.zeros(4),), 0, torch.ones(4).double())
SPEC = SourceSpec("x", lambda seed: [CASE])


def judged(source=ONES):
    return judge_source(source, SPEC, isolation="preferred")


def test_a_launcher_that_does_not_start_is_the_labs_failure(monkeypatch, tmp_path):
    dead = tmp_path / "launcher"
    dead.write_text("#!/bin/sh\necho no such luck >&2\n")
    dead.chmod(0o755)
    monkeypatch.setattr(compiler, "launcher", lambda: dead)
    with pytest.raises(cuda.LabFailed, match="did not start: no such luck"):
        launch(ONES, 1, 4, Z(4))
    with pytest.raises(NotJudged, match="not graded: for four ones, .*did not start"):
        judged()


def test_a_process_that_the_system_ends_is_the_labs_failure(monkeypatch):
    for answer, said in (
        (b"", "without an answer"),
        (b'{"exit": %d}\n' % -signal.SIGKILL, "no memory left"),
    ):
        monkeypatch.setattr(workers.Worker, "__call__", lambda *a, answer=answer: (answer, ""))
        with pytest.raises(cuda.LabFailed, match=said):
            launch(ONES, 1, 4, Z(4))


def test_grading_tries_again(monkeypatch):
    seconds, real = [], cpu._run

    def busy(fd, spec, built, timeout, isolation):
        seconds.append(timeout)
        if len(seconds) == 1:
            raise cuda.LabFailed("the machine is too busy")
        return real(fd, spec, built, timeout, isolation)

    monkeypatch.setattr(cpu, "_run", busy)
    assert all(v.passed for v in judged()) and seconds == [3.0, 12.0]


def test_a_slow_kernel_is_not_graded_and_an_endless_one_is(monkeypatch):
    monkeypatch.setattr(sources, "_SLOWER", 1.5)
    many = SourceCase(
        "many blocks", "k", (1_000_000,), (1024,), (torch.zeros(4),), 0, torch.ones(4).double()
    )
    spec = SourceSpec("x", lambda seed: [many], timeout=0.2)
    guarded = "__global__ void k(float* out) { if (blockIdx.x == 0 && threadIdx.x < 4) out[threadIdx.x] = 1.0f; }"
    with pytest.raises(NotJudged, match="of 1,000,000 blocks done"):
        judge_source(guarded, spec, isolation="preferred")
    verdicts = judge_source(
        guarded.replace("if (", "while (out) {} if ("), spec, isolation="preferred"
    )
    assert "Infinite loop" in next(v.sentence for v in verdicts if v.aspect == "clean")


# ---- a file as it is ----------------------------------------------------------------------------

FILE = r"""
#include <iostream>
#include <vector>
#include <cuda_runtime.h>
#define CHECK(call) do { cudaError_t e = call; if (e != cudaSuccess) { \
    std::cerr << cudaGetErrorString(e) << std::endl; exit(1); } } while (0)
using namespace std;
__global__ void add(const float* A, const float* B, float* C, int N) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < N) C[i] = A[i] + B[i];  // line 10
}
struct Timer { cudaEvent_t a, b; void start() { cudaEventRecord(a); } };
static int up(int a, int b) { return (a + b - 1) / b; }
extern "C" void solve(const float* A, const float* B, float* C, int N) {
    add<<<up(N, 256), 256>>>(A, B, C, N);
    cudaDeviceSynchronize();
}
int main(int argc, char** argv) {
    std::vector<float> h(100);
    float* d; CHECK(cudaMalloc(&d, 400));
    solve(d, d, d, 100);
    return 0;
}
"""


def test_a_whole_file_with_its_host_part():
    out = Z(100)
    assert cuda.compile(FILE, use_nvrtc=False)[1, 128](
        torch.ones(100), torch.ones(100), out, 100
    ).ok
    assert (out == 2).all()
    report = cuda.compile(FILE, use_nvrtc=False)[1, 128](Z(100), Z(100), Z(100), 101)
    assert {f.line for f in report.findings} == {10}


def test_a_library_of_the_host_part_is_left_out_and_refused_in_a_kernel():
    host = """
#include <thrust/device_vector.h>
#include <cublas_v2.h>
__global__ void k(float* o) { o[0] = %s; }
int main() { thrust::device_vector<float> v(3); }
"""
    assert cuda.compile(host % "1", use_nvrtc=False)[1, 1](Z(1)).ok
    with pytest.raises(cuda.CompileError, match="thrust/device_vector.h is CUDA's"):
        read(host % "thrust::max(1, 2)")


def test_all_refusals_come_at_once():
    with pytest.raises(cuda.CompileError) as error:
        read(
            '#include <curand_kernel.h>\n__global__ void k(float* a) {\n asm("x");\n std::sort(0, 0);\n k<<<1, 1>>>(a);\n}'
        )
    for words in (
        "kernel.cu:1:1: the header curand_kernel.h is CUDA's",
        "kernel.cu:3:2: inline PTX",
        "kernel.cu:4:2: the C++ standard library",
        "kernel.cu:5:3: a launch with <<<",
    ):
        assert words in str(error.value)
    assert str(error.value).count("kernel.cu:") == 4  # each once


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("template <int N> __global__ void conv(float* a) { a[0] = N; }", "conv", r"conv is a template <int N>: name it with its arguments, such as 'conv<16>'"),
        ("__global__ void k(float& a) {}", "", r"'float& a' is a reference"),
        ("__global__ int k(float* a) { return 1; }", "", "must return void"),
        ("int half(int a) { return a / 2; }\n__global__ void k(float* a) { a[half(2)] = 1; }", "", r"kernel.cu:2:33: half \(line 1\) is a host function"),
        ("__global__ void k(float* a) { atomicMax(a, 1.0f); }", "", r"kernel.cu:1:40: atomicMax takes integers only"),
        ("__global__ void k(float* a) { a[0] = max(a[0], 0); }", "", "kernel.cu:1:41: error: .*ambiguous"),
        ("__global__ void k(float* a) { if (a) { a[0] = 1; }", "", "expected .}. at end of input"),
        (None, "", "the source is a text, not None"),
    ],
)  # fmt: skip
def test_messages_are_about_the_students_text(source, name, message):
    with pytest.raises(cuda.CompileError, match=message) as error:
        cuda.compile(source, name, use_nvrtc=False).built("checked")
    said = str(error.value).lower()
    assert not any(words in said for words in ("cnnlab_", "cuda_sim", "launch:", "<command"))


def test_vector_types_are_passed_as_tuples():
    out = Z(1)
    kernel = cuda.compile(
        "__global__ void k(int2 p, dim3 d, float4 f, float* o) { o[0] = p.x + p.y + d.z + f.w; }",
        use_nvrtc=False,
    )
    assert kernel[1, 1]((1, 2), (3, 4, 5), (1.0, 2.0, 3.0, 4.0), out).ok and out.item() == 12
    with pytest.raises(cuda.LaunchError, match="p is an int2 and takes 2 numbers, got 1"):
        kernel[1, 1](1, (3, 4, 5), (1.0, 2.0, 3.0, 4.0), out)


GUIDE = """
typedef struct { int width, height; float* elements; } Matrix;
enum Mode { PLAIN, TWICE };
struct Taps { float w[2]; bool on; struct { short a, b; } in; };
__global__ void product(const Matrix A, const Matrix B, Matrix C, Mode mode) {
    int row = threadIdx.y, col = threadIdx.x; float v = 0;
    for (int e = 0; e < A.width; ++e) v += A.elements[row * A.width + e] * B.elements[e * B.width + col];
    C.elements[row * C.width + col] = mode == TWICE ? 2 * v : v;
}
__global__ void taps(Taps t, float* o) { o[threadIdx.x] = t.w[threadIdx.x] * t.on + t.in.b; }
"""


def test_structures_are_passed_as_tuples_with_tensors_in_them():
    a, b, c = torch.randn(6, 5), torch.randn(5, 7), Z(6, 7)
    product = cuda.compile(GUIDE, "product", use_nvrtc=False)
    wide = ((5, 6, a), (7, 5, b), (7, 6, c), 1)
    assert product.launch(1, (7, 6), *wide, outputs=["C.elements"]).ok
    torch.testing.assert_close(c, 2 * a @ b)
    (outside,) = (f for f in product[1, (7, 7)](*wide).findings if f.write)
    assert "C.elements[42] (row 6, column 0 of 6×7)" in outside.message
    out, taps = Z(2), cuda.compile(GUIDE, "taps", use_nvrtc=False)
    assert taps[1, 2](([3.0, 4.0], True, (5, 6)), out).ok and out.tolist() == [9, 10]
    for given, message in (
        (1, "t is a Taps and takes 5 numbers, got 1"),
        (([3.0, 4.0], True, (5, 6.5)), "t.in.b is a short int, but 6.5 is no integer"),
    ):
        with pytest.raises(cuda.LaunchError, match=message):
            taps[1, 2](given, out)
    with pytest.raises(cuda.LaunchError, match="A.elements is a float. and takes float32"):
        product[1, 1]((5, 6, a.double()), *wide[1:])
    union = "union U { int i; float f; }; __global__ void k(U u, float* o) { o[0] = u.f; }"
    with pytest.raises(cuda.LaunchError, match="u is a U, whose fields are no numbers"):
        cuda.compile(union, use_nvrtc=False)[1, 1](1, out)


def test_many_findings_are_shown_in_part():
    body = "".join(f" a[{100 + i}] = 1;\n" for i in range(20))
    text = str(launch(f"__global__ void k(float* a) {{\n{body}}}", 1, 1, Z(1)))
    assert (
        text.count("out of bounds: a[") == 5
        and "... and 16 more (out of bounds, never written)" in text
    )
