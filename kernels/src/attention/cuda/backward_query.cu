// The gradient of a block of queries, and the mean that both backward kernels need.
//
// With P the shares, dP = dO Vᵀ and dS = P ∘ (dP - mean), where the mean over a query's shares is Σ P dP = dO · O, the
// gradient is dS K / √D (Algorithm 2 of FlashAttention-2, arXiv 2307.08691). Each block adds up its own queries in a fixed
// order: it costs that scores and dP are made once more than if blocks of keys added to the queries' gradients, and saves
// their atomic additions, an f32 copy of the gradient, and results that differ from run to run.
//
// D = 128, M = 2, 32 keys: 64 KiB of queries and of their results' gradients, and twice 16 KiB of keys and values. A thread
// has 128 registers of gradients, 32 of scores and 32 of dP. A cycle's 128 bytes of shared memory are 2,500 operations, about
// as many as the tensor cores do with `mma.sync`: expected of an H100 are 300 to 400 TFLOP/s.

/// The product of two pairs of bf16.
__device__ __forceinline__ float pair_product(unsigned a, unsigned b) {
    return __uint_as_float(a << 16) * __uint_as_float(b << 16) +
           __uint_as_float(a & 0xffff0000) * __uint_as_float(b & 0xffff0000);
}

/// The product of a row of each of two tiles.
template <int D>
__device__ __forceinline__ float row_product(const bf16 *left, const bf16 *right, int row) {
    float sum = 0.0f;
#pragma unroll
    for (int column = 0; column < D; column += 8) {
        const uint4 a = *reinterpret_cast<const uint4 *>(left + place<D>(row, column) / 2);
        const uint4 b = *reinterpret_cast<const uint4 *>(right + place<D>(row, column) / 2);
        sum += pair_product(a.x, b.x) + pair_product(a.y, b.y) + pair_product(a.z, b.z) + pair_product(a.w, b.w);
    }
    return sum;
}

/// Operands as in `attention_forward`; `upstream`, the gradient of `out`, and `query_grad` are shaped like `query`, `mean`
/// like `logsumexp`. Shared memory: two tiles of queries, and two of keys and of values.
template <int D, int M, int KEYS>
__device__ __forceinline__ void backward_query(const bf16 *query, const bf16 *key, const bf16 *value, const int *starts,
                                               const bf16 *out, const float *logsumexp, const bf16 *upstream,
                                               float *mean, bf16 *query_grad, const Sizes &sizes) {
    constexpr int COUNT = Queries<D, M>::COUNT, N = KEYS / 8;
    static_assert(COUNT == THREADS, "each thread makes the mean of one query");
    static_assert(COUNT <= 4 * KEYS, "the results fit where keys and values go later");
    extern __shared__ __align__(256) uint4 shared[];
    bf16 *const query_tile = reinterpret_cast<bf16 *>(shared);
    bf16 *const upstream_tile = query_tile + COUNT * D;
    bf16 *const stages = upstream_tile + COUNT * D;
    const Queries<D, M> queries(sizes, starts);
    const float scale = 1.0f / sqrtf(D);

    start_rows<D, COUNT>(query_tile, query + queries.operands(), queries.stride, queries.count);
    start_rows<D, COUNT>(upstream_tile, upstream + queries.operands(), queries.stride, queries.count);
    start_rows<D, COUNT>(stages, out + queries.operands(), queries.stride, queries.count);
    wait_for_copies();
    __syncthreads();
    const float own_mean = row_product<D>(upstream_tile, stages, threadIdx.x);
    if (static_cast<int>(threadIdx.x) < queries.count) {
        mean[queries.numbers() + threadIdx.x] = own_mean;
    }
    // A warp's lanes made the means of its 32 queries.
    float means[M][2], bases[M][2];
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = queries.row(m, half);
            means[m][half] = __shfl_sync(0xffffffff, own_mean, row % 32);
            bases[m][half] = row < queries.count ? logsumexp[queries.numbers() + row] * LOG2_E : 0.0f;
        }
    }
    __syncthreads(); // the results have been read

    key += queries.keys(sizes);
    value += queries.keys(sizes);
    int tile = queries.first_tile(KEYS);
    const int last_tile = queries.last_tile(KEYS);
    start_keys<D, KEYS>(stages, key, value, queries.kv_stride, tile * KEYS, queries.time);
    float sums[M][D / 8][4] = {};
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
        float scores[M][N][4] = {}, grads[M][N][4] = {};
        multiply_rows<D>(scores, query_tile, queries.warp, keys);
        multiply_rows<D>(grads, upstream_tile, queries.warp, keys + KEYS * D);
        if (!queries.see_all(tile * KEYS, KEYS)) {
            queries.hide(scores, tile * KEYS);
        }
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
            for (int n = 0; n < N; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const float share = exp2_fast(scores[m][n][i] * (scale * LOG2_E) - bases[m][i / 2]);
                    grads[m][n][i] = share * (grads[m][n][i] - means[m][i / 2]);
                }
            }
        }
        multiply_sums<D>(sums, grads, keys);
    }
    scale_sums(sums, scale);
    store_rows<D>(sums, query_tile, queries.warp, query_grad + queries.operands(), queries.stride, queries.count);
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    attention_backward_query(const bf16 *query, const bf16 *key, const bf16 *value, const int *starts, const bf16 *out,
                             const float *logsumexp, const bf16 *upstream, float *mean, bf16 *query_grad,
                             const __grid_constant__ Sizes sizes) {
    backward_query<HEAD_DIM, ROWS / (16 * WARPS), COLUMNS>(query, key, value, starts, out, logsumexp, upstream, mean,
                                                           query_grad, sizes);
}
