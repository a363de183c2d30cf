//! Extends a text tokenizer with markers and audio tokens: `tokenize vocab`.
//!
//! The new ids follow the base's in a fixed order: `<|begin_of_text|>` and `<|end_of_text|>` if the base lacks them, the four
//! block markers, then one character a code, codebook by codebook. Audio characters are added tokens, which match before any
//! normalizer or merge: Unicode normalisation would alter some of them.

use crate::atomic::write_atomic;
use crate::dataset::write_json;
use crate::error::{Error, Result};
use crate::layout::{BLOCK_MARKERS, BOS, EOS, VocabLayout, check_audio_size, pua_char};
use crate::vocab::check_added_ids;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tokenizers::Tokenizer;

/// What GPT-2 and Qwen call the end of a document; renamed to [`EOS`].
const OTHER_EOS: &str = "<|endoftext|>";
/// The context of the recipe's models, which transformers warns beyond.
const MODEL_MAX_LENGTH: u32 = 4096;

/// Extends the tokenizer file `base` (any Hugging Face `tokenizer.json`) for audio and writes `tokenizer.json`,
/// `audio_vocab.json` and `tokenizer_config.json` into the folder `out`.
pub fn extend_tokenizer(
    base: &Path,
    out: &Path,
    codebooks: usize,
    codebook_size: usize,
) -> Result<VocabLayout> {
    let bad = |problem: String| bad_tokenizer(base, problem);
    check_audio_size(codebooks, codebook_size).map_err(bad)?;
    let json = read_tokenizer(base)?;
    let (json, layout) = extend(json, codebooks, codebook_size).map_err(bad)?;
    let text = serde_json::to_vec(&json).expect("JSON values have a JSON form");
    check_loaded(&text, &json, &layout).map_err(bad)?;

    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let path = out.join("tokenizer.json");
    write_atomic(&path, &text).map_err(Error::io("write", &path))?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "model_max_length": MODEL_MAX_LENGTH,
        "clean_up_tokenization_spaces": false,
    });
    write_json(&out.join("tokenizer_config.json"), &config)?;
    write_json(&out.join("audio_vocab.json"), &layout)?;
    Ok(layout)
}

/// How many ids the tokenizer file `path` (any Hugging Face `tokenizer.json`) has: one more than the largest.
///
/// A model's embedding matrix often has more rows, which stand for nothing.
pub fn tokenizer_ids(path: &Path) -> Result<usize> {
    let ids = token_ids(&read_tokenizer(path)?).map_err(|problem| bad_tokenizer(path, problem))?;
    Ok(ids.values().max().map_or(0, |max| *max as usize + 1))
}

fn read_tokenizer(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(Error::io("read base tokenizer", path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| bad_tokenizer(path, format!("it is not JSON: {error}")))
}

fn bad_tokenizer(path: &Path, problem: String) -> Error {
    Error::Tokenizer {
        path: path.into(),
        problem,
    }
}

/// The extended tokenizer and its layout, or what is wrong with the base.
fn extend(
    mut json: Value,
    codebooks: usize,
    codebook_size: usize,
) -> Result<(Value, VocabLayout), String> {
    let mut ids = token_ids(&json)?;
    refuse_reserved(&ids, codebooks, codebook_size)?;
    if !ids.contains_key(EOS)
        && let Some(id) = ids.remove(OTHER_EOS)
    {
        json = rename(json, OTHER_EOS, EOS);
        ids.insert(EOS.to_string(), id);
    }
    let mut next = ids.values().max().map_or(0, |max| max + 1);
    let mut new_tokens = Vec::new();
    let mut add = |content: String, special: bool| {
        new_tokens.push(added_token(next, content, special));
        next += 1;
        next - 1
    };
    let [bos, eos] = [BOS, EOS].map(|name| match ids.get(name) {
        Some(id) => *id,
        None => add(name.to_string(), true),
    });
    let [text_start, text_end, audio_start, audio_end] =
        BLOCK_MARKERS.map(|name| add(name.to_string(), true));
    let audio_base = audio_end + 1;
    for codebook in 0..codebooks {
        for code in 0..codebook_size {
            add(
                pua_char(codebook, code as u16, codebook_size).to_string(),
                false,
            );
        }
    }
    let layout = VocabLayout {
        bos,
        eos,
        text_start,
        text_end,
        audio_start,
        audio_end,
        audio_base,
        codebooks,
        codebook_size,
        vocab_size: next,
    };
    added_tokens_mut(&mut json)?.extend(new_tokens);
    Ok((json, layout))
}

/// Every token of the base with its id: the model's vocabulary and the added tokens.
fn token_ids(json: &Value) -> Result<HashMap<String, u32>, String> {
    let id = |value: &Value, token: &str| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| format!("the id of token {token:?} is {value}, not a whole number"))
    };
    let vocab = json.get("model").and_then(|model| model.get("vocab"));
    let mut ids = HashMap::new();
    match vocab {
        Some(Value::Object(vocab)) => {
            for (token, value) in vocab {
                ids.insert(token.clone(), id(value, token)?);
            }
        }
        // Unigram models list [token, score] in the order of the ids.
        Some(Value::Array(vocab)) => {
            for (at, entry) in vocab.iter().enumerate() {
                let token = entry.get(0).and_then(Value::as_str);
                let token = token
                    .ok_or_else(|| format!("entry {at} of model.vocab is {entry}, not a token"))?;
                ids.insert(token.to_string(), at as u32);
            }
        }
        _ => {
            return Err(
                "it has no model with a vocabulary, so it is not a tokenizer.json of Hugging Face tokenizers; \
                 give the tokenizer.json of a base model"
                    .into(),
            );
        }
    }
    let added = json.get("added_tokens").and_then(Value::as_array);
    for token in added.into_iter().flatten() {
        let content = token.get("content").and_then(Value::as_str);
        let content = content.ok_or_else(|| format!("the added token {token} has no content"))?;
        ids.insert(content.to_string(), id(&token["id"], content)?);
    }
    Ok(ids)
}

