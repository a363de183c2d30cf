//! Every experiment against `fixtures/plans.json`, which `scripts/make_experiment_fixtures.py` computes from the recipe's tables.

use std::collections::BTreeMap;

use experiments::{
    Experiment, ModelConfig, Plan, Resolved, ScheduleConfig, Start, Summary, Vocabulary, load,
    names, resolve,
};
use serde::Deserialize;

/// What Python computed of a plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    name: String,
    mix: String,
    tied: bool,
    vocab: usize,
    batch: usize,
    seq: usize,
    steps: u64,
    lr: f64,
    schedule: String,
    min_lr_ratio: f64,
    warmup_steps: u64,
    decay_steps: u64,
    tokens: u64,
    parameters: u64,
    non_embedding_parameters: u64,
    forward_flops: f64,
    weight_decay: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

fn expected() -> Vec<Expected> {
    let text = include_str!("fixtures/plans.json");
    serde_json::from_str(text).unwrap()
}

/// All variants of all experiments but the quickstart, by the name of their run.
fn resolved() -> BTreeMap<String, Resolved> {
    let experiments = names().into_iter().filter(|name| *name != "quickstart");
    experiments
        .flat_map(|name| {
            let experiment = load(name).unwrap();
            let each = |variant: &str| resolve_variant(&experiment, variant);
            let names = experiment.variants().iter().map(|v| v.name.as_str());
            names.map(each).collect::<Vec<_>>()
        })
        .map(|resolved| (resolved.plan.name.clone(), resolved))
        .collect()
}

fn resolve_variant(experiment: &Experiment, variant: &str) -> Resolved {
    let found = experiment.resolve(&[variant.to_string()], &[]);
    found.unwrap_or_else(|error| panic!("{} {variant}: {error}", experiment.name()))
}

/// Whether two numbers are the same, or neighbours.
fn near(a: f64, b: f64) -> bool {
    a.to_bits().abs_diff(b.to_bits()) <= 1
}

#[test]
fn every_plan_has_the_numbers_of_the_recipe() {
    let mut resolved = resolved();
    for expected in expected() {
        let name = &expected.name;
        let found = resolved
            .remove(name)
            .unwrap_or_else(|| panic!("no run is called {name}"));
        check(&found, &expected);
    }
    assert!(
        resolved.is_empty(),
        "not in the fixture: {:?}",
        resolved.keys()
    );
}

fn check(found: &Resolved, expected: &Expected) {
    let (plan, name) = (&found.plan, &expected.name);
    let vocab = found
        .vocab
        .expect("the recipe's experiments name their vocabulary");
    assert_eq!(vocab.size(), expected.vocab, "{name}");
    assert_eq!(plan.mix, expected.mix, "{name}");
    assert_eq!(plan.model.tie_word_embeddings, expected.tied, "{name}");
    assert_eq!(
        (plan.batch_size, plan.seq_len),
        (expected.batch, expected.seq),
        "{name}"
    );

    let summary = Summary::new(plan, vocab.size());
    assert_eq!(summary.steps, expected.steps, "{name}: steps");
    assert_eq!(summary.tokens, expected.tokens, "{name}: tokens");
    assert_eq!(
        summary.parameters, expected.parameters,
        "{name}: parameters"
    );
    assert_eq!(
        summary.warmup_steps, expected.warmup_steps,
        "{name}: warm-up"
    );
    assert_eq!(summary.decay_steps, expected.decay_steps, "{name}: decay");
    assert!(
        near(summary.lr, expected.lr),
        "{name}: lr {} {}",
        summary.lr,
        expected.lr
    );
    let inner = summary.non_embedding_parameters;
    assert_eq!(
        inner, expected.non_embedding_parameters,
        "{name}: without embeddings"
    );
    let per_parameter = expected.tokens as f64 / expected.parameters as f64;
    assert!(near(summary.tokens_per_parameter, per_parameter), "{name}");
    // sums of exact integers, which differ where products exceed 2^53
    let six_nd = 6.0 * expected.parameters as f64 * expected.tokens as f64;
    for (flops, wanted) in [
        (summary.flops.forward, expected.forward_flops),
        (summary.flops.training, 3.0 * expected.forward_flops),
        (summary.flops.six_nd, six_nd),
    ] {
        let off = flops / wanted - 1.0;
        assert!(off.abs() < 1e-14, "{name}: {flops} FLOPs, off by {off}");
    }

    let optimizer = &plan.optimizer;
    let numbers = [
        optimizer.weight_decay,
        optimizer.beta1,
        optimizer.beta2,
        optimizer.epsilon,
    ];
    let wanted = [
        expected.weight_decay,
        expected.beta1,
        expected.beta2,
        expected.epsilon,
    ];
    assert!(
        numbers.iter().zip(wanted).all(|(a, b)| near(*a, b)),
        "{name}: {optimizer:?}"
    );
    assert!(
        optimizer.cautious && optimizer.adamc && optimizer.max_grad_norm == 1.0,
        "{name}"
    );
    assert_eq!(plan.loss.z_loss_weight, 1e-4, "{name}");
    let (kind, min_lr_ratio) = match plan.schedule {
        ScheduleConfig::Wsd { min_lr_ratio, .. } => ("wsd", min_lr_ratio),
        ScheduleConfig::Linear { min_lr_ratio, .. } => ("linear", min_lr_ratio),
        ScheduleConfig::Cosine { min_lr_ratio, .. } => ("cosine", min_lr_ratio),
        _ => ("other", f64::NAN),
    };
    assert_eq!(
        (kind, min_lr_ratio),
        (expected.schedule.as_str(), expected.min_lr_ratio),
        "{name}"
    );
}

