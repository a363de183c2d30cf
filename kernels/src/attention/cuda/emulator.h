// Runs kernels on a processor, in place of `ptx.cuh` and of what is built into CUDA C++: for tests.
//
// Blocks run one after another, the threads of a block as fibres that take turns. A function of a warp waits until all its
// lanes have called it, and the last does the work of all, by the layouts of the PTX ISA ("Matrix Fragments for
// mma.m16n8k16", "ldmatrix"). A warp gets as far as it can before another does. Asynchronous copies spoil their destination at
// once and arrive when their thread waits for them. So what is read too early, or overwritten while another warp still needs
// it, is not a number. It ends with a message where lanes of a warp diverge, addresses are not aligned or out of bounds, or a
// phase of `ldmatrix` has a bank conflict.
//
// Needs a C library with `ucontext` and whose `_longjmp` goes from stack to stack (glibc, without _FORTIFY_SOURCE).

#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <sys/mman.h>
#include <ucontext.h>
#include <utility>
#include <vector>

#define __device__
#define __global__
#define __shared__
#define __align__(bytes)
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

typedef unsigned short bf16;

struct Index {
    unsigned x, y, z;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static Index threadIdx, blockIdx, gridDim;
static constexpr size_t MAX_SHARED_BYTES = 128 * 1024;
static size_t shared_bytes;
alignas(1024) uint4 shared[MAX_SHARED_BYTES / sizeof(uint4)];

[[noreturn]] static void fail(const char *what) {
    fprintf(stderr, "block (%u, %u, %u), thread %u: %s\n", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what);
    exit(1);
}

/// Where threads wait for each other.
struct Meeting {
    const void *kind;
    std::vector<void *> operands;
    unsigned arrived = 0, generation = 0;
};

struct Copy {
    void *to;
    unsigned char bytes[16];
    int count;
};

struct Thread {
    ucontext_t start;
    jmp_buf state;
    bool started = false, done = false;
    std::vector<Copy> copies;
    std::unique_ptr<char[]> stack{new char[STACK_BYTES]};
    static constexpr size_t STACK_BYTES = 256 * 1024;
};

/// The block that runs.
struct Block {
    std::vector<Thread> threads;
    std::vector<Meeting> warps;
    Meeting all;
    jmp_buf caller;
    std::function<void()> kernel;
    /// Turns of this warp, and warps, since a thread last got on.
    unsigned turns = 0, stuck = 0;
};
static Block *block;

/// Goes on with a thread, unless it is done.
static void resume(unsigned index) {
    Thread &thread = block->threads[index];
    if (thread.done) {
        return;
    }
    threadIdx.x = index;
    if (thread.started) {
        _longjmp(thread.state, 1);
    }
    thread.started = true;
    setcontext(&thread.start);
}

/// Goes on with another thread, of the same warp if one of it can get on, or with the caller if all are done.
static void next_thread() {
    const unsigned warps = block->warps.size(), warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (unsigned i = 1; i <= 32 && block->turns < 32; ++i) {
        resume(32 * warp + (lane + i) % 32);
    }
    block->turns = 0;
    if (++block->stuck > 2 * warps) {
        fail("all threads wait for others");
    }
    for (unsigned i = 0; i < 32 * warps; ++i) {
        resume((32 * (warp + 1) + i) % (32 * warps));
    }
    _longjmp(block->caller, 1);
}

static void yield_thread() {
    ++block->turns;
    if (_setjmp(block->threads[threadIdx.x].state) == 0) {
        next_thread();
    }
}

/// To be called where a thread gets on.
static void get_on() { block->turns = block->stuck = 0; }

static void run_thread() {
    block->kernel();
    block->threads[threadIdx.x].done = true;
    get_on();
    next_thread();
}

/// Waits until all members have come with their operands. The last calls `work` with those of all, in order.
template <class Work>
static void meet(Meeting &meeting, unsigned member, const void *kind, void *operand, Work work) {
    if (meeting.arrived > 0 && meeting.kind != kind) {
        fail("other threads are at another function of the warp or block");
    }
    meeting.kind = kind;
    meeting.operands[member] = operand;
    const unsigned generation = meeting.generation;
    if (++meeting.arrived == meeting.operands.size()) {
        work(meeting.operands);
        meeting.arrived = 0;
        ++meeting.generation;
        get_on();
    }
    while (meeting.generation == generation) {
        yield_thread();
    }
}

template <class Work>
static void meet_warp(const void *kind, void *operand, Work work) {
    meet(block->warps[threadIdx.x / 32], threadIdx.x % 32, kind, operand, work);
}

// What is built into CUDA C++.

static inline int min(int a, int b) { return a < b ? a : b; }

template <class To, class From>
static To bits(From from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}
static inline float __int_as_float(int x) { return bits<float>(x); }
static inline float __uint_as_float(unsigned x) { return bits<float>(x); }

static inline int __syncthreads_count(bool predicate) {
    static const char kind = 0;
    int operand = predicate;
    int count = 0;
    std::pair<int, int *> both{operand, &count};
    meet(block->all, threadIdx.x, &kind, &both, [](const std::vector<void *> &all) {
        int sum = 0;
        for (void *one : all) {
            sum += static_cast<std::pair<int, int *> *>(one)->first;
        }
        for (void *one : all) {
            *static_cast<std::pair<int, int *> *>(one)->second = sum;
        }
    });
    return count;
}

static inline void __syncthreads() {
    static const char kind = 0;
    meet(block->all, threadIdx.x, &kind, nullptr, [](const std::vector<void *> &) {});
}

static inline void __syncwarp() {
    static const char kind = 0;
    meet_warp(&kind, nullptr, [](const std::vector<void *> &) {});
}

struct Shuffle {
    float value, result;
    unsigned from;
};

static inline float __shfl_sync(unsigned, float value, int lane) {
    static const char kind = 0;
    Shuffle shuffle{value, 0.0f, static_cast<unsigned>(lane) % 32};
    meet_warp(&kind, &shuffle, [](const std::vector<void *> &lanes) {
        for (void *lane : lanes) {
            Shuffle &to = *static_cast<Shuffle *>(lane);
            to.result = static_cast<Shuffle *>(lanes[to.from])->value;
        }
    });
    return shuffle.result;
}

static inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
    return __shfl_sync(mask, value, threadIdx.x % 32 ^ distance);
}

