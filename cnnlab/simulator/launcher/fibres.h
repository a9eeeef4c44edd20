// The threads of a block are fibres; barriers and warp operations switch between them.
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
    cnnlab_threadIdx = place_in(cnnlab_blockDim, t);
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
static bool paused;  // a thread looks at a flag again and again: others may have to go on before it can
static void pause_thread() { paused = true, wait(READY); }

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
    bool another = stack != fibres[running].stack && off % (STACK + GUARD) >= GUARD;
    find("out-of-bounds", nullptr, pc, 0, 0, another ? "another's" : "local", 0, size, write);
    finish(false);
}
EXPORT void __stack_chk_fail() {
    find("out-of-bounds", nullptr, stack_pc ? stack_pc : (u32)((uintptr_t)PC - object_base), 0, 0, "local", 0, 0, true);
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
static Fibre& warp_operation(const char* what, u32 mask, int line, u32 pc) {  // that the running thread has come to
    Fibre& f = fibres[running];
    f.what = what, f.mask = mask | 1u << (running & 31), f.line = line, f.pc = pc;
    if (f.mask != mask) find("warp-mask", nullptr, pc, 0, line, what, mask);
    return f;
}
struct CnnlabWarp { const u64* values; u32 lanes; };
EXPORT CnnlabWarp cnnlab_warp(const char* what, u32 mask, u64 value, void* from) {
    if (!from) from = PC;  // it was called from what is inlined at the student's line
    Fibre& f = warp_operation(what, mask, 0, last_pc = (u32)((uintptr_t)from - object_base));
    u32 turn = f.turn++ & 1;
    f.values[turn] = value;
    wait(AT_WARP);
    return {warp_values[running >> 5][turn], f.lanes};
}
EXPORT void cnnlab_syncwarp(int line, u32 mask) {
    warp_operation("__syncwarp", mask, line, 0);
    wait(AT_WARP);
}
EXPORT u32 cnnlab_activemask(void* from) {
    Fibre& f = fibres[running];
    f.what = "__activemask", f.mask = 0, f.pc = (u32)((uintptr_t)from - object_base);
    wait(AT_ACTIVE);
    return f.lanes;
}
EXPORT void cnnlab_bad_lane(const char* what, int lane, void* from) {
    find("inactive-lane", nullptr, (u32)((uintptr_t)from - object_base), 0, 0, what, lane);
}
EXPORT void cnnlab_trap(const char* what, int line) {
    find("trap", nullptr, 0, 0, line, what);
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
                find("divergent-warp", nullptr, f.pc, 0, f.line, f.what, left);
            }
            release(w, came, f);
            any = true;
        }
    }
    return any;
}
static std::string who_waits_where() {
    std::vector<std::pair<std::string, u32>> groups;
    for (u32 t = 0; t < threads; ++t) {
        const Fibre& f = fibres[t];
        std::string what = f.state == DONE ? "left" : f.state == AT_BLOCK ? "at line " + std::to_string(f.line) : std::string("in ") + f.what;
        auto group = std::find_if(groups.begin(), groups.end(), [&](auto& g) { return g.first == what; });
        if (group == groups.end()) group = groups.insert(group, {what, 0});
        ++group->second;
    }
    std::string text = "of " + std::to_string(threads) + " threads";
    for (auto& [what, count] : groups) {
        const char* do_they = what == "left" ? (count == 1 ? " has " : " have ") : count == 1 ? " waits " : " wait ";
        text += ", " + std::to_string(count) + do_they + what;
    }
    return text;
}
static Finding* barrier_finding(const char* kind, u32 t) {
    running = t;
    me = (me >> 40 << 40) | (u64)t << 30;
    Finding* f = find(kind, nullptr, fibres[t].state == AT_BLOCK ? 0 : fibres[t].pc, 0, fibres[t].line);
    if (!f) return nullptr;
    for (u32 k = 0; k < threads; ++k) f->threads[k] = fibres[k].state != DONE;
    f->detail = who_waits_where();
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
        if (!live || (ran && !paused)) continue;
        paused = false;
        if (release_warps(false) || release_warps(true) || ran) continue;
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
