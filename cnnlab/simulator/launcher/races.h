// Who touched an element before, and whether anything orders that and this.
// Accesses by two threads of a block are ordered by a block barrier between them (epoch) or, within a warp, by
// warp barriers that both took part in (a vector clock a warp). A lock orders two threads, also of different blocks,
// as in the programming guide: write, __threadfence(), atomic; then in the other thread: atomic, read.
// Epochs and clocks have few bits: where one is at its end, nothing is judged any more.
static const u32 LAST_EPOCH = 0x1ffff, LAST_CLOCK = 0xfff;
static u32 known[32][32][32];  // [warp][lane][other lane]: the clocks of `other` below this are before me
static u32 clocks[1024];
static bool clocks_used;
static std::vector<unsigned char> released;  // per block: did an atomic (2), after a fence (1)
static bool fenced, acquired;
struct Release { u32 number, seen[32]; };    // the number-th: all that each lane of a warp did before these clocks
static Release first_release[1024], last_release[1024];
static u32 releases, acquisitions[1024];     // how many releases a thread has seen
static bool thread_fenced[1024];             // fenced, and has stored nothing since

static __attribute__((noinline)) bool ordered_otherwise(Stamp earlier) {
    if (block_of(earlier) != block_of(me)) return acquired && released[block_of(earlier) - 1] & 1;
    if (epoch_of(me) == LAST_EPOCH || clock_of(earlier) == LAST_CLOCK) return true;
    for (u32 t = thread_of(earlier) & ~31u, end = releases ? t + 32 : t; t < end; ++t)  // also by way of a __syncwarp()
        for (const Release* r : {&first_release[t], &last_release[t]})
            if (r->number && r->number <= acquisitions[running] && r->seen[lane_of(earlier)] > clock_of(earlier)) return true;
    if (warp_of(earlier) != warp_of(me)) return false;
    return known[warp_of(me)][lane_of(me)][lane_of(earlier)] > clock_of(earlier);
}
static inline bool ordered(Stamp earlier) {
    bool barrier = block_of(earlier) == block_of(me) && epoch_of(earlier) != epoch_of(me);
    return barrier || ordered_otherwise(earlier);
}
struct Late {  // a race that what the thread does next may excuse
    Region* r;
    uintptr_t a;
    u32 size, pc;
    bool write, other_write, atomic;  // atomic: one of the two is
    Stamp other;
    u32 other_pc;
    char old[16];
};
static Late late_load, late_store;
static std::set<uintptr_t> narrow;  // elements of global memory that an atomic for one block only has changed
// Whether an atomic on an element excludes an earlier one, of another block perhaps.
static bool exclusive(Stamp earlier, uintptr_t a) {
    return earlier & ATOMIC && (narrow.empty() || block_of(earlier) == block_of(me) || !narrow.count(a));
}
static std::vector<u32> excused;  // plain loads that somebody has followed up with an atomic on the same element
static bool is_excused(u32 pc) { return std::find(excused.begin(), excused.end(), pc) != excused.end(); }
static void settle(Late& l) {
    Region* r = l.r;
    if (!r) return;
    l.r = nullptr;
    if (&l == &late_load && is_excused(l.pc)) return;
    const char* kind = r->space == SHARED ? "shared-race" : l.write && l.other_write ? "double-write" : "global-race";
    Finding* f = access(kind, r, l.a, l.size, l.write, l.pc, l.other_pc, l.other_write ? "write" : "read");
    if (f) f->other = l.other;
    if (!f && !(f = repeated)) return;
    bool between_blocks = block_of(l.other) != block_of(me);
    bool same = l.write && l.other_write && !memcmp((void*)l.a, l.old, l.size);
    f->reach |= between_blocks ? BETWEEN_BLOCKS : warp_of(l.other) != warp_of(me) ? IN_BLOCK : IN_WARP;
    f->reach |= same ? SAME_VALUE : ANOTHER_VALUE;
    if (between_blocks && acquired && released[block_of(l.other) - 1]) f->reach |= UNFENCED;
    if (l.atomic) f->reach |= BESIDE_ATOMIC;
}
static void settle_all() { settle(late_load), settle(late_store); }
static __attribute__((noinline)) void race(Region* r, uintptr_t a, u32 size, u32 pc, bool write, Stamp other,
                                           u32 other_pc, bool other_write, bool atomic) {
    Late l = {r, a, size, pc, write, other_write, atomic, other, other_pc, {}};
    if (write && other_write) {  // do both write the same value? The next hook comes after the store
        settle(late_store);
        memcpy(l.old, (void*)a, size), late_store = l;
    } else if (!write && other & ATOMIC) {  // a first look before an atomicCAS on the same element is no race
        settle(late_load);
        late_load = l;
    } else settle(l);
}
static Stamp looking;  // ATOMIC, while a volatile load looks at a flag
static inline __attribute__((always_inline)) void load(Region* r, Cell& c, uintptr_t a, u32 size, u32 pc) {
    Stamp w = c.write, look = me | looking;
    if (r->space == SHARED) {
        if (UNLIKELY(block_of(w) != block_of(me))) {
            access("uninitialised", r, a, size, false, pc);
            w = 0;
        }
    } else if (!w) {
        if (UNLIKELY(!r->initialised)) access("uninitialised", r, a, size, false, pc);
        r->old = true;
    }
    if (w && (w ^ me) >> 30 && UNLIKELY(!ordered(w))) race(r, a, size, pc, false, w, c.write_pc, true, w & ATOMIC);
    u64 x = me ^ c.read1;
    if (!(x >> 30)) {  // the same thread again
        c.read1 = look, c.read1_pc = pc;
    } else if (!c.read1 || (x >> 40 && r->space == SHARED)) {
        c.read1 = look, c.read1_pc = pc, c.read2 = 0;
    } else if (!(x >> 40) && (x >> 12 & 0x1ffff)) {  // older readers of this block came before the last barrier
        c.read1 = look, c.read1_pc = pc;
        if (block_of(c.read2) == block_of(me)) c.read2 = 0;
    } else {  // keep two readers as far apart as they come: another warp, better another block
        u64 y = c.read2 ^ c.read1;
        int mine = x >> 40 ? 2 : x >> 35 ? 1 : 0;
        int theirs = !c.read2 ? -1 : y >> 40 ? 2 : y >> 35 ? 1 : 0;
        if (mine > theirs) c.read2 = look, c.read2_pc = pc;
    }
}
static inline void store(Region* r, Cell& c, uintptr_t a, u32 size, u32 pc, bool atomic) {
    bool here = r->space != SHARED || block_of(c.write) == block_of(me);
    bool raced = c.write && here && (c.write ^ me) >> 30 && !(atomic && exclusive(c.write, a)) && UNLIKELY(!ordered(c.write));
    if (raced) race(r, a, size, pc, true, c.write, c.write_pc, true, atomic || c.write & ATOMIC);
    here = r->space != SHARED || block_of(c.read1) == block_of(me);
    if (c.read1 && here) {
        if ((c.read1 ^ me) >> 30 && UNLIKELY(!ordered(c.read1)) && !(atomic && (c.read1 & ATOMIC || is_excused(c.read1_pc))))
            race(r, a, size, pc, true, c.read1, c.read1_pc, false, atomic);
        else if (c.read2 && (c.read2 ^ me) >> 30 && UNLIKELY(!ordered(c.read2)) && !(atomic && (c.read2 & ATOMIC || is_excused(c.read2_pc))))
            race(r, a, size, pc, true, c.read2, c.read2_pc, false, atomic);
    }
    if (atomic && raced) return;  // so do the atomics that come after it
    bool plain = !atomic || !((c.write ^ me) >> 12);  // also an atomic behind a plain store that nothing has ordered yet
    c.write = me | (plain ? 0 : ATOMIC), c.write_pc = pc;
    if (!atomic) c.read1 = c.read2 = 0;  // the next atomic comes behind this one, but perhaps not behind who has read
}
static __attribute__((noinline)) void split(Region* r, u32 size) {  // finer cells, for finer accesses
    int shift = r->shift;
    while (size < 1u << shift) --shift;
    Cell* old = r->cells;
    size_t cells = r->size >> r->shift, ratio = 1 << (r->shift - shift), bytes = (cells + 1) * sizeof(Cell);
    r->cells = (Cell*)reserve((r->size >> shift) * sizeof(Cell) + sizeof(Cell));
    for (size_t i = 0; i < cells; ++i)
        if (old[i].write || old[i].read1) std::fill_n(r->cells + i * ratio, ratio, old[i]);
    munmap(old, bytes);
    r->shift = shift;
}
