//! What every row group holds in a view: counted once from the light columns of the shards, and kept on this machine.
//!
//! The file of a corpus is named by a hash of all that the counts depend on (the shards' hashes, the view, …), so it is never
//! out of date; its first line is the hash of the rest, so a damaged one is counted again.

use crate::corpus::{Look, instructions, rewritten_counts};
use crate::error::{Error, Result};
use crate::source::Source;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shards::{ShardReader, View, Vocab, sha256_hex, write_atomic};
use std::fs;
use std::path::{Path, PathBuf};

/// Version of the file, part of its name.
const FORMAT: u32 = 2;
/// Classes of lengths: up to 2^0, 2^1, … tokens.
pub(crate) const LENGTH_CLASSES: usize = 40;

/// One row group of a corpus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowGroup {
    /// Documents for training.
    pub train: Totals,
    /// Documents kept for validation.
    pub validation: Totals,
    /// Tokens of each training rendering; only where whole documents are packed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lengths: Vec<u64>,
}

/// Sizes of a set of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Totals {
    /// Documents with at least one rendering.
    pub documents: u64,
    /// Renderings.
    pub renderings: u64,
    /// Tokens of all renderings.
    pub tokens: u64,
}

impl Totals {
    pub(crate) fn sum(all: impl Iterator<Item = Totals>) -> Totals {
        all.fold(Totals::default(), |sum, one| Totals {
            documents: sum.documents + one.documents,
            renderings: sum.renderings + one.renderings,
            tokens: sum.tokens + one.tokens,
        })
    }
}

/// A corpus, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// The row groups of each shard.
    pub shards: Vec<Vec<RowGroup>>,
    /// Training renderings by length: class i has those of over 2^(i-1) and up to 2^i tokens.
    pub lengths: Vec<u64>,
}

/// Whether the document called `id` is among the `fraction` kept for validation. Depends on nothing else, so a document stays on
/// its side when corpora grow, are tokenized again or are mixed otherwise.
pub fn is_validation(id: &str, fraction: f64) -> bool {
    if fraction == 0.0 {
        return false;
    }
    // The top 53 bits, which a double holds exactly.
    let uniform = (id_hash(id) >> 11) as f64 / (1u64 << 53) as f64;
    uniform < fraction
}

/// The first 64 bits of the SHA-256 of a document's identifier, or of a component's name.
pub(crate) fn id_hash(id: &str) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    let head: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    u64::from_be_bytes(head)
}

impl Index {
    /// The index of these shards: from the cache, or counted now.
    pub(crate) fn open(
        sources: &[Source],
        vocab: &Vocab,
        look: &Look,
        cache: &Path,
        check: &(dyn Fn(&ShardReader) -> Result<()> + Sync),
    ) -> Result<Self> {
        let path = path(sources, look, cache);
        if let Some(index) = read(&path) {
            return Ok(index);
        }
        let shards: Vec<(&Source, usize)> = sources
            .iter()
            .flat_map(|source| (0..source.shards().len()).map(move |shard| (source, shard)))
            .collect();
        let counted: Vec<Index> = shards
            .into_par_iter()
            .map(|(source, shard)| {
                let reader = source.reader(shard)?;
                check(&reader)?;
                count(&reader, vocab, look)
            })
            .collect::<Result<_>>()?;
        let mut index = Index {
            shards: Vec::new(),
            lengths: vec![0; LENGTH_CLASSES],
        };
        for of_shard in counted {
            index.shards.extend(of_shard.shards);
            let sums = index.lengths.iter_mut().zip(of_shard.lengths);
            sums.for_each(|(sum, one)| *sum += one);
        }
        write(&path, &index);
        Ok(index)
    }

    /// All row groups: shard, number in the shard, counts.
    pub(crate) fn row_groups(&self) -> impl Iterator<Item = (usize, usize, &RowGroup)> {
        self.shards.iter().enumerate().flat_map(|(shard, groups)| {
            groups
                .iter()
                .enumerate()
                .map(move |(number, group)| (shard, number, group))
        })
    }
}

