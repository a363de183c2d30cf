//! Logits, gradients and training against PyTorch and transformers: `tests/fixtures/trajectory`, made
//! by `scripts/make_trajectory_fixture.py`. With the feature `tch` it is LibTorch that computes.

use std::collections::BTreeMap;

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData};
use experiments::{
    CheckpointConfig, LoraConfig, LossConfig, ModelConfig, OptimizerConfig, Plan, Precision,
    RopeConfig, RopeScaling, ScheduleConfig,
};
use kernels::Devices;
use mixes::Sequence;
#[cfg(not(feature = "tch"))]
use pretrain::backend::Cpu as Trained;
#[cfg(feature = "tch")]
use pretrain::backend::Tch as Trained;
use pretrain::model::{
    Context, Graph, Qwen3, RopeTable, Setup, document_starts, load_params, named_params,
};
use pretrain::train::{Cut, Objective, Trainer};
use pretrain::weights::Weights;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use shards::VocabLayout;

type Inner = <Trained as AutodiffBackend>::InnerBackend;

/// Models whose logits and gradients are known: folder, and file of the batch.
const MODELS: [(&str, &str); 3] = [
    ("", "batches.safetensors"),
    ("tied/", "tied/logits.safetensors"),
    ("one-kv-head/", "one-kv-head/logits.safetensors"),
];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(tests::fixture(&format!("trajectory/{name}"))).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&bytes(name)).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

/// i32 tensor and its shape.
fn ints(file: &str, name: &str) -> (Vec<u32>, Vec<usize>) {
    let bytes = bytes(file);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(name).unwrap();
    let values = view
        .data()
        .chunks_exact(4)
        .map(|b| i32::from_le_bytes(b.try_into().unwrap()) as u32);
    (values.collect(), view.shape().to_vec())
}

/// Our configuration from transformers' `config.json`.
fn model_config(config: &Value) -> ModelConfig {
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let rope = &config["rope_parameters"];
    let number = |key: &str| rope[key].as_f64().unwrap();
    let scaling = (rope["rope_type"] == "llama3").then(|| RopeScaling {
        factor: number("factor"),
        low_freq_factor: number("low_freq_factor"),
        high_freq_factor: number("high_freq_factor"),
        original_max_position_embeddings: number("original_max_position_embeddings") as usize,
    });
    ModelConfig {
        hidden_size: size("hidden_size"),
        intermediate_size: size("intermediate_size"),
        num_hidden_layers: size("num_hidden_layers"),
        num_attention_heads: size("num_attention_heads"),
        num_key_value_heads: size("num_key_value_heads"),
        head_dim: size("head_dim"),
        tie_word_embeddings: config["tie_word_embeddings"].as_bool().unwrap(),
        rms_norm_eps: config["rms_norm_eps"].as_f64().unwrap(),
        max_position_embeddings: size("max_position_embeddings"),
        initializer_range: 0.02,
        rope: RopeConfig {
            theta: number("rope_theta"),
            scaling,
        },
    }
}

/// The fixture's run as a plan.
fn plan(trajectory: &Value, model: ModelConfig) -> Plan {
    let optimizer = &trajectory["optimizer"];
    let schedule = &trajectory["schedule"];
    let number = |table: &Value, key: &str| table[key].as_f64().unwrap();
    let steps = number(schedule, "steps");
    Plan {
        name: "trajectory".into(),
        mix: "none".into(),
        seed: 0,
        seq_len: 32,
        batch_size: 2,
        steps: steps as u64,
        validate_every: 1,
        validation_sequences: 1,
        log_every: 1,
        precision: Precision::F32,
        init_from: None,
        anneal: None,
        lora: None,
        ema_decay: None,
        loss: LossConfig {
            z_loss_weight: number(trajectory, "z_loss_weight"),
            weights: Default::default(),
        },
        checkpoint: CheckpointConfig {
            every_steps: 1,
            every_minutes: None,
            keep_last: 1,
            keep_every: None,
        },
        skip_step: None,
        model,
        optimizer: OptimizerConfig {
            lr: number(schedule, "peak_lr"),
            beta1: optimizer["betas"][0].as_f64().unwrap(),
            beta2: optimizer["betas"][1].as_f64().unwrap(),
            epsilon: number(optimizer, "epsilon"),
            weight_decay: number(optimizer, "weight_decay"),
            max_grad_norm: number(optimizer, "max_grad_norm"),
            cautious: optimizer["name"] == "Cautious AdamC",
            adamc: optimizer["name"] == "Cautious AdamC",
            muon: None,
        },
        schedule: ScheduleConfig::Wsd {
            warmup: number(schedule, "warmup_steps"),
            decay: number(schedule, "decay_steps"),
            min_lr_ratio: 0.0,
        },
    }
}

