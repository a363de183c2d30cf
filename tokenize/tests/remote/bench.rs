//! An object store on this machine, and the program to run over it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use servers::{Reply, Request, S3, Server};
use tempfile::TempDir;

/// The bucket of all objects.
const BUCKET: &str = "bucket";

/// A folder with a tokenizer, and a store with nothing in it.
pub struct Bench {
    temp: TempDir,
    pub s3: Arc<S3>,
    pub server: Server,
}

impl Bench {
    /// With a store that is well.
    pub fn new() -> Self {
        Bench::with(|_, _, reply| reply)
    }

    /// With a store of whose answers `spoil` makes others, knowing how many to the same request came before.
    pub fn with(spoil: impl Fn(&Request, usize, Reply) -> Reply + Send + Sync + 'static) -> Self {
        let s3 = Arc::new(S3::new(3));
        let well = s3.clone();
        let server =
            Server::new(move |request, before| spoil(request, before, well.answer(request)));
        let temp = tempfile::tempdir().unwrap();
        let bench = Bench { temp, s3, server };
        let base = repository().join("tokenize/assets/tokenizer.json");
        let mut vocab = Command::new(env!("CARGO_BIN_EXE_tokenize"));
        vocab.arg("vocab").arg("--base").arg(base);
        run_ok(vocab.arg("--out").arg(bench.path("tokenizer")));
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A location in the store.
    pub fn url(name: &str) -> String {
        format!("s3://{BUCKET}/{name}")
    }

    /// Puts a miniature corpus into the store, and says where it is.
    pub fn put(&self, corpus: &str) -> String {
        let name = format!("raw/{corpus}");
        for (path, bytes) in files(&fixture(corpus)) {
            self.s3.put(&format!("{BUCKET}/{name}/{path}"), bytes);
        }
        Bench::url(&name)
    }

    /// What the store has below a name.
    pub fn stored(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        without_notes(self.s3.below(&format!("{BUCKET}/{name}/")))
    }

    /// The program, which finds the store.
    pub fn tokenize(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tokenize"));
        command
            .args(args)
            .env("AWS_ENDPOINT", &self.server.endpoint)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret");
        command
    }

    /// A job of a source, whatever part of its input is bad.
    pub fn job(&self, source: &[&str], input: &str, out: &str) -> Command {
        let mut command = self.tokenize(source);
        command.args([
            "--input",
            input,
            "--out",
            out,
            "--max-bad",
            "1",
            "--threads",
            "2",
        ]);
        command.arg("--tokenizer").arg(self.path("tokenizer"));
        command
    }

    /// What a job makes in a folder of this machine, from the corpus in a folder.
    pub fn local(&self, source: &[&str], corpus: &str) -> BTreeMap<String, Vec<u8>> {
        let out = self.path("local");
        run_ok(&mut self.job(
            source,
            fixture(corpus).to_str().unwrap(),
            out.to_str().unwrap(),
        ));
        files(&out)
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A miniature corpus.
pub fn fixture(corpus: &str) -> PathBuf {
    repository().join("tests/fixtures/sources").join(corpus)
}

/// What is below a folder, without hidden files and what workers noted.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let store = stores::Store::open(dir.to_str().unwrap()).unwrap();
    let objects = store.list("").unwrap().into_iter();
    without_notes(
        objects
            .map(|object| {
                let bytes = fs::read(dir.join(&object.path)).unwrap();
                (object.path, bytes)
            })
            .collect(),
    )
}

fn without_notes(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.retain(|path, _| !path.contains("workers/"));
    files
}

/// Without the files that name inputs with their ETags, which a folder does not have.
pub fn without_inputs(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    files.retain(|path, _| !path.ends_with("/job.json") && !path.contains("/units/"));
    files
}

/// Panics with the names of the files that differ.
pub fn assert_same(found: &BTreeMap<String, Vec<u8>>, expected: &BTreeMap<String, Vec<u8>>) {
    let names = found.keys().chain(expected.keys());
    let different: Vec<_> = names
        .filter(|&name| found.get(name) != expected.get(name))
        .collect();
    assert!(different.is_empty(), "different: {different:?}");
    assert!(
        expected.keys().any(|name| name.ends_with(".parquet")),
        "no shards"
    );
}

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some(), "{command:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    output
}

/// What it prints on stdout; it must succeed.
pub fn run_ok(command: &mut Command) -> String {
    let output = run(command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}
