// mma.h for the simulator: 16 x 16 x 16 products of half, summed in float. Which lane holds which elements of a
// fragment is nobody's business; here, too, it is not the lane that one would think of first.
#pragma once
#include "sim_fp16.h"
namespace nvcuda { namespace wmma {
struct matrix_a; struct matrix_b; struct accumulator; struct row_major; struct col_major;
enum layout_t { mem_row_major, mem_col_major };
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert(M == 16 && N == 16 && K == 16, "the simulator has the shape 16 x 16 x 16 only");
    static constexpr int num_elements = 8;
    T x[8];
};
template <class L> struct by_column { static constexpr bool value = false; };
template <> struct by_column<col_major> { static constexpr bool value = true; };
CNNLAB_INLINE int element(int e, int ld, bool column) {
    int i = e * 32 + (cnnlab_lane() ^ 21);
    return column ? i % 16 * ld + i / 16 : i / 16 * ld + i % 16;
}
template <class Use, class T, class L, class S>
CNNLAB_INLINE void load_matrix_sync(fragment<Use, 16, 16, 16, T, L>& f, const S* p, unsigned ld) {
    cnnlab_warp("load_matrix_sync", ~0u, 0, CNNLAB_PC);
    for (int e = 0; e < 8; ++e) f.x[e] = p[element(e, ld, by_column<L>::value)];
}
template <class T> CNNLAB_INLINE void load_matrix_sync(fragment<accumulator, 16, 16, 16, T>& f, const T* p, unsigned ld, layout_t l) {
    cnnlab_warp("load_matrix_sync", ~0u, 0, CNNLAB_PC);
    for (int e = 0; e < 8; ++e) f.x[e] = p[element(e, ld, l == mem_col_major)];
}
template <class T> CNNLAB_INLINE void store_matrix_sync(T* p, const fragment<accumulator, 16, 16, 16, T>& f, unsigned ld, layout_t l) {
    cnnlab_warp("store_matrix_sync", ~0u, 0, CNNLAB_PC);
    for (int e = 0; e < 8; ++e) p[element(e, ld, l == mem_col_major)] = f.x[e];
}
template <class F, class T> CNNLAB_INLINE void fill_fragment(F& f, T v) {
    for (int e = 0; e < 8; ++e) f.x[e] = v;
}
template <class T> CNNLAB_HOOK void gather(const T (&x)[8], float* whole, void* pc) {  // all lanes' elements
    for (int e = 0; e < 8; ++e) {
        CnnlabWarp w = cnnlab_warp("mma_sync", ~0u, __float_as_uint((float)x[e]), pc);
        for (int l = 0; l < 32; ++l) whole[e * 32 + (l ^ 21)] = __uint_as_float((unsigned)w.values[l]);
    }
}
template <class D, class LA, class LB>
CNNLAB_HOOK void mma_sync(fragment<accumulator, 16, 16, 16, D>& d, const fragment<matrix_a, 16, 16, 16, half, LA>& a,
                       const fragment<matrix_b, 16, 16, 16, half, LB>& b, const fragment<accumulator, 16, 16, 16, D>& c) {
    float as[256], bs[256];
    gather(a.x, as, CNNLAB_PC);
    gather(b.x, bs, CNNLAB_PC);
    for (int e = 0; e < 8; ++e) {
        int i = e * 32 + (cnnlab_lane() ^ 21);
        float sum = c.x[e];
        for (int k = 0; k < 16; ++k) sum += as[i / 16 * 16 + k] * bs[k * 16 + i % 16];
        d.x[e] = sum;
    }
}
} }
