//! A study's folder as runs: sizes from its index, losses from the metrics of its runs.

use std::path::Path;

use pretrain::metrics::{Record, ValidationRecord};

use super::{Observation, ObservationError, Observations};
use crate::study::index::{Entry, Index};

/// Reads a study's folder; see [`Observations::read`].
pub fn read(dir: &Path) -> Result<Observations, ObservationError> {
    let index = Index::read(dir)?;
    if index.runs.is_empty() {
        return Err(ObservationError::Empty { path: dir.into() });
    }
    let mut outcomes = Vec::new();
    for entry in &index.runs {
        outcomes.push((entry, Outcome::read(dir, entry)?));
    }
    let mut observations = Observations {
        source: dir.into(),
        convention: Some(index.convention),
        kinds: kinds(outcomes.iter().map(|(_, outcome)| outcome)),
        runs: Vec::new(),
        left_out: Vec::new(),
        unused_columns: Vec::new(),
    };
    for (entry, outcome) in outcomes {
        let mut run = Observation {
            name: entry.name.clone(),
            budget: entry.budget,
            hidden: Some(entry.hidden as u64),
            layers: Some(entry.layers as u64),
            params: entry.params as f64,
            tokens: entry.tokens as f64,
            loss: f64::NAN,
            by_kind: vec![None; observations.kinds.len()],
        };
        match outcome {
            Outcome::Finished(validation) => {
                let loss = |kind: &String| validation.by_kind.get(kind);
                run.by_kind = observations.kinds.iter().map(loss).collect();
                run.loss = validation.loss;
                observations.add(run);
            }
            Outcome::Unfinished(reason) => observations.leave_out(run, reason),
        }
    }
    Ok(observations)
}

/// What came of a run.
enum Outcome {
    /// The validation after its last step.
    Finished(ValidationRecord),
    /// Why there is none.
    Unfinished(String),
}

impl Outcome {
    fn read(dir: &Path, entry: &Entry) -> Result<Self, ObservationError> {
        let metrics = dir.join(&entry.run).join("metrics.jsonl");
        if !metrics.exists() {
            return Ok(Self::Unfinished("it has not been run".into()));
        }
        let records = Record::read_all(&metrics)?;
        let validations = records.into_iter().filter_map(|record| match record {
            Record::Validation(validation) => Some(validation),
            _ => None,
        });
        // a run that was resumed before its last checkpoint has some steps twice
        let last = validations.max_by_key(|validation| validation.step);
        Ok(match last {
            Some(last) if last.step >= entry.steps => Self::Finished(last),
            Some(last) => Self::Unfinished(format!(
                "its last validation is after step {} of {}",
                last.step, entry.steps
            )),
            None => Self::Unfinished("it has not been validated".into()),
        })
    }
}

/// All kinds that occur, in the order of the run that has most.
fn kinds<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> Vec<String> {
    let mut kinds: Vec<Vec<String>> = Vec::new();
    for outcome in outcomes {
        if let Outcome::Finished(validation) = outcome {
            let of_run = validation.by_kind.iter().map(|(kind, _)| kind.to_owned());
            kinds.push(of_run.collect());
        }
    }
    kinds.sort_by_key(|kinds| std::cmp::Reverse(kinds.len()));
    let mut all: Vec<String> = Vec::new();
    for kind in kinds.into_iter().flatten() {
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const INDEX: &str =
        r#"{"convention":"forward","vocab":64,"seq_len":8,"budgets":[1e9],"runs":[RUNS]}"#;

    fn entry(name: &str, params: u64) -> String {
        format!(
            r#"{{"name":"{name}","budget":1e9,"hidden":8,"layers":1,"params":{params},"tokens":640,"steps":10,"batch":8,
            "lr":0.01,"flops":{{"forward":1e9,"training":3e9,"6nd":3e9}},"plan":"plans/{name}.toml","run":"runs/{name}"}}"#
        )
    }

    fn validation(step: u64, loss: &str) -> String {
        format!(
            r#"{{"kind":"validation","step":{step},"tokens":640,"loss":{loss},"by_kind":{{"text":1.5,"acoustic-1":4.5}},"by_component":{{}},"secs":0.1}}"#
        )
    }

    #[test]
    fn losses_are_those_after_the_last_step() {
        let dir = tempfile::tempdir().unwrap();
        let runs = [
            ("done", 3),
            ("resumed", 2),
            ("cut", 4),
            ("none", 5),
            ("new", 6),
            ("diverged", 7),
        ];
        let entries: Vec<_> = runs
            .iter()
            .map(|(name, params)| entry(name, *params))
            .collect();
        fs::write(
            dir.path().join("index.json"),
            INDEX.replace("RUNS", &entries.join(",")),
        )
        .unwrap();
        let metrics = |name: &str, lines: &[String]| {
            let run = dir.path().join("runs").join(name);
            fs::create_dir_all(&run).unwrap();
            fs::write(run.join("metrics.jsonl"), lines.join("\n") + "\n").unwrap();
        };
        metrics("done", &[validation(5, "4.0"), validation(10, "3.0")]);
        metrics(
            "resumed",
            &[
                validation(10, "9.0"),
                validation(5, "4.0"),
                validation(10, "2.0"),
            ],
        );
        metrics("cut", &[validation(5, "4.0")]);
        metrics("diverged", &[validation(10, "null")]);
        fs::create_dir_all(dir.path().join("runs/none")).unwrap();
        fs::write(dir.path().join("runs/none/metrics.jsonl"), "").unwrap();

        let observations = Observations::read(dir.path()).unwrap();
        let found: Vec<_> = observations
            .runs
            .iter()
            .map(|run| (run.name.as_str(), run.loss))
            .collect();
        assert_eq!(found, [("resumed", 2.0), ("done", 3.0)]);
        assert_eq!(observations.kinds, ["text", "acoustic-1"]);
        assert_eq!(observations.runs[0].by_kind, [Some(1.5), Some(4.5)]);
        let left_out: Vec<_> = observations
            .left_out
            .iter()
            .map(|l| (l.run.name.as_str(), l.reason.as_str()))
            .collect();
        assert_eq!(
            left_out,
            [
                ("cut", "its last validation is after step 5 of 10"),
                ("none", "it has not been validated"),
                ("new", "it has not been run"),
                ("diverged", "its loss is missing or not a number"),
            ]
        );
        let header = "name,budget,hidden,layers,params,tokens,loss,loss_text,loss_acoustic_1\n";
        assert!(
            observations
                .to_csv()
                .starts_with(&format!("{header}resumed,1e9,8,1,2,640,2,1.5,4.5\n"))
        );
    }
}
