//! Output projection, cross-entropy and z-loss, a chunk of rows at a time.
//!
//! A chunk's logits are in memory twice: as the product made them, and as their softmax in f32. The gradient takes the place
//! of one of them.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::tensors::{add_product, product};
use crate::linear_cross_entropy::{LossAndGrads, LossInput, LossOutput};

/// Logits of a chunk: 1 GiB of them in f32 keeps any GPU busy.
const LOGITS: i64 = 1 << 28;
/// Rows are taken in multiples of this, for the sake of the products.
const TILE: i64 = 128;

/// Rows of a chunk.
fn rows(vocab: i64) -> i64 {
    (LOGITS / vocab / TILE * TILE).max(TILE)
}

/// Loss, token likelihoods and gradients; see [`crate::linear_cross_entropy`].
pub(super) fn linear_cross_entropy(
    input: LossInput<LibTorch>,
    need: [bool; 2],
) -> LossAndGrads<TchTensor> {
    let vocab = input.weight.tensor.size()[0];
    in_chunks(input, need, rows(vocab))
}

/// In chunks of `rows` rows.
pub(super) fn in_chunks(
    input: LossInput<LibTorch>,
    need: [bool; 2],
    rows: i64,
) -> LossAndGrads<TchTensor> {
    let hidden = input.hidden.tensor;
    // Products are made in the type of the hidden states, all else in f32.
    let weight = input.weight.tensor.to_kind(hidden.kind());
    let targets = input.targets.tensor.to_kind(Kind::Int64).unsqueeze(1); // [tokens, 1]
    let token_weights = input.token_weights.tensor.unsqueeze(1);
    let z_loss = f64::from(input.z_loss);
    let tokens = hidden.size()[0];

    let mut loss = Tensor::zeros([1], (Kind::Float, hidden.device()));
    let (mut nll, mut logit_square) = (Vec::new(), Vec::new());
    let hidden_grad = need[0].then(|| hidden.empty_like());
    let mut weight_grad: Option<Tensor> = None;
    for start in (0..tokens).step_by(rows as usize) {
        let count = rows.min(tokens - start);
        let part = |tensor: &Tensor| tensor.narrow(0, start, count);
        let hidden = part(&hidden);
        let chunk = Chunk::new(&hidden, &weight, part(&targets));
        let token_weights = part(&token_weights);
        let row_loss = &chunk.nll + chunk.logsumexp.square() * z_loss;
        loss += (row_loss * &token_weights).sum(Kind::Float);
        nll.push(chunk.nll.shallow_clone());
        logit_square.push(chunk.logit_square());
        if need == [false; 2] {
            continue;
        }
        let grad = chunk.gradient(&token_weights, z_loss);
        if let Some(hidden_grad) = &hidden_grad {
            let _ = grad.mm_out(&part(hidden_grad), &weight);
        }
        if need[1] {
            match &mut weight_grad {
                Some(sum) => add_product(sum, &grad.tr(), &hidden),
                None => weight_grad = Some(product(&grad.tr(), &hidden)),
            }
        }
    }
    let tokenwise = |parts: Vec<Tensor>| TchTensor::new(Tensor::cat(&parts, 0).flatten(0, -1));
    LossAndGrads {
        output: LossOutput {
            loss: TchTensor::new(loss),
            nll: tokenwise(nll),
            logit_square: tokenwise(logit_square),
        },
        hidden: hidden_grad.map(TchTensor::new),
        weight: weight_grad.map(TchTensor::new),
    }
}

/// Some rows of logits and what is made of them; `[rows, 1]` but for the first two, which are `[rows, vocab]`.
struct Chunk {
    /// In the type of the hidden states.
    logits: Tensor,
    /// In f32.
    shares: Tensor,
    targets: Tensor,
    logsumexp: Tensor,
    nll: Tensor,
}

impl Chunk {
    fn new(hidden: &Tensor, weight: &Tensor, targets: Tensor) -> Self {
        let logits = hidden.mm(&weight.tr());
        let shares = logits.softmax(1, Kind::Float);
        // The largest share is 1 / Σ exp(logit − max), and no smaller than 1 / vocab.
        let (max, place) = logits.max_dim(1, true);
        let logsumexp = max.to_kind(Kind::Float) - shares.gather(1, &place, false).log();
        let nll = &logsumexp - logits.gather(1, &targets, false);
        Self {
            logits,
            shares,
            targets,
            logsumexp,
            nll,
        }
    }

    /// Mean of each row.
    fn logit_square(&self) -> Tensor {
        let norm = (self.logits).norm_scalaropt_dim_dtype(2, [1], true, Kind::Float);
        norm.square() / self.logits.size()[1] as f64
    }

    /// That of the logits in their type, for row weights `w`: `w · ((1 + 2 z lse) · softmax − onehot)`.
    fn gradient(mut self, token_weights: &Tensor, z_loss: f64) -> Tensor {
        let scale = (&self.logsumexp * (2.0 * z_loss) + 1.0) * token_weights;
        let of_target = self.shares.gather(1, &self.targets, false) * &scale - token_weights;
        let kind = self.logits.kind();
        let mut grad = match kind {
            Kind::Float => self.shares.g_mul_(&scale),
            _ => self.shares.mul_out(&self.logits, &scale),
        };
        grad.scatter_(1, &self.targets, &of_target.to_kind(kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_tiles_of_bounded_size() {
        for vocab in [1, 7, 144_644, 1 << 22] {
            let rows = rows(vocab);
            assert!(rows % TILE == 0 && rows > 0);
            assert!(rows == TILE || rows * vocab <= LOGITS);
        }
    }
}
