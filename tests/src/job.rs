//! A tokenizing job in a temporary folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use shards::{Dataset, Document};
use tempfile::TempDir;

use crate::{bin, repo_root, run_ok};

/// Folders for one job: `input`, `tokenizer` (the small bundled one, for eight codebooks) and, to be made, `out`.
pub struct TokenizeJob {
    temp: TempDir,
}

impl TokenizeJob {
    /// Makes the folders and the tokenizer.
    pub fn new() -> Self {
        let job = Self {
            temp: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(job.input()).unwrap();
        let base = repo_root().join("tokenize/assets/tokenizer.json");
        run_ok(
            bin("tokenize")
                .arg("vocab")
                .arg("--base")
                .arg(base)
                .arg("--out")
                .arg(job.tokenizer()),
        );
        job
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// The folder that [`Self::command`] tokenizes.
    pub fn input(&self) -> PathBuf {
        self.path("input")
    }

    /// The folder it writes.
    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// The tokenizer's folder.
    pub fn tokenizer(&self) -> PathBuf {
        self.path("tokenizer")
    }

    /// `tokenize folder` from `input` to `out` with the embedded codec.
    pub fn command(&self) -> Command {
        self.command_for(&self.input(), &self.out())
    }

    /// `tokenize folder` from any folder to any other with the embedded codec.
    pub fn command_for(&self, input: &Path, out: &Path) -> Command {
        let mut command = bin("tokenize");
        command.arg("folder").arg(input).arg("--out").arg(out);
        command
            .args(["--codec", "mel-rvq"])
            .arg("--tokenizer")
            .arg(self.tokenizer());
        command
    }

    /// The bad records listed in `out/skipped.jsonl`; none if there is no such file.
    pub fn skipped(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.out().join("skipped.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// All documents of the finished `out`, by id.
    pub fn documents(&self) -> BTreeMap<String, Document> {
        documents(&self.out())
    }
}

impl Default for TokenizeJob {
    fn default() -> Self {
        Self::new()
    }
}

/// All documents of a finished dataset, by id.
pub fn documents(dir: &Path) -> BTreeMap<String, Document> {
    let dataset = Dataset::open(dir).unwrap_or_else(|e| panic!("{e}"));
    let mut documents = BTreeMap::new();
    for shard in 0..dataset.shards().len() {
        let reader = dataset.reader(shard).unwrap_or_else(|e| panic!("{e}"));
        for row_group in 0..reader.row_groups() {
            for document in reader
                .documents(row_group)
                .unwrap_or_else(|e| panic!("{e}"))
            {
                let former = documents.insert(document.id.clone(), document);
                assert!(
                    former.is_none(),
                    "{} holds a document twice: {former:?}",
                    dir.display()
                );
            }
        }
    }
    documents
}