fn initial_model<B: Devices>(folder: &str) -> (Qwen3<B>, ModelConfig) {
    let config = json(&format!("{folder}config.json"));
    let model_config = model_config(&config);
    let vocab_size = config["vocab_size"].as_u64().unwrap() as usize;
    let device = B::device();
    let model = Qwen3::new(&model_config, vocab_size, 0, &device);
    let expected: usize = named_params(&model)
        .iter()
        .map(|tensor| tensor.data.num_elements())
        .sum();
    assert_eq!(model_config.parameters(vocab_size), expected as u64);
    let init = tests::fixture(&format!("trajectory/{folder}"));
    let init = Weights::open(&init, "init").unwrap();
    let tensors = init
        .names()
        .map(|name| (name.to_owned(), init.tensor(name).unwrap()));
    (load_params(model, tensors.collect()).unwrap(), model_config)
}

/// All tokens count alike, so that only the number of ids matters.
fn objective<B: Devices>(model: &Qwen3<B>) -> Objective {
    let layout = VocabLayout {
        bos: 1,
        eos: 2,
        text_start: 3,
        text_end: 4,
        audio_start: 5,
        audio_end: 6,
        audio_base: model.head().dims()[0] as u32 - 1,
        codebooks: 1,
        codebook_size: 1,
        vocab_size: model.head().dims()[0] as u32,
    };
    Objective::new(&Default::default(), &layout).unwrap()
}

/// Sequences `[steps][batch]` of a file, which may hold one batch only.
fn batches(file: &str) -> Vec<Vec<Sequence>> {
    let (tokens, shape) = ints(file, "tokens");
    let (segments, _) = ints(file, "segment_ids");
    let (batch, time) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let sequence = |(tokens, segments): (&[u32], &[u32])| {
        let mut loss_weights = vec![1.0; time];
        loss_weights[time - 1] = 0.0;
        Sequence {
            tokens: tokens.to_vec(),
            segment_ids: segments.to_vec(),
            loss_weights,
        }
    };
    let sequences: Vec<Sequence> = tokens
        .chunks(time)
        .zip(segments.chunks(time))
        .map(sequence)
        .collect();
    sequences.chunks(batch).map(<[Sequence]>::to_vec).collect()
}

