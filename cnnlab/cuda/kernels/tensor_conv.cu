// Rung 11: the layer on tensor cores.
// The implicit matrix product again, in TF32: floats whose last 13 bits the tensor cores leave out. Eight warps compute
// 64 channels x 128 pixels, each 32 x 32 of them in four fragments. The sum runs over the filter's taps and, for each, over
// the channels, 32 at a time: where a pixel lies is then worked out once a step, not once a product. While a tile is
// multiplied the next one is already on its way into registers, so that nobody waits for memory at the barrier.
#include <mma.h>
using namespace nvcuda;

template <int K>  // launched with 256 threads; the filter is K x K
__global__ void __launch_bounds__(256, 2) conv2d(const float* x, const float* weight, const float* bias, float* y,
                                                 int C, int H, int W, int O, int k, int stride, int padding,
                                                 int dilation, int OH, int OW) {
    constexpr int CHANNELS = 64, PIXELS = 128, DEPTH = 32, PAD = 4;
    constexpr int WS = CHANNELS * DEPTH / 256, XS = PIXELS * DEPTH / 256;  // what a thread loads of each tile
    __shared__ __align__(32) float ws[CHANNELS][DEPTH + PAD], xs[DEPTH][PIXELS + PAD], staged[8][16][16 + PAD];
    int pixels = OH * OW, me = threadIdx.x, warp = me / 32, lane = me % 32;
    int first_o = blockIdx.y * CHANNELS, first_p = blockIdx.x * PIXELS;
    const float* image = x + (size_t)blockIdx.z * C * H * W;
    float* result = y + (size_t)blockIdx.z * O * pixels;
    int pixel = first_p + me % PIXELS;  // a thread gathers for one pixel: where that is, is worked out once
    int top = pixel / OW * stride - padding, left = pixel % OW * stride - padding;
    float next_w[WS], next_x[XS];
    auto fetch = [&](int tap, int c0) {
        int o = first_o + me / DEPTH, c = c0 + me % DEPTH;
        int from = (o * C + c) * K * K + tap, rows = 256 / DEPTH * C * K * K;
#pragma unroll
        for (int i = 0; i < WS; ++i)
            next_w[i] = o + i * (256 / DEPTH) < O && c < C ? weight[from + i * rows] : 0.0f;
        int r = top + tap / K * dilation, s = left + tap % K * dilation;
        bool inside = pixel < pixels && r >= 0 && r < H && s >= 0 && s < W;
        c = c0 + me / PIXELS;
        int at = (c * H + r) * W + s, planes = 256 / PIXELS * H * W;
#pragma unroll
        for (int i = 0; i < XS; ++i)
            next_x[i] = inside && c + i * (256 / PIXELS) < C ? image[at + i * planes] : 0.0f;
    };
    wmma::fragment<wmma::accumulator, 16, 16, 8, float> sum[2][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) wmma::fill_fragment(sum[i / 2][i % 2], 0.0f);
    int o = warp / 4 * 32, p = warp % 4 * 32;
    fetch(0, 0);
    for (int tap = 0, c0 = 0; tap < K * K;) {
#pragma unroll
        for (int i = 0; i < WS; ++i) ws[(me + i * 256) / DEPTH][me % DEPTH] = wmma::__float_to_tf32(next_w[i]);
#pragma unroll
        for (int i = 0; i < XS; ++i)
            xs[me / PIXELS + i * (256 / PIXELS)][me % PIXELS] = wmma::__float_to_tf32(next_x[i]);
        __syncthreads();
        c0 += DEPTH;
        if (c0 >= C) c0 = 0, ++tap;
        if (tap < K * K) fetch(tap, c0);
#pragma unroll
        for (int d = 0; d < DEPTH; d += 8) {
            wmma::fragment<wmma::matrix_a, 16, 16, 8, wmma::precision::tf32, wmma::row_major> a[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 8, wmma::precision::tf32, wmma::row_major> b[2];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                wmma::load_matrix_sync(a[i], &ws[o + 16 * i][d], DEPTH + PAD);
                wmma::load_matrix_sync(b[i], &xs[d][p + 16 * i], PIXELS + PAD);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) wmma::mma_sync(sum[i / 2][i % 2], a[i / 2], b[i % 2], sum[i / 2][i % 2]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // through shared memory, so that rows, edges and the bias can be seen to
        wmma::store_matrix_sync(&staged[warp][0][0], sum[i / 2][i % 2], 16 + PAD, wmma::mem_row_major);
        __syncwarp();
        for (int e = lane; e < 256; e += 32) {
            int to_o = first_o + o + 16 * (i / 2) + e / 16, to_p = first_p + p + 16 * (i % 2) + e % 16;
            if (to_o < O && to_p < pixels) result[(size_t)to_o * pixels + to_p] = staged[warp][e / 16][e % 16] + bias[to_o];
        }
        __syncwarp();
    }
}
