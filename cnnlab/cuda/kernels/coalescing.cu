// Rung 2: the same work, two ways to deal it to threads.
__device__ float pixel(const float* in, const float* filter, int k, int h, int w, int row, int col) {
    float sum = 0.0f;
    for (int j = 0; j < k; ++j) {
        for (int i = 0; i < k; ++i) {
            int r = row - k / 2 + j, c = col - k / 2 + i;
            if (r >= 0 && r < h && c >= 0 && c < w) sum += in[r * w + c] * filter[j * k + i];
        }
    }
    return sum;
}

// x runs along a row: a warp's 32 loads lie side by side, in 4 or 5 sectors of 32 bytes.
__global__ void conv2d(const float* in, const float* filter, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = pixel(in, filter, k, h, w, row, col);
}

// x runs down a column: 32 loads touch 32 rows, 32 sectors, and an eighth of what is fetched is used.
__global__ void conv2d_columns(const float* in, const float* filter, float* out, int k, int h, int w) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    int col = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = pixel(in, filter, k, h, w, row, col);
}
