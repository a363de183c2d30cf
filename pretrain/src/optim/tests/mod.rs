//! Against optax: `tests/fixtures/optimizer`, made by `scripts/make_optimizer_fixtures.py`.

mod averages;
mod schedules;
mod trajectories;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use experiments::{OptimizerConfig, ScheduleConfig};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::*;
use crate::backend::Cpu;
use crate::model::{Embedding, Linear, named_params};
use crate::world::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/optimizer/");

/// A parameter of each rule: embedding, tall and wide matrix, norm, output head.
#[derive(Module, Debug)]
struct Tiny<B: Backend> {
    embed_tokens: Embedding<B>,
    up_proj: Linear<B>,
    down_proj: Linear<B>,
    norm: Norm<B>,
    lm_head: Linear<B>,
}

#[derive(Module, Debug)]
struct Norm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
}

impl Tiny<Cpu> {
    /// With the values that `tensor` has for each name.
    fn of(tensor: impl Fn(&str) -> TensorData) -> Self {
        let matrix =
            |name: &str| Param::from_tensor(Tensor::from_data(tensor(name), &Default::default()));
        let weight = Param::from_tensor(Tensor::from_data(
            tensor("norm.weight"),
            &Default::default(),
        ));
        Self {
            embed_tokens: Embedding {
                weight: matrix("embed_tokens.weight"),
            },
            up_proj: Linear {
                weight: matrix("up_proj.weight"),
                lora: None,
            },
            down_proj: Linear {
                weight: matrix("down_proj.weight"),
                lora: None,
            },
            norm: Norm { weight },
            lm_head: Linear {
                weight: matrix("lm_head.weight"),
                lora: None,
            },
        }
    }
}

/// A tensor of a fixture in double precision.
struct Reference {
    values: Vec<f64>,
    shape: Vec<usize>,
}

struct Fixture {
    about: Value,
    tensors: BTreeMap<String, Reference>,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let read = |extension: &str| std::fs::read(format!("{FOLDER}{name}.{extension}")).unwrap();
        let bytes = read("safetensors");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let bytes = view.data().chunks_exact(view.dtype().bitsize() / 8);
            let value = |b: &[u8]| match view.dtype() {
                Dtype::F32 => f32::from_le_bytes(b.try_into().unwrap()).into(),
                Dtype::F64 => f64::from_le_bytes(b.try_into().unwrap()),
                Dtype::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
                other => panic!("{name} is {other:?}"),
            };
            let values = bytes.map(value).collect();
            let shape = view.shape().to_vec();
            (name, Reference { values, shape })
        });
        Self {
            tensors: tensors.collect(),
            about: serde_json::from_slice(&read("json")).unwrap(),
        }
    }

    /// The `index`-th of the tensors stacked under a name.
    fn stacked(&self, name: &str, index: usize) -> &[f64] {
        let Reference { values, shape } = &self.tensors[name];
        let length = values.len() / shape[0];
        &values[index * length..][..length]
    }

    fn optimizer(&self, case: &str) -> OptimizerConfig {
        serde_json::from_value(self.about["optimizers"][case].clone()).unwrap()
    }

    fn start(&self) -> Tiny<Cpu> {
        Tiny::of(|name| {
            let Reference { values, shape } = &self.tensors[&format!("start.{name}")];
            let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
            TensorData::new(values, shape.clone())
        })
    }
}

/// Gradients of a step for the parameters of a module, each multiplied by `factor`.
struct Gradients<'a> {
    fixture: &'a Fixture,
    step: usize,
    factor: f64,
    path: crate::model::Path,
    grads: GradientsParams,
}

impl ModuleVisitor<Cpu> for Gradients<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Cpu, D>>) {
        let name = format!("grads.{}", self.path.name());
        let values = self.fixture.stacked(&name, self.step).iter();
        let values: Vec<f32> = values.map(|&x| (x * self.factor) as f32).collect();
        let data = TensorData::new(values, param.dims());
        let grad = Tensor::<Flex, D>::from_data(data, &Default::default());
        self.grads.register(param.id, grad);
    }
}

/// An optimizer at work on a fixture.
struct Run<'a> {
    fixture: &'a Fixture,
    config: OptimizerConfig,
    optimizer: Optimizer<Cpu>,
    module: Option<Tiny<Cpu>>,
}

impl<'a> Run<'a> {
    fn new(fixture: &'a Fixture, case: &str) -> Self {
        let config = fixture.optimizer(case);
        Self {
            fixture,
            optimizer: Optimizer::new(config.clone()),
            config,
            module: Some(fixture.start()),
        }
    }

    /// A step with gradients `factor` times those of the fixture, scaled back by the optimizer.
    fn step(&mut self, step: usize, factor: f64, measure: bool) -> Option<Norms> {
        let steps = self.fixture.about["steps"].as_u64().unwrap();
        let schedule: ScheduleConfig =
            serde_json::from_value(self.fixture.about["schedule"].clone()).unwrap();
        let rates = Rates::of(&self.config, &schedule, steps, step as u64);
        let module = self.module.take().unwrap();
        let mut gradients = Gradients {
            fixture: self.fixture,
            step,
            factor,
            path: Default::default(),
            grads: GradientsParams::new(),
        };
        module.visit(&mut gradients);
        let mut grads = gradients.grads;
        let (module, norms) = self
            .optimizer
            .step(module, &mut grads, rates, 1.0 / factor, measure);
        self.module = Some(module);
        norms
    }

    fn params(&self) -> BTreeMap<String, Vec<f64>> {
        params(self.module.as_ref().unwrap())
    }
}

/// Parameters by name, in double precision.
fn params<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, Vec<f64>> {
    let values = |data: TensorData| data.convert::<f64>().to_vec().unwrap();
    let named = named_params(module).into_iter();
    named
        .map(|tensor| (tensor.name, values(tensor.data)))
        .collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|x| x * x).sum::<f64>().sqrt()
}
