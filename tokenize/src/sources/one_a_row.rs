//! Corpora in parquet with an utterance a row, of which each is a document.

use std::collections::BTreeMap;

use stores::{Object, Store};

use super::table::{self, Column, Kind, Row};
use crate::error::Result;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// What the columns of such a corpus are called.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The utterance's name.
    pub id: &'static str,
    /// What is said.
    pub text: &'static str,
    /// How it sounds.
    pub audio: &'static str,
    /// Who says it.
    pub speaker: Option<&'static str>,
    /// How long it is, in milliseconds.
    pub duration_ms: Option<&'static str>,
}

/// Places of the columns among those that are read.
const ID: usize = 0;
const TEXT: usize = 1;
const AUDIO: usize = 2;

/// A planned corpus.
pub struct OneARow {
    kind: &'static str,
    name: String,
    store: Store,
    objects: Vec<Object>,
    units: Vec<Unit>,
    columns: Vec<Column>,
    speaker: Option<usize>,
    duration_ms: Option<usize>,
    /// Applied to each text.
    edit: fn(&str) -> String,
    /// Of the cell that has the name.
    id_of: fn(&str) -> &str,
}

impl OneARow {
    /// The corpus `name` of English speech in these files. `edit` is applied to each text.
    pub fn new(
        kind: &'static str,
        name: &str,
        store: &Store,
        objects: Vec<Object>,
        names: &Names,
        edit: fn(&str) -> String,
    ) -> Self {
        let mut columns = vec![
            Column::new(names.id, Kind::Label),
            Column::new(names.text, Kind::Text),
            Column::new(names.audio, Kind::Audio),
        ];
        let mut also = |name: Option<&'static str>, kind| {
            name.map(|name| {
                columns.push(Column::new(name, kind));
                columns.len() - 1
            })
        };
        let speaker = also(names.speaker, Kind::Label);
        let duration_ms = also(names.duration_ms, Kind::Number);
        OneARow {
            kind,
            name: name.to_owned(),
            store: store.clone(),
            units: objects.iter().map(Unit::from).collect(),
            objects,
            columns,
            speaker,
            duration_ms,
            edit,
            id_of: |cell| cell,
        }
    }

    /// Takes a part of the cell that has it for an utterance's name.
    pub fn with_ids(self, id_of: fn(&str) -> &str) -> Self {
        OneARow { id_of, ..self }
    }

    fn row(&self, row: &Row<'_>, emit: &mut dyn Emit) -> Result<()> {
        let origin = row.origin();
        let id = row.text(ID).map(self.id_of).filter(|id| !id.is_empty());
        let id = id.unwrap_or(&origin);
        let Some(text) = row.text(TEXT) else {
            return emit.bad(row.bad(id, "missing-text", "the transcript is null"));
        };
        let Some(audio) = row.audio(AUDIO) else {
            return emit.bad(row.bad(id, "missing-audio", "the recording is null"));
        };
        emit.utterance(RawUtterance {
            id: id.to_owned(),
            document: id.to_owned(),
            lang: "en".to_owned(),
            transcript: Transcript::Text((self.edit)(text)),
            audio: RawAudio::Recording(audio),
            declared_secs: self
                .duration_ms
                .and_then(|at| row.number(at))
                .map(|ms| ms / 1e3),
            speaker: self.speaker.and_then(|at| row.text(at)).map(str::to_owned),
            origin,
            ..RawUtterance::default()
        })
    }
}

impl Source for OneARow {
    fn kind(&self) -> &'static str {
        self.kind
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
        Grouping::Complete
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let each = &mut |row: &Row<'_>, emit: &mut dyn Emit| self.row(row, emit);
        table::read(&self.store, &self.objects[unit], &self.columns, emit, each)
    }
}
