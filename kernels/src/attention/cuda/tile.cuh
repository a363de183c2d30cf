// Tiles of bf16 in shared memory, and products of a warp with them.
//
// A tile is rows of D elements without gaps between them. A phase of `ldmatrix` reads 16 bytes, a chunk, of each of eight
// consecutive rows, which must come from different banks (there are eight banks of 16 bytes). Therefore the chunks of a row
// are permuted by an exclusive or with the row's number. Rows of 128 or 256 bytes begin at the same bank, and eight of them
// permute eight chunks; of rows of 192 bytes each second one begins four banks later, so that pairs permute four.

constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;

/// log2(e)
constexpr float LOG2_E = 1.4426950408889634f;

/// Minus infinity: the score of a key that is not seen.
__device__ __forceinline__ float hidden_score() { return __int_as_float(0xff800000); }

/// The byte of a tile at which the chunk with `column`, a multiple of 8, of a row begins.
template <int D>
__device__ __forceinline__ int place(int row, int column) {
    static_assert(D % 64 == 0 || D % 64 == 32, "rows are multiples of 64 bytes");
    const int permutation = D % 64 == 0 ? row % 8 : row / 2 % 4;
    return row * D * 2 + (column / 8 ^ permutation) * 16;
}

/// Bytes that rows of D elements, and therefore tiles, begin at multiples of.
template <int D>
constexpr int ALIGNMENT = D % 64 == 0 ? 2 * D : 64;

/// The shared address `columns`, a multiple of 16, to the right of one whose column is 0 or 8. As far as rows are aligned, an
/// exclusive or does what the addition and then the permutation would, in one instruction.
template <int D>
__device__ __forceinline__ unsigned right_of(unsigned address, int columns) {
    constexpr int ALIGNED = ALIGNMENT<D> / 2;
    return (address ^ columns % ALIGNED * 2) + columns / ALIGNED * ALIGNMENT<D>;
}

/// Starts the copy of `ROWS` rows, `stride` elements apart, to a tile, by all threads. Those from `count` on become zeros.
template <int D, int ROWS>
__device__ __forceinline__ void start_rows(bf16 *tile, const bf16 *rows, int stride, int count) {
    constexpr int ACROSS = D % 128 == 0 ? 16 : D % 64 == 0 ? 8 : 4; // threads side by side
    constexpr int DOWN = THREADS / ACROSS;
    static_assert(ROWS % DOWN == 0, "each thread copies as many chunks");
    const int row = threadIdx.x / ACROSS, column = threadIdx.x % ACROSS * 8;
    const bf16 *from = rows + row * stride + column;
#pragma unroll
    for (int r = 0; r < ROWS; r += DOWN, from += DOWN * stride) {
        const bool zeros = row + r >= count;
#pragma unroll
        for (int c = 0; c < D; c += 8 * ACROSS) {
            start_copy_16(shared_address(tile) + place<D>(row + r, column + c), zeros ? rows : from + c, zeros);
        }
    }
}

/// `sums [16 M, 8 N] +=` M · 16 rows of `left`, from `first` on, times the first N · 8 rows of `right`, transposed.
template <int D, int M, int N>
__device__ __forceinline__ void multiply_rows(float (&sums)[M][N][4], const bf16 *left, int first, const bf16 *right) {
    const int lane = threadIdx.x % 32;
    const unsigned left_row = shared_address(left) + place<D>(first + lane % 16, lane / 16 * 8);
    const unsigned right_row = shared_address(right) + place<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) {
            load_matrices(a[m], right_of<D>(left_row, k) + 16 * m * D * 2);
        }
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned b[4]; // rows 8 n on and 8 (n + 1) on, of each the first and last 8 of the 16 columns
            load_matrices(b, right_of<D>(right_row, k) + 8 * n * D * 2);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply_add(sums[m][n], a[m], b[0], b[1]);
                multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/// `sums [16 M, D] += left [16 M, 8 K] · right [8 K, D]`, the left factor rounded to bf16.
///
/// What `multiply_add` leaves in a lane of two tiles of sums is what it takes from it of the left factor.
template <int D, int M, int K>
__device__ __forceinline__ void multiply_sums(float (&sums)[M][D / 8][4], const float (&left)[M][K][4],
                                              const bf16 *right) {
    const int lane = threadIdx.x % 32;
    const unsigned right_row = shared_address(right) + place<D>(lane % 16, lane / 16 * 8);
#pragma unroll
    for (int k = 0; k < K; k += 2) {
        unsigned a[M][4];
#pragma unroll
        for (int m = 0; m < M; ++m) {
            a[m][0] = bf16_pair(left[m][k][0], left[m][k][1]);
            a[m][1] = bf16_pair(left[m][k][2], left[m][k][3]);
            a[m][2] = bf16_pair(left[m][k + 1][0], left[m][k + 1][1]);
            a[m][3] = bf16_pair(left[m][k + 1][2], left[m][k + 1][3]);
        }
#pragma unroll
        for (int n = 0; n < D / 8; n += 2) {
            unsigned b[4]; // columns 8 n on and 8 (n + 1) on, of each the first and last 8 of the 16 rows
            load_matrices_transposed(b, right_of<D>(right_row, 8 * n) + 8 * k * D * 2);
#pragma unroll
            for (int m = 0; m < M; ++m) {
                multiply_add(sums[m][n], a[m], b[0], b[1]);
                multiply_add(sums[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }
}

/// Multiplies a warp's sums.
template <int M, int N>
__device__ __forceinline__ void scale_sums(float (&sums)[M][N][4], float factor) {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                sums[m][n][i] *= factor;
            }
        }
    }
}

/// Rounds a warp's sums to bf16 and writes them, `stride` elements apart, as rows `first` on of those of its block, as far
/// as these are less than `count`. On the way they become whole chunks in the same rows of a tile that only this warp uses.
template <int D, int M>
__device__ __forceinline__ void store_rows(const float (&sums)[M][D / 8][4], bf16 *tile, int first, bf16 *rows,
                                           int stride, int count) {
    const int lane = threadIdx.x % 32;
    char *const bytes = reinterpret_cast<char *>(tile);
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int n = 0; n < D / 8; ++n) {
            char *const upper = bytes + place<D>(first + 16 * m + lane / 4, 8 * n) + lane % 4 * 4;
            char *const lower = bytes + place<D>(first + 16 * m + lane / 4 + 8, 8 * n) + lane % 4 * 4;
            *reinterpret_cast<unsigned *>(upper) = bf16_pair(sums[m][n][0], sums[m][n][1]);
            *reinterpret_cast<unsigned *>(lower) = bf16_pair(sums[m][n][2], sums[m][n][3]);
        }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < M * 16 * D / 8 / 32; ++i) {
        const int chunk = i * 32 + lane;
        const int row = first + chunk / (D / 8), column = chunk % (D / 8) * 8;
        if (row < count) {
            *reinterpret_cast<uint4 *>(rows + row * stride + column) =
                *reinterpret_cast<const uint4 *>(bytes + place<D>(row, column));
        }
    }
}
