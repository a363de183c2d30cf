//! `anneal`: a run taken up again from a checkpoint, on other data and with a falling learning rate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::{
    TrainJob, assert_same_bytes, bin, corpus, kill_at_random, metrics, repo_root, run, run_ok,
};

/// A mixture of one corpus in two views.
const TWO_VIEWS: &str = "name = 'two'\nvalidation_fraction = 0.1\nblock_size = 8\ncomponents = [\n\
    { name = 'quickstart', source = 'quickstart', view = 'both', weight = 1 },\n\
    { name = 'asr', source = 'quickstart', view = 'asr', weight = 3 } ]\n";

/// A run of 24 steps at a constant rate, and the anneals of it.
struct Annealing {
    job: TrainJob,
}

impl Annealing {
    fn new() -> Self {
        let job = TrainJob::new();
        let constant = "schedule={kind=\"constant\",warmup=2}";
        run_ok(job.train(&job.path("base")).args(["--set", constant]));
        fs::write(job.path("two.toml"), TWO_VIEWS).unwrap();
        Self { job }
    }

    fn from(&self, step: u64) -> PathBuf {
        self.job.path(&format!("base/checkpoints/step-{step}"))
    }

    fn anneal(&self, mix: &str, step: u64, out: &Path) -> Command {
        let mut command = bin("anneal");
        command
            .args(["--mix", mix])
            .arg("--from")
            .arg(self.from(step));
        command
            .arg("--data")
            .arg(self.job.data())
            .arg("--out")
            .arg(out);
        command
    }

    fn two_views(&self) -> String {
        self.job.path("two.toml").display().to_string()
    }
}

fn refused(command: &mut Command, expected: &[&str]) {
    let run = run(command);
    assert_ne!(run.code, Some(0), "{}", run.stdout);
    for text in expected {
        assert!(run.stderr.contains(text), "no {text:?} in {}", run.stderr);
    }
}

fn trained(run: &Path) -> Vec<Value> {
    let mut records = metrics(run);
    records.retain(|record| record["kind"] == "train");
    records
}

/// Weights, moments of two optimizers, moving average, memory of spikes and place in the data: all go on.
#[test]
fn an_anneal_that_changes_nothing_is_the_run_itself() {
    let annealing = Annealing::new();
    let out = annealing.job.path("same");
    let mut same = annealing.anneal("quickstart", 12, &out);
    same.args(["--steps", "12", "--weight-decay", "0.1"]);
    run_ok(same.args(["--set", "schedule={kind=\"constant\",warmup=0}"]));
    let of = |run: &Path| run.join("checkpoints/step-24");
    let base = annealing.job.path("base");
    for file in ["model", "optimizer", "ema"] {
        let name = format!("{file}.safetensors");
        let [found, expected] = [&out, &base].map(|run| fs::read(of(run).join(&name)).unwrap());
        assert!(found == expected, "{name} is not that of the run itself");
    }
    assert_eq!(trained(&out), trained(&base)[12..]);
    let state: Value =
        serde_json::from_slice(&fs::read(of(&out).join("state.json")).unwrap()).unwrap();
    assert_eq!(state["next_sequence"], 48);
    assert_eq!(state["tokens"], 48 * 64);
}

