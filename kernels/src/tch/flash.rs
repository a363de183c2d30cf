//! Flash attention on GPUs (FlashAttention-2, arXiv 2307.08691), over documents laid end to end.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

use tch::{Device, Kind, Tensor};

use super::documents::Documents;

unsafe extern "C" {
    /// In `flash.cpp`: tensors by their address, as `tch` keeps them.
    fn timbre_flash_attention(
        query: *const c_void,
        key: *const c_void,
        value: *const c_void,
        ends: *const c_void,
        longest: i64,
        out: *mut *mut c_void,
    ) -> *mut c_char;

    /// Of the C library.
    fn free(memory: *mut c_void);
}

/// Whether LibTorch's flash attention takes queries of this type and size.
pub(super) fn takes(query: &Tensor) -> bool {
    let head_dim = query.size()[3];
    matches!(query.device(), Device::Cuda(_))
        && query.kind() == Kind::BFloat16
        && head_dim % 8 == 0
        && head_dim <= 256
}

/// Result `[batch, time, heads, head_dim]` and logsumexp `[batch, heads, time]` of operands `[batch, time, heads, head_dim]`.
///
/// # Panics
/// With LibTorch's words if it does not take the operands.
pub(super) fn forward(operands: [&Tensor; 3], documents: &Documents) -> (Tensor, Tensor) {
    let shape = operands[0].size();
    let [query, key, value] = operands.map(tokens);
    let ends = documents.ends(query.device());
    let address = |tensor: &Tensor| tensor.as_ptr().cast::<c_void>();
    let mut out = [null_mut::<c_void>(); 2];
    // SAFETY: the tensors live until it returns, and it writes both places of `out` unless it returns a message, which is a
    // string of `malloc`.
    let [out, logsumexp] = unsafe {
        let error = timbre_flash_attention(
            address(&query),
            address(&key),
            address(&value),
            address(&ends),
            documents.longest(),
            out.as_mut_ptr(),
        );
        if !error.is_null() {
            let message = CStr::from_ptr(error).to_string_lossy().into_owned();
            free(error.cast());
            panic!("flash attention: {message}");
        }
        out.map(|tensor| Tensor::from_ptr(tensor.cast()))
    };
    let logsumexp = logsumexp.reshape([shape[2], shape[0], shape[1]]);
    (out.reshape(shape), logsumexp.transpose(0, 1))
}

/// Gradients of query, key and value, shaped like them.
pub(super) fn backward(
    operands: [&Tensor; 3],
    documents: &Documents,
    [out, logsumexp, upstream]: [&Tensor; 3],
) -> [Tensor; 3] {
    let [query, key, value] = operands.map(tokens);
    let ends = documents.ends(query.device());
    let longest = documents.longest();
    let logsumexp = logsumexp.transpose(0, 1).flatten(1, 2).contiguous(); // [heads, tokens]
    // The state of dropout's random numbers, of which there are none.
    let unused = Tensor::empty([2], (Kind::Int64, query.device()));
    let grads = Tensor::internal_flash_attention_backward(
        &tokens(upstream),
        &query,
        &key,
        &value,
        &tokens(out),
        &logsumexp,
        &ends,
        &ends,
        longest,
        longest,
        0.0,
        true,
        &unused,
        &unused,
        None::<f64>,
        None::<i64>,
        None::<i64>,
    );
    let [query, key, value] = operands;
    [
        grads.0.view_as(query),
        grads.1.view_as(key),
        grads.2.view_as(value),
    ]
}

/// `[batch, time, heads, head_dim]` to `[batch · time, heads, head_dim]`.
fn tokens(x: &Tensor) -> Tensor {
    x.flatten(0, 1).contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processors have no such operator.
    #[test]
    #[should_panic(expected = "flash attention: Could not run 'aten::_flash_attention_forward'")]
    fn what_libtorch_throws_is_said() {
        let x = Tensor::zeros([1, 4, 2, 8], (Kind::BFloat16, Device::Cpu));
        let _ = forward([&x, &x, &x], &Documents::new(&[0, 0, 0, 0], 4));
    }
}
