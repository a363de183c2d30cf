//! One component of a mixture, opened: its datasets, checked and counted, and its groups, decoded on demand.
//!
//! A *group* is a run of consecutive row groups with at least 1,000 sequences' worth of tokens (the last one takes in what
//! follows it), so that the remainder that packing leaves of it is less than a thousandth. It is what is decoded and kept at once.

use crate::best_fit;
use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::group::{Cut, Documents, Group, Rendering};
use crate::index::{Index, RowGroup, Totals, is_validation};
use crate::mixture::{Component, Packing};
use crate::permutation::Permutation;
use crate::source::Source;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shards::{CodecInfo, Columns, DocumentCounts, Order, ShardReader, View, Vocab, Wanted};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use stores::Store;

/// Sequences' worth of tokens in a group, at least.
const GROUP_SEQUENCES: u64 = 1000;
/// Shards whose footers are kept.
const KEPT_READERS: usize = 64;

/// How a corpus is looked at; what its index depends on, besides its shards.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Look {
    pub view: View,
    /// Codebooks used.
    pub codebooks: usize,
    pub validation_fraction: f64,
    /// Whether the index keeps the length of every rendering, for packing whole documents.
    pub keeps_lengths: bool,
}

/// A component's datasets, as one corpus.
pub(crate) struct Corpus {
    pub component: Component,
    pub look: Look,
    pub vocab: Vocab,
    /// Hash of the shards' hashes.
    pub sha256: String,
    pub index: Index,
    sources: Vec<Source>,
    /// Source and number of each shard.
    shards: Vec<(usize, usize)>,
    /// Shard, number in the shard.
    row_groups: Vec<(usize, usize)>,
    pub seq_len: usize,
    pub packing: Packing,
    groups: Vec<Range<usize>>,
    readers: Cache<usize, ShardReader>,
}

/// What a corpus is opened with, the same for all of a mixture.
pub(crate) struct Surroundings<'a> {
    pub data: &'a Store,
    pub cache: &'a Path,
    pub seq_len: usize,
    pub packing: Packing,
    pub validation_fraction: f64,
}

impl Corpus {
    /// Opens the datasets of `component` and counts what they hold.
    pub(crate) fn open(component: &Component, around: &Surroundings<'_>) -> Result<Self> {
        let mut sources = Vec::new();
        for name in &component.sources {
            let source = Source::open(around.data, name, around.cache)?;
            sources.push(source.ok_or_else(|| missing(component, name, around))?);
        }
        let vocab = Vocab::load(&sources[0].local.join("tokenizer"))?;
        let look = Look {
            view: component.view,
            codebooks: component.view.codebooks(component.codebooks),
            validation_fraction: around.validation_fraction,
            keeps_lengths: around.packing == Packing::BestFit,
        };
        let check = |reader: &ShardReader| check_shard(reader, &vocab, component);
        let index = Index::open(&sources, &vocab, &look, around.cache, &check)?;
        let counted: Vec<RowGroup> = index
            .row_groups()
            .map(|(_, _, group)| group.clone())
            .collect();
        let row_groups = index
            .row_groups()
            .map(|(shard, number, _)| (shard, number))
            .collect();
        let shards = |(number, source): (usize, &Source)| {
            (0..source.shards().len())
                .map(move |shard| (number, shard))
                .collect::<Vec<_>>()
        };
        Ok(Self {
            component: component.clone(),
            look,
            sha256: hash(&sources),
            shards: sources.iter().enumerate().flat_map(shards).collect(),
            row_groups,
            groups: groups(&counted, GROUP_SEQUENCES * around.seq_len as u64),
            seq_len: around.seq_len,
            packing: around.packing,
            readers: Cache::new(KEPT_READERS),
            index,
            sources,
            vocab,
        })
    }

    /// Codec of the audio tokens; none if there is no audio.
    pub(crate) fn codec(&self) -> Result<Option<CodecInfo>> {
        match self.shards.is_empty() {
            true => Ok(None),
            false => Ok(self.reader(0)?.meta().codec.clone()),
        }
    }

