//! Steps of a tiny model: what must not change their result, and what must.

mod ranks;

use experiments::{AcousticWeights, Plan, Precision, SkipStepConfig, TokenWeights};
use mixes::Sequence;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shards::VocabLayout;

use super::*;
use crate::backend::Cpu;
use crate::error::Error;
use crate::model::Qwen3;

const TIME: usize = 24;
const BATCH: usize = 4;

fn layout() -> VocabLayout {
    VocabLayout {
        bos: 30,
        eos: 31,
        text_start: 32,
        text_end: 33,
        audio_start: 34,
        audio_end: 35,
        audio_base: 36,
        codebooks: 2,
        codebook_size: 16,
        vocab_size: 68,
    }
}

fn plan() -> Plan {
    let set = [
        "seq_len=24",
        "batch_size=4",
        "model.hidden_size=32",
        "model.intermediate_size=48",
        "model.num_attention_heads=4",
        "model.num_key_value_heads=2",
        "model.head_dim=8",
        "schedule.warmup=0",
    ];
    experiments::resolve("quickstart", &set.map(String::from)).unwrap()
}

/// Sequences of two documents each, of all kinds of tokens; the lengths of the losses differ.
fn sequences(seed: u32) -> Vec<Sequence> {
    let sequence = |number: u32| {
        let token = |at: u32| (seed * 31 + number * 17 + at * at * 7 + at) % layout().vocab_size;
        let unscored = |at: usize| at == TIME - 1 || at == 9 || at < number as usize;
        Sequence {
            tokens: (0..TIME as u32).map(token).collect(),
            segment_ids: (0..TIME).map(|at| u32::from(at > 9)).collect(),
            loss_weights: (0..TIME)
                .map(|at| f32::from(u8::from(!unscored(at))))
                .collect(),
        }
    };
    (0..BATCH as u32).map(sequence).collect()
}

fn trainer(plan: &Plan, cut: Cut) -> Trainer<Cpu> {
    let layout = layout();
    let objective = Objective::new(&plan.loss.weights, &layout).unwrap();
    let model = Qwen3::new(
        &plan.model,
        layout.vocab_size as usize,
        5,
        &Default::default(),
    );
    Trainer::new(plan, cut, objective, model)
}

const WHOLE: Cut = Cut {
    micro_batch: BATCH,
    recompute: false,
};

/// Outputs of some steps, and the parameters after them.
fn run(plan: &Plan, cut: Cut) -> (Vec<StepOutput>, Vec<f32>) {
    let mut trainer = trainer(plan, cut);
    let outputs = (0..5).map(|seed| trainer.train_step(&sequences(seed), true).unwrap());
    let outputs = outputs.collect();
    (outputs, params(&trainer))
}

fn params(trainer: &Trainer<Cpu>) -> Vec<f32> {
    let params = trainer.params().into_iter();
    params
        .flat_map(|p| p.data.to_vec::<f32>().unwrap())
        .collect()
}

/// Largest difference over the largest value.
fn error(got: &[f32], want: &[f32]) -> f32 {
    let largest =
        |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, |max, x| max.max(x.abs()));
    assert_eq!(got.len(), want.len());
    largest(&mut got.iter().zip(want).map(|(a, b)| a - b)) / largest(&mut want.iter().copied())
}

#[test]
fn micro_batches_give_the_step_of_the_whole_batch() {
    // In bf16 the gradient of each micro-batch is rounded to 8 bits by itself.
    for (precision, tolerance) in [(Precision::F32, 1e-5), (Precision::Bf16, 4e-3)] {
        let mut plan = plan();
        // plain AdamW: where a momentum is nearly 0, its sign, and so Cautious' mask, is decided by rounding
        plan.optimizer.cautious = false;
        plan.precision = precision;
        let (whole, whole_params) = run(&plan, WHOLE);
        for micro_batch in [1, 2] {
            let (cut, cut_params) = run(
                &plan,
                Cut {
                    micro_batch,
                    ..WHOLE
                },
            );
            for (a, b) in cut.iter().zip(&whole) {
                let close =
                    |a: f64, b: f64| assert!((a - b).abs() < tolerance * b.abs(), "{a} {b}");
                close(a.objective, b.objective);
                close(a.grad_norm, b.grad_norm);
                close(a.logit_rms, b.logit_rms);
                assert!(f64::from(error(&a.nll, &b.nll)) < tolerance);
            }
            let error = error(&cut_params, &whole_params);
            assert!(
                f64::from(error) < 10.0 * tolerance,
                "{precision:?}, {micro_batch}: {error}"
            );
        }
    }
}

#[test]
fn recomputed_activations_give_the_same_step() {
    for tied in [true, false] {
        let mut plan = plan();
        plan.model.tie_word_embeddings = tied;
        let (kept, kept_params) = run(&plan, WHOLE);
        let (recomputed, params) = run(
            &plan,
            Cut {
                recompute: true,
                ..WHOLE
            },
        );
        for (a, b) in recomputed.iter().zip(&kept) {
            assert!((a.objective - b.objective).abs() < 1e-6 * b.objective);
            assert!((a.grad_norm - b.grad_norm).abs() < 1e-5 * b.grad_norm);
        }
        let error = error(&params, &kept_params);
        assert!(error < 1e-4, "tied {tied}: {error}");
    }
}

