// Runs one CUDA kernel on the CPU and watches every load and store.
//
// A trusted program, built once and started inside the sandbox. On its socket (stdin) it takes one launch after
// another: the words that cpu.py wrote, and three file descriptors for the buffers, the student's object and the
// answer. For each it forks. The child locks itself in (seccomp, Landlock), loads the object, runs the grid block by
// block with one fibre a thread, and answers with findings and counters as JSON lines, the last {"done": ...}.
//
// The student's object is compiled with -fsanitize=thread, but linked with the hooks below instead of the
// sanitizer's runtime: each load and store calls __tsan_read4 and the like with its address.

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

#include <algorithm>
#include <string>
#include <vector>

typedef uint64_t u64;
typedef uint32_t u32;
#define EXPORT extern "C" __attribute__((visibility("default")))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

struct Dim { u32 x, y, z; };
Dim cnnlab_threadIdx, cnnlab_blockIdx, cnnlab_blockDim, cnnlab_gridDim;

// ---- memory ----------------------------------------------------------------------------------
// Every buffer and every shared array lies in one arena with room of at least its own size on both sides, so that
// an access outside harms nobody, and with gigabytes of address space beyond, so that it is laid to the right array.

// Who touched an element: block + 1 (24 bits), thread (10), atomic (1), block barriers passed (17), clock (12).
typedef u64 Stamp;
static inline u64 block_of(Stamp s) { return s >> 40; }
static inline u32 thread_of(Stamp s) { return s >> 30 & 1023; }
static inline u32 warp_of(Stamp s) { return s >> 35 & 31; }
static inline u32 lane_of(Stamp s) { return s >> 30 & 31; }
static inline u32 epoch_of(Stamp s) { return s >> 12 & 0x1ffff; }
static inline u32 clock_of(Stamp s) { return s & 0xfff; }
static const Stamp ATOMIC = 1ull << 29;

struct __attribute__((packed, aligned(4))) Cell {  // the shadow of one element
    Stamp write, read1, read2;
    u32 write_pc, read1_pc, read2_pc;
};
enum Space { GLOBAL, SHARED, CONSTANT };
struct Region {
    std::string name;
    char* base;
    size_t size;
    u32 index;
    Space space;
    int shift;         // log2 of the bytes a cell stands for
    bool initialised;  // what lies there before the launch may be read
    bool output;       // every element must be written
    bool argument, atomics;
    bool old;          // what lay there before the launch was read
    size_t given;      // constant memory: so many bytes have a value
    uintptr_t address; // in the object, as its debug information has it
    Cell* cells;
    u64 loads, stores, load_bytes, store_bytes;
    size_t gap() const;
    bool near(uintptr_t a) const { return a - ((uintptr_t)base - gap()) < size + 2 * gap(); }  // mapped memory
};
static const size_t CHUNK = 1 << 16, ROOM = 1 << 20, MAX_REGIONS = 250;
static Region regions[MAX_REGIONS + 1];  // index 0 is nobody
static u32 region_count = 0;
static char* arena;
static size_t arena_size, arena_used, far_room = 3ull << 30 | 0x4560000;  // odd: no power of two ends near another array
static unsigned char* chunk_owner;

static const rlim_t MEMORY = 12ull << 30;
static const size_t DYNAMIC = 228 << 10;  // the most shared memory that any GPU gives a block
alignas(1 << 16) char cnnlab_dynamic_arena[2 * ROOM + (256 << 10)];
asm(".globl cnnlab_dynamic_shared\n.set cnnlab_dynamic_shared, cnnlab_dynamic_arena + 1048576");
extern "C" char cnnlab_dynamic_shared[];
static Region* dynamic_region;

static uintptr_t code_lo, code_hi, object_base, object_size;  // the student's code
static uintptr_t data_lo, data_hi;                   // its writable data
static std::vector<unsigned char> data_owner;        // per 4 bytes of data: region
struct TlsSymbol { size_t offset; u32 region; };
static std::vector<TlsSymbol> tls_symbols;           // sorted by offset

static char* stacks;
static size_t stack_bytes;
static bool checked, backward;
static int shared_fd;     // the buffers, shared with the parent
static u32 threads;
static u64 grid_blocks, blocks_done;
static Stamp me;        // the stamp of the running thread
static u32 running;     // its number in the block
static bool sampling;

