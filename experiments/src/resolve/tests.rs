//! What is resolved, and what is refused with which words.

use super::*;

fn strings(given: &[&str]) -> Vec<String> {
    given.iter().map(|s| s.to_string()).collect()
}

/// The error of a file with `text` in it.
fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let found = load(path).and_then(|experiment| experiment.resolve(&[], &[]));
    found.unwrap_err().to_string().replace(path, "my.toml")
}

#[test]
fn overrides_are_applied_and_typed() {
    let given = ["optimizer.lr=1", "steps=7", "name=mine"];
    let plan = resolve("quickstart", &strings(&given)).unwrap();
    assert_eq!(
        (plan.optimizer.lr, plan.steps, plan.name.as_str()),
        (1.0, 7, "mine")
    );
}

#[test]
fn errors_of_overrides_say_what_where_and_what_to_do() {
    for (given, expected) in [
        (
            "optimizer.lrr=1",
            "experiment quickstart.toml, --set optimizer.lrr=1: unknown key `lrr`; did you mean `lr`?",
        ),
        ("steps", "write it as --set"),
        ("=3", "names no key"),
        ("a b=3", "`a b` is not a key"),
        (
            "steps=many",
            "--set steps=many: invalid type: string \"many\"",
        ),
        ("steps.x=3", "--set steps.x=3: invalid type: map"),
        (
            "model.num_key_value_heads=3",
            "divisor of num_attention_heads",
        ),
        (
            "model.head_dim=5",
            "--set model.head_dim=5: model.head_dim is 5, but must be even",
        ),
        ("optimizer.lr=nan", "finite"),
        ("mix=quickstat", "--set mix=quickstat: there is no mixture"),
        ("schedule.decay=0.95", "at most the run's"),
        ("schedule.kind=cosin", "cosin"),
        (
            "model.max_position_embeddings=255",
            "max_position_embeddings",
        ),
        ("ema_decay=1", "in [0, 1)"),
        ("loss.weights.text=-1", "not negative"),
        ("tokens=0", "--set tokens=0: tokens is 0, but must be"),
        ("tokens=inf", "must be"),
        ("epochs=3", "length"),
        (
            "optimizer.lr=1*sqrt(widht)",
            "no parameter \"widht\"; known: batch, width",
        ),
        ("base=recipe", "unknown key `base`"),
    ] {
        let error = resolve("quickstart", &strings(&[given])).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{given}: {error}");
    }
}

#[test]
fn errors_of_files_name_their_line() {
    let head = "base = 'recipe'\nname = 'x'\nmix = 'yodas2'\nbatch_size = 8\n\
                tokens = 1e9\nmodel.size = '30m'\noptimizer.lr = 1\n";
    for (line, expected) in [
        (
            "tokenz = 3",
            "my.toml:8: unknown key `tokenz`; did you mean `tokens`?",
        ),
        ("steps = 3", "once"),
        ("vocab = 'marine'", "my.toml:8: unknown variant `marine`"),
        (
            "start = { kind = 'aneal' }",
            "my.toml:8: unknown variant `aneal`",
        ),
        (
            "sweep = { budget = [1] }",
            "my.toml:8: unknown key `budget`; did you mean `budgets`?",
        ),
        ("sweep = 3", "my.toml:8: sweep is a table"),
        ("what = 3\n", "my.toml:8: invalid type"),
        ("variants = 3", "my.toml:8: variants are tables"),
        ("x = ", "my.toml:8: "),
        (
            "checkpoint.every_steps = 0",
            "my.toml:8: checkpoint.every_steps is 0",
        ),
        (
            "variants.size.a.model.size = '31m'",
            "my.toml:8: no model of size `31m`; did you mean `30m`?",
        ),
        (
            "variants.mix.a.mix = 'yodas3'",
            "my.toml:8: there is no mixture",
        ),
    ] {
        let error = refused(&format!("{head}{line}"));
        assert!(error.contains(expected), "{line}: {error}");
    }
    assert!(refused("base = 3").contains("my.toml:1: `base` is not a string"));
    assert!(refused("base = 'recip'").contains("did you mean `recipe`?"));
    assert!(refused("base = 'my.toml'").contains("is based on it"));
    assert!(refused("name = 'x'").contains("my.toml:1: "));
}

