//! Common Voice 17, English: read sentences, an utterance a document.
//!
//! As downloaded from Mozilla, `en/train.tsv` and `en/clips/*.mp3`, unpacked or in one `.tar.gz`; or as on the hub,
//! `transcript/en/train.tsv` and `audio/en/train/*.tar` ([`common_voice_table`](super::common_voice_table) reads its copies in
//! parquet). Only the table's clips are taken. The table has `path` and
//! `sentence` among its columns, and neither quotation marks nor escapes.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use stores::{Object, Store};

use super::archive::{self, Stop};
use super::{compressed, layout, tree};
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit, plan_units};

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/mozilla-foundation/common_voice_17_0";

/// The command that makes the dataset.
pub(super) const KIND: &str = "common-voice";
/// The dataset, whatever form it is made from.
pub(super) const NAME: &str = "commonvoice17-en";

/// The table and the archives on the hub.
const HUB_TABLE: &str = "transcript/en/train.tsv";
const HUB_AUDIO: &str = "audio/en/train";
/// Where a table may lie within the input, but for folders above `en`.
pub(super) const TABLES: [&str; 3] = [HUB_TABLE, "en/train.tsv", "train.tsv"];

/// The English training part, planned.
pub struct CommonVoice {
    store: Store,
    inputs: Vec<Input>,
    units: Vec<Unit>,
    /// The table beside the hub's archives, read when it is needed.
    table: OnceLock<HashMap<String, String>>,
}

/// What a unit is read from.
enum Input {
    /// Rows of the table with their clips.
    Clips(Vec<Clip>),
    /// An archive of clips, whose table lies beside it.
    Archive(Object),
    /// An archive of table and clips.
    Download(Object),
}

/// A row of the table and its recording.
struct Clip {
    row: Row,
    object: Option<Object>,
}

/// What is taken of a row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    id: String,
    sentence: String,
}

/// The rows of a table; or what is wrong with it.
fn parse(bytes: Vec<u8>) -> Result<Vec<Row>, String> {
    let text = String::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split('\t').collect();
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.ok_or_else(|| format!("it has no column {name:?}"))
    };
    let (path, sentence) = (column("path")?, column("sentence")?);
    let row = |line: &str| {
        let cell = |column: usize| line.split('\t').nth(column).unwrap_or_default();
        let name = cell(path);
        Row {
            id: name.strip_suffix(".mp3").unwrap_or(name).to_owned(),
            sentence: cell(sentence).to_owned(),
        }
    };
    Ok(lines.map(row).collect())
}

impl CommonVoice {
    /// Finds the table and the clips. Those of a tree are planned in units of 256 MiB.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if they are not there, or more than once.
    pub fn open(store: &Store) -> crate::Result<Self> {
        let (inputs, units) = match store.head(HUB_TABLE)? {
            Some(table) => on_the_hub(store, &table)?,
            None => from_mozilla(store)?,
        };
        Ok(CommonVoice {
            store: store.clone(),
            inputs,
            units,
            table: OnceLock::new(),
        })
    }

    fn clips(&self, clips: &[Clip], emit: &mut dyn Emit) -> crate::Result<()> {
        for Clip { row, object } in clips {
            let Some(object) = object else {
                emit.bad(archive::missing_audio(
                    &row.id,
                    &row.id,
                    "the folder `clips`",
                ))?;
                continue;
            };
            let recording = tree::recording(&self.store, object, emit)?;
            emit.utterance(utterance(
                &row.id,
                &object.path,
                row.sentence.clone(),
                recording,
            ))?;
        }
        Ok(())
    }

    fn archive(&self, object: &Object, emit: &mut dyn Emit) -> crate::Result<()> {
        let table = match self.table.get() {
            Some(table) => table,
            None => {
                let rows = read_table(&self.store, HUB_TABLE)?;
                let table = rows.into_iter().map(|row| (row.id, row.sentence));
                self.table.get_or_init(|| table.collect())
            }
        };
        archive::read_members(&self.store, object, emit, |member, emit| {
            let Some(id) = member.stem(".mp3").map(str::to_owned) else {
                return Ok(());
            };
            let origin = format!("{}:{}", object.path, member.path);
            let Some(sentence) = table.get(&id) else {
                emit.bad(archive::missing_text(&id, &origin, HUB_TABLE))?;
                return Ok(());
            };
            let recording = archive::in_memory(&origin, member.bytes()?);
            Ok(emit.utterance(utterance(&id, &origin, sentence.clone(), recording))?)
        })
    }

    /// The table may lie behind the clips, so it is looked for first.
    fn download(&self, object: &Object, emit: &mut dyn Emit) -> crate::Result<()> {
        let mut found = None;
        archive::read_members(&self.store, object, emit, |member, _| {
            if !is_table(&member.path) {
                return Ok(());
            }
            found = Some(member.bytes()?);
            Err(Stop::Done)
        })?;
        let path = &object.path;
        let Some(bytes) = found else {
            return emit.bad(archive::missing_text(path, path, "en/train.tsv"));
        };
        let rows = parse(bytes).map_err(|problem| bad_table(&self.store, path, &problem))?;
        let mut table: BTreeMap<_, _> = rows.into_iter().map(|r| (r.id, r.sentence)).collect();
        archive::read_members(&self.store, object, emit, |member, emit| {
            // clips of other parts are there too
            let Some((id, sentence)) = member.stem(".mp3").and_then(|id| table.remove_entry(id))
            else {
                return Ok(());
            };
            let origin = format!("{path}:{}", member.path);
            let recording = match member.bytes() {
                Ok(bytes) => archive::in_memory(&origin, bytes),
                Err(error) => {
                    table.insert(id, sentence);
                    return Err(error.into());
                }
            };
            Ok(emit.utterance(utterance(&id, &origin, sentence, recording))?)
        })?;
        for id in table.into_keys() {
            emit.bad(archive::missing_audio(&id, path, path))?;
        }
        Ok(())
    }
}

