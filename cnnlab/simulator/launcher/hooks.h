// What the compiled kernel calls: at each load and store, at atomics and fences, for its shared arrays.
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
        if (x.finding && !x.finding->region)
            x.finding->region = r->index, x.finding->offset = offset, x.finding->size = size, x.finding->write = write;
        x = refused[--refused_count];
        return true;
    }
    return false;
}
// Whether it is g++'s own flag that a local array has been constructed: g++ 13 reaches it from the first shared array.
static bool is_flag(Region* r, uintptr_t a) {
    uintptr_t offset = r->address + (a - (uintptr_t)r->base);
    return std::any_of(tls_symbols.begin(), tls_symbols.end(),
                       [&](TlsSymbol& s) { return s.offset == offset && regions[s.region].name.empty(); });
}
static __attribute__((noinline)) void outside(Region* r, uintptr_t a, u32 size, bool write, u32 pc) {
    if (size == 1 && r->space == SHARED && is_flag(r, a)) return;
    bool known = refused_count && was_refused(r, a, size, write);
    if (refused_count && !r->index) finish(false);  // behind a constant or local array, as its index has told
    if (r->near(a)) {
        if (!known) access("out-of-bounds", r, a, size, write, pc);
        return;
    }
    // Far outside. An index below zero that was computed without a sign lands 2^32 elements further on.
    for (u64 step = 1ull << 32; step <= 1ull << 36 && !known; step <<= 1) {
        Region* q = std::find_if(regions + 1, regions + region_count + 1, [&](Region& x) { return x.near(a - step); });
        if (q > regions + region_count) continue;
        access("out-of-bounds", q, a - step, size, write, pc, 0, "wrapped");
        finish(false);
    }
    bool astray = (a - (uintptr_t)arena) + (1ull << 38) >= (1ull << 39) + arena_size;
    if (!known && r->index) access("out-of-bounds", r, a, size, write, pc);
    else if (!known) find(astray ? "wild-pointer" : "out-of-bounds", nullptr, pc, 0, 0, "far", 0, size, write);
    finish(false);  // there is no memory
}
static inline __attribute__((always_inline)) void tracked(Region* r, uintptr_t a, u32 size, bool write, u32 pc) {
    uintptr_t o = a - (uintptr_t)r->base;
    if (UNLIKELY(o >= r->size || o + size > r->size)) return outside(r, a, size, write, pc);
    if (UNLIKELY(refused_count) && was_refused(r, a, size, write)) return;
    if (write) ++r->stores, thread_fenced[running] = false;
    else ++r->loads;
    if (UNLIKELY(sampling)) record(r, a, size, pc, write);
    if (UNLIKELY(size < 1u << r->shift)) split(r, size);
    Cell* c = r->cells + (o >> r->shift);
    for (Cell* end = r->cells + ((o + size - 1) >> r->shift); c <= end; ++c)
        write ? store(r, *c, a, size, pc, false) : load(r, *c, a, size, pc);
}
static Region* region_of(uintptr_t a) {  // the array that an address lies in or beside, or regions[0]
    uintptr_t off = a - (uintptr_t)arena;
    if (off < arena_size) return &regions[chunk_owner[off / CHUNK]];
    if (a - data_lo < data_hi - data_lo) return &regions[data_owner[(a - data_lo) >> 2]];
    return a - (uintptr_t)cnnlab_dynamic_arena < sizeof cnnlab_dynamic_arena ? dynamic_region : &regions[0];
}
static size_t frame_depth;  // how deep below its stack's end a kernel's frame begins
static u32 stack_pc;        // the last store through a pointer into a local array
static __attribute__((noinline)) bool on_stack(uintptr_t a, u32 size, bool write, u32 pc);
static __attribute__((noinline)) void elsewhere(uintptr_t a, u32 size, bool write, u32 pc) {
    Region* r = region_of(a);
    if (r->index && r->space != CONSTANT) return tracked(r, a, size, write, pc);
    if (r->index) {
        if (refused_count && was_refused(r, a, size, write)) return;
        if (write) return (void)access("constant-store", r, a, size, true, pc);
        if (a + size > (uintptr_t)r->base + r->given) access("uninitialised", r, a, size, false, pc);
        ++r->loads;
        if (UNLIKELY(sampling)) record(r, a, size, pc, false);
        return;
    }
    if (a - data_lo < data_hi - data_lo) return;  // the compiler's own
    if (on_stack(a, size, write, pc) || a - object_base < object_size) return;  // locals, constant tables
    if (a < 4096) {
        find("null-pointer", nullptr, pc, 0, 0, "", (long)a, size, write);
        finish(false);
    }
    outside(&regions[0], a, size, write, pc);
}
static __attribute__((noinline)) void misaligned(uintptr_t a, u32 size, bool write, u32 pc) {
    Region* r = region_of(a);
    if (!r->index) return;  // the compiler's own business (stack, constant tables)
    access("misaligned", r, a, size, write, pc);
    finish(false);  // a GPU stops here as well
}
// The commonest access, a constant that has its value; it is told quickly.
static inline __attribute__((always_inline)) bool plain_constant(uintptr_t a, u32 size) {
    if (a - data_lo >= data_hi - data_lo || sampling || refused_count) return false;
    Region& r = regions[data_owner[(a - data_lo) >> 2]];
    bool plain = r.space == CONSTANT && a + size <= (uintptr_t)r.base + r.given;
    r.loads += plain;
    return plain;
}
static inline __attribute__((always_inline)) void watch(void* address, u32 size, bool write, void* from) {
    uintptr_t a = (uintptr_t)address, off = a - (uintptr_t)arena;
    u32 pc = last_pc = (u32)((uintptr_t)from - object_base);
    if (UNLIKELY(late_store.r)) settle(late_store);
    if (UNLIKELY(size > 1 && size <= 16 && a & (size - 1))) misaligned(a, size, write, pc);
    if (!write && plain_constant(a, size)) return;
    u32 owner = off < arena_size ? chunk_owner[off / CHUNK] : 0;
    if (owner) tracked(&regions[owner], a, size, write, pc);
    else elsewhere(a, size, write, pc);
}
#define PC __builtin_return_address(0)
static void pieces(char* a, size_t n, bool write, void* pc) {  // packed and large structures, a piece at a time
    for (u32 step; n; a += step, n -= step) {
        step = 16;
        while (step > n || (uintptr_t)a & (step - 1)) step >>= 1;
        watch(a, step, write, pc);
    }
}
EXPORT void __tsan_read_range(char* a, size_t n) { pieces(a, n, false, PC); }
EXPORT void __tsan_write_range(char* a, size_t n) { pieces(a, n, true, PC); }
EXPORT void __tsan_vptr_update(void*, void*) {}
EXPORT void __tsan_vptr_read(void*) {}
EXPORT void __tsan_init() {}