#[test]
fn the_rate_falls_in_a_straight_line_from_the_checkpoint_to_the_end() {
    let annealing = Annealing::new();
    let out = annealing.job.path("line");
    let mut anneal = annealing.anneal(&annealing.two_views(), 8, &out);
    // 1,280 tokens are 10 steps
    anneal.args([
        "--tokens",
        "1.28e3",
        "--lr",
        "2e-3",
        "--min-lr-ratio",
        "0.1",
    ]);
    run_ok(&mut anneal);
    let records = trained(&out);
    let steps: Vec<u64> = records
        .iter()
        .map(|r| r["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, (9..=18).collect::<Vec<_>>());
    for (done, record) in records.iter().enumerate() {
        let expected = 2e-3 * (1.0 - 0.9 * done as f64 / 10.0);
        let found = record["lr"].as_f64().unwrap();
        assert!(
            (found - expected).abs() < 1e-12,
            "{done}: {found}, not {expected}"
        );
        assert_eq!(record["tokens"], 128 * (9 + done as u64));
    }
    let exported = annealing.job.path("exported");
    let mut export = bin("convert");
    export.arg("hf-export").arg(out.join("checkpoints/step-18"));
    run_ok(export.arg("--out").arg(&exported));
    let card = fs::read_to_string(exported.join("README.md")).unwrap();
    assert!(card.contains("step 18 of 18, 2,304 tokens"), "{card}");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("weight_decay = 0.05"), "{config}");
    assert!(config.contains("step = 8"), "{config}");
    // validated at the checkpoint, on its weights, and at the end
    let all = metrics(&out);
    let validated = all.iter().filter(|record| record["kind"] == "validation");
    let validated: Vec<u64> = validated.map(|r| r["step"].as_u64().unwrap()).collect();
    assert_eq!(validated, [8, 12, 18]);
    assert_eq!(
        (&all[0]["first_step"], &all[0]["steps"]),
        (&8.into(), &18.into())
    );
}

#[test]
fn kills_change_nothing() {
    let annealing = Annealing::new();
    let command = |out: &Path| {
        let mut command = annealing.anneal(&annealing.two_views(), 8, out);
        command.args(["--steps", "16", "--interpolate", "--resume"]);
        command
    };
    let (undisturbed, out) = (
        annealing.job.path("undisturbed"),
        annealing.job.path("killed"),
    );
    run_ok(&mut command(&undisturbed));
    let kills = kill_at_random(|| command(&out), Duration::from_millis(400), 12, 7, || {});
    if !kills.finished {
        run_ok(&mut command(&out));
    }
    assert!(kills.killed >= 3, "{kills:?}");
    assert_eq!(metrics(&out), metrics(&undisturbed));
    let of = |run: &Path| run.join("checkpoints/step-24");
    assert_same_bytes(&of(&out), &of(&undisturbed));
}

#[test]
fn the_mixture_can_change_little_by_little() {
    let annealing = Annealing::new();
    let out = annealing.job.path("nowhere");
    let planned = |interpolate: bool| -> Value {
        let mut command = annealing.anneal(&annealing.two_views(), 16, &out);
        command.args(["--steps", "64", "--dry-run", "--json"]);
        command.args(interpolate.then_some("--interpolate"));
        serde_json::from_str(&run_ok(&mut command)).unwrap()
    };
    let sequences = |planned: &Value, component: &str| {
        let components = planned["mixture"]["components"].as_array().unwrap();
        let found = components.iter().find(|c| c["component"] == component);
        found.unwrap()["sequences"].as_u64().unwrap()
    };
    // 128 sequences: three quarters are of the new view, or, on the way there, half of that
    let at_once = planned(false);
    assert_eq!(
        (
            sequences(&at_once, "asr"),
            sequences(&at_once, "quickstart")
        ),
        (96, 32)
    );
    let slowly = planned(true);
    let asr = sequences(&slowly, "asr");
    assert!((40..=56).contains(&asr), "{asr} of 128");
    assert_eq!(asr + sequences(&slowly, "quickstart"), 128);
    assert_eq!(slowly["mixture"]["first_sequence"], 32);
    assert!(!out.exists());
}

#[test]
fn several_anneals_are_compared_with_the_run_itself() {
    let annealing = Annealing::new();
    let runs = annealing.job.path("runs");
    let two = annealing.two_views();
    let mut several = annealing.anneal("quickstart", 12, &runs);
    several.args(["--mix", &two, "--steps", "12", "--json"]);
    run_ok(&mut several);
    let names = ["quickstart-anneal-quickstart", "quickstart-anneal-two"];
    let folders = names.map(|name| runs.join(name));
    let page = fs::read_to_string(runs.join("anneals.html")).unwrap();
    assert!(names.iter().all(|name| page.contains(name)) && page.contains("continuation"));

    let mut compare = bin("anneal");
    compare.arg("compare").args(&folders).arg("--json");
    compare.arg("--out").arg(annealing.job.path("again.html"));
    let found: Value = serde_json::from_str(&run_ok(&mut compare)).unwrap();
    assert_eq!(found["components"], serde_json::json!(["quickstart"]));
    assert_eq!(found["step"], 12);
    let compared = found["runs"].as_array().unwrap();
    let base = annealing.job.path("base");
    for (compared, folder) in compared.iter().zip([&base, &folders[0], &folders[1]]) {
        let records = metrics(folder);
        let last = records
            .iter()
            .rfind(|record| record["kind"] == "validation")
            .unwrap();
        assert_eq!(compared["step"], 24);
        assert_eq!(compared["loss"], last["by_component"]["quickstart"]);
    }
    assert_eq!(compared[0]["is_continuation"], true);
    // all were the same weights at the checkpoint
    assert_eq!(compared[0]["before"], compared[1]["before"]);
    assert_eq!(compared[1]["before"], compared[2]["before"]);

    refused(
        bin("anneal").arg("compare").arg(&base),
        &["did not go on from a checkpoint", "runs of `anneal`"],
    );
}

#[test]
fn what_cannot_be_annealed_is_refused() {
    let annealing = Annealing::new();
    let out = annealing.job.path("refused");
    let missing = annealing.job.path("nothing/step-9");
    let mut nothing = bin("anneal");
    nothing
        .args(["--mix", "quickstart"])
        .arg("--from")
        .arg(&missing);
    refused(&mut nothing, &["nothing/step-9/state.json"]);
    refused(
        annealing.anneal("cooldwn", 12, &out).args(["--steps", "3"]),
        &["cooldwn", "cooldown"],
    );
    refused(
        annealing
            .anneal("quickstart", 12, &out)
            .args(["--n-weight", "2"]),
        &["quickstart", "parameter"],
    );
    // the rate of a finished run is 0
    let finished = annealing.job.path("finished");
    run_ok(&mut annealing.job.train(&finished));
    let mut late = bin("anneal");
    late.args(["--mix", "quickstart"])
        .arg("--from")
        .arg(finished.join("checkpoints/step-24"));
    late.arg("--data").arg(annealing.job.data());
    refused(&mut late, &["has come down to 0 at step 24", "--lr"]);
    // data of another vocabulary
    let (tokenizer, data) = (
        annealing.job.path("two-codebooks"),
        annealing.job.path("other"),
    );
    let two = ["--codebooks", "2"];
    let mut vocab = bin("tokenize");
    vocab
        .arg("vocab")
        .arg("--base")
        .arg(repo_root().join("tokenize/assets/tokenizer.json"));
    run_ok(vocab.arg("--out").arg(&tokenizer).args(two));
    let mut tokenize = bin("tokenize");
    tokenize
        .arg("folder")
        .arg(corpus())
        .args(["--codec", "mel-rvq"])
        .args(two);
    tokenize.arg("--tokenizer").arg(&tokenizer);
    run_ok(tokenize.arg("--out").arg(data.join("quickstart")));
    let coarse = annealing.job.path("coarse.toml");
    let component = "{ source = 'quickstart', view = 'both', codebooks = 2, weight = 1 }";
    let text = "name = 'coarse'\nvalidation_fraction = 0.1\ncomponents = [";
    fs::write(&coarse, format!("{text}{component}]\n")).unwrap();
    let mut other = bin("anneal");
    other
        .arg("--mix")
        .arg(&coarse)
        .arg("--from")
        .arg(annealing.from(12));
    other
        .args(["--steps", "3"])
        .arg("--data")
        .arg(&data)
        .arg("--out")
        .arg(&out);
    refused(
        &mut other,
        &["belong to the tokenizer", "would mean another token"],
    );
    // a checkpoint that changed after the plan was made
    let steps = ["--steps", "3"];
    run_ok(annealing.anneal("quickstart", 12, &out).args(steps));
    let state = annealing.from(12).join("state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replacen("\"step\": 12", "\"step\":  12", 1)).unwrap();
    refused(
        annealing
            .anneal("quickstart", 12, &out)
            .args(steps)
            .arg("--resume"),
        &["anneal.sha256", "was made with other settings"],
    );
    // experiments that anneal nothing
    refused(bin("anneal").arg("exp2.1"), &["exp2.1", "`pretrain`"]);
    refused(
        bin("anneal").args(["exp1.3", "--mix", "mls"]),
        &["mls", "mls-en"],
    );
    refused(bin("pretrain").arg("exp1.3"), &["goes on from", "`anneal`"]);
}

/// The recipe's anneals run from any checkpoint, with its shape.
#[test]
fn experiments_that_anneal_take_any_checkpoint() {
    let annealing = Annealing::new();
    let plan = |arguments: &[&str]| -> Value {
        let mut command = bin("anneal");
        command
            .args(arguments)
            .args(["--dry-run", "--json", "--data", "/nowhere"]);
        serde_json::from_str(&run_ok(&mut command)).unwrap()
    };
    let recipe = plan(&["exp1.3", "--mix", "mls-en"]);
    assert_eq!(recipe["plan"]["model"]["num_hidden_layers"], 28);
    assert_eq!(recipe["plan"]["anneal"], Value::Null);
    let from = annealing.from(12);
    let mine = plan(&[
        "exp1.3",
        "--mix",
        "mix3-v1",
        "--from",
        from.to_str().unwrap(),
    ]);
    let found = &mine["plan"];
    assert_eq!(found["model"]["num_hidden_layers"], 2);
    assert_eq!(
        (&found["anneal"]["step"], &found["steps"]),
        (&12.into(), &50_000.into())
    );
    assert_eq!(found["optimizer"]["lr"], 0.003 * 2f64.sqrt());
}
