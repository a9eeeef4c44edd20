// Rung 1: the lecture's kernel for 8-bit images, mended.
// As printed it does not compile: N_start_row and N_start_col have no type, and later they are spelt N_Start_row,
// which C++ takes for another variable. It also stores (unsigned char)sum, which wraps modulo 256: a sum of 260
// becomes 4, a black speck in a bright sky. Here sums are clamped to 255 instead.
__global__ void conv2d(const unsigned char* in, const unsigned char* filter, unsigned char* out, int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (col >= w || row >= h) return;
    int sum = 0;  // 49 products of up to 65,025 need more than 16 bits
    for (int j = 0; j < k; ++j) {
        for (int i = 0; i < k; ++i) {
            // int, not unsigned: left of the image r and c are negative, and the test below must see that.
            int r = row - k / 2 + j, c = col - k / 2 + i;
            if (r >= 0 && r < h && c >= 0 && c < w) sum += in[r * w + c] * filter[j * k + i];
        }
    }
    out[row * w + col] = (unsigned char)min(sum, 255);
}
