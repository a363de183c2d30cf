//! The fast encoder held against `tokenizers`, for every family: words, ids, long words.

use super::split::{GPT2, LLAMA3, QWEN2};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;
use tokenizers::Model;
use tokenizers::utils::SysRegex;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A tokenizer of the reference, and the encoder that must give its ids.
struct Pair {
    name: &'static str,
    reference: Tokenizer,
    encoder: TextEncoder,
}

fn load(json: &Value) -> (Tokenizer, Option<TextEncoder>) {
    let mut reference = Tokenizer::from_bytes(serde_json::to_vec(json).unwrap()).unwrap();
    reference.set_encode_special_tokens(true);
    let encoder = TextEncoder::new(&reference, json);
    (reference, encoder)
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&fs::read(root().join(path)).unwrap()).unwrap()
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let family = |name: &'static str, path: &str| {
        let (reference, encoder) = load(&read(path));
        let encoder = encoder.unwrap_or_else(|| panic!("{name} must be recognised"));
        Pair {
            name,
            reference,
            encoder,
        }
    };
    vec![
        family("llama3", "tests/fixtures/text/llama3.json"),
        family("qwen3", "tests/fixtures/text/qwen3.json"),
        family("gpt2", "tests/fixtures/text/gpt2.json"),
        family("bundled", "../assets/tokenizer.json"),
    ]
});

fn check(text: &str) {
    for pair in PAIRS.iter() {
        let expected = pair.reference.encode_fast(text, false).unwrap();
        let mut ids = vec![7];
        pair.encoder.encode(text, &mut ids);
        let begin: String = text.chars().take(200).collect();
        // Compared first, so that a failure does not print a whole document.
        assert!(ids[1..] == *expected.get_ids(), "{}: {begin:?}", pair.name);
    }
}

/// Words of `text` by the regular expression, as `tokenizers` finds them.
fn check_words(text: &str) {
    static REGEXES: LazyLock<[(Pattern, SysRegex); 3]> = LazyLock::new(|| {
        let compiled = |regex| SysRegex::new(regex).unwrap();
        [
            (Pattern::Gpt2, compiled(GPT2)),
            (Pattern::of_regex(LLAMA3).unwrap(), compiled(LLAMA3)),
            (Pattern::of_regex(QWEN2).unwrap(), compiled(QWEN2)),
        ]
    });
    for (pattern, regex) in REGEXES.iter() {
        let expected: Vec<_> = regex
            .find_iter(text)
            .map(|(start, end)| start..end)
            .collect();
        let words: Vec<_> = Words::new(text, *pattern).collect();
        assert!(
            words == expected,
            "{pattern:?}: {text:?}: {words:?}, expected {expected:?}"
        );
    }
}

/// Text made of what the patterns treat apart, and of the scripts that they were not made for.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-zA-Z]{1,12}",
        2 => "[ ]{1,4}",
        2 => "[\r\n\t \u{b}\u{c}\u{85}\u{a0}\u{1680}\u{2003}\u{2028}\u{2029}\u{202f}\u{3000}\u{200b}\u{feff}]{1,5}",
        2 => "['’](s|t|re|ve|m|ll|d|S|T|RE|Ve|M|lL|D|ſ|r|v|l|ss|x)",
        1 => "[0-9]{1,8}",
        1 => r"\p{N}{1,5}",
        1 => r"[[:punct:]]{1,6}",
        1 => "[a-zé\u{300}\u{301}\u{327}\u{345}\u{315}\u{1161}가-갃ᄀ-나-ᅣᆨ-ᆪ]{1,8}",
        1 => r"\p{Han}{1,6}|\p{Hiragana}{1,6}|\p{Hangul}{1,6}|\p{Thai}{1,12}|\p{Arabic}{1,8}|\p{Devanagari}{1,12}|\p{Cyrillic}{1,20}",
        1 => r"\p{M}{1,4}|\p{Emoji}{1,4}\u{fe0f}?|👨\u{200d}👩\u{200d}👧|🇪🇸|👍🏽",
        1 => "<think>|</think>|<tool_call>|<\\|im_end\\|>|<\\|endoftext\\|>|<\\|begin_of_text\\|>|<\\|fim_pad\\|>|<think<think>>",
        1 => any::<String>(),
        1 => proptest::collection::vec(any::<char>(), 0..6).prop_map(String::from_iter),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_texts_have_the_reference_ids(text in texts()) {
        check(&text);
    }

    #[test]
    fn random_texts_have_the_reference_words(text in texts()) {
        check_words(&text);
    }

    #[test]
    fn long_words_have_the_reference_ids(word in "[aeinrst]{60,400}|[ \n]{60,400}|[-=_]{60,400}|[ก-ฮ]{20,100}|[а-д]{30,100}") {
        check(&word);
    }
}

