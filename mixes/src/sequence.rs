//! One training sequence, and how it is put together from pieces of documents.

use shards::{Sink, VocabLayout};

/// One training sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Token ids, `[seq_len]`.
    pub tokens: Vec<u32>,
    /// Which document of this sequence each token belongs to, from 0, `[seq_len]`. Attention does not cross it.
    pub segment_ids: Vec<u32>,
    /// Weight of predicting token i + 1 at position i, `[seq_len]`: 1 within a document, unless the view trains only a part of it;
    /// 0 at its last token, whose successor is another document's, at the last position, and in padding.
    pub loss_weights: Vec<f32>,
}

impl Sequence {
    /// Position of each token within its document, as far as this sequence has it, `[seq_len]`.
    pub fn positions(&self) -> Vec<u32> {
        let mut position = 0;
        let mut before = None;
        let next = |&segment: &u32| {
            position = if before == Some(segment) {
                position + 1
            } else {
                0
            };
            before = Some(segment);
            position
        };
        self.segment_ids.iter().map(next).collect()
    }
}

/// Collects the tokens of a sequence. Each document is announced, and then shown whole: what is before or behind the part that
/// is wanted is passed over.
pub(crate) struct SequenceBuilder<'a> {
    layout: &'a VocabLayout,
    /// Id of code 0 of each codebook.
    bases: Vec<u32>,
    seq_len: usize,
    sequence: Sequence,
    /// Tokens of the present document still to be passed over.
    skip: u64,
    /// Tokens of it still wanted.
    wanted: u64,
    /// Number of the present document in the sequence.
    segment: Option<u32>,
}

impl<'a> SequenceBuilder<'a> {
    pub(crate) fn new(layout: &'a VocabLayout, codebooks: usize, seq_len: usize) -> Self {
        Self {
            layout,
            bases: (0..codebooks)
                .map(|codebook| layout.audio_id(codebook, 0))
                .collect(),
            seq_len,
            sequence: Sequence {
                tokens: Vec::with_capacity(seq_len),
                segment_ids: Vec::with_capacity(seq_len),
                loss_weights: Vec::with_capacity(seq_len),
            },
            skip: 0,
            wanted: 0,
            segment: None,
        }
    }

    /// Another document follows, of which `wanted` tokens are taken after `skip` others.
    pub(crate) fn document(&mut self, skip: u64, wanted: u64) {
        self.skip = skip;
        self.wanted = wanted;
        self.segment = Some(self.segment.map_or(0, |segment| segment + 1));
    }

    /// The sequence, filled up with EOS, as a document of its own that no loss looks at.
    pub(crate) fn finish(mut self) -> Sequence {
        let filled = self.sequence.tokens.len();
        debug_assert_eq!(
            self.wanted, 0,
            "the last document is shorter than announced"
        );
        self.document(0, 0);
        self.sequence.tokens.resize(self.seq_len, self.layout.eos);
        self.label(self.seq_len - filled, false);
        // So far the weights are of the tokens themselves: that at i is of token i + 1. Where a document ends, that is BOS or
        // padding, which have none.
        self.sequence.loss_weights.rotate_left(1);
        self.sequence.loss_weights[self.seq_len - 1] = 0.0;
        self.sequence
    }

    /// Which of the next `length` tokens are taken.
    fn take(&mut self, length: usize) -> std::ops::Range<usize> {
        let skipped = self.skip.min(length as u64);
        self.skip -= skipped;
        let taken = self.wanted.min(length as u64 - skipped);
        self.wanted -= taken;
        skipped as usize..(skipped + taken) as usize
    }

    /// Says whose the last `count` tokens are, and whether they have a loss.
    fn label(&mut self, count: usize, has_loss: bool) {
        let labelled = self.sequence.segment_ids.len() + count;
        let segment = self.segment.expect("a document was announced");
        self.sequence.segment_ids.resize(labelled, segment);
        self.sequence
            .loss_weights
            .resize(labelled, f32::from(u8::from(has_loss)));
    }
}

impl Sink for SequenceBuilder<'_> {
    fn marker(&mut self, id: u32, has_loss: bool) {
        self.text(&[id], has_loss);
    }

    fn text(&mut self, ids: &[u32], has_loss: bool) {
        let range = self.take(ids.len());
        self.label(range.len(), has_loss);
        self.sequence.tokens.extend_from_slice(&ids[range]);
    }

    fn audio(&mut self, codes: &[u16], has_loss: bool) {
        let range = self.take(codes.len());
        self.label(range.len(), has_loss);
        push_audio(&mut self.sequence.tokens, &self.bases, codes, range);
    }

    fn is_full(&self) -> bool {
        self.wanted == 0
    }
}

/// Appends the ids of a range of `codes`, which are frame-major; `bases` are the ids of code 0 of each codebook.
fn push_audio(tokens: &mut Vec<u32>, bases: &[u32], codes: &[u16], range: std::ops::Range<usize>) {
    let codebooks = bases.len();
    let id = |at: usize| bases[at % codebooks] + u32::from(codes[at]);
    // a part of a frame, whole frames, a part of a frame
    let whole = range.start.next_multiple_of(codebooks).min(range.end);
    let tail = whole + (range.end - whole) / codebooks * codebooks;
    tokens.extend((range.start..whole).map(id));
    let begin = tokens.len();
    tokens.resize(begin + tail - whole, 0);
    let frames = codes[whole..tail].chunks_exact(codebooks);
    for (ids, frame) in tokens[begin..].chunks_exact_mut(codebooks).zip(frames) {
        for ((id, code), base) in ids.iter_mut().zip(frame).zip(bases) {
            *id = base + u32::from(*code);
        }
    }
    tokens.extend((tail..range.end).map(id));
}
