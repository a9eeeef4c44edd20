// Counters: the accesses of a few sampled blocks, grouped as a warp would issue them.
struct Access { u64 group; uintptr_t address; u32 pc, region, thread, size; };
static const size_t MAX_ACCESSES = 4 << 20;
static Access* accesses;
static size_t access_count;
struct Counter { u32 pc, region; bool write; u64 requests, units, least; };  // units: sectors, passes, words
static std::vector<Counter> counters;

static __attribute__((noinline)) void record(Region* r, uintptr_t a, u32 size, u32 pc, bool write) {
    // The n-th access of a warp's threads by one instruction is one request.
    struct Turn { u64 block; u32 number; };  // of a thread: in which block, the how many-th
    static std::vector<u32> numbers(object_size);  // of instructions, by where they are
    static std::vector<Turn> turns;
    u32& number = numbers[pc % object_size];
    if (!number) number = turns.size() / 1024 + 1, turns.resize(number * 1024ul);
    if (access_count == MAX_ACCESSES || number > 4000) { sampling = false; return; }
    Turn& turn = turns[(number - 1) * 1024ul + running];
    if (turn.block != block_of(me)) turn = {block_of(me), 0};
    u64 group = (u64)(running >> 5) << 48 | (u64)number << 32 | turn.number++;
    accesses[access_count++] = {group, a, pc, r->index | (write ? 1u << 31 : 0), running, size};
}
static void count_requests() {
    std::sort(accesses, accesses + access_count, [](const Access& a, const Access& b) { return a.group < b.group; });
    static std::vector<u64> at;
    auto different = [] {
        std::sort(at.begin(), at.end());
        at.erase(std::unique(at.begin(), at.end()), at.end());
        return at.size();
    };
    for (size_t i = 0, j; i < access_count; i = j) {
        const Access& first = accesses[i];
        for (j = i; j < access_count && accesses[j].group == first.group;) ++j;
        Space space = regions[first.region & 0x7fffffff].space;
        u64 units = 0, least = 0, size = first.size;
        at.clear();
        if (space == SHARED) {  // passes through 32 banks; 8- and 16-byte accesses go by half and quarter warps
            u32 lanes = size <= 4 ? 32 : size == 8 ? 16 : 8;
            for (u32 lo = 0; lo < 32; lo += lanes) {
                at.clear();
                for (size_t k = i; k < j; ++k)
                    if ((accesses[k].thread & 31) >= lo && (accesses[k].thread & 31) < lo + lanes)
                        for (u64 b = 0; b < size; b += 4) at.push_back((accesses[k].address + b) >> 2);
                different();
                u32 banks[32] = {}, ways = 0;
                for (u64 word : at) ways = std::max(ways, ++banks[word & 31]);
                units += ways, least += ways > 0;
            }
        } else {  // sectors of 32 bytes, or words of constant memory, which come one after another
            u64 last = space == GLOBAL ? size - 1 : 0, shift = space == GLOBAL ? 5 : 0;
            for (size_t k = i; k < j; ++k)
                for (u64 s = accesses[k].address >> shift; s <= (accesses[k].address + last) >> shift; ++s) at.push_back(s);
            units = different();
            least = space == GLOBAL ? ((j - i) * size + 31) / 32 : 1;  // the fewest that hold as many bytes
        }
        bool write = first.region >> 31;
        u32 region = first.region & 0x7fffffff;
        auto c = std::find_if(counters.begin(), counters.end(), [&](const Counter& c) {
            return c.pc == first.pc && c.region == region && c.write == write;
        });
        if (c == counters.end()) c = counters.insert(c, {first.pc, region, write, 0, 0, 0});
        c->requests += 1, c->units += units, c->least += least;
    }
    access_count = 0;
}