#[test]
fn bf16_is_near_f32_and_is_not_f32() {
    let mut plan = plan();
    let (full, _) = run(&plan, WHOLE);
    plan.precision = Precision::Bf16;
    let (half, _) = run(&plan, WHOLE);
    for (a, b) in half.iter().zip(&full) {
        let error = (a.objective - b.objective).abs() / b.objective;
        assert!(error > 0.0 && error < 5e-3, "{error}");
    }
}

/// Sequences in which three tokens of four follow from the one before.
fn predictable(rng: &mut ChaCha8Rng) -> Vec<Sequence> {
    let size = layout().vocab_size;
    let mut sequences = sequences(0);
    for tokens in sequences.iter_mut().map(|sequence| &mut sequence.tokens) {
        for at in 1..TIME {
            tokens[at] = match rng.random_range(0..4) {
                0 => rng.random_range(0..size),
                _ => (5 * tokens[at - 1] + 3) % size,
            };
        }
    }
    sequences
}

#[test]
fn bf16_learns_what_f32_learns() {
    let mut plan = plan();
    plan.steps = 300;
    let [full, half] = [Precision::F32, Precision::Bf16].map(|precision| {
        plan.precision = precision;
        let mut trainer = trainer(&plan, WHOLE);
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut step = |_| {
            let out = trainer.train_step(&predictable(&mut rng), false);
            out.unwrap().objective
        };
        let losses: Vec<f64> = (0..plan.steps).map(&mut step).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..20]), mean(&losses[280..]));
        assert!(last < 0.6 * first, "{first} to {last}");
        last
    });
    assert!((half / full - 1.0).abs() < 0.01, "{half} {full}");
}

#[test]
fn tokens_weigh_what_their_kind_does() {
    let mut plan = plan();
    plan.loss.z_loss_weight = 0.0;
    plan.loss.weights = TokenWeights {
        text: 100.0,
        marker: 3.0,
        semantic: 50.0,
        acoustic: AcousticWeights::Each(vec![1.0]),
    };
    let out = trainer(&plan, WHOLE)
        .train_step(&sequences(1), false)
        .unwrap();
    let (mut total, mut sum) = (0.0, 0.0);
    for (sequence, nll) in sequences(1).iter().zip(out.nll.chunks(TIME)) {
        for (at, &nll) in nll.iter().enumerate().take(TIME - 1) {
            let weight = match sequence.tokens[at + 1] {
                0..30 => 100.0,
                30..36 => 3.0,
                36..52 => 50.0,
                _ => 1.0,
            };
            let weight = weight * f64::from(sequence.loss_weights[at]);
            total += weight;
            sum += weight * f64::from(nll);
        }
    }
    assert!(
        (out.objective - sum / total).abs() < 1e-5,
        "{} {}",
        out.objective,
        sum / total
    );
    assert!(out.z_loss.abs() < 1e-5 && out.norms.is_none());

    plan.loss.weights.acoustic = AcousticWeights::Each(vec![1.0; 7]);
    let wrong = Objective::new(&plan.loss.weights, &layout()).unwrap_err();
    assert!(wrong.to_string().contains("lists 7 weights"), "{wrong}");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut trainer = trainer(&plan(), WHOLE);
    trainer.train_step(&sequences(0), false).unwrap();
    let before = params(&trainer);
    let mut bad = sequences(1);
    bad[2].loss_weights[4] = f32::NAN;
    let error = trainer.train_step(&bad, false).err().unwrap();
    assert!(matches!(error, Error::Diverged { step: 2, .. }), "{error}");
    bad[2].tokens[0] = layout().vocab_size;
    let error = trainer.train_step(&bad, false).err().unwrap();
    assert!(error.to_string().contains("68 rows"), "{error}");
    assert_eq!((params(&trainer), trainer.step()), (before, 1));
}

#[test]
fn a_spike_is_left_out() {
    let mut plan = plan();
    plan.skip_step = Some(SkipStepConfig {
        window: 4,
        sigma: 6.0,
    });
    plan.optimizer.lr = 1e-6;
    let mut trainer = trainer(&plan, WHOLE);
    for _ in 0..4 {
        let out = trainer.train_step(&sequences(0), true).unwrap();
        assert!(!out.skipped && out.norms.is_some());
    }
    let before = params(&trainer);
    let spike = trainer.train_step(&sequences(3), true).unwrap();
    assert!(spike.skipped && spike.norms.is_none());
    assert_eq!((params(&trainer), trainer.step()), (before, 5));
    assert_eq!(trainer.optimizer().updates(), 4);
    assert_eq!(trainer.spikes().unwrap().skipped(), 1);
}

#[test]
fn the_moving_average_is_what_is_used() {
    let mut plan = plan();
    plan.ema_decay = Some(0.5);
    let mut averaged = trainer(&plan, WHOLE);
    let start = params(&averaged);
    averaged.train_step(&sequences(0), false).unwrap();
    let ema: Vec<f32> = averaged
        .ema()
        .unwrap()
        .into_iter()
        .flat_map(|p| p.data.to_vec::<f32>().unwrap())
        .collect();
    assert_eq!(ema.len(), start.len());
    let used = crate::model::named_params(&averaged.inference_model());
    let used: Vec<f32> = used
        .into_iter()
        .flat_map(|p| p.data.to_vec::<f32>().unwrap())
        .collect();
    let middle: Vec<f32> = start
        .iter()
        .zip(params(&averaged))
        .map(|(a, b)| 0.5 * (a + b))
        .collect();
    assert!(error(&used, &middle) < 1e-6);
}
