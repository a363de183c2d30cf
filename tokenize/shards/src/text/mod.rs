//! Byte-level BPE at the speed of memory: the ids that `tokenizers` gives, without its bookkeeping of offsets.
//!
//! A text is cut into words by the tokenizer's own rules ([`split`]); the ids of a word come from a cache ([`cache`]), or, for
//! words not seen lately, from the merges ([`merges`]). [`TextEncoder::new`] recognises the tokenizers that this covers: GPT-2,
//! Llama 3, Qwen 2 to 3 and all that are built like them. Every other one stays with `tokenizers`, the reference of the tests.

mod cache;
mod classes;
mod merges;
mod split;
#[cfg(test)]
mod tests;

use aho_corasick::{AhoCorasick, MatchKind};
use cache::Cache;
use merges::Merges;
use serde_json::Value;
use split::{Pattern, Words};
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use tokenizers::{
    ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, Tokenizer, pre_tokenizers::split::SplitPattern,
};
use unicode_normalization_alignments::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// A byte-level BPE tokenizer whose pipeline is known. Shared by reference between threads.
pub(crate) struct TextEncoder {
    added: Option<AddedTokens>,
    nfc: bool,
    pattern: Pattern,
    merges: Merges,
    /// As many caches as there were callers at the same time; the last used is the next taken, since it is warm.
    caches: Mutex<Vec<Cache>>,
}

impl TextEncoder {
    /// The encoder that gives the ids of `tokenizer`, loaded from `json` with special tokens spelled as text; `None` for one of
    /// another kind.
    pub(crate) fn new(tokenizer: &Tokenizer, json: &Value) -> Option<Self> {
        let nfc = match tokenizer.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::NFC(_)) => true,
            Some(_) => return None,
        };
        let ModelWrapper::BPE(model) = tokenizer.get_model() else {
            return None;
        };
        // An unknown token and byte fallback are for characters outside the vocabulary: `Merges` wants every byte there.
        let plain = model.dropout.is_none_or(|share| share == 0.0)
            && [&model.continuing_subword_prefix, &model.end_of_word_suffix]
                .into_iter()
                .all(|affix| affix.as_deref().unwrap_or_default().is_empty());
        let keeps_ids = tokenizer.get_post_processor().is_none_or(keeps_ids);
        if !plain || !keeps_ids || !tokenizer.get_added_vocabulary().get_encode_special_tokens() {
            return None;
        }
        Some(Self {
            added: AddedTokens::of(tokenizer)?,
            nfc,
            pattern: pattern(tokenizer.get_pre_tokenizer()?)?,
            merges: Merges::of(&json["model"], model.ignore_merges)?,
            caches: Mutex::default(),
        })
    }

    /// Appends the ids of `text` to `ids`.
    pub(crate) fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        let caches = || self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = caches().pop();
        let mut cache = cache.unwrap_or_default();
        let mut rest = 0;
        for token in self.added.iter().flat_map(|added| added.find(text)) {
            self.encode_part(&text[rest..token.start], &mut cache, ids);
            ids.push(token.id);
            rest = token.end;
        }
        self.encode_part(&text[rest..], &mut cache, ids);
        caches().push(cache);
    }

    /// Appends the ids of `text`, in which no added token is looked for.
    fn encode_part(&self, text: &str, cache: &mut Cache, ids: &mut Vec<u32>) {
        let text = if self.nfc { nfc(text) } else { text.into() };
        for word in Words::new(&text, self.pattern) {
            cache.encode(text.as_bytes(), word, &self.merges, ids);
        }
    }
}

/// The added tokens that are found in a text; special ones are not, but hide what they overlap.
struct AddedTokens {
    automaton: AhoCorasick,
    /// By pattern; `None` for a special token.
    ids: Vec<Option<u32>>,
}

struct Found {
    start: usize,
    end: usize,
    id: u32,
}

impl AddedTokens {
    /// `Some(None)` if none can be found in a text; `None` if one has a rule of its own for where it is found.
    fn of(tokenizer: &Tokenizer) -> Option<Option<Self>> {
        let vocabulary = tokenizer.get_added_vocabulary();
        let mut contents = Vec::new();
        let mut ids = Vec::new();
        for (&id, token) in vocabulary.get_added_tokens_decoder() {
            let special = vocabulary.is_special_token(&token.content);
            if !special && (token.normalized || token.single_word || token.lstrip || token.rstrip) {
                return None;
            }
            // Normalized tokens are looked for apart from the others, and those here are special: never found.
            if !token.normalized {
                contents.push(token.content.as_str());
                ids.push((!special).then_some(id));
            }
        }
        if ids.iter().all(Option::is_none) {
            return Some(None);
        }
        let builder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(contents);
        builder.ok().map(|automaton| Some(Self { automaton, ids }))
    }

    fn find(&self, text: &str) -> impl Iterator<Item = Found> {
        self.automaton.find_iter(text).filter_map(|found| {
            self.ids[found.pattern()].map(|id| Found {
                start: found.start(),
                end: found.end(),
                id,
            })
        })
    }
}

/// Whether a text's ids pass unchanged when no special tokens are to be added.
fn keeps_ids(post_processor: &PostProcessorWrapper) -> bool {
    match post_processor {
        PostProcessorWrapper::ByteLevel(_) => true,
        PostProcessorWrapper::Sequence(all) => all.as_ref().iter().all(keeps_ids),
        PostProcessorWrapper::Template(template) => {
            let template = serde_json::to_value(template).unwrap_or_default();
            let parts = template["single"].as_array();
            let texts = |parts: &Vec<Value>| {
                parts
                    .iter()
                    .filter(|part| part.get("Sequence").is_some())
                    .count()
            };
            parts.map(texts) == Some(1)
        }
        _ => false,
    }
}

/// How a pre-tokenizer cuts words, if that is known and their bytes are then the model's alphabet.
fn pattern(pre_tokenizer: &PreTokenizerWrapper) -> Option<Pattern> {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(level) if level.use_regex && !level.add_prefix_space => {
            Some(Pattern::Gpt2)
        }
        PreTokenizerWrapper::Sequence(steps) => match steps.as_ref() {
            [step] => pattern(step),
            [
                PreTokenizerWrapper::Split(split),
                PreTokenizerWrapper::ByteLevel(level),
            ] if !level.use_regex
                && !level.add_prefix_space
                && !split.invert
                && split.behavior == SplitDelimiterBehavior::Isolated =>
            {
                let SplitPattern::Regex(regex) = &split.pattern else {
                    return None;
                };
                Pattern::of_regex(regex)
            }
            _ => None,
        },
        _ => None,
    }
}

/// `text` in the normal form C of the tables that `tokenizers` uses; those of newer Unicode give other ids.
fn nfc(text: &str) -> Cow<'_, str> {
    // No character below U+0300 is changed or combines with one before it.
    let latin = text.as_bytes().iter().all(|&byte| byte < 0xCC);
    if latin || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return text.into();
    }
    text.nfc().map(|(char, _)| char).collect()
}
