// Rung 6: several outputs a thread.
// The tiled kernel loads K x K shared words an output; shared memory, not DRAM, then sets the pace. Here a thread
// computes ROWS outputs of one column. Each word that it loads is used for up to K of them while it sits in a register:
// K (ROWS + K - 1) / ROWS shared loads an output, 7.5 instead of 25 for K = 5 and ROWS = 8.
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>  // launched with WIDTH x STRIPS threads
__global__ void __launch_bounds__(WIDTH* STRIPS) conv2d(const float* in, float* out, int h, int w) {
    constexpr int HEIGHT = STRIPS * ROWS;
    constexpr int TILE_W = WIDTH + K - 1, TILE_H = HEIGHT + K - 1;
    __shared__ float tile[TILE_H][TILE_W];
    int top = (int)blockIdx.y * HEIGHT - K / 2, left = (int)blockIdx.x * WIDTH - K / 2;
    for (int j = threadIdx.y; j < TILE_H; j += STRIPS) {
        int r = top + j;
        for (int i = threadIdx.x; i < TILE_W; i += WIDTH) {
            int c = left + i;
            tile[j][i] = r >= 0 && r < h && c >= 0 && c < w ? in[(size_t)r * w + c] : 0.0f;
        }
    }
    __syncthreads();

    // The accumulators are indexed by constants only once the loops are unrolled; else they would live in memory.
    float sum[ROWS] = {};
    int first = threadIdx.y * ROWS;
#pragma unroll
    for (int i = 0; i < K; ++i) {
#pragma unroll
        for (int j = 0; j < ROWS + K - 1; ++j) {
            float v = tile[first + j][threadIdx.x + i];
#pragma unroll
            for (int o = 0; o < ROWS; ++o) {
                if (j - o >= 0 && j - o < K) sum[o] += v * filter[(j - o) * K + i];
            }
        }
    }
    int col = blockIdx.x * WIDTH + threadIdx.x, row = blockIdx.y * HEIGHT + first;
    if (col >= w) return;
#pragma unroll
    for (int o = 0; o < ROWS; ++o) {
        if (row + o < h) out[(size_t)(row + o) * w + col] = sum[o];
    }
}