#[test]
fn unknown_experiments_and_variants_name_the_nearest() {
    let error = |name: &str, selection: &[&str]| {
        let found = load(name).and_then(|e| e.resolve(&strings(selection), &[]));
        found.unwrap_err().to_string()
    };
    for (name, selection, expected) in [
        ("exp2.11", &[][..], "no experiment `exp2.11`; did you mean"),
        (
            "exp2.1",
            &["size=601m"],
            "no size `601m`; did you mean `600m`?",
        ),
        (
            "exp2.1",
            &["sice=600m"],
            "no choice of `sice`; did you mean `size`?",
        ),
        ("exp2.1", &["60m"], "no variant `60m`; did you mean `600m`?"),
        ("quickstart", &["60m"], "no variant `60m`; it has only one"),
        ("quickstart", &["size=60m"], "it has one variant"),
        (
            "data-mix",
            &["tokens=10b", "mix=mls-en"],
            "no variant with tokens=10b and mix=mls-en",
        ),
    ] {
        let error = error(name, selection);
        assert!(error.contains(expected), "{name} {selection:?}: {error}");
    }
}

#[test]
fn selections_and_overrides_make_a_plan() {
    let exp = load("exp2.1").unwrap();
    let selected = exp.resolve(&strings(&["size=600m"]), &[]).unwrap();
    assert_eq!(exp.resolve(&strings(&["600m"]), &[]).unwrap(), selected);
    assert_eq!(selected.plan.name, "exp2.1-600m");
    assert_eq!(selected.size.as_deref(), Some("600m"));

    let shorter = strings(&["batch_size=128", "tokens=1e9", "name=mine"]);
    let shorter = exp.resolve(&strings(&["600m"]), &shorter).unwrap().plan;
    assert_eq!((shorter.steps, shorter.name.as_str()), (1908, "mine"));
    assert_eq!(shorter.optimizer.lr, 0.003 * 0.5_f64.sqrt());

    let text = load("exp1.4").unwrap();
    let short = strings(&["size=150m", "text=2.5"]);
    let long = strings(&["text=text2.5", "size=150m"]);
    let resolved = |selection: &[String]| text.resolve(selection, &[]).unwrap();
    assert_eq!(resolved(&short), resolved(&long));
    assert_eq!(resolved(&short).plan.mix, "nemotron(r=.025)");
    assert_eq!(text.select(&strings(&["size=30m"])).unwrap().len(), 14);
}

#[test]
fn a_checkpoint_to_begin_with_is_never_forgotten() {
    let error = resolve("exp1.3", &[]).unwrap_err().to_string();
    assert!(
        error.contains("exp1.1-batch512") && error.contains("`anneal`"),
        "{error}"
    );
    let error = resolve("sft-cvss", &[]).unwrap_err().to_string();
    assert!(error.contains("`finetune`"), "{error}");
    let warm = resolve("exp2.2", &[]).unwrap();
    assert_eq!(warm.init_from.as_deref(), Some("models/qwen3x-1.7b"));
    let given = resolve("exp2.2", &strings(&["init_from=mine"])).unwrap();
    assert_eq!(given.init_from.as_deref(), Some("mine"));
}

#[test]
fn a_schedule_of_another_kind_replaces_the_one_below() {
    let given = [
        "schedule.kind=cosine",
        "schedule.warmup=0.1",
        "schedule.min_lr_ratio=0",
    ];
    let plan = resolve("quickstart", &strings(&given)).unwrap();
    let expected = crate::ScheduleConfig::Cosine {
        warmup: 0.1,
        min_lr_ratio: 0.0,
    };
    assert_eq!(plan.schedule, expected);
}