#[test]
fn a_run_of_the_config_file_of_a_run_is_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let quickstart = load("quickstart").unwrap().resolve(&[], &[]).unwrap();
    for resolved in resolved().values().chain([&quickstart]) {
        std::fs::write(&path, toml::to_string(&resolved.plan).unwrap()).unwrap();
        let again = resolve(path.to_str().unwrap(), &[]).unwrap();
        assert_eq!(again, resolved.plan);
    }
}

/// Layers, variants and rules leave a file alone that has none.
#[test]
fn the_quickstart_is_a_plan_that_states_every_number() {
    let mut stated: toml::Table = include_str!("../quickstart.toml").parse().unwrap();
    assert!(stated.remove("what").is_some());
    let stated: Plan = stated.try_into().unwrap();
    assert_eq!(resolve("quickstart", &[]).unwrap(), stated);
}

#[test]
fn checkpoints_that_are_begun_with_exist_and_fit() {
    let all = resolved();
    let mut continued = 0;
    for resolved in all.values() {
        let (run, step, last) = match &resolved.start {
            Start::Anneal { run, step } => (run, *step, false),
            Start::FineTune { run, step } => (run, *step, true),
            Start::WarmStart { folder, .. } => {
                assert_eq!(resolved.vocab, Some(Vocabulary::Qwen3x));
                assert_eq!(resolved.plan.init_from.as_ref(), Some(folder));
                continue;
            }
            Start::Scratch => continue,
        };
        continued += 1;
        let name = &resolved.plan.name;
        let source = &all
            .get(run)
            .unwrap_or_else(|| panic!("{name} begins with {run}"))
            .plan;
        assert_eq!(source.model, resolved.plan.model, "{name}");
        assert_eq!(all[run].vocab, resolved.vocab, "{name}");
        let kept = source.checkpoint.keep_every.unwrap();
        match last {
            true => assert_eq!(step, source.steps, "{name}"),
            false => assert!(step < source.steps && step.is_multiple_of(kept), "{name}"),
        }
    }
    assert_eq!(continued, 5 + 3 + 2);
}

#[test]
fn an_experiment_can_be_based_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    std::fs::write(
        &path,
        "base = 'exp2.1'\nname = 'mine'\nmix = 'cooldown(n=2)'\n",
    )
    .unwrap();
    let mine = load(path.to_str().unwrap()).unwrap();
    let found = resolve_variant(&mine, "600m").plan;
    let recipe = resolve_variant(&load("exp2.1").unwrap(), "600m").plan;
    let expected = Plan {
        name: "mine-600m".into(),
        mix: "cooldown(n=2)".into(),
        ..recipe
    };
    assert_eq!(found, expected);

    std::fs::write(
        folder.path().join("next.toml"),
        "base = 'mine.toml'\nname = 'next'\n",
    )
    .unwrap();
    let next = load(folder.path().join("next.toml").to_str().unwrap()).unwrap();
    assert_eq!(resolve_variant(&next, "4b").plan.mix, "cooldown(n=2)");
}

#[test]
fn the_study_has_the_budgets_of_the_recipe() {
    let sweep = load("exp1.6").unwrap().sweep().cloned().unwrap();
    assert_eq!(sweep.budgets, [1e18, 3e18, 6e18, 1e19, 3e19, 6e19, 1e20]);
    assert_eq!(load("exp2.1").unwrap().sweep(), None);
}

#[test]
fn a_size_can_be_set_on_any_experiment() {
    let set = ["model.size=30m", "steps=3", "batch_size=2"].map(String::from);
    for name in names()
        .into_iter()
        .filter(|name| !["quickstart", "exp1.6"].contains(name))
    {
        let plan = load(name).unwrap().resolve(&[], &set).unwrap().plan;
        let tie_word_embeddings = plan.model.tie_word_embeddings;
        let expected = ModelConfig {
            tie_word_embeddings,
            ..ModelConfig::named("30m").unwrap().clone()
        };
        assert_eq!(
            (plan.model, plan.steps, plan.batch_size),
            (expected, 3, 2),
            "{name}"
        );
    }
}
