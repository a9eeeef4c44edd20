// Rung 0: which element is mine?
// A 2-D grid covers the image; x runs along a row, so that neighbouring threads touch neighbouring addresses.
__global__ void brighten(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    // The grid is rounded up to whole blocks, so the last ones reach past the edges.
    if (row >= h || col >= w) return;
    out[row * w + col] = 2.0f * in[row * w + col] + 1.0f;
}
