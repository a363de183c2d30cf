//! Emilia and Emilia-YODAS: tars of pairs `{id}.mp3` and `{id}.json`.
//!
//! Archives lie in `{split}/{LANG}/*.tar`. An id is that of a conversation and `_W` with a number: utterances that agree
//! but for that are a document, in the order of the numbers. The halves of a pair may come in either order.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use stores::{Object, Store};

use super::archive::{self, Member, Stop};
use super::pairs::{Half, Pairs};
use super::{compressed, layout};
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/amphion/Emilia-Dataset";

/// The parts of the corpus, as their folders are named.
pub const SPLITS: [&str; 2] = ["Emilia", "Emilia-YODAS"];

/// One language of a split, planned.
pub struct Emilia {
    store: Store,
    name: String,
    lang: String,
    objects: Vec<Object>,
    units: Vec<Unit>,
}

impl Emilia {
    /// Lists the archives of a split, one of [`SPLITS`], in a language, e.g. `EN` or `en`.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are none.
    pub fn open(store: &Store, split: &str, lang: &str) -> crate::Result<Self> {
        let folder = format!("{split}/{}", lang.to_uppercase());
        let mut objects = store.list(&folder)?;
        objects.retain(|object| compressed::has_extension(&object.path, "tar"));
        if objects.is_empty() {
            let wanted = format!("no archives {folder}/*.tar; give the folder above `{split}`");
            return Err(layout(store, wanted));
        }
        let lang = lang.to_lowercase();
        Ok(Emilia {
            store: store.clone(),
            name: format!("{}-{lang}", split.to_lowercase()),
            lang,
            units: objects.iter().map(Unit::from).collect(),
            objects,
        })
    }

    fn member(
        &self,
        path: &str,
        pairs: &mut Pairs,
        member: &mut Member<'_>,
        emit: &mut dyn Emit,
    ) -> Result<(), Stop> {
        let origin = format!("{path}:{}", member.path);
        let (id, half) = if let Some(id) = member.stem(".mp3") {
            (id.to_owned(), Half::Audio(origin, member.bytes()?))
        } else if let Some(id) = member.stem(".json") {
            let id = id.to_owned();
            // what is not UTF-8 is no JSON either, and is refused as such
            let json = String::from_utf8(member.bytes()?).unwrap_or_default();
            (id, Half::Text(json))
        } else {
            return Ok(());
        };
        if let Some((origin, data, json)) = pairs.add(id.clone(), half) {
            match self.utterance(id, origin, data, &json) {
                Ok(utterance) => emit.utterance(*utterance)?,
                Err(record) => emit.bad(*record)?,
            }
        }
        while let Some((id, half)) = pairs.given_up() {
            emit.bad(unpaired(&id, half, path))?;
        }
        Ok(())
    }

    fn utterance(
        &self,
        id: String,
        origin: String,
        mp3: Vec<u8>,
        json: &str,
    ) -> Result<Box<RawUtterance>, Box<BadRecord>> {
        let bad = |reason, problem: &str| Box::new(archive::bad(&id, &origin, reason, problem));
        let record: Json =
            serde_json::from_str(json).map_err(|error| bad("bad-json", &error.to_string()))?;
        let text = match record.text {
            Some(Value::String(text)) => text,
            Some(Value::Null) | None => return Err(bad("missing-text", "there is no `text`")),
            Some(_) => return Err(bad("bad-json", "`text` is no string")),
        };
        let (document, position) = place(&id);
        Ok(Box::new(RawUtterance {
            document: document.to_owned(),
            position,
            lang: self.lang.clone(),
            transcript: Transcript::Text(text),
            audio: RawAudio::Recording(archive::in_memory(&origin, mp3)),
            declared_secs: record.duration,
            speaker: record.speaker,
            id,
            origin,
            ..RawUtterance::default()
        }))
    }
}

/// What is taken of a pair's json.
#[derive(Deserialize)]
struct Json {
    text: Option<Value>,
    duration: Option<f64>,
    speaker: Option<String>,
}

/// The conversation that an utterance is of, and its number in it. An id that does not end in `_W` and a number is a
/// document of its own.
fn place(id: &str) -> (&str, u64) {
    let parts = id.rsplit_once("_W").and_then(|(document, number)| {
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse().ok().filter(|_| is_number)?;
        Some((document, number))
    });
    parts.unwrap_or((id, 0))
}

fn unpaired(id: &str, half: Half, path: &str) -> BadRecord {
    match half {
        Half::Audio(origin, _) => archive::missing_text(id, &origin, path),
        Half::Text(_) => archive::missing_audio(id, &format!("{path}:{id}.json"), path),
    }
}

impl Source for Emilia {
    fn kind(&self) -> &'static str {
        "emilia"
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
        Grouping::Sorted { gap_ms: None }
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> crate::Result<()> {
        let object = &self.objects[unit];
        let mut pairs = Pairs::default();
        archive::read_members(&self.store, object, emit, |member, emit| {
            self.member(&object.path, &mut pairs, member, emit)
        })?;
        for (id, half) in pairs.finish() {
            emit.bad(unpaired(&id, half, &object.path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_cut_at_the_last_number_only() {
        for (id, expected) in [
            ("EN_B00000_S00001_W000012", ("EN_B00000_S00001", 12)),
            ("EN_-0x_WyZ12-a_W000002", ("EN_-0x_WyZ12-a", 2)),
            ("EN_a_W1_W000003", ("EN_a_W1", 3)),
            ("EN_-0x_WyZ12-a", ("EN_-0x_WyZ12-a", 0)),
            ("EN_a_W", ("EN_a_W", 0)),
            ("EN_a_W+3", ("EN_a_W+3", 0)),
            ("EN_a", ("EN_a", 0)),
        ] {
            assert_eq!(place(id), expected);
        }
    }
}
