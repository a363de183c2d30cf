//! Packing: renderings one after another, cut into sequences of equal length.

/// One training sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct Sequence {
    /// Token ids, `[seq_len]`.
    pub tokens: Vec<u32>,
    /// Which document of this sequence each token belongs to, from 0, `[seq_len]`. Attention does not cross it.
    pub segment_ids: Vec<u32>,
    /// Weight of predicting token i + 1 at position i, `[seq_len]`: 1 within a document; 0 at its last token, whose successor is
    /// another document's, at the last position, and in padding.
    pub loss_weights: Vec<f32>,
}

/// Renderings laid end to end.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Packed {
    tokens: Vec<u32>,
    /// Where each rendering starts in `tokens`, ascending.
    starts: Vec<usize>,
}

impl Packed {
    /// Appends the rendering that `render` writes.
    pub(crate) fn append(&mut self, render: impl FnOnce(&mut Vec<u32>)) {
        self.starts.push(self.tokens.len());
        render(&mut self.tokens);
    }

    /// Number of sequences with a padded last one for the remainder.
    pub(crate) fn padded_sequences(&self, seq_len: usize) -> usize {
        self.tokens.len().div_ceil(seq_len)
    }

    /// Sequence number `at`. Past the last token it is filled with `padding`, as a document of its own that no loss looks at.
    pub(crate) fn sequence(&self, at: usize, seq_len: usize, padding: u32) -> Sequence {
        let begin = at * seq_len;
        let end = (begin + seq_len).min(self.tokens.len());
        let mut tokens = self.tokens[begin..end].to_vec();
        let filled = tokens.len();
        tokens.resize(seq_len, padding);

        // Documents after the one that the sequence begins within.
        let next = self.starts.partition_point(|&start| start <= begin);
        let mut starts = self.starts[next..].iter().peekable();
        let mut segment = 0;
        let mut segment_ids = Vec::with_capacity(seq_len);
        for position in begin..begin + seq_len {
            if starts.next_if(|&&start| start == position).is_some() || position == begin + filled {
                segment += 1;
            }
            segment_ids.push(segment);
        }
        let follows = |i: usize| i + 1 < filled && segment_ids[i] == segment_ids[i + 1];
        let loss_weights = (0..seq_len)
            .map(|i| f32::from(u8::from(follows(i))))
            .collect();
        Sequence {
            tokens,
            segment_ids,
            loss_weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(lengths: &[usize]) -> Packed {
        let mut packed = Packed::default();
        for (number, &length) in lengths.iter().enumerate() {
            packed.append(|out| out.extend((0..length).map(|i| (number * 10 + i) as u32)));
        }
        packed
    }

    #[test]
    fn sequences_are_cut_from_the_row_of_renderings() {
        let packed = packed(&[3, 4, 2]);
        assert_eq!(packed.padded_sequences(4), 3);
        let first = packed.sequence(0, 4, 99);
        assert_eq!(first.tokens, [0, 1, 2, 10]);
        assert_eq!(first.segment_ids, [0, 0, 0, 1]);
        assert_eq!(first.loss_weights, [1.0, 1.0, 0.0, 0.0]);
        let second = packed.sequence(1, 4, 99);
        assert_eq!(second.tokens, [11, 12, 13, 20]);
        assert_eq!(second.segment_ids, [0, 0, 0, 1]);
        assert_eq!(second.loss_weights, [1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn padding_is_a_document_without_loss() {
        let padded = packed(&[3, 4, 2]).sequence(1, 6, 99);
        assert_eq!(padded.tokens, [13, 20, 21, 99, 99, 99]);
        assert_eq!(padded.segment_ids, [0, 1, 1, 2, 2, 2]);
        assert_eq!(padded.loss_weights, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
