// Attention of a block of queries: Algorithm 1 of FlashAttention-2 (arXiv 2307.08691), causal and within documents.
//
// Each warp has 16 M queries, and each fragment of keys and values that it reads from shared memory serves all of them. With
// D = 128, M = 2 and 64 keys a warp does 1,048,576 operations with 40 KiB, so the 128 bytes that a multiprocessor reads in a
// cycle are 3,300; the tensor cores of sm_90 do some 2,600 with `mma.sync`, of 4,096 with `wgmma`. With M = 1 they would wait
// (1,800). While a tile of keys and values is used, the next arrives.
//
// D = 128: 32 KiB of queries and twice 32 KiB of keys and values, so two blocks have room on a multiprocessor of sm_90, one
// on that of sm_80. A thread has 128 registers of results and 64 of scores. Expected of an H100 over long documents: 350 to
// 450 TFLOP/s.

/// The softmax so far of the two rows of 16 that a thread has elements of.
template <int M>
struct Softmax {
    /// Largest score.
    float max[M][2];
    /// Sum of shares relative to it, of the elements of this thread.
    float sum[M][2];

    __device__ __forceinline__ Softmax() {
#pragma unroll
        for (int m = 0; m < M; ++m) {
            max[m][0] = max[m][1] = hidden_score();
            sum[m][0] = sum[m][1] = 0.0f;
        }
    }

    /// Makes scores shares relative to the largest so far, and `out` with them. `scale` is that of the scores times log2(e).
    template <int N, int WIDTH>
    __device__ __forceinline__ void add(float (&scores)[M][N][4], float (&out)[M][WIDTH][4], float scale) {
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float before = max[m][half];
                float largest = before;
#pragma unroll
                for (int n = 0; n < N; ++n) {
                    largest = fmaxf(largest, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
                }
                largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 1));
                largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, 2));
                // a row that sees no key yet: its shares are 2^-∞ = 0
                const float base = largest == hidden_score() ? 0.0f : largest * scale;
                const float factor = exp2_fast(before * scale - base);
                float total = sum[m][half] * factor;
#pragma unroll
                for (int n = 0; n < N; ++n) {
#pragma unroll
                    for (int i = 2 * half; i < 2 * half + 2; ++i) {
                        scores[m][n][i] = exp2_fast(scores[m][n][i] * scale - base);
                        total += scores[m][n][i];
                    }
                }
#pragma unroll
                for (int n = 0; n < WIDTH; ++n) {
                    out[m][n][2 * half] *= factor;
                    out[m][n][2 * half + 1] *= factor;
                }
                max[m][half] = largest;
                sum[m][half] = total;
            }
        }
    }

    /// Divides a row by its sum, and returns the logsumexp of its scores times `scale`.
    template <int WIDTH>
    __device__ __forceinline__ float finish(float (&out)[M][WIDTH][4], int m, int half, float scale) const {
        float total = sum[m][half];
        total += __shfl_xor_sync(0xffffffff, total, 1);
        total += __shfl_xor_sync(0xffffffff, total, 2);
        const float factor = 1.0f / total;
#pragma unroll
        for (int n = 0; n < WIDTH; ++n) {
            out[m][n][2 * half] *= factor;
            out[m][n][2 * half + 1] *= factor;
        }
        return max[m][half] * scale + logf(total);
    }
};

/// `query` and `out` are [batch, time, heads, D], `key` and `value` [batch, time, kv_heads, D], `starts` [batch, time],
/// `logsumexp` [batch, heads, time]. Shared memory: one tile of queries and two of keys and of values.
template <int D, int M, int KEYS>
__device__ __forceinline__ void forward(const bf16 *query, const bf16 *key, const bf16 *value, const int *starts,
                                        bf16 *out, float *logsumexp, const Sizes &sizes) {
    extern __shared__ __align__(256) uint4 shared[];
    bf16 *const query_tile = reinterpret_cast<bf16 *>(shared);
    const Queries<D, M> queries(sizes, starts);
    bf16 *const stages = query_tile + queries.COUNT * D;
    const float scale = 1.0f / sqrtf(D);
    key += queries.keys(sizes);
    value += queries.keys(sizes);

    int tile = queries.first_tile(KEYS);
    const int last_tile = queries.last_tile(KEYS);
    start_rows<D, queries.COUNT>(query_tile, query + queries.operands(), queries.stride, queries.count);
    start_keys<D, KEYS>(stages, key, value, queries.kv_stride, tile * KEYS, queries.time);

    float sums[M][D / 8][4] = {};
    Softmax<M> softmax;
    for (int stage = 0; tile < last_tile; ++tile, stage ^= 1) {
        wait_for_copies();
        __syncthreads(); // this tile is there for all, and nobody uses the one before it any more
        if (tile + 1 < last_tile) {
            bf16 *const next = stages + (stage ^ 1) * 2 * KEYS * D;
            start_keys<D, KEYS>(next, key, value, queries.kv_stride, (tile + 1) * KEYS, queries.time);
        }
        if (!queries.see_any(tile * KEYS, KEYS)) {
            continue;
        }
        const bf16 *const keys = stages + stage * 2 * KEYS * D;
        float scores[M][KEYS / 8][4] = {};
        multiply_rows<D>(scores, query_tile, queries.warp, keys);
        if (!queries.see_all(tile * KEYS, KEYS)) {
            queries.hide(scores, tile * KEYS);
        }
        softmax.add(scores, sums, scale * LOG2_E);
        multiply_sums<D>(sums, scores, keys + KEYS * D);
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const float result = softmax.finish(sums, m, half, scale);
            if (threadIdx.x % 4 == 0 && queries.row(m, half) < queries.count) {
                logsumexp[queries.numbers() + queries.row(m, half)] = result;
            }
        }
    }
    store_rows<D>(sums, query_tile, queries.warp, out + queries.operands(), queries.stride, queries.count);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_forward(const bf16 *query, const bf16 *key, const bf16 *value, const int *starts, bf16 *out,
                      float *logsumexp, const __grid_constant__ Sizes sizes) {
    forward<HEAD_DIM, ROWS / (16 * WARPS), COLUMNS>(query, key, value, starts, out, logsumexp, sizes);
}
