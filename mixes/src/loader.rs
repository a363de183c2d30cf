//! The loader: sequence number to tokens, a pure function of shards, mixture, seed and options.
//!
//! An epoch visits every packed sequence once. Its row groups are permuted; each `window_row_groups` consecutive ones form a window;
//! the sequences of a window are permuted among themselves. So a reader of consecutive numbers holds one window of decoded row
//! groups and still sees an order that is random across the corpus.

use crate::cache::Cache;
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::mixture::Mixture;
use crate::pack::{Packed, Sequence};
use crate::permutation::{Permutation, derive_key};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shards::{CodecInfo, View, Vocab};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Shortest sequence: shorter ones hold no document worth the name.
const MIN_SEQ_LEN: usize = 16;
/// Sequence numbers are below this.
const MAX_INDEX: u64 = 1 << 40;
/// Epochs whose order is kept: the current one, and its neighbour for readers ahead of others.
const KEPT_EPOCHS: usize = 2;
/// Windows whose row groups are kept decoded, for the same reason.
const KEPT_WINDOWS: usize = 2;

/// The purpose of a permutation, part of its key.
#[derive(Clone, Copy)]
enum Purpose {
    RowGroups = 1,
    Sequences = 2,
    Documents = 3,
}

/// What the order of the sequences depends on, besides shards and mixture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Tokens a sequence, at least 16.
    pub seq_len: usize,
    /// Seed of all permutations.
    pub seed: u64,
    /// Row groups whose sequences are shuffled together. Memory holds up to twice as many decoded row groups, of about 4 million
    /// tokens each (8 million in view `both`) at 4 bytes a token.
    pub window_row_groups: usize,
}

/// What a loader serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderSummary {
    /// Documents for training.
    pub train_documents: u64,
    /// Tokens of their renderings.
    pub train_tokens: u64,
    /// Documents kept for validation.
    pub validation_documents: u64,
    /// Tokens of their renderings.
    pub validation_tokens: u64,
    /// Sequences of an epoch; shorter than `train_tokens` by the remainder of each row group.
    pub sequences_per_epoch: u64,
    /// Hash of the hashes of all shards: the same data give the same.
    pub data_sha256: String,
    /// The components, in the mixture's order.
    pub components: Vec<ComponentSummary>,
}

/// What one component of a mixture contributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSummary {
    /// Its folder.
    pub source: String,
    /// Its view.
    pub view: View,
    /// Codebooks used.
    pub codebooks: usize,
    /// Shards' row groups.
    pub row_groups: usize,
    /// Documents for training.
    pub train_documents: u64,
    /// Tokens of their renderings.
    pub train_tokens: u64,
    /// Documents kept for validation.
    pub validation_documents: u64,
    /// Tokens of their renderings.
    pub validation_tokens: u64,
    /// Sequences of an epoch.
    pub sequences_per_epoch: u64,
    /// Hash of the shards' hashes.
    pub data_sha256: String,
}

/// Serves the sequences of a mixture. Any thread may ask for any number.
pub struct Loader {
    corpus: Corpus,
    options: LoaderOptions,
    sequences_per_epoch: u64,
    epochs: Cache<u64, Epoch>,
    /// Packed row groups by epoch and number.
    row_groups: Cache<(u64, usize), Packed>,
}

/// The order of one epoch.
struct Epoch {
    /// Row groups with at least one sequence, permuted.
    row_groups: Vec<usize>,
    /// First sequence of each row group of `row_groups`, and the number of all.
    starts: Vec<u64>,
}

impl Loader {
    /// Opens the datasets of `mixture` below the folder `data`.
    pub fn open(mixture: &Mixture, data: &Path, options: &LoaderOptions) -> Result<Self> {
        check_option("the sequence length", options.seq_len, MIN_SEQ_LEN)?;
        check_option("window_row_groups", options.window_row_groups, 1)?;
        let sources = mixture.components.iter().flat_map(|c| &c.sources);
        let sources: Vec<_> = sources.map(String::as_str).collect();
        let ([component], 1) = (mixture.components.as_slice(), sources.len()) else {
            return Err(Error::SeveralComponents {
                name: mixture.name.clone(),
                components: sources.len(),
                sources: sources.join(", "),
            });
        };
        let corpus = Corpus::open(mixture, component, data)?;
        let seq_len = options.seq_len as u64;
        let sequences = corpus
            .row_groups
            .iter()
            .map(|group| group.train.tokens / seq_len);
        let sequences_per_epoch = sequences.sum();
        if sequences_per_epoch == 0 {
            return Err(no_sequence(&corpus, options.seq_len));
        }
        Ok(Self {
            corpus,
            options: options.clone(),
            sequences_per_epoch,
            epochs: Cache::new(KEPT_EPOCHS),
            row_groups: Cache::new(options.window_row_groups.saturating_mul(KEPT_WINDOWS)),
        })
    }

    /// The vocabulary of the sequences.
    pub fn vocab(&self) -> &Vocab {
        &self.corpus.vocab
    }

    /// The folder of the tokenizer, the same for every component.
    pub fn tokenizer_dir(&self) -> PathBuf {
        self.corpus.path.join("tokenizer")
    }

    /// Codec of the audio tokens; none if there is no audio.
    pub fn codec(&self) -> Option<&CodecInfo> {
        self.corpus.codec()
    }

    /// Codebooks of each frame of the sequences.
    pub fn codebooks(&self) -> usize {
        self.corpus.component.codebooks
    }

