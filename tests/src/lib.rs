//! Helpers of the end-to-end tests, which run the real binaries on real files.

mod datasets;
mod job;
mod kill;
mod run;
mod server;
mod train;
mod wav;

pub use datasets::Datasets;
pub use job::{TokenizeJob, documents};
pub use kill::{Kills, kill_at_random};
pub use run::{Run, bin, run, run_ok};
pub use server::BadServer;
pub use train::{TrainJob, metrics};
pub use wav::{Pcm, tone, write_wav};

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub fn repo_root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the tests lie in the repository")
        .to_owned()
}

/// The bundled corpus: 80 short utterances in four languages.
pub fn corpus() -> PathBuf {
    repo_root().join("tests/corpus")
}

/// A file or folder in `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    repo_root().join("tests/fixtures").join(name)
}

/// Every file below `dir` by its relative path, for comparing folders byte by byte.
pub fn dir_bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let relative = path.strip_prefix(dir).unwrap();
            files.insert(relative.to_string_lossy().into_owned(), bytes);
        }
    }
    files
}

/// Panics unless both folders hold the same files with the same bytes, naming those that differ.
pub fn assert_same_bytes(found: &Path, expected: &Path) {
    let (found_files, expected_files) = (dir_bytes(found), dir_bytes(expected));
    let names = found_files.keys().chain(expected_files.keys());
    let mut different: Vec<_> = names
        .filter(|&name| found_files.get(name) != expected_files.get(name))
        .collect();
    different.dedup();
    let (found, expected) = (found.display(), expected.display());
    assert!(
        different.is_empty(),
        "{found} and {expected} differ in {different:?}"
    );
}
