//! `isoflop fit` and `isoflop plot` on tables of runs and a study's folder, good and bad.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use tests::{Run, bin, dir_bytes, fixture, run, run_ok};

/// A table in a new folder.
fn table(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs.csv");
    fs::write(&path, text).unwrap();
    (dir, path)
}

/// Runs of budgets with 6ND FLOPs and loss 2 + 0.05·ln(N/N*)² with N* = `best`(budget), with a little noise.
fn study(budgets: &[f64], sizes: i32, best: impl Fn(f64) -> f64) -> String {
    let mut text = String::from("name,budget,params,tokens,loss\n");
    for budget in budgets {
        for size in 0..sizes {
            let params = 1e6 * 2f64.powi(size);
            let noise = 1e-3 * (f64::from(size) * 7.0 + budget.ln()).sin();
            let loss = 2.0 + 0.05 * (params / best(*budget)).ln().powi(2) + noise;
            let tokens = budget / (6.0 * params);
            text += &format!("{budget:e}-{size},{budget:e},{params},{tokens},{loss}\n");
        }
    }
    text
}

fn fit(path: &Path) -> Value {
    let json = run_ok(
        bin("isoflop")
            .arg("fit")
            .arg(path)
            .args(["--json", "--resamples", "100"]),
    );
    serde_json::from_str(&json).unwrap()
}

fn refused(path: &Path) -> String {
    let run: Run = run(bin("isoflop").arg("fit").arg(path));
    assert_ne!(run.code, Some(0), "{}", run.stdout);
    run.stderr
}

#[test]
fn a_study_is_fitted_and_predicted() {
    let path = fixture("isoflop-fit/runs.csv");
    let predict = ["--predict-budget", "1e21", "--predict-size", "1e9"];
    let text = run_ok(
        bin("isoflop")
            .arg("fit")
            .arg(&path)
            .args(predict)
            .args(["--resamples", "100"]),
    );
    for part in [
        "IsoFLOP profiles",
        "N*(C) = ",
        "D*(C) = ",
        "β/(α+κβ)",
        "Agreement: the two approaches ",
        "acoustic-1",
        "C = 1e21, 3.33× outside",
        "N = 1.00B",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let json = run_ok(bin("isoflop").arg("fit").arg(&path).args(predict).args([
        "--json",
        "--resamples",
        "100",
    ]));
    let fit: Value = serde_json::from_str(&json).unwrap();
    let prediction = &fit["predicted_budgets"][0];
    let [laws, parametric] =
        ["laws", "parametric"].map(|by| prediction[by]["params"]["value"].as_f64().unwrap());
    assert!(
        (laws / parametric).ln().abs() < 0.5,
        "{laws:e} {parametric:e}"
    );
    for by in ["laws", "parametric"] {
        let params = &prediction[by]["params"];
        let [low, high] = ["low", "high"].map(|end| params["interval"][end].as_f64().unwrap());
        assert!(
            low < params["value"].as_f64().unwrap() && params["value"].as_f64().unwrap() < high,
            "{params}"
        );
    }
    // the best size of a budget is best for that budget
    let size = laws.to_string();
    let json = run_ok(bin("isoflop").arg("fit").arg(&path).args([
        "--predict-size",
        &size,
        "--json",
        "--resamples",
        "100",
    ]));
    let back: Value = serde_json::from_str(&json).unwrap();
    let budget = back["predicted_sizes"][0]["laws"]["budget"]["value"]
        .as_f64()
        .unwrap();
    assert!((budget / 1e21 - 1.0).abs() < 1e-6, "{budget:e}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (_dir, path) = table(&study(&[1e12, 1e13], 5, |budget| {
        (budget / 1e12).sqrt() * 4e6
    }));
    let output = |seed: &str, threads: &str| {
        let mut command = bin("isoflop");
        command
            .env("RAYON_NUM_THREADS", threads)
            .arg("fit")
            .arg(&path);
        run_ok(command.args(["--json", "--resamples", "60", "--seed", seed]))
    };
    let one = output("5", "1");
    assert_eq!(one, output("5", "4"));
    let [five, six] =
        [one, output("6", "2")].map(|json| serde_json::from_str::<Value>(&json).unwrap());
    assert_ne!(
        five["profiles"]["params_law"]["exponent"],
        six["profiles"]["params_law"]["exponent"]
    );
}

