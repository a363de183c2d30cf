//! Miniature datasets of the components that mixtures name.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{TokenizeJob, bin, corpus, fixture, run_ok};

/// Commands of corpora of speech, with their inputs in `fixtures/sources`.
const SPEECH: [(&[&str], &str); 9] = [
    (&["yodas", "--langs", "en,es"], "yodas"),
    (
        &["emilia", "--langs", "EN,DE", "--split", "Emilia"],
        "emilia",
    ),
    (
        &["emilia", "--langs", "EN", "--split", "Emilia-YODAS"],
        "emilia",
    ),
    (&["mls"], "mls"),
    (&["librispeech"], "librispeech/LibriSpeech"),
    (&["libritts"], "libritts"),
    (&["common-voice"], "common-voice/common_voice_17_0_parquet"),
    (&["peoples-speech", "--split", "clean"], "peoples-speech"),
    (&["cvss", "--langs", "de,es", "--method", "1"], "cvss"),
];

/// The same for text.
const TEXT: (&[&str], &str) = (&["nemotron", "--split", "hq_actual"], "nemotron");

/// What stands for components of which there is no miniature corpus: other languages, and other text. The first that fits a
/// name holds.
const STAND_INS: [(&str, &str); 5] = [
    ("yodas2-", "yodas2-es"),
    ("emilia-yodas-", "emilia-yodas-en"),
    ("emilia-", "emilia-de"),
    ("cvss-", "cvss-es"),
    ("dclm", "nemotron-hq_actual"),
];

/// Datasets made by the real program from the miniature corpora, each by its own command, with the embedded codec.
///
/// Mixtures hold out a ten-thousandth of the documents, and these are few. So each has one more, whose id is for validation in
/// all of them.
pub struct Datasets {
    files: TokenizeJob,
}

impl Datasets {
    /// Makes what there are miniature corpora of. CVSS is made by both methods, in folders of their own.
    pub fn new() -> Self {
        let made = Self {
            files: TokenizeJob::new(),
        };
        for (arguments, input) in SPEECH {
            made.tokenize(arguments, input, "raw");
        }
        made.tokenize(TEXT.0, TEXT.1, "raw-text");
        let direct = ["cvss", "--langs", "es", "--method", "2"];
        made.tokenize(&direct, "cvss", "raw-direct");
        let (spoken, written) = made.held_out();
        made.merge("raw", &spoken, "data");
        made.merge("raw-text", &written, "data");
        made.merge("raw-direct", &spoken, "direct");
        let quickstart = made.data().join("quickstart");
        run_ok(&mut made.files.command_for(&corpus(), &quickstart));
        made
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// The folder of datasets, where CVSS is made by method 1.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The folder of CVSS made by method 2.
    pub fn direct(&self) -> PathBuf {
        self.path("direct")
    }

    /// Sees to it that `folder` has the dataset `name`: links the one that stands for it, if there is none of its own.
    pub fn provide(&self, name: &str, folder: &Path) {
        let dataset = folder.join(name);
        if dataset.exists() {
            return;
        }
        let stand_in = STAND_INS.iter().find(|(start, _)| name.starts_with(start));
        let (_, stand_in) = stand_in.unwrap_or_else(|| {
            panic!(
                "no command makes {name} in {}; add it here",
                folder.display()
            )
        });
        std::os::unix::fs::symlink(folder.join(stand_in), dataset).unwrap();
    }

    /// The dataset `name` with the text ids of another tokenizer, in `folder`.
    pub fn retext(&self, name: &str, tokenizer: &Path, folder: &Path) {
        let mut command = bin("tokenize");
        command.arg("retext").arg(self.data().join(name));
        command.arg("--tokenizer").arg(tokenizer);
        run_ok(command.arg("--out").arg(folder.join(name)));
    }

    /// Runs a command over a miniature corpus, with datasets in the folder `out`.
    fn tokenize(&self, arguments: &[&str], input: &str, out: &str) {
        let mut command = bin("tokenize");
        command.args(arguments).args(["--max-bad", "1"]);
        if arguments != TEXT.0 {
            command.args(["--codec", "mel-rvq"]);
        }
        match arguments[0] {
            "instructions" => command.arg(input),
            _ => command.arg("--input").arg(fixture("sources").join(input)),
        };
        command.arg("--tokenizer").arg(self.files.tokenizer());
        run_ok(command.arg("--out").arg(self.path(out)));
    }

    /// Two datasets of a document each that all mixtures hold out, one of speech and one of text.
    fn held_out(&self) -> (PathBuf, PathBuf) {
        // the hash of the id as a fraction is below 2^-16
        let ids = (0..).map(|number| format!("held-out-{number}"));
        let is_held_out = |id: &String| shards::sha256_hex(id.as_bytes()).starts_with("0000");
        let id = ids.into_iter().find(is_held_out).expect("ids do not end");
        let sound = json!({ "audio": fixture("sources/instructions/dog.wav") });
        let line =
            json!({ "id": id, "instruction": [sound], "response": ["The dog waits.", sound] });
        let spoken = self.path("spoken.jsonl");
        fs::write(&spoken, line.to_string()).unwrap();
        self.tokenize(&["instructions"], spoken.to_str().unwrap(), "held-out");

        let split =
            self.path("pages/contrib/Nemotron/Nemotron-CC/data-jsonl/quality=high/kind=actual");
        fs::create_dir_all(&split).unwrap();
        let line = json!({ "id": id, "text": "A page that no model has seen." });
        fs::write(split.join("page.jsonl"), line.to_string()).unwrap();
        // an absolute path takes the place of the fixtures'
        self.tokenize(TEXT.0, self.path("pages").to_str().unwrap(), "held-out");
        let folder = self.path("held-out");
        (folder.join("spoken"), folder.join("nemotron-hq_actual"))
    }

    /// Adds a dataset to each one in the folder `from`.
    fn merge(&self, from: &str, more: &Path, to: &str) {
        for entry in fs::read_dir(self.path(from)).unwrap() {
            let dataset = entry.unwrap().path();
            let name = dataset.file_name().unwrap();
            let mut command = bin("tokenize");
            command.arg("merge").arg(&dataset).arg(more);
            run_ok(command.arg("--out").arg(self.path(to).join(name)));
        }
    }
}

impl Default for Datasets {
    fn default() -> Self {
        Self::new()
    }
}
