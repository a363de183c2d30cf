//! LibriSpeech: read books, an utterance a document, lower-cased.
//!
//! The published archives `train-*.tar.gz`, or the tree that they unpack to: `train-*/{speaker}/{chapter}/{id}.flac`, and
//! beside them `{speaker}-{chapter}.trans.txt` with an id and a transcript a line. `dev-*` and `test-*` are left out.

use std::collections::BTreeMap;

use stores::{Object, Store};

use super::archive::{self, Member, Stop};
use super::pairs::{Half, Pairs};
use super::{layout, tree};
use crate::skipped::BadRecord;
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit, plan_units};

/// Ending of the files of transcripts.
const TRANSCRIPTS: &str = ".trans.txt";

/// The training part, planned.
pub struct LibriSpeech {
    store: Store,
    inputs: Vec<Input>,
    units: Vec<Unit>,
}

/// What a unit is read from.
enum Input {
    /// Folders of the tree.
    Chapters(Vec<Chapter>),
    /// An archive.
    Archive(Object),
}

/// A folder of the tree.
#[derive(Default)]
struct Chapter {
    folder: String,
    recordings: Vec<Object>,
    transcripts: Vec<Object>,
}

impl LibriSpeech {
    /// Lists the training part. The chapters of a tree are planned in units of 256 MiB.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there is none, or if there are both archives and a tree.
    pub fn open(store: &Store) -> crate::Result<Self> {
        let mut archives = Vec::new();
        let mut chapters = BTreeMap::new();
        for object in store.list("")? {
            let (folder, name) = object.path.rsplit_once('/').unwrap_or(("", &object.path));
            if name.starts_with("train-") && name.ends_with(".tar.gz") {
                archives.push(object);
            } else if folder.split('/').any(|part| part.starts_with("train-")) {
                let folder = folder.to_owned();
                let chapter = chapters
                    .entry(folder)
                    .or_insert_with_key(|folder| Chapter::new(folder));
                chapter.add(object);
            }
        }
        chapters.retain(|_, chapter| !chapter.is_empty());
        let wanted = "train-*.tar.gz, or train-*/{speaker}/{chapter}/*.flac";
        let (inputs, units) = match (chapters.is_empty(), archives.is_empty()) {
            (true, true) => {
                let problem = format!("there are no {wanted}; give the folder above `train-*`");
                return Err(layout(store, problem));
            }
            (false, false) => {
                let problem = format!("there are both, {wanted}; give a folder with one of them");
                return Err(layout(store, problem));
            }
            (false, true) => of_tree(chapters.into_values().collect()),
            (true, false) => {
                let units = archives.iter().map(Unit::from).collect();
                (archives.into_iter().map(Input::Archive).collect(), units)
            }
        };
        Ok(LibriSpeech {
            store: store.clone(),
            inputs,
            units,
        })
    }

    fn chapter(&self, chapter: &Chapter, emit: &mut dyn Emit) -> crate::Result<()> {
        let mut lines = BTreeMap::new();
        for object in &chapter.transcripts {
            let bytes = self.store.read(&object.path)?.unwrap_or_default();
            match read_lines(&object.path, bytes) {
                Ok(found) => lines.extend(found),
                Err(record) => emit.bad(*record)?,
            }
        }
        for object in &chapter.recordings {
            let Some(id) = archive::stem(&object.path, ".flac") else {
                continue;
            };
            match lines.remove(id) {
                Some(text) => {
                    let recording = tree::recording(&self.store, object, emit)?;
                    emit.utterance(utterance(id, &object.path, text, recording))?;
                }
                None => emit.bad(archive::missing_text(id, &object.path, TRANSCRIPTS))?,
            }
        }
        for id in lines.into_keys() {
            let origin = format!("{}/{id}.flac", chapter.folder);
            emit.bad(archive::missing_audio(&id, &origin, &chapter.folder))?;
        }
        Ok(())
    }

