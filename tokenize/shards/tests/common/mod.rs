//! Synthetic base tokenizers, made on the spot so that no real one is needed.
#![allow(dead_code)] // each test program uses its part

use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The character that byte-level BPE writes for a byte: itself if printable, else one from U+0100 on.
fn byte_chars() -> Vec<char> {
    let printable = |b: u32| matches!(b, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    let mut next = 0x100;
    (0..256)
        .map(|byte| {
            if printable(byte) {
                return char::from_u32(byte).unwrap();
            }
            next += 1;
            char::from_u32(next - 1).unwrap()
        })
        .collect()
}

/// An added token as tokenizer.json has it.
pub fn added(id: u32, content: &str, special: bool) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": special,
    })
}

/// A byte-level BPE tokenizer without merges: `model_size` tokens, then `added_tokens`.
pub fn byte_level(model_size: usize, added_tokens: Vec<Value>) -> Value {
    let mut vocab = Map::new();
    for char in byte_chars() {
        vocab.insert(char.to_string(), vocab.len().into());
    }
    for id in vocab.len()..model_size {
        vocab.insert(format!("filler{id}"), id.into());
    }
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": [],
        },
    })
}

/// Llama 3: 128,000 tokens and 256 special ones, of which the first two begin and end a text.
pub fn llama3() -> Value {
    let special = |at: u32| match at {
        0 => added(128_000, "<|begin_of_text|>", true),
        1 => added(128_001, "<|end_of_text|>", true),
        _ => added(
            128_000 + at,
            &format!("<|reserved_special_token_{at}|>"),
            true,
        ),
    };
    byte_level(128_000, (0..256).map(special).collect())
}

/// Qwen3: 151,643 tokens and 26 added ones, the first of which ends a text; it has a normalizer and names its end of text in
/// its post-processor.
pub fn qwen3() -> Value {
    let token = |at: u32| match at {
        0 => added(151_643, "<|endoftext|>", true),
        1..14 => added(151_643 + at, &format!("<|special_{at}|>"), true),
        _ => added(151_643 + at, &format!("<tool_{at}>"), false),
    };
    let mut base = byte_level(151_643, (0..26).map(token).collect());
    base["normalizer"] = json!({"type": "NFC"});
    base["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [151_643], "tokens": ["<|endoftext|>"]}},
    });
    base
}

/// Writes a base tokenizer into `dir`.
pub fn write(dir: &Path, base: &Value) -> PathBuf {
    let path = dir.join("base.json");
    fs::write(&path, serde_json::to_vec(base).unwrap()).unwrap();
    path
}