/// Every character, alone, beside what the patterns treat apart, and as part of a contraction before another letter.
#[test]
fn every_character_is_of_the_reference_class() {
    for block in (0..=u32::from(char::MAX)).step_by(64) {
        let chars = (block..block + 64).filter_map(char::from_u32);
        let text =
            chars.map(|c| format!("{c}a{c}1{c} '{c}. {c}!\n{c}\n x'{c}x'r{c}x'v{c}x'l{c}x "));
        check_words(&text.collect::<String>());
    }
}

#[test]
fn every_character_is_normalized_like_the_reference() {
    for block in (0..=u32::from(char::MAX)).step_by(64) {
        let chars = (block..block + 64).filter_map(char::from_u32);
        let text: String = chars
            .flat_map(|char| ['e', char, ' ', char, '\u{301}', 'x', '\u{345}', char])
            .collect();
        assert!(
            nfc(&text) == text.nfc().map(|(char, _)| char).collect::<String>(),
            "{text:?}"
        );
    }
}

#[test]
fn many_languages_have_the_reference_ids() {
    let text = fs::read_to_string(root().join("tests/fixtures/text/languages.txt")).unwrap();
    check(&text);
    for line in text.lines() {
        check(line);
        check(&line.replace(' ', "\r\n  "));
        check(&line.to_uppercase());
        let backwards: String = line.chars().rev().collect();
        check(&backwards);
    }
}

#[test]
fn documents_of_the_repository_have_the_reference_ids() {
    let corpus = fs::read_to_string(root().join("../../tests/corpus/manifest.jsonl")).unwrap();
    check(&corpus);
    for line in corpus.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        check(line["text"].as_str().unwrap());
    }
    for path in [
        "../../README.md",
        "../../docs/dependencies.md",
        "../../CONTRIBUTING.md",
        "src/vocab.rs",
    ] {
        check(&fs::read_to_string(root().join(path)).unwrap());
    }
}

/// More words than the cache holds, each several times: what was driven out comes back the same.
#[test]
fn words_driven_out_of_the_cache_are_encoded_again() {
    let words = |salt: u64| {
        (0..60_000u64).map(move |at| {
            format!(
                " {:x}",
                (at * 7 + salt % 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24
            )
        })
    };
    check(&(0..3).flat_map(words).collect::<String>());
}

/// A megabyte of one thing is one word, or very many: neither takes time that grows with the square, which would be hours.
#[test]
fn long_monotonous_texts_are_encoded() {
    for piece in ["a", " ", "\n", "ab", "7", "字", "' ", "\u{301}"] {
        check(&piece.repeat(20_000 / piece.len()));
        let text = piece.repeat(1_000_000 / piece.len());
        for pair in PAIRS.iter() {
            let mut ids = Vec::new();
            pair.encoder.encode(&text, &mut ids);
            let model = pair.reference.get_model();
            let bytes: usize = ids
                .iter()
                .map(|&id| model.id_to_token(id).unwrap().chars().count())
                .sum();
            assert_eq!(bytes, text.len(), "{}: {piece:?}", pair.name);
        }
    }
}

#[test]
fn unknown_kinds_are_left_to_the_reference() {
    let base = read("tests/fixtures/text/qwen3.json");
    let changes: [(&str, Value); 10] = [
        ("/normalizer", serde_json::json!({"type": "NFKC"})),
        ("/pre_tokenizer", Value::Null),
        (
            "/pre_tokenizer/pretokenizers/0/pattern/Regex",
            r"\s+|\S+".into(),
        ),
        (
            "/pre_tokenizer/pretokenizers/0/behavior",
            "MergedWithNext".into(),
        ),
        ("/pre_tokenizer/pretokenizers/0/invert", true.into()),
        (
            "/pre_tokenizer/pretokenizers/1/add_prefix_space",
            true.into(),
        ),
        ("/model/dropout", 0.5.into()),
        ("/model/end_of_word_suffix", "</w>".into()),
        ("/added_tokens/20/normalized", true.into()),
        ("/added_tokens/20/lstrip", true.into()),
    ];
    assert!(load(&base).1.is_some() && base["added_tokens"][20]["special"] == false);
    for (pointer, value) in changes {
        let mut json = base.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        assert!(load(&json).1.is_none(), "{pointer}");
    }
}
