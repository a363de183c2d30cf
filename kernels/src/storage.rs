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
