//! Several processes take the steps of one.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Part, Segment};
use crate::world::ThroughHosts;
use crate::world::threads::ranks;

/// What a step came to, but for the likelihoods, which each process has of its own sequences.
type Numbers = [f64; 5];

/// Steps of a world of so many processes, and the first one's parameters and optimizer state, put together from all parts.
fn run_among(plan: &Plan, cut: Cut, size: usize) -> (Vec<Numbers>, BTreeMap<String, Vec<f32>>) {
    let mut found = ranks(size, |world| {
        let collective = Box::new(ThroughHosts::new(world.hosts(), &Default::default()));
        let mut trainer = trainer(plan, cut).among(&world, collective);
        let mut steps = Vec::new();
        for seed in 0..8 {
            let all = sequences(seed).into_iter().enumerate();
            let mine = all.filter(|(number, _)| number % size == world.rank());
            let mine: Vec<Sequence> = mine.map(|(_, sequence)| sequence).collect();
            let out = trainer.train_step(&mine, true).unwrap();
            let norms = out.norms.unwrap();
            let numbers = [out.objective, out.logit_rms, out.grad_norm];
            steps.push(
                [numbers.as_slice(), &[norms.update, norms.params]]
                    .concat()
                    .try_into()
                    .unwrap(),
            );
        }
        let state = [trainer.params(), trainer.moments()].concat();
        (steps, state)
    });
    let steps = found[0].0.clone();
    for (others, _) in &found {
        assert_eq!(*others, steps, "the same on all processes");
    }
    let parts = found.drain(..).flat_map(|(_, parts)| parts);
    (steps, whole(parts))
}

/// Tensors that parts make up, each element of which is in one.
fn whole(parts: impl Iterator<Item = Part>) -> BTreeMap<String, Vec<f32>> {
    let mut tensors: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for part in parts {
        let elements = part.shape.iter().product();
        let tensor = tensors
            .entry(part.name)
            .or_insert_with(|| vec![f32::NAN; elements]);
        let values = part.data.to_vec::<f32>().unwrap();
        for (place, value) in tensor[part.start..][..values.len()].iter_mut().zip(values) {
            assert!(place.is_nan(), "no element twice");
            *place = value;
        }
    }
    for (name, tensor) in &tensors {
        assert!(
            tensor.iter().all(|value| !value.is_nan()),
            "{name} is whole"
        );
    }
    tensors
}

fn assert_near(
    found: &BTreeMap<String, Vec<f32>>,
    wanted: &BTreeMap<String, Vec<f32>>,
    tolerance: f32,
) {
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        wanted.keys().collect::<Vec<_>>()
    );
    for (name, wanted) in wanted {
        let error = error(&found[name], wanted);
        assert!(error <= tolerance, "{name}: {error}");
    }
}

/// The sums of gradients differ by their order; AdamW brings steps of the same size from gradients of any, so that where a
/// gradient is nearly nothing its rounding shows.
#[test]
fn worlds_of_any_size_take_the_steps_of_one_process() {
    let muon = "lr = 0.01";
    for (tied, cautious, with_muon, recompute) in [
        (true, false, false, false),
        (false, true, false, false),
        (false, false, true, true),
    ] {
        let mut plan = plan();
        plan.model.tie_word_embeddings = tied;
        plan.optimizer.cautious = cautious;
        plan.optimizer.muon = with_muon.then(|| toml::from_str(muon).unwrap());
        // above rounding
        plan.optimizer.epsilon = 1e-4;
        // A cautious update multiplies by the inverse of a share, which rounding changes, too.
        let tolerance = if cautious { 1e-3 } else { 2e-5 };
        let cut = |micro_batch| Cut {
            micro_batch,
            recompute,
        };
        let (steps, state) = run_among(&plan, cut(BATCH), 1);
        for (size, micro_batch) in [(2, 2), (2, 1), (4, 1)] {
            let (found, found_state) = run_among(&plan, cut(micro_batch), size);
            for (found, wanted) in found.iter().zip(&steps) {
                for (found, wanted) in found.iter().zip(wanted) {
                    let error = (found - wanted).abs() / wanted.abs().max(1e-3);
                    assert!(
                        error < tolerance,
                        "{size} {cautious}: {found}, not {wanted}"
                    );
                }
            }
            assert_near(&found_state, &state, 50.0 * tolerance as f32);
        }
    }
}

/// One step from the same state: what the halves of the update and the exchange make of it.
#[test]
fn the_sharded_update_is_the_whole_one() {
    let mut plan = plan();
    plan.optimizer.epsilon = 1e-4;
    let run = |size: usize| {
        let found = ranks(size, |world| {
            let collective = Box::new(ThroughHosts::new(world.hosts(), &Default::default()));
            let mut trainer = trainer(&plan, WHOLE).among(&world, collective);
            // All sequences on all ranks: the gradients of a world are then those of one process, to the bit if it has as many as
            // a power of two.
            trainer.train_step(&sequences(3), false).unwrap();
            [trainer.params(), trainer.moments()].concat()
        });
        whole(found.into_iter().flatten())
    };
    let one = run(1);
    for size in [2, 4] {
        assert_near(&run(size), &one, 1e-6);
    }
}

#[test]
fn segments_are_in_the_order_of_the_backward_pass() {
    let names = [
        "lm_head.weight",
        "model.norm.weight",
        "model.layers.11.mlp.up_proj.weight",
        "model.layers.2.self_attn.q_proj.lora.a",
        "model.embed_tokens.weight",
    ];
    let segments = names.map(|name| Segment::of(name, 12));
    assert!(segments.is_sorted());
    assert_eq!(segments[1], segments[2]);
}