// What `ptx.cuh` has.

static inline unsigned shared_address(const void *pointer) {
    return static_cast<const char *>(pointer) - reinterpret_cast<const char *>(shared);
}

/// What is at an address. Ends unless this many bytes, from a multiple of as many on, are of the block's shared memory.
static void *at_shared(unsigned address, size_t bytes) {
    if (address + bytes > shared_bytes) {
        fail("an address is out of the bounds of shared memory");
    }
    if (address % bytes != 0) {
        fail("an address in shared memory is not aligned");
    }
    return reinterpret_cast<char *>(shared) + address;
}

static void start_copy(unsigned address, const void *from, int bytes, bool zeros) {
    void *const to = at_shared(address, bytes);
    if (reinterpret_cast<uintptr_t>(from) % bytes != 0) {
        fail("an address in global memory is not aligned");
    }
    Copy copy{to, {}, bytes};
    if (!zeros) {
        memcpy(copy.bytes, from, bytes);
    }
    memset(to, 0xff, bytes);
    block->threads[threadIdx.x].copies.push_back(copy);
}

static inline void start_copy_16(unsigned to, const void *from, bool zeros) { start_copy(to, from, 16, zeros); }
static inline void start_copy_4(unsigned to, const void *from, bool zeros) { start_copy(to, from, 4, zeros); }

static inline void wait_for_copies() {
    std::vector<Copy> &copies = block->threads[threadIdx.x].copies;
    for (const Copy &copy : copies) {
        memcpy(copy.to, copy.bytes, copy.count);
    }
    copies.clear();
}

struct Load {
    const bf16 *row;
    unsigned *matrices;
};

