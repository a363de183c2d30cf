//! The moving average of the weights.

use burn::module::AutodiffModule;
use burn::tensor::TensorData;

use super::*;

#[test]
fn averages_of_the_weights_are_optaxs() {
    let fixture = Fixture::open("trajectories");
    let case = fixture.about["ema"]["of"].as_str().unwrap();
    let decay = fixture.about["ema"]["decay"].as_f64().unwrap();
    let mut run = Run::new(&fixture, case);
    let mut ema = Ema::new(decay, run.module.as_ref().unwrap());
    for step in 0..100 {
        run.step(step, 1.0, false);
        if (step + 1) % 10 > 0 {
            continue;
        }
        let module = run.module.as_ref().unwrap();
        ema.update(module);
        let averaged = ema.apply(module.valid());
        for (name, ours) in params(&averaged) {
            let want = fixture.stacked(&format!("ema.{name}"), step / 10);
            let error = norm(ours.iter().zip(want).map(|(a, b)| a - b));
            assert!(
                error <= 1e-6 * norm(want.iter().copied()),
                "{name}: {error:.1e}"
            );
        }
    }
}

#[test]
fn averages_are_saved_under_the_parameters_names_and_shapes() {
    let fixture = Fixture::open("trajectories");
    let mut run = Run::new(&fixture, "adamw");
    let mut ema = Ema::new(0.5, run.module.as_ref().unwrap());
    for step in 0..15 {
        run.step(step, 1.0, false);
    }
    let module = run.module.as_ref().unwrap();
    ema.update(module);
    let state = || {
        let tensors = ema.state(&World::single()).into_iter();
        let shaped = |shape: Vec<usize>, data| TensorData {
            shape: shape.into(),
            ..data
        };
        tensors
            .map(|part| (part.name, shaped(part.shape, part.data)))
            .collect::<BTreeMap<_, _>>()
    };
    for tensor in named_params(module) {
        assert_eq!(
            state()[&tensor.name].shape,
            tensor.data.shape,
            "{}",
            tensor.name
        );
    }
    let mut resumed = Ema::new(0.5, &fixture.start());
    resumed.load(state()).unwrap();
    let applied = |ema: &Ema<Cpu>| params(&ema.apply(module.valid()));
    assert_eq!(applied(&resumed), applied(&ema));
    assert_ne!(applied(&resumed), params(module));

    let refused = |change: &dyn Fn(&mut BTreeMap<String, TensorData>)| {
        let mut state = state();
        change(&mut state);
        Ema::new(0.5, module).load(state).unwrap_err().to_string()
    };
    let missing = refused(&|state| drop(state.remove("norm.weight")));
    assert!(missing.contains("`norm.weight` is missing"), "{missing}");
    let shape = refused(&|state| {
        let wide = state["down_proj.weight"].clone();
        state.insert("up_proj.weight".into(), wide);
    });
    assert!(
        shape.contains("[6, 13], but the model's is [13, 6]"),
        "{shape}"
    );
    let unknown = refused(&|state| {
        let other = state["norm.weight"].clone();
        state.insert("other.weight".into(), other);
    });
    assert!(unknown.contains("other.weight"), "{unknown}");
}
