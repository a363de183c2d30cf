//! The kernels on a Vulkan device, which may be a processor (Mesa's lavapipe), in the cases of the processor's kernels.
//!
//! wgpu has no bf16, so that f16 takes its place where the device has it: conversion happens where operands are read and
//! results are written, and nowhere else.

use std::panic::catch_unwind;

use burn::backend::Wgpu;
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensorOps;
use burn::tensor::{DType, FloatDType, Int, Tensor};
use burn_cubecl::tensor::CubeTensor;
use cubecl::wgpu::WgpuRuntime;

use super::linear_cross_entropy::in_chunks;
use crate::adamw::{Moments, Parameter};
use crate::checks::{assert_close, doubles, fetched, primitive, random, sent, values};
use crate::linear_cross_entropy::tests::{Case, case, check_output, fetched_output, sent_case};
use crate::plain::tensor;
use crate::rms_norm::NormInput;
use crate::square_sum::square_sum;
use crate::{KernelsWithGrads, OptimizerKernels, adamw, embedding, norm_rope, rms_norm, swiglu};

type Device = CubeTensor<WgpuRuntime>;

/// The types of activations that the device has; none, if there is no device.
fn types() -> Vec<DType> {
    // wgpu panics where it finds no device.
    match catch_unwind(|| <Wgpu>::supports_dtype(&Default::default(), DType::F16)) {
        Ok(true) => vec![DType::F32, DType::F16],
        Ok(false) => {
            eprintln!("left out: the device has no 16-bit floats");
            vec![DType::F32]
        }
        Err(_) => {
            eprintln!("left out: there is no Vulkan device (Debian: mesa-vulkan-drivers)");
            vec![]
        }
    }
}

/// Rows of one value and of many vectors; so many rows that a cube takes several one after the other.
#[test]
fn norms_are_those_of_the_formulas() {
    for dtype in types() {
        for shape in [
            [1, 1],
            [3, 7],
            [5, 8],
            [300, 4],
            [9, 640],
            [1100, 1030],
            [40_000, 2],
        ] {
            rms_norm::tests::check(shape, dtype, rms_norm::tests::by_backend::<Wgpu>);
        }
    }
}

#[test]
fn rotated_heads_are_those_of_the_formulas() {
    for dtype in types() {
        for shape in [
            [1, 1, 1, 2],
            [2, 5, 3, 48],
            [1, 70, 4, 128],
            [2, 8200, 4, 10],
        ] {
            norm_rope::tests::check(shape, dtype, norm_rope::tests::by_backend::<Wgpu>);
        }
    }
}

#[test]
fn gates_are_those_of_the_formulas() {
    for dtype in types() {
        for count in [1, 6, 1024, 70_004] {
            swiglu::tests::check(count, dtype, swiglu::tests::by_backend::<Wgpu>);
        }
    }
}

#[test]
fn rows_of_tokens_and_their_sums_are_exact() {
    for dtype in types() {
        for shape in [
            [1, 1, 1],
            [7, 3, 5],
            [300, 40, 12],
            [900, 3000, 64],
            [5, 2000, 1030],
        ] {
            let dtype = FloatDType::from(dtype);
            embedding::tests::check(shape, dtype, embedding::tests::by_backend::<Wgpu>);
        }
    }
}

#[test]
fn updates_are_those_of_the_formulas() {
    if types().is_empty() {
        return;
    }
    for (elements, cuts) in [
        (1, &[][..]),
        (5, &[]),
        (40, &[3, 17]),
        (4096, &[]),
        (4096, &[1024, 1025]),
        (600_000, &[]),
        (600_000, &[262_144]),
    ] {
        for (cautious, begun, decay) in [
            (false, false, 0.0),
            (false, true, 0.1),
            (true, true, 0.0),
            (true, false, 0.02),
        ] {
            let rule = adamw::tests::rule(cautious, decay, 7);
            let parameter = adamw::tests::parameter(elements, begun);
            let want = adamw::tests::formulas(&parameter, &rule);
            let got = adamw::tests::by_backend::<Wgpu>(parameter, cuts, &rule);
            // Shaders' roots and quotients are good to 2.5 units of the last place, and sums are f32.
            adamw::tests::assert_close(&got, &want, 5e-6);
        }
    }
}

