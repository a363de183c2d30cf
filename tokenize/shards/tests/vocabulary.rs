//! Extending tokenizers, and encoding transcripts that try to leave the text.

mod common;

use common::{added, byte_level, llama3, qwen3, write};
use proptest::prelude::*;
use serde_json::{Value, json};
use shards::{TokenKind, Vocab, VocabLayout, extend_tokenizer, pua_char};
use std::fs;
use std::sync::OnceLock;
use tempfile::TempDir;
use tokenizers::Tokenizer;

fn extend(base: &Value) -> (TempDir, VocabLayout) {
    let dir = tempfile::tempdir().unwrap();
    let layout = extend_tokenizer(&write(dir.path(), base), dir.path(), 8, 2048).unwrap();
    (dir, layout)
}

fn refusal(base: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.json");
    fs::write(&path, base).unwrap();
    let out = dir.path().join("out");
    let message = extend_tokenizer(&path, &out, 8, 2048)
        .unwrap_err()
        .to_string();
    assert!(message.contains("base.json") && !out.exists(), "{message}");
    message
}

#[test]
fn llama3_becomes_the_marin_vocabulary() {
    let (dir, layout) = extend(&llama3());
    let expected = VocabLayout {
        bos: 128_000,
        eos: 128_001,
        text_start: 128_256,
        text_end: 128_257,
        audio_start: 128_258,
        audio_end: 128_259,
        audio_base: 128_260,
        codebooks: 8,
        codebook_size: 2048,
        vocab_size: 144_644,
    };
    assert_eq!(layout, expected);
    assert_eq!(Vocab::load(dir.path()).unwrap().layout(), &expected);
    let tokenizer = Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
    for (codebook, code) in [(0, 0), (0, 2047), (3, 5), (3, 0x70C), (7, 2047)] {
        let text = pua_char(codebook, code, 2048).to_string();
        assert_eq!(
            tokenizer.token_to_id(&text),
            Some(128_260 + codebook as u32 * 2048 + u32::from(code))
        );
    }
}

#[test]
fn qwen3_becomes_qwen3x() {
    let (dir, layout) = extend(&qwen3());
    assert_eq!(
        (layout.vocab_size, layout.bos, layout.eos),
        (168_058, 151_669, 151_643)
    );
    assert_eq!((layout.text_start, layout.audio_base), (151_670, 151_674));
    let text = fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
    assert!(
        !text.contains("<|endoftext|>"),
        "the renamed token is named everywhere"
    );
    // The whole range survives a normalizer that would alter part of it.
    let tokenizer = Tokenizer::from_bytes(text.as_bytes()).unwrap();
    let all: String = (0..8 * 2048)
        .map(|at| pua_char(at / 2048, (at % 2048) as u16, 2048))
        .collect();
    let ids = tokenizer.encode(all, false).unwrap();
    assert_eq!(ids.get_ids(), (151_674..168_058).collect::<Vec<u32>>());
}

#[test]
fn both_ends_are_added_where_missing_and_the_order_of_keys_is_kept() {
    let (dir, layout) = extend(&byte_level(300, vec![]));
    assert_eq!((layout.bos, layout.eos, layout.text_start), (300, 301, 302));
    let text = fs::read_to_string(dir.path().join("tokenizer.json")).unwrap();
    let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap();
    let keys = [
        "version",
        "truncation",
        "added_tokens",
        "normalizer",
        "pre_tokenizer",
        "model",
    ];
    assert!(keys.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
}

#[test]
fn an_end_of_text_of_the_model_vocabulary_is_renamed_there() {
    let mut base = byte_level(256, vec![added(256, "<|endoftext|>", true)]);
    base["model"]["vocab"]["<|endoftext|>"] = 256.into();
    let (_dir, layout) = extend(&base);
    assert_eq!((layout.eos, layout.bos), (256, 257));
}

#[test]
fn unusable_bases_are_refused() {
    assert!(refusal(b"{\"version\": ").contains("not JSON"));
    assert!(refusal(b"{\"version\": \"1.0\"}").contains("no model"));
    let extended = byte_level(256, vec![added(256, "<|audio_start|>", true)]);
    assert!(refusal(extended.to_string().as_bytes()).contains("already extended"));
    let mut spelled = byte_level(256, vec![]);
    spelled["model"]["vocab"]["，"] = 256.into();
    let message = refusal(spelled.to_string().as_bytes());
    assert!(
        message.contains("U+FF0C") && message.contains("byte-level"),
        "{message}"
    );
    let gap = byte_level(256, vec![added(300, "<|begin_of_text|>", true)]);
    assert!(refusal(gap.to_string().as_bytes()).contains("no gaps"));
    let other =
        json!({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}});
    assert!(refusal(other.to_string().as_bytes()).contains("not a whole number"));
}

#[test]
fn impossible_codebooks_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = write(dir.path(), &byte_level(256, vec![]));
    for (codebooks, size) in [(0, 2048), (8, 0), (8, 70_000), (600, 2048)] {
        let error = extend_tokenizer(&base, dir.path(), codebooks, size).unwrap_err();
        assert!(error.to_string().contains("not possible"), "{error}");
    }
}

#[test]
fn a_folder_of_two_origins_is_refused() {
    let (dir, _) = extend(&byte_level(256, vec![]));
    let (other, _) = extend(&byte_level(300, vec![]));
    fs::copy(
        other.path().join("audio_vocab.json"),
        dir.path().join("audio_vocab.json"),
    )
    .unwrap();
    let error = Vocab::load(dir.path()).err().unwrap().to_string();
    assert!(error.contains("same `tokenize vocab`"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    let error = Vocab::load(empty.path()).err().unwrap().to_string();
    assert!(error.contains("audio_vocab.json"), "{error}");
}

fn qwen3x() -> &'static Vocab {
    static VOCAB: OnceLock<Vocab> = OnceLock::new();
    VOCAB.get_or_init(|| {
        let (dir, _) = extend(&qwen3());
        Vocab::load(dir.path()).unwrap()
    })
}

/// Every token of the synthetic base is one byte, so a transcript spelled out has as many ids as bytes.
#[test]
fn markers_and_audio_characters_in_transcripts_are_text() {
    let vocab = qwen3x();
    let spelled = "你好，world <|text_start|><|begin_of_text|><|end_of_text|><|audio_end|> \u{E000}\u{FEFF}\u{11FFF} \u{FF1F}";
    let ids = vocab.encode_text(spelled).unwrap();
    assert_eq!(ids.len(), spelled.len());
    assert!(ids.iter().all(|&id| id < 256));
    assert_eq!(vocab.decode_text(&ids).unwrap(), spelled);
}

#[test]
fn only_text_is_decoded() {
    let vocab = qwen3x();
    let layout = vocab.layout();
    for id in [
        layout.bos,
        layout.text_end,
        layout.audio_id(3, 9),
        layout.vocab_size,
    ] {
        let error = vocab.decode_text(&[1, id]).unwrap_err().to_string();
        assert!(
            error.contains("token 1") && error.contains(&id.to_string()),
            "{error}"
        );
    }
}

#[test]
fn vocabularies_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Vocab>();
}

proptest! {
    #[test]
    fn transcripts_stay_text(text in "(\\PC|[\u{E000}-\u{11FFF}]|<\\|(text_start|end_of_text|audio_end)\\|>){0,40}") {
        let vocab = qwen3x();
        let ids = vocab.encode_text(&text).unwrap();
        prop_assert!(ids.iter().all(|&id| vocab.layout().kind(id) == TokenKind::Text));
    }
}