[[noreturn]] static void die(const char* format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    bool lab = *text == '!';  // the lab's own trouble, not the kernel's
    dprintf(1, "{\"error\": \"%s\", \"lab\": %d}\n", text + lab, lab);
    _exit(3);
}
static void* try_reserve(size_t bytes, int access) {
    void* p = mmap(nullptr, bytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? nullptr : p;
}
static void* reserve(size_t bytes) {
    void* p = try_reserve(bytes, PROT_READ | PROT_WRITE);
    if (!p) die("the launch needs %zu MB more than a process may have here%s", bytes >> 20,
                checked ? ": a checked run keeps nine bytes for each byte of its tensors; take smaller ones, or mode='fast'" : "");
    return p;
}
static Region* new_region(const char* name, char* base, size_t size, Space space) {
    if (region_count == MAX_REGIONS) die("more than %zu arrays in one kernel", MAX_REGIONS);
    Region* r = &regions[++region_count];
    *r = Region{name, base, size, region_count, space, 2, true, false, false, false, false, size, 0, nullptr, 0, 0, 0, 0};
    return r;
}
static size_t up(size_t size) { return (size + CHUNK - 1) & ~(CHUNK - 1); }
size_t Region::gap() const { return up(std::max(size, ROOM)); }
static size_t room(size_t size) { return 2 * (up(std::max(size, ROOM)) + up(far_room)) + up(size); }
static Region* place(const char* name, size_t size, Space space) {  // a region in the arena
    size_t whole = room(size);
    Region* r = new_region(name, nullptr, size, space);
    r->base = arena + arena_used + up(far_room) + r->gap();
    if (mprotect(r->base - r->gap(), up(size) + 2 * r->gap(), PROT_READ | PROT_WRITE)) die("!there is no memory for %s", name);
    memset(chunk_owner + arena_used / CHUNK, r->index, whole / CHUNK);
    arena_used += whole;
    return r;
}
static void give_cells(Region* r) {
    if (checked && r->size) r->cells = (Cell*)reserve(((r->size >> r->shift) + 1) * sizeof(Cell));
}

// ---- output ----------------------------------------------------------------------------------
static char out_text[1 << 16];
static size_t out_used;
static void flush() {
    for (size_t done = 0; done < out_used;) {
        ssize_t n = write(1, out_text + done, out_used - done);
        if (n <= 0) break;
        done += n;
    }
    out_used = 0;
}
__attribute__((format(printf, 1, 2))) static void put(const char* format, ...) {
    if (out_used > sizeof out_text - 2048) flush();
    va_list list;
    va_start(list, format);
    int n = vsnprintf(out_text + out_used, 2048, format, list);
    va_end(list);
    out_used += std::min(n, 2047);
}
static void put_text(const char* s, size_t n) {  // as a JSON string
    put("\"");
    for (size_t i = 0; i < n; ++i) {
        unsigned char c = s[i];
        if (c == '"' || c == '\\') put("\\%c", c);
        else if (c < 32 || c > 126) put("\\u%04x", c);
        else put("%c", c);
    }
    put("\"");
}

static char printed[1 << 20];  // a GPU's printf buffer holds 1 MB as well
static size_t printed_bytes, printed_lost;
EXPORT int cnnlab_printf(const char* format, ...) {
    va_list list;
    va_start(list, format);
    size_t space = sizeof printed - printed_bytes;
    int n = vsnprintf(printed + printed_bytes, space, format, list);
    va_end(list);
    if (n < 0) return n;
    if ((size_t)n >= space) ++printed_lost;
    else printed_bytes += n;
    return n;
}

// ---- findings --------------------------------------------------------------------------------
struct Finding {
    const char* kind;
    u32 region, pc, other_pc;
    int line;            // where the source line is known already (barriers)
    long index;          // byte offset in the region, or a number the kind explains
    u32 size;
    bool write;
    Stamp who, other;    // the first time
    u64 count;
    int reach;           // races: in one warp (1), between warps (2), between blocks (4); same value (8), another (16)
    u64 mask[16];        // offending threads of that first block
    char text[160];
};
static Finding findings[128];
static u32 finding_count;

static Finding* repeated;  // what `find` counted on, where it was there before
static Finding* find(const char* kind, Region* r, u32 pc, u32 other_pc, int line = 0) {
    repeated = nullptr;
    if (r && r->name.empty()) return nullptr;
    for (u32 i = 0; i < finding_count; ++i) {
        Finding& f = findings[i];
        if (f.kind != kind || f.region != (r ? r->index : 0) || f.pc != pc || f.other_pc != other_pc || f.line != line)
            continue;
        ++f.count;
        if (block_of(f.who) == block_of(me)) f.mask[running >> 6] |= 1ull << (running & 63);
        repeated = &f;
        return nullptr;
    }
    if (finding_count == sizeof findings / sizeof *findings) return nullptr;
    Finding& f = findings[finding_count++];
    f = Finding{};
    f.kind = kind, f.region = r ? r->index : 0, f.pc = pc, f.other_pc = other_pc, f.line = line;
    f.who = me, f.count = 1;
    f.mask[running >> 6] |= 1ull << (running & 63);
    return &f;
}
static void at(Finding* f, Region* r, uintptr_t a, u32 size, bool write) {
    if (f) f->index = (long)(a - (uintptr_t)r->base), f->size = size, f->write = write;
}
[[noreturn]] static void finish(bool whole);

// ---- races -----------------------------------------------------------------------------------
// Accesses by two threads of a block are ordered by a block barrier between them (epoch) or, within a warp, by
// warp barriers that both took part in (a vector clock a warp). A lock orders two threads, also of different blocks,
// as in the programming guide: write, __threadfence(), atomic; then in the other thread: atomic, read.
// Epochs and clocks have few bits: where one is at its end, nothing is judged any more.
static const u32 LAST_EPOCH = 0x1ffff, LAST_CLOCK = 0xfff;
static u32 known[32][32][32];  // [warp][lane][other lane]: the clocks of `other` below this are before me
static u32 clocks[1024];
static bool clocks_used;
static std::vector<unsigned char> released;  // per block: fenced, then did an atomic
static bool fenced, acquired;
struct Release { u32 clock, number; };       // all that a thread did before `clock`, released as the number-th
static Release first_release[1024], last_release[1024];
static u32 releases, acquisitions[1024];     // how many releases a thread has seen
static bool thread_fenced[1024];             // fenced, and has stored nothing since

static __attribute__((noinline)) bool ordered(Stamp earlier) {
    if (block_of(earlier) != block_of(me)) return acquired && released[block_of(earlier) - 1];
    if (epoch_of(earlier) != epoch_of(me) || epoch_of(me) == LAST_EPOCH || clock_of(earlier) == LAST_CLOCK) return true;
    if (releases)
        for (const Release* r : {&first_release[thread_of(earlier)], &last_release[thread_of(earlier)]})
            if (r->number && r->number <= acquisitions[running] && r->clock > clock_of(earlier)) return true;
    if (warp_of(earlier) != warp_of(me)) return false;
    return known[warp_of(me)][lane_of(me)][lane_of(earlier)] > clock_of(earlier);
}
struct Late {  // a race that what the thread does next may excuse
    Region* r;
    uintptr_t a;
    u32 size, pc;
    bool write, other_write;
    Stamp other;
    u32 other_pc;
    char old[16];
};
static Late late_load, late_store;
static std::vector<u32> excused;  // plain loads that somebody has followed up with an atomic on the same element
static bool is_excused(u32 pc) { return std::find(excused.begin(), excused.end(), pc) != excused.end(); }
static void settle(Late& l) {
    Region* r = l.r;
    if (!r) return;
    l.r = nullptr;
    if (&l == &late_load && is_excused(l.pc)) return;
    const char* kind = r->space == SHARED ? "shared-race" : l.write && l.other_write ? "double-write" : "global-race";
    Finding* f = find(kind, r, l.pc, l.other_pc);
    if (f) {
        at(f, r, l.a, l.size, l.write);
        f->other = l.other;
        strcpy(f->text, l.other_write ? "write" : "read");
    }
    if (!f && !(f = repeated)) return;
    f->reach |= block_of(l.other) != block_of(me) ? 4 : warp_of(l.other) != warp_of(me) ? 2 : 1;
    if (l.write && l.other_write) f->reach |= memcmp((void*)l.a, l.old, l.size) ? 16 : 8;
    else f->reach |= 16;
}
static void settle_all() { settle(late_load), settle(late_store); }
static __attribute__((noinline)) void race(Region* r, uintptr_t a, u32 size, u32 pc, bool write, Stamp other,
                                           u32 other_pc, bool other_write) {
    Late l = {r, a, size, pc, write, other_write, other, other_pc, {}};
    if (write && other_write) {  // do both write the same value? The next hook comes after the store
        settle(late_store);
        memcpy(l.old, (void*)a, size), late_store = l;
    } else if (!write && other & ATOMIC) {  // a first look before an atomicCAS on the same element is no race
        settle(late_load);
        late_load = l;
    } else settle(l);
}
static inline void load(Region* r, Cell& c, uintptr_t a, u32 size, u32 pc) {
    Stamp w = c.write;
    if (r->space == SHARED) {
        if (UNLIKELY(block_of(w) != block_of(me))) {
            at(find("uninitialised", r, pc, 0), r, a, size, false);
            w = 0;
        }
    } else if (!w) {
        if (UNLIKELY(!r->initialised)) at(find("uninitialised", r, pc, 0), r, a, size, false);
        r->old = true;
    }
    if (w && (w ^ me) >> 30 && UNLIKELY(!ordered(w))) race(r, a, size, pc, false, w, c.write_pc, true);
    u64 x = me ^ c.read1;
    if (!(x >> 30)) {  // the same thread again
        c.read1 = me, c.read1_pc = pc;
    } else if (!c.read1 || (x >> 40 && r->space == SHARED)) {
        c.read1 = me, c.read1_pc = pc, c.read2 = 0;
    } else if (!(x >> 40) && (x >> 12 & 0x1ffff)) {  // older readers of this block came before the last barrier
        c.read1 = me, c.read1_pc = pc;
        if (block_of(c.read2) == block_of(me)) c.read2 = 0;
    } else {  // keep two readers as far apart as they come: another warp, better another block
        u64 y = c.read2 ^ c.read1;
        int mine = x >> 40 ? 2 : x >> 35 ? 1 : 0;
        int theirs = !c.read2 ? -1 : y >> 40 ? 2 : y >> 35 ? 1 : 0;
        if (mine > theirs) c.read2 = me, c.read2_pc = pc;
    }
}
static inline void store(Region* r, Cell& c, uintptr_t a, u32 size, u32 pc, bool atomic) {
    bool here = r->space != SHARED || block_of(c.write) == block_of(me);
    if (c.write && here && (c.write ^ me) >> 30 && !(atomic && c.write & ATOMIC) && UNLIKELY(!ordered(c.write)))
        race(r, a, size, pc, true, c.write, c.write_pc, true);
    here = r->space != SHARED || block_of(c.read1) == block_of(me);
    if (c.read1 && here) {
        if ((c.read1 ^ me) >> 30 && UNLIKELY(!ordered(c.read1)) && !(atomic && is_excused(c.read1_pc)))
            race(r, a, size, pc, true, c.read1, c.read1_pc, false);
        else if (c.read2 && (c.read2 ^ me) >> 30 && UNLIKELY(!ordered(c.read2)) && !(atomic && is_excused(c.read2_pc)))
            race(r, a, size, pc, true, c.read2, c.read2_pc, false);
    }
    c.write = me | (atomic ? ATOMIC : 0), c.write_pc = pc;
    c.read1 = c.read2 = 0;
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

// ---- counters: the accesses of a few sampled blocks, grouped as a warp would issue them --------
struct Access { u64 group; uintptr_t address; u32 pc, region, thread, size; };
static const size_t MAX_ACCESSES = 4 << 20;
static Access* accesses;
static size_t access_count;
struct Counter { u32 pc, region; bool write; u64 requests, lanes, units, least; };  // units: sectors, passes, words
static std::vector<Counter> counters;
static std::vector<u64> turn_block;

static __attribute__((noinline)) void record(Region* r, uintptr_t a, u32 size, u32 pc, bool write) {
    if (access_count == MAX_ACCESSES) { sampling = false; return; }
    // The n-th access of a warp's threads by one instruction is one request.
    static u32 slots[4096], numbers;  // instructions, hashed; slot + 1 is the instruction's number
    static std::vector<u32> codes, turns;
    u32 h = pc * 2654435761u >> 20;
    while (slots[h] && codes[slots[h] - 1] != pc) h = (h + 1) & 4095;
    if (!slots[h]) {
        if (numbers == 4000) { sampling = false; return; }
        slots[h] = ++numbers;
        codes.push_back(pc);
        turns.resize(numbers * 1024ul);
        turn_block.resize(numbers * 1024ul);
    }
    size_t at = (slots[h] - 1) * 1024ul + running;
    if (turn_block[at] != block_of(me)) turn_block[at] = block_of(me), turns[at] = 0;
    u64 group = (u64)(running >> 5) << 48 | (u64)slots[h] << 32 | turns[at]++;
    accesses[access_count++] = {group, a, pc, r->index | (write ? 1u << 31 : 0), running, size};
}
static void count_requests() {
    std::sort(accesses, accesses + access_count, [](const Access& a, const Access& b) { return a.group < b.group; });
    static std::vector<u64> at;
    for (size_t i = 0, j; i < access_count; i = j) {
        const Access& first = accesses[i];
        for (j = i; j < access_count && accesses[j].group == first.group;) ++j;
        Space space = regions[first.region & 0x7fffffff].space;
        u64 units = 0, least = 0, size = first.size;
        at.clear();
        if (space == GLOBAL) {  // 32-byte sectors, against the fewest that hold as many bytes
            for (size_t k = i; k < j; ++k)
                for (u64 s = accesses[k].address >> 5; s <= (accesses[k].address + size - 1) >> 5; ++s) at.push_back(s);
            std::sort(at.begin(), at.end());
            units = std::unique(at.begin(), at.end()) - at.begin();
            least = ((j - i) * size + 31) / 32;
        } else if (space == SHARED) {  // passes through 32 banks; 8- and 16-byte accesses go by half and quarter warps
            u32 lanes = size <= 4 ? 32 : size == 8 ? 16 : 8;
            for (u32 lo = 0; lo < 32; lo += lanes) {
                at.clear();
                for (size_t k = i; k < j; ++k)
                    if ((accesses[k].thread & 31) >= lo && (accesses[k].thread & 31) < lo + lanes)
                        for (u64 b = 0; b < size; b += 4) at.push_back((accesses[k].address + b) >> 2);
                std::sort(at.begin(), at.end());
                at.erase(std::unique(at.begin(), at.end()), at.end());
                u32 banks[32] = {}, ways = 0;
                for (u64 word : at) ways = std::max(ways, ++banks[word & 31]);
                units += ways, least += ways > 0;
            }
        } else {  // different words of constant memory are fetched one after another
            for (size_t k = i; k < j; ++k) at.push_back(accesses[k].address);
            std::sort(at.begin(), at.end());
            units = std::unique(at.begin(), at.end()) - at.begin();
            least = 1;
        }
        bool write = first.region >> 31;
        u32 region = first.region & 0x7fffffff;
        auto c = std::find_if(counters.begin(), counters.end(), [&](const Counter& c) {
            return c.pc == first.pc && c.region == region && c.write == write;
        });
        if (c == counters.end()) c = counters.insert(c, {first.pc, region, write, 0, 0, 0, 0});
        c->requests += 1, c->lanes += j - i, c->units += units, c->least += least;
    }
    access_count = 0;
}

// ---- the hooks -------------------------------------------------------------------------------
static u32 last_pc;

// An index that -fsanitize=bounds refused, until the access itself comes and tells the array.
struct Refused { Finding* finding; long index, count, inner; u32 element; };
static Refused refused[4];
static u32 refused_count;
static __attribute__((noinline)) bool was_refused(Region* r, uintptr_t a, u32 size, bool write) {
    long offset = (long)(a - (uintptr_t)r->base);
    for (u32 i = 0; i < refused_count; ++i) {
        Refused& x = refused[i];
        long element = x.element ? x.element : size, stride = x.inner * element, whole = x.count * stride;
        if (r->argument || !whole || r->size % whole) continue;
        long start = (offset - x.index * stride) % whole;
        if ((start < 0 ? start + whole : start) >= stride) continue;
        if (x.finding && !x.finding->region) at(x.finding, r, a, size, write), x.finding->region = r->index;
        x = refused[--refused_count];
        return true;
    }
    return false;
}
static __attribute__((noinline)) void outside(Region* r, uintptr_t a, u32 size, bool write, u32 pc) {
    bool known = refused_count && was_refused(r, a, size, write);
    if (refused_count && !r->index) finish(false);  // behind a constant or local array, as its index has told
    if (r->near(a)) {
        if (!known) at(find("out-of-bounds", r, pc, 0), r, a, size, write);
        return;
    }
    // Far outside. An index below zero that was computed without a sign lands 2^32 elements further on.
    for (u64 step = 1ull << 32; step <= 1ull << 36 && !known; step <<= 1) {
        Region* q = std::find_if(regions + 1, regions + region_count + 1, [&](Region& x) { return x.near(a - step); });
        if (q > regions + region_count) continue;
        Finding* f = find("out-of-bounds", q, pc, 0);
        at(f, q, a - step, size, write);
        if (f) strcpy(f->text, "wrapped");
        finish(false);
    }
    if (!known && r->index) at(find("out-of-bounds", r, pc, 0), r, a, size, write);
    else if (!known) {
        Finding* f = find((a - (uintptr_t)arena) + (1ull << 38) < (1ull << 39) + arena_size ? "out-of-bounds" : "wild-pointer", nullptr, pc, 0);
        if (f) f->write = write, f->size = size, strcpy(f->text, "far");
    }
    finish(false);  // there is no memory
}
static inline __attribute__((always_inline)) void tracked(Region* r, uintptr_t a, u32 size, bool write, u32 pc) {
    uintptr_t o = a - (uintptr_t)r->base;
    if (UNLIKELY(o >= r->size || o + size > r->size)) return outside(r, a, size, write, pc);
    if (UNLIKELY(refused_count) && was_refused(r, a, size, write)) return;
    if (write) ++r->stores, r->store_bytes += size, thread_fenced[running] = false;
    else ++r->loads, r->load_bytes += size;
    if (UNLIKELY(sampling)) record(r, a, size, pc, write);
    if (UNLIKELY(size < 1u << r->shift)) split(r, size);
    Cell* c = r->cells + (o >> r->shift);
    for (Cell* end = r->cells + ((o + size - 1) >> r->shift); c <= end; ++c)
        write ? store(r, *c, a, size, pc, false) : load(r, *c, a, size, pc);
}
static size_t frame_depth;  // how deep below its stack's end a kernel's frame begins
static u32 stack_pc;        // the last store through a pointer into a local array
static __attribute__((noinline)) bool on_stack(uintptr_t a, u32 size, bool write, u32 pc);
static __attribute__((noinline)) void elsewhere(uintptr_t a, u32 size, bool write, u32 pc) {
    if (a - data_lo < data_hi - data_lo) {
        u32 owner = data_owner[(a - data_lo) >> 2];
        if (!owner) return;
        Region* r = &regions[owner];
        if (r->space != CONSTANT) return tracked(r, a, size, write, pc);
        if (refused_count && was_refused(r, a, size, write)) return;
        if (write) {
            at(find("constant-store", r, pc, 0), r, a, size, true);
            return;
        }
        if (a + size > (uintptr_t)r->base + r->given) at(find("uninitialised", r, pc, 0), r, a, size, false);
        ++r->loads, r->load_bytes += size;
        if (UNLIKELY(sampling)) record(r, a, size, pc, false);
        return;
    }
    if (a - (uintptr_t)cnnlab_dynamic_arena < sizeof cnnlab_dynamic_arena) return tracked(dynamic_region, a, size, write, pc);
    if (on_stack(a, size, write, pc) || a - object_base < object_size) return;  // locals, constant tables
    if (a < 4096) {
        Finding* f = find("null-pointer", nullptr, pc, 0);
        if (f) f->write = write, f->size = size, f->index = (long)a;
        finish(false);
    }
    outside(&regions[0], a, size, write, pc);
}
static __attribute__((noinline)) void misaligned(uintptr_t a, u32 size, bool write, u32 pc) {
    uintptr_t off = a - (uintptr_t)arena;
    Region* r = off < arena_size ? &regions[chunk_owner[off / CHUNK]] : nullptr;
    if (!r && a - (uintptr_t)cnnlab_dynamic_arena < sizeof cnnlab_dynamic_arena) r = dynamic_region;
    if (!r || !r->index) return;  // the compiler's own business (stack, constant tables)
    at(find("misaligned", r, pc, 0), r, a, size, write);
    finish(false);  // a GPU stops here as well
}
static inline __attribute__((always_inline)) void watch(void* address, u32 size, bool write, void* from) {
    uintptr_t a = (uintptr_t)address, off = a - (uintptr_t)arena;
    u32 pc = last_pc = (u32)((uintptr_t)from - object_base);
    if (UNLIKELY(late_store.r)) settle(late_store);
    if (UNLIKELY(size > 1 && size <= 16 && a & (size - 1))) misaligned(a, size, write, pc);
    u32 owner = off < arena_size ? chunk_owner[off / CHUNK] : 0;
    if (owner) tracked(&regions[owner], a, size, write, pc);
    else elsewhere(a, size, write, pc);
}
#define PC __builtin_return_address(0)
#define HOOK(n)                                                                          \
    EXPORT void __tsan_read##n(void* a) { watch(a, n, false, PC); }                      \
    EXPORT void __tsan_write##n(void* a) { watch(a, n, true, PC); }
HOOK(1) HOOK(2) HOOK(4) HOOK(8) HOOK(16)
static void pieces(char* a, size_t n, bool write, void* pc) {  // packed and large structures, a piece at a time
    for (u32 step; n; a += step, n -= step) {
        step = 16;
        while (step > n || (uintptr_t)a & (step - 1)) step >>= 1;
        watch(a, step, write, pc);
    }
}
#define UNALIGNED(n)                                                                     \
    EXPORT void __tsan_unaligned_read##n(char* a) { pieces(a, n, false, PC); }           \
    EXPORT void __tsan_unaligned_write##n(char* a) { pieces(a, n, true, PC); }
UNALIGNED(2) UNALIGNED(4) UNALIGNED(8) UNALIGNED(16)
EXPORT void __tsan_read_range(char* a, size_t n) { pieces(a, n, false, PC); }
EXPORT void __tsan_write_range(char* a, size_t n) { pieces(a, n, true, PC); }
EXPORT void __tsan_vptr_update(void*, void*) {}
EXPORT void __tsan_vptr_read(void*) {}
EXPORT void __tsan_init() {}
EXPORT void __tsan_func_entry(void*) {}
EXPORT void __tsan_func_exit() {}

EXPORT void cnnlab_fence() { fenced = thread_fenced[running] = true; }
static u32 spins;
static void pause_thread();
EXPORT void cnnlab_atomic(void* address, u32 size, void* from) {
    if (++spins % 4096 == 0) pause_thread();  // perhaps it waits for a thread of its own block
    if (!checked) return;
    uintptr_t a = (uintptr_t)address, off = a - (uintptr_t)arena;
    u32 pc = last_pc = (u32)((uintptr_t)from - object_base);
    if (late_store.r) settle(late_store);
    if (late_load.r && late_load.a == a) excused.push_back(late_load.pc), late_load.r = nullptr;
    if (UNLIKELY(a & (size - 1))) misaligned(a, size, true, pc);
    Region* r = nullptr;
    if (off < arena_size) r = &regions[chunk_owner[off / CHUNK]];
    else if (a - data_lo < data_hi - data_lo) r = &regions[data_owner[(a - data_lo) >> 2]];
    else if (a - (uintptr_t)cnnlab_dynamic_arena < sizeof cnnlab_dynamic_arena) r = dynamic_region;
    if (!r || r->space == CONSTANT || !r->size) return elsewhere(a, size, true, pc);
    uintptr_t o = a - (uintptr_t)r->base;
    if (o >= r->size || o + size > r->size) return outside(r, a, size, true, pc);
    if (refused_count && was_refused(r, a, size, true)) return;
    acquired = true;
    if (fenced) released[block_of(me) - 1] = 1;
    acquisitions[running] = releases;
    if (thread_fenced[running]) {
        u32& clock = clocks[running];
        clock = std::min(clock + 1, LAST_CLOCK);
        Release now = {clock, acquisitions[running] = ++releases};
        if (!first_release[running].number) first_release[running] = now;
        last_release[running] = now;
        me = me >> 12 << 12 | clock;
    }
    r->atomics = true;
    ++r->loads, ++r->stores, r->load_bytes += size, r->store_bytes += size;
    if (sampling) record(r, a, size, pc, true);
    if (size < 1u << r->shift) split(r, size);
    for (uintptr_t i = o >> r->shift; i <= (o + size - 1) >> r->shift; ++i) {
        Cell& c = r->cells[i];
        bool known_value = r->space == SHARED ? block_of(c.write) == block_of(me) : c.write || r->initialised;
        if (!c.write && r->space != SHARED) r->old = true;
        if (!known_value) at(find("uninitialised", r, pc, 0), r, a, size, false);
        if (c.read1 && !((c.read1 ^ me) >> 30) && !is_excused(c.read1_pc)) excused.push_back(c.read1_pc);
        store(r, c, a, size, pc, true);
    }
}

struct UbType { uint16_t kind, info; char name[]; };
struct UbPlace { const char* file; u32 line, column; };
static long ub_value(const UbType* t, uintptr_t v) {
    if (t->kind) return 0;
    int bits = 1 << (t->info >> 1);
    if (bits > 64) return 0;
    return t->info & 1 ? (long)(v << (64 - bits)) >> (64 - bits) : (long)v;
}
EXPORT void __ubsan_handle_out_of_bounds(const void* data, uintptr_t index) {
    struct Data { UbPlace place; UbType *array, *index; };
    const Data* d = (const Data*)data;
    Finding* f = find("index", nullptr, 0, (u32)((uintptr_t)PC - object_base), (int)d->place.line);
    if (f) f->index = f->size = 0, snprintf(f->text, sizeof f->text, "%ld of %s", ub_value(d->index, index), d->array->name);
    Refused x = {f ? f : repeated, ub_value(d->index, index), 0, 1, 0};
    const char* dims = strchr(d->array->name, '[');
    for (const char* p = dims; p && *p == '['; p = strchr(p, ']') + 1) (x.count ? x.inner : x.count) = (x.count ? x.inner : 1) * atol(p + 1);
    struct { const char* name; u32 size; } sizes[] = {{"'float ", 4}, {"'int ", 4}, {"'unsigned int ", 4}, {"'double ", 8}, {"'char ", 1},
        {"'unsigned char ", 1}, {"'signed char ", 1}, {"'short ", 2}, {"'bool ", 1}, {"'long ", 8}, {"'unsigned long ", 8}, {"'float4 ", 16}};
    for (auto& s : sizes)
        if (!strncmp(d->array->name, s.name, strlen(s.name))) x.element = s.size;
    if (dims && refused_count < 4) refused[refused_count++] = x;
}
EXPORT void __ubsan_handle_divrem_overflow(const void* data, uintptr_t, uintptr_t) {
    find("division-by-zero", nullptr, (u32)((uintptr_t)PC - object_base), 0, (int)((const UbPlace*)data)->line);
    finish(false);  // the processor would trap
}

// The student's shared arrays: module and offset of a thread-local variable, answered with its place in the arena.
EXPORT void* __tls_get_addr(size_t* where) {
    size_t i = tls_symbols.size();
    while (i && tls_symbols[i - 1].offset > where[1]) --i;
    if (!i) die("a __shared__ array of no size");
    return regions[tls_symbols[i - 1].region].base + (where[1] - tls_symbols[i - 1].offset);
}

// ---- threads of a block are fibres -------------------------------------------------------------
extern "C" void cnnlab_switch(void** save, void* load);
asm(R"(
.text
.globl cnnlab_switch
.type cnnlab_switch, @function
cnnlab_switch:
    pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
    ret
.size cnnlab_switch, .-cnnlab_switch
)");
static const size_t STACK = 640 << 10, GUARD = 1 << 16;  // 512 KB of local memory, as on a GPU, and room for hooks
enum State : unsigned char { READY, DONE, AT_BLOCK, AT_WARP, AT_ACTIVE };
struct Fibre {
    void* sp;
    int stack;
    State state;
    int line;
    u32 mask, clock, pc, lanes, turn;
    const char* what;
    u64 values[2];
};
static Fibre fibres[1024];
static u64 warp_values[32][2][32];
static std::vector<int> spare;
static void* scheduler;
static void (*entry)(void**);
static void** arguments;
static u32 live, epoch;
static int predicate_count, predicate_all, predicate_latch[2];

static void start_here() {
    entry(arguments);
    settle_all(), refused_count = 0;
    fibres[running].state = DONE;
    void* nowhere;
    cnnlab_switch(&nowhere, scheduler);
    __builtin_unreachable();
}
static void run(u32 t) {
    Fibre& f = fibres[t];
    running = t;
    u32 plane = cnnlab_blockDim.x * cnnlab_blockDim.y;
    cnnlab_threadIdx = {t % cnnlab_blockDim.x, t % plane / cnnlab_blockDim.x, t / plane};
    me = (me >> 40 << 40) | (u64)t << 30 | (u64)std::min(epoch, LAST_EPOCH) << 12 | clocks[t];
    if (f.stack < 0) {
        f.stack = spare.back();
        spare.pop_back();
        void** top = (void**)(stacks + (f.stack + 1) * (STACK + GUARD) - 4096);  // what an overrun hits first is nobody's
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(stacks + f.stack * (STACK + GUARD) + GUARD, STACK);
#endif
        *--top = nullptr;
        *--top = (void*)start_here;
        f.sp = top - 6;
        memset(f.sp, 0, 48);
    }
    cnnlab_switch(&scheduler, f.sp);
    if (f.state == DONE) {
        spare.push_back(f.stack);
        --live;
    }
}
static void wait(State state) {
    Fibre& f = fibres[running];
    settle_all(), refused_count = 0;
    f.state = state;
    cnnlab_switch(&f.sp, scheduler);
}
static void pause_thread() { wait(READY); }

// A kernel's own locals lie below the frame of the function that calls it.
EXPORT void cnnlab_frame(void* frame) { frame_depth = stacks + (fibres[running].stack + 1) * (STACK + GUARD) - (char*)frame; }
static bool on_stack(uintptr_t a, u32 size, bool write, u32 pc) {
    uintptr_t off = a - (uintptr_t)stacks;
    if (off >= stack_bytes) return false;
    int stack = (int)(off / (STACK + GUARD));
    if (stack == fibres[running].stack && off + size <= (stack + 1) * (STACK + GUARD) - frame_depth && off % (STACK + GUARD) >= GUARD) {
        if (write) stack_pc = pc;
        return true;
    }
    if (off % (STACK + GUARD) < GUARD && stack == fibres[running].stack) return true;  // a real stack overflow: let it trap
    Finding* f = find("out-of-bounds", nullptr, pc, 0);
    if (f) strcpy(f->text, "local"), f->write = write, f->size = size;
    finish(false);
}
EXPORT void __stack_chk_fail() {
    Finding* f = find("out-of-bounds", nullptr, stack_pc ? stack_pc : (u32)((uintptr_t)PC - object_base), 0);
    if (f) strcpy(f->text, "local"), f->write = true;
    finish(false);
}

EXPORT int cnnlab_barrier(int line, int predicate, int op) {
    predicate_count += predicate != 0;
    predicate_all &= predicate != 0;
    fibres[running].line = line;
    u32 turn = epoch & 1;
    wait(AT_BLOCK);
    return op == 1 ? predicate_latch[turn] >> 1 : op == 2 ? predicate_latch[turn] & 1 : predicate_latch[turn] >> 1 != 0;
}
struct CnnlabWarp { const u64* values; u32 lanes; };
EXPORT CnnlabWarp cnnlab_warp(const char* what, u32 mask, u64 value, void* from) {
    Fibre& f = fibres[running];
    u32 lane = running & 31, turn = f.turn++ & 1;
    f.what = what, f.mask = mask, f.line = 0, f.pc = last_pc = (u32)((uintptr_t)from - object_base);
    if (!(mask >> lane & 1)) {
        Finding* g = find("warp-mask", nullptr, f.pc, 0);
        if (g) snprintf(g->text, sizeof g->text, "%s", what), g->index = mask;
        f.mask |= 1u << lane;
    }
    f.values[turn] = value;
    wait(AT_WARP);
    return {warp_values[running >> 5][turn], f.lanes};
}
EXPORT void cnnlab_syncwarp(int line, u32 mask) {
    Fibre& f = fibres[running];
    u32 lane = running & 31;
    f.what = "__syncwarp", f.mask = mask, f.line = line, f.pc = 0;
    if (!(mask >> lane & 1)) {
        Finding* g = find("warp-mask", nullptr, 0, 0, line);
        if (g) strcpy(g->text, "__syncwarp"), g->index = mask;
        f.mask |= 1u << lane;
    }
    wait(AT_WARP);
}
EXPORT u32 cnnlab_activemask(void* from) {
    Fibre& f = fibres[running];
    f.what = "__activemask", f.mask = 0, f.pc = (u32)((uintptr_t)from - object_base);
    wait(AT_ACTIVE);
    return f.lanes;
}
EXPORT void cnnlab_bad_lane(const char* what, int lane, void* from) {
    Finding* f = find("inactive-lane", nullptr, (u32)((uintptr_t)from - object_base), 0);
    if (f) snprintf(f->text, sizeof f->text, "%s", what), f->index = lane;
}
EXPORT void cnnlab_trap(const char* what, int line) {
    Finding* f = find("trap", nullptr, 0, 0, line);
    if (f) snprintf(f->text, sizeof f->text, "%s", what);
    finish(false);
}
static long long nanoseconds(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}
EXPORT long long cnnlab_clock() { return nanoseconds(CLOCK_MONOTONIC); }

static void release(u32 warp, u32 lanes, const Fibre& first) {
    bool values = first.state == AT_WARP && first.what != nullptr && first.line == 0;
    bool memory = first.state == AT_WARP && first.line;  // only __syncwarp orders memory
    u32 bound[32] = {};
    for (u32 l = 0; l < 32; ++l) {
        if (!(lanes >> l & 1)) continue;
        Fibre& f = fibres[warp * 32 + l];
        f.state = READY, f.lanes = lanes;
        if (values) warp_values[warp][(f.turn - 1) & 1][l] = f.values[(f.turn - 1) & 1];
        if (memory) {
            u32& clock = clocks[warp * 32 + l];
            clock = std::min(clock + 1, LAST_CLOCK);
            for (u32 k = 0; k < 32; ++k) bound[k] = std::max(bound[k], known[warp][l][k]);
            bound[l] = std::max(bound[l], clock);
            clocks_used = true;
        }
    }
    if (memory)
        for (u32 l = 0; l < 32; ++l)
            if (lanes >> l & 1) memcpy(known[warp][l], bound, sizeof bound);
}
// A warp operation is complete when all lanes of its mask that still run have come to the same one.
static bool release_warps(bool active) {
    bool any = false;
    for (u32 w = 0; w * 32 < threads; ++w) {
        u32 here = std::min(32u, threads - w * 32);
        for (u32 l = 0; l < here; ++l) {
            Fibre& f = fibres[w * 32 + l];
            if (f.state != (active ? AT_ACTIVE : AT_WARP)) continue;
            u32 came = 0, left = 0;
            for (u32 k = 0; k < here; ++k) {
                Fibre& g = fibres[w * 32 + k];
                if (active ? g.state == AT_ACTIVE && g.pc == f.pc
                           : g.state == AT_WARP && g.mask == f.mask && !strcmp(g.what, f.what)) came |= 1u << k;
                else if (g.state == DONE && f.mask >> k & 1) left |= 1u << k;
            }
            u32 wanted = f.mask & (here == 32 ? ~0u : (1u << here) - 1);
            if (!active && (came | left) != wanted) continue;
            if (left && checked) {
                running = w * 32 + l;
                me = (me >> 40 << 40) | (u64)running << 30;
                Finding* g = find("divergent-warp", nullptr, f.pc, 0, f.line);
                if (g) snprintf(g->text, sizeof g->text, "%s", f.what), g->index = left;
            }
            release(w, came, f);
            any = true;
        }
    }
    return any;
}
static void put_groups(Finding* f) {  // who waits where, in words
    struct Group { State state; int line; const char* what; u32 count; } groups[8];
    u32 n = 0;
    for (u32 t = 0; t < threads; ++t) {
        Fibre& g = fibres[t];
        int line = g.state == DONE ? 0 : g.line;
        u32 i = 0;
        while (i < n && (groups[i].state != g.state || groups[i].line != line)) ++i;
        if (i == 8) continue;
        if (i == n) groups[n++] = {g.state, line, g.what, 0};
        ++groups[i].count;
    }
    size_t used = 0;
    for (u32 i = 0; i < n && used < sizeof f->text; ++i) {
        Group& g = groups[i];
        const char* comma = i ? ", " : "";
        char* to = f->text + used;
        size_t left = sizeof f->text - used;
        if (g.state == DONE) used += snprintf(to, left, "%s%u %s left", comma, g.count, g.count == 1 ? "has" : "have");
        else if (g.state == AT_BLOCK) used += snprintf(to, left, "%s%u wait%s at line %d", comma, g.count, g.count == 1 ? "s" : "", g.line);
        else used += snprintf(to, left, "%s%u wait%s in %s", comma, g.count, g.count == 1 ? "s" : "", g.what);
    }
}
static Finding* barrier_finding(const char* kind, u32 t) {
    running = t;
    me = (me >> 40 << 40) | (u64)t << 30;
    Finding* f = find(kind, nullptr, fibres[t].state == AT_BLOCK ? 0 : fibres[t].pc, 0, fibres[t].line);
    if (!f) return nullptr;
    memset(f->mask, 0, sizeof f->mask);
    for (u32 k = 0; k < threads; ++k)
        if (fibres[k].state != DONE) f->mask[k >> 6] |= 1ull << (k & 63);
    put_groups(f);
    return f;
}
static void forget_clocks() {
    memset(clocks, 0, sizeof clocks);
    if (clocks_used) memset(known, 0, sizeof known);
    if (releases) memset(first_release, 0, sizeof first_release), memset(last_release, 0, sizeof last_release);
    clocks_used = false, releases = 0;
    memset(acquisitions, 0, sizeof acquisitions);
}
static void run_block() {
    live = threads, epoch = 0;
    predicate_count = 0, predicate_all = 1;
    fenced = acquired = false;
    forget_clocks();
    for (u32 t = 0; t < threads; ++t) fibres[t].state = READY, fibres[t].stack = -1, fibres[t].turn = 0;
    while (live) {
        bool ran = false;
        for (u32 i = 0; i < threads; ++i) {
            u32 t = backward ? threads - 1 - i : i;
            if (fibres[t].state == READY) run(t), ran = true;
        }
        if (ran || !live || release_warps(false) || release_warps(true)) continue;
        u32 waiting = 0, first = threads, odd = threads;
        for (u32 t = 0; t < threads; ++t) {
            if (fibres[t].state == AT_BLOCK) {
                ++waiting;
                if (first == threads) first = t;
                else if (fibres[t].line != fibres[first].line && odd == threads) odd = t;
            }
        }
        if (waiting != live) {  // some wait for their warp, the others for the block, or nobody comes
            u32 t = 0;
            while (fibres[t].state != AT_WARP) ++t;
            barrier_finding("deadlock", t);
            finish(false);
        }
        if (checked && (odd < threads || waiting < threads)) barrier_finding("divergent-barrier", first);
        predicate_latch[epoch & 1] = predicate_count << 1 | predicate_all;
        predicate_count = 0, predicate_all = 1;
        ++epoch;
        forget_clocks();
        for (u32 t = 0; t < threads; ++t)
            if (fibres[t].state == AT_BLOCK) fibres[t].state = READY;
    }
}

// ---- the report ------------------------------------------------------------------------------
static u64 barriers_passed;
static const int TICKS = 20;
static u64 half_time_blocks;
static u32 ticks, half_time_live;
static bool stuck;  // nothing came to its end in the second half of the time
static double kernel_ms;

static void put_stamp(const char* name, Stamp s) {
    u64 b = block_of(s) - 1, plane = (u64)cnnlab_gridDim.x * cnnlab_gridDim.y;
    u32 t = thread_of(s), slab = cnnlab_blockDim.x * cnnlab_blockDim.y;
    put(", \"%s\": [", name);
    if (checked) put("[%lu, %lu, %lu]", b % cnnlab_gridDim.x, b % plane / cnnlab_gridDim.x, b / plane);
    else put("[%u, %u, %u]", cnnlab_blockIdx.x, cnnlab_blockIdx.y, cnnlab_blockIdx.z);  // a stamp has no bits for all blocks
    put(", [%u, %u, %u]]", t % cnnlab_blockDim.x, t % slab / cnnlab_blockDim.x, t / slab);
}
static void put_unwritten() {
    for (u32 i = 1; i <= region_count; ++i) {
        Region& r = regions[i];
        if (!r.argument || !r.cells || !r.size) continue;
        // A tensor that is only written to is an output; one that is read or added to may keep old elements.
        bool pure = !r.initialised || (r.stores && !r.loads && !r.atomics) || (r.output && !r.stores && !r.loads);
        if (!r.output || !pure) continue;
        u64 missing = 0, cells = r.size >> r.shift, runs = 0;
        for (u64 c = 0; c < cells; ++c) missing += !r.cells[c].write;
        if (!missing) continue;
        put("{\"finding\": \"unwritten\", \"region\": %u, \"count\": %lu, \"of\": %lu, \"cell\": %d, \"runs\": [", i,
            missing, cells, 1 << r.shift);
        for (u64 c = 0; c < cells && runs < 256; ++c) {
            if (r.cells[c].write) continue;
            u64 end = c;
            while (end < cells && !r.cells[end].write) ++end;
            put("%s[%lu, %lu]", runs++ ? ", " : "", c, end - c);
            c = end;
        }
        put("]}\n");
    }
}
struct Copy { Region* region; void* to; size_t bytes; };
static std::vector<Copy> copies;  // __device__ arrays that the launch gave go back to it
static void finish(bool whole) {
    settle_all();
    if (whole)
        for (Copy& c : copies) memcpy(c.to, c.region->base, c.bytes);
    if (checked && whole) put_unwritten();
    for (u32 i = 0; i < finding_count; ++i) {
        Finding& f = findings[i];
        put("{\"finding\": \"%s\", \"region\": %u, \"pc\": %u, \"other_pc\": %u, \"line\": %d, \"index\": %ld, "
            "\"size\": %u, \"write\": %d, \"count\": %lu, \"reach\": %d, \"text\": ", f.kind, f.region, f.pc, f.other_pc, f.line,
            f.index, f.size, f.write, f.count, f.reach);
        put_text(f.text, strnlen(f.text, sizeof f.text));
        put_stamp("who", f.who);
        if (f.other) put_stamp("other", f.other);
        put(", \"threads\": [");
        for (int k = 0; k < 16; ++k) put("%s%lu", k ? ", " : "", f.mask[k]);
        put("]}\n");
    }
    if (printed_bytes || printed_lost) {
        put("{\"printed\": ");
        put_text(printed, printed_bytes);
        put(", \"lost\": %zu}\n", printed_lost);
    }
    for (u32 i = 1; i <= region_count; ++i) {
        Region& r = regions[i];
        if (r.name.empty()) continue;
        put("{\"region\": %u, \"name\": ", i);
        put_text(r.name.data(), r.name.size());
        put(", \"space\": \"%s\", \"bytes\": %zu, \"argument\": %d, \"loads\": %lu, \"stores\": %lu, "
            "\"load_bytes\": %lu, \"store_bytes\": %lu, \"old\": %d, \"address\": %lu}\n",
            r.space == GLOBAL ? "global" : r.space == SHARED ? "shared" : "constant", r.size, r.argument, r.loads,
            r.stores, r.load_bytes, r.store_bytes, r.old, r.address);
    }
    for (auto& c : counters)
        if (!regions[c.region].name.empty()) put("{\"counter\": %u, \"region\": %u, \"write\": %d, \"requests\": %lu, \"lanes\": %lu, \"units\": %lu, "
            "\"least\": %lu}\n", c.pc, c.region, c.write, c.requests, c.lanes, c.units, c.least);
    put("{\"done\": %d, \"kernel_ms\": %.3f, \"barriers\": %lu, \"blocks\": %lu, \"threads_left\": %u, \"stuck\": %d}\n", whole,
        kernel_ms, barriers_passed, blocks_done, live, stuck);
    flush();
    _exit(0);
}
static void on_signal(int signal, siginfo_t* info, void* context) {
    if (signal == SIGPROF) {
        if (++ticks == TICKS / 2) half_time_blocks = blocks_done, half_time_live = live;
        if (ticks < TICKS) return;
        stuck = half_time_blocks == blocks_done && half_time_live == live;
    }
    u32 code = 0;
#if defined(__x86_64__)
    uintptr_t ip = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
    code = ip - code_lo < code_hi - code_lo ? (u32)(ip - object_base) + 1 : last_pc;
#endif
    const char* kind = signal == SIGPROF || signal == SIGXCPU ? "timeout" : signal == SIGFPE ? "division-by-zero" : "crash";
    uintptr_t a = (uintptr_t)info->si_addr, span = STACK + GUARD;
    if (signal == SIGSEGV || signal == SIGBUS) {
        uintptr_t off = a - (uintptr_t)stacks;
        if (off < stack_bytes && off % span < GUARD) kind = (int)(off / span) == fibres[running].stack ? "stack-overflow" : "wild-pointer";
        else if (a < 4096) kind = "null-pointer";
        else kind = "wild-pointer";
    }
    Finding* f = find(kind, nullptr, code, 0);
    if (f) f->index = (long)a;
    finish(false);
}

// ---- locking in ------------------------------------------------------------------------------
static void confine(const char* object) {
#ifdef __SANITIZE_ADDRESS__
    return;  // the sanitizer's own work needs more; this build tests the simulator and meets no student
#endif
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("!no_new_privs is refused");
    // Landlock: of all files, only the student's object may be read (old kernels lack it; the sandbox stands then).
    landlock_ruleset_attr all = {};
    all.handled_access_fs = (1ull << 13) - 1;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all.handled_access_fs, 0);
    if (rules >= 0) {
        landlock_path_beneath_attr one = {};
        one.allowed_access = LANDLOCK_ACCESS_FS_READ_FILE;
        one.parent_fd = open(object, O_PATH | O_CLOEXEC);
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &one, 0) ||
            syscall(SYS_landlock_restrict_self, rules, 0)) die("!Landlock refused its rules");
        close(one.parent_fd);
        close(rules);
    }
    static const int allowed[] = {
        SYS_read, SYS_write, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_lseek, SYS_mmap, SYS_mprotect,
        SYS_munmap, SYS_madvise, SYS_brk, SYS_futex, SYS_clock_gettime, SYS_rt_sigreturn, SYS_rt_sigprocmask,
        SYS_exit, SYS_exit_group, SYS_getpid, SYS_gettid, SYS_mremap};
    std::vector<sock_filter> p;
    auto add = [&](uint16_t code, u32 k, unsigned char yes = 0, unsigned char no = 0) { p.push_back({code, yes, no, k}); };
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    for (int n : allowed) {
        add(BPF_JMP | BPF_JEQ | BPF_K, (u32)n, 0, 1);
        add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    }
    add(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3);  // only to read, and only what Landlock and the mounts show
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2]));
    add(BPF_JMP | BPF_JSET | BPF_K, O_WRONLY | O_RDWR | O_CREAT | O_TRUNC, 1, 0);
    add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    add(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    sock_fprog program = {(unsigned short)p.size(), p.data()};
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) die("!seccomp is refused by this host");
}

