//! Numbers of a plan that a file gives as a rule: steps by tokens, and the learning rate by batch and width.

use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{Document, at_path};
use crate::resolve::FileKeys;
use crate::{Error, ModelConfig, Result};

/// Values as TOML, and where their rules are written.
pub(crate) struct Computed {
    steps: Option<(String, Range<usize>)>,
    lr: Option<(String, Range<usize>)>,
}

/// Keys that rules may depend on.
#[derive(Deserialize)]
struct Shape {
    batch_size: usize,
    seq_len: usize,
    model: ModelConfig,
}

impl Computed {
    pub(crate) fn new(document: &Document, table: &DeTable<'_>, file: &FileKeys) -> Result<Self> {
        let shape = || -> Result<Shape> {
            let keys = ["batch_size", "seq_len", "model"];
            let entries = keys.iter().filter_map(|key| table.get_key_value(*key));
            let entries = entries.map(|(key, value)| (key.clone(), value.clone()));
            document.read(entries.collect(), document.own_file())
        };
        let steps = match tokens(document, table, file)? {
            Some((tokens, at)) => Some((steps(tokens, &shape()?), at)),
            None => None,
        };
        let lr = match at_path(table, "optimizer.lr") {
            Some(lr) => match lr.get_ref() {
                DeValue::String(rule) => {
                    let value = learning_rate(rule, &shape()?);
                    let value = value.map_err(|e| document.problem(lr.span().start, &e))?;
                    Some((format!("{value:?}"), lr.span()))
                }
                _ => None,
            },
            None => None,
        };
        Ok(Self { steps, lr })
    }

    /// The table with the values where a plan has them.
    pub(crate) fn put<'a>(&'a self, mut table: DeTable<'a>) -> DeTable<'a> {
        if let Some(steps) = &self.steps {
            insert(&mut table, "steps", steps);
        }
        let optimizer = table.get_mut("optimizer").map(Spanned::get_mut);
        if let (Some(lr), Some(DeValue::Table(optimizer))) = (&self.lr, optimizer) {
            insert(optimizer, "lr", lr);
        }
        table
    }
}

fn insert<'a>(table: &mut DeTable<'a>, key: &'a str, (text, at): &'a (String, Range<usize>)) {
    let value = DeValue::parse(text).expect("a printed number is TOML");
    let value = Spanned::new(at.clone(), value.into_inner());
    table.insert(Spanned::new(at.clone(), key.into()), value);
}

/// Tokens of the run, unless its steps are given.
fn tokens(
    document: &Document,
    table: &DeTable<'_>,
    file: &FileKeys,
) -> Result<Option<(f64, Range<usize>)>> {
    let steps = table.contains_key("steps");
    let (tokens, at, key) = match (steps, &file.tokens, &file.epochs, &file.epoch_tokens) {
        (true, None, None, None) => return Ok(None),
        (false, Some(tokens), None, None) => (*tokens.get_ref(), tokens.span(), "tokens"),
        (false, None, Some(epochs), Some(each)) => (
            epochs.get_ref() * each.get_ref(),
            epochs.span(),
            "epochs · epoch_tokens",
        ),
        _ => {
            return Err(document.problem(
                document.own_file(),
                "the run's length is given once: as steps, as tokens, or as epochs and epoch_tokens",
            ));
        }
    };
    match tokens >= 1.0 && tokens <= u64::MAX as f64 {
        true => Ok(Some((tokens, at))),
        false => Err(Error::Value {
            place: document.place(at.start),
            key,
            found: tokens.to_string(),
            wanted: "at least 1 and finite",
        }),
    }
}

/// Whole steps that have at least so many tokens.
fn steps(tokens: f64, shape: &Shape) -> String {
    // a batch of 0 is refused with the plan's other values
    let per_step = (shape.batch_size * shape.seq_len).max(1) as u64;
    (tokens.ceil() as u64).div_ceil(per_step).to_string()
}

/// The value of a rule such as `0.003 * sqrt(batch / 256) * sqrt(1024 / width)`.
fn learning_rate(rule: &str, shape: &Shape) -> Result<f64, String> {
    let known = [
        ("batch".to_string(), shape.batch_size as f64),
        ("width".to_string(), shape.model.hidden_size as f64),
    ];
    mixes::evaluate(rule, &known)
}