#[test]
fn figures_are_whole_and_the_same_every_time() {
    let dir = tempfile::tempdir().unwrap();
    let plot = |name: &str| {
        let out = dir.path().join(name);
        run_ok(
            bin("isoflop")
                .arg("plot")
                .arg(fixture("isoflop-fit/runs.csv"))
                .args(["--resamples", "60", "--out"])
                .arg(&out),
        );
        dir_bytes(&out)
    };
    let files = plot("one");
    let figures = ["isoflop-curves", "kinds", "power-laws", "residuals"];
    let mut expected: Vec<String> = figures
        .iter()
        .flat_map(|name| [format!("{name}.png"), format!("{name}.svg")])
        .collect();
    expected.push("index.html".into());
    expected.sort();
    assert_eq!(files.keys().cloned().collect::<Vec<_>>(), expected);
    for name in figures {
        let svg = String::from_utf8(files[&format!("{name}.svg")].clone()).unwrap();
        assert!(
            svg.starts_with("<svg width=") && svg.trim_end().ends_with("</svg>"),
            "{name}"
        );
        let png = &files[&format!("{name}.png")];
        assert!(
            png.starts_with(b"\x89PNG") && png.len() > 10_000,
            "{name}: {} bytes",
            png.len()
        );
    }
    let page = String::from_utf8(files["index.html"].clone()).unwrap();
    assert_eq!(page.matches("<svg ").count(), figures.len());
    // self-contained: nothing is loaded from anywhere
    for link in ["src=", "href=", "url(", "@import"] {
        assert!(!page.contains(link), "{link}");
    }
    assert_eq!(files, plot("two"));
}

