//! What packing cuts and leaves out.

use crate::corpus::Corpus;
use crate::index::RowGroup;
use crate::mixture::Packing;
use serde::Serialize;

/// What packing cuts and leaves out of an epoch over a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truncation {
    /// Training renderings of documents: two of one that is shown in both orders.
    pub renderings: u64,
    /// Renderings of more tokens than this are counted as long: the length of a sequence, or, where documents are cut, the
    /// power of two that is not below it, as lengths are kept by powers of two only.
    pub long_over_tokens: u64,
    /// Long renderings. Concatenation cuts them, best-fit packing leaves them out.
    pub long_renderings: u64,
    /// Training tokens that are in no sequence of an epoch: what remains at the end of each group, or the long renderings.
    pub lost_tokens: u64,
    /// Tokens of an epoch's sequences that are padding.
    pub padding_tokens: u64,
}

impl Truncation {
    pub(crate) fn of(corpus: &Corpus) -> Self {
        let seq_len = corpus.seq_len as u64;
        let train = corpus.train();
        let served = corpus.sequences().iter().sum::<u64>() * seq_len;
        match corpus.packing {
            Packing::Concat => {
                let class = seq_len.next_power_of_two();
                let longer = corpus.index.lengths.iter();
                Self {
                    renderings: train.renderings,
                    long_over_tokens: class,
                    long_renderings: longer.skip(class.trailing_zeros() as usize + 1).sum(),
                    lost_tokens: train.tokens - served,
                    padding_tokens: 0,
                }
            }
            Packing::BestFit => {
                let row_groups = corpus.index.row_groups();
                let lengths =
                    row_groups.flat_map(|(_, _, group): (_, _, &RowGroup)| &group.lengths);
                let long = lengths.filter(|&&tokens| tokens > seq_len);
                let (count, lost) = long.fold((0, 0), |(n, sum), tokens| (n + 1, sum + tokens));
                Self {
                    renderings: train.renderings,
                    long_over_tokens: seq_len,
                    long_renderings: count,
                    lost_tokens: lost,
                    padding_tokens: served - (train.tokens - lost),
                }
            }
        }
    }
}
