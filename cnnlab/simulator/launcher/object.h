// What the student's object holds, and what it may import.
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
