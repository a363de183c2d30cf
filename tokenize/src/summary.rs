//! What a finished job tells its user.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::output::UnitSummary;

/// Totals of a job; printed as a table, or as JSON with `--json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Documents in the shards.
    pub documents: u64,
    /// Those of them without any text.
    pub audio_only_documents: u64,
    /// Audio, by the codec's frames.
    pub audio_hours: f64,
    /// Text tokens.
    pub text_tokens: u64,
    /// Audio tokens.
    pub audio_tokens: u64,
    /// Shards.
    pub shards: usize,
    /// Shards that were there before this run.
    pub shards_kept: usize,
    /// Size of all shards.
    pub bytes: u64,
    /// Size of all shards over audio tokens; absent without audio.
    pub bytes_per_audio_token: Option<f64>,
    /// Documents left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Time this run took.
    pub elapsed_secs: f64,
    /// Audio this run decoded over the time it took; absent if it had nothing to do.
    pub times_real_time: Option<f64>,
}

impl Summary {
    /// Totals over units made with a codec of that geometry.
    pub fn new(units: &[UnitSummary], codebooks: usize, frame_rate_hz: f64) -> Self {
        let sum = |get: fn(&UnitSummary) -> u64| units.iter().map(get).sum::<u64>();
        let frames = sum(|unit| unit.shard.frames);
        let audio_tokens = frames * codebooks as u64;
        let bytes = sum(|unit| unit.shard.bytes);
        Summary {
            documents: sum(|unit| unit.shard.documents),
            audio_only_documents: sum(|unit| unit.audio_only),
            audio_hours: frames as f64 / frame_rate_hz / 3600.0,
            text_tokens: sum(|unit| unit.shard.text_tokens),
            audio_tokens,
            shards: units.len(),
            bytes,
            bytes_per_audio_token: (audio_tokens > 0).then(|| bytes as f64 / audio_tokens as f64),
            ..Summary::default()
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: Option<f64>, digits: usize| {
            value.map_or("-".into(), |v| format!("{v:.digits$}"))
        };
        let mut rows = vec![
            ("documents", thousands(self.documents)),
            ("  audio only", thousands(self.audio_only_documents)),
            ("audio hours", format!("{:.3}", self.audio_hours)),
            ("text tokens", thousands(self.text_tokens)),
            ("audio tokens", thousands(self.audio_tokens)),
            (
                "shards",
                format!("{} ({} kept)", self.shards, self.shards_kept),
            ),
            ("bytes", thousands(self.bytes)),
            (
                "bytes per audio token",
                or_none(self.bytes_per_audio_token, 3),
            ),
            ("skipped", thousands(self.skipped.values().sum())),
        ];
        let reasons: Vec<_> = self
            .skipped
            .iter()
            .map(|(reason, n)| (format!("  {reason}"), thousands(*n)))
            .collect();
        rows.extend(
            reasons
                .iter()
                .map(|(reason, n)| (reason.as_str(), n.clone())),
        );
        rows.push(("seconds", format!("{:.1}", self.elapsed_secs)));
        rows.push(("x real time", or_none(self.times_real_time, 0)));
        f.write_str(&table(
            None,
            rows.into_iter()
                .map(|(name, value)| vec![name.to_owned(), value]),
        ))
    }
}

/// A plain table; all columns but the first are right-aligned.
pub fn table(header: Option<Vec<String>>, rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if let Some(header) = header {
        table.set_header(header);
    }
    table.add_rows(rows);
    for (index, column) in table.column_iter_mut().enumerate() {
        if index == 0 {
            column.set_padding((0, 1));
        } else {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn totals_add_up() {
        let mut unit = UnitSummary {
            audio_only: 1,
            ..UnitSummary::default()
        };
        unit.shard.documents = 3;
        unit.shard.frames = 450;
        unit.shard.bytes = 5_400;
        let mut summary = Summary::new(&[unit.clone(), unit], 8, 12.5);
        assert_eq!(
            (
                summary.documents,
                summary.audio_only_documents,
                summary.audio_tokens
            ),
            (6, 2, 7_200)
        );
        assert!((summary.audio_hours - 0.02).abs() < 1e-12);
        assert_eq!(summary.bytes_per_audio_token, Some(1.5));
        summary.skipped.insert("nan".into(), 1_000);
        let text = summary.to_string();
        assert!(
            text.contains("7,200") && text.contains("nan") && text.contains("1,000"),
            "{text}"
        );
    }
}