#[test]
fn sums_of_squares_are_those_of_f64() {
    if types().is_empty() {
        return;
    }
    for elements in [1, 3, 1000, 700_001, 2_000_000] {
        let x = random([elements], 1, DType::F32);
        let want: f64 = doubles(&x).iter().map(|x| x * x).sum();
        let got = fetched::<Wgpu>(Wgpu::square_sum(sent::<Wgpu>(&primitive(&x))));
        let got = values(&got);
        assert_eq!(got.len(), 1);
        assert!(
            (got[0] - want).abs() <= 1e-6 * want,
            "{}, not {want}",
            got[0]
        );
    }
}

/// In chunks of a block of rows.
fn check_loss(case: &Case, tolerance: f64) {
    let out = in_chunks(sent_case::<Wgpu>(case), [true; 2], 0);
    check_output("wgpu", case, tolerance, fetched_output::<Wgpu>(out));
}

#[test]
fn losses_and_their_gradients_are_those_of_the_formulas() {
    for dtype in types() {
        for (tokens, width, vocab) in [(1, 8, 5), (37, 24, 517), (300, 16, 2500), (263, 7, 700)] {
            let mut case = case(tokens, width, vocab);
            case.hidden = case.hidden.cast(dtype);
            check_loss(&case, if dtype == DType::F32 { 1e-5 } else { 1e-2 });
        }
    }
}

#[test]
fn a_chunk_is_no_larger_than_it_has_to_be() {
    if types().is_empty() {
        return;
    }
    let case = case(300, 8, 100);
    let whole = Wgpu::linear_cross_entropy_with_grads(sent_case::<Wgpu>(&case), [true; 2]);
    check_output("whole", &case, 1e-5, fetched_output::<Wgpu>(whole));
    for need in [[false, false], [true, false], [false, true]] {
        let out = Wgpu::linear_cross_entropy_with_grads(sent_case::<Wgpu>(&case), need);
        assert_eq!([out.hidden.is_some(), out.weight.is_some()], need);
    }
}

/// Logits of some hundreds, the target's far below the largest.
#[test]
fn large_logits_do_not_overflow() {
    if types().is_empty() {
        return;
    }
    let mut case = case(40, 8, 3000);
    case.hidden = case.hidden * 30.0;
    check_loss(&case, 2e-5);
}

#[test]
fn not_a_number_stays_in_its_row() {
    if types().is_empty() {
        return;
    }
    let mut case = case(30, 8, 600);
    let nan = Tensor::full([1, 1], f32::NAN, &Default::default());
    case.hidden = case.hidden.slice_assign([4..5, 3..4], nan);
    let out = Wgpu::linear_cross_entropy_with_grads(sent_case::<Wgpu>(&case), [true; 2]);
    let out = fetched_output::<Wgpu>(out).output;
    assert!(values(&out.loss)[0].is_nan());
    let nll = values(&out.nll);
    assert!((0..30).all(|row| nll[row].is_nan() == (row == 4)));
}

#[test]
fn a_weights_gradient_is_a_product_with_sums_in_f32() {
    for dtype in types() {
        let [x, upstream] =
            [([70, 24], 1), ([70, 40], 2)].map(|(shape, seed)| random(shape, seed, dtype));
        let weight = random([40, 24], 3, DType::F32);
        let want_x = upstream.clone().cast(DType::F32).matmul(weight.clone());
        let [of_x, of_weight] = Wgpu::linear_backward(
            Some(sent::<Wgpu>(&primitive(&x))),
            sent::<Wgpu>(&primitive(&weight)),
            sent::<Wgpu>(&primitive(&upstream)),
            true,
        )
        .map(|grad| fetched::<Wgpu>(grad.unwrap()));
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-2 };
        assert_close("x", &values(&of_x), &doubles(&want_x), 0.0, tolerance);
        let [x, upstream] = [x, upstream].map(|tensor| tensor.cast(DType::F32));
        let want = upstream.transpose().matmul(x);
        assert_eq!(of_weight.dtype(), DType::F32);
        assert_close("weight", &values(&of_weight), &doubles(&want), 0.0, 1e-5);
    }
}

