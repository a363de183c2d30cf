//! SwiGLU (arXiv 2002.05202).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use experiments::ModelConfig;
use kernels::Kernels;
use kernels::swiglu::swiglu;

use super::init::Init;
use super::layers::Linear;

#[derive(Module, Debug)]
pub(super) struct Mlp<B: Backend> {
    gate_proj: Linear<B>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    pub(super) fn new(config: &ModelConfig, name: &str, init: &Init<B>) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let linear =
            |part: &str, input, output| init.linear(&format!("{name}.{part}"), input, output);
        Self {
            gate_proj: linear("gate_proj", hidden, inner),
            up_proj: linear("up_proj", hidden, inner),
            down_proj: linear("down_proj", inner, hidden),
        }
    }

    /// The linear layers, by name.
    pub(super) fn linears_mut(&mut self) -> Vec<(&'static str, &mut Linear<B>)> {
        vec![
            ("gate_proj", &mut self.gate_proj),
            ("up_proj", &mut self.up_proj),
            ("down_proj", &mut self.down_proj),
        ]
    }
}

impl<B: Kernels> Mlp<B> {
    /// `[batch, time, hidden]` to the same shape.
    pub(super) fn forward(&self, x: Tensor<B, 3>) -> Tensor<B, 3> {
        let gate = self.gate_proj.forward(x.clone());
        let up = self.up_proj.forward(x);
        self.down_proj.forward(swiglu(gate, up))
    }
}
