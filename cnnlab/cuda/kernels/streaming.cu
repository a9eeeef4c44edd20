// Rung 7: no shared memory at all.
// The coarsened kernel still moves every pixel three times: into shared memory, out of it, through a barrier. Here a
// thread owns four columns and walks down ROWS + K - 1 image rows. Each row comes in by one 16-byte load a thread; its
// neighbours' pixels come by shuffles; only the first and the last lane of a warp load a few more. A pixel is used for
// all K rows of outputs that need it while it sits in a register, and then never again: what the kernel moves is
// nearly what a copy moves. The filter is a constant operand of the multiplications, which costs no load.
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>  // WIDTH x STRIPS threads, WIDTH a multiple of 32, K at most 9
__global__ void __launch_bounds__(WIDTH* STRIPS) conv2d(const float* in, float* out, int h, int w) {
    constexpr int R = K / 2;
    int col = 4 * (blockIdx.x * WIDTH + threadIdx.x), row = (blockIdx.y * STRIPS + threadIdx.y) * ROWS;
    int lane = threadIdx.x % 32;
    bool whole = w % 4 == 0 && col + 4 <= w;  // else the rows do not start at multiples of 16 bytes
    float sum[ROWS][4] = {};                  // unrolled, at most K of these rows are alive at a time
#pragma unroll
    for (int j = 0; j < ROWS + K - 1; ++j) {
        int r = row + j - R;
        if (r >= 0 && r < h) {  // the same for all lanes of a warp, so that they can shuffle
            const float* line = in + (size_t)r * w;
            float v[4 + 2 * R];  // columns col - R to col + 3 + R
            if (whole) {
                float4 m = *reinterpret_cast<const float4*>(line + col);
                v[R] = m.x, v[R + 1] = m.y, v[R + 2] = m.z, v[R + 3] = m.w;
            } else {
#pragma unroll
                for (int i = 0; i < 4; ++i) v[R + i] = col + i < w ? line[col + i] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < R; ++i) {
                float left = __shfl_up_sync(0xffffffff, v[4 + i], 1);
                float right = __shfl_down_sync(0xffffffff, v[R + i], 1);
                int c = lane == 0 ? col - R + i : col + 4 + i;
                if (lane == 0 || lane == 31) {
                    float edge = c >= 0 && c < w ? line[c] : 0.0f;
                    if (lane == 0) left = edge;
                    else right = edge;
                }
                v[i] = left, v[R + 4 + i] = right;
            }
#pragma unroll
            for (int o = 0; o < ROWS; ++o) {
                if (j - o < 0 || j - o >= K) continue;
#pragma unroll
                for (int i = 0; i < K; ++i)
#pragma unroll
                    for (int x = 0; x < 4; ++x) sum[o][x] += v[x + i] * filter[(j - o) * K + i];
            }
        }
        if (j < K - 1 || row + j - (K - 1) >= h) continue;
        const float* s = sum[j - (K - 1)];  // this row of outputs is complete
        float* to = out + (size_t)(row + j - (K - 1)) * w;
        if (whole) {
            *reinterpret_cast<float4*>(to + col) = make_float4(s[0], s[1], s[2], s[3]);
        } else {
#pragma unroll
            for (int x = 0; x < 4; ++x)
                if (col + x < w) to[col + x] = s[x];
        }
    }
}
