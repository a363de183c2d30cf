// The gradients of a block of keys and of their values, over all queries of their group of heads that see them:
// dV = Pᵀ dO and dK = dSᵀ Q / √D (Algorithm 2 of FlashAttention-2, arXiv 2307.08691; dS as in `backward_query.cu`).
//
// Shares are made transposed, a warp's keys times a tile of queries, so that their sums are, lane by lane, the left factors
// of the gradients' products: no share goes through shared memory. No other block adds to these gradients, and the order of
// heads and queries is fixed: the result is the same bits every time.
//
// D = 128, M = 1, 64 queries: 32 KiB of keys and values, and twice 32 KiB of queries and of their results' gradients. A
// thread has 128 registers of gradients, 32 of scores and 32 of dP. M = 2 has room for D = 64 only: a cycle's 128 bytes of
// shared memory are 2,700 operations there, and 1,800 with M = 1, which is what bounds this kernel. Expected of an H100 with
// D = 128 are 250 to 350 TFLOP/s.

/// A tile of queries of one head in shared memory.
template <int D, int QUERIES>
struct QueryTile {
    bf16 query[QUERIES * D];
    bf16 upstream[QUERIES * D];
    float logsumexp[QUERIES];
    float mean[QUERIES];
    int starts[QUERIES];
};

/// What a block reads of one sequence.
struct Sequence {
    const bf16 *query, *upstream; // [time, heads, D]
    const float *logsumexp, *mean; // [heads, time]
    const int *starts; // [time]
    int time, stride;

    /// Starts the copy of a tile of queries of a head. What is beyond the end is zeros, and adds nothing to gradients.
    template <int D, int QUERIES>
    __device__ __forceinline__ void start(QueryTile<D, QUERIES> &tile, int head, int first) const {
        const long long at = static_cast<long long>(first) * stride + head * D;
        start_rows<D, QUERIES>(tile.query, query + at, stride, time - first);
        start_rows<D, QUERIES>(tile.upstream, upstream + at, stride, time - first);
        const int row = threadIdx.x;
        if (row < QUERIES) {
            const bool zeros = first + row >= time;
            const int position = zeros ? first : first + row;
            const long long number = static_cast<long long>(head) * time + position;
            start_copy_4(shared_address(tile.logsumexp + row), logsumexp + number, zeros);
            start_copy_4(shared_address(tile.mean + row), mean + number, zeros);
            start_copy_4(shared_address(tile.starts + row), starts + position, zeros);
        }
    }

    /// Tiles of queries from `first` on that see a key before `last_key`. Documents follow each other, so these tiles do.
    template <int QUERIES>
    __device__ __forceinline__ int tiles(int first, int last_key) const {
        const int all = (time + QUERIES - 1) / QUERIES;
        int seeing = 0;
        for (int from = first; from < all; from += THREADS) {
            const int tile = from + threadIdx.x;
            const int count = __syncthreads_count(tile < all && starts[min(tile, all - 1) * QUERIES] < last_key);
            seeing += count;
            if (count < THREADS) {
                break;
            }
        }
        return seeing;
    }
};

/// A warp's keys: 16 M from `first` on.
template <int M>
struct Keys {
    int first;

    template <int D, int QUERIES>
    __device__ __forceinline__ bool seen_by_any(const QueryTile<D, QUERIES> &tile, int query) const {
        return query + QUERIES > first && tile.starts[0] < first + 16 * M;
    }

    /// `count`: queries of the tile that there are.
    template <int D, int QUERIES>
    __device__ __forceinline__ bool seen_by_all(const QueryTile<D, QUERIES> &tile, int query, int count) const {
        return query + 1 >= first + 16 * M && tile.starts[min(count, QUERIES) - 1] <= first;
    }

    /// Hides the scores [16 M, queries] of queries, from `query` on, that do not see a key.
    template <int D, int QUERIES>
    __device__ __forceinline__ void hide(float (&scores)[M][QUERIES / 8][4], const QueryTile<D, QUERIES> &tile,
                                         int query) const {
#pragma unroll
        for (int n = 0; n < QUERIES / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int column = 8 * n + threadIdx.x % 4 * 2 + i % 2;
#pragma unroll
                for (int m = 0; m < M; ++m) {
                    const int key = first + 16 * m + i / 2 * 8 + threadIdx.x % 32 / 4;
                    if (key > query + column || key < tile.starts[column]) {
                        scores[m][n][i] = hidden_score();
                    }
                }
            }
        }
    }
};

