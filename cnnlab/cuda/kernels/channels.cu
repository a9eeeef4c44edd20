// Rung 7, first half: a whole convolution layer, directly.
// x is (N, C, H, W), weight (O, C, K, K), y (N, O, OH, OW). A block computes pixels of one output channel of one image.
__global__ void conv2d(const float* x, const float* weight, const float* bias, float* y, int C, int H, int W, int O,
                       int K, int stride, int padding, int dilation, int OH, int OW) {
    int p = blockIdx.x * blockDim.x + threadIdx.x, o = blockIdx.y, n = blockIdx.z;
    if (p >= OH * OW) return;
    int row = p / OW * stride - padding, col = p % OW * stride - padding;
    float sum = bias[o];
    for (int c = 0; c < C; ++c) {
        const float* plane = x + ((size_t)n * C + c) * H * W;
        const float* taps = weight + ((size_t)o * C + c) * K * K;
        for (int j = 0; j < K; ++j) {
            int r = row + j * dilation;
            if (r < 0 || r >= H) continue;
            for (int i = 0; i < K; ++i) {
                int s = col + i * dilation;
                if (s >= 0 && s < W) sum += plane[r * W + s] * taps[j * K + i];
            }
        }
    }
    y[((size_t)n * O + o) * OH * OW + p] = sum;
}
