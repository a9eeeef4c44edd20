// Runs one CUDA kernel on the CPU and watches every load and store.
//
// A trusted program, built once and started inside the sandbox. On its socket (stdin) it takes one launch after
// another: what cpu.py packed, and three file descriptors for the buffers, the student's object and the
// answer. For each it forks. The child locks itself in (seccomp, Landlock), loads the object, runs the grid block by
// block with one fibre a thread, and answers with findings and counters as JSON lines, the last {"done": ...}.
//
// The student's object is compiled with -fsanitize=thread, but linked with our hooks (launcher/hooks.h) instead of
// the sanitizer's runtime: each load and store calls __tsan_read4 and the like with its address.

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
#include <bitset>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

typedef uint64_t u64;
typedef uint32_t u32;
#define EXPORT extern "C" __attribute__((visibility("default")))
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

struct Dim { u32 x, y, z; };
Dim cnnlab_threadIdx, cnnlab_blockIdx, cnnlab_blockDim, cnnlab_gridDim;
template <class N> static Dim place_in(Dim whole, N i) {  // of the i-th block in a grid, or the i-th thread in a block
    return {(u32)(i % whole.x), (u32)(i / whole.x % whole.y), (u32)(i / whole.x / whole.y)};
}

#include "memory.h"
#include "findings.h"
#include "races.h"
#include "counters.h"
#include "hooks.h"
#include "fibres.h"
#include "report.h"
#include "confine.h"
#include "object.h"

