//! Which gradients a backward pass has ready at the same time.

use crate::flops::forward_flops_per_token;
use crate::{ModelConfig, Plan};

/// What one segment of the backward pass makes, and is communicated together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Trained parameters.
    pub parameters: u64,
    /// Part of the passes' operations.
    pub share: f64,
}

/// Of a plan with a vocabulary of `vocab_size` rows, in the order of the backward pass: head and final norm, the layers from
/// the last to the first, embedding. A tied matrix is complete with the embedding. The embedding costs no operations.
pub fn buckets(plan: &Plan, vocab_size: usize) -> Vec<Bucket> {
    let model = &plan.model;
    let [head, layer, embedding] = match &plan.lora {
        Some(lora) => [0, lora.parameters(model) / layers(model), 0],
        None => parameters(model, vocab_size),
    };
    let forward = |rows| forward_flops_per_token(model, rows, plan.seq_len);
    let of_layers = forward(0) / forward(vocab_size);
    let bucket = |parameters, share| Bucket { parameters, share };
    let mut buckets = vec![bucket(head, 1.0 - of_layers)];
    let of_layer = bucket(layer, of_layers / layers(model) as f64);
    buckets.resize(1 + model.num_hidden_layers, of_layer);
    buckets.push(bucket(embedding, 0.0));
    buckets
}

/// Of head and final norm, of a layer, and of the embedding.
fn parameters(model: &ModelConfig, vocab_size: usize) -> [u64; 3] {
    let norm = model.hidden_size as u64;
    let matrix = (vocab_size * model.hidden_size) as u64;
    let head = if model.tie_word_embeddings { 0 } else { matrix };
    let layer = (model.parameters(0) - norm) / layers(model);
    [head + norm, layer, matrix]
}

fn layers(model: &ModelConfig) -> u64 {
    model.num_hidden_layers as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    #[test]
    fn they_have_every_parameter_and_operation_once() {
        let tied = "model.tie_word_embeddings=true";
        let lora = "lora={rank=8,alpha=16.0}";
        for set in [vec![], vec![tied], vec![lora]] {
            let set: Vec<String> = set.into_iter().map(String::from).collect();
            let experiment = load("exp2.1").unwrap();
            let plan = experiment.resolve(&["600m".into()], &set).unwrap().plan;
            let found = buckets(&plan, 144_644);
            assert_eq!(found.len(), 30);
            let parameters: u64 = found.iter().map(|bucket| bucket.parameters).sum();
            assert_eq!(parameters, plan.trained_parameters(144_644), "{set:?}");
            let share: f64 = found.iter().map(|bucket| bucket.share).sum();
            assert!((share - 1.0).abs() < 1e-12, "{share}");
        }
    }

    #[test]
    fn a_tied_head_has_the_final_norm_alone() {
        let mut model = ModelConfig::named("600m").unwrap().clone();
        let matrix = 144_644 * 1024;
        assert_eq!(parameters(&model, 144_644)[0], 1024);
        model.tie_word_embeddings = false;
        let [head, layer, embedding] = parameters(&model, 144_644);
        assert_eq!((head, embedding), (matrix + 1024, matrix));
        assert_eq!(head + 28 * layer + embedding, 736_698_368);
    }
}
