//! `metrics.jsonl`: what a run records, one JSON object a line, in the order in which it happened.
//!
//! The trainer appends lines; reports and tests read them. A run that was interrupted and resumed has the same
//! lines as one that was not, except for `time` and `secs`.
//! JSON has no NaN, so a value that is not finite is written as `null` and reads as NaN.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::path::{Path, PathBuf};

/// Why a metrics file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The file is missing or unreadable.
    #[error("cannot read {path}: {source}; is this a run directory?")]
    Read {
        /// The metrics file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A complete line is not a record.
    #[error(
        "{path}, line {line}: {source}; every line must be one JSON record: remove or repair this line"
    )]
    Line {
        /// The metrics file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// One line of `metrics.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// What is trained on what; the first line of a run.
    Run(RunRecord),
    /// A training step.
    Train(TrainRecord),
    /// A pass over the validation sequences.
    Validation(ValidationRecord),
}

/// The plan of a run, its data, and the baseline that it must beat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Name of the run.
    pub name: String,
    /// Trained parameters, a tied head counted once.
    pub parameters: u64,
    /// Steps before the first: those of the checkpoint that is annealed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_step: u64,
    /// The step after which the run ends.
    pub steps: u64,
    /// Sequences a step.
    pub batch: u64,
    /// Tokens a sequence.
    pub seq_len: u64,
    /// The parts of the mixture, in its order.
    pub components: Vec<ComponentRecord>,
    /// Validation loss of predicting every token by its training frequency.
    pub unigram: Unigram,
}

/// One component of the mixture: what it holds, of which the validation part is never trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentRecord {
    /// Source, such as `yodas2/en`.
    pub source: String,
    /// View of its documents, such as `text-first`.
    pub view: String,
    /// Training documents.
    pub documents: u64,
    /// Training tokens in one epoch.
    pub tokens: u64,
    /// Packed training sequences in one epoch.
    pub sequences: u64,
    /// Documents held out.
    pub validation_documents: u64,
    /// Tokens held out.
    pub validation_tokens: u64,
}

/// Losses of the unigram baseline on the validation sequences, in nats a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unigram {
    /// Over all tokens.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// By token kind.
    pub by_kind: Breakdown,
}

/// What one training step came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainRecord {
    /// Steps finished, the one of this record included.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Learning rate of the step.
    #[serde(deserialize_with = "number_or_null")]
    pub lr: f64,
    /// Cross-entropy, in nats a token, whatever the tokens weigh in the objective.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// What is minimised: the cross-entropy weighted by kind of token, and the z-loss.
    #[serde(deserialize_with = "number_or_null")]
    pub objective: f64,
    /// Part of the objective that is z-loss.
    #[serde(deserialize_with = "number_or_null")]
    pub z_loss: f64,
    /// Global norm of the gradients before clipping.
    #[serde(deserialize_with = "number_or_null")]
    pub grad_norm: f64,
    /// Global norm of what the step added to the parameters.
    #[serde(deserialize_with = "number_or_null")]
    pub update_norm: f64,
    /// Global norm of the parameters after the step.
    #[serde(deserialize_with = "number_or_null")]
    pub param_norm: f64,
    /// Root mean square of the logits.
    #[serde(deserialize_with = "number_or_null")]
    pub logit_rms: f64,
    /// Steps left out so far, this one included, for spikes of loss or gradient norm.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped_steps: u64,
    /// Cross-entropy by token kind, in nats a token.
    pub by_kind: Breakdown,
    /// Cross-entropy by component of the mixture, in nats a token.
    pub by_component: Breakdown,
    /// Everything that depends on the clock and the machine.
    pub time: StepTime,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where the time between two training records went, validation left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepTime {
    /// Seconds since the previous training record.
    #[serde(deserialize_with = "number_or_null")]
    pub secs: f64,
    /// Of those, waiting for sequences and uploading them.
    pub data_secs: f64,
    /// Forward passes.
    pub forward_secs: f64,
    /// Backward passes.
    pub backward_secs: f64,
    /// Clipping, update and moving average.
    pub optimizer_secs: f64,
    /// Copying the state for a checkpoint, and waiting for one that is still being written.
    pub checkpoint_secs: f64,
    /// Tokens trained on a second over `secs`.
    #[serde(deserialize_with = "number_or_null")]
    pub tokens_per_sec: f64,
    /// Model FLOPs a second over the machine's peak; none if the peak is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Largest resident memory of the process so far, in bytes; none where the system does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// Of several processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankTimes>,
}

/// How several processes shared the time between two training records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RankTimes {
    /// How many there are.
    pub ranks: usize,
    /// Least seconds that a process was busy, not waiting for others.
    pub busy_min_secs: f64,
    /// Mean of them.
    pub busy_mean_secs: f64,
    /// Most.
    pub busy_max_secs: f64,
    /// Which process that was.
    pub slowest: usize,
    /// Bytes of gradients and parameters that a process sends in a step.
    pub sent_bytes: u64,
}

/// Losses on the validation sequences, of the moving average of the weights where there is one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRecord {
    /// Steps finished before the pass.
    pub step: u64,
    /// Tokens trained on before the pass.
    pub tokens: u64,
    /// Cross-entropy, in nats a token.
    #[serde(deserialize_with = "number_or_null")]
    pub loss: f64,
    /// Cross-entropy by token kind, in nats a token.
    pub by_kind: Breakdown,
    /// Cross-entropy by component of the mixture, in nats a token.
    pub by_component: Breakdown,
    /// Seconds the pass took.
    #[serde(deserialize_with = "number_or_null")]
    pub secs: f64,
}