/// The f32 tensors of a file by name.
fn floats_of(file: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = bytes(file);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = file
        .tensors()
        .into_iter()
        .filter(|(_, view)| view.dtype() == Dtype::F32);
    let values = |bytes: &[u8]| {
        let values = bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        values.collect()
    };
    floats
        .map(|(name, view)| (name, values(view.data())))
        .collect()
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

fn assert_close(what: &str, got: f64, want: f64, tolerance: f64) {
    let error = (got - want).abs() / want.abs().max(1e-12);
    assert!(
        error <= tolerance,
        "{what}: {got}, not {want} (relative error {error:.1e})"
    );
}

/// Trains the untied model on the batches of a folder as its trajectory says, with the low-rank updates that it has.
fn follow(folder: &str, steps: usize, recompute: bool) {
    let trajectory = json(&format!("{folder}trajectory.json"));
    let (mut model, config) = initial_model::<Trained>("");
    let mut plan = plan(&trajectory, config);
    plan.lora = trajectory.get("lora").map(lora);
    if let Some(lora) = &plan.lora {
        let factors = Weights::open(&tests::fixture(&format!("trajectory/{folder}")), "factors");
        model = adapted(model, lora, &factors.unwrap());
    }
    let cut = Cut {
        micro_batch: plan.batch_size,
        recompute,
    };
    let mut trainer = Trainer::new(&plan, cut, objective(&model), model);
    let tolerance = |key: &str| trajectory["relative_tolerance"][key].as_f64().unwrap();
    let [losses, norms, rates] = ["loss", "grad_norm", "lr"].map(|key| floats(&trajectory[key]));
    let batches = batches(&format!("{folder}batches.safetensors"));
    assert_eq!(batches.len(), steps);
    for (step, sequences) in batches.iter().enumerate() {
        let out = trainer.train_step(sequences, false).unwrap();
        assert_close(
            &format!("loss of step {step}"),
            out.objective,
            losses[step],
            tolerance("loss"),
        );
        assert_close(
            &format!("gradient norm of step {step}"),
            out.grad_norm,
            norms[step],
            tolerance("grad_norm"),
        );
        assert!(
            (out.lr - rates[step]).abs() < 1e-9,
            "learning rate of step {step}: {} not {}",
            out.lr,
            rates[step]
        );
    }
}

fn lora(config: &Value) -> LoraConfig {
    serde_json::from_value(config.clone()).unwrap()
}

/// A model with updates that begin with these factors.
fn adapted(model: Qwen3<Trained>, lora: &LoraConfig, factors: &Weights) -> Qwen3<Trained> {
    let frozen = named_params(&model).into_iter();
    let mut tensors: BTreeMap<_, _> = frozen.map(|tensor| (tensor.name, tensor.data)).collect();
    let known = tensors.len();
    let factors = factors
        .names()
        .map(|name| (name.to_owned(), factors.tensor(name).unwrap()));
    tensors.extend(factors);
    assert_eq!(tensors.len(), known + 2 * 2 * lora.targets.len());
    let model = model.with_lora(lora, Some(0), &Trained::device());
    load_params(model, tensors).unwrap()
}

#[test]
fn sixty_steps_follow_pytorch() {
    follow("", 60, false);
}

#[test]
fn sixty_steps_of_low_rank_updates_follow_peft() {
    follow("../lora/", 60, false);
    follow("../lora/", 60, true);
}

#[test]
fn updates_that_begin_at_zero_change_nothing_and_the_rest_is_frozen() {
    let config = lora(&json("../lora/trajectory.json")["lora"]);
    let (model, model_config) = initial_model::<Trained>("");
    let before = named_params(&model);
    let sequences = &batches("batches.safetensors")[0];
    let objective = objective(&model);
    let device = Trained::device();
    let batch = objective
        .batch(sequences, objective.total(sequences), &device)
        .unwrap();
    let setup = Setup::new(&model_config, 32, Precision::F32, 0.0, &device);
    let loss = |model: &Qwen3<Trained>| model.loss(&batch, &setup).loss.into_data();
    let plain = loss(&model);
    let model = model.with_lora(&config, Some(3), &device);
    assert_eq!(loss(&model), plain);

    let trajectory = json("../lora/trajectory.json");
    let plan = Plan {
        lora: Some(config.clone()),
        ..plan(&trajectory, model_config)
    };
    let cut = Cut {
        micro_batch: plan.batch_size,
        recompute: false,
    };
    let mut trainer = Trainer::new(&plan, cut, objective, model);
    for _ in 0..2 {
        trainer.train_step(sequences, false).unwrap();
    }
    let after: BTreeMap<_, _> = trainer
        .params()
        .into_iter()
        .map(|t| (t.name, t.data))
        .collect();
    for tensor in &before {
        let values = |data: &TensorData| data.to_vec::<f32>().unwrap();
        let [after, before] = [&after[&tensor.name], &tensor.data].map(values);
        assert_eq!(after, before, "{}", tensor.name);
    }
    let rank = config.rank as u64;
    let trained = after.iter().filter(|(name, _)| name.contains(".lora."));
    let trained: usize = trained.map(|(_, data)| data.num_elements()).sum();
    // q: 48 to 64, v: 48 to 32, down: 96 to 48, in two layers
    assert_eq!(trained as u64, 2 * rank * (48 + 64 + 48 + 32 + 96 + 48));
    assert_eq!(plan.trained_parameters(160), trained as u64);
}

#[test]
fn two_hundred_steps_of_the_recipes_optimizer_follow_its_formulas() {
    follow("recipe/", 200, false);
}

#[test]
fn gradients_of_every_parameter_equal_pytorchs() {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::optim::GradientsParams;

    struct Grads<'a> {
        grads: &'a GradientsParams,
        path: Vec<String>,
        found: BTreeMap<String, Vec<f32>>,
    }
    impl ModuleVisitor<Trained> for Grads<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.into());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Trained, D>>) {
            let grad = self
                .grads
                .get::<Inner, D>(param.id)
                .expect("every parameter has a gradient");
            self.found
                .insert(self.path.join("."), grad.into_data().to_vec().unwrap());
        }
    }

    let z_loss_weight = json("trajectory.json")["z_loss_weight"].as_f64().unwrap();
    for (folder, batch_file) in MODELS {
        let (model, config) = initial_model::<Trained>(folder);
        let device = Trained::device();
        let sequences = &batches(batch_file)[0];
        let objective = objective(&model);
        let total = objective.total(sequences);
        let batch = objective.batch(sequences, total, &device).unwrap();
        let time = sequences[0].tokens.len();
        let setup = Setup::new(&config, time, Precision::F32, z_loss_weight, &device);
        let out = model.backward(model.forward(&batch, &setup, Graph::Whole));
        let mut visitor = Grads {
            grads: &out.grads,
            path: Vec::new(),
            found: BTreeMap::new(),
        };
        model.visit(&mut visitor);

        let want = floats_of(&format!("{folder}logits.safetensors"));
        let known = want.keys().filter(|name| name.starts_with("grads."));
        assert_eq!(visitor.found.len(), known.count());
        for (name, got) in visitor.found {
            let want = &want[&format!("grads.{name}")];
            let error = norm(got.iter().zip(want).map(|(a, b)| a - b)) / norm(want.iter().copied());
            assert!(error <= 1e-5, "{folder}: gradient of {name}: {error:.1e}");
        }
    }
}