    /// The folder of the tokenizer, on this machine.
    pub(crate) fn tokenizer_dir(&self) -> PathBuf {
        self.sources[0].local.join("tokenizer")
    }

    /// Where it is, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.sources[0].path
    }

    /// Number of row groups.
    pub(crate) fn row_groups(&self) -> usize {
        self.row_groups.len()
    }

    /// Number of documents, training and validation, and those that the view shows nothing of.
    pub(crate) fn stored_documents(&self) -> u64 {
        let shards = self.sources.iter().flat_map(Source::shards);
        shards.map(|shard| shard.summary.documents).sum()
    }

    /// Identifiers and lengths of all documents of a row group, as they are stored.
    pub(crate) fn stored_counts(&self, number: usize) -> Result<Vec<DocumentCounts>> {
        let (shard, group) = self.row_groups[number];
        Ok(self.reader(shard)?.counts(group)?)
    }

    /// Sizes of the training part.
    pub(crate) fn train(&self) -> Totals {
        Totals::sum(self.index.row_groups().map(|(_, _, group)| group.train))
    }

    /// Sizes of the validation part.
    pub(crate) fn validation(&self) -> Totals {
        Totals::sum(
            self.index
                .row_groups()
                .map(|(_, _, group)| group.validation),
        )
    }

    /// Number of sequences of each group.
    pub(crate) fn sequences(&self) -> Vec<u64> {
        let counted: Vec<&RowGroup> = self.index.row_groups().map(|(_, _, group)| group).collect();
        let len = self.seq_len as u64;
        let of_group = |range: &Range<usize>| match self.packing {
            Packing::Concat => {
                counted[range.clone()]
                    .iter()
                    .map(|group| group.train.tokens)
                    .sum::<u64>()
                    / len
            }
            Packing::BestFit => {
                let lengths: Vec<u64> = counted[range.clone()]
                    .iter()
                    .flat_map(|group| group.lengths.iter().copied())
                    .collect();
                best_fit::bins(&lengths, len) as u64
            }
        };
        self.groups.iter().map(of_group).collect()
    }

    /// Decodes a group's training documents, and packs them in the order of `permutation`, which is given their renderings.
    ///
    /// On the calling thread alone: who loads a group holds its lock, and a thread of a pool that waits for others of its pool
    /// takes up other work meanwhile, which may need the same group.
    pub(crate) fn load(
        &self,
        group: usize,
        permutation: impl FnOnce(u64) -> Permutation,
    ) -> Result<Group> {
        let mut documents = Documents::default();
        for number in self.groups[group].clone() {
            documents.append(self.documents(number, false)?);
        }
        let cut = match self.packing {
            Packing::Concat => Cut::Concat,
            Packing::BestFit => Cut::BestFit,
        };
        Ok(Group::pack(documents, self.seq_len, cut, |count| {
            Some(permutation(count))
        }))
    }

    /// The validation documents, in the order of the shards, as far as they are needed to fill `max_sequences`.
    pub(crate) fn load_validation(&self, max_sequences: usize) -> Result<Group> {
        let wanted = max_sequences.saturating_mul(self.seq_len) as u64;
        let mut documents = Documents::default();
        let mut tokens = 0;
        for (number, (_, _, row_group)) in self.index.row_groups().enumerate() {
            if tokens < wanted && row_group.validation.documents > 0 {
                documents.append(self.documents(number, true)?);
                tokens += row_group.validation.tokens;
            }
        }
        Ok(Group::pack(
            documents,
            self.seq_len,
            Cut::ConcatPadded,
            |_| None,
        ))
    }

    /// The documents of one part of a row group.
    fn documents(&self, number: usize, is_validation_part: bool) -> Result<Documents> {
        let (shard, group) = self.row_groups[number];
        let reader = self.reader(shard)?;
        let counted = &self.index.shards[shard][group];
        let counted = match is_validation_part {
            true => counted.validation,
            false => counted.train,
        };
        let mut documents = Documents::default();
        for columns in reader.columns(group, wanted(self.look.view))? {
            let stored = reader.meta().codebooks();
            self.append(&columns?, stored, is_validation_part, &mut documents)?;
        }
        let found = documents.totals();
        match (counted.renderings, counted.tokens) == found {
            true => Ok(documents),
            false => Err(Error::Changed {
                path: reader.path().to_path_buf(),
                problem: format!(
                    "row group {group} has {} tokens in {} renderings, and had {} in {} when it was counted",
                    found.1, found.0, counted.tokens, counted.renderings
                ),
            }),
        }
    }

    /// Appends those of some documents that are of the part.
    fn append(
        &self,
        columns: &Columns,
        stored: usize,
        is_validation_part: bool,
        documents: &mut Documents,
    ) -> Result<()> {
        let (view, codebooks) = (self.look.view, self.look.codebooks);
        for (document, rewritten) in rewritten(columns, view, &self.vocab)?
            .into_iter()
            .enumerate()
        {
            let (ids, counts) = match rewritten {
                Some((ids, counts)) => (Some(ids), counts),
                None => (None, columns.counts[document].clone()),
            };
            let orders = view.renderings(&counts);
            if orders.is_empty()
                || is_validation(&counts.id, self.look.validation_fraction) != is_validation_part
            {
                continue;
            }
            let speakers = || columns.segments(document).map(|s| columns.speaker(s));
            let rendering = |order: &Order| Rendering {
                order: *order,
                instruction: order.instruction(speakers()) as u32,
                tokens: order.tokens(&counts, codebooks),
            };
            documents.start(orders.iter().map(rendering));
            for (number, segment) in columns.segments(document).enumerate() {
                let ids = ids
                    .as_ref()
                    .map_or(columns.text_ids(segment), |ids| &ids[number]);
                documents.push(ids, columns.codes(segment), stored, codebooks);
            }
        }
        Ok(())
    }

    fn reader(&self, shard: usize) -> Result<Arc<ShardReader>> {
        self.readers.get(shard, || {
            let (source, number) = self.shards[shard];
            let reader = self.sources[source].reader(number)?;
            check_shard(&reader, &self.vocab, &self.component)?;
            Ok(reader)
        })
    }
}

