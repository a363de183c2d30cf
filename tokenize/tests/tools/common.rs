//! Small datasets, and the program to run over them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use shards::{Dataset, Document, Manifest, ShardEntry, ShardReader, ShardSummary, ShardWriter};
use tempfile::TempDir;

/// A folder with `tokenizer` and, once asked for, datasets of the bundled corpus.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Place(tempfile::tempdir().unwrap());
        let base = repository().join("tokenize/assets/tokenizer.json");
        place.vocab(&base, "tokenizer", 2048);
        place
    }

    /// `tokenize vocab`.
    pub fn vocab(&self, base: &Path, name: &str, codebook_size: usize) {
        let mut vocab = tokenize("vocab");
        vocab
            .arg("--base")
            .arg(base)
            .arg("--out")
            .arg(self.path(name));
        run_ok(vocab.args(["--codebook-size", &codebook_size.to_string()]));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The recordings of one language, in documents of several speakers. With `en`, also those in French, so that there
    /// are two shards, a recording without a transcript, and two bad ones.
    pub fn dataset(&self, lang: &str) -> PathBuf {
        let (input, out) = (self.path(&format!("{lang}-input")), self.path(lang));
        fs::create_dir_all(&input).unwrap();
        let corpus = repository().join("tests/corpus");
        let manifest = fs::read_to_string(corpus.join("manifest.jsonl")).unwrap();
        let mut rows: Vec<Value> = manifest
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|row: &Value| row["lang"] == lang || (lang == "en" && row["lang"] == "fr"))
            .collect();
        for row in &mut rows {
            let path = corpus.join(row["path"].as_str().unwrap());
            let name = path.file_name().unwrap();
            fs::copy(&path, input.join(name)).unwrap();
            row["path"] = name.to_str().unwrap().into();
        }
        if lang == "en" {
            rows[1].as_object_mut().unwrap().remove("text");
            rows[1]["document"] = "silent-film".into();
            for name in ["bad-1.wav", "bad-2.wav"] {
                fs::write(input.join(name), b"RIFF of nothing").unwrap();
                rows.push(serde_json::json!({"path": name, "text": "Gone.", "document": name}));
            }
        }
        let rows: Vec<_> = rows.iter().map(Value::to_string).collect();
        let manifest = input.join("rows.jsonl");
        fs::write(&manifest, rows.join("\n")).unwrap();
        let mut folder = tokenize("folder");
        folder.arg(&input).arg("--manifest").arg(manifest);
        folder.arg("--out").arg(&out);
        folder.arg("--tokenizer").arg(self.path("tokenizer"));
        let options = ["--codec", "mel-rvq", "--shard-mib", "1", "--max-bad", "0.5"];
        run_ok(
            folder
                .args(options)
                .args(["--source", &format!("corpus-{lang}")]),
        );
        out
    }
}

pub fn repository() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    crates.parent().unwrap().to_owned()
}

/// The program, with a command.
pub fn tokenize(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tokenize"));
    // not what a scheduler above the tests would say
    for name in [
        "SLURM_ARRAY_TASK_ID",
        "SLURM_PROCID",
        "JOB_COMPLETION_INDEX",
    ] {
        program.env_remove(name);
    }
    program.arg(command);
    program
}

fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    let is_expected = output.status.code() == Some(code) && !stderr.contains("panicked");
    assert!(
        is_expected,
        "{command:?}: {}\n{stdout}{stderr}",
        output.status
    );
    output
}

/// Standard output of a run that must succeed.
pub fn run_ok(command: &mut Command) -> String {
    String::from_utf8(run(command, 0).stdout).unwrap()
}

/// Standard output and error of a run that must end with 1.
pub fn run_refused(command: &mut Command) -> (String, String) {
    let output = run(command, 1);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All documents of a dataset, in order.
pub fn documents(dir: &Path) -> Vec<Document> {
    let dataset = Dataset::open(dir).unwrap();
    let shards = 0..dataset.shards().len();
    shards
        .flat_map(|shard| {
            let reader = dataset.reader(shard).unwrap();
            let groups = 0..reader.row_groups();
            groups.flat_map(move |group| reader.documents(group).unwrap())
        })
        .collect()
}

/// Replaces the documents of a shard of a finished dataset, with all hashes and counts, by what `change` makes of them.
pub fn rewrite_shard(dir: &Path, shard: usize, change: impl FnOnce(&mut Vec<Document>)) {
    let path = dir.join(Dataset::shard_file_name(shard));
    let reader = ShardReader::open(&path).unwrap();
    let mut documents: Vec<_> = (0..reader.row_groups())
        .flat_map(|group| reader.documents(group).unwrap())
        .collect();
    change(&mut documents);
    let mut writer = ShardWriter::create(&path, reader.meta()).unwrap();
    for document in &documents {
        writer.write(document).unwrap();
    }
    record_shard(dir, shard, &writer.finish().unwrap());
}

/// Says in manifest and record what a shard is.
pub fn record_shard(dir: &Path, shard: usize, summary: &ShardSummary) {
    let mut manifest = Manifest::read(dir).unwrap().unwrap();
    let file = manifest.shards[shard].file.clone();
    manifest.shards[shard] = ShardEntry {
        file,
        summary: summary.clone(),
    };
    fs::write(dir.join(Manifest::FILE), manifest.to_json()).unwrap();
    let path = dir.join(format!("units/part-{shard:05}.json"));
    let mut record = json(&fs::read_to_string(&path).unwrap());
    record["shard"] = serde_json::to_value(summary).unwrap();
    fs::write(path, record.to_string()).unwrap();
}