EXPORT void cnnlab_fence(bool block) { thread_fenced[running] = true, fenced |= !block; }
static u32 spins;
static void pause_thread();
EXPORT void cnnlab_atomic(void* address, u32 size, bool block, bool adds, void* from) {
    if (++spins % 4096 == 0) pause_thread();  // perhaps it waits for a thread of its own block
    if (!checked) return;
    uintptr_t a = (uintptr_t)address;
    u32 pc = last_pc = (u32)((uintptr_t)from - object_base);
    if (late_store.r) settle(late_store);
    if (adds) settle(late_load);  // a number that was read, and then counted on, may be another thread's as well
    if (late_load.r && late_load.a == a) excused.push_back(late_load.pc), late_load.r = nullptr;
    if (UNLIKELY(a & (size - 1))) misaligned(a, size, true, pc);
    Region* r = region_of(a);
    if (!r->index || r->space == CONSTANT) return elsewhere(a, size, true, pc);
    uintptr_t o = a - (uintptr_t)r->base;
    if (o >= r->size || o + size > r->size) return outside(r, a, size, true, pc);
    if (refused_count && was_refused(r, a, size, true)) return;
    if (block && r->space == GLOBAL) narrow.insert(a);
    if (!block) acquired = true, released[block_of(me) - 1] |= fenced ? 1 : 2;
    acquisitions[running] = releases;
    if (thread_fenced[running]) {
        u32& clock = clocks[running];
        clock = std::min(clock + 1, LAST_CLOCK);
        Release now = {acquisitions[running] = ++releases, {}};
        memcpy(now.seen, known[running >> 5][running & 31], sizeof now.seen);
        now.seen[running & 31] = clock;
        if (!first_release[running].number) first_release[running] = now;
        last_release[running] = now;
        me = me >> 12 << 12 | clock;
    }
    r->atomics = true;
    ++r->loads, ++r->stores;
    if (sampling) record(r, a, size, pc, true);
    if (size < 1u << r->shift) split(r, size);
    for (uintptr_t i = o >> r->shift; i <= (o + size - 1) >> r->shift; ++i) {
        Cell& c = r->cells[i];
        bool known_value = r->space == SHARED ? block_of(c.write) == block_of(me) : c.write || r->initialised;
        if (!c.write && r->space != SHARED) r->old = true;
        if (!known_value) access("uninitialised", r, a, size, false, pc);
        for (auto [stamp, pc] : {std::pair(Stamp(c.read1), u32(c.read1_pc)), std::pair(Stamp(c.read2), u32(c.read2_pc))})
            if (!adds && stamp && !((stamp ^ me) >> 30) && !is_excused(pc)) excused.push_back(pc);
        store(r, c, a, size, pc, true);
    }
}

