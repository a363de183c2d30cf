//! What a finished job tells its user.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::output::{self, UnitRecord};
use shards::CodecInfo;

/// Totals of a job; printed as a table, or as JSON with `--json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Documents in the shards.
    pub documents: u64,
    /// Those of them without any text.
    pub audio_only_documents: u64,
    /// Utterances in them.
    pub utterances: u64,
    /// Audio, by the codec's frames.
    pub audio_hours: f64,
    /// Text tokens.
    pub text_tokens: u64,
    /// Audio tokens.
    pub audio_tokens: u64,
    /// Shards.
    pub shards: usize,
    /// Shards of this worker that were there before this run.
    pub shards_kept: usize,
    /// Shards that other workers have not finished.
    pub shards_missing: usize,
    /// Size of all shards.
    pub bytes: u64,
    /// Size of all shards over audio tokens; absent without audio.
    pub bytes_per_audio_token: Option<f64>,
    /// Bad records, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Utterances that filters left out, by filter.
    pub filtered: BTreeMap<String, u64>,
    /// Bytes of input this run read.
    pub input_bytes: u64,
    /// Time this run took.
    pub elapsed_secs: f64,
    /// Audio this run decoded over the time it took; absent if it had nothing to do.
    pub times_real_time: Option<f64>,
}

impl Summary {
    /// Totals over units made with a codec, or without audio.
    pub fn new(records: &[UnitRecord], codec: Option<&CodecInfo>) -> Self {
        let sum = |get: fn(&UnitRecord) -> u64| records.iter().map(get).sum::<u64>();
        let frames = sum(|record| record.shard.frames);
        let audio_tokens = codec.map_or(0, |codec| frames * codec.codebooks as u64);
        let bytes = sum(|record| record.shard.bytes);
        Summary {
            documents: sum(|record| record.shard.documents),
            audio_only_documents: sum(|record| record.audio_only),
            utterances: sum(|record| record.shard.segments),
            audio_hours: codec.map_or(0.0, |codec| frames as f64 / codec.frame_rate_hz / 3600.0),
            text_tokens: sum(|record| record.shard.text_tokens),
            audio_tokens,
            shards: records.len(),
            bytes,
            bytes_per_audio_token: (audio_tokens > 0).then(|| bytes as f64 / audio_tokens as f64),
            skipped: output::sum(records.iter().map(|record| &record.skipped)),
            filtered: output::sum(records.iter().map(|record| &record.filtered)),
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
            ("documents".to_owned(), thousands(self.documents)),
            (
                "  audio only".to_owned(),
                thousands(self.audio_only_documents),
            ),
            ("utterances".to_owned(), thousands(self.utterances)),
            ("audio hours".to_owned(), format!("{:.3}", self.audio_hours)),
            ("text tokens".to_owned(), thousands(self.text_tokens)),
            ("audio tokens".to_owned(), thousands(self.audio_tokens)),
            ("shards".to_owned(), self.shards_text()),
            ("bytes".to_owned(), thousands(self.bytes)),
            (
                "bytes per audio token".to_owned(),
                or_none(self.bytes_per_audio_token, 3),
            ),
        ];
        for (title, counts) in [("skipped", &self.skipped), ("filtered", &self.filtered)] {
            if title == "skipped" || !counts.is_empty() {
                rows.push((title.to_owned(), thousands(counts.values().sum())));
            }
            rows.extend(
                counts
                    .iter()
                    .map(|(key, n)| (format!("  {key}"), thousands(*n))),
            );
        }
        rows.push(("seconds".to_owned(), format!("{:.1}", self.elapsed_secs)));
        rows.push(("x real time".to_owned(), or_none(self.times_real_time, 0)));
        f.write_str(&table(
            None,
            rows.into_iter().map(|(name, value)| vec![name, value]),
        ))
    }
}

impl Summary {
    fn shards_text(&self) -> String {
        let missing = match self.shards_missing {
            0 => String::new(),
            n => format!(", {n} of other workers to come"),
        };
        format!("{} ({} kept{missing})", self.shards, self.shards_kept)
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
        let mut record = UnitRecord {
            audio_only: 1,
            ..UnitRecord::default()
        };
        record.shard.documents = 3;
        record.shard.segments = 5;
        record.shard.frames = 450;
        record.shard.bytes = 5_400;
        record.filtered.insert("silence".into(), 2);
        let codec = CodecInfo {
            name: "test".into(),
            sha256: String::new(),
            sample_rate_hz: 24_000,
            frame_rate_hz: 12.5,
            codebooks: 8,
            codebook_size: 2048,
        };
        let text = Summary::new(std::slice::from_ref(&record), None);
        assert_eq!((text.audio_tokens, text.bytes_per_audio_token), (0, None));
        let mut summary = Summary::new(&[record.clone(), record], Some(&codec));
        assert_eq!(
            (
                summary.documents,
                summary.audio_only_documents,
                summary.utterances,
                summary.audio_tokens
            ),
            (6, 2, 10, 7_200)
        );
        assert_eq!(summary.filtered["silence"], 4);
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
