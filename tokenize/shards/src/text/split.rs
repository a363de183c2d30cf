//! Cuts a text into the words that are encoded apart, by the regular expressions of the tokenizer families.
//!
//! Each function follows one expression, alternative by alternative, in one pass; the tests hold them against the expressions.

use super::classes::{CLASSES, Class, Classes};
use std::ops::Range;

/// The regular expression of GPT-2, which `tokenizers` calls ByteLevel.
#[cfg(test)]
pub(super) const GPT2: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// That of Llama 3 and of OpenAI's cl100k.
pub(super) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// That of Qwen 2, 2.5 and 3: numbers digit by digit.
pub(super) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A family's way to cut words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// [`GPT2`]
    Gpt2,
    /// [`LLAMA3`] and [`QWEN2`], which differ in how many digits a word has at most.
    Llama3 { digits: usize },
}

impl Pattern {
    /// The family of a pre-tokenizer's regular expression, if known.
    pub(super) fn of_regex(regex: &str) -> Option<Self> {
        match regex {
            LLAMA3 => Some(Self::Llama3 { digits: 3 }),
            QWEN2 => Some(Self::Llama3 { digits: 1 }),
            _ => None,
        }
    }
}

/// The words of a text in order, as ranges of bytes. They cover it without gaps.
pub(super) struct Words<'a> {
    text: &'a str,
    at: usize,
    pattern: Pattern,
    classes: &'static Classes,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str, pattern: Pattern) -> Self {
        Self {
            text,
            at: 0,
            pattern,
            classes: &CLASSES,
        }
    }

    fn class(&self, at: usize) -> Option<(Class, usize)> {
        self.classes.at(self.text, at)
    }

    /// The end of the characters of `class` from `at` on.
    fn run(&self, at: usize, class: Class) -> usize {
        self.classes.run(self.text, at, |found| found == class)
    }

    fn gpt2(&self, class: Class, bytes: usize) -> usize {
        let start = self.at;
        if let Some(end) = self.contraction(false) {
            return end;
        }
        if !class.is_space() {
            return self.run(start + bytes, class);
        }
        match self.class(start + bytes) {
            Some((next, n)) if self.text.as_bytes()[start] == b' ' && !next.is_space() => {
                self.run(start + bytes + n, next)
            }
            _ => self.spaces(),
        }
    }

    fn llama3(&self, class: Class, bytes: usize, digits: usize) -> usize {
        let start = self.at;
        if let Some(end) = self.contraction(true) {
            return end;
        }
        if class == Class::Letter {
            return self.run(start + bytes, Class::Letter);
        }
        if class == Class::Number {
            return self.digits(digits);
        }
        let next = self.class(start + bytes);
        if let Some((Class::Letter, n)) = next
            && class != Class::Newline
        {
            return self.run(start + bytes + n, Class::Letter);
        }
        if class == Class::Other {
            return self.run(self.run(start + bytes, Class::Other), Class::Newline);
        }
        if let Some((Class::Other, n)) = next
            && self.text.as_bytes()[start] == b' '
        {
            return self.run(self.run(start + bytes + n, Class::Other), Class::Newline);
        }
        let end = self.classes.run(self.text, start, Class::is_space);
        match self.text[start..end].rfind(['\r', '\n']) {
            Some(newline) => start + newline + 1,
            None => self.spaces(),
        }
    }

    /// The end of `'s|'t|'re|'ve|'m|'ll|'d` at the current place.
    #[inline]
    fn contraction(&self, any_case: bool) -> Option<usize> {
        let rest = self.text.as_bytes()[self.at..].strip_prefix(b"'")?;
        // The long s is the only other character that folds to one of these letters.
        if any_case && rest.starts_with("ſ".as_bytes()) {
            return Some(self.at + 1 + "ſ".len());
        }
        let letter = |at: usize| {
            let &byte = rest.get(at)?;
            Some(if any_case {
                byte.to_ascii_lowercase()
            } else {
                byte
            })
        };
        match (letter(0)?, letter(1)) {
            (b's' | b't' | b'm' | b'd', _) => Some(self.at + 2),
            (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(self.at + 3),
            _ => None,
        }
    }

    /// The end of `\p{N}{1,most}`.
    fn digits(&self, most: usize) -> usize {
        let mut end = self.at;
        for _ in 0..most {
            match self.class(end) {
                Some((Class::Number, bytes)) => end += bytes,
                _ => break,
            }
        }
        end
    }

    /// The end of `\s+(?!\S)|\s+`: all spaces but the last, which goes with the word behind it.
    fn spaces(&self) -> usize {
        let end = self.classes.run(self.text, self.at, Class::is_space);
        let last = self.text[..end]
            .chars()
            .next_back()
            .map_or(0, char::len_utf8);
        if end == self.text.len() || end - last == self.at {
            end
        } else {
            end - last
        }
    }
}

impl Iterator for Words<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        let (class, bytes) = self.class(self.at)?;
        let end = match self.pattern {
            Pattern::Gpt2 => self.gpt2(class, bytes),
            Pattern::Llama3 { digits } => self.llama3(class, bytes, digits),
        };
        let word = self.at..end;
        self.at = end;
        Some(word)
    }
}