// A volatile access, as to a flag: a store behind a fence releases, as an atomic would, and a load of such a store
// acquires. Any other is plain.
static void watch_volatile(void* address, u32 size, bool write, void* from) {
    uintptr_t a = (uintptr_t)address;
    Region* r = region_of(a);
    uintptr_t o = a - (uintptr_t)r->base;
    if (!r->index || !r->cells || o >= r->size || o + size > r->size || a & (size - 1) || size < 1u << r->shift)
        return watch(address, size, write, from);
    if (++spins % 4096 == 0) pause_thread();
    if (write && thread_fenced[running]) return cnnlab_atomic(address, size, false, false, from);
    if (write) return watch(address, size, true, from);
    Stamp last = r->cells[o >> r->shift].write;
    if (last & ATOMIC && (r->space != SHARED || block_of(last) == block_of(me))) {
        acquired = true, acquisitions[running] = releases, ++r->loads;
    } else {
        looking = ATOMIC;
        watch(address, size, false, from);
        looking = 0;
    }
}
#define HOOKS(n)                                                                          \
    EXPORT void __tsan_read##n(void* a) { watch(a, n, false, PC); }                       \
    EXPORT void __tsan_write##n(void* a) { watch(a, n, true, PC); }                       \
    EXPORT void __tsan_unaligned_read##n(char* a) { pieces(a, n, false, PC); }            \
    EXPORT void __tsan_unaligned_write##n(char* a) { pieces(a, n, true, PC); }            \
    EXPORT void __tsan_volatile_read##n(void* a) { watch_volatile(a, n, false, PC); }     \
    EXPORT void __tsan_volatile_write##n(void* a) { watch_volatile(a, n, true, PC); }     \
    EXPORT void __tsan_unaligned_volatile_read##n(char* a) { pieces(a, n, false, PC); }   \
    EXPORT void __tsan_unaligned_volatile_write##n(char* a) { pieces(a, n, true, PC); }
HOOKS(1) HOOKS(2) HOOKS(4) HOOKS(8) HOOKS(16)

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
    std::string text = std::to_string(ub_value(d->index, index)) + " is outside " + d->array->name;
    Finding* f = find("index", nullptr, 0, (u32)((uintptr_t)PC - object_base), (int)d->place.line, text.c_str());
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