/// The columns that a view needs.
fn wanted(view: View) -> Wanted {
    let orders = view.variants();
    let has_text = !orders.contains(&Order::Audio);
    Wanted {
        text: matches!(view, View::Tts | View::Text),
        text_ids: has_text,
        codes: !orders.contains(&Order::Text),
        speaker: matches!(view, View::Tts | View::Sft),
    }
}

/// Text ids of each segment of a document, and its counts with them.
type Rewritten = (Vec<Vec<u32>>, DocumentCounts);

/// The documents whose texts a view does not show as they are stored.
fn rewritten(columns: &Columns, view: View, vocab: &Vocab) -> Result<Vec<Option<Rewritten>>> {
    let of_document = |document: usize| {
        let counts = &columns.counts[document];
        if !view.rewrites(counts) {
            return Ok(None);
        }
        let segments = columns.segments(document);
        let texts = view.texts(segments.map(|s| (columns.text(s), columns.speaker(s))));
        let encode = |text: &String| match text.is_empty() {
            true => Ok(Vec::new()),
            false => vocab.encode_text(text),
        };
        let ids = texts
            .iter()
            .map(encode)
            .collect::<shards::Result<Vec<_>>>()?;
        let counts = DocumentCounts {
            n_text: ids.iter().map(|ids| ids.len() as u32).sum(),
            n_text_segments: ids.iter().filter(|ids| !ids.is_empty()).count() as u32,
            ..counts.clone()
        };
        Ok(Some((ids, counts)))
    };
    (0..columns.counts.len()).map(of_document).collect()
}

