//! Bad records: documents that are left out, each with its reason.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A document that cannot be tokenized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadRecord {
    /// Its id.
    pub id: String,
    /// The file at fault, as the source names it.
    pub path: String,
    /// Short key under which such records are counted, e.g. `truncated`.
    pub reason: String,
    /// What was found and what to do.
    pub message: String,
}

/// The records as JSON lines.
pub fn to_json_lines(records: &[BadRecord]) -> Vec<u8> {
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record).expect("strings have a JSON form");
        text.push(b'\n');
    }
    text
}

/// The records of JSON lines; or which line is none, and why.
pub fn from_json_lines(lines: &[u8]) -> Result<Vec<BadRecord>, String> {
    let lines = lines.split(|&byte| byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(at, line)| {
            serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", at + 1))
        })
        .collect()
}

/// Records by reason.
pub fn count(records: &[BadRecord]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry(record.reason.clone()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines_and_counted_by_reason() {
        let record = |id: &str, reason: &str| BadRecord {
            id: id.into(),
            path: format!("{id}.wav"),
            reason: reason.into(),
            message: "two\nlines".into(),
        };
        let records = [record("a", "nan"), record("b", "empty"), record("c", "nan")];
        let mut lines = to_json_lines(&records);
        assert_eq!(from_json_lines(&lines).unwrap(), records);
        lines.extend(b"{\"id\": 5}\n");
        assert!(from_json_lines(&lines).unwrap_err().starts_with("line 4: "));
        assert_eq!(
            count(&records),
            BTreeMap::from([("empty".into(), 1), ("nan".into(), 2)])
        );
    }
}