// ---- the student's object ----------------------------------------------------------------------
static std::string plain_name(const char* mangled) {
    int status;
    char* text = strncmp(mangled, "_Z", 2) ? nullptr : abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
    std::string name = text ? text : mangled;
    free(text);
    size_t colon = name.rfind("::");
    if (colon != std::string::npos) name = name.substr(colon + 2);
    return name.substr(0, name.find('['));
}
struct Symbol { std::string name; uintptr_t value; size_t size; bool tls, constant, writable; };
static void check_import(const char* name) {  // the launcher has all of libc; a kernel has this
    static const char math[] = " sqrt cbrt exp exp2 exp10 expm1 log log2 log10 log1p sin cos tan asin acos atan sinh "
        "cosh tanh erf floor ceil trunc round rint fabs pow fmod atan2 hypot fmax fmin copysign fma abs sincos nearbyint erfc asinh acosh "
        "atanh tgamma lgamma logb fdim remainder ldexp frexp modf lround lrint llround llrint ";
    for (const char* own : {"cnnlab_", "__tsan_", "__ubsan_handle_", "__tls_get_addr", "__popcount", "__stack_chk_fail", "memcpy", "memset", "memmove"})
        if (!strncmp(name, own, strlen(own))) return;
    std::string plain = std::string(" ") + name + " ", single = plain;
    if (plain[plain.size() - 2] == 'f') single.erase(single.size() - 2, 1);
    if (!strstr(math, plain.c_str()) && !strstr(math, single.c_str()))
        die("a kernel cannot call the host function %s", plain_name(name).c_str());
}
static std::vector<Symbol> read_symbols(const char* path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || fstat(fd, &info)) die("!the compiled kernel is not there");
    const char* file = (const char*)mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (file == MAP_FAILED) die("!the compiled kernel cannot be read");
    const Elf64_Ehdr* e = (const Elf64_Ehdr*)file;
    const Elf64_Shdr* sections = (const Elf64_Shdr*)(file + e->e_shoff);
    const char* section_names = file + sections[e->e_shstrndx].sh_offset;
    std::vector<Symbol> symbols;
    for (int s = 0; s < e->e_shnum; ++s) {
        if (sections[s].sh_type != SHT_SYMTAB) continue;
        const Elf64_Sym* table = (const Elf64_Sym*)(file + sections[s].sh_offset);
        const char* names = file + sections[sections[s].sh_link].sh_offset;
        for (size_t i = 0; i < sections[s].sh_size / sizeof *table; ++i) {
            int type = ELF64_ST_TYPE(table[i].st_info);
            if (i && table[i].st_shndx == SHN_UNDEF) check_import(names + table[i].st_name);
            if (table[i].st_shndx >= e->e_shnum || (type != STT_TLS && (type != STT_OBJECT || !table[i].st_size))) continue;
            const Elf64_Shdr& home = sections[table[i].st_shndx];
            bool constant = !strncmp(section_names + home.sh_name, "cuda_constant", 13);
            const char* symbol = names + table[i].st_name;  // a guard of a shared array of structs has no name here
            symbols.push_back({strncmp(symbol, "_ZGV", 4) ? plain_name(symbol) : "", table[i].st_value, table[i].st_size,
                               type == STT_TLS, constant, (home.sh_flags & SHF_WRITE) != 0});
        }
    }
    munmap((void*)file, info.st_size);
    return symbols;
}