#[test]
fn results_are_the_same_bits_every_time() {
    if types().is_empty() {
        return;
    }
    let f32s = |shape: [usize; 2], seed| sent::<Wgpu>(&primitive(&random(shape, seed, DType::F32)));
    let case = case(300, 8, 700);
    let run = || {
        let input = NormInput {
            x: f32s([3000, 96], 1),
            weight: sent::<Wgpu>(&primitive(&random([96], 2, DType::F32))),
            epsilon: 1e-6,
        };
        let norm = Wgpu::rms_norm_backward(f32s([3000, 96], 3), input, None, [true; 2]);
        let loss = in_chunks(sent_case::<Wgpu>(&case), [true; 2], 0);
        let sum = Wgpu::square_sum(f32s([700, 1000], 4));
        let all = norm.into_iter().flatten().chain([sum, loss.output.loss]);
        let all = all.chain([loss.hidden.unwrap(), loss.weight.unwrap()]);
        all.map(|tensor| values(&fetched::<Wgpu>(tensor)))
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// Where the value and the moments of a parameter lie.
fn places(value: &Device, moments: &Moments<Device>) -> [String; 3] {
    [value, &moments.mean, &moments.square].map(place)
}

/// Which memory a tensor lies in.
fn place(tensor: &Device) -> String {
    format!("{:?}", tensor.handle)
}

#[test]
fn buffers_are_changed_in_place_but_not_those_that_others_hold() {
    if types().is_empty() {
        return;
    }
    let flat = |seed| sent::<Wgpu>(&primitive(&random([100], seed, DType::F32)));
    let parameter = || Parameter {
        value: flat(1),
        grad: flat(2),
        moments: Some(Moments {
            mean: flat(3),
            square: <Wgpu>::float_mul(flat(4), flat(4)),
        }),
    };
    let rule = adamw::tests::rule(true, 0.01, 3);
    let update = |parameter| {
        let begun = Wgpu::adamw_begin(parameter, &rule);
        Wgpu::adamw_finish(begun, 100, false)
    };
    let alone = parameter();
    let before = places(&alone.value, alone.moments.as_ref().unwrap());
    let grad = alone.grad.clone();
    let out = update(alone);
    assert_eq!(places(&out.value, &out.moments), before);
    assert!(out.squares.is_none());
    assert_eq!(
        values(&fetched::<Wgpu>(grad)),
        values(&fetched::<Wgpu>(flat(2)))
    );

    let held = parameter();
    let kept = held.clone();
    let copied = update(held);
    assert_eq!(
        values(&fetched::<Wgpu>(copied.value)),
        values(&fetched::<Wgpu>(out.value))
    );
    let (kept, fresh) = (kept.moments.unwrap(), parameter());
    let fresh = fresh.moments.unwrap();
    assert_eq!(
        values(&fetched::<Wgpu>(kept.mean)),
        values(&fetched::<Wgpu>(fresh.mean))
    );
    assert_eq!(
        values(&fetched::<Wgpu>(kept.square)),
        values(&fetched::<Wgpu>(fresh.square))
    );
}

#[test]
fn an_existing_gradient_of_the_embedding_is_added_to_in_place() {
    if types().is_empty() {
        return;
    }
    let matrix = |rows, seed| sent::<Wgpu>(&primitive(&random([rows, 12], seed, DType::F32)));
    let tokens = Tensor::<Wgpu, 1, Int>::from_data([3, 0, 3], &Default::default());
    let backward = |existing| {
        let tokens = tokens.clone().into_primitive();
        <Wgpu as KernelsWithGrads>::embedding_backward(matrix(3, 2), tokens, Some(existing), 5)
    };
    let (alone, held) = (matrix(5, 1), matrix(5, 1));
    let before = place(&alone);
    let sum = backward(alone);
    assert_eq!(place(&sum), before);
    let copied = backward(held.clone());
    assert_eq!(
        values(&fetched::<Wgpu>(copied)),
        values(&fetched::<Wgpu>(sum))
    );
    assert_eq!(
        values(&fetched::<Wgpu>(held)),
        values(&fetched::<Wgpu>(matrix(5, 1)))
    );
}

#[test]
fn a_view_is_read_as_it_is_seen() {
    if types().is_empty() {
        return;
    }
    let wide = tensor::<Wgpu, 3>(sent::<Wgpu>(&primitive(&random([5, 4, 24], 1, DType::F32))));
    let view = wide.swap_dims(0, 1).narrow(2, 3, 16); // [4, 5, 16]
    let copy = Tensor::from_data(view.to_data(), &Default::default());
    let weight = tensor::<Wgpu, 1>(sent::<Wgpu>(&primitive(&random([16], 2, DType::F32))));
    let norm =
        |x: &Tensor<Wgpu, 3>| rms_norm::rms_norm(x.clone(), weight.clone(), 1e-6).into_data();
    assert_eq!(norm(&view), norm(&copy));
    let gate = |x: &Tensor<Wgpu, 3>| swiglu::swiglu(x.clone(), x.clone()).into_data();
    assert_eq!(gate(&view), gate(&copy));
    let sum = |x: &Tensor<Wgpu, 3>| square_sum(x.clone()).into_data();
    assert_eq!(sum(&view), sum(&copy));
}
