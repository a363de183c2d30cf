//! Corpora that were tokenized before: the published `*-mm-pretrain` parquet, with columns id and text.
//!
//! A document has up to two rows, `{id}_type1` with text before audio in each utterance and `{id}_type2` with audio before
//! text; they say the same and become one document again. See [`parse`] for what a row's text looks like.

mod pairs;
mod parse;

use std::collections::BTreeMap;

use shards::CodecInfo;
use stores::{Object, Store};

use self::pairs::{Folded, Pairs};
use super::table::{self, Column, Kind, Row};
use crate::error::Result;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

const COLUMNS: [Column; 2] = [
    Column::new("id", Kind::Label),
    Column::new("text", Kind::Text),
];

/// The codec that made the codes. Of its weights no more is known than their name.
pub fn codec() -> CodecInfo {
    CodecInfo {
        name: "kyutai/mimi".to_owned(),
        sha256: String::new(),
        sample_rate_hz: 24_000,
        frame_rate_hz: 12.5,
        codebooks: parse::CODEBOOKS,
        codebook_size: parse::CODEBOOK_SIZE,
    }
}

/// A planned corpus.
pub struct Pretokenized {
    name: String,
    store: Store,
    objects: Vec<Object>,
    units: Vec<Unit>,
}

impl Pretokenized {
    /// Plans all parquet files of a location, as the component `name`.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are none.
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        let objects = table::list(store, "", "*.parquet", |_| true)?;
        Ok(Pretokenized {
            name: name.to_owned(),
            store: store.clone(),
            units: objects.iter().map(Unit::from).collect(),
            objects,
        })
    }
}

/// A row's utterances, and where it was.
#[derive(Debug)]
struct Parsed {
    origin: String,
    utterances: Vec<parse::Utterance>,
}

impl Parsed {
    fn bytes(&self) -> usize {
        let bytes = |utterance: &parse::Utterance| 2 * utterance.codes.len() + utterance.text.len();
        self.utterances.iter().map(bytes).sum()
    }
}

fn row(row: &Row<'_>, pairs: &mut Pairs, emit: &mut dyn Emit) -> Result<()> {
    let origin = row.origin();
    let id = row.text(0).filter(|id| !id.is_empty()).unwrap_or(&origin);
    let Some(text) = row.text(1) else {
        return emit.bad(row.bad(id, "missing-text", "the text is null"));
    };
    match parse::document(text) {
        Err(fault) => emit.bad(row.bad(id, fault.reason(), &fault.to_string())),
        Ok(utterances) => {
            let parsed = Parsed {
                origin: row.origin(),
                utterances,
            };
            pairs
                .push(id, parsed)
                .into_iter()
                .try_for_each(|folded| emit_folded(folded, emit))
        }
    }
}

fn emit_folded(folded: Folded, emit: &mut dyn Emit) -> Result<()> {
    match folded {
        Folded::Bad(bad) => emit.bad(bad),
        Folded::Document(id, parsed) => {
            for utterance in parsed.utterances {
                emit.utterance(RawUtterance {
                    id: id.clone(),
                    document: id.clone(),
                    origin: parsed.origin.clone(),
                    transcript: Transcript::Text(utterance.text),
                    audio: RawAudio::Codes(utterance.codes),
                    ..RawUtterance::default()
                })?;
            }
            Ok(())
        }
    }
}

impl Source for Pretokenized {
    fn kind(&self) -> &'static str {
        "pretokenized"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        Grouping::Adjacent
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let mut pairs = Pairs::new();
        let each = &mut |r: &Row<'_>, emit: &mut dyn Emit| row(r, &mut pairs, emit);
        table::read(&self.store, &self.objects[unit], &COLUMNS, emit, each)?;
        pairs
            .finish()
            .into_iter()
            .try_for_each(|folded| emit_folded(folded, emit))
    }
}
