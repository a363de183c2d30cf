//! The processor's products against the plain ones, and both against sums in f64.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::{
    BalancedCheckpointing, CheckpointStrategy, NoCheckpointing,
};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::Flex;
use proptest::prelude::*;

use super::*;
use crate::KernelsWithGrads;

type Matrix = Tensor<Flex, 2>;

/// Numbers between -1 and 1, rounded to `dtype`.
fn matrix([rows, columns]: [usize; 2], seed: u32, dtype: DType) -> Matrix {
    let number = |i: usize| {
        let hash = (i as u32 ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        ((hash ^ hash >> 13) >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let values: Vec<f32> = (0..rows * columns).map(number).collect();
    let matrix = Matrix::from_data(
        TensorData::new(values, [rows, columns]),
        &Default::default(),
    );
    matrix.cast(dtype)
}

fn primitive(matrix: &Matrix) -> FloatTensor<Flex> {
    matrix.clone().into_primitive().tensor()
}

fn values(primitive: FloatTensor<Flex>) -> Vec<f64> {
    let tensor = Matrix::from_primitive(TensorPrimitive::Float(primitive));
    tensor.into_data().iter::<f64>().collect()
}

fn double(matrix: &Matrix) -> Vec<f64> {
    values(primitive(matrix))
}

/// `a · b` in f64, each given by its element at two indices, and the sum of the products' sizes.
fn product(
    [rows, k, n]: [usize; 3],
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<(f64, f64)> {
    let element = |row: usize, column: usize| {
        let terms = (0..k).map(|i| a(row, i) * b(i, column));
        terms.fold((0.0, 0.0), |(sum, size), term| {
            (sum + term, size + term.abs())
        })
    };
    (0..rows * n).map(|at| element(at / n, at % n)).collect()
}

fn assert_close(what: &str, got: &[f64], want: &[(f64, f64)], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, (want, size))) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance * size.max(1e-3),
            "{what} {i}: {got}, not {want}"
        );
    }
}

/// Result and both gradients of the processor's kernel and of the plain one against f64.
fn check([rows, input, output]: [usize; 3], dtype: DType) {
    let x = matrix([rows, input], 1, dtype);
    let weight = matrix([output, input], 2, DType::F32);
    let upstream = matrix([rows, output], 3, dtype);
    let (dx, dw, du) = (double(&x), double(&weight), double(&upstream));
    let forward = product(
        [rows, input, output],
        |i, k| dx[i * input + k],
        |k, j| dw[j * input + k],
    );
    let of_x = product(
        [rows, output, input],
        |i, k| du[i * output + k],
        |k, j| dw[k * input + j],
    );
    let of_weight = product(
        [output, rows, input],
        |i, k| du[k * output + i],
        |k, j| dx[k * input + j],
    );
    // Roundings of the weight and of the result.
    let (tolerance, of_sums) = match dtype {
        DType::BF16 => (1e-2, 1e-5),
        _ => (1e-6, 1e-6),
    };
    for (name, out, [first, second]) in [
        (
            "fast",
            Flex::linear_forward(primitive(&x), primitive(&weight)),
            Flex::linear_backward(
                Some(primitive(&x)),
                primitive(&weight),
                primitive(&upstream),
                true,
            ),
        ),
        (
            "plain",
            reference::forward::<Flex>(primitive(&x), primitive(&weight)),
            reference::backward::<Flex>(
                Some(primitive(&x)),
                primitive(&weight),
                primitive(&upstream),
                true,
            ),
        ),
    ] {
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(
            [out.dtype(), first.dtype(), second.dtype()],
            [dtype, dtype, DType::F32]
        );
        // Burn rounds sums to bf16 before they become f32.
        let of_sums = if name == "plain" { tolerance } else { of_sums };
        assert_close(&format!("{name} result"), &values(out), &forward, tolerance);
        assert_close(&format!("{name} x"), &values(first), &of_x, tolerance);
        assert_close(
            &format!("{name} weight"),
            &values(second),
            &of_weight,
            of_sums,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products_are_those_of_f64(
        rows in prop_oneof![1..8usize, 90..200usize],
        input in prop_oneof![1..9usize, 60..140usize],
        output in prop_oneof![1..9usize, 60..140usize],
        half: bool,
    ) {
        check([rows, input, output], if half { DType::BF16 } else { DType::F32 });
    }
}

#[test]
fn sums_over_many_tokens_are_made_in_parts() {
    for dtype in [DType::F32, DType::BF16] {
        check([2100, 6, 10], dtype);
    }
}

fn gradients_of_autodiff<C: CheckpointStrategy>() {
    let (x, weight) = (matrix([5, 6], 1, DType::F32), matrix([7, 6], 2, DType::F32));
    let leaf = |matrix: &Matrix, tracked| {
        Tensor::<Autodiff<Flex, C>, 2>::from_inner(matrix.clone()).set_require_grad(tracked)
    };
    for need in [[true, true], [true, false], [false, true]] {
        let run = |fused: bool| {
            let (x, weight) = (leaf(&x, need[0]), leaf(&weight, need[1]));
            // An operation whose output is recomputed, if anything is.
            let input = x.clone().mul_scalar(1.5);
            let out = match fused {
                true => linear(input, weight.clone()),
                false => input.matmul(weight.clone().transpose()),
            };
            let grads = (out.clone() * out).sum().backward();
            [x, weight].map(|leaf| leaf.grad(&grads).map(|grad| double(&grad)))
        };
        for (got, want) in run(true).into_iter().zip(run(false)) {
            assert_eq!(got.is_some(), want.is_some());
            let (got, want) = (got.unwrap_or_default(), want.unwrap_or_default());
            let sized: Vec<_> = want.iter().map(|x| (*x, 10.0)).collect();
            assert_close("gradient", &got, &sized, 1e-6);
        }
    }
}

#[test]
fn gradients_are_those_of_burns_autodiff() {
    gradients_of_autodiff::<NoCheckpointing>();
    gradients_of_autodiff::<BalancedCheckpointing>();
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    for dtype in [DType::F32, DType::BF16] {
        let (x, weight) = (
            matrix([700, 96], 1, dtype),
            matrix([300, 96], 2, DType::F32),
        );
        let upstream = matrix([700, 300], 3, dtype);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| {
                let out = Flex::linear_forward(primitive(&x), primitive(&weight));
                let [first, second] = Flex::linear_backward(
                    Some(primitive(&x)),
                    primitive(&weight),
                    primitive(&upstream),
                    true,
                );
                [out, first.unwrap(), second.unwrap()].map(values)
            })
        };
        assert!([2, 3].into_iter().all(|threads| run(threads) == run(1)));
    }
}

#[test]
#[should_panic(expected = "linear: rows of 5 for a weight of [7, 6]")]
fn widths_that_differ_are_named() {
    let (x, weight) = (matrix([3, 5], 1, DType::F32), matrix([7, 6], 2, DType::F32));
    Flex::linear_forward(primitive(&x), primitive(&weight));
}
