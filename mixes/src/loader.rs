//! The loader: sequence number to tokens, a pure function of shards, mixture, seed and options.
//!
//! The [`Schedule`] says which component the number belongs to and which of its sequences it is; the component's order says in
//! which group that lies; the group is decoded, packed and kept for those that follow.

use crate::cache::Cache;
use crate::corpus::{Corpus, Surroundings};
use crate::error::{Error, Result};
use crate::group::Group;
use crate::mixture::{Mixture, StopStrategy};
use crate::order::{Order, Place, component_key};
use crate::schedule::Schedule;
use crate::sequence::Sequence;
use crate::summary::{ComponentSummary, LoaderSummary};
use rayon::prelude::*;
use shards::{CodecInfo, Vocab};
use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use stores::Store;

/// Shortest sequence: shorter ones hold no document worth the name.
const MIN_SEQ_LEN: usize = 16;
/// Sequence numbers are below this.
pub(crate) const MAX_INDEX: u64 = 1 << 40;
/// Windows whose groups are kept decoded: the current one, and the next, which is read meanwhile.
const KEPT_WINDOWS: usize = 2;

/// What the order of the sequences depends on, besides shards and mixture.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Tokens a sequence, at least 16.
    pub seq_len: usize,
    /// Seed of all permutations.
    pub seed: u64,
    /// Groups of each component whose sequences are shuffled together. Memory holds twice as many; a group is a row group, of
    /// about 4 million tokens, or several small ones, and takes 2 bytes an audio token and 4 a text token.
    pub window_groups: usize,
    /// Trains as if a run of the target's length were shrunk to this one.
    pub simulated_epoching: Option<SimulatedEpoching>,
    /// Folder for indexes and for the small files of remote datasets; `TIMBRE_CACHE`, or `timbre` in the user's folder of
    /// caches, if not said.
    pub cache: Option<PathBuf>,
}

impl LoaderOptions {
    /// Groups of a window in training, and wherever else its order is to be seen.
    pub const WINDOW_GROUPS: usize = 8;
}

/// Simulated epoching (Levanter): components are cut to the part that a run of `experiment_tokens` may see of them, so that each
/// comes round as often as it would in a run of `target_tokens`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatedEpoching {
    /// Tokens of the run that is imitated.
    pub target_tokens: f64,
    /// Tokens of this run.
    pub experiment_tokens: f64,
}

/// Serves the sequences of a mixture. Any thread may ask for any number.
pub struct Loader {
    mixture: Mixture,
    schedule: Schedule,
    components: Vec<Opened>,
    codec: Option<CodecInfo>,
    len: Option<u64>,
}

/// A component: its corpus, the order of its sequences, and what is decoded of it.
struct Opened {
    corpus: Corpus,
    order: Order,
    /// By epoch and number.
    groups: Cache<(u64, usize), Group>,
}

impl Loader {
    /// Opens the datasets of `mixture` below `data`, a folder or the location of an object store.
    ///
    /// # Errors
    /// For all that would go wrong later: components without datasets or documents, or of other vocabularies or codecs.
    pub fn open(mixture: &Mixture, data: &str, options: &LoaderOptions) -> Result<Self> {
        check_option("the sequence length", options.seq_len, MIN_SEQ_LEN)?;
        check_option("window_groups", options.window_groups, 1)?;
        let schedule = Schedule::new(mixture, options.seq_len, options.seed)?;
        let around = Surroundings {
            data: &Store::open(data)?,
            cache: &options.cache.clone().unwrap_or_else(cache_dir),
            seq_len: options.seq_len,
            packing: mixture.packing,
            validation_fraction: mixture.validation_fraction,
        };
        let open = |component| Opened::open(Corpus::open(component, &around)?, mixture, options);
        let components = mixture
            .components
            .iter()
            .map(open)
            .collect::<Result<Vec<_>>>()?;
        let codec = check_alike(&components)?;
        let mut loader = Self {
            mixture: mixture.clone(),
            schedule,
            components,
            codec,
            len: None,
        };
        loader.len = loader.schedule.end(&loader.sequences_per_epoch());
        Ok(loader)
    }

