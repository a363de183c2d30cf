//! What every row group holds, known from the light columns of the shards.

use crate::error::Result;
use sha2::{Digest, Sha256};
use shards::{ShardReader, View, rendered_tokens};

/// One row group of a corpus.
#[derive(Clone, Debug)]
pub(crate) struct RowGroup {
    /// Number of its shard in the dataset.
    pub shard: usize,
    /// Its number in the shard.
    pub group: usize,
    /// Documents for training.
    pub train: Totals,
    /// Documents kept for validation.
    pub validation: Totals,
}

/// Sizes of a set of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Documents with at least one rendering.
    pub documents: u64,
    /// Tokens of all renderings.
    pub tokens: u64,
}

impl Totals {
    pub(crate) fn sum(all: impl Iterator<Item = Totals>) -> Totals {
        all.fold(Totals::default(), |sum, one| Totals {
            documents: sum.documents + one.documents,
            tokens: sum.tokens + one.tokens,
        })
    }
}

/// Whether the document called `id` is among the `fraction` kept for validation. Depends on nothing else, so a document stays on
/// its side when corpora grow, are tokenized again or are mixed otherwise.
pub fn is_validation(id: &str, fraction: f64) -> bool {
    let digest = Sha256::digest(id.as_bytes());
    let head: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    // The top 53 bits, which a double holds exactly.
    let uniform = (u64::from_be_bytes(head) >> 11) as f64 / (1u64 << 53) as f64;
    uniform < fraction
}

/// Counts the row groups of shard number `shard`.
pub(crate) fn index_shard(
    reader: &ShardReader,
    shard: usize,
    view: View,
    codebooks: usize,
    validation_fraction: f64,
) -> Result<Vec<RowGroup>> {
    let mut row_groups = Vec::with_capacity(reader.row_groups());
    for group in 0..reader.row_groups() {
        let (mut train, mut validation) = (Totals::default(), Totals::default());
        for counts in reader.counts(group)? {
            let renderings = view.renderings(&counts).len() as u64;
            let totals = match is_validation(&counts.id, validation_fraction) {
                true => &mut validation,
                false => &mut train,
            };
            totals.documents += renderings.min(1);
            totals.tokens += renderings * rendered_tokens(&counts, codebooks);
        }
        row_groups.push(RowGroup {
            shard,
            group,
            train,
            validation,
        });
    }
    Ok(row_groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validation_part_is_stable_and_of_the_given_size() {
        let part = |fraction| {
            (0..10_000)
                .filter(|i| is_validation(&format!("document-{i}"), fraction))
                .count()
        };
        assert_eq!((part(0.0), part(1.0)), (0, 10_000));
        assert!((900..1100).contains(&part(0.1)), "{}", part(0.1));
        // SHA-256 of "abc" begins ba7816bf: 0.72839… of the range.
        assert!(is_validation("abc", 0.7284) && !is_validation("abc", 0.7283));
    }
}
