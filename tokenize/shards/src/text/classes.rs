//! Which characters are letters, numbers and spaces, as the regular expressions of pre-tokenizers see them.

use std::sync::LazyLock;
use tokenizers::utils::SysRegex;

/// What the patterns of pre-tokenizers tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    /// None of the others: punctuation, symbols, combining marks, unassigned characters.
    Other,
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s` but for the two of `Newline`
    Space,
    /// `[\r\n]`
    Newline,
}

impl Class {
    pub(super) fn is_space(self) -> bool {
        matches!(self, Class::Space | Class::Newline)
    }
}

const PAGE: usize = 256;

/// The class of every character: pages of 256, of which equal ones are stored once.
pub(super) struct Classes {
    ascii: [Class; 128],
    page_of: Vec<u16>,
    pages: Vec<[Class; PAGE]>,
}

/// Asked of the regular expression engine that `tokenizers` uses, so that both are of one Unicode version.
pub(super) static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::of_engine);

impl Classes {
    fn of_engine() -> Self {
        let all: String = ('\0'..=char::MAX).collect();
        let mut classes = vec![Class::Other; char::MAX as usize + 1];
        for (class, pattern) in [
            (Class::Letter, r"\p{L}+"),
            (Class::Number, r"\p{N}+"),
            (Class::Space, r"\s+"),
            (Class::Newline, r"[\r\n]+"),
        ] {
            let regex = SysRegex::new(pattern).expect("the pattern is well-formed");
            for (start, end) in regex.find_iter(&all) {
                for char in all[start..end].chars() {
                    classes[char as usize] = class;
                }
            }
        }
        let mut pages: Vec<[Class; PAGE]> = Vec::new();
        let page_of = classes.chunks_exact(PAGE).map(|page| {
            let known = pages.iter().position(|known| known == page);
            known.unwrap_or_else(|| {
                pages.push(page.try_into().expect("a page is whole"));
                pages.len() - 1
            }) as u16
        });
        Self {
            ascii: classes[..128].try_into().expect("128 of them"),
            page_of: page_of.collect(),
            pages,
        }
    }

    /// The class of the character at byte `at` of `text`, and its length in bytes; `None` at the end.
    #[inline]
    pub(super) fn at(&self, text: &str, at: usize) -> Option<(Class, usize)> {
        let &byte = text.as_bytes().get(at)?;
        if byte < 0x80 {
            return Some((self.ascii[usize::from(byte)], 1));
        }
        let char = text[at..].chars().next()?;
        let page = self.page_of[char as usize / PAGE];
        let class = self.pages[usize::from(page)][char as usize % PAGE];
        Some((class, char.len_utf8()))
    }

    /// Where the characters that fulfil `belongs` end, from byte `at` of `text` on.
    #[inline]
    pub(super) fn run(&self, text: &str, mut at: usize, belongs: impl Fn(Class) -> bool) -> usize {
        while let Some((class, bytes)) = self.at(text, at) {
            if !belongs(class) {
                break;
            }
            at += bytes;
        }
        at
    }
}
