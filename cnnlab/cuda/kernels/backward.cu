// The convolution's backward pass: two more convolutions.

// d loss / d x, gathered: each input asks which outputs it went into. Scattered instead, with each output adding to
// its K x K inputs, many threads would add to one number and atomicAdd would have to keep them apart.
__global__ void grad_input(const float* gy, const float* weight, float* gx, int C, int H, int W, int O, int K,
                           int stride, int padding, int dilation, int OH, int OW) {
    int p = blockIdx.x * blockDim.x + threadIdx.x, c = blockIdx.y, n = blockIdx.z;
    if (p >= H * W) return;
    int r = p / W, s = p % W;
    float sum = 0.0f;
    for (int j = 0; j < K; ++j) {
        int up = r + padding - j * dilation;  // row * stride of the output that used tap j here
        if (up < 0 || up % stride || up / stride >= OH) continue;
        for (int i = 0; i < K; ++i) {
            int along = s + padding - i * dilation;
            if (along < 0 || along % stride || along / stride >= OW) continue;
            int q = up / stride * OW + along / stride;
            for (int o = 0; o < O; ++o)
                sum += gy[((size_t)n * O + o) * OH * OW + q] * weight[(((size_t)o * C + c) * K + j) * K + i];
        }
    }
    gx[((size_t)n * C + c) * H * W + p] = sum;
}

// d loss / d weight: one block for each weight, a sum over all images and pixels, in a tree. d loss / d bias is the
// sum of gy, which PyTorch does as well.
__global__ void grad_weight(const float* x, const float* gy, float* gw, int N, int C, int H, int W, int O, int K,
                            int stride, int padding, int dilation, int OH, int OW) {
    extern __shared__ float partial[];
    int tap = blockIdx.x % (K * K), c = blockIdx.x / (K * K) % C, o = blockIdx.x / (K * K * C);
    int down = tap / K * dilation - padding, along = tap % K * dilation - padding;
    float sum = 0.0f;
    for (int e = threadIdx.x; e < N * OH * OW; e += blockDim.x) {
        int n = e / (OH * OW), q = e % (OH * OW);
        int r = q / OW * stride + down, s = q % OW * stride + along;
        if (r >= 0 && r < H && s >= 0 && s < W)
            sum += gy[((size_t)n * O + o) * OH * OW + q] * x[(((size_t)n * C + c) * H + r) * W + s];
    }
    partial[threadIdx.x] = sum;
    // blockDim.x is a power of two; in each round the first half adds the second.
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    }
    if (threadIdx.x == 0) gw[blockIdx.x] = partial[0];
}
