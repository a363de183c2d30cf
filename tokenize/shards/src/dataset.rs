//! The directory that one tokenizing job makes: its shards, its tokenizer, what it was and what it left out.
//!
//! ```text
//! job.json            what the job is; written first
//! part-00000.parquet  one shard for each planned unit of input
//! units/…json         what each finished unit holds
//! skipped/…jsonl      bad records of each unit
//! skipped.jsonl       all of them
//! tokenizer/          tokenizer.json, audio_vocab.json, tokenizer_config.json
//! manifest.json       the finished shards; written last
//! ```

use crate::atomic::{sha256_hex, write_atomic};
use crate::error::{Error, Result};
use crate::meta::{CodecInfo, TokenizerInfo};
use crate::{ShardReader, ShardSummary, Vocab};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Version of `job.json` and `manifest.json`.
const FORMAT: u32 = 1;

/// What identifies a tokenizing job: a directory with another job's file must not be continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    format: u32,
    /// The kind of source: `folder`, `yodas`, …
    pub source: String,
    /// The arguments that change the output, by name.
    pub arguments: BTreeMap<String, String>,
    /// The codec; `None` for a corpus without audio.
    pub codec: Option<CodecInfo>,
    /// The tokenizer.
    pub tokenizer: TokenizerInfo,
    /// The planned units of input, in order; unit i becomes shard i.
    pub units: Vec<String>,
    /// Size of the input of each unit in bytes, for estimates of the time that is left.
    #[serde(default)]
    pub unit_bytes: Vec<u64>,
}

impl Job {
    /// A job of the current format.
    pub fn new(
        source: &str,
        arguments: BTreeMap<String, String>,
        codec: Option<CodecInfo>,
        tokenizer: TokenizerInfo,
        units: Vec<String>,
    ) -> Self {
        Self {
            format: FORMAT,
            source: source.to_string(),
            arguments,
            codec,
            tokenizer,
            units,
            unit_bytes: Vec::new(),
        }
    }

    /// With the sizes of its units.
    #[must_use]
    pub fn with_unit_bytes(mut self, bytes: Vec<u64>) -> Self {
        self.unit_bytes = bytes;
        self
    }

    /// The name of its file in a dataset's folder.
    pub const FILE: &str = "job.json";

    /// From the content of the file that errors call `path`.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let job: Self = parse_json(bytes, path)?;
        match job.format {
            FORMAT => Ok(job),
            other => Err(wrong_format(path, other)),
        }
    }

    /// The content of its file.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }

    /// SHA-256 of source, arguments, codec and tokenizer: the `arguments_sha256` of the job's shards.
    pub fn arguments_sha256(&self) -> String {
        let identity = (&self.source, &self.arguments, &self.codec, &self.tokenizer);
        sha256_hex(&serde_json::to_vec(&identity).expect("plain data has a JSON form"))
    }
}

/// One finished shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardEntry {
    /// File name within the dataset directory.
    pub file: String,
    /// Its counts, size and hash.
    pub summary: ShardSummary,
}

/// The content of `manifest.json`: what a finished job produced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// All shards, in order.
    pub shards: Vec<ShardEntry>,
    /// Bad records left out, by reason.
    pub skipped: BTreeMap<String, u64>,
    /// Utterances that filters left out, by filter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filtered: BTreeMap<String, u64>,
}

impl Manifest {
    /// A manifest of the current format.
    pub fn new(
        shards: Vec<ShardEntry>,
        skipped: BTreeMap<String, u64>,
        filtered: BTreeMap<String, u64>,
    ) -> Self {
        Self {
            format: FORMAT,
            shards,
            skipped,
            filtered,
        }
    }

    /// The name of its file in a dataset's folder. It is there only when the dataset is finished.
    pub const FILE: &str = "manifest.json";

    /// Reads `DIR/manifest.json`; `None` if there is no such file.
    pub fn read(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(Self::FILE);
        let manifest: Option<Self> = read_json(&path)?;
        match manifest {
            Some(found) if found.format != FORMAT => Err(wrong_format(&path, found.format)),
            found => Ok(found),
        }
    }

    /// The content of its file.
    pub fn to_json(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// A finished dataset directory.
#[derive(Clone, Debug)]
pub struct Dataset {
    dir: PathBuf,
    manifest: Manifest,
}

impl Dataset {
    /// Opens a finished dataset and checks that its shards are there with the sizes of the manifest.
    pub fn open(dir: &Path) -> Result<Self> {
        let Some(manifest) = Manifest::read(dir)? else {
            fs::read_dir(dir).map_err(Error::io("open dataset", dir))?;
            let path = dir.to_path_buf();
            return Err(match dir.join("job.json").exists() {
                true => Error::Unfinished { path },
                false => Error::NotADataset { path },
            });
        };
        let dataset = Self {
            dir: dir.to_path_buf(),
            manifest,
        };
        for (i, shard) in dataset.manifest.shards.iter().enumerate() {
            let path = dataset.path(i);
            let found = fs::metadata(&path)
                .map_err(Error::io("find shard", &path))?
                .len();
            if found != shard.summary.bytes {
                let problem = format!(
                    "it has {found} bytes, and {} by manifest.json",
                    shard.summary.bytes
                );
                return Err(Error::Damaged { path, problem });
            }
        }
        Ok(dataset)
    }

    /// The file name of shard `index`.
    pub fn shard_file_name(index: usize) -> String {
        format!("part-{index:05}.parquet")
    }

    /// The dataset's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the job produced.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The shards, in order.
    pub fn shards(&self) -> &[ShardEntry] {
        &self.manifest.shards
    }

    /// The file of shard `index`.
    pub fn path(&self, index: usize) -> PathBuf {
        self.dir.join(&self.manifest.shards[index].file)
    }

    /// Opens shard `index`.
    pub fn reader(&self, index: usize) -> Result<ShardReader> {
        ShardReader::open(&self.path(index))
    }

    /// The folder of the dataset's tokenizer.
    pub fn tokenizer_dir(&self) -> PathBuf {
        self.dir.join("tokenizer")
    }

    /// Loads the dataset's tokenizer.
    pub fn vocab(&self) -> Result<Vocab> {
        Vocab::load(&self.tokenizer_dir())
    }
}

fn wrong_format(path: &Path, found: u32) -> Error {
    let problem = format!(
        "its format is {found}, and this version reads format {FORMAT}; tokenize into a new directory"
    );
    Error::Json {
        path: path.into(),
        problem,
    }
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => parse_json(&bytes, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8], path: &Path) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::Json {
        path: path.into(),
        problem: error.to_string(),
    })
}

pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    write_atomic(path, &to_json(value)).map_err(Error::io("write", path))
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("plain data has a JSON form");
    bytes.push(b'\n');
    bytes
}
