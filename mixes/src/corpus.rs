//! One component of a mixture, opened: its dataset, checked, and its row groups, packed on demand.

use crate::error::{Error, Result};
use crate::index::{RowGroup, Totals, index_shard, is_validation};
use crate::mixture::{Component, Mixture};
use crate::pack::Packed;
use crate::permutation::Permutation;
use sha2::{Digest, Sha256};
use shards::{CodecInfo, Dataset, DocumentCounts, ShardReader, Vocab};
use std::fs;
use std::path::{Path, PathBuf};

/// A component's dataset.
pub(crate) struct Corpus {
    pub component: Component,
    pub path: PathBuf,
    pub vocab: Vocab,
    pub row_groups: Vec<RowGroup>,
    /// Hash of the shards' hashes.
    pub sha256: String,
    validation_fraction: f64,
    readers: Vec<ShardReader>,
}

impl Corpus {
    /// Opens the folder of `component` below `data` and counts what it holds.
    pub(crate) fn open(mixture: &Mixture, component: &Component, data: &Path) -> Result<Self> {
        let path = data.join(&component.sources[0]);
        if !path.is_dir() {
            return Err(Error::MissingComponent {
                mixture: mixture.name.clone(),
                source_name: component.name.clone(),
                path,
                data: data.to_path_buf(),
                found: folders(data),
            });
        }
        let dataset = Dataset::open(&path)?;
        let vocab = dataset.vocab()?;
        let mut digest = Sha256::new();
        let (mut readers, mut row_groups) = (Vec::new(), Vec::new());
        for (number, shard) in dataset.shards().iter().enumerate() {
            let reader = dataset.reader(number)?;
            check_shard(&reader, &vocab, component)?;
            let fraction = mixture.validation_fraction;
            row_groups.extend(index_shard(
                &reader,
                number,
                component.view,
                component.codebooks,
                fraction,
            )?);
            readers.push(reader);
            digest.update(&shard.summary.sha256);
        }
        let sha256 = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Self {
            component: component.clone(),
            path,
            vocab,
            row_groups,
            sha256,
            validation_fraction: mixture.validation_fraction,
            readers,
        })
    }

    /// Codec of the audio tokens; none if there is no audio.
    pub(crate) fn codec(&self) -> Option<&CodecInfo> {
        self.readers
            .first()
            .and_then(|reader| reader.meta().codec.as_ref())
    }

    /// Sizes of the training part.
    pub(crate) fn train(&self) -> Totals {
        Totals::sum(self.row_groups.iter().map(|group| group.train))
    }

    /// Sizes of the validation part.
    pub(crate) fn validation(&self) -> Totals {
        Totals::sum(self.row_groups.iter().map(|group| group.validation))
    }

    /// The training renderings of a row group, permuted by `key`.
    pub(crate) fn pack_train(&self, row_group: usize, key: u64) -> Result<Packed> {
        let mut packed = Packed::default();
        self.append(row_group, false, Some(key), &mut packed)?;
        Ok(packed)
    }

    /// The validation renderings of all row groups, in the order of the shards.
    pub(crate) fn pack_validation(&self) -> Result<Packed> {
        let mut packed = Packed::default();
        for (number, row_group) in self.row_groups.iter().enumerate() {
            if row_group.validation.documents > 0 {
                self.append(number, true, None, &mut packed)?;
            }
        }
        Ok(packed)
    }

    /// Appends one part of a row group. The renderings of one document are permuted apart, like those of two documents.
    fn append(
        &self,
        row_group: usize,
        validation: bool,
        key: Option<u64>,
        packed: &mut Packed,
    ) -> Result<()> {
        let RowGroup { shard, group, .. } = self.row_groups[row_group];
        let reader = &self.readers[shard];
        let stored = reader.meta().codebooks();
        let documents = reader.documents(group)?;
        let mut renderings = Vec::new();
        for document in &documents {
            if is_validation(&document.id, self.validation_fraction) == validation {
                let counts = DocumentCounts::of(document, stored)?;
                let orders = self.component.view.renderings(&counts);
                renderings.extend(orders.iter().map(|order| (document, order)));
            }
        }
        let permutation = key.map(|key| Permutation::new(renderings.len() as u64, key));
        for at in 0..renderings.len() {
            let at = permutation
                .as_ref()
                .map_or(at, |p| p.apply(at as u64) as usize);
            let (document, order) = renderings[at];
            packed.append(|out| {
                order.render(
                    document,
                    self.vocab.layout(),
                    stored,
                    self.component.codebooks,
                    out,
                )
            });
        }
        Ok(())
    }
}

/// Refuses a shard of another vocabulary, or with fewer codebooks than the mixture wants.
fn check_shard(reader: &ShardReader, vocab: &Vocab, component: &Component) -> Result<()> {
    reader.meta().check_vocab(vocab, reader.path())?;
    match &reader.meta().codec {
        Some(codec) if component.codebooks > codec.codebooks => Err(Error::TooManyCodebooks {
            source_name: component.name.clone(),
            asked: component.codebooks,
            path: reader.path().to_path_buf(),
            found: codec.codebooks,
        }),
        _ => Ok(()),
    }
}

/// The folders in `data`, for an error.
fn folders(data: &Path) -> String {
    let Ok(entries) = fs::read_dir(data) else {
        return "no files: it does not exist".into();
    };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    match names.is_empty() {
        true => "no folders".into(),
        false => format!("the folders {}", names.join(", ")),
    }
}
