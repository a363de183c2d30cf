//! The kernel in plain Burn operations: the default of every backend, and the tests' reference.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Int, Tensor, TensorPrimitive};

use super::{LossAndGrads, LossInput, LossOutput};

/// Rows of logits that exist at a time.
const ROWS: usize = 1024;

/// Loss, token likelihoods and gradients, a chunk of rows at a time.
pub(crate) fn linear_cross_entropy<B: Backend>(
    input: LossInput<B>,
    need: [bool; 2],
) -> LossAndGrads<FloatTensor<B>> {
    let tensor = |primitive| Tensor::<B, 2>::from_primitive(TensorPrimitive::Float(primitive));
    let (hidden, weight) = (tensor(input.hidden), tensor(input.weight));
    let token_weights = Tensor::<B, 1>::from_primitive(TensorPrimitive::Float(input.token_weights));
    let targets = Tensor::<B, 1, Int>::from_primitive(input.targets);
    let [tokens, _] = hidden.dims();
    // Products are made in the type of the hidden states, all else in f32.
    let dtype = hidden.dtype();
    let weight = weight.cast(dtype);

    let mut loss = Tensor::<B, 1>::zeros([1], &hidden.device());
    let mut nll = Vec::new();
    let mut logit_square = Vec::new();
    let mut hidden_grad = Vec::new();
    let mut weight_grad: Option<Tensor<B, 2>> = None;
    for start in (0..tokens).step_by(ROWS) {
        let rows = start..tokens.min(start + ROWS);
        let hidden = hidden.clone().slice([rows.clone()]);
        let targets = targets.clone().slice([rows.clone()]).unsqueeze_dim::<2>(1);
        let w = token_weights.clone().slice([rows]).unsqueeze_dim::<2>(1); // [rows, 1]

        let logits = hidden.clone().matmul(weight.clone().transpose()); // [rows, vocab]
        let logits = logits.cast(DType::F32);
        let max = logits.clone().max_dim(1);
        let lse = (logits.clone() - max.clone()).exp().sum_dim(1).log() + max; // [rows, 1]
        let row_nll = lse.clone() - logits.clone().gather(1, targets.clone());
        let row_loss = row_nll.clone() + lse.clone().square() * input.z_loss;
        loss = loss + (row_loss * w.clone()).sum();
        nll.push(row_nll.squeeze_dim::<1>(1));
        logit_square.push(logits.clone().square().mean_dim(1).squeeze_dim::<1>(1));

        if need == [false; 2] {
            continue;
        }
        // d loss / d logits = w · ((1 + 2 z lse) · softmax − onehot)
        let scale = (lse.clone() * (2.0 * input.z_loss) + 1.0) * w.clone();
        let grad = (logits - lse).exp() * scale;
        let grad = grad.scatter(1, targets, -w, burn::tensor::IndexingUpdateOp::Add);
        let grad = grad.cast(dtype);
        if need[0] {
            hidden_grad.push(grad.clone().matmul(weight.clone()));
        }
        if need[1] {
            let add = grad.transpose().matmul(hidden).cast(DType::F32);
            weight_grad = Some(match weight_grad {
                Some(sum) => sum + add,
                None => add,
            });
        }
    }
    LossAndGrads {
        output: LossOutput {
            loss: loss.into_primitive().tensor(),
            nll: Tensor::cat(nll, 0).into_primitive().tensor(),
            logit_square: Tensor::cat(logit_square, 0).into_primitive().tensor(),
        },
        hidden: need[0].then(|| Tensor::cat(hidden_grad, 0).into_primitive().tensor()),
        weight: weight_grad.map(|grad| grad.into_primitive().tensor()),
    }
}
