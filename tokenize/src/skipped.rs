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
        let text = String::from_utf8(to_json_lines(&records)).unwrap();
        let read: Vec<BadRecord> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(read, records);
        assert_eq!(
            count(&records),
            BTreeMap::from([("empty".into(), 1), ("nan".into(), 2)])
        );
    }
}