    /// What is mixed.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// The components' datasets, in the mixture's order.
    pub(crate) fn corpora(&self) -> impl ExactSizeIterator<Item = &Corpus> {
        self.components.iter().map(|opened| &opened.corpus)
    }

    /// Sequences of an epoch over each component.
    pub(crate) fn sequences_per_epoch(&self) -> Vec<u64> {
        let sequences = |opened: &Opened| opened.order.sequences;
        self.components.iter().map(sequences).collect()
    }

    /// Tokens a sequence.
    pub fn seq_len(&self) -> usize {
        self.components[0].corpus.seq_len
    }

    /// The vocabulary of the sequences.
    pub fn vocab(&self) -> &Vocab {
        &self.components[0].corpus.vocab
    }

    /// The folder of the tokenizer on this machine, the same for every component.
    pub fn tokenizer_dir(&self) -> PathBuf {
        self.components[0].corpus.tokenizer_dir()
    }

    /// Codec of the audio tokens; none if there is no audio.
    pub fn codec(&self) -> Option<&CodecInfo> {
        self.codec.as_ref()
    }

    /// Largest number of codebooks that a component uses.
    pub fn codebooks(&self) -> usize {
        let used = self
            .components
            .iter()
            .map(|opened| opened.corpus.look.codebooks);
        used.max().unwrap_or(0)
    }

    /// How components are mixed.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Number of sequences; none if they never end.
    pub fn len(&self) -> Option<u64> {
        self.len
    }

    /// Whether there is no sequence at all.
    pub fn is_empty(&self) -> bool {
        self.len == Some(0)
    }

    /// Sequence number `index`, below 2^40.
    ///
    /// # Errors
    /// If a shard cannot be read, or is no longer what it was, and past the end of the data.
    pub fn sequence(&self, index: u64) -> Result<Sequence> {
        let (component, number) = self.locate(index)?;
        let opened = &self.components[component];
        let place = opened.order.place(number);
        let group = opened.group(place.epoch, place.group)?;
        Ok(opened.sequence(&group, place.sequence as usize))
    }

    /// Number of the component that sequence `index` is of, in the mixture's order.
    ///
    /// # Errors
    /// Past the end of the data.
    pub fn component(&self, index: u64) -> Result<usize> {
        Ok(self.locate(index)?.0)
    }

    /// Component of sequence `index`, and its number within it.
    pub(crate) fn locate(&self, index: u64) -> Result<(usize, u64)> {
        match self.len {
            Some(len) if index >= len => Err(Error::Exhausted {
                mixture: self.mixture.name.clone(),
                strategy: match self.mixture.stop {
                    StopStrategy::FirstExhausted => "first_exhausted",
                    StopStrategy::AllExhausted | StopStrategy::Restart => "all_exhausted",
                },
                len,
                index,
            }),
            _ if index >= MAX_INDEX => Err(Error::IndexTooLarge { index }),
            _ => Ok(self.schedule.locate(index)),
        }
    }

    /// Where a component's sequence lies.
    pub(crate) fn place(&self, component: usize, number: u64) -> Place {
        self.components[component].order.place(number)
    }

    /// Decodes the window that follows the one of `place`, unless it is at hand.
    pub(crate) fn warm(&self, component: usize, place: Place) -> Result<()> {
        let opened = &self.components[component];
        let (epoch, groups) = opened.order.next_window(place);
        groups
            .into_par_iter()
            .try_for_each(|group| opened.group(epoch, group).map(drop))
    }

    /// The documents kept for validation, component by component and packed in their order; the last sequence of each is padded.
    /// At most `max_sequences` of each; components without such documents are left out.
    ///
    /// # Errors
    /// If a shard cannot be read.
    pub fn validation(&self, max_sequences: usize) -> Result<Vec<(String, Vec<Sequence>)>> {
        let mut sets = Vec::new();
        for opened in &self.components {
            let group = opened.corpus.load_validation(max_sequences)?;
            let count = group.len().min(max_sequences);
            if count > 0 {
                let sequences = (0..count).map(|at| opened.sequence(&group, at));
                sets.push((opened.corpus.component.name.clone(), sequences.collect()));
            }
        }
        Ok(sets)
    }