#[test]
fn runs_without_a_loss_are_named() {
    let text = study(&[1e12, 1e13], 6, |budget| (budget / 1e12).sqrt() * 5e6);
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for (line, cell) in [(2, ""), (9, "NaN")] {
        let kept = lines[line].rsplit_once(',').unwrap().0.to_owned();
        lines[line] = format!("{kept},{cell}");
    }
    let (_dir, path) = table(&(lines.join("\n") + "\n"));
    let fit = fit(&path);
    let names: Vec<_> = fit["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left_out| &left_out["name"])
        .collect();
    assert_eq!(names, ["1e12-1", "1e13-2"]);
    assert_eq!(fit["profiles"]["budgets"][0]["runs"], 5);
    let text = run_ok(
        bin("isoflop")
            .arg("fit")
            .arg(&path)
            .args(["--resamples", "40"]),
    );
    assert!(
        text.contains("left out: 1e13-2: its loss is missing or not a number"),
        "{text}"
    );
}

#[test]
fn what_the_runs_do_not_suffice_for_is_said() {
    let steady = |budget: f64| (budget / 1e12).sqrt() * 5e6;
    for (text, parts) in [
        // one budget
        (
            study(&[1e12], 9, steady),
            vec!["a law takes the minima of 2 budgets", "with one budget"],
        ),
        // too few sizes
        (
            study(&[1e12, 1e13], 2, steady),
            vec!["2 of the 3 sizes", "takes 8 runs; there are 4"],
        ),
        // minima beyond the sizes
        (
            study(&[1e12, 1e13], 6, |_| 4e5),
            vec!["beyond the sizes, and the laws leave it out; run smaller models"],
        ),
        (study(&[1e12, 1e13], 6, |_| 3e8), vec!["run larger models"]),
        // at the edge
        (
            study(&[1e12, 1e13], 6, |_| 25e6),
            vec!["at the edge of the sizes; run larger models"],
        ),
        // three sizes: met exactly, so noise is unknown
        (
            study(&[1e12, 1e13], 3, |_| 2e6),
            vec!["meets its 3 sizes exactly", "no interval"],
        ),
    ] {
        let (_dir, path) = table(&text);
        let report = run_ok(
            bin("isoflop")
                .arg("fit")
                .arg(&path)
                .args(["--resamples", "40"]),
        );
        for part in parts {
            assert!(report.contains(part), "{part} is missing in\n{report}");
        }
    }
}

#[test]
fn a_parabola_that_opens_downward_has_no_minimum() {
    let mut text = String::from("budget,params,tokens,loss\n");
    for size in 1..7 {
        let loss = 3.0 - 0.1 * f64::from(size - 3).powi(2);
        text += &format!("1e12,{},{},{loss}\n", size * 1000, 6000 / size);
    }
    let (dir, path) = table(&text);
    let fit = fit(&path);
    assert_eq!(fit["profiles"]["budgets"][0]["shape"], "downward");
    assert_eq!(fit["profiles"]["budgets"][0]["minimum"], Value::Null);
    // the curves can still be looked at
    let out = dir.path().join("figures");
    let files = run_ok(bin("isoflop").arg("plot").arg(&path).arg("--out").arg(&out));
    assert!(
        files.contains("isoflop-curves.png") && !files.contains("power-laws"),
        "{files}"
    );
}

#[test]
fn bad_tables_are_refused_with_the_line() {
    let good = study(&[1e12], 5, |_| 5e6);
    for (text, part) in [
        (String::new(), "runs.csv has no runs"),
        (
            "budget,params,loss\n1,1,1\n".into(),
            "line 1: no column `tokens` among budget, params, loss",
        ),
        (
            good.replace("4000000", "-4000000"),
            "line 4: params is `-4000000`, and should be a positive number",
        ),
        (
            good.replace("4000000", "0"),
            "line 4: params is `0`, and should be a positive number",
        ),
        (
            good.replace("1e12-3,", "1e12-1,"),
            "line 5: `1e12-1` is already on line 3",
        ),
    ] {
        let (_dir, path) = table(&text);
        let message = refused(&path);
        assert!(message.contains(part), "{message}");
    }
    let nowhere = refused(Path::new("nowhere.csv"));
    assert!(nowhere.contains("cannot read nowhere.csv"), "{nowhere}");
    let (dir, path) = table(&good);
    let no_study = refused(dir.path());
    assert!(no_study.contains("index.json"), "{no_study}");
    for argument in [
        ["--predict-budget", "0"],
        ["--predict-size", "-1"],
        ["--predict-budget", "nan"],
        ["--resamples", "3"],
    ] {
        let run = run(bin("isoflop").arg("fit").arg(&path).arg(argument.join("=")));
        assert_eq!(run.code, Some(2), "{argument:?}: {}", run.stderr);
    }
    let lossless = good
        .lines()
        .map(|line| line.rsplit_once(',').unwrap().0.to_owned() + ",")
        .collect::<Vec<_>>();
    let (dir, path) = table(&lossless.join("\n").replace("tokens,", "tokens,loss"));
    assert!(fit(&path)["runs"].as_array().unwrap().is_empty());
    let run = run(bin("isoflop")
        .arg("plot")
        .arg(&path)
        .arg("--out")
        .arg(dir.path().join("figures")));
    assert!(run.stderr.contains("has a loss"), "{}", run.stderr);
}

#[test]
fn a_folder_of_runs_is_read_and_written_as_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let mut entries = Vec::new();
    for (number, (name, loss)) in [("a", "3.5"), ("b", "3.25"), ("c", "null")]
        .into_iter()
        .enumerate()
    {
        let params = 1000 << number;
        entries.push(format!(
            r#"{{"name":"{name}","budget":1e9,"hidden":8,"layers":1,"params":{params},"tokens":640,"steps":10,"batch":8,"lr":0.01,
            "flops":{{"forward":1e9,"training":3e9,"6nd":3e9}},"plan":"plans/{name}.toml","run":"runs/{name}"}}"#
        ));
        let run = dir.path().join("runs").join(name);
        fs::create_dir_all(&run).unwrap();
        let record = format!(
            r#"{{"kind":"validation","step":10,"tokens":640,"loss":{loss},"by_kind":{{"text":1.5,"acoustic-1":4.5}},"by_component":{{}},"secs":0.1}}"#
        );
        fs::write(run.join("metrics.jsonl"), record + "\n").unwrap();
    }
    let index = format!(
        r#"{{"convention":"training","vocab":64,"seq_len":8,"budgets":[1e9],"runs":[{}]}}"#,
        entries.join(",")
    );
    fs::write(dir.path().join("index.json"), index).unwrap();
    let csv = dir.path().join("runs.csv");
    let report = run_ok(
        bin("isoflop")
            .arg("fit")
            .arg(dir.path())
            .arg("--csv")
            .arg(&csv),
    );
    assert!(
        report.contains("2 runs with a loss, budgets in training FLOPs"),
        "{report}"
    );
    let expected = "name,budget,hidden,layers,params,tokens,loss,loss_text,loss_acoustic_1\n\
        a,1e9,8,1,1000,640,3.5,1.5,4.5\nb,1e9,8,1,2000,640,3.25,1.5,4.5\nc,1e9,8,1,4000,640,,1.5,4.5\n";
    assert_eq!(fs::read_to_string(&csv).unwrap(), expected);
    // the table is fitted alike
    assert_eq!(fit(&csv)["profiles"], fit(dir.path())["profiles"]);
}