impl Record {
    /// The record as a line of the file, newline included.
    pub fn to_line(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// All records of a metrics file, in order.
    ///
    /// A last line without its newline is what a killed run leaves behind; it is left out when it does not parse.
    pub fn read_all(path: &Path) -> Result<Vec<Record>, MetricsError> {
        let bytes = std::fs::read(path).map_err(|source| MetricsError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut records = Vec::new();
        for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            match serde_json::from_slice(line) {
                Ok(record) => records.push(record),
                Err(_) if !line.ends_with(b"\n") => {}
                Err(source) => {
                    return Err(MetricsError::Line {
                        path: path.to_owned(),
                        line: index + 1,
                        source,
                    });
                }
            }
        }
        Ok(records)
    }
}

/// A value for each kind of token that occurred, in the order of the vocabulary (`text`, `marker`, `semantic`, `acoustic-1`, …), or
/// for each component of the mixture, in its order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Breakdown(Vec<(String, f64)>);

impl Breakdown {
    /// The value of a kind; none where no such token occurred.
    pub fn get(&self, kind: &str) -> Option<f64> {
        self.iter()
            .find(|&(name, _)| name == kind)
            .map(|(_, value)| value)
    }

    /// Kinds and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0.iter().map(|(kind, value)| (kind.as_str(), *value))
    }
}

impl FromIterator<(String, f64)> for Breakdown {
    fn from_iter<I: IntoIterator<Item = (String, f64)>>(values: I) -> Self {
        Breakdown(values.into_iter().collect())
    }
}

impl Serialize for Breakdown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Breakdown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(BreakdownVisitor)
    }
}

/// Keeps the file's order, and drops kinds whose value is `null`: no such token occurred.
struct BreakdownVisitor;

impl<'de> Visitor<'de> for BreakdownVisitor {
    type Value = Breakdown;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a map from token kind to number")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Breakdown, A::Error> {
        let mut values = Vec::new();
        while let Some((kind, value)) = map.next_entry::<String, Option<f64>>()? {
            values.extend(value.map(|value| (kind, value)));
        }
        Ok(Breakdown(values))
    }
}

/// A number, or NaN for `null`.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIN: &str = r#"{"kind":"train","step":3,"tokens":96,"lr":0.001,"loss":5.5,"objective":5.75,"z_loss":0.25,"grad_norm":1.25,"update_norm":0.5,"param_norm":9.0,"logit_rms":2.0,"by_kind":{"text":5.0,"marker":0.5,"acoustic-1":7.0},"by_component":{"mls":5.5},"time":{"secs":0.5,"data_secs":0.0,"forward_secs":0.125,"backward_secs":0.25,"optimizer_secs":0.125,"checkpoint_secs":0.0,"tokens_per_sec":64.0,"mfu":0.25}}"#;

    fn read(content: &str) -> Result<Vec<Record>, MetricsError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        std::fs::write(&path, content).unwrap();
        Record::read_all(&path)
    }

    #[test]
    fn a_line_survives_reading_and_writing() {
        let records = read(&format!("{TRAIN}\n")).unwrap();
        assert_eq!(records[0].to_line().unwrap(), format!("{TRAIN}\n"));
    }

    #[test]
    fn kinds_keep_their_order_and_null_means_absent() {
        let by_kind: Breakdown =
            serde_json::from_str(r#"{"text":2.0,"semantic":null,"marker":1.0}"#).unwrap();
        assert_eq!(
            by_kind.iter().collect::<Vec<_>>(),
            [("text", 2.0), ("marker", 1.0)]
        );
        assert_eq!(by_kind.get("semantic"), None);
    }

    #[test]
    fn a_loss_that_is_not_finite_can_be_written_and_read() {
        let line = TRAIN.replace("\"loss\":5.5", "\"loss\":null");
        let records = read(&format!("{line}\n")).unwrap();
        let Record::Train(train) = &records[0] else {
            panic!("not a training record: {:?}", records[0]);
        };
        assert!(train.loss.is_nan());
        assert_eq!(records[0].to_line().unwrap(), format!("{line}\n"));
    }

    #[test]
    fn a_cut_off_last_line_is_left_out() {
        for kept in [1, 40, TRAIN.len() - 1] {
            assert_eq!(
                read(&format!("{TRAIN}\n{}", &TRAIN[..kept])).unwrap().len(),
                1,
                "{kept} bytes"
            );
        }
        assert_eq!(read(&format!("{TRAIN}\n{TRAIN}")).unwrap().len(), 2);
        assert!(read("").unwrap().is_empty());
    }

    #[test]
    fn another_bad_line_is_named() {
        let error = read(&format!("{TRAIN}\n{{\"kind\":\"train\"}}\n{TRAIN}\n")).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("metrics.jsonl, line 2: missing field `step`"),
            "{message}"
        );
        let error = read(&format!("{}\n", TRAIN.replace("\"lr\"", "\"rate\""))).unwrap_err();
        assert!(
            error.to_string().contains("unknown field `rate`"),
            "{error}"
        );
    }
}
