//! The numbers of a record by tag. Viewers group tags by what stands before the slash.
//!
//! `scripts/metrics.py` gives the same tags to the same numbers; docs/tracking.md lists them.

use crate::metrics::{Breakdown, Record, StepTime, TrainRecord, ValidationRecord};

/// A number and its tag, such as `train/loss`.
pub type Scalar = (String, f64);

/// The numbers of a record that are plotted against its step; none of the record that a run begins with.
pub fn scalars(record: &Record) -> Vec<Scalar> {
    match record {
        Record::Run(_) => Vec::new(),
        Record::Train(record) => train(record),
        Record::Validation(record) => validation(record),
    }
}

// Records are taken apart field by field, so that a new field does not compile until it has a tag.

fn train(record: &TrainRecord) -> Vec<Scalar> {
    let TrainRecord {
        step: _,
        tokens,
        lr,
        loss,
        objective,
        z_loss,
        grad_norm,
        update_norm,
        param_norm,
        logit_rms,
        skipped_steps,
        by_kind,
        by_component,
        time,
    } = record;
    let mut scalars = tagged(&[
        ("train/loss", *loss),
        ("train/objective", *objective),
        ("train/z_loss", *z_loss),
        ("train/lr", *lr),
        ("train/tokens", *tokens as f64),
        ("train/skipped_steps", *skipped_steps as f64),
        ("norm/grad", *grad_norm),
        ("norm/update", *update_norm),
        ("norm/params", *param_norm),
        ("norm/logits", *logit_rms),
    ]);
    scalars.extend(parts("loss_by_kind", by_kind));
    scalars.extend(parts("loss_by_component", by_component));
    scalars.extend(step_time(time));
    scalars
}

fn step_time(time: &StepTime) -> Vec<Scalar> {
    let StepTime {
        secs,
        data_secs,
        forward_secs,
        backward_secs,
        optimizer_secs,
        checkpoint_secs,
        tokens_per_sec,
        mfu,
        peak_memory,
        ranks,
    } = time;
    let mut scalars = tagged(&[
        ("time/secs", *secs),
        ("time/data_secs", *data_secs),
        ("time/forward_secs", *forward_secs),
        ("time/backward_secs", *backward_secs),
        ("time/optimizer_secs", *optimizer_secs),
        ("time/checkpoint_secs", *checkpoint_secs),
        ("speed/tokens_per_sec", *tokens_per_sec),
    ]);
    let known = mfu.map(|mfu| ("speed/mfu", mfu));
    scalars.extend(tagged(known.as_slice()));
    let known = peak_memory.map(|bytes| ("memory/peak_bytes", bytes as f64));
    scalars.extend(tagged(known.as_slice()));
    if let Some(ranks) = ranks {
        scalars.extend(tagged(&[
            ("ranks/busy_min_secs", ranks.busy_min_secs),
            ("ranks/busy_mean_secs", ranks.busy_mean_secs),
            ("ranks/busy_max_secs", ranks.busy_max_secs),
            ("ranks/slowest", ranks.slowest as f64),
            ("ranks/sent_bytes", ranks.sent_bytes as f64),
        ]));
    }
    scalars
}

fn validation(record: &ValidationRecord) -> Vec<Scalar> {
    let ValidationRecord {
        step: _,
        tokens: _,
        loss,
        by_kind,
        by_component,
        secs,
    } = record;
    let mut scalars = tagged(&[("validation/loss", *loss)]);
    scalars.extend(parts("validation_by_kind", by_kind));
    scalars.extend(parts("validation_by_component", by_component));
    scalars.extend(tagged(&[("time/validation_secs", *secs)]));
    scalars
}

fn tagged(values: &[(&str, f64)]) -> Vec<Scalar> {
    let scalar = |&(tag, value): &(&str, f64)| (tag.to_string(), value);
    values.iter().map(scalar).collect()
}

fn parts(group: &str, values: &Breakdown) -> Vec<Scalar> {
    let scalar = |(part, value)| (format!("{group}/{part}"), value);
    values.iter().map(scalar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::records;

    const DOCS: &str = include_str!("../../../docs/tracking.md");

    #[test]
    fn every_tag_is_explained() {
        let tags: Vec<String> = records("r")
            .iter()
            .flat_map(scalars)
            .map(|(tag, _)| tag)
            .collect();
        assert!(tags.iter().any(|tag| tag == "speed/mfu"), "{tags:?}");
        for tag in tags {
            let documented = match tag.split_once('/') {
                Some((group, _)) if group.ends_with("_by_kind") => format!("{group}/KIND"),
                Some((group, _)) if group.ends_with("_by_component") => {
                    format!("{group}/COMPONENT")
                }
                _ => tag,
            };
            assert!(
                DOCS.contains(&format!("| `{documented}` |")),
                "{documented}"
            );
        }
    }
}
