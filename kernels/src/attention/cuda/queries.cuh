// A block of queries: where its operands are, and which keys it sees.

/// Sizes of a call, in the words that the launch passes.
struct Sizes {
    unsigned long long time, heads, kv_heads;
};

/// The queries of a block, WARPS · 16 M of one head, and the part of them that the calling warp has.
///
/// The grid is [heads, tiles of queries, batch]. The last queries of a sequence see most keys, and come first.
template <int D, int M>
struct Queries {
    static constexpr int COUNT = WARPS * 16 * M;

    int time;
    /// Elements between positions, of what has query heads and of what has key heads.
    int stride, kv_stride;
    /// First query of the block, and of those from it on how many there are in the sequence.
    int first, count;
    /// First of the warp's queries, counted from the block's first.
    int warp;
    /// Positions at which the documents of the sequence's tokens start.
    const int *starts;
    /// Those of the warp's first query and of its last.
    int first_start, last_start;
    /// Position at which the document of the block's first query starts.
    int first_key;

    __device__ __forceinline__ Queries(const Sizes &sizes, const int *all_starts) {
        time = static_cast<int>(sizes.time);
        stride = static_cast<int>(sizes.heads) * D;
        kv_stride = static_cast<int>(sizes.kv_heads) * D;
        first = (gridDim.y - 1 - blockIdx.y) * COUNT;
        count = time - first;
        warp = threadIdx.x / 32 * 16 * M;
        starts = all_starts + static_cast<long long>(blockIdx.z) * time;
        first_key = starts[first];
        first_start = starts[min(first + warp, time - 1)];
        last_start = starts[min(first + warp + 16 * M, time) - 1];
    }

    /// The thread's query in each half of 16, counted from the block's first.
    __device__ __forceinline__ int row(int m, int half) const {
        return warp + 16 * m + 8 * half + threadIdx.x % 32 / 4;
    }

    /// Element at which the block's first query is, and its results and their gradients.
    __device__ __forceinline__ long long operands() const {
        return (static_cast<long long>(blockIdx.z) * time + first) * stride + blockIdx.x * D;
    }

    /// Element at which the keys and values of the block's head begin.
    __device__ __forceinline__ long long keys(const Sizes &sizes) const {
        const int head = blockIdx.x / static_cast<int>(sizes.heads / sizes.kv_heads);
        return static_cast<long long>(blockIdx.z) * time * kv_stride + head * D;
    }

    /// Element at which the numbers [batch, heads, time] of the block's queries begin.
    __device__ __forceinline__ long long numbers() const {
        return (static_cast<long long>(blockIdx.z) * gridDim.x + blockIdx.x) * time + first;
    }

    /// First and last + 1 of the tiles of keys that the block sees.
    __device__ __forceinline__ int first_tile(int keys) const { return first_key / keys; }
    __device__ __forceinline__ int last_tile(int keys) const { return (first + min(count, COUNT) - 1) / keys + 1; }

    /// Whether a query of the warp sees any of `keys` keys.
    __device__ __forceinline__ bool see_any(int key, int keys) const {
        return key < first + warp + 16 * M && key + keys > first_start;
    }

    /// Whether each query of the warp sees all of `keys` keys.
    __device__ __forceinline__ bool see_all(int key, int keys) const {
        return key + keys <= first + warp + 1 && key >= last_start;
    }

    /// Hides the scores of the keys, from `key` on, that a query does not see.
    template <int N>
    __device__ __forceinline__ void hide(float (&scores)[M][N][4], int key) const {
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int query = first + row(m, half), start = starts[min(query, time - 1)];
#pragma unroll
                for (int n = 0; n < N; ++n) {
#pragma unroll
                    for (int i = 0; i < 2; ++i) {
                        const int column = key + 8 * n + threadIdx.x % 4 * 2 + i;
                        if (column > query || column < start) {
                            scores[m][n][2 * half + i] = hidden_score();
                        }
                    }
                }
            }
        }
    }
};

/// Starts the copy of a tile of keys and their values, one after the other.
template <int D, int KEYS>
__device__ __forceinline__ void start_keys(bf16 *tile, const bf16 *key, const bf16 *value, int stride, int first,
                                           int time) {
    const long long at = static_cast<long long>(first) * stride;
    start_rows<D, KEYS>(tile, key + at, stride, time - first);
    start_rows<D, KEYS>(tile + KEYS * D, value + at, stride, time - first);
}
