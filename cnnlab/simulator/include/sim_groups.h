// cooperative_groups.h for the simulator: the block, tiles of at most a warp, and the threads that are together.
#pragma once
namespace cooperative_groups {
struct thread_block {
    void sync(int line = __builtin_LINE()) const { cnnlab_barrier(line, 0, 0); }
    static unsigned thread_rank() { return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z); }
    static unsigned size() { return blockDim.x * blockDim.y * blockDim.z; }
    static unsigned num_threads() { return size(); }
    static dim3 thread_index() { return threadIdx; }
    static dim3 group_index() { return blockIdx; }
    static dim3 dim_threads() { return blockDim; }
    static dim3 group_dim() { return blockDim; }
};
// Some lanes of a warp, by their mask. A tile's lanes are neighbours; coalesced threads may have gaps.
struct cnnlab_lanes {
    unsigned lanes;
    unsigned size() const { return __popc(lanes); }
    unsigned num_threads() const { return size(); }
    unsigned thread_rank() const { return __popc(lanes & ((1u << cnnlab_lane()) - 1)); }
    unsigned mask() const { return lanes; }
    void sync(int line = __builtin_LINE()) const { cnnlab_syncwarp(line, lanes); }
    int lane_of(int rank) const {
        unsigned left = lanes;
        for (; rank > 0; --rank) left &= left - 1;
        return left ? __builtin_ctz(left) : 0;
    }
    template <class T> T from(const char* what, T v, int rank, void* pc) const {
        bool there = rank >= 0 && rank < (int)size();
        return cnnlab_shuffle(what, lanes, v, there ? lane_of(rank) : (int)cnnlab_lane(), pc);
    }
    // Not inlined, so that they return to the student's line.
#define CNNLAB_GROUP_SHUFFLE(name, type, x, rank)                                                                            \
    template <class T> __attribute__((noinline)) T name(T v, type x) const { return from(#name, v, (int)(rank), CNNLAB_PC); }
    CNNLAB_GROUP_SHUFFLE(shfl, int, rank, rank % (int)size())
    CNNLAB_GROUP_SHUFFLE(shfl_down, unsigned, d, thread_rank() + d)
    CNNLAB_GROUP_SHUFFLE(shfl_up, unsigned, d, thread_rank() - d)
    CNNLAB_GROUP_SHUFFLE(shfl_xor, unsigned, d, thread_rank() ^ d)
    unsigned votes(const char* what, int p, void* pc) const { return cnnlab_ballot(cnnlab_warp(what, lanes, p != 0, pc)); }
    __attribute__((noinline)) int any(int p) const { return votes("any", p, CNNLAB_PC) != 0; }
    __attribute__((noinline)) int all(int p) const { return votes("all", p, CNNLAB_PC) == lanes; }
    __attribute__((noinline)) unsigned ballot(int p) const {
        unsigned votes = this->votes("ballot", p, CNNLAB_PC), mine = 0;
        for (unsigned i = 0; i < size(); ++i) mine |= (votes >> lane_of(i) & 1u) << i;
        return mine;
    }
    template <class T> unsigned match_any(T v) const { return __match_any_sync(lanes, v); }
    template <class T> unsigned match_all(T v, int& all) const { return __match_all_sync(lanes, v, &all); }
    unsigned meta_group_size() const { return (thread_block::size() + size() - 1) / size(); }
    unsigned meta_group_rank() const { return thread_block::thread_rank() / size(); }
};
CNNLAB_INLINE unsigned cnnlab_tile(unsigned n) { return (n == 32 ? ~0u : (1u << n % 32) - 1) << (cnnlab_lane() / n * n); }
struct coalesced_group : cnnlab_lanes {};
struct thread_group : cnnlab_lanes {  // of any kind; the whole block where it has no lanes
    thread_group(cnnlab_lanes g) : cnnlab_lanes(g) {}
    thread_group(const thread_block&) : cnnlab_lanes{0} {}
    unsigned size() const { return lanes ? cnnlab_lanes::size() : thread_block::size(); }
    unsigned num_threads() const { return size(); }
    unsigned thread_rank() const { return lanes ? cnnlab_lanes::thread_rank() : thread_block::thread_rank(); }
    void sync(int line = __builtin_LINE()) const { lanes ? cnnlab_lanes::sync(line) : (void)cnnlab_barrier(line, 0, 0); }
};
template <unsigned N, class Parent = void> struct thread_block_tile : cnnlab_lanes {
    thread_block_tile() : cnnlab_lanes{cnnlab_tile(N)} {}
    template <class P> thread_block_tile(const thread_block_tile<N, P>& o) : cnnlab_lanes(o) {}
    static constexpr unsigned size() { return N; }
    static constexpr unsigned num_threads() { return N; }
    static unsigned thread_rank() { return cnnlab_lane() % N; }
};
CNNLAB_INLINE thread_block this_thread_block() { return {}; }
CNNLAB_INLINE coalesced_group coalesced_threads() { return {{__activemask()}}; }
template <class G> CNNLAB_INLINE void sync(const G& g, int line = __builtin_LINE()) { g.sync(line); }
template <unsigned N, class P> CNNLAB_INLINE thread_block_tile<N, P> tiled_partition(const P&) { return {}; }
CNNLAB_INLINE thread_group tiled_partition(const thread_group&, unsigned n) { return cnnlab_lanes{cnnlab_tile(n)}; }
template <class G> CNNLAB_INLINE coalesced_group binary_partition(const G& g, bool p) {
    unsigned votes = __ballot_sync(g.lanes, p);
    return {{p ? votes : g.lanes & ~votes}};
}
template <class G, class T> CNNLAB_INLINE coalesced_group labeled_partition(const G& g, T label) {
    return {{__match_any_sync(g.lanes, label)}};
}
template <class G, class F> CNNLAB_INLINE void invoke_one(const G& g, F f) { if (g.thread_rank() == 0) f(); }
template <class T = void> struct plus { T operator()(T a, T b) const { return a + b; } };
template <class T = void> struct less { T operator()(T a, T b) const { return b < a ? b : a; } };
template <class T = void> struct greater { T operator()(T a, T b) const { return a < b ? b : a; } };
template <class T = void> struct bit_and { T operator()(T a, T b) const { return a & b; } };
template <class T = void> struct bit_or { T operator()(T a, T b) const { return a | b; } };
template <class T = void> struct bit_xor { T operator()(T a, T b) const { return a ^ b; } };
template <class T, class F> CNNLAB_HOOK T cnnlab_fold(const char* what, unsigned lanes, T v, F op, unsigned which, void* pc) {
    CnnlabWarp w = cnnlab_warp(what, lanes, cnnlab_bits(v), pc);
    T sum = T();
    bool any = false;
    for (int i = 0; i < 32; ++i) {
        if (!(lanes & which & w.lanes) || !(lanes & which & w.lanes & 1u << i)) continue;
        T x = cnnlab_value<T>(w.values[i]);
        sum = any ? op(sum, x) : x, any = true;
    }
    return sum;
}
template <class G, class T, class F> CNNLAB_HOOK T reduce(const G& g, T v, F op) {
    return cnnlab_fold("cg::reduce", g.lanes, v, op, ~0u, CNNLAB_PC);
}
template <class G, class T, class F> CNNLAB_HOOK T inclusive_scan(const G& g, T v, F op) {
    return cnnlab_fold("cg::inclusive_scan", g.lanes, v, op, (2u << cnnlab_lane()) - 1, CNNLAB_PC);
}
template <class G, class T, class F> CNNLAB_HOOK T exclusive_scan(const G& g, T v, F op) {
    return cnnlab_fold("cg::exclusive_scan", g.lanes, v, op, (1u << cnnlab_lane()) - 1, CNNLAB_PC);
}
template <class G, class T> CNNLAB_INLINE T inclusive_scan(const G& g, T v) { return inclusive_scan(g, v, plus<T>()); }
template <class G, class T> CNNLAB_INLINE T exclusive_scan(const G& g, T v) { return exclusive_scan(g, v, plus<T>()); }
}
