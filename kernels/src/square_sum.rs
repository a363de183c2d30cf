//! The sum of a tensor's squares, of which global norms are made.

use burn::tensor::{Bytes, DType, Shape, Tensor, TensorPrimitive};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use crate::OptimizerKernels;
use crate::gemm::lanes::{Isa, Lanes, Op, dispatch};

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// Independent sums, enough for two 512-bit registers.
const SUMS: usize = 16;

/// `Σ x²` of all elements, `[1]`.
pub fn square_sum<B: OptimizerKernels, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let sum = B::square_sum(tensor.into_primitive().tensor());
    Tensor::from_primitive(TensorPrimitive::Float(sum))
}

/// On a processor: in f64, in an order that does not depend on the number of threads.
pub(crate) fn cpu(tensor: FlexTensor) -> FlexTensor {
    let tensor = tensor.to_contiguous();
    let x: &[f32] = tensor
        .as_slice()
        .expect("square_sum: parameters and gradients are f32");
    let isa = Isa::detect();
    let sums: Vec<f64> = x
        .par_chunks(CHUNK)
        // SAFETY: the processor has these instructions.
        .map(|chunk| unsafe { dispatch(isa, Sum(chunk)) })
        .collect();
    scalar(sums.iter().sum())
}

/// A tensor `[1]`.
pub(crate) fn scalar(x: f64) -> FlexTensor {
    let bytes = Bytes::from_elems(vec![x as f32]);
    FlexTensor::new(bytes, Layout::contiguous(Shape::new([1])), DType::F32)
}

struct Sum<'a>(&'a [f32]);

impl Op for Sum<'_> {
    type Out = f64;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f64 {
        of_slice(self.0)
    }
}

/// `Σ x²` in f64; to be inlined where vector instructions are enabled.
#[inline(always)]
pub(crate) fn of_slice(x: &[f32]) -> f64 {
    let (blocks, rest) = x.as_chunks::<SUMS>();
    let mut sums = [0f64; SUMS];
    for block in blocks {
        for (sum, &x) in sums.iter_mut().zip(block) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(rest) {
        *sum += f64::from(x) * f64::from(x);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use burn_flex::Flex;

    fn sum(x: &[f32], threads: usize) -> f32 {
        let data = TensorData::new(x.to_vec(), [x.len()]);
        let tensor = Tensor::<Flex, 1>::from_data(data, &Default::default());
        let pool = rayon::ThreadPoolBuilder::new();
        let pool = pool.num_threads(threads).build().unwrap();
        pool.install(|| square_sum(tensor)).into_scalar()
    }

    #[test]
    fn sums_are_those_of_f64_with_any_number_of_threads() {
        for elements in [1, 15, 16, 100, CHUNK, 3 * CHUNK + 5] {
            let x: Vec<f32> = (0..elements).map(|i| (i as f32 * 0.7).sin()).collect();
            let want: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            let got = sum(&x, 1);
            // One rounding to f32.
            assert!((f64::from(got) - want).abs() <= 6e-8 * want, "{elements}");
            assert_eq!([got; 2], [sum(&x, 2), sum(&x, 3)]);
        }
    }
}
