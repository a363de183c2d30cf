//! Tensors of the processor's backend as slices.

use burn::tensor::{DType, Shape, bf16};
use burn_flex::{FlexTensor, Layout};

use crate::gemm::Values;
use crate::gemm::word::Word;

/// The values of a contiguous tensor of f32 or bf16.
///
/// # Panics
/// On another type.
pub(crate) fn values(tensor: &FlexTensor) -> Values<'_> {
    match tensor.dtype() {
        DType::F32 => Values::F32(tensor.as_slice().expect("contiguous f32")),
        DType::BF16 => {
            let values: &[bf16] = tensor.as_slice().expect("contiguous bf16");
            // SAFETY: a bf16 is its bits, in a transparent struct.
            Values::Bf16(unsafe {
                std::slice::from_raw_parts(values.as_ptr().cast(), values.len())
            })
        }
        other => panic!("kernels compute in f32 or bf16, not {other:?}"),
    }
}

/// The values of a contiguous tensor of f32.
///
/// # Panics
/// On another type.
pub(crate) fn floats(tensor: &FlexTensor) -> &[f32] {
    match values(tensor) {
        Values::F32(values) => values,
        Values::Bf16(_) => panic!("weights are f32, not bf16"),
    }
}

/// The values of a contiguous tensor of `W`.
///
/// # Panics
/// On another type.
pub(crate) fn slice<W: Word>(tensor: &FlexTensor) -> &[W] {
    let (values, count) = match (W::DTYPE, values(tensor)) {
        (DType::F32, Values::F32(values)) => (values.as_ptr().cast(), values.len()),
        (DType::BF16, Values::Bf16(values)) => (values.as_ptr().cast(), values.len()),
        (wanted, _) => panic!("{:?} where {wanted:?} is expected", tensor.dtype()),
    };
    // SAFETY: `W` is the type that was matched.
    unsafe { std::slice::from_raw_parts(values, count) }
}

/// The values of a tensor of `W` in order, to be changed: in its own buffer, unless someone else holds it too.
///
/// # Panics
/// On another type.
pub(crate) fn slice_mut<W: Word>(tensor: &mut FlexTensor) -> &mut [W] {
    if !tensor.is_contiguous() || !tensor.is_unique() {
        *tensor = tensor.to_contiguous(); // a part of a larger buffer is copied alone
    }
    let range = tensor.layout().contiguous_offsets();
    let (start, end) = range.expect("made contiguous");
    let values: *mut W = match (W::DTYPE, tensor.dtype()) {
        (DType::F32, DType::F32) => tensor.storage_mut::<f32>().as_mut_ptr().cast(),
        (DType::BF16, DType::BF16) => tensor.storage_mut::<bf16>().as_mut_ptr().cast(),
        (wanted, found) => panic!("{found:?} where {wanted:?} is expected"),
    };
    // SAFETY: `W` is the type that was matched, and the range lies in the tensor's buffer, which is borrowed.
    unsafe { std::slice::from_raw_parts_mut(values.add(start), end - start) }
}

/// Itself if its values lie in order, else a copy in which they do.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    match tensor.is_contiguous() {
        true => tensor,
        false => tensor.to_contiguous(),
    }
}

/// A tensor of f32, or of bf16 given as bits.
pub(crate) fn tensor<W: Word>(data: Vec<W>, shape: impl Into<Shape>) -> FlexTensor {
    let layout = Layout::contiguous(shape.into());
    FlexTensor::new(W::bytes(data), layout, W::DTYPE)
}

/// Indices as the processor's backend makes them.
///
/// # Panics
/// On a type that is neither i32 nor i64.
pub(crate) fn indices(tensor: &FlexTensor) -> Vec<usize> {
    let tensor = tensor.to_contiguous();
    match tensor.dtype() {
        DType::I64 => {
            let ids: &[i64] = tensor.as_slice().expect("i64");
            ids.iter().map(|&x| x as usize).collect()
        }
        DType::I32 => {
            let ids: &[i32] = tensor.as_slice().expect("i32");
            ids.iter().map(|&x| x as usize).collect()
        }
        other => panic!("indices are {other:?}; this backend makes i32 or i64"),
    }
}

/// A vector whose `len` values are all written by `fill` before anything reads them.
///
/// # Safety
/// `fill` writes every value and reads none before.
pub(crate) unsafe fn filled<T>(len: usize, fill: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the memory is there; what lies in it is overwritten before it is read.
    unsafe {
        fill(std::slice::from_raw_parts_mut(values.as_mut_ptr(), len));
        values.set_len(len);
    }
    values
}
