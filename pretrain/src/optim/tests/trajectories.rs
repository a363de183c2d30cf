//! Parameters under each rule, norms, and the state that a checkpoint holds.

use super::*;

#[test]
fn trajectories_are_optaxs() {
    let fixture = Fixture::open("trajectories");
    let every = fixture.about["every"].as_u64().unwrap() as usize;
    let cases = fixture.about["optimizers"].as_object().unwrap();
    assert_eq!(cases.len(), 5);
    for case in cases.keys() {
        let mut run = Run::new(&fixture, case);
        for step in 0..100 {
            run.step(step, 1.0, false);
            if (step + 1) % every > 0 {
                continue;
            }
            for (name, ours) in run.params() {
                let want = fixture.stacked(&format!("{case}.{name}"), step / every);
                assert_eq!(ours.len(), want.len());
                let error = norm(ours.iter().zip(want).map(|(a, b)| a - b));
                let error = error / norm(want.iter().copied());
                assert!(
                    error <= 1e-6,
                    "{case}: {name} after step {step}: error {error:.1e}"
                );
            }
        }
    }
}

#[test]
fn gradients_are_scaled_before_all_else() {
    let fixture = Fixture::open("trajectories");
    for case in ["cautious-adamc", "muon"] {
        let [mut plain, mut scaled] = [(); 2].map(|()| Run::new(&fixture, case));
        for step in 0..30 {
            plain.step(step, 1.0, false);
            scaled.step(step, 4.0, false);
        }
        assert_eq!(plain.params(), scaled.params(), "{case}");
    }
}

#[test]
fn norms_are_those_of_the_change_and_of_the_result() {
    let fixture = Fixture::open("trajectories");
    for case in ["adamw", "muon"] {
        let mut run = Run::new(&fixture, case);
        for step in 0..20 {
            let before = run.params();
            let Norms { update, params } = run.step(step, 1.0, true).unwrap();
            let after = run.params();
            let values = |params: &BTreeMap<String, Vec<f64>>| {
                params.values().flatten().copied().collect::<Vec<_>>()
            };
            let (before, after) = (values(&before), values(&after));
            let change = norm(before.iter().zip(&after).map(|(a, b)| a - b));
            let close = |got: f64, want: f64| (got - want).abs() <= 1e-4 * want;
            assert!(close(update, change), "{case}: {update}, not {change}");
            assert!(close(params, norm(after.into_iter())), "{case}: {params}");
        }
    }
    assert_eq!(Run::new(&fixture, "adamw").step(0, 1.0, false), None);
}

#[test]
fn a_loaded_optimizer_goes_on_as_the_saved_one_does() {
    let fixture = Fixture::open("trajectories");
    for case in ["cautious-adamc", "muon"] {
        let mut run = Run::new(&fixture, case);
        for step in 0..15 {
            run.step(step, 1.0, false);
        }
        let mut resumed = Run::new(&fixture, case);
        resumed.module = run.module.clone();
        let state = run.optimizer.state(&World::single()).into_iter();
        let state: BTreeMap<_, _> = state.map(|tensor| (tensor.name, tensor.data)).collect();
        // Two moments of each parameter, or the momentum of each of two matrices.
        let tensors = if case == "muon" { 3 * 2 + 2 } else { 5 * 2 };
        assert_eq!(state.len(), tensors, "{:?}", state.keys());
        let updates = run.optimizer.updates();
        assert_eq!(updates, 15);
        let device = Default::default();
        resumed.optimizer.load(updates, state, &device).unwrap();
        for step in 15..30 {
            run.step(step, 1.0, false);
            resumed.step(step, 1.0, false);
        }
        assert_eq!(run.params(), resumed.params(), "{case}");
    }
}

#[test]
fn state_that_does_not_fit_is_refused() {
    let fixture = Fixture::open("trajectories");
    let refused = |case: &str, names: &[(&str, usize)]| {
        let data = |length| TensorData::zeros::<f32, _>([length]);
        let state = names
            .iter()
            .map(|&(name, length)| (name.to_string(), data(length)));
        Optimizer::<Cpu>::new(fixture.optimizer(case))
            .load(1, state.collect(), &Default::default())
            .unwrap_err()
            .to_string()
    };
    let pair = [
        ("exp_avg.up_proj.weight", 78),
        ("exp_avg_sq.up_proj.weight", 78),
    ];
    for (case, names, reason) in [
        ("adamw", &pair[..1], "no exp_avg_sq"),
        ("adamw", &pair[1..], "no exp_avg beside"),
        ("adamw", &[pair[0], (pair[1].0, 77)], "length"),
        ("adamw", &[("mean.up_proj.weight", 78)], "neither"),
        ("adamw", &[("momentum.up_proj.weight", 78)], "by AdamW"),
        ("muon", &pair, "by Muon"),
        ("muon", &[("momentum.norm.weight", 6)], "by AdamW"),
    ] {
        let message = refused(case, names);
        assert!(message.contains(reason), "{message}");
        assert!(message.contains(names[0].0), "{message}");
    }
}
