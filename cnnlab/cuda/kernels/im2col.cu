// Rung 7, second half: convolution as a matrix product.

// One image's patches become the columns of a (C K K) x (OH OW) matrix. It is K x K times as large as the image.
__global__ void im2col(const float* x, float* columns, int C, int H, int W, int K, int stride, int padding,
                       int dilation, int OH, int OW) {
    int p = blockIdx.x * blockDim.x + threadIdx.x, q = blockIdx.y;  // q: which channel, which tap
    if (p >= OH * OW) return;
    int c = q / (K * K), r = p / OW * stride - padding + q / K % K * dilation;
    int s = p % OW * stride - padding + q % K * dilation;
    columns[(size_t)q * OH * OW + p] = r >= 0 && r < H && s >= 0 && s < W ? x[((size_t)c * H + r) * W + s] : 0.0f;
}

// c (M x N) = a (M x K) b (K x N), in tiles: each number that is loaded is used T times.
template <int T>
__global__ void gemm(const float* a, const float* b, const float* bias, float* c, int M, int N, int K) {
    __shared__ float as[T][T], bs[T][T];
    int row = blockIdx.y * T + threadIdx.y, col = blockIdx.x * T + threadIdx.x;
    float sum = 0.0f;
    for (int k = 0; k < K; k += T) {
        int i = k + threadIdx.x, j = k + threadIdx.y;
        as[threadIdx.y][threadIdx.x] = row < M && i < K ? a[(size_t)row * K + i] : 0.0f;
        bs[threadIdx.y][threadIdx.x] = j < K && col < N ? b[(size_t)j * N + col] : 0.0f;
        __syncthreads();  // before: all have stored this tile
        for (int t = 0; t < T; ++t) sum += as[threadIdx.y][t] * bs[t][threadIdx.x];
        __syncthreads();  // after: all have used it, and it may be overwritten
    }
    if (row < M && col < N) c[(size_t)row * N + col] = sum + bias[row];
}
