//! CVSS: speech in one of 21 languages with its translation into English, a pair a row of
//! `{lang}/train-NNNNN-of-NNNNN.parquet`.
//!
//! A pair is a document. What it is made of is a [`Method`]; where one part of it cannot be used, the pair is left out.

use std::collections::BTreeMap;

use stores::{Object, Store};

use super::table::{self, Column, Kind, Row};
use crate::error::Result;
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// The language of all translations.
const TARGET: &str = "en";

const COLUMNS: [Column; 5] = [
    Column::new("id", Kind::Label),
    Column::new("original_text", Kind::Text),
    Column::new("original_audio", Kind::Audio),
    Column::new("translated_text", Kind::Text),
    Column::new("translated_audio", Kind::Audio),
];

/// How a pair becomes a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Four segments, from sound to sound by way of both texts: original sound, original text, translated text, translated
    /// sound. Each text follows `<language>xx</language>`.
    ThroughText,
    /// Two segments: original sound, translated sound.
    Direct,
}

/// A planned language.
pub struct Cvss {
    name: String,
    lang: String,
    method: Method,
    store: Store,
    objects: Vec<Object>,
    units: Vec<Unit>,
}

impl Cvss {
    /// Plans the training part of a language.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are no such files.
    pub fn open(store: &Store, lang: &str, method: Method) -> Result<Self> {
        let wanted = format!("{lang}/train-*.parquet");
        let objects = table::list(store, lang, &wanted, |path| path.starts_with("train-"))?;
        Ok(Cvss {
            name: format!("cvss-{lang}"),
            lang: lang.to_owned(),
            method,
            store: store.clone(),
            units: objects.iter().map(Unit::from).collect(),
            objects,
        })
    }

    fn pair(&self, row: &Row<'_>) -> Result<Vec<RawUtterance>, BadRecord> {
        let origin = row.origin();
        let id = row.text(0).filter(|id| !id.is_empty()).unwrap_or(&origin);
        let part = |lang: &str| RawUtterance {
            id: id.to_owned(),
            document: id.to_owned(),
            lang: lang.to_owned(),
            origin: origin.clone(),
            others: self.method.segments() - 1,
            ..RawUtterance::default()
        };
        let sound = |column: usize, lang| {
            let missing = || row.bad(id, "missing-audio", &problem(column, "is null"));
            let audio = RawAudio::Recording(row.audio(column).ok_or_else(missing)?);
            Ok(RawUtterance {
                audio,
                ..part(lang)
            })
        };
        let text = |column: usize, lang| {
            let missing = || row.bad(id, "missing-text", &problem(column, "is null"));
            let text = row.text(column).ok_or_else(missing)?.trim();
            if text.is_empty() {
                return Err(row.bad(id, "empty-transcript", &problem(column, "is empty")));
            }
            let transcript = Transcript::Text(format!("<language>{lang}</language>{text}"));
            Ok(RawUtterance {
                transcript,
                ..part(lang)
            })
        };
        let lang = self.lang.as_str();
        match self.method {
            Method::ThroughText => [
                sound(2, lang),
                text(1, lang),
                text(3, TARGET),
                sound(4, TARGET),
            ]
            .into_iter()
            .collect(),
            Method::Direct => [sound(2, lang), sound(4, TARGET)].into_iter().collect(),
        }
    }
}

fn problem(column: usize, what: &str) -> String {
    format!("{} {what}, so the pair is left out", COLUMNS[column].name)
}

impl Method {
    fn segments(self) -> usize {
        match self {
            Method::ThroughText => 4,
            Method::Direct => 2,
        }
    }
}

impl Source for Cvss {
    fn kind(&self) -> &'static str {
        "cvss"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        let method = match self.method {
            Method::ThroughText => "1",
            Method::Direct => "2",
        };
        BTreeMap::from([("method".to_owned(), method.to_owned())])
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        Grouping::Complete
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let each = &mut |row: &Row<'_>, emit: &mut dyn Emit| match self.pair(row) {
            Ok(parts) => parts.into_iter().try_for_each(|part| emit.utterance(part)),
            Err(bad) => emit.bad(bad),
        };
        table::read(&self.store, &self.objects[unit], &COLUMNS, emit, each)
    }
}