#[test]
fn logits_equal_transformers() {
    for (folder, batch_file) in MODELS {
        let (model, config) = initial_model::<Inner>(folder);
        let (tokens, shape) = ints(batch_file, "tokens");
        let (segments, _) = ints(batch_file, "segment_ids");
        let (batch, time) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let device = Trained::device();
        let ids: Vec<i32> = tokens[..batch * time].iter().map(|&id| id as i32).collect();
        let rows: Vec<&[u32]> = segments[..batch * time].chunks(time).collect();
        let rope = RopeTable::<Inner>::new(&config.rope, config.head_dim, 0, time, &device);
        let context = Context {
            rope,
            starts: document_starts(&rows, &device),
            precision: Precision::F32,
        };
        let hidden = model.hidden(
            Tensor::from_data(TensorData::new(ids, [batch, time]), &device),
            &context,
        );
        let width = config.hidden_size;
        let logits = hidden
            .reshape([batch * time, width])
            .matmul(model.head().transpose());
        let got = logits.into_data().to_vec::<f32>().unwrap();
        let want = &floats_of(&format!("{folder}logits.safetensors"))["logits"];
        let scale = want.iter().fold(0f32, |max, x| max.max(x.abs()));
        let error = got
            .iter()
            .zip(want)
            .fold(0f32, |max, (a, b)| max.max((a - b).abs()));
        assert_eq!(got.len(), want.len());
        assert!(error <= 1e-5 * scale, "{folder}: error {error} of {scale}");
    }
}
