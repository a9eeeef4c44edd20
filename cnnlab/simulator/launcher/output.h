// JSON lines for the parent, and what the kernel prints.
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
static void put_text(std::string_view text) {  // as a JSON string
    put("\"");
    for (unsigned char c : text) {
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
