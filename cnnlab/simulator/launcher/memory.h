// The arena that holds all arrays, their elements' shadow cells, and who they belong to.
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
    u64 loads, stores;
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
    *r = Region{name, base, size, region_count, space, 2, true, false, false, false, false, size, 0, nullptr, 0, 0};
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