// A launch as cpu.py packs it: this head; a block that holds the arguments; so many buffers and constants, pointers into
// the block, and places of arguments in it; and the constants' names.
struct alignas(16) Head {
    Dim grid, block;
    u64 limit_ms;
    u32 checked, backward, samples, dynamic_bytes, block_bytes, buffers, constants, pointers, arguments;
};
struct Buffer { u64 bytes, offset; u32 shift, initialised, output; };
struct Pointer { u32 at, buffer; };
struct Launch { Head* head; char* block; Buffer *buffers, *constants; Pointer* pointers; u32* places; char* names; };
static Launch read_launch(char* text) {
    Launch launch;
    auto take = [&](auto*& to, size_t count) { to = (std::remove_reference_t<decltype(to)>)text, text += count * sizeof *to; };
    take(launch.head, 1);
    const Head& h = *launch.head;
    take(launch.block, h.block_bytes);
    take(launch.buffers, h.buffers);
    take(launch.constants, h.constants);
    take(launch.pointers, h.pointers);
    take(launch.places, h.arguments);
    launch.names = text;
    checked = h.checked, backward = h.backward, cnnlab_gridDim = h.grid, cnnlab_blockDim = h.block;
    threads = h.block.x * h.block.y * h.block.z;
    grid_blocks = (u64)h.grid.x * h.grid.y * h.grid.z;
    return launch;
}
static void* map_buffer(const Buffer& b, void* where) {
    int fixed = where ? MAP_FIXED : 0;
    void* p = mmap(where, std::max(b.bytes, (u64)1), PROT_READ | PROT_WRITE, MAP_SHARED | fixed, shared_fd, b.offset);
    if (p == MAP_FAILED) die("!a tensor cannot be mapped");
    return p;
}
// A place for every array, with its cells, and for every thread's stack.
static void lay_out(const Launch& launch, const std::vector<Symbol>& symbols) {
#ifndef __SANITIZE_ADDRESS__  // whose shadow is larger
    rlimit memory = {MEMORY, MEMORY};  // what it may write to; address space costs nothing
    setrlimit(RLIMIT_DATA, &memory);
#endif
    size_t shared = 0, constant = 0;
    for (const Symbol& s : symbols) shared += s.tls ? s.size : 0, constant += s.constant ? s.size : 0;
    if (constant > 64 << 10) die("the __constant__ arrays take %zu bytes; there are at most 65536", constant);
    if (shared > 48 << 10)
        die("the __shared__ arrays take %zu bytes; a block has at most 49152 without dynamic shared memory", shared);
    if (shared + launch.head->dynamic_bytes > DYNAMIC - 1024)
        die("%zu bytes of shared memory; a block has at most %zu", shared + launch.head->dynamic_bytes, DYNAMIC - 1024);
    for (char* p = nullptr; !p; far_room /= 2) {  // where address space is limited, less of it between the arrays
        arena_size = ROOM;
        for (const Buffer* b = launch.buffers; b < launch.constants; ++b) arena_size += room(b->bytes);
        for (const Symbol& s : symbols) arena_size += s.tls ? room(s.size) : 0;
        p = (char*)(far_room > ROOM ? try_reserve(arena_size + CHUNK, PROT_NONE) : reserve(arena_size + CHUNK));
        arena = (char*)up((size_t)p);
        if (p) break;
    }
    chunk_owner = (unsigned char*)calloc(arena_size / CHUNK + 1, 1);
    std::vector<char*> bases;
    for (const Buffer* b = launch.buffers; b < launch.constants; ++b) {
        Region* r = place("a tensor", b->bytes, GLOBAL);
        r->shift = b->shift, r->initialised = b->initialised, r->output = b->output, r->argument = true;
        if (b->bytes) map_buffer(*b, r->base);
        give_cells(r);
        bases.push_back(r->base);
    }
    for (u32 i = 0; i < launch.head->pointers; ++i)
        memcpy(launch.block + launch.pointers[i].at, &bases[launch.pointers[i].buffer], sizeof(char*));
    static std::vector<void*> pointers;
    for (u32 i = 0; i < launch.head->arguments; ++i) pointers.push_back(launch.block + launch.places[i]);
    dynamic_region = new_region("dynamic shared memory", cnnlab_dynamic_shared, launch.head->dynamic_bytes, SHARED);
    give_cells(dynamic_region);
    for (const Symbol& s : symbols) {
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
    arguments = pointers.data();
    if (checked) accesses = (Access*)reserve(MAX_ACCESSES * sizeof(Access));
    released.assign(checked ? grid_blocks : 0, 0);
}
static void watch_signals(long limit_ms) {
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
}

// The student's object in memory: where its code and data are, and its constants filled.
static void load_object(const std::string& object, const Launch& launch, const std::vector<Symbol>& symbols) {
    confine(object.c_str());  // from here on nothing is trusted: constructors run inside dlopen
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
    for (const Symbol& s : symbols) {
        uintptr_t address = object_base + s.value;
        if (s.tls || (!s.constant && !s.writable) || address - data_lo >= data_hi - data_lo) continue;
        if (s.name.rfind("_", 0) == 0 || s.name.find("(") != std::string::npos) continue;  // the compiler's own
        Region* r = new_region(s.name.c_str(), (char*)address, s.size, s.constant ? CONSTANT : GLOBAL);
        r->address = s.value;
        if (s.constant && std::all_of(r->base, r->base + s.size, [](char c) { return !c; })) r->given = 0;
        if (!s.constant) give_cells(r);
        for (size_t k = 0; k < s.size; k += 4) data_owner[(address - data_lo + k) / 4] = r->index;
    }
    const char* name = launch.names;
    for (const Buffer* c = launch.constants; c < (void*)launch.pointers; ++c, name += strlen(name) + 1) {
        Region* r = nullptr;
        for (u32 i = 1; i <= region_count; ++i)
            if (!regions[i].argument && regions[i].space != SHARED && regions[i].name == name) r = &regions[i];
        if (!r) die("the kernel has no __constant__ array '%s'", name);
        if (c->bytes > r->size) die("'%s' holds %zu bytes, %zu were given", name, r->size, (size_t)c->bytes);
        void* data = map_buffer(*c, nullptr);
        memcpy(r->base, data, c->bytes);
        r->given = std::max(r->given, (size_t)c->bytes);
        if (r->space != CONSTANT) copies.push_back({r, data, c->bytes});
    }
    entry = (void (*)(void**))dlsym(handle, "cnnlab_entry");
    if (!entry) die("the kernel has no entry point");
}

[[noreturn]] static void run_grid(u64 samples) {
    long long began = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);  // one thread: processor time is the kernel's time
    for (u64 i = 0; i < grid_blocks; ++i) {
        u64 b = backward ? grid_blocks - 1 - i : i;
        cnnlab_blockIdx = place_in(cnnlab_gridDim, b);
        me = (u64)(b + 1) << 40;
        // A sample from the middle of equal parts of the grid: at its edges warps diverge, and requests are guesses.
        auto part = [&](u64 k) { return (k + grid_blocks / (2 * samples)) * samples / grid_blocks; };
        sampling = checked && (grid_blocks <= samples || (b > 0 && part(b) != part(b - 1)));
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
    alignas(16) static char text[1 << 17];
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
            static char out[1 << 16];
            setvbuf(stdout, out, _IOFBF, sizeof out);  // nothing to allocate, where a signal ends the kernel
            shared_fd = fds[0];
            std::string object = "/proc/self/fd/" + std::to_string(fds[1]);
            Launch launch = read_launch(text);
            std::vector<Symbol> symbols = read_symbols(object.c_str());
            lay_out(launch, symbols);
            watch_signals(launch.head->limit_ms);
            load_object(object, launch, symbols);
            run_grid(launch.head->samples);
        }
        int status = 0;
        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        dprintf(fds[2], "\n{\"exit\": %d}\n", child < 0 ? 256 : WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
        for (int fd : fds) close(fd);
    }
}