static FILE* words;
static char* next_word() {
    static char word[4096];
    if (fscanf(words, "%4095s", word) != 1) die("!the launch is incomplete");
    return word;
}
static long next_number() { return strtol(next_word(), nullptr, 10); }

[[noreturn]] static void run_launch(int object_fd) {
    // ---- the launch: see cpu.py
    std::string object = "/proc/self/fd/" + std::to_string(object_fd);
    checked = next_number(), backward = next_number();
    long limit_ms = next_number(), samples = next_number();
    Dim* dims[] = {&cnnlab_gridDim, &cnnlab_blockDim};
    for (Dim* d : dims) d->x = next_number(), d->y = next_number(), d->z = next_number();
    size_t dynamic_bytes = next_number();
    std::string dynamic_name = next_word();
    if (dynamic_name == "-") dynamic_name = "dynamic shared memory";
    threads = cnnlab_blockDim.x * cnnlab_blockDim.y * cnnlab_blockDim.z;
    grid_blocks = (u64)cnnlab_gridDim.x * cnnlab_gridDim.y * cnnlab_gridDim.z;
    struct Argument { bool buffer; long alias; std::string name; size_t bytes, offset; int shift; bool initialised, output; std::string hex; };
    std::vector<Argument> list(next_number());
    for (Argument& a : list) {
        a = {};
        char kind = *next_word();
        a.alias = kind == 'a' ? next_number() : -1;
        if ((a.buffer = kind == 'b')) {
            a.name = next_word(), a.bytes = next_number(), a.offset = next_number();
            a.shift = next_number(), a.initialised = next_number(), a.output = next_number();
        } else if (kind == 's') {
            a.hex = next_word();
        }
    }
    struct Constant { std::string name; size_t bytes, offset; void* data; };
    std::vector<Constant> constants(next_number());
    for (Constant& c : constants) {
        c.name = next_word(), c.bytes = next_number(), c.offset = next_number();
        c.data = mmap(nullptr, std::max(c.bytes, (size_t)1), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, c.offset);
        if (c.data == MAP_FAILED) die("!a constant cannot be mapped");
    }

    // ---- memory
#ifndef __SANITIZE_ADDRESS__  // whose shadow is larger
    rlimit memory = {MEMORY, MEMORY};  // what it may write to; address space costs nothing
    setrlimit(RLIMIT_DATA, &memory);
#endif
    std::vector<Symbol> symbols = read_symbols(object.c_str());
    size_t shared = 0, constant = 0;
    for (Symbol& s : symbols) shared += s.tls ? s.size : 0, constant += s.constant ? s.size : 0;
    if (constant > 64 << 10) die("the __constant__ arrays take %zu bytes; there are at most 65536", constant);
    if (shared > 48 << 10)
        die("the __shared__ arrays take %zu bytes; a block has at most 49152 without dynamic shared memory", shared);
    if (shared + dynamic_bytes > DYNAMIC - 1024)
        die("%zu bytes of shared memory; a block has at most %zu", shared + dynamic_bytes, DYNAMIC - 1024);
    for (char* p = nullptr; !p; far_room /= 2) {  // where address space is limited, less of it between the arrays
        arena_size = ROOM;
        for (Argument& a : list) arena_size += a.buffer ? room(a.bytes) : 0;
        for (Symbol& s : symbols) arena_size += s.tls ? room(s.size) : 0;
        p = (char*)(far_room > ROOM ? try_reserve(arena_size + CHUNK, PROT_NONE) : reserve(arena_size + CHUNK));
        arena = (char*)up((size_t)p);
        if (p) break;
    }
    chunk_owner = (unsigned char*)calloc(arena_size / CHUNK + 1, 1);
    struct Value { alignas(16) unsigned char bytes[64]; };
    std::vector<Value> values(list.size());
    std::vector<void*> pointers(list.size());
    for (size_t i = 0; i < list.size(); ++i) {
        Argument& a = list[i];
        pointers[i] = &values[i];
        if (a.alias >= 0) values[i] = values[a.alias];
        if (!a.buffer) {
            for (size_t k = 0; k < a.hex.size() / 2 && k < sizeof(Value); ++k)
                values[i].bytes[k] = (unsigned char)strtol(a.hex.substr(2 * k, 2).c_str(), nullptr, 16);
            continue;
        }
        Region* r = place(a.name.c_str(), a.bytes, GLOBAL);
        r->shift = a.shift, r->initialised = a.initialised, r->output = a.output, r->argument = true;
        if (a.bytes && mmap(r->base, a.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, shared_fd, a.offset) == MAP_FAILED)
            die("!a tensor cannot be mapped");
        give_cells(r);
        memcpy(&values[i], &r->base, sizeof r->base);
    }
    dynamic_region = new_region(dynamic_name.c_str(), cnnlab_dynamic_shared, dynamic_bytes, SHARED);
    give_cells(dynamic_region);
    for (Symbol& s : symbols) {
        if (!s.tls) continue;
        Region* r = place(s.name.c_str(), s.size, SHARED);
        r->address = s.value;
        give_cells(r);
        tls_symbols.push_back({s.value, r->index});
    }
    std::sort(tls_symbols.begin(), tls_symbols.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
    u32 stack_count = threads;
    stacks = (char*)reserve(stack_bytes = stack_count * (STACK + GUARD));
    for (u32 i = 0; i < stack_count; ++i) {
        mprotect(stacks + i * (STACK + GUARD), GUARD, PROT_NONE);
        spare.push_back(stack_count - 1 - i);
    }
    if (checked) accesses = (Access*)reserve(MAX_ACCESSES * sizeof(Access));
    released.assign(checked ? grid_blocks : 0, 0);

    stack_t alternate = {reserve(1 << 16), 0, 1 << 16};
    sigaltstack(&alternate, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    for (int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGPROF, SIGXCPU, SIGABRT}) sigaction(s, &action, nullptr);
    rlimit processor = {(rlim_t)limit_ms / 1000 + 2, (rlim_t)limit_ms / 1000 + 3};
    setrlimit(RLIMIT_CPU, &processor);
    long tick = std::max(limit_ms * 1000 / TICKS, 1l);  // processor time: a busy machine does not count against a kernel
    itimerval timer = {{tick / 1000000, tick % 1000000}, {tick / 1000000, tick % 1000000}};
    setitimer(ITIMER_PROF, &timer, nullptr);

    // ---- from here on nothing is trusted: constructors run inside dlopen
    confine(object.c_str());
    void* handle = dlopen(object.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) die("%s", dlerror());
    link_map* map;
    dlinfo(handle, RTLD_DI_LINKMAP, &map);
    object_base = map->l_addr;
    dl_iterate_phdr([](dl_phdr_info* info, size_t, void* base) {
        if (info->dlpi_addr != (uintptr_t)base) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i) {
            const ElfW(Phdr)& h = info->dlpi_phdr[i];
            if (h.p_type != PT_LOAD) continue;
            uintptr_t lo = info->dlpi_addr + h.p_vaddr, hi = lo + h.p_memsz;
            object_size = std::max(object_size, (uintptr_t)(h.p_vaddr + h.p_memsz));
            if (h.p_flags & PF_X) code_lo = lo, code_hi = hi;
            if (h.p_flags & PF_W) data_lo = lo, data_hi = hi;
        }
        return 1;
    }, (void*)object_base);
    data_owner.assign((data_hi - data_lo) / 4 + 2, 0);
    for (Symbol& s : symbols) {
        uintptr_t address = object_base + s.value;
        if (s.tls || (!s.constant && !s.writable) || address - data_lo >= data_hi - data_lo) continue;
        if (s.name.rfind("_", 0) == 0 || s.name.find("(") != std::string::npos) continue;  // the compiler's own
        Region* r = new_region(s.name.c_str(), (char*)address, s.size, s.constant ? CONSTANT : GLOBAL);
        r->address = s.value;
        if (s.constant && std::all_of(r->base, r->base + s.size, [](char c) { return !c; })) r->given = 0;
        if (!s.constant) give_cells(r);
        for (size_t k = 0; k < s.size; k += 4) data_owner[(address - data_lo + k) / 4] = r->index;
    }
    for (Constant& c : constants) {
        Region* r = nullptr;
        for (u32 i = 1; i <= region_count; ++i)
            if (!regions[i].argument && regions[i].space != SHARED && regions[i].name == c.name) r = &regions[i];
        if (!r) die("the kernel has no __constant__ array '%s'", c.name.c_str());
        if (c.bytes > r->size) die("'%s' holds %zu bytes, %zu were given", c.name.c_str(), r->size, c.bytes);
        memcpy(r->base, c.data, c.bytes);
        r->given = std::max(r->given, c.bytes);
        if (r->space != CONSTANT) copies.push_back({r, c.data, c.bytes});
    }
    entry = (void (*)(void**))dlsym(handle, "cnnlab_entry");
    if (!entry) die("the kernel has no entry point");
    arguments = pointers.data();

    // ---- the grid
    long long began = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);  // one thread: processor time is the kernel's time
    for (u64 i = 0; i < grid_blocks; ++i) {
        u64 b = backward ? grid_blocks - 1 - i : i, plane = (u64)cnnlab_gridDim.x * cnnlab_gridDim.y;
        cnnlab_blockIdx = {(u32)(b % cnnlab_gridDim.x), (u32)(b % plane / cnnlab_gridDim.x), (u32)(b / plane)};
        me = (u64)(b + 1) << 40;
        // A sample from the middle of equal parts of the grid: at its edges warps diverge, and requests are guesses.
        auto part = [&](u64 k) { return (k + grid_blocks / (2 * samples)) * samples / grid_blocks; };
        sampling = checked && (grid_blocks <= (u64)samples || (b > 0 && part(b) != part(b - 1)));
        for (u32 k = 1; k <= region_count; ++k)
            if (regions[k].space == SHARED) memset(regions[k].base, 0xff, regions[k].size);
        run_block();
        ++blocks_done;
        barriers_passed += epoch;
        if (access_count) count_requests();
    }
    kernel_ms = (nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - began) / 1e6;
    finish(true);
}

int main() {
    static char text[1 << 17];
    if (write(0, "ready", 5) != 5) return 1;  // so that its absence is not taken for a kernel's fault
    for (;;) {
        iovec part = {text, sizeof text};
        alignas(cmsghdr) char control[CMSG_SPACE(3 * sizeof(int))];
        msghdr message = {};
        message.msg_iov = &part, message.msg_iovlen = 1;
        message.msg_control = control, message.msg_controllen = sizeof control;
        ssize_t size = recvmsg(0, &message, 0);
        cmsghdr* header = size > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
        if (!header || header->cmsg_len != CMSG_LEN(3 * sizeof(int))) return size != 0;
        int fds[3];  // buffers, object, answer
        memcpy(fds, CMSG_DATA(header), sizeof fds);
        pid_t child = fork();
        if (child == 0) {
            close(0);
            dup2(fds[2], 1);
            close(fds[2]);
            shared_fd = fds[0];
            words = fmemopen(text, size, "r");
            run_launch(fds[1]);
        }
        int status = 0;
        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        dprintf(fds[2], "\n{\"exit\": %d}\n", child < 0 ? 256 : WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
        for (int fd : fds) close(fd);
    }
}
