//! Ids of documents that occur more than once in the shards of one or several datasets.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use rayon::prelude::*;
use shards::ShardReader;

use crate::error::Result;

/// Hashes of ids that are held at once: 1 GiB of them. With more documents, the shards are read several times.
const HELD: u64 = 1 << 27;

/// The ids that occur more than once in these shards of so many documents, each with the shards that have it.
pub fn repeated(readers: &[ShardReader], documents: u64) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    repeated_in(readers, documents.div_ceil(HELD).max(1))
}

/// In so many passes, each over all ids whose hash leaves one remainder.
fn repeated_in(readers: &[ShardReader], passes: u64) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut repeated = BTreeMap::new();
    for pass in 0..passes {
        let mut hashes = collect(readers, |id, _| {
            Some(hash(id)).filter(|hash| hash % passes == pass)
        })?;
        hashes.par_sort_unstable();
        let twice: HashSet<u64> = hashes
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0])
            .collect();
        drop(hashes);
        if twice.is_empty() {
            continue;
        }
        // two ids may have one hash: only names tell
        let named = collect(readers, |id, reader| {
            let is_named = twice.contains(&hash(id));
            is_named.then(|| (id.to_owned(), reader.path().to_owned()))
        })?;
        let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for (id, path) in named {
            places.entry(id).or_default().push(path);
        }
        repeated.extend(places.into_iter().filter(|(_, paths)| paths.len() > 1));
    }
    Ok(repeated)
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// What `take` makes of the ids of all shards, in their order.
fn collect<T: Send>(
    readers: &[ShardReader],
    take: impl Fn(&str, &ShardReader) -> Option<T> + Sync,
) -> Result<Vec<T>> {
    let groups: Vec<(&ShardReader, usize)> = readers
        .iter()
        .flat_map(|reader| (0..reader.row_groups()).map(move |group| (reader, group)))
        .collect();
    let taken: Vec<Vec<T>> = groups
        .into_par_iter()
        .map(|(reader, group)| {
            let ids = reader.counts(group)?.into_iter();
            Ok(ids.filter_map(|counts| take(&counts.id, reader)).collect())
        })
        .collect::<Result<_>>()?;
    Ok(taken.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use shards::{Document, ShardMeta, ShardWriter, TokenizerInfo, VocabLayout};

    use super::*;

    fn meta() -> ShardMeta {
        ShardMeta {
            codec: None,
            tokenizer: TokenizerInfo {
                name: "t".into(),
                sha256: "0".into(),
            },
            vocab: VocabLayout {
                bos: 10,
                eos: 11,
                text_start: 12,
                text_end: 13,
                audio_start: 14,
                audio_end: 15,
                audio_base: 16,
                codebooks: 1,
                codebook_size: 1,
                vocab_size: 17,
            },
            arguments_sha256: String::new(),
        }
    }

    #[test]
    fn ids_are_found_in_any_number_of_passes() {
        let dir = tempfile::tempdir().unwrap();
        let shard = |name: &str, ids: &[&str]| {
            let path = dir.path().join(name);
            let mut writer = ShardWriter::create(&path, &meta()).unwrap();
            for id in ids {
                let id = id.to_string();
                let document = Document {
                    id,
                    ..Document::default()
                };
                writer.write(&document).unwrap();
            }
            writer.finish().unwrap();
            ShardReader::open(&path).unwrap()
        };
        let readers = [
            shard("one", &["a", "b", "c"]),
            shard("two", &["d", "c", "e"]),
            shard("three", &["f", "a", "c"]),
        ];
        let expected = BTreeMap::from([
            ("a".to_owned(), vec!["one", "three"]),
            ("c".to_owned(), vec!["one", "two", "three"]),
        ]);
        for passes in [1, 2, 7] {
            let found = repeated_in(&readers, passes).unwrap();
            let names = |paths: Vec<PathBuf>| -> Vec<String> {
                let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into();
                paths.into_iter().map(name).collect()
            };
            let found: BTreeMap<_, _> = found.into_iter().map(|(id, at)| (id, names(at))).collect();
            assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        }
        assert!(repeated(&readers[..1], 3).unwrap().is_empty());
    }
}