fn on_the_hub(store: &Store, table: &Object) -> crate::Result<(Vec<Input>, Vec<Unit>)> {
    let mut archives = store.list(HUB_AUDIO)?;
    archives.retain(|object| compressed::has_extension(&object.path, "tar"));
    if archives.is_empty() {
        return Err(layout(
            store,
            format!("there is {HUB_TABLE}, but no {HUB_AUDIO}/*.tar"),
        ));
    }
    let table = Unit::from(table).label;
    let unit = |object: &Object| {
        let Unit { label, bytes } = Unit::from(object);
        Unit {
            label: format!("{label}; {table}"),
            bytes,
        }
    };
    let units = archives.iter().map(unit).collect();
    Ok((archives.into_iter().map(Input::Archive).collect(), units))
}

fn from_mozilla(store: &Store) -> crate::Result<(Vec<Input>, Vec<Unit>)> {
    let (mut tables, mut archives, mut clips) = (Vec::new(), Vec::new(), HashMap::new());
    for object in store.list("")? {
        if is_table(&object.path) {
            tables.push(object);
        } else if object.path.ends_with("-en.tar.gz") {
            archives.push(object);
        } else if object.path.ends_with(".mp3") {
            clips.insert(object.path.clone(), object);
        }
    }
    match (&tables[..], &archives[..]) {
        ([table], []) => of_tree(store, table, clips),
        ([], [archive]) => {
            let unit = Unit::from(archive);
            Ok((vec![Input::Download(archive.clone())], vec![unit]))
        }
        _ => {
            let (tables, archives) = (tables.len(), archives.len());
            let wanted = "wanted is one en/train.tsv with en/clips/*.mp3, or one *-en.tar.gz, or the hub's transcript/en/train.tsv, or en/train-*.parquet";
            let problem = format!("{tables} tables en/train.tsv and {archives} archives; {wanted}");
            Err(layout(store, problem))
        }
    }
}

/// A table of the English training part; also if the folder `en` itself was given.
fn is_table(path: &str) -> bool {
    TABLES[1..].contains(&path) || path.ends_with("/en/train.tsv")
}

fn of_tree(
    store: &Store,
    table: &Object,
    mut clips: HashMap<String, Object>,
) -> crate::Result<(Vec<Input>, Vec<Unit>)> {
    let base = table.path.strip_suffix("train.tsv").unwrap_or_default();
    let mut clips: Vec<_> = read_table(store, &table.path)?
        .into_iter()
        .map(|row| Clip {
            object: clips.remove(&format!("{base}clips/{}.mp3", row.id)),
            row,
        })
        .collect();
    if clips.iter().all(|clip| clip.object.is_none()) {
        let problem = format!("none of the clips of {} is in {base}clips", table.path);
        return Err(layout(store, problem));
    }
    let size = |clip: &Clip| clip.object.as_ref().map_or(0, |object| object.size);
    let ends = plan_units(clips.iter().map(size), tree::UNIT_BYTES);
    let (mut inputs, mut units, mut start) = (Vec::new(), Vec::new(), 0);
    for end in ends {
        let rest = clips.split_off(end - start);
        let name = format!("{}, rows {} to {end}", Unit::from(table).label, start + 1);
        units.push(tree::unit(
            &name,
            clips.iter().flat_map(|clip| &clip.object),
        ));
        inputs.push(Input::Clips(std::mem::replace(&mut clips, rest)));
        start = end;
    }
    Ok((inputs, units))
}

fn read_table(store: &Store, path: &str) -> crate::Result<Vec<Row>> {
    let bytes = store.read(path)?;
    let bytes = bytes.ok_or_else(|| bad_table(store, path, "it is not there any more"))?;
    parse(bytes).map_err(|problem| bad_table(store, path, &problem))
}

fn bad_table(store: &Store, path: &str, problem: &str) -> crate::Error {
    layout(
        store,
        format!("the table {path}: {problem}; fetch it again"),
    )
}

/// A document has one speaker, whoever that is.
fn utterance(id: &str, origin: &str, sentence: String, recording: audio::Input) -> RawUtterance {
    RawUtterance {
        id: id.to_owned(),
        document: id.to_owned(),
        lang: "en".to_owned(),
        origin: origin.to_owned(),
        transcript: Transcript::Text(sentence),
        audio: RawAudio::Recording(recording),
        speaker: Some("client".to_owned()),
        ..RawUtterance::default()
    }
}

impl Source for CommonVoice {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn name(&self) -> &str {
        NAME
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

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> crate::Result<()> {
        match &self.inputs[unit] {
            Input::Clips(clips) => self.clips(clips, emit),
            Input::Archive(object) => self.archive(object, emit),
            Input::Download(object) => self.download(object, emit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_taken_as_they_are() {
        let table = b"client_id\tpath\tsentence\tlocale\r\n0\ta.mp3\t\"So,\" she said, \"no\ten\r\n1\tb.mp3\n";
        let row = |id: &str, sentence: &str| Row {
            id: id.to_owned(),
            sentence: sentence.to_owned(),
        };
        let rows = [row("a", "\"So,\" she said, \"no"), row("b", "")];
        assert_eq!(parse(table.to_vec()).unwrap(), rows);
    }

    #[test]
    fn a_table_without_the_columns_is_refused() {
        assert!(
            parse(b"path\tlocale\n".to_vec())
                .unwrap_err()
                .contains("\"sentence\"")
        );
        assert!(parse(vec![0xff]).unwrap_err().contains("UTF-8"));
    }
}
