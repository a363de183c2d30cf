//! Low-rank updates of a checkpoint, merged into the weights that they belong to: `W + alpha / rank · B A`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use experiments::LoraConfig;

use crate::checkpoint::{Checkpoint, STATE};
use crate::error::Result;
use crate::weights::{Weights, WeightsError};

/// The updates of a folder, if it is a checkpoint of a run that trained such.
///
/// # Errors
/// A checkpoint whose state is damaged.
pub(super) fn updates_of(folder: &Path) -> Result<Option<LoraConfig>> {
    match folder.join(STATE).is_file() {
        true => Ok(Checkpoint::open(folder)?.state.plan.lora),
        false => Ok(None),
    }
}

/// Name and shape of both factors of each update, `A` before `B`.
pub(super) fn shapes(
    config: &LoraConfig,
    shapes: &BTreeMap<String, Vec<usize>>,
) -> Vec<(String, Vec<usize>)> {
    let adapted = shapes.iter().filter(|(name, _)| is_adapted(config, name));
    let factors = adapted.flat_map(|(name, shape)| {
        let [a, b] = factors(name);
        [
            (a, vec![config.rank, shape[1]]),
            (b, vec![shape[0], config.rank]),
        ]
    });
    factors.collect()
}

/// A tensor with its update, if it has one.
///
/// # Errors
/// Those of [`Weights::tensor`].
pub(super) fn merged(
    config: &LoraConfig,
    weights: &Weights,
    name: &str,
    tensor: TensorData,
) -> Result<TensorData, WeightsError> {
    if !is_adapted(config, name) {
        return Ok(tensor);
    }
    let device = Default::default();
    let matrix = |data: TensorData| Tensor::<Flex, 2>::from_data(data, &device);
    let [a, b] = factors(name);
    let update = matrix(weights.tensor(&b)?).matmul(matrix(weights.tensor(&a)?));
    Ok((matrix(tensor) + update * config.scale()).into_data())
}

/// Whether the tensor of this name has an update: `model.layers.0.self_attn.q_proj.weight`.
fn is_adapted(config: &LoraConfig, name: &str) -> bool {
    let layer = name
        .strip_suffix(".weight")
        .and_then(|name| name.rsplit('.').next());
    layer.is_some_and(|layer| config.targets.iter().any(|target| target == layer))
}

/// Names of `A` and `B` of the tensor of this name.
fn factors(name: &str) -> [String; 2] {
    let stem = name.strip_suffix("weight").unwrap_or(name);
    ["a", "b"].map(|factor| format!("{stem}lora.{factor}"))
}
