// What is told at the end, as JSON lines for the parent, also where the kernel is stopped.
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
static u64 barriers_passed;
static const int TICKS = 20;
static u64 half_time_blocks;
static u32 ticks, half_time_live, spins_before;
static bool stuck;  // nothing came to its end in the second half of the time
static bool waits;  // and of late it looked at atomics or volatile variables again and again
static double kernel_ms;

static void put_text(std::string_view text) {  // as a JSON string
    printf("\"");
    for (unsigned char c : text) {
        if (c == '"' || c == '\\') printf("\\%c", c);
        else if (c < 32 || c > 126) printf("\\u%04x", c);
        else putchar(c);
    }
    printf("\"");
}
static void put_stamp(const char* whose, Stamp s) {
    Dim b = checked ? place_in(cnnlab_gridDim, block_of(s) - 1) : cnnlab_blockIdx;  // else a stamp is too short
    Dim t = place_in(cnnlab_blockDim, thread_of(s));
    printf(", \"%sblock\": [%u, %u, %u], \"%sthread\": [%u, %u, %u]", whose, b.x, b.y, b.z, whose, t.x, t.y, t.z);
}
static void put_unwritten() {
    bool atomics = std::any_of(regions + 1, regions + region_count + 1, [](Region& r) { return r.space == GLOBAL && r.atomics; });
    for (u32 i = 1; i <= region_count; ++i) {
        Region& r = regions[i];
        if (!r.argument || !r.cells || !r.size) continue;
        // A tensor that is only written to is an output; one that is read or added to may keep old elements.
        bool pure = !r.initialised || (r.stores && !r.loads && !r.atomics) || (r.output && !r.stores && !r.loads);
        if (!r.output || !pure) continue;
        u64 missing = 0, cells = r.size >> r.shift, runs = 0;
        for (u64 c = 0; c < cells; ++c) missing += !r.cells[c].write;
        if (!missing) continue;
        printf("{\"finding\": \"unwritten\", \"region\": %u, \"count\": %lu, \"total\": %lu, \"cell\": %d, \"detail\": \"%s\", \"runs\": [", i,
            missing, cells, 1 << r.shift, !r.initialised ? "" : atomics ? "chosen" : "guessed");
        for (u64 c = 0; c < cells && runs < 256; ++c) {
            if (r.cells[c].write) continue;
            u64 end = c;
            while (end < cells && !r.cells[end].write) ++end;
            printf("%s[%lu, %lu]", runs++ ? ", " : "", c, end - c);
            c = end;
        }
        printf("]}\n");
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
        printf("{\"finding\": \"%s\", \"region\": %u, \"pc\": %u, \"other_pc\": %u, \"line\": %d, \"offset\": %ld, "
            "\"size\": %u, \"write\": %s, \"count\": %lu, \"reach\": %d, \"detail\": ", f.kind, f.region, f.pc, f.other_pc, f.line,
            f.offset, f.size, f.write ? "true" : "false", f.count, f.reach);
        put_text(f.detail);
        put_stamp("", f.who);
        if (f.other) put_stamp("other_", f.other);
        printf(", \"threads\": [");
        for (u32 t = 0, n = 0; t < threads; ++t)
            if (f.threads[t]) printf("%s%u", n++ ? ", " : "", t);
        printf("]}\n");
    }
    if (printed_bytes || printed_lost) {
        printf("{\"printed\": ");
        put_text({printed, printed_bytes});
        printf(", \"lost\": %zu}\n", printed_lost);
    }
    for (u32 i = 1; i <= region_count; ++i) {
        Region& r = regions[i];
        if (r.name.empty()) continue;
        printf("{\"region\": %u, \"name\": ", i);
        put_text(r.name);
        printf(", \"space\": \"%s\", \"bytes\": %zu, \"argument\": %d, \"loads\": %lu, \"stores\": %lu, "
            "\"old\": %d, \"address\": %lu}\n",
            r.space == GLOBAL ? "global" : r.space == SHARED ? "shared" : "constant", r.size, r.argument, r.loads,
            r.stores, r.old, r.address);
    }
    for (auto& c : counters)
        if (!regions[c.region].name.empty()) printf("{\"counter\": %u, \"region\": %u, \"requests\": %lu, \"units\": %lu, \"least\": %lu}\n",
            c.pc, c.region, c.requests, c.units, c.least);
    printf("{\"done\": %d, \"kernel_ms\": %.3f, \"barriers\": %lu, \"blocks\": %lu, \"threads_left\": %u, \"stuck\": %d}\n", whole,
        kernel_ms, barriers_passed, blocks_done, live, stuck);
    fflush(stdout);
    _exit(0);
}
static void on_signal(int signal, siginfo_t* info, void* context) {
    if (signal == SIGPROF) {
        if (++ticks == TICKS / 2) half_time_blocks = blocks_done, half_time_live = live;
        waits = spins - spins_before > 100, spins_before = spins;
        if (ticks < TICKS) return;
        stuck = half_time_blocks == blocks_done && half_time_live == live;
    }
    uintptr_t ip = ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP];
    u32 code = ip - code_lo < code_hi - code_lo ? (u32)(ip - object_base) + 1 : last_pc;
    const char* kind = signal == SIGPROF || signal == SIGXCPU ? "timeout" : signal == SIGFPE ? "division-by-zero" : "crash";
    uintptr_t a = (uintptr_t)info->si_addr, span = STACK + GUARD;
    if (signal == SIGSEGV || signal == SIGBUS) {
        uintptr_t off = a - (uintptr_t)stacks;
        if (off < stack_bytes && off % span < GUARD) kind = (int)(off / span) == fibres[running].stack ? "stack-overflow" : "wild-pointer";
        else if (a < 4096) kind = "null-pointer";
        else kind = "wild-pointer";
    }
    if (Finding* f = find(kind, nullptr, code, last_pc, 0, "", (long)a)) f->reach = waits ? WAITS : 0;
    finish(false);
}
