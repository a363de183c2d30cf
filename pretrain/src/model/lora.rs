//! Low-rank adaptation (LoRA; Hu et al., arXiv 2106.09685): a frozen matrix and a trained update of low rank.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use experiments::LoraConfig;
use kernels::Kernels;
use kernels::linear::linear;

use super::Qwen3;
use super::init::Init;
use super::layers::Linear;

/// The update `scale · B A` of a linear layer. `B` begins at 0, so that the model begins as it was.
#[derive(Module, Debug)]
pub struct Lora<B: Backend> {
    /// `A`, `[rank, in]`.
    pub a: Param<Tensor<B, 2>>,
    /// `B`, `[out, rank]`.
    pub b: Param<Tensor<B, 2>>,
    #[module(skip)]
    scale: f64,
}

impl<B: Backend> Lora<B> {
    fn new(linear: &Linear<B>, name: &str, config: &LoraConfig, init: &Init<B>) -> Self {
        let [output, input] = linear.weight.dims();
        let zeros = Init {
            seed: None,
            device: init.device,
        };
        Self {
            a: init.linear(&format!("{name}.a"), input, config.rank).weight,
            b: zeros.linear(name, config.rank, output).weight,
            scale: config.scale(),
        }
    }
}

impl<B: Kernels> Lora<B> {
    /// What is added to the layer's output: rows `[tokens, in]` to `[tokens, out]`, in the type of the rows.
    pub(super) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        linear(linear(x, self.a.val()), self.b.val()) * self.scale
    }
}

impl<B: Backend> Qwen3<B> {
    /// The model with updates to be trained, and all else frozen. Without a seed, the updates are zeros that are to be loaded.
    pub fn with_lora(self, config: &LoraConfig, seed: Option<u64>, device: &B::Device) -> Self {
        let init = Init { seed, device };
        let mut model = self.no_grad();
        for (number, layer) in model.model.layers.iter_mut().enumerate() {
            let of_attention = layer.self_attn.linears_mut();
            for (name, linear) in of_attention.into_iter().chain(layer.mlp.linears_mut()) {
                if config.targets.iter().any(|target| target == name) {
                    let name = format!("model.layers.{number}.{name}.lora");
                    linear.lora = Some(Lora::new(linear, &name, config, &init));
                }
            }
        }
        model
    }
}
