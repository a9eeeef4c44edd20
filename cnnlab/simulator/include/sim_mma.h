// mma.h for the simulator: products of small matrices by a warp. Which lane holds which elements of a fragment is
// nobody's business; here, too, it is not the lane that one would think of first.
#pragma once
#include "sim_fp16.h"
namespace nvcuda { namespace wmma {
struct matrix_a; struct matrix_b; struct accumulator; struct row_major; struct col_major;
enum layout_t { mem_row_major, mem_col_major };
namespace precision { struct tf32; }
CNNLAB_INLINE float __float_to_tf32(float x) { return __uint_as_float((__float_as_uint(x) + 0x1000) & ~0x1fffu); }
template <class T> struct stored { typedef T type; };
template <> struct stored<precision::tf32> { typedef float type; };
template <class Use, int M, int N, int K> struct sides { static constexpr int rows = M, columns = N; };
template <int M, int N, int K> struct sides<matrix_a, M, N, K> { static constexpr int rows = M, columns = K; };
template <int M, int N, int K> struct sides<matrix_b, M, N, K> { static constexpr int rows = K, columns = N; };
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    static_assert((M == 16 && N == 16 && (K == 16 || K == 8)) || (M == 32 && N == 8 && K == 16) || (M == 8 && N == 32 && K == 16),
                  "the simulator has the WMMA shapes 16x16x16, 32x8x16, 8x32x16 and, for tf32, 16x16x8");
    static constexpr int rows = sides<Use, M, N, K>::rows, columns = sides<Use, M, N, K>::columns;
    static constexpr int num_elements = rows * columns / 32;
    typename stored<T>::type x[num_elements];
    static int place(int e) { return e * 32 + (cnnlab_lane() ^ 21); }
    static int offset(int e, int ld, bool by_column) {
        int i = place(e);
        return by_column ? i % columns * ld + i / columns : i / columns * ld + i % columns;
    }
};
template <class L> struct by_column { static constexpr bool value = false; };
template <> struct by_column<col_major> { static constexpr bool value = true; };
template <class Use, int M, int N, int K, class T, class L, class S>
CNNLAB_INLINE __attribute__((always_inline)) void load_matrix_sync(fragment<Use, M, N, K, T, L>& f, const S* p, unsigned ld) {
    cnnlab_warp("load_matrix_sync", ~0u, 0, nullptr);
    for (int e = 0; e < f.num_elements; ++e) f.x[e] = p[f.offset(e, ld, by_column<L>::value)];
}
template <int M, int N, int K, class T>
CNNLAB_INLINE __attribute__((always_inline)) void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const T* p, unsigned ld, layout_t l) {
    cnnlab_warp("load_matrix_sync", ~0u, 0, nullptr);
    for (int e = 0; e < f.num_elements; ++e) f.x[e] = p[f.offset(e, ld, l == mem_col_major)];
}
template <int M, int N, int K, class T>
CNNLAB_INLINE __attribute__((always_inline)) void store_matrix_sync(T* p, const fragment<accumulator, M, N, K, T>& f, unsigned ld, layout_t l) {
    cnnlab_warp("store_matrix_sync", ~0u, 0, nullptr);
    for (int e = 0; e < f.num_elements; ++e) p[f.offset(e, ld, l == mem_col_major)] = f.x[e];
}
template <class F, class T> CNNLAB_INLINE void fill_fragment(F& f, T v) {
    for (int e = 0; e < f.num_elements; ++e) f.x[e] = v;
}
template <class F, class T> CNNLAB_HOOK void gather(const F& f, T* whole, bool cut, void* pc) {  // all lanes' elements
    for (int e = 0; e < f.num_elements; ++e) {
        CnnlabWarp w = cnnlab_warp("mma_sync", ~0u, __float_as_uint((float)f.x[e]) & (cut ? ~0x1fffu : ~0u), pc);
        for (int l = 0; l < 32; ++l) whole[e * 32 + (l ^ 21)] = (T)__uint_as_float((unsigned)w.values[l]);
    }
}
template <class T> struct is_tf32 { static constexpr bool value = false; };
template <> struct is_tf32<precision::tf32> { static constexpr bool value = true; };
template <int M, int N, int K, class D, class C, class T, class LA, class LB>
CNNLAB_HOOK void mma_sync(fragment<accumulator, M, N, K, D>& d, const fragment<matrix_a, M, N, K, T, LA>& a,
                          const fragment<matrix_b, M, N, K, T, LB>& b, const fragment<accumulator, M, N, K, C>& c) {
    float as[M * K], bs[K * N];  // what the hardware's tf32 leaves out of a float is cut off here
    gather(a, as, is_tf32<T>::value, CNNLAB_PC);
    gather(b, bs, is_tf32<T>::value, CNNLAB_PC);
    for (int e = 0; e < d.num_elements; ++e) {
        int i = d.place(e);
        auto sum = c.x[e] + 0 * as[0];
        for (int k = 0; k < K; ++k) sum += as[i / N * K + k] * bs[k * N + i % N];
        d.x[e] = sum;
    }
}
} }