    /// In an archive the transcripts of a chapter may lie before or behind its recordings.
    fn archive(&self, object: &Object, emit: &mut dyn Emit) -> crate::Result<()> {
        let mut pairs = Pairs::default();
        let path = &object.path;
        archive::read_members(&self.store, object, emit, |member, emit| {
            for (id, half) in halves(path, member, emit)? {
                if let Some((origin, flac, text)) = pairs.add(id.clone(), half) {
                    let recording = archive::in_memory(&origin, flac);
                    emit.utterance(utterance(&id, &origin, text, recording))?;
                }
            }
            while let Some((id, half)) = pairs.given_up() {
                emit.bad(unpaired(&id, half, path))?;
            }
            Ok(())
        })?;
        for (id, half) in pairs.finish() {
            emit.bad(unpaired(&id, half, path))?;
        }
        Ok(())
    }
}

impl Chapter {
    fn new(folder: &str) -> Self {
        Chapter {
            folder: folder.to_owned(),
            ..Chapter::default()
        }
    }

    fn add(&mut self, object: Object) {
        if object.path.ends_with(".flac") {
            self.recordings.push(object);
        } else if object.path.ends_with(TRANSCRIPTS) {
            self.transcripts.push(object);
        }
    }

    fn is_empty(&self) -> bool {
        self.recordings.is_empty() && self.transcripts.is_empty()
    }

    fn objects(&self) -> impl Iterator<Item = &Object> {
        self.recordings.iter().chain(&self.transcripts)
    }
}

fn of_tree(chapters: Vec<Chapter>) -> (Vec<Input>, Vec<Unit>) {
    let size = |chapter: &Chapter| chapter.objects().map(|object| object.size).sum();
    let ends = plan_units(chapters.iter().map(size), tree::UNIT_BYTES);
    let (mut inputs, mut units) = (Vec::new(), Vec::new());
    let mut chapters = chapters.into_iter();
    let mut start = 0;
    for end in ends {
        let chapters: Vec<_> = chapters.by_ref().take(end - start).collect();
        let name = format!("{} chapters from {}", chapters.len(), chapters[0].folder);
        units.push(tree::unit(
            &name,
            chapters.iter().flat_map(Chapter::objects),
        ));
        inputs.push(Input::Chapters(chapters));
        start = end;
    }
    (inputs, units)
}

/// What a member of an archive has of utterances.
fn halves(
    path: &str,
    member: &mut Member<'_>,
    emit: &mut dyn Emit,
) -> Result<Vec<(String, Half)>, Stop> {
    let origin = format!("{path}:{}", member.path);
    if let Some(id) = member.stem(".flac").map(str::to_owned) {
        return Ok(vec![(id, Half::Audio(origin, member.bytes()?))]);
    }
    if member.stem(TRANSCRIPTS).is_none() {
        return Ok(Vec::new());
    }
    match read_lines(&origin, member.bytes()?) {
        Ok(lines) => Ok(lines
            .into_iter()
            .map(|(id, text)| (id, Half::Text(text)))
            .collect()),
        Err(record) => {
            emit.bad(*record)?;
            Ok(Vec::new())
        }
    }
}

/// The transcripts by id.
fn read_lines(path: &str, bytes: Vec<u8>) -> Result<Vec<(String, String)>, Box<BadRecord>> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let problem = format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to());
        Box::new(archive::bad(path, path, "not-utf8", &problem))
    })?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let line = |line: &str| {
        let (id, text) = line.split_once(' ').unwrap_or((line, ""));
        (id.to_owned(), text.to_owned())
    };
    Ok(lines.map(line).collect())
}

/// An id is `{speaker}-{chapter}-{number}`.
fn utterance(id: &str, origin: &str, text: String, recording: audio::Input) -> RawUtterance {
    RawUtterance {
        id: id.to_owned(),
        document: id.to_owned(),
        lang: "en".to_owned(),
        origin: origin.to_owned(),
        transcript: Transcript::Text(text.to_lowercase()),
        audio: RawAudio::Recording(recording),
        speaker: id.split('-').next().map(str::to_owned),
        ..RawUtterance::default()
    }
}

fn unpaired(id: &str, half: Half, path: &str) -> BadRecord {
    match half {
        Half::Audio(origin, _) => archive::missing_text(id, &origin, path),
        Half::Text(_) => archive::missing_audio(id, path, path),
    }
}

impl Source for LibriSpeech {
    fn kind(&self) -> &'static str {
        "librispeech"
    }

    fn name(&self) -> &str {
        "librispeech-train"
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
            Input::Archive(object) => self.archive(object, emit),
            Input::Chapters(chapters) => chapters
                .iter()
                .try_for_each(|chapter| self.chapter(chapter, emit)),
        }
    }
}
