//! What a shard says about itself: the `timbre.*` keys of the parquet file.

use crate::error::{Error, Result};
use crate::layout::VocabLayout;
use crate::vocab::Vocab;
use parquet::file::metadata::KeyValue;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::Path;

/// Version of the shard format: schema and metadata.
const FORMAT_VERSION: &str = "1";
const KEY_FORMAT: &str = "timbre.format_version";
const KEY_PRODUCER: &str = "timbre.producer";
const KEY_CODEC: &str = "timbre.codec";
const KEY_TOKENIZER: &str = "timbre.tokenizer";
const KEY_VOCAB: &str = "timbre.vocab";
const KEY_ARGUMENTS: &str = "timbre.arguments_sha256";

/// The neural codec that made the codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodecInfo {
    /// Name, e.g. `mel-rvq`.
    pub name: String,
    /// SHA-256 of the weights; empty where it is not known, as of codes that others published.
    pub sha256: String,
    /// Sample rate of the audio it takes.
    pub sample_rate_hz: u32,
    /// Frames a second.
    pub frame_rate_hz: f64,
    /// Codes a frame.
    pub codebooks: usize,
    /// Codes in each codebook.
    pub codebook_size: usize,
}

impl CodecInfo {
    /// Whether codes of both mean the same: the weights are the same, under whatever name they were opened.
    pub fn is_same(&self, other: &CodecInfo) -> bool {
        let unnamed = |codec: &CodecInfo| match codec.sha256.is_empty() {
            // then only the name says which weights they were
            true => codec.clone(),
            false => CodecInfo {
                name: String::new(),
                ..codec.clone()
            },
        };
        unnamed(self) == unnamed(other)
    }
}

/// The tokenizer that made the text ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerInfo {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of `tokenizer.json`.
    pub sha256: String,
}

/// Everything a shard's documents depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardMeta {
    /// The codec; `None` for a corpus without audio.
    pub codec: Option<CodecInfo>,
    /// The text tokenizer.
    pub tokenizer: TokenizerInfo,
    /// Ids of markers and audio codes.
    pub vocab: VocabLayout,
    /// SHA-256 of the arguments of the tokenizing job.
    pub arguments_sha256: String,
}

impl ShardMeta {
    /// Codes a frame in this shard; 0 without a codec.
    pub fn codebooks(&self) -> usize {
        self.codec.as_ref().map_or(0, |codec| codec.codebooks)
    }

    /// Refuses a vocabulary other than the one the shard at `path` was made with.
    pub fn check_vocab(&self, vocab: &Vocab, path: &Path) -> Result<()> {
        let problem = if self.tokenizer.sha256 != vocab.info().sha256 {
            "the tokenizers differ"
        } else if self.vocab != *vocab.layout() {
            "their audio_vocab.json differ"
        } else {
            return Ok(());
        };
        Err(Error::WrongVocabulary {
            path: path.into(),
            problem,
            shard: Box::new(self.tokenizer.clone()),
            given: Box::new(vocab.info().clone()),
        })
    }

    /// Refuses codes that the vocabulary has no ids for.
    pub(crate) fn check(&self, path: &Path) -> Result<()> {
        let Some(codec) = &self.codec else {
            return Ok(());
        };
        let (vocab, bad) = (&self.vocab, |problem| Error::BadMeta {
            path: path.into(),
            problem,
        });
        if codec.codebooks == 0 || codec.codebooks > vocab.codebooks {
            return Err(bad(format!(
                "codec {} gives {} codebooks and the vocabulary has {}; use at most those, or make a vocabulary with more \
                 (`tokenize vocab --codebooks`)",
                codec.name, codec.codebooks, vocab.codebooks
            )));
        }
        if codec.codebook_size != vocab.codebook_size {
            return Err(bad(format!(
                "codec {} has {} codes in a codebook and the vocabulary {}; make a vocabulary for this codec \
                 (`tokenize vocab --codebook-size`)",
                codec.name, codec.codebook_size, vocab.codebook_size
            )));
        }
        Ok(())
    }

    /// The parquet file's key-value metadata, in a fixed order.
    pub(crate) fn to_key_values(&self) -> Vec<KeyValue> {
        let json = |value: serde_json::Result<String>| value.expect("plain data has a JSON form");
        let mut pairs = vec![
            (KEY_FORMAT, FORMAT_VERSION.to_string()),
            (KEY_PRODUCER, env!("CARGO_PKG_VERSION").to_string()),
        ];
        if let Some(codec) = &self.codec {
            pairs.push((KEY_CODEC, json(serde_json::to_string(codec))));
        }
        pairs.push((KEY_TOKENIZER, json(serde_json::to_string(&self.tokenizer))));
        pairs.push((KEY_VOCAB, json(serde_json::to_string(&self.vocab))));
        pairs.push((KEY_ARGUMENTS, self.arguments_sha256.clone()));
        pairs
            .into_iter()
            .map(|(key, value)| KeyValue::new(key.to_string(), value))
            .collect()
    }

    /// Reads the metadata of the file at `path` and refuses files that are no shards of this format.
    pub(crate) fn from_key_values(pairs: &[KeyValue], path: &Path) -> Result<Self> {
        let found = |key: &str| {
            let pair = pairs.iter().find(|pair| pair.key == key);
            pair.and_then(|pair| pair.value.as_deref())
        };
        let not_a_shard = |problem: String| Error::NotAShard {
            path: path.into(),
            problem,
        };
        let needed =
            |key| found(key).ok_or_else(|| not_a_shard(format!("it lacks the metadata key {key}")));
        match found(KEY_FORMAT) {
            Some(FORMAT_VERSION) => {}
            Some(other) => {
                return Err(not_a_shard(format!(
                    "its shard format is version {other}, written by version {} of Timbre; this version reads format {FORMAT_VERSION}",
                    found(KEY_PRODUCER).unwrap_or("(unknown)")
                )));
            }
            None => {
                return Err(not_a_shard(format!(
                    "it is a parquet file without the metadata key {KEY_FORMAT}, so not a token shard"
                )));
            }
        }
        let meta = Self {
            codec: found(KEY_CODEC)
                .map(|text| parse(KEY_CODEC, text, path))
                .transpose()?,
            tokenizer: parse(KEY_TOKENIZER, needed(KEY_TOKENIZER)?, path)?,
            vocab: parse(KEY_VOCAB, needed(KEY_VOCAB)?, path)?,
            arguments_sha256: needed(KEY_ARGUMENTS)?.to_string(),
        };
        meta.check(path)
            .map_err(|error| not_a_shard(error.to_string()))?;
        Ok(meta)
    }
}

fn parse<T: DeserializeOwned>(key: &str, text: &str, path: &Path) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::NotAShard {
        path: path.into(),
        problem: format!("its metadata key {key} is not understood: {error}"),
    })
}
