//! Bad records: documents that are left out, each with its reason.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

/// Writes the records as JSON lines; no file if there are none.
pub fn write(path: &Path, records: &[BadRecord]) -> Result<()> {
    if records.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path)(error))
            }
            _ => Ok(()),
        };
    }
    let mut text = Vec::new();
    for record in records {
        serde_json::to_writer(&mut text, record).expect("strings have a JSON form");
        text.push(b'\n');
    }
    shards::write_atomic(path, &text).map_err(Error::io("write", path))
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> Result<Vec<BadRecord>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path)(error)),
    };
    let records = text
        .lines()
        .map(serde_json::from_str)
        .collect::<std::result::Result<_, _>>();
    records.map_err(|error| Error::io("read", path)(error.into()))
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
    fn records_survive_the_file_and_an_empty_list_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("skipped.jsonl");
        let record = |id: &str, reason: &str| BadRecord {
            id: id.into(),
            path: format!("{id}.wav"),
            reason: reason.into(),
            message: "two\nlines".into(),
        };
        let records = [record("a", "nan"), record("b", "empty"), record("c", "nan")];
        write(&path, &records).unwrap();
        assert_eq!(read(&path).unwrap(), records);
        assert_eq!(
            count(&records),
            BTreeMap::from([("empty".into(), 1), ("nan".into(), 2)])
        );
        write(&path, &[]).unwrap();
        assert!(!path.exists() && read(&path).unwrap().is_empty());
    }
}
