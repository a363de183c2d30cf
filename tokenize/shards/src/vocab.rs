//! The text tokenizer of a vocabulary, closed against everything that is not text.

use crate::atomic::sha256_hex;
use crate::dataset::read_json;
use crate::error::{Error, Result, describe};
use crate::layout::{TokenKind, VocabLayout};
use crate::meta::TokenizerInfo;
use crate::text::TextEncoder;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use tokenizers::Tokenizer;

/// A tokenizer folder in memory: text to ids and back, and the layout of all ids.
///
/// Transcripts are data, not commands: the text `<|text_start|>` or a character of the range that stands for audio (which has
/// the full-width comma, U+FF0C) is encoded as the ordinary text it is, never as a marker or audio id. Cheap to share between
/// threads.
pub struct Vocab {
    path: PathBuf,
    layout: VocabLayout,
    info: TokenizerInfo,
    tokenizer: Tokenizer,
    /// Gives the ids of `tokenizer` faster, if it is of a known kind.
    encoder: Option<TextEncoder>,
}

impl Vocab {
    /// Loads `tokenizer.json` and `audio_vocab.json` from the folder `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let layout_path = dir.join("audio_vocab.json");
        let layout: VocabLayout = read_json(&layout_path)?.ok_or_else(|| Error::Tokenizer {
            path: layout_path,
            problem: "there is no such file; make a tokenizer folder with `tokenize vocab`".into(),
        })?;
        let path = dir.join("tokenizer.json");
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let (tokenizer, json) = text_tokenizer(&bytes, &layout, &path)?;
        let encoder = TextEncoder::new(&tokenizer, &json);
        let named = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
        let name = named.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            info: TokenizerInfo {
                name: name.into_owned(),
                sha256: sha256_hex(&bytes),
            },
            path,
            layout,
            tokenizer,
            encoder,
        })
    }

    /// What the ids mean.
    pub fn layout(&self) -> &VocabLayout {
        &self.layout
    }

    /// Name of the folder and hash of its `tokenizer.json`.
    pub fn info(&self) -> &TokenizerInfo {
        &self.info
    }

    /// The text ids of `text`: all below `audio_base`, none a marker, BOS or EOS.
    ///
    /// Exactly the ids of Hugging Face's `tokenizers`, which itself encodes where the tokenizer is none of the usual
    /// byte-level BPE.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        self.encode_text_into(text, &mut ids)?;
        Ok(ids)
    }

    /// Appends the text ids of `text` to `ids`, as [`Vocab::encode_text`] gives them; nothing if it fails. Saves memory
    /// that grows and goes with each of many texts.
    pub fn encode_text_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let failed = |problem: String| Error::Encode {
            text: text.chars().take(80).collect(),
            problem,
        };
        let start = ids.len();
        match &self.encoder {
            Some(encoder) => encoder.encode(text, ids),
            None => {
                let encoding = self.tokenizer.encode_fast(text, false);
                let encoding = encoding.map_err(|error| failed(error.to_string()))?;
                ids.extend_from_slice(encoding.get_ids());
            }
        }
        let Some(id) = self.first_not_text(&ids[start..]) else {
            return Ok(());
        };
        ids.truncate(start);
        Err(failed(format!(
            "{} gives id {id} for it, which is {}; the base tokenizer spells a marker as ordinary text and cannot be used",
            self.path.display(),
            describe(&self.layout, id)
        )))
    }

    /// The text of `ids`, which must all be text.
    pub fn decode_text(&self, ids: &[u32]) -> Result<String> {
        if let Some(position) = ids.iter().position(|&id| !self.is_text(id)) {
            let id = ids[position];
            let found = describe(&self.layout, id);
            return Err(Error::DecodeNotText {
                position,
                id,
                found,
            });
        }
        let decoded = self.tokenizer.decode(ids, false);
        decoded.map_err(|error| Error::Decode {
            n: ids.len(),
            problem: error.to_string(),
        })
    }

    fn is_text(&self, id: u32) -> bool {
        id < self.layout.audio_base && self.layout.kind(id) == TokenKind::Text
    }

    fn first_not_text(&self, ids: &[u32]) -> Option<u32> {
        let markers = self.layout.markers();
        // Looking at all of them, without a way out in between, is what vector instructions can do.
        let other = |id: u32| {
            markers
                .iter()
                .fold(id >= self.layout.audio_base, |is, marker| {
                    is | (id == *marker)
                })
        };
        let any = ids.iter().fold(false, |any, &id| any | other(id));
        any.then(|| ids.iter().copied().find(|&id| !self.is_text(id)))
            .flatten()
    }
}

/// The tokenizer of `tokenizer.json` without the added tokens that transcripts must not reach, and the file that describes it.
fn text_tokenizer(bytes: &[u8], layout: &VocabLayout, path: &Path) -> Result<(Tokenizer, Value)> {
    let bad = |problem: String| Error::Tokenizer {
        path: path.into(),
        problem,
    };
    let mut json: Value =
        serde_json::from_slice(bytes).map_err(|error| bad(format!("not JSON: {error}")))?;
    let added = json.get_mut("added_tokens").and_then(Value::as_array_mut);
    let added = added.ok_or_else(|| bad("it has no list added_tokens".into()))?;
    let all = added.len();
    let id_of = |token: &Value| token["id"].as_u64();
    added.retain(|token| {
        let reserved = |id| id >= layout.audio_base || layout.markers()[2..].contains(&id);
        !id_of(token).is_some_and(|id| reserved(id as u32))
    });
    let expected = layout.codebooks * layout.codebook_size + 4;
    if all - added.len() != expected {
        return Err(bad(format!(
            "it has {} marker and audio tokens where audio_vocab.json beside it has {expected}; the two files must come from \
             the same `tokenize vocab`",
            all - added.len()
        )));
    }
    // Special tokens are then spelled out like other text. BOS and EOS must be among them.
    for token in added.iter_mut() {
        if id_of(token).is_some_and(|id| layout.markers().contains(&(id as u32))) {
            token["special"] = Value::Bool(true);
        }
    }
    let text = serde_json::to_vec(&json).expect("JSON values have a JSON form");
    let mut tokenizer =
        Tokenizer::from_bytes(&text).map_err(|error| bad(format!("not a tokenizer: {error}")))?;
    tokenizer.set_encode_special_tokens(true);
    // A transcript is neither cut nor padded, whatever the file's defaults.
    tokenizer.with_padding(None);
    tokenizer
        .with_truncation(None)
        .map_err(|error| bad(error.to_string()))?;
    Ok((tokenizer, json))
}

/// Refuses a tokenizer whose added tokens get other ids than its file says, as happens when the ids have gaps.
pub(crate) fn check_added_ids(tokenizer: &Tokenizer, json: &Value) -> Result<(), String> {
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default();
        let found = tokenizer.token_to_id(content);
        if found.map(u64::from) != token["id"].as_u64() {
            let found = found.map_or("no id".to_string(), |id| format!("id {id}"));
            return Err(format!(
                "its added token {content:?} has id {} in the file but gets {found} when loaded; the ids of a base must have \
                 no gaps",
                token["id"]
            ));
        }
    }
    Ok(())
}
