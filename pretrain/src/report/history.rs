//! The records of a run, sorted by what they tell.

use crate::metrics::{Record, RunRecord, TrainRecord, ValidationRecord};

/// Beyond rounding, relative to the loss.
const WEIGHTED: f64 = 1e-4;
/// Records that a training loss at the end is the mean of.
const AT_THE_END: usize = 50;

/// A run as the report sees it: at least one training record, records in the order of the file.
pub struct History {
    pub run: RunRecord,
    pub train: Vec<TrainRecord>,
    pub validation: Vec<ValidationRecord>,
}

impl History {
    /// Sorts the records; the error is the kind of record without which there is nothing to show.
    pub fn new(records: Vec<Record>) -> Result<Self, &'static str> {
        let (mut run, mut train, mut validation) = (None, Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Run(record) => run = Some(record),
                Record::Train(record) => train.push(record),
                Record::Validation(record) => validation.push(record),
            }
        }
        let run = run.ok_or("run")?;
        if train.is_empty() {
            return Err("train");
        }
        Ok(History {
            run,
            train,
            validation,
        })
    }

    /// The last training record.
    pub fn last(&self) -> &TrainRecord {
        &self.train[self.train.len() - 1]
    }

    /// The last validation, where there was one.
    pub fn final_validation(&self) -> Option<&ValidationRecord> {
        self.validation.last()
    }

    /// Kinds of token in the validation sequences, in the order of the vocabulary.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self
            .run
            .unigram
            .by_kind
            .iter()
            .map(|(kind, _)| kind)
            .collect();
        for (kind, _) in self
            .validation
            .iter()
            .flat_map(|record| record.by_kind.iter())
        {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// Components of the mixture that were validated on, in its order.
    pub fn validated_components(&self) -> Vec<&str> {
        let last = self.final_validation();
        last.map_or(Vec::new(), |record| {
            record.by_component.iter().map(|(name, _)| name).collect()
        })
    }

    /// Whether kinds of token weigh differently in the objective: without its z-loss it is not the loss.
    pub fn is_weighted(&self) -> bool {
        let differs = |record: &TrainRecord| {
            let cross_entropy = record.objective - record.z_loss;
            (cross_entropy - record.loss).abs() > WEIGHTED * record.loss.abs()
        };
        self.train.iter().any(differs)
    }

    /// Training loss at the end: mean over the last records.
    pub fn final_loss(&self) -> Option<f64> {
        mean_at_the_end(self.train.iter().map(|record| record.loss))
    }

    /// The same of a component, over the last records in which it occurs.
    pub fn final_loss_of(&self, component: &str) -> Option<f64> {
        let losses = self.train.iter();
        mean_at_the_end(losses.filter_map(|record| record.by_component.get(component)))
    }

    /// Seconds spent training and validating, over all sittings of the run.
    pub fn wall_secs(&self) -> f64 {
        let train = self.train.iter().map(|record| record.time.secs);
        let validation = self.validation.iter().map(|record| record.secs);
        train
            .chain(validation)
            .filter(|secs| secs.is_finite())
            .sum()
    }

    /// Median rate of training: unlike the mean, not moved by the first, compiling steps.
    pub fn tokens_per_sec(&self) -> f64 {
        let mut rates: Vec<f64> = self
            .train
            .iter()
            .map(|record| record.time.tokens_per_sec)
            .collect();
        rates.retain(|rate| rate.is_finite());
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Training records whose loss or gradient norm is not finite.
    pub fn not_finite(&self) -> usize {
        let bad = |record: &&TrainRecord| !record.loss.is_finite() || !record.grad_norm.is_finite();
        self.train.iter().filter(bad).count()
    }
}

fn mean_at_the_end(losses: impl DoubleEndedIterator<Item = f64>) -> Option<f64> {
    let losses: Vec<f64> = losses.rev().take(AT_THE_END).collect();
    (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64)
}
