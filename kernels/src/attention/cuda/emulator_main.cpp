// Behind `emulator.h` and a kernel: reads a launch from standard input, runs it, and writes the buffers as they are then to
// standard output.
//
// A launch is u64 words: bytes of shared memory, three of the grid, three of `Sizes`, the number of buffers, and of each its
// bytes; then the buffers.

/// A buffer that ends where a page begins that must not be read.
struct Buffer {
    char *first;
    size_t bytes;

    explicit Buffer(size_t bytes) : bytes(bytes) {
        const size_t page = 4096, whole = (bytes + page - 1) / page * page;
        void *const memory = mmap(nullptr, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(static_cast<char *>(memory) + whole, page, PROT_NONE) != 0) {
            fail("no memory");
        }
        first = static_cast<char *>(memory) + whole - bytes;
    }
};

/// An argument of a kernel: a buffer, or the sizes.
struct Argument {
    char *buffer;
    Sizes sizes;

    template <class T>
    operator T *() const {
        return reinterpret_cast<T *>(buffer);
    }
    operator Sizes() const { return sizes; }
};

template <class... Parameters, size_t... I>
static void call(void (*kernel)(Parameters...), const std::vector<Argument> &arguments, std::index_sequence<I...>) {
    kernel(arguments[I]...);
}

template <class... Parameters>
static void call(void (*kernel)(Parameters...), const std::vector<Argument> &arguments) {
    if (sizeof...(Parameters) != arguments.size()) {
        fail("the launch has another number of arguments than the kernel");
    }
    call(kernel, arguments, std::index_sequence_for<Parameters...>());
}

template <class T>
static T read_one() {
    T value;
    if (fread(&value, sizeof(value), 1, stdin) != 1) {
        fail("the launch is cut off");
    }
    return value;
}

int main() {
    shared_bytes = read_one<uint64_t>();
    unsigned grid[3];
    for (unsigned &size : grid) {
        size = read_one<uint64_t>();
    }
    const Sizes sizes = read_one<Sizes>();
    std::vector<Buffer> buffers;
    for (uint64_t count = read_one<uint64_t>(); count > 0; --count) {
        buffers.emplace_back(read_one<uint64_t>());
    }
    std::vector<Argument> arguments;
    for (Buffer &buffer : buffers) {
        if (fread(buffer.first, 1, buffer.bytes, stdin) != buffer.bytes) {
            fail("a buffer is cut off");
        }
        arguments.push_back({buffer.first, sizes});
    }
    arguments.push_back({nullptr, sizes});
    launch({grid[0], grid[1], grid[2]}, THREADS, [&] { call(ENTRY, arguments); });
    for (Buffer &buffer : buffers) {
        fwrite(buffer.first, 1, buffer.bytes, stdout);
    }
    return 0;
}
