// cooperative_groups.h for the simulator: the block, and tiles of at most a warp.
#pragma once
namespace cooperative_groups {
template <unsigned N> struct thread_block_tile {
    static unsigned size() { return N; }
    static unsigned num_threads() { return N; }
    static unsigned thread_rank() { return cnnlab_lane() % N; }
    static unsigned mask() { return (N == 32 ? ~0u : (1u << N % 32) - 1) << (cnnlab_lane() / N * N); }
    void sync(int line = __builtin_LINE()) const { cnnlab_syncwarp(line, mask()); }
    template <class T> T shfl(T v, int source) const { return __shfl_sync(mask(), v, source, N); }
    template <class T> T shfl_down(T v, unsigned d) const { return __shfl_down_sync(mask(), v, d, N); }
    template <class T> T shfl_up(T v, unsigned d) const { return __shfl_up_sync(mask(), v, d, N); }
    template <class T> T shfl_xor(T v, unsigned d) const { return __shfl_xor_sync(mask(), v, d, N); }
    int any(int p) const { return __any_sync(mask(), p); }
    int all(int p) const { return __all_sync(mask(), p); }
    unsigned ballot(int p) const { return __ballot_sync(mask(), p) >> (cnnlab_lane() / N * N); }
};
struct thread_block {
    void sync(int line = __builtin_LINE()) const { cnnlab_barrier(line, 0, 0); }
    static unsigned thread_rank() {
        return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    }
    static unsigned size() { return blockDim.x * blockDim.y * blockDim.z; }
    static unsigned num_threads() { return size(); }
    static dim3 thread_index() { return threadIdx; }
    static dim3 group_index() { return blockIdx; }
    static dim3 dim_threads() { return blockDim; }
};
CNNLAB_INLINE thread_block this_thread_block() { return {}; }
template <class G> CNNLAB_INLINE void sync(const G& g, int line = __builtin_LINE()) { g.sync(line); }
template <unsigned N> CNNLAB_INLINE thread_block_tile<N> tiled_partition(const thread_block&) { return {}; }
}
