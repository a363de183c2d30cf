//! `index.json`: the runs of a study, and what they were derived for.

use std::fs;
use std::path::{Path, PathBuf};

use experiments::flops::Flops;
use serde::{Deserialize, Serialize};

use crate::{Convention, Error, Result};

/// Name of the file in the study's folder.
const FILE: &str = "index.json";

/// The runs of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// What the budgets count.
    pub convention: Convention,
    /// Rows of the vocabulary.
    pub vocab: usize,
    /// Tokens a sequence.
    pub seq_len: usize,
    /// Budgets, in FLOPs of the convention.
    pub budgets: Vec<f64>,
    /// The runs, by budget and width.
    pub runs: Vec<Entry>,
}

/// A run of a study.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name, such as `1e12-h64`.
    pub name: String,
    /// FLOPs to spend, in the study's convention.
    pub budget: f64,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Parameters, both embeddings counted, norms but for those of the layers not.
    pub params: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Sequences a step.
    pub batch: u64,
    /// Peak learning rate.
    pub lr: f64,
    /// FLOPs of the run by each convention.
    pub flops: Flops,
    /// Its plan, an experiment's file, relative to the study's folder.
    pub plan: PathBuf,
    /// Its run folder, relative to the study's folder.
    pub run: PathBuf,
}

impl Index {
    /// Reads the index of the study in a folder.
    ///
    /// # Errors
    /// A folder without an index, or with one that cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|source| Error::Index { path, source })
    }

    /// Writes the index into a study's folder, whole or not at all.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let path = dir.join(FILE);
        let text = self.text();
        shards::write_atomic(&path, text.as_bytes()).map_err(Error::io("write", &path))
    }

    /// The index as it is when it was written and read.
    pub(super) fn as_read(&self) -> Self {
        serde_json::from_str(&self.text()).expect("what is written is an index")
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).expect("an index serialises") + "\n"
    }

    /// Whether a folder has an index.
    pub fn is_in(dir: &Path) -> bool {
        dir.join(FILE).exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"convention":"6nd","vocab":4096,"seq_len":256,"budgets":[1e12],"runs":[
        {"name":"1e12-h64","budget":1e12,"hidden":64,"layers":1,"params":1000,"tokens":2048,"steps":1,"batch":8,"lr":0.01,
         "flops":{"forward":1e12,"training":3e12,"6nd":2e12},"plan":"plans/1e12-h64.toml","run":"runs/1e12-h64"}]}"#;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let index: Index = serde_json::from_str(TEXT).unwrap();
        assert_eq!(index.convention, Convention::SixNd);
        assert_eq!(index.runs[0].flops.six_nd, 2e12);
        index.write(dir.path()).unwrap();
        assert!(Index::is_in(dir.path()));
        assert_eq!(Index::read(dir.path()).unwrap(), index);
    }

    #[test]
    fn a_missing_or_damaged_index_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let message = Index::read(dir.path()).unwrap_err().to_string();
        assert!(message.contains("cannot read"), "{message}");
        fs::write(dir.path().join(FILE), &TEXT[..40]).unwrap();
        let message = Index::read(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains("index.json") && message.contains("line 1"),
            "{message}"
        );
    }
}
