//! The report of a made-up run, which tests of other readers of metrics use too.

use super::*;
use crate::metrics::{
    Breakdown, ComponentRecord, RankTimes, RunRecord, StepTime, TrainRecord, Unigram,
    ValidationRecord,
};

const KINDS: [(&str, f64); 10] = [
    ("text", 3.1),
    ("marker", 0.4),
    ("semantic", 5.2),
    ("acoustic-1", 5.6),
    ("acoustic-2", 5.9),
    ("acoustic-3", 6.0),
    ("acoustic-4", 6.2),
    ("acoustic-5", 6.3),
    ("acoustic-6", 6.35),
    ("acoustic-7", 6.4),
];

fn by_kind(excess: f64) -> Breakdown {
    KINDS
        .iter()
        .map(|&(kind, floor)| (kind.to_string(), floor * (1.0 + excess)))
        .collect()
}

fn by_component(excess: f64) -> Breakdown {
    let floors = [("yodas2/en", 5.6), ("nemotron/hq", 3.0)];
    let loss = |(name, floor): (&str, f64)| (name.to_string(), floor * (1.0 + excess));
    floors.into_iter().map(loss).collect()
}

fn run_record(name: &str) -> Record {
    let component = |source: &str, view: &str, tokens| ComponentRecord {
        source: source.to_string(),
        view: view.to_string(),
        documents: tokens / 900,
        tokens,
        sequences: tokens / 1024,
        validation_documents: tokens / 45_000,
        validation_tokens: tokens / 50,
    };
    Record::Run(RunRecord {
        name: name.to_string(),
        parameters: 31_412_736,
        first_step: 0,
        steps: 600,
        batch: 8,
        seq_len: 1024,
        components: vec![
            component("yodas2/en", "both", 4_812_345),
            component("nemotron/hq", "text-first", 253_000),
        ],
        unigram: Unigram {
            loss: 6.91,
            by_kind: by_kind(0.24),
        },
    })
}

/// A run that learns, with noise, a gradient spike, and a validation every 50 steps.
pub(crate) fn records(name: &str) -> Vec<Record> {
    let mut records = vec![run_record(name)];
    for step in 1..=600u64 {
        let excess = 0.9 * (-(step as f64) / 90.0).exp() + 0.02;
        let noise = ((step * 7919) % 101) as f64 / 101.0 - 0.5;
        records.push(Record::Train(TrainRecord {
            step,
            tokens: step * 8192,
            lr: 3e-3
                * (step as f64 / 60.0)
                    .min(1.0)
                    .min((600 - step) as f64 / 120.0),
            loss: 5.5 * (1.0 + excess) + 0.3 * noise,
            objective: 6.6 * (1.0 + excess) + 0.3 * noise + 0.01,
            z_loss: 0.01,
            grad_norm: if step == 333 {
                40.0
            } else {
                0.6 + excess + 0.3 * noise
            },
            update_norm: 0.02 + 0.001 * noise,
            param_norm: 100.0 + step as f64 / 50.0,
            logit_rms: 1.5 + noise,
            skipped_steps: u64::from(step > 333) + u64::from(step > 500),
            by_kind: by_kind(excess),
            by_component: by_component(excess),
            time: StepTime {
                secs: if step % 100 == 0 { 2.46 } else { 0.41 },
                data_secs: 0.01,
                forward_secs: 0.13,
                backward_secs: 0.2,
                optimizer_secs: 0.06,
                checkpoint_secs: if step % 100 == 0 { 2.05 } else { 0.0 },
                tokens_per_sec: 19_900.0 + 900.0 * noise,
                mfu: Some(0.31 + 0.01 * noise),
                peak_memory: Some(1 << 30),
                ranks: Some(RankTimes {
                    ranks: 4,
                    busy_min_secs: 4.0,
                    busy_mean_secs: 4.1,
                    busy_max_secs: 4.3,
                    slowest: 2,
                    sent_bytes: 1 << 20,
                }),
            },
        }));
        if step % 50 == 0 {
            records.push(Record::Validation(ValidationRecord {
                step,
                tokens: step * 8192,
                loss: 5.5 * (1.03 + excess),
                by_kind: by_kind(excess + 0.03),
                by_component: by_component(excess + 0.03),
                secs: 1.5,
            }));
        }
    }
    records
}

fn run_dir(records: &[Record], config: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = records
        .iter()
        .map(|record| record.to_line().unwrap())
        .collect();
    std::fs::write(dir.path().join("metrics.jsonl"), lines).unwrap();
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    dir
}

