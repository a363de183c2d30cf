//! A group: the decoded documents of a few row groups, and the sequences that they are packed into.
//!
//! Documents are kept as codes and text ids, a half to a quarter of the size of their tokens, and a sequence is rendered when it
//! is asked for.

use crate::best_fit::best_fit;
use crate::permutation::Permutation;
use crate::sequence::{Sequence, SequenceBuilder};
use shards::{Order, SegmentRef, VocabLayout};

/// Documents in columns, each with the renderings that its view has of it.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    /// First segment of each document, and the number of all: `[documents + 1]`.
    segments: Vec<usize>,
    /// End of each segment's ids and codes: `[segments]`.
    ends: Vec<(usize, usize)>,
    text_ids: Vec<u32>,
    /// Those that the view uses, frame-major.
    codes: Vec<u16>,
    /// Each with its document.
    renderings: Vec<(usize, Rendering)>,
}

/// A document in an order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendering {
    pub order: Order,
    /// Segments without loss, from the first on.
    pub instruction: u32,
    pub tokens: u64,
}

impl Documents {
    /// Starts a document of no segments yet, with its renderings.
    pub(crate) fn start(&mut self, renderings: impl Iterator<Item = Rendering>) {
        if self.segments.is_empty() {
            self.segments.push(0);
        }
        let document = self.segments.len() - 1;
        self.segments.push(self.ends.len());
        self.renderings
            .extend(renderings.map(|rendering| (document, rendering)));
    }

    /// Adds a segment to the last document, with the first `kept` of the `stored` codes of each frame.
    pub(crate) fn push(&mut self, text_ids: &[u32], codes: &[u16], stored: usize, kept: usize) {
        self.text_ids.extend_from_slice(text_ids);
        match kept < stored {
            true => codes
                .chunks_exact(stored)
                .for_each(|frame| self.codes.extend_from_slice(&frame[..kept])),
            false => self.codes.extend_from_slice(codes),
        }
        self.ends.push((self.text_ids.len(), self.codes.len()));
        *self.segments.last_mut().expect("a document was started") = self.ends.len();
    }

    /// Counts of the renderings, and of their tokens.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let tokens = self
            .renderings
            .iter()
            .map(|(_, rendering)| rendering.tokens);
        (self.renderings.len() as u64, tokens.sum())
    }

    /// Appends the documents of `other`.
    pub(crate) fn append(&mut self, other: Documents) {
        if self.segments.is_empty() {
            *self = other;
            return;
        }
        let first = self.segments.len() - 1;
        let (segments, text, codes) = (self.ends.len(), self.text_ids.len(), self.codes.len());
        self.segments
            .extend(other.segments.iter().skip(1).map(|at| segments + at));
        self.ends
            .extend(other.ends.iter().map(|(t, c)| (text + t, codes + c)));
        self.text_ids.extend_from_slice(&other.text_ids);
        self.codes.extend_from_slice(&other.codes);
        let renderings = other.renderings.iter();
        self.renderings
            .extend(renderings.map(|(document, rendering)| (first + document, *rendering)));
    }

    fn of(&self, document: usize) -> impl Iterator<Item = SegmentRef<'_>> {
        (self.segments[document]..self.segments[document + 1]).map(|segment| {
            let (text, codes) = segment
                .checked_sub(1)
                .map_or((0, 0), |before| self.ends[before]);
            let (text_end, codes_end) = self.ends[segment];
            SegmentRef {
                text: "",
                text_ids: &self.text_ids[text..text_end],
                codes: &self.codes[codes..codes_end],
            }
        })
    }
}

/// How documents become sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Laid end to end and cut at every `seq_len` tokens; the remainder is left out.
    Concat,
    /// The same, and the remainder is a last, padded sequence.
    ConcatPadded,
    /// Whole documents, as many as fit; sequences are padded, and documents longer than one are left out.
    BestFit,
}

/// Documents in an order, cut into sequences.
#[derive(Debug)]
pub(crate) struct Group {
    documents: Documents,
    seq_len: usize,
    /// Renderings, in the order in which they lie end to end.
    order: Vec<usize>,
    /// Where each of them starts, and the end of all: `[renderings + 1]`.
    starts: Vec<u64>,
    /// Where each sequence begins and ends.
    sequences: Vec<(u64, u64)>,
}

impl Group {
    /// Packs `documents`, permuted by `permutation`, which is given their number of renderings.
    pub(crate) fn pack(
        mut documents: Documents,
        seq_len: usize,
        cut: Cut,
        permutation: impl FnOnce(u64) -> Option<Permutation>,
    ) -> Self {
        // they stay for a whole window, and were collected without knowing how many there are
        documents.text_ids.shrink_to_fit();
        documents.codes.shrink_to_fit();
        let count = documents.renderings.len();
        let permutation = permutation(count as u64);
        let permuted = |at: usize| {
            permutation
                .as_ref()
                .map_or(at, |p| p.apply(at as u64) as usize)
        };
        let order: Vec<usize> = (0..count).map(permuted).collect();
        let length = |rendering: usize| documents.renderings[rendering].1.tokens;
        let (order, bins) = match cut {
            Cut::Concat | Cut::ConcatPadded => (order, Vec::new()),
            Cut::BestFit => best_fit(&order, length, seq_len as u64),
        };
        let mut starts = vec![0];
        starts.extend(order.iter().scan(0, |end, &rendering| {
            *end += length(rendering);
            Some(*end)
        }));
        let total = starts[order.len()];
        let len = seq_len as u64;
        let sequences = match cut {
            Cut::Concat => (0..total / len).map(|i| (i * len, (i + 1) * len)).collect(),
            Cut::ConcatPadded => (0..total.div_ceil(len))
                .map(|i| (i * len, total.min((i + 1) * len)))
                .collect(),
            Cut::BestFit => bins
                .into_iter()
                .map(|bin| (starts[bin.start], starts[bin.end]))
                .collect(),
        };
        Self {
            documents,
            seq_len,
            order,
            starts,
            sequences,
        }
    }

    /// Number of sequences.
    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Renders a sequence. `codebooks` is the number of codes a frame has here.
    pub(crate) fn sequence(&self, at: usize, layout: &VocabLayout, codebooks: usize) -> Sequence {
        let (begin, end) = self.sequences[at];
        let mut builder = SequenceBuilder::new(layout, codebooks, self.seq_len);
        let first = self.starts.partition_point(|&start| start <= begin) - 1;
        for (place, &rendering) in self.order.iter().enumerate().skip(first) {
            let start = self.starts[place];
            if start >= end {
                break;
            }
            let (document, rendering) = self.documents.renderings[rendering];
            let until = end.min(self.starts[place + 1]);
            builder.document(begin.saturating_sub(start), until - start.max(begin));
            let segments = self.documents.of(document);
            let instruction = rendering.instruction as usize;
            let order = rendering.order;
            order.show(segments, instruction, layout, &mut builder);
        }
        builder.finish()
    }
}
