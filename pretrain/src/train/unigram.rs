//! The baseline a model must beat: each token predicted by its frequency in training.

use mixes::{Loader, Sequence};
use shards::VocabLayout;

use super::Losses;
use super::batch::scored;
use crate::metrics::Unigram;

/// Training tokens counted at most; the frequencies of a larger corpus do not change the baseline.
const MAX_TOKENS: u64 = 1 << 24;

/// Validation loss of an add-one-smoothed unigram model of the targets of the first epoch.
///
/// # Errors
/// Those of reading the shards.
pub fn unigram(
    loader: &Loader,
    validation: &[Sequence],
    seq_len: usize,
    vocab: &VocabLayout,
) -> mixes::Result<Unigram> {
    let sequences = loader
        .summary()
        .sequences_per_epoch
        .min(MAX_TOKENS / seq_len as u64 + 1);
    let mut counts = vec![1u64; vocab.vocab_size as usize];
    for index in 0..sequences {
        for (target, weight) in scored(&loader.sequence(index)?) {
            counts[target as usize] += u64::from(weight != 0.0);
        }
    }
    let total = counts.iter().sum::<u64>() as f64;
    let mut losses = Losses::new(vocab, ["all"]);
    for (target, weight) in validation.iter().flat_map(scored) {
        let nll = (total / counts[target as usize] as f64).ln();
        if weight != 0.0 {
            losses.add_token(0, target, f64::from(weight), nll);
        }
    }
    Ok(Unigram {
        loss: losses.mean(),
        by_kind: losses.by_kind(),
    })
}