fn report(records: &[Record], config: &str) -> String {
    let dir = run_dir(records, config);
    let path = write_report(dir.path()).unwrap();
    assert_eq!(path, dir.path().join("report.html"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_has_its_figures_tiles_and_tables() {
    let html = report(&records("quickstart"), "[model]\nhidden_size = 192\n");
    for title in [
        "Training and validation loss",
        "Objective and training loss",
        "Validation loss by token kind",
        "Validation loss by component",
        "Learning rate",
        "Gradient norm",
        "Update norm",
        "Parameter norm",
        "Logits",
        "Skipped steps",
        "Where the time goes",
        "Throughput",
        "Model FLOPs utilisation",
        "Memory",
    ] {
        assert!(
            html.contains(&format!("<svg role=\"img\" aria-label=\"{title}\"")),
            "{title}"
        );
    }
    for (kind, _) in KINDS {
        assert!(
            html.contains(&format!("{kind}</li>")),
            "{kind} in the legend"
        );
        assert!(
            html.contains(&format!("{kind}</td>")),
            "{kind} in the table"
        );
    }
    for part in [
        "quickstart</h1>",
        "31.4M parameters",
        "4.92M",
        "all planned steps",
        "yodas2/en",
        "5.07M",
        "1.96 %",
    ] {
        assert!(html.contains(part), "{part}");
    }
    let difference = "<td>5.781</td><td>6.910</td><td>−1.129</td><td>324</td>";
    assert!(html.contains(difference), "the row of all tokens");
    let component = "nemotron/hq</td><td>3.153</td><td>3.065</td><td>+0.089</td><td>23.42</td>";
    assert!(html.contains(component), "the row of a component");
    assert!(html.contains("2 of 600 steps were left out"));
    assert!(html.contains("<pre>[model]\nhidden_size = 192\n</pre>"));
}

#[test]
fn what_is_not_known_or_does_not_differ_has_no_figure() {
    let mut records = records("plain");
    for record in &mut records {
        match record {
            Record::Run(_) => {}
            Record::Train(train) => {
                train.objective = train.loss + train.z_loss;
                train.skipped_steps = 0;
                (train.time.mfu, train.time.peak_memory) = (None, None);
            }
            Record::Validation(validation) => {
                let one = [("yodas2/en".to_string(), validation.loss)];
                validation.by_component = one.into_iter().collect();
            }
        }
    }
    let html = report(&records, "");
    for absent in [
        "Objective and training loss",
        "Validation loss by component",
        "Loss by component, at the end",
        "Skipped steps",
        "steps were left out",
        "Model FLOPs utilisation",
        "Memory",
    ] {
        assert!(!html.contains(absent), "{absent}");
    }
    assert!(html.contains("Where the time goes") && html.contains("Throughput"));
}

#[test]
fn the_page_needs_nothing_from_outside() {
    let html = report(&records("quickstart"), "");
    let html = html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in [
        "http:", "https:", "<script", "<link", "<img", "url(", "@import",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.len() < 400_000, "{} bytes", html.len());
}

#[test]
fn names_and_configuration_are_escaped() {
    let mut records = records("<script>alert('x')</script>");
    if let Record::Run(run) = &mut records[0] {
        run.components[0].source = "<b>&".to_string();
    }
    let html = report(&records, "name = \"<i>\"\n");
    assert!(!html.contains("<script") && !html.contains("<b>"));
    assert!(html.contains("<h1>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;</h1>"));
    assert!(html.contains("&lt;b&gt;&amp;") && html.contains("name = &quot;&lt;i&gt;&quot;"));
}

#[test]
fn a_run_without_steps_is_an_error_that_says_so() {
    let message = |records: &[Record]| {
        write_report(run_dir(records, "").path())
            .unwrap_err()
            .to_string()
    };
    assert!(
        message(&[]).contains("metrics.jsonl has no run record"),
        "{}",
        message(&[])
    );
    let only_run = message(&[run_record("r")]);
    assert!(
        only_run.contains("has no train record") && only_run.contains("after its first step"),
        "{only_run}"
    );
}

#[test]
fn missing_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = write_report(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("metrics.jsonl") && message.contains("run directory"),
        "{message}"
    );
    let dir = run_dir(&records("r"), "");
    std::fs::remove_file(dir.path().join("config.toml")).unwrap();
    let message = write_report(dir.path()).unwrap_err().to_string();
    assert!(message.contains("config.toml"), "{message}");
    assert!(!dir.path().join("report.html").exists());
}

#[test]
fn a_run_in_progress_is_reported_up_to_its_last_whole_line() {
    let dir = run_dir(&records("r")[..31], "");
    let metrics = dir.path().join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&metrics).unwrap();
    text.push_str("{\"kind\":\"train\",\"step\":31,\"tok");
    std::fs::write(&metrics, text).unwrap();
    let html = std::fs::read_to_string(write_report(dir.path()).unwrap()).unwrap();
    assert!(html.contains("<strong>30</strong><small>of 600 planned</small>"));
    assert!(html.contains("has not been validated yet"));
    assert!(!html.contains("aria-label=\"Validation loss by token kind\""));
}

#[test]
fn a_diverged_run_is_reported_with_a_warning() {
    let mut records = records("r");
    for record in &mut records[500..] {
        if let Record::Train(train) = record {
            (train.loss, train.grad_norm) = (f64::NAN, f64::NAN);
        }
    }
    let html = report(&records, "");
    assert!(
        html.contains(
            "of 600 training records the loss or the gradient norm is not a finite number"
        )
    );
    assert!(!html.contains("NaN"));
}

#[test]
fn the_same_metrics_give_the_same_page() {
    assert_eq!(
        report(&records("r"), "a = 1\n"),
        report(&records("r"), "a = 1\n")
    );
}
