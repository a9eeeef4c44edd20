// Rung 9: the matrix product on tensor cores.
// A warp multiplies 16 x 16 tiles of half numbers and sums in float. Sizes that are no multiple of 16 are padded with
// zeros on the way through shared memory, so that no fragment reaches past a matrix.
#include <mma.h>
using namespace nvcuda;

__global__ void gemm(const half* a, const half* b, float* c, int M, int N, int K) {  // one warp a block
    __shared__ half as[16][16], bs[16][16];
    __shared__ float cs[16][16];
    int top = blockIdx.y * 16, left = blockIdx.x * 16;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> fa;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> fb;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum;
    wmma::fill_fragment(sum, 0.0f);
    for (int k = 0; k < K; k += 16) {
        for (int e = threadIdx.x; e < 256; e += 32) {
            int i = e / 16, j = e % 16;
            as[i][j] = top + i < M && k + j < K ? a[(top + i) * K + k + j] : half(0.0f);
            bs[i][j] = k + i < K && left + j < N ? b[(k + i) * N + left + j] : half(0.0f);
        }
        __syncwarp();  // all 32 have stored before any loads a fragment
        wmma::load_matrix_sync(fa, &as[0][0], 16);
        wmma::load_matrix_sync(fb, &bs[0][0], 16);
        wmma::mma_sync(sum, fa, fb, sum);
        __syncwarp();  // and all have loaded before the tiles are overwritten
    }
    wmma::store_matrix_sync(&cs[0][0], sum, 16, wmma::mem_row_major);
    __syncwarp();
    for (int e = threadIdx.x; e < 256; e += 32)
        if (top + e / 16 < M && left + e % 16 < N) c[(top + e / 16) * N + left + e % 16] = cs[e / 16][e % 16];
}
