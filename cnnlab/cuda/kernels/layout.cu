// Rung 5: bank conflicts and float4.

// NCHW to NHWC: for each image, a matrix of channels x pixels is transposed. Read along rows and written along rows,
// so both sides are coalesced; the turn happens in shared memory. There a column of a 32-wide tile lies in ONE of the
// 32 banks, and 32 threads would be served one after another. One word of padding a row shifts each row by one bank.
__global__ void to_channels_last(const float* in, float* out, int channels, int pixels) {
    __shared__ float tile[32][33];
    const float* image = in + (size_t)blockIdx.z * channels * pixels;
    float* result = out + (size_t)blockIdx.z * channels * pixels;
    int p = blockIdx.x * 32 + threadIdx.x;
    for (int j = threadIdx.y; j < 32; j += blockDim.y) {
        int c = blockIdx.y * 32 + j;
        if (c < channels && p < pixels) tile[j][threadIdx.x] = image[c * pixels + p];
    }
    __syncthreads();
    int c = blockIdx.y * 32 + threadIdx.x;
    for (int j = threadIdx.y; j < 32; j += blockDim.y) {
        int q = blockIdx.x * 32 + j;
        if (c < channels && q < pixels) result[q * channels + c] = tile[threadIdx.x][j];
    }
}

// Normalisation and ReLU, four numbers a thread: one instruction moves 16 bytes. A float4 must lie at a multiple of
// 16 bytes, so the tail of fewer than four numbers is done one by one.
__global__ void scale_shift_relu(const float* in, float* out, float scale, float shift, int n) {
    int i = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (i + 3 < n) {
        float4 v = *reinterpret_cast<const float4*>(in + i);
        v.x = fmaxf(v.x * scale + shift, 0.0f);
        v.y = fmaxf(v.y * scale + shift, 0.0f);
        v.z = fmaxf(v.z * scale + shift, 0.0f);
        v.w = fmaxf(v.w * scale + shift, 0.0f);
        *reinterpret_cast<float4*>(out + i) = v;
    } else {
        for (; i < n; ++i) out[i] = fmaxf(in[i] * scale + shift, 0.0f);
    }
}
