// The operator that tch does not wrap: flash attention's forward pass over documents of several lengths.

#include <cstdint>
#include <cstring>
#include <exception>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <ATen/ops/_flash_attention_forward.h>

// Causal attention within documents. Operands are [tokens, heads, head_dim]; `ends` is int32 and begins with 0. The result
// and the logsumexp [heads, tokens] are put in `out`. Returns null, or what went wrong, to be freed by the caller: no exception
// may reach Rust.
extern "C" char *timbre_flash_attention(const at::Tensor *query, const at::Tensor *key,
                                        const at::Tensor *value, const at::Tensor *ends,
                                        int64_t longest, at::Tensor *out[2]) {
  try {
    auto made = at::_flash_attention_forward(*query, *key, *value, *ends, *ends, longest, longest,
                                             /*dropout_p=*/0.0, /*is_causal=*/true,
                                             /*return_debug_mask=*/false);
    out[0] = new at::Tensor(std::get<0>(made));
    out[1] = new at::Tensor(std::get<1>(made));
    return nullptr;
  } catch (const std::exception &error) {
    return strdup(error.what());
  }
}
