//! From an experiment, a variant of it and overrides, to a checked [`Plan`].

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::check;
use crate::computed::Computed;
use crate::document::{Document, Source, at_path, merge};
use crate::error::suggestion;
use crate::experiment::{Experiment, load};
use crate::variant::{Variant, named};
use crate::{Error, ModelConfig, Plan, Result, Start, Vocabulary};

/// Keys of an experiment's file that are none of its plan.
pub(crate) const FILE_KEYS: [&str; 9] = [
    "base",
    "what",
    "vocab",
    "tokens",
    "epochs",
    "epoch_tokens",
    "start",
    "sweep",
    "variants",
];
/// How long a run is: in steps, in tokens, or in epochs of a known number of tokens.
const LENGTHS: [&[&str]; 3] = [&["steps"], &["tokens"], &["epochs", "epoch_tokens"]];

/// A variant of an experiment, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What it is about, in a few words.
    pub what: String,
    /// Name of the model's size, if it is one of the recipe's.
    pub size: Option<String>,
    /// The vocabulary, if it is one of the recipe's.
    pub vocab: Option<Vocabulary>,
    /// What it begins with.
    pub start: Start,
    /// How often the data are seen, where the run's length is given so.
    pub epochs: Option<f64>,
    /// All the rest.
    pub plan: Plan,
}

/// The plan of an experiment's first variant, with `key=value` overrides applied.
///
/// # Errors
/// As [`Experiment::resolve`]; and runs that begin with a checkpoint, which a plan alone does not say.
pub fn resolve(name_or_path: &str, overrides: &[String]) -> Result<Plan> {
    let Resolved { start, plan, .. } = load(name_or_path)?.resolve(&[], overrides)?;
    let (run, step, program) = match start {
        Start::Scratch | Start::WarmStart { .. } => return Ok(plan),
        Start::Anneal { run, step } => (run, step, "anneal"),
        Start::FineTune { run, step } => (run, step, "finetune"),
    };
    Err(Error::Continues {
        name: plan.name,
        run,
        step,
        program,
    })
}

/// Keys of the file besides those of the plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileKeys {
    what: Option<String>,
    vocab: Option<Vocabulary>,
    pub tokens: Option<Spanned<f64>>,
    pub epochs: Option<Spanned<f64>>,
    pub epoch_tokens: Option<Spanned<f64>>,
    #[serde(default)]
    start: Start,
}

pub(crate) fn variant(
    experiment: &Experiment,
    variant: &Variant,
    overrides: &[String],
) -> Result<Resolved> {
    let set: Vec<_> = overrides.iter().map(|o| set(o)).collect::<Result<_>>()?;
    let document = Document::new(experiment.sources.iter().chain(&set));
    let own_file = document.own_file();
    // declared before the table, which borrows from it
    let computed;
    let mut table = chosen(&document, experiment, variant)?;

    let file = FILE_KEYS.iter().filter_map(|key| table.remove_entry(*key));
    let file: FileKeys = document.read(file.collect(), own_file)?;
    let size = size(&document, &table)?;
    computed = Computed::new(&document, &table, &file)?;
    computed.put(&mut table);

    let mut plan: Plan = document.read(table.clone(), own_file)?;
    let place = |key: &str| {
        let path = key.split(' ').next().unwrap_or_default();
        let at = at_path(&table, path).map_or(own_file, |value| value.span().start);
        document.place(at)
    };
    check(&plan, &place)?;
    mixes::Mixture::open(&plan.mix).map_err(|source| Error::Mixture {
        place: place("mix"),
        source: Box::new(source),
    })?;
    if let (None, Start::WarmStart { folder, .. }) = (&plan.init_from, &file.start) {
        plan.init_from = Some(folder.clone());
    }
    Ok(Resolved {
        what: file.what.unwrap_or_default(),
        size,
        vocab: file.vocab,
        start: file.start,
        epochs: file.epochs.map(Spanned::into_inner),
        plan,
    })
}

/// The tables of the sources, the variant's changes between files and overrides.
fn chosen<'d>(
    document: &'d Document,
    experiment: &Experiment,
    variant: &Variant,
) -> Result<DeTable<'d>> {
    let mut tables = document.tables()?;
    let overrides = tables.split_off(experiment.sources.len());
    let mut table = DeTable::new();
    for source in tables {
        lay(&mut table, source);
    }
    for key in ["base", "sweep"] {
        table.remove(key);
    }
    let variants = table.remove("variants").map(Spanned::into_inner);
    for (axis, value) in &variant.choices {
        let path = variants.as_ref().and_then(DeValue::as_table);
        let path = path.and_then(|variants| variants.get(axis.as_str())?.get_ref().as_table());
        let changes = path.and_then(|values| values.get(value.as_str())?.get_ref().as_table());
        lay(&mut table, changes.cloned().unwrap_or_default());
        if let Some(DeValue::String(name)) = table.get_mut("name").map(Spanned::get_mut) {
            name.to_mut().extend(["-", &named(axis, value)]);
        }
    }
    for given in overrides {
        lay(&mut table, given);
    }
    Ok(table)
}

/// The model's `size`, if it has one.
fn size(document: &Document, table: &DeTable<'_>) -> Result<Option<String>> {
    let Some(found) = at_path(table, "model.size") else {
        return Ok(None);
    };
    // what is no string is refused with the plan's other values
    let size = found.get_ref().as_str();
    match size.filter(|size| ModelConfig::named(size).is_none()) {
        Some(size) => {
            let known: Vec<_> = ModelConfig::sizes().collect();
            let hint = suggestion(size, &known);
            let message = format!("no model of size `{size}`; {hint}");
            Err(document.problem(found.span().start, &message))
        }
        None => Ok(size.map(String::from)),
    }
}

/// Lays `above` over `table`. A run has one length: one that is given replaces those below.
pub(crate) fn lay<'a>(table: &mut DeTable<'a>, above: DeTable<'a>) {
    let given = |group: &&[&str]| group.iter().any(|key| above.contains_key(*key));
    if let Some(given) = LENGTHS.iter().find(|group| given(group)) {
        for key in LENGTHS
            .iter()
            .filter(|group| *group != given)
            .copied()
            .flatten()
        {
            table.remove(*key);
        }
    }
    merge(table, above);
}

/// A `--set` as a source. A value that is not TOML is taken as a string.
fn set(given: &str) -> Result<Source> {
    let fail = |reason: &str| Error::Override {
        given: given.into(),
        reason: reason.into(),
    };
    let (key, value) = given.split_once('=').ok_or_else(|| fail("has no `=`"))?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || key.ends_with('.') {
        return Err(fail("names no key"));
    }
    let quoted = toml::Value::String(value.into()).to_string();
    let texts = [value, &quoted].map(|value| format!("{key} = {value}"));
    let text = texts.into_iter().find(|text| DeTable::parse(text).is_ok());
    Ok(Source {
        label: format!("--set {given}"),
        text: text.ok_or_else(|| fail(&format!("`{key}` is not a key")))?,
        lines: false,
    })
}

#[cfg(test)]
mod tests {
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
                "--set optimizer.lrr=1: unknown key `lrr`; did you mean `lr`?",
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
}