    /// Counts of documents, tokens and sequences, and the hash of the data.
    pub fn summary(&self) -> LoaderSummary {
        let components = self.components.iter().map(Opened::summary);
        LoaderSummary::new(components.collect())
    }
}

impl Opened {
    fn open(corpus: Corpus, mixture: &Mixture, options: &LoaderOptions) -> Result<Self> {
        let sequences = corpus.sequences();
        let total: u64 = sequences.iter().sum();
        if total == 0 {
            return Err(no_sequence(&corpus, options.seq_len));
        }
        let limit = options.simulated_epoching.map(|simulated| {
            let ratio = simulated.experiment_tokens / simulated.target_tokens;
            ((total as f64 * ratio) as u64).max(1)
        });
        let order = Order::new(
            mixture.permutation,
            component_key(options.seed, &corpus.component.name),
            options.window_groups,
            &sequences,
            limit,
        );
        let kept = options.window_groups.saturating_mul(KEPT_WINDOWS);
        Ok(Self {
            corpus,
            order,
            groups: Cache::new(kept),
        })
    }

    fn group(&self, epoch: u64, group: usize) -> Result<Arc<Group>> {
        let epoch = self.order.packing_epoch(epoch);
        self.groups.get((epoch, group), || {
            self.corpus.load(group, |renderings| {
                self.order.documents(epoch, group, renderings)
            })
        })
    }

    fn sequence(&self, group: &Group, at: usize) -> Sequence {
        group.sequence(at, self.corpus.vocab.layout(), self.corpus.look.codebooks)
    }

    fn summary(&self) -> ComponentSummary {
        let corpus = &self.corpus;
        let (train, validation) = (corpus.train(), corpus.validation());
        ComponentSummary {
            name: corpus.component.name.clone(),
            sources: corpus.component.sources.clone(),
            view: corpus.look.view,
            codebooks: corpus.look.codebooks,
            row_groups: corpus.row_groups(),
            train_documents: train.documents,
            train_tokens: train.tokens,
            validation_documents: validation.documents,
            validation_tokens: validation.tokens,
            sequences_per_epoch: self.order.sequences,
            lengths: corpus.index.lengths.clone(),
            data_sha256: corpus.sha256.clone(),
        }
    }
}

fn cache_dir() -> PathBuf {
    let get = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let user = || env::home_dir().unwrap_or_default().join(".cache");
    get("TIMBRE_CACHE").unwrap_or_else(|| get("XDG_CACHE_HOME").unwrap_or_else(user).join("timbre"))
}

/// Refuses components whose ids or codes mean different things. Returns the codec.
fn check_alike(components: &[Opened]) -> Result<Option<CodecInfo>> {
    let name = |opened: &Opened| opened.corpus.component.name.clone();
    let first = &components[0];
    let mut codecs: BTreeMap<usize, CodecInfo> = BTreeMap::new();
    for (number, opened) in components.iter().enumerate() {
        let (vocab, other) = (&first.corpus.vocab, &opened.corpus.vocab);
        if vocab.info().sha256 != other.info().sha256 || vocab.layout() != other.layout() {
            return Err(Error::OtherVocabulary {
                first: name(first),
                second: name(opened),
            });
        }
        let Some(codec) = opened.corpus.codec()? else {
            continue;
        };
        if let Some((first, known)) = codecs.first_key_value() {
            if !known.is_same(&codec) {
                return Err(Error::OtherCodec {
                    first: name(&components[*first]),
                    first_codec: known.name.clone(),
                    second: name(opened),
                    second_codec: codec.name,
                });
            }
        } else {
            codecs.insert(number, codec);
        }
    }
    Ok(codecs.pop_first().map(|(_, codec)| codec))
}

pub(crate) fn check_option(option: &'static str, found: usize, least: usize) -> Result<()> {
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
    Error::NoSequence {
        component: corpus.component.name.clone(),
        path: corpus.path().to_path_buf(),
        seq_len,
        documents: train.documents,
        tokens: train.tokens,
        view: corpus.look.view,
        validation_documents: corpus.validation().documents,
    }
}