/// Makes scores [keys, queries] shares, and `grads` of shares those of scores before their scale.
template <int D, int M, int QUERIES>
__device__ __forceinline__ void finish_grads(float (&scores)[M][QUERIES / 8][4], float (&grads)[M][QUERIES / 8][4],
                                             const QueryTile<D, QUERIES> &tile, float scale) {
#pragma unroll
    for (int n = 0; n < QUERIES / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int column = 8 * n + threadIdx.x % 4 * 2 + i;
            const float base = tile.logsumexp[column] * LOG2_E, mean = tile.mean[column];
#pragma unroll
            for (int m = 0; m < M; ++m) {
#pragma unroll
                for (int at = i; at < 4; at += 2) {
                    scores[m][n][at] = exp2_fast(scores[m][n][at] * (scale * LOG2_E) - base);
                    grads[m][n][at] = scores[m][n][at] * (grads[m][n][at] - mean);
                }
            }
        }
    }
}

/// Operands as in `attention_backward_query`; `key_grad` and `value_grad` are shaped like `key`. The grid is [kv_heads, tiles
/// of keys, batch]. Shared memory: a tile of keys, one of values, and two of queries.
template <int D, int M, int QUERIES>
__device__ __forceinline__ void backward_key(Sequence sequence, const bf16 *key, const bf16 *value, bf16 *key_grad,
                                             bf16 *value_grad, int group) {
    constexpr int KEYS = WARPS * 16 * M, N = QUERIES / 8;
    extern __shared__ __align__(256) uint4 shared[];
    bf16 *const key_tile = reinterpret_cast<bf16 *>(shared);
    bf16 *const value_tile = key_tile + KEYS * D;
    static_assert(sizeof(QueryTile<D, QUERIES>) % ALIGNMENT<D> == 0, "the second tile of queries begins as the first");
    QueryTile<D, QUERIES> *const stages = reinterpret_cast<QueryTile<D, QUERIES> *>(value_tile + KEYS * D);
    const int first = blockIdx.y * KEYS, warp = threadIdx.x / 32 * 16 * M;
    const int stride = gridDim.x * D, count = sequence.time - first;
    const long long at = (static_cast<long long>(blockIdx.z) * sequence.time + first) * stride + blockIdx.x * D;
    const float scale = 1.0f / sqrtf(D);
    const Keys<M> keys{first + warp};

    const int first_tile = first / QUERIES, tiles = sequence.tiles<QUERIES>(first_tile, first + KEYS);
    const int first_head = blockIdx.x * group, steps = group * tiles;
    start_rows<D, KEYS>(key_tile, key + at, stride, count);
    start_rows<D, KEYS>(value_tile, value + at, stride, count);
    sequence.start(stages[0], first_head, first_tile * QUERIES);

    float key_sums[M][D / 8][4] = {}, value_sums[M][D / 8][4] = {};
    for (int step = 0; step < steps; ++step) {
        wait_for_copies();
        __syncthreads(); // this tile is there for all, and nobody uses the one before it any more
        if (step + 1 < steps) {
            const int head = first_head + (step + 1) / tiles, tile = first_tile + (step + 1) % tiles;
            sequence.start(stages[(step + 1) % 2], head, tile * QUERIES);
        }
        const QueryTile<D, QUERIES> &tile = stages[step % 2];
        const int query = (first_tile + step % tiles) * QUERIES;
        if (!keys.seen_by_any(tile, query)) {
            continue;
        }
        float scores[M][N][4] = {}, grads[M][N][4] = {};
        multiply_rows<D>(scores, key_tile, warp, tile.query);
        multiply_rows<D>(grads, value_tile, warp, tile.upstream);
        if (!keys.seen_by_all(tile, query, sequence.time - query)) {
            keys.hide(scores, tile, query);
        }
        finish_grads(scores, grads, tile, scale);
        multiply_sums<D>(value_sums, scores, tile.upstream);
        multiply_sums<D>(key_sums, grads, tile.query);
    }
    scale_sums(key_sums, scale);
    store_rows<D>(key_sums, key_tile, warp, key_grad + at, stride, count);
    store_rows<D>(value_sums, value_tile, warp, value_grad + at, stride, count);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_backward_key(const bf16 *query, const bf16 *key, const bf16 *value, const int *starts,
                           const float *logsumexp, const bf16 *upstream, const float *mean, bf16 *key_grad,
                           bf16 *value_grad, const __grid_constant__ Sizes sizes) {
    const int time = static_cast<int>(sizes.time), heads = static_cast<int>(sizes.heads);
    const long long positions = static_cast<long long>(blockIdx.z) * time;
    const Sequence sequence = {
        query + positions * heads * HEAD_DIM, upstream + positions * heads * HEAD_DIM,
        logsumexp + positions * heads,        mean + positions * heads,
        starts + positions,                   time,
        heads * HEAD_DIM,
    };
    backward_key<HEAD_DIM, ROWS / (16 * WARPS), COLUMNS>(sequence, key, value, key_grad, value_grad,
                                                         heads / static_cast<int>(sizes.kv_heads));
}