    /// Sequence number `index`, below 2^40. Epochs follow one another, each in another order.
    pub fn sequence(&self, index: u64) -> Result<Sequence> {
        if index >= MAX_INDEX {
            return Err(Error::IndexTooLarge { index });
        }
        let number = index / self.sequences_per_epoch;
        let epoch = self
            .epochs
            .get(number, || Ok::<_, Error>(self.epoch(number)))?;
        let (at, sequence) = self.locate(&epoch, number, index % self.sequences_per_epoch);
        let packed = self.packed(number, epoch.row_groups[at])?;
        let padding = self.vocab().layout().eos;
        Ok(packed.sequence(sequence as usize, self.options.seq_len, padding))
    }

    /// The documents kept for validation, packed in their order; the last sequence is padded. Empty if there are none.
    pub fn validation(&self) -> Result<Vec<Sequence>> {
        let packed = self.corpus.pack_validation()?;
        let (seq_len, padding) = (self.options.seq_len, self.vocab().layout().eos);
        let numbers = 0..packed.padded_sequences(seq_len);
        Ok(numbers
            .map(|at| packed.sequence(at, seq_len, padding))
            .collect())
    }

    /// Counts of documents, tokens and sequences, and the hash of the data.
    pub fn summary(&self) -> LoaderSummary {
        let (train, validation) = (self.corpus.train(), self.corpus.validation());
        let component = &self.corpus.component;
        let components = vec![ComponentSummary {
            source: component.name.clone(),
            view: component.view,
            codebooks: component.codebooks,
            row_groups: self.corpus.row_groups.len(),
            train_documents: train.documents,
            train_tokens: train.tokens,
            validation_documents: validation.documents,
            validation_tokens: validation.tokens,
            sequences_per_epoch: self.sequences_per_epoch,
            data_sha256: self.corpus.sha256.clone(),
        }];
        let mut digest = Sha256::new();
        components
            .iter()
            .for_each(|component| digest.update(&component.data_sha256));
        LoaderSummary {
            train_documents: components.iter().map(|c| c.train_documents).sum(),
            train_tokens: components.iter().map(|c| c.train_tokens).sum(),
            validation_documents: components.iter().map(|c| c.validation_documents).sum(),
            validation_tokens: components.iter().map(|c| c.validation_tokens).sum(),
            sequences_per_epoch: components.iter().map(|c| c.sequences_per_epoch).sum(),
            data_sha256: digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            components,
        }
    }

    /// Permutes the row groups of epoch `number`.
    fn epoch(&self, number: u64) -> Epoch {
        let sequences =
            |group: usize| self.corpus.row_groups[group].train.tokens / self.options.seq_len as u64;
        let filled: Vec<usize> = (0..self.corpus.row_groups.len())
            .filter(|&group| sequences(group) > 0)
            .collect();
        let permutation = self.permutation(filled.len() as u64, number, Purpose::RowGroups, 0);
        let at = |position| filled[permutation.apply(position) as usize];
        let row_groups: Vec<usize> = (0..filled.len() as u64).map(at).collect();
        let mut starts = vec![0];
        for &group in &row_groups {
            starts.push(starts[starts.len() - 1] + sequences(group));
        }
        Epoch { row_groups, starts }
    }

    /// Where sequence `at` of an epoch is: position of its row group in the epoch's order, and number within the row group.
    fn locate(&self, epoch: &Epoch, number: u64, at: u64) -> (usize, u64) {
        let holder = |sequence: u64| epoch.starts.partition_point(|&start| start <= sequence) - 1;
        let window = holder(at) / self.options.window_row_groups;
        let first = window * self.options.window_row_groups;
        let last = (first + self.options.window_row_groups).min(epoch.row_groups.len());
        let (begin, end) = (epoch.starts[first], epoch.starts[last]);
        let permutation = self.permutation(end - begin, number, Purpose::Sequences, window as u64);
        let sequence = begin + permutation.apply(at - begin);
        let row_group = holder(sequence);
        (row_group, sequence - epoch.starts[row_group])
    }

    fn packed(&self, epoch: u64, row_group: usize) -> Result<Arc<Packed>> {
        self.row_groups.get((epoch, row_group), || {
            let key = self.key(epoch, Purpose::Documents, row_group as u64);
            self.corpus.pack_train(row_group, key)
        })
    }

    fn permutation(&self, len: u64, epoch: u64, purpose: Purpose, item: u64) -> Permutation {
        Permutation::new(len, self.key(epoch, purpose, item))
    }

    fn key(&self, epoch: u64, purpose: Purpose, item: u64) -> u64 {
        derive_key(&[self.options.seed, epoch, purpose as u64, item])
    }
}

fn check_option(option: &'static str, found: usize, least: usize) -> Result<()> {
    match found >= least {
        true => Ok(()),
        false => Err(Error::BadOption {
            option,
            found,
            least,
        }),
    }
}

fn no_sequence(corpus: &Corpus, seq_len: usize) -> Error {
    let train = corpus.train();
    let sizes = corpus.row_groups.iter().map(|group| group.train.tokens);
    Error::NoSequence {
        source_name: corpus.component.name.clone(),
        path: corpus.path.clone(),
        seq_len,
        documents: train.documents,
        tokens: train.tokens,
        view: corpus.component.view,
        row_groups: corpus.row_groups.len(),
        largest: sizes.max().unwrap_or(0),
        validation_documents: corpus.validation().documents,
    }
}