fn path(sources: &[Source], look: &Look, cache: &Path) -> PathBuf {
    let hashes: Vec<Vec<&str>> = sources
        .iter()
        .map(|source| {
            source
                .shards()
                .iter()
                .map(|shard| shard.summary.sha256.as_str())
                .collect()
        })
        .collect();
    let identity = (FORMAT, hashes, look);
    let identity = serde_json::to_vec(&identity).expect("plain data has a JSON form");
    cache.join("index").join(sha256_hex(&identity))
}

/// A whole index; none if there is none, or a damaged one.
fn read(path: &Path) -> Option<Index> {
    let content = fs::read_to_string(path).ok()?;
    let (hash, json) = content.split_once('\n')?;
    let whole = sha256_hex(json.as_bytes()) == hash;
    whole.then(|| serde_json::from_str(json).ok()).flatten()
}

/// A machine that cannot keep an index counts again next time; that is no reason to stop.
fn write(path: &Path, index: &Index) {
    let json = serde_json::to_string(index).expect("plain data has a JSON form");
    let content = format!("{}\n{json}", sha256_hex(json.as_bytes()));
    let folder = path.parent().expect("it has one");
    let _ = fs::create_dir_all(folder).and_then(|()| write_atomic(path, content.as_bytes()));
}

/// Counts the row groups of a shard.
fn count(reader: &ShardReader, vocab: &Vocab, look: &Look) -> Result<Index> {
    let mut lengths = vec![0; LENGTH_CLASSES];
    let mut row_groups = Vec::with_capacity(reader.row_groups());
    for group in 0..reader.row_groups() {
        let mut found = RowGroup {
            train: Totals::default(),
            validation: Totals::default(),
            lengths: Vec::new(),
        };
        let mut counts = reader.counts(group)?;
        // only one view has instructions, and reads more for them
        let instructions = match look.view {
            View::Sft => instructions(reader, group, look.view)?,
            _ => vec![0; counts.len()],
        };
        for (of_document, instruction) in counts.iter().zip(instructions) {
            if let Some(problem) = look.view.misfit(of_document, instruction) {
                return Err(Error::Misfit {
                    id: of_document.id.clone(),
                    path: reader.path().to_path_buf(),
                    problem,
                });
            }
        }
        if counts.iter().any(|counts| look.view.rewrites(counts)) {
            counts = rewritten_counts(reader, group, vocab, look.view)?;
        }
        for counts in counts {
            let is_validation = is_validation(&counts.id, look.validation_fraction);
            let orders = look.view.renderings(&counts);
            let totals = match is_validation {
                true => &mut found.validation,
                false => &mut found.train,
            };
            totals.documents += u64::from(!orders.is_empty());
            for order in orders {
                let tokens = order.tokens(&counts, look.codebooks);
                totals.renderings += 1;
                totals.tokens += tokens;
                if !is_validation {
                    lengths[length_class(tokens)] += 1;
                    if look.keeps_lengths {
                        found.lengths.push(tokens);
                    }
                }
            }
        }
        row_groups.push(found);
    }
    Ok(Index {
        shards: vec![row_groups],
        lengths,
    })
}

/// The class of a length.
fn length_class(tokens: u64) -> usize {
    tokens.next_power_of_two().trailing_zeros() as usize
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

    #[test]
    fn lengths_fall_into_classes_of_powers_of_two() {
        assert_eq!(
            [1, 2, 3, 4, 5, 4096, 4097].map(length_class),
            [0, 1, 2, 2, 3, 12, 13]
        );
    }

    #[test]
    fn a_damaged_index_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index/one");
        let index = Index {
            shards: vec![Vec::new()],
            lengths: vec![1, 2],
        };
        write(&path, &index);
        assert_eq!(read(&path), Some(index));
        let content = fs::read_to_string(&path).unwrap();
        fs::write(&path, content.replace("[1,2]", "[1,3]")).unwrap();
        assert_eq!(read(&path), None);
    }
}