/// The counts of a row group's documents as a view shows them, where their texts are not shown as they are stored.
pub(crate) fn rewritten_counts(
    reader: &ShardReader,
    group: usize,
    vocab: &Vocab,
    view: View,
) -> Result<Vec<DocumentCounts>> {
    let wanted = Wanted {
        text_ids: false,
        codes: false,
        ..wanted(view)
    };
    let mut counts = Vec::new();
    for columns in reader.columns(group, wanted)? {
        let columns = columns?;
        let pairs = rewritten(&columns, view, vocab)?
            .into_iter()
            .zip(&columns.counts);
        counts.extend(pairs.map(|(rewritten, stored)| {
            rewritten.map_or_else(|| stored.clone(), |(_, counts)| counts)
        }));
    }
    Ok(counts)
}

/// How many segments of each of a row group's documents are the instruction that a view shows.
pub(crate) fn instructions(reader: &ShardReader, group: usize, view: View) -> Result<Vec<usize>> {
    let wanted = Wanted {
        speaker: true,
        ..Wanted::default()
    };
    let order = view.variants()[0];
    let mut instructions = Vec::new();
    for columns in reader.columns(group, wanted)? {
        let columns = columns?;
        let of_document = |document| {
            let segments = columns.segments(document);
            order.instruction(segments.map(|segment| columns.speaker(segment)))
        };
        instructions.extend((0..columns.counts.len()).map(of_document));
    }
    Ok(instructions)
}

/// Consecutive row groups, cut so that each run has at least `least` training tokens.
fn groups(counted: &[RowGroup], least: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut first, mut tokens) = (0, 0);
    for (number, group) in counted.iter().enumerate() {
        tokens += group.train.tokens;
        if tokens >= least {
            groups.push(first..number + 1);
            (first, tokens) = (number + 1, 0);
        }
    }
    match groups.last_mut() {
        Some(last) => last.end = counted.len(),
        None => groups.push(0..counted.len()),
    }
    groups
}

fn hash(sources: &[Source]) -> String {
    let mut digest = Sha256::new();
    for shard in sources.iter().flat_map(Source::shards) {
        digest.update(&shard.summary.sha256);
    }
    digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Refuses a shard of another vocabulary, or with fewer codebooks than the mixture wants.
fn check_shard(reader: &ShardReader, vocab: &Vocab, component: &Component) -> Result<()> {
    reader.meta().check_vocab(vocab, reader.path())?;
    match &reader.meta().codec {
        Some(codec) if component.view.codebooks(component.codebooks) > codec.codebooks => {
            Err(Error::TooManyCodebooks {
                component: component.name.clone(),
                asked: component.codebooks,
                path: reader.path().to_path_buf(),
                found: codec.codebooks,
            })
        }
        _ => Ok(()),
    }
}

fn missing(component: &Component, source: &str, around: &Surroundings<'_>) -> Error {
    let found = match around.data.list("") {
        Ok(objects) => {
            let folder = |path: &str| path.split_once('/').map(|(folder, _)| folder.to_owned());
            let mut folders: Vec<String> = objects
                .iter()
                .filter_map(|object| folder(&object.path))
                .collect();
            folders.dedup();
            match folders.is_empty() {
                true => "no folders".to_owned(),
                false => format!("the folders {}", folders.join(", ")),
            }
        }
        Err(error) => format!("unknown content ({error})"),
    };
    Error::MissingComponent {
        component: component.name.clone(),
        source_name: source.to_owned(),
        data: around.data.location().to_owned(),
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn groups_cover_the_row_groups_and_are_large_enough(sizes in vec(0u64..50, 1..40), least in 1u64..120) {
            let total = |tokens| Totals { tokens, ..Totals::default() };
            let counted: Vec<RowGroup> = sizes.iter().map(|&size| RowGroup { train: total(size), validation: total(0), lengths: vec![] }).collect();
            let groups = groups(&counted, least);
            let tokens = |group: &Range<usize>| sizes[group.clone()].iter().sum::<u64>();
            prop_assert_eq!((groups[0].start, groups[groups.len() - 1].end), (0, sizes.len()));
            prop_assert!(groups.windows(2).all(|pair| pair[0].end == pair[1].start));
            prop_assert!(groups.len() == 1 || groups.iter().all(|group| tokens(group) >= least));
        }
    }
}
