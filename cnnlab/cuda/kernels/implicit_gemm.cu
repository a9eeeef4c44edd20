// Rung 8: the same matrix product, without the matrix.
// The tile of columns is gathered from the image while it is loaded, so no im2col buffer is ever written or read.
// A thread keeps R x R sums in registers: 2 R shared loads pay for R x R products instead of one.
template <int T, int R>  // launched with T x T threads; a block computes (T R) channels x (T R) pixels
__global__ void conv2d(const float* x, const float* weight, const float* bias, float* y, int C, int H, int W, int O,
                       int K, int stride, int padding, int dilation, int OH, int OW) {
    constexpr int SIDE = T * R;
    __shared__ float ws[T][SIDE + 1], xs[T][SIDE + 1];  // one word more: written by columns without bank conflicts
    int depth = C * K * K, pixels = OH * OW;
    int first_o = blockIdx.y * SIDE, first_p = blockIdx.x * SIDE;
    const float* image = x + (size_t)blockIdx.z * C * H * W;
    float* result = y + (size_t)blockIdx.z * O * pixels;
    int me = threadIdx.y * T + threadIdx.x;
    float sum[R][R] = {};
    for (int k = 0; k < depth; k += T) {
        for (int e = me; e < T * SIDE; e += T * T) {
            int o = first_o + e / T, q = k + e % T;  // along a filter: its weights are neighbours
            ws[e % T][e / T] = o < O && q < depth ? weight[(size_t)o * depth + q] : 0.0f;
        }
        for (int e = me; e < T * SIDE; e += T * T) {
            int q = k + e / SIDE, p = first_p + e % SIDE;  // along the pixels
            float v = 0.0f;
            if (q < depth && p < pixels) {
                int r = p / OW * stride - padding + q / K % K * dilation;
                int s = p % OW * stride - padding + q % K * dilation;
                if (r >= 0 && r < H && s >= 0 && s < W) v = image[((size_t)(q / (K * K)) * H + r) * W + s];
            }
            xs[e / SIDE][e % SIDE] = v;
        }
        __syncthreads();
#pragma unroll
        for (int t = 0; t < T; ++t) {
            float a[R], b[R];
#pragma unroll
            for (int i = 0; i < R; ++i) a[i] = ws[t][threadIdx.y + i * T], b[i] = xs[t][threadIdx.x + i * T];
#pragma unroll
            for (int i = 0; i < R; ++i)
#pragma unroll
                for (int j = 0; j < R; ++j) sum[i][j] += a[i] * b[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < R; ++i) {
        int o = first_o + threadIdx.y + i * T;
#pragma unroll
        for (int j = 0; j < R; ++j) {
            int p = first_p + threadIdx.x + j * T;
            if (o < O && p < pixels) result[(size_t)o * pixels + p] = sum[i][j] + bias[o];
        }
    }
}