/// Refuses a base that already has a marker, or spells a token as one of the audio characters.
fn refuse_reserved(
    ids: &HashMap<String, u32>,
    codebooks: usize,
    codebook_size: usize,
) -> Result<(), String> {
    if let Some((marker, id)) = BLOCK_MARKERS
        .iter()
        .find_map(|marker| Some((marker, ids.get(*marker)?)))
    {
        return Err(format!(
            "it already has {marker} (id {id}), so it is already extended; give the base tokenizer it was made from"
        ));
    }
    let audio = |token: &str| {
        let mut chars = token.chars();
        let first = chars.next().filter(|_| chars.next().is_none())?;
        let offset = (first as u32).checked_sub(pua_char(0, 0, codebook_size) as u32)?;
        ((offset as usize) < codebooks * codebook_size).then_some(first as u32)
    };
    // The lowest id, so that the message does not depend on the order of the map.
    let clash = ids
        .iter()
        .filter_map(|(token, id)| Some((id, token, audio(token)?)))
        .min();
    match clash {
        None => Ok(()),
        Some((id, token, code_point)) => Err(format!(
            "its token {token:?} (id {id}) is the character U+{code_point:04X}, which stands for an audio code; \
             give a base whose vocabulary is spelled in bytes (byte-level BPE), as Llama 3 and Qwen3 have"
        )),
    }
}

/// Replaces `from` by `to` wherever it is a whole string or key: added tokens, vocabulary, post-processor.
fn rename(value: Value, from: &str, to: &str) -> Value {
    let renamed = |text: String| if text == from { to.to_string() } else { text };
    match value {
        Value::String(text) => Value::String(renamed(text)),
        Value::Array(items) => items
            .into_iter()
            .map(|item| rename(item, from, to))
            .collect(),
        Value::Object(map) => {
            let pairs = map
                .into_iter()
                .map(|(key, item)| (renamed(key), rename(item, from, to)));
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn added_token(id: u32, content: String, special: bool) -> Value {
    json!({
        "id": id,
        "content": content,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": special,
    })
}

fn added_tokens_mut(json: &mut Value) -> Result<&mut Vec<Value>, String> {
    let object = json.as_object_mut().ok_or("it is not a JSON object")?;
    let list = object.entry("added_tokens").or_insert_with(|| json!([]));
    list.as_array_mut()
        .ok_or_else(|| "its added_tokens are not a list".to_string())
}

/// Refuses an extended tokenizer that loads with other ids than its layout has.
fn check_loaded(text: &[u8], json: &Value, layout: &VocabLayout) -> Result<(), String> {
    let tokenizer = Tokenizer::from_bytes(text)
        .map_err(|error| format!("it does not load as a tokenizer: {error}"))?;
    check_added_ids(&tokenizer, json)?;
    match tokenizer.get_vocab_size(true) {
        rows if rows == layout.vocab_size as usize => Ok(()),
        rows => Err(format!(
            "the extended tokenizer has {rows} tokens but ids up to {}; the ids of a base must have no gaps",
            layout.vocab_size - 1
        )),
    }
}