template <bool TRANSPOSED>
static void load(unsigned (&matrices)[4], unsigned address) {
    static const char kind = 0;
    Load load{static_cast<const bf16 *>(at_shared(address, 16)), matrices};
    meet_warp(&kind, &load, [](const std::vector<void *> &lanes) {
        for (int matrix = 0; matrix < 4; ++matrix) {
            const bf16 *rows[8];
            unsigned banks = 0;
            for (int i = 0; i < 8; ++i) {
                rows[i] = static_cast<Load *>(lanes[8 * matrix + i])->row;
                banks |= 1u << reinterpret_cast<uintptr_t>(rows[i]) / 16 % 8;
            }
            if (banks != 0xff) {
                fail("rows of a matrix are in the same banks");
            }
            for (int lane = 0; lane < 32; ++lane) {
                const int row = lane / 4, column = lane % 4 * 2;
                const bf16 low = TRANSPOSED ? rows[column][row] : rows[row][column];
                const bf16 high = TRANSPOSED ? rows[column + 1][row] : rows[row][column + 1];
                static_cast<Load *>(lanes[lane])->matrices[matrix] = low | static_cast<unsigned>(high) << 16;
            }
        }
    });
}

static inline void load_matrices(unsigned (&matrices)[4], unsigned row) { load<false>(matrices, row); }
static inline void load_matrices_transposed(unsigned (&matrices)[4], unsigned row) { load<true>(matrices, row); }

struct Product {
    float *sums;
    const unsigned *left;
    unsigned right[2];
};

/// Half of a pair of bf16.
static float half(unsigned pair, int which) { return __uint_as_float(which ? pair & 0xffff0000 : pair << 16); }

static inline void multiply_add(float (&sums)[4], const unsigned (&left)[4], unsigned right_low, unsigned right_high) {
    static const char kind = 0;
    Product product{sums, left, {right_low, right_high}};
    meet_warp(&kind, &product, [](const std::vector<void *> &lanes) {
        float a[16][16], b[16][8];
        for (int lane = 0; lane < 32; ++lane) {
            const Product &product = *static_cast<Product *>(lanes[lane]);
            const int group = lane / 4, member = lane % 4;
            for (int i = 0; i < 8; ++i) {
                const int row = i / 2 % 2 == 0 ? group : group + 8;
                a[row][2 * member + i % 2 + (i < 4 ? 0 : 8)] = half(product.left[i / 2], i % 2);
            }
            for (int i = 0; i < 4; ++i) {
                b[2 * member + i % 2 + (i < 2 ? 0 : 8)][group] = half(product.right[i / 2], i % 2);
            }
        }
        for (int lane = 0; lane < 32; ++lane) {
            float *const sums = static_cast<Product *>(lanes[lane])->sums;
            for (int i = 0; i < 4; ++i) {
                const int row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + i % 2;
                for (int k = 0; k < 16; ++k) {
                    sums[i] += a[row][k] * b[k][column];
                }
            }
        }
    });
}

static unsigned rounded(float x) {
    const unsigned word = bits<unsigned>(x);
    return std::isnan(x) ? 0x7fff : (word + 0x7fff + (word >> 16 & 1)) >> 16;
}
static inline unsigned bf16_pair(float first, float second) { return rounded(first) | rounded(second) << 16; }

static inline float exp2_fast(float x) { return x < -126.0f ? 0.0f : exp2f(x); }

// The launch.

/// Calls a kernel for each block of a grid, with all of shared memory spoiled.
static void launch(Index grid, unsigned count, const std::function<void()> &kernel) {
    Block here;
    block = &here;
    here.threads = std::vector<Thread>(count);
    here.kernel = kernel;
    gridDim = grid;
    for (unsigned index = 0; index < grid.x * grid.y * grid.z; ++index) {
        blockIdx = {index % grid.x, index / grid.x % grid.y, index / grid.x / grid.y};
        memset(shared, 0xff, sizeof(shared));
        here.warps.assign(count / 32, Meeting{nullptr, std::vector<void *>(32)});
        here.all = Meeting{nullptr, std::vector<void *>(count)};
        for (Thread &thread : here.threads) {
            getcontext(&thread.start);
            thread.start.uc_stack.ss_sp = thread.stack.get();
            thread.start.uc_stack.ss_size = Thread::STACK_BYTES;
            thread.start.uc_link = nullptr;
            makecontext(&thread.start, run_thread, 0);
            thread.started = thread.done = false;
        }
        threadIdx = {count - 1, 0, 0};
        here.turns = 32; // on to the first warp
        here.stuck = 0;
        if (_setjmp(here.caller) == 0) {
            next_thread();
        }
    }
}
