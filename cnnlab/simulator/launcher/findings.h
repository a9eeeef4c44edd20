// Findings: the same one again is counted, not repeated.
// Of races: between which threads, with which values, what lies between. Of endless loops: it waits. As in causes.py.
enum Reach { IN_WARP = 1, IN_BLOCK = 2, BETWEEN_BLOCKS = 4, SAME_VALUE = 8, ANOTHER_VALUE = 16, UNFENCED = 64, BESIDE_ATOMIC = 128, WAITS = 256 };
struct Finding {
    const char* kind;
    u32 region, pc, other_pc;
    int line;            // where the source line is known already (barriers)
    long offset;         // in the region, in bytes; or a number the kind explains
    u32 size;
    bool write;
    Stamp who, other;    // the first time
    u64 count;
    int reach;           // bits, of Reach
    std::bitset<1024> threads;  // of that first block: which offend
    std::string detail;
};
static Finding findings[128];
static u32 finding_count;

static Finding* repeated;  // what `find` counted on, where it was there before
static Finding* find(const char* kind, Region* r, u32 pc, u32 other_pc, int line = 0, const char* detail = "", long offset = 0,
                     u32 size = 0, bool write = false) {
    repeated = nullptr;
    if (r && r->name.empty()) return nullptr;
    for (u32 i = 0; i < finding_count; ++i) {
        Finding& f = findings[i];
        if (f.kind != kind || f.region != (r ? r->index : 0) || f.pc != pc || f.other_pc != other_pc || f.line != line)
            continue;
        ++f.count;
        if (block_of(f.who) == block_of(me)) f.threads.set(running);
        repeated = &f;
        return nullptr;
    }
    if (finding_count == sizeof findings / sizeof *findings) return nullptr;
    Finding& f = findings[finding_count++];
    f = Finding{};
    f.kind = kind, f.region = r ? r->index : 0, f.pc = pc, f.other_pc = other_pc, f.line = line;
    f.offset = offset, f.size = size, f.write = write, f.who = me, f.count = 1, f.detail = detail;
    f.threads.set(running);
    return &f;
}
static Finding* access(const char* kind, Region* r, uintptr_t a, u32 size, bool write, u32 pc, u32 other_pc = 0,
                       const char* detail = "") {
    return find(kind, r, pc, other_pc, 0, detail, (long)(a - (uintptr_t)r->base), size, write);
}
[[noreturn]] static void finish(bool whole);
