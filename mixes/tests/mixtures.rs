//! The mixtures that Timbre brings, against fixtures of `scripts/make_mix_fixtures.py`, and how mixtures are opened.

use mixes::*;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Both compute in doubles, in orders of their own.
const TOLERANCE: f64 = 1e-12;
const SEQ_LEN: usize = 4096;

#[derive(Deserialize)]
struct Fixture {
    block_size: u64,
    mixes: BTreeMap<String, Golden>,
    staged: Vec<Staged>,
}

#[derive(Deserialize)]
struct Golden {
    permutation: PermutationKind,
    packing: Packing,
    validation_fraction: f64,
    components: Vec<GoldenComponent>,
}

#[derive(Deserialize)]
struct GoldenComponent {
    name: String,
    sources: Vec<String>,
    view: View,
    codebooks: usize,
    weight: f64,
    count: u64,
}

#[derive(Deserialize)]
struct Staged {
    mix: String,
    seq_len: usize,
    components: Vec<String>,
    counts: Vec<Vec<u64>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/mixes.json")).unwrap()
}

/// `cooldown` of `cooldown(n=1)`.
fn base(call: &str) -> &str {
    call.split('(').next().unwrap()
}

#[test]
fn every_mix_has_the_papers_components_weights_and_counts() {
    let Fixture {
        block_size, mixes, ..
    } = fixture();
    for (call, golden) in mixes {
        let mixture = Mixture::open(&call).unwrap();
        assert_eq!(mixture.name, call);
        assert_eq!(mixture.permutation, golden.permutation, "{call}");
        assert_eq!(mixture.packing, golden.packing, "{call}");
        assert_eq!(
            mixture.validation_fraction, golden.validation_fraction,
            "{call}"
        );
        assert_eq!(
            (mixture.stop, mixture.block_size),
            (StopStrategy::Restart, block_size)
        );
        let expected: Vec<_> = golden
            .components
            .iter()
            .map(|c| Component {
                name: c.name.clone(),
                sources: c.sources.clone(),
                view: c.view,
                codebooks: c.codebooks,
            })
            .collect();
        assert_eq!(mixture.components, expected, "{call}");
        let [stage] = mixture.stages.as_slice() else {
            panic!("{call} has stages")
        };
        assert_eq!((stage.start, &stage.until), (Start::Sequences(0), &None));
        for (weight, golden) in stage.weights.iter().zip(&golden.components) {
            let (name, expected) = (&golden.name, golden.weight);
            assert!(
                (weight - expected).abs() < TOLERANCE,
                "{call}, {name}: {weight}, {expected}"
            );
        }
        let counts: Vec<_> = golden.components.iter().map(|c| c.count).collect();
        let schedule = Schedule::new(&mixture, SEQ_LEN, 0).unwrap();
        assert_eq!(schedule.counts(0), counts, "{call}");
    }
}

#[test]
fn stages_have_the_counts_of_the_fixture_in_every_block() {
    for Staged {
        mix,
        seq_len,
        components,
        counts,
    } in fixture().staged
    {
        let mixture = Mixture::open(&mix).unwrap();
        let names: Vec<_> = mixture.components.iter().map(|c| c.name.clone()).collect();
        assert_eq!(names, components);
        let schedule = Schedule::new(&mixture, seq_len, 0).unwrap();
        for (block, expected) in counts.iter().enumerate() {
            assert_eq!(
                schedule.counts(block as u64),
                expected,
                "{mix}, block {block}"
            );
        }
        assert_eq!(schedule.counts(u64::MAX / 4096), counts.last().unwrap());
    }
}

#[test]
fn every_file_is_built_in_has_a_golden_test_and_is_called_what_it_is() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let stems: BTreeSet<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_string())
        .filter(|stem| stem != "Cargo")
        .collect();
    let names: BTreeSet<_> = Mixture::names().into_iter().map(String::from).collect();
    assert_eq!(stems, names);
    let Fixture { mixes, staged, .. } = fixture();
    let calls = mixes.keys().chain(staged.iter().map(|staged| &staged.mix));
    let tested: BTreeSet<_> = calls.map(|call| base(call).to_string()).collect();
    assert_eq!(names, tested);
    for call in mixes.keys() {
        let path = folder.join(format!("{}.toml", base(call)));
        let arguments = &call[base(call).len()..];
        let by_path = Mixture::open(&format!("{}{arguments}", path.display())).unwrap();
        assert_eq!(by_path, Mixture::open(call).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines().count() <= 40 && text.starts_with("# "),
            "{call}"
        );
        assert!(text.contains(&format!("name = \"{}\"\n", base(call))));
    }
}

#[test]
fn a_million_sequences_of_every_mix_have_exactly_the_proportions_of_its_blocks() {
    const SEQUENCES: u64 = 1_000_000;
    let Fixture { mixes, staged, .. } = fixture();
    let calls = mixes.keys().chain(staged.iter().map(|staged| &staged.mix));
    for call in calls {
        let mixture = Mixture::open(call).unwrap();
        let schedule = Schedule::new(&mixture, SEQ_LEN, 11).unwrap();
        let block_size = mixture.block_size;
        let mut total = vec![0; mixture.components.len()];
        let mut block = total.clone();
        for index in 0..SEQUENCES {
            block[schedule.locate(index).0] += 1;
            if (index + 1) % block_size == 0 {
                assert_eq!(block, schedule.counts(index / block_size), "{call}");
                total
                    .iter_mut()
                    .zip(&mut block)
                    .for_each(|(t, b)| *t += std::mem::take(b));
            }
        }
        let whole = SEQUENCES / block_size;
        if mixture.stages.len() == 1 {
            let expected: Vec<_> = schedule
                .counts(0)
                .iter()
                .map(|count| count * whole)
                .collect();
            assert_eq!(total, expected, "{call}");
        }
        assert_eq!(schedule.consumed(whole * block_size), total, "{call}");
        total.iter_mut().zip(&block).for_each(|(t, b)| *t += b);
        assert_eq!(schedule.consumed(SEQUENCES), total, "{call}");
    }
}

