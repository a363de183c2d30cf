//! What is launched on CUDA in bf16, without a GPU: how many kernels, and that they become CUDA C++.
//!
//! With `CUDA_SOURCES=FOLDER` the sources are left in a folder, for NVRTC.

use std::collections::BTreeMap;

use burn::backend::cuda::CudaDevice;
use burn::tensor::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{FloatDType, IntDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::recorder::{Launched, Recorder, launched};
use super::{adamw, embedding, linear_cross_entropy, norm_rope, rms_norm, sums, swiglu};
use crate::adamw::{Moments, Parameter, Rule};
use crate::linear_cross_entropy::LossInput;
use crate::norm_rope::{NormRopeInput, Tables};
use crate::rms_norm::NormInput;

/// Our kernels. Others are Burn's products, additions and fills.
const OURS: [&str; 15] = [
    "rms_norm",
    "add_rms_norm",
    "rms_norm_backward",
    "norm_rope",
    "norm_rope_backward",
    "swiglu",
    "swiglu_backward",
    "embedding",
    "embedding_sort",
    "embedding_add",
    "adamw_agreeing",
    "adamw",
    "cross_entropy",
    "square_sum",
    "sum_parts",
];

type Backend = CubeBackend<Recorder, f32, i32, u8>;
type Tensor = CubeTensor<Recorder>;

fn floats<const D: usize>(shape: [usize; D]) -> Tensor {
    Backend::float_empty(Shape::new(shape), &CudaDevice::default(), FloatDType::F32)
}

fn halves<const D: usize>(shape: [usize; D]) -> Tensor {
    Backend::float_empty(Shape::new(shape), &CudaDevice::default(), FloatDType::BF16)
}

fn tokens(count: usize) -> Tensor {
    Backend::int_empty(Shape::new([count]), &CudaDevice::default(), IntDType::I32)
}

fn norm_input() -> NormInput<Tensor> {
    NormInput {
        x: halves([4, 512, 1024]),
        weight: floats([1024]),
        epsilon: 1e-6,
    }
}

fn heads() -> NormRopeInput<Tensor> {
    NormRopeInput {
        x: halves([4, 512, 16, 128]),
        weight: floats([128]),
        tables: Tables {
            cos: floats([512, 64]),
            sin: floats([512, 64]),
        },
        epsilon: 1e-6,
    }
}

fn parameter() -> Parameter<Tensor> {
    Parameter {
        value: floats([3_000_000]),
        grad: floats([3_000_000]),
        moments: Some(Moments {
            mean: floats([3_000_000]),
            square: floats([3_000_000]),
        }),
    }
}

fn rule(cautious: bool) -> Rule {
    Rule {
        grad_scale: 1.0,
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        cautious,
        decay: 1e-4,
        updates: 3,
    }
}

/// A vocabulary whose logits fill two chunks and a part of a third.
fn loss() -> LossInput<Backend> {
    LossInput {
        hidden: halves([4096, 1024]),
        weight: floats([144_644, 1024]),
        targets: tokens(4096),
        token_weights: floats([4096]),
        z_loss: 1e-4,
    }
}

/// Kernels of our own that a call launches, in their order, without the types they are for.
fn names(call: &dyn Fn(), sources: &mut BTreeMap<String, String>) -> Vec<String> {
    call();
    let name = |launch: Launched| {
        let (name, _) = launch.name.split_once("_kernel_")?;
        let ours = OURS.contains(&name).then(|| name.to_string())?;
        sources.insert(launch.name, launch.source);
        Some(ours)
    };
    launched().into_iter().filter_map(name).collect()
}

#[test]
fn launches_are_few_and_become_cuda() {
    launched();
    let mut sources = BTreeMap::new();
    let mut count = |call: &dyn Fn(), want: &[&str]| assert_eq!(names(call, &mut sources), want);
    count(&|| drop(rms_norm::forward(norm_input())), &["rms_norm"]);
    let delta = || halves([4, 512, 1024]);
    count(
        &|| drop(rms_norm::add_forward(delta(), norm_input())),
        &["add_rms_norm"],
    );
    for existing in [None, Some(delta())] {
        let backward = || rms_norm::backward(delta(), norm_input(), existing.clone(), [true; 2]);
        count(&|| drop(backward()), &["rms_norm_backward", "sum_parts"]);
    }
    count(&|| drop(norm_rope::forward(heads())), &["norm_rope"]);
    let backward = || norm_rope::backward(heads().x, heads(), [true; 2]);
    count(&|| drop(backward()), &["norm_rope_backward", "sum_parts"]);
    count(&|| drop(swiglu::forward(delta(), delta())), &["swiglu"]);
    count(
        &|| drop(swiglu::backward(delta(), delta(), delta())),
        &["swiglu_backward"],
    );
    let weight = || floats([144_644, 1024]);
    let rows = || embedding::forward(weight(), tokens(2048), FloatDType::BF16);
    count(&|| drop(rows()), &["embedding"]);
    let upstream = || halves([2048, 1024]);
    let add = || embedding::backward(upstream(), tokens(2048), Some(weight()), 144_644);
    count(&|| drop(add()), &["embedding_sort", "embedding_add"]);
    let adamw = |cautious, measure| {
        let begun = adamw::begin(parameter(), &rule(cautious));
        adamw::finish(begun, 3_000_000, measure)
    };
    count(&|| drop(adamw(false, false)), &["adamw"]);
    count(
        &|| drop(adamw(true, false)),
        &["adamw_agreeing", "sum_parts", "adamw"],
    );
    count(
        &|| drop(adamw(false, true)),
        &["adamw", "sum_parts", "sum_parts"],
    );
    count(
        &|| drop(sums::square_sum(weight())),
        &["square_sum", "sum_parts"],
    );
    let loss = || linear_cross_entropy::linear_cross_entropy(loss(), [true; 2]);
    count(
        &|| drop(loss()),
        &[
            "cross_entropy",
            "cross_entropy",
            "cross_entropy",
            "sum_parts",
        ],
    );

    // 128 bits: 8 values of bf16, 4 of f32. Logits are 64 bits, because 144,644 is no multiple of 8.
    for name in sources.keys() {
        let vector = match name.contains("f_bf16") {
            _ if name.starts_with("cross_entropy") => "_n_4",
            _ if name.starts_with("embedding_sort") || name.ends_with("_n_1") => "",
            true => "_n_8",
            false => "_n_4",
        };
        assert!(name.ends_with(vector), "{name} has no vectors{vector}");
    }
    if let Some(folder) = std::env::var_os("CUDA_SOURCES") {
        std::fs::create_dir_all(&folder).unwrap();
        for (name, source) in &sources {
            let path = std::path::Path::new(&folder).join(format!("{name}.cu"));
            std::fs::write(path, source).unwrap();
        }
    }
}
