// The instructions that C++ has no name for (PTX ISA, sm_80 and later). All else of these kernels is C++, so that a
// processor can run them with other definitions of these functions: `emulator.h`.

/// The bits of a bfloat16.
typedef unsigned short bf16;

/// The byte of shared memory that a pointer points to.
__device__ __forceinline__ unsigned shared_address(const void *pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Starts a copy of 16 bytes to a byte of shared memory, or of as many zeros. Both addresses are multiples of 16.
__device__ __forceinline__ void start_copy_16(unsigned to, const void *from, bool zeros) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(zeros ? 0 : 16)
                 : "memory");
}

/// Starts a copy of 4 bytes to a byte of shared memory, or of as many zeros. Both addresses are multiples of 4.
__device__ __forceinline__ void start_copy_4(unsigned to, const void *from, bool zeros) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
                 "r"(zeros ? 0 : 4)
                 : "memory");
}

/// Waits for all copies that this thread started.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

/// Four 8 × 8 matrices. Lane l gives the shared address of row l % 8 of matrix l / 8, and gets of each matrix elements
/// 2 (l % 4) and the next of row l / 4.
__device__ __forceinline__ void load_matrices(unsigned (&matrices)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(row)
                 : "memory");
}

/// [`load_matrices`], each of them transposed.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&matrices)[4], unsigned row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(row)
                 : "memory");
}

/// `sums [16, 8] += left [16, 16] · right [16, 8]`. Of the sums, lane l has elements 2 (l % 4) and the next of rows l / 4
/// and l / 4 + 8.
__device__ __forceinline__ void multiply_add(float (&sums)[4], const unsigned (&left)[4], unsigned right_low,
                                             unsigned right_high) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right_low), "r"(right_high));
}

/// Two numbers rounded to the nearest bf16, ties to even; the first is in the lower half.
__device__ __forceinline__ unsigned bf16_pair(float first, float second) {
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

/// 2^x, within 2 units in the last place, and 0 where that is less than the smallest normal number.
__device__ __forceinline__ float exp2_fast(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