#[test]
fn arguments_by_place_and_by_name_mean_the_same() {
    let open = |call: &str| Mixture::open(call).unwrap();
    assert_eq!(open("cooldown"), open("cooldown(n=1)"));
    assert_eq!(open("cooldown()"), open("cooldown( 1.0 )"));
    assert_eq!(open("cooldown(8/4)"), open("cooldown(n = 2)"));
    assert_ne!(open("cooldown(2)"), open("cooldown"));
    let staged = open("pretrain-to-cooldown(4096e4, n=2)");
    assert_eq!(
        staged.name,
        "pretrain-to-cooldown(total_tokens=40960000, decay=0.2, n=2)"
    );
    let starts: Vec<_> = staged.stages.iter().map(|stage| stage.start).collect();
    let expected = [0, 32_768_000, 40_960_000].map(Start::Tokens);
    assert_eq!(starts, expected);
    assert!(staged.stages[0].until.is_none());
    assert_eq!(
        staged.stages[1].until.as_ref(),
        Some(&staged.stages[2].weights)
    );
}

#[test]
fn a_share_of_zero_leaves_a_component_out() {
    let names = |call: &str| -> Vec<String> {
        let mixture = Mixture::open(call).unwrap();
        mixture.components.into_iter().map(|c| c.name).collect()
    };
    assert_eq!(names("nemotron(0)"), ["yodas2-en"]);
    assert_eq!(names("nemotron(1)"), ["nemotron-hq_actual"]);
    assert_eq!(names("nemotron(.3 - .2 - .1 + 1)"), ["nemotron-hq_actual"]);
    assert_eq!(names("nemotron(.025)"), ["yodas2-en", "nemotron-hq_actual"]);
}

#[test]
fn mixes_of_mixes_and_of_files_beside_them() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let text = format!("name = \"{name}\"\nvalidation_fraction = 0\n{text}");
        fs::write(folder.path().join(name), text).unwrap();
    };
    write(
        "inner.toml",
        "parameters = { a = 1, b = \"required\" }\ncomponents = [\n\
         { source = \"x\", view = \"tts\", weight = \"a\" },\n{ source = \"y\", view = \"both\", weight = \"b\" }]",
    );
    // x as tts is both named and brought; x as asr has the same name as another component that is brought.
    write(
        "outer.toml",
        "parameters = { k = 3 }\nblock_size = 100\nstop = \"first_exhausted\"\ncomponents = [\n\
         { mix = \"inner.toml(b=k)\", weight = \".8\" },\n{ mix = \"other.toml\", weight = \".1\" },\n\
         { name = \"mine\", source = \"x\", view = \"tts\", weight = 0.1 }]",
    );
    write(
        "other.toml",
        "[[components]]\nsource = \"y\"\nview = \"asr\"\nweight = 7",
    );
    let path = folder.path().join("outer.toml").display().to_string();
    let mixture = Mixture::open(&format!("{path}(4)")).unwrap();
    let components: Vec<_> = mixture
        .components
        .iter()
        .map(|c| (c.name.as_str(), c.view))
        .collect();
    let expected = [("mine", View::Tts), ("y", View::Both), ("y-asr", View::Asr)];
    assert_eq!(components, expected);
    let expected = [0.8 / 5.0 + 0.1, 0.8 * 4.0 / 5.0, 0.1];
    for (weight, expected) in mixture.stages[0].weights.iter().zip(expected) {
        assert!(
            (weight - expected).abs() < TOLERANCE,
            "{weight}, {expected}"
        );
    }
    assert_eq!(
        (mixture.block_size, mixture.stop),
        (100, StopStrategy::FirstExhausted)
    );
}

#[test]
fn stages_weigh_components_and_mixes_by_name() {
    let text = "name = \"a\"\nvalidation_fraction = 0.5\nblock_size = 8\n\
        components = [\n{ source = \"x\", view = \"text\" },\n{ name = \"p\", mix = \"nemotron(1/2)\" },\n\
        { name = \"s\", source = [\"u\", \"v\"], view = \"semantic\" }]\n\
        [[stages]]\nstart_sequences = 0\nweights = { x = 1, p = 1 }\n\
        [[stages]]\nstart_sequences = 16\nweights = { x = 3, s = 1 }\n\
        [[stages]]\nstart_sequences = 24\nmix = \"yodas2-en\"\n";
    let mixture = Mixture::parse(text, "a.toml").unwrap();
    let names: Vec<_> = mixture.components.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["x", "yodas2-en", "nemotron-hq_actual", "s"]);
    let semantic = &mixture.components[3];
    assert_eq!(
        (semantic.codebooks, semantic.sources.concat()),
        (1, "uv".into())
    );
    let weights: Vec<_> = mixture
        .stages
        .iter()
        .map(|stage| stage.weights.clone())
        .collect();
    let expected = [
        vec![0.5, 0.25, 0.25, 0.0],
        vec![0.75, 0.0, 0.0, 0.25],
        vec![0.0, 1.0, 0.0, 0.0],
    ];
    assert_eq!(weights, expected);
    let schedule = Schedule::new(&mixture, SEQ_LEN, 0).unwrap();
    assert_eq!(schedule.counts(1), [4, 2, 2, 0]);
    assert_eq!(schedule.counts(2), [6, 0, 0, 2]);
    assert_eq!(schedule.consumed(32), [14, 12, 4, 2]);
}
