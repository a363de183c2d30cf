//! Which tokens may come next, so that every output is a well-formed document.
//!
//! A document is BOS, blocks, EOS. A text block holds at least one text token; an audio block holds
//! whole frames, each of one code per codebook in order, and at least one frame.

use shards::{TokenKind, VocabLayout};

/// Where in a document the next token stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// Before BOS.
    Start,
    /// Between blocks.
    Outside,
    /// In a text block, after `tokens` tokens.
    Text { tokens: usize },
    /// In an audio block: `frames` whole frames, then codes of the first `codebook` codebooks.
    Audio { frames: usize, codebook: usize },
    /// After EOS.
    End,
}

/// A recogniser of documents that tells, after each token, which tokens may follow.
#[derive(Clone, Debug)]
pub struct Grammar<'a> {
    vocab: &'a VocabLayout,
    codebooks: usize,
    position: Position,
}

/// A set of token ids: all of one kind, and some markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    kind: Option<TokenKind>,
    markers: Vec<u32>,
}

impl Allowed {
    /// Whether an id is in the set.
    pub fn contains(&self, id: u32, vocab: &VocabLayout) -> bool {
        self.markers.contains(&id) || (id < vocab.vocab_size && Some(vocab.kind(id)) == self.kind)
    }

    /// Every id of the set, once.
    pub fn ids(&self, vocab: &VocabLayout) -> Vec<u32> {
        let candidates = match self.kind {
            None => 0..0,
            Some(TokenKind::Audio(codebook)) => {
                let first = vocab.audio_id(codebook, 0);
                first..first + vocab.codebook_size as u32
            }
            Some(TokenKind::Text | TokenKind::Marker) => 0..vocab.audio_base,
        };
        let of_kind = candidates.filter(|&id| Some(vocab.kind(id)) == self.kind);
        self.markers.iter().copied().chain(of_kind).collect()
    }
}

impl<'a> Grammar<'a> {
    /// Before the first token of a document whose frames have the first `codebooks` codebooks.
    pub fn new(vocab: &'a VocabLayout, codebooks: usize) -> Self {
        Self {
            vocab,
            codebooks,
            position: Position::Start,
        }
    }

    /// The ids that may come next; none after the end of the document.
    pub fn allowed(&self) -> Allowed {
        let vocab = self.vocab;
        let (kind, markers) = match self.position {
            Position::Start => (None, vec![vocab.bos]),
            Position::Outside => (None, vec![vocab.text_start, vocab.audio_start, vocab.eos]),
            Position::Text { tokens: 0 } => (Some(TokenKind::Text), vec![]),
            Position::Text { .. } => (Some(TokenKind::Text), vec![vocab.text_end]),
            Position::Audio {
                frames: 1..,
                codebook: 0,
            } => (Some(TokenKind::Audio(0)), vec![vocab.audio_end]),
            Position::Audio { codebook, .. } => (Some(TokenKind::Audio(codebook)), vec![]),
            Position::End => (None, vec![]),
        };
        Allowed { kind, markers }
    }

    /// Moves past a token; false, and nothing changes, if it may not come here.
    pub fn accept(&mut self, id: u32) -> bool {
        let vocab = self.vocab;
        if !self.allowed().contains(id, vocab) {
            return false;
        }
        self.position = match self.position {
            Position::Start => Position::Outside,
            Position::Outside if id == vocab.text_start => Position::Text { tokens: 0 },
            Position::Outside if id == vocab.audio_start => Position::Audio {
                frames: 0,
                codebook: 0,
            },
            Position::Outside | Position::End => Position::End,
            Position::Text { .. } if id == vocab.text_end => Position::Outside,
            Position::Text { tokens } => Position::Text { tokens: tokens + 1 },
            Position::Audio { .. } if id == vocab.audio_end => Position::Outside,
            Position::Audio { frames, codebook } if codebook + 1 == self.codebooks => {
                Position::Audio {
                    frames: frames + 1,
                    codebook: 0,
                }
            }
            Position::Audio { frames, codebook } => Position::Audio {
                frames,
                codebook: codebook + 1,
            },
        };
        true
    }

    /// Whole frames of the audio block this is in; none outside one or within a frame.
    pub fn whole_frames(&self) -> Option<usize> {
        match self.position {
            Position::Audio {
                frames,
                codebook: 0,
            } => Some(frames),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> VocabLayout {
        VocabLayout {
            bos: 0,
            eos: 1,
            text_start: 10,
            text_end: 11,
            audio_start: 12,
            audio_end: 13,
            audio_base: 14,
            codebooks: 3,
            codebook_size: 4,
            vocab_size: 26,
        }
    }

    #[test]
    fn frames_are_whole_and_codebooks_in_order() {
        let vocab = layout();
        let mut grammar = Grammar::new(&vocab, 3);
        for id in [0, 12] {
            assert!(grammar.accept(id));
        }
        assert!(!grammar.accept(13), "an audio block without a frame");
        assert!(!grammar.accept(18), "codebook 1 before codebook 0");
        assert!(grammar.accept(14));
        assert!(!grammar.accept(13), "within a frame");
        assert!(grammar.accept(18) && grammar.accept(25));
        assert_eq!(grammar.whole_frames(), Some(1));
        assert!(grammar.accept(13) && grammar.accept(1));
        assert!(grammar.allowed().ids(&vocab).is_empty());
    }

    #[test]
    fn text_is_neither_marker_nor_audio() {
        let vocab = layout();
        let mut grammar = Grammar::new(&vocab, 3);
        assert!(grammar.accept(0) && grammar.accept(10));
        assert!(!grammar.accept(11), "an empty text block");
        assert!([0, 1, 12, 14, 99].iter().all(|&id| !grammar.accept(id)));
        assert_eq!(grammar.allowed().ids(&vocab), (2..10).collect::<Vec<u32>>());
        assert!(grammar.accept(5) && grammar.accept(11));
    }

    proptest! {
        /// Whatever is drawn from the allowed ids, only they are accepted, and closing ends a block.
        #[test]
        fn random_walks_stay_well_formed(choices in prop::collection::vec(0usize..1000, 1..200)) {
            let vocab = layout();
            let mut grammar = Grammar::new(&vocab, 2);
            for choice in choices {
                let allowed = grammar.allowed();
                let ids = allowed.ids(&vocab);
                for id in 0..vocab.vocab_size + 2 {
                    prop_assert_eq!(ids.contains(&id), allowed.contains(id, &vocab));
                    prop_assert_eq!(ids.contains(&id), grammar.clone().accept(id));
                }
                prop_assert!(ids.iter().all(|&id| id < vocab.audio_id(2, 0)), "codebooks beyond the first two");
                match ids.get(choice % ids.len().max(1)) {
                    Some(&id) => prop_assert!(grammar.accept(id)),
                    None => break,
                }
            }
        }
    }
}
