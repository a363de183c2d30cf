//! A folder of audio files, with transcripts in `.txt` files beside them or in a manifest.
//!
//! Without a manifest every file is a document whose id is its relative path without the extension. With one, the documents
//! are the manifest's rows, and rows that name the same `document` are its segments. Documents are sorted by id.
//!
//! The language is `--lang`, or else the manifest's, or else the first folder if that is a language code (`en/…`), or `und`.

pub mod manifest;
mod rows;
pub mod scan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit, plan_units};
use crate::sources::lang;
use scan::AudioFile;

/// Where the recordings are and what is known of them.
#[derive(Clone, Debug, Default)]
pub struct FolderOptions {
    /// The folder.
    pub dir: PathBuf,
    /// The output folder, which is not scanned.
    pub out: Option<PathBuf>,
    /// Manifest, `.jsonl` or `.csv`.
    pub manifest: Option<PathBuf>,
    /// Language of all documents.
    pub lang: Option<String>,
    /// Name of the source; the folder's name by default.
    pub source: Option<String>,
    /// Refuse recordings without a transcript.
    pub require_text: bool,
    /// Input of one shard, in bytes.
    pub shard_bytes: u64,
}

/// A document of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recordings {
    /// Unique within the folder.
    pub id: String,
    /// Language code.
    pub lang: String,
    /// In order.
    pub segments: Vec<Recording>,
}

/// A recording with or without a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Its file.
    pub audio: PathBuf,
    /// The same, relative to the folder.
    pub origin: String,
    /// Size of the file.
    pub bytes: u64,
    /// What is said.
    pub transcript: Transcript,
    /// Any name of the speaker.
    pub speaker: Option<String>,
}

impl Recordings {
    /// Size of the files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }
}

/// A planned folder.
pub struct Folder {
    name: String,
    arguments: BTreeMap<String, String>,
    documents: Vec<Recordings>,
    units: Vec<Unit>,
    /// End of each unit in `documents`.
    ends: Vec<usize>,
    unlisted: usize,
}

impl Folder {
    /// Finds and checks all inputs, without reading audio.
    pub fn open(options: &FolderOptions) -> Result<Self> {
        refuse_inside(&options.dir, options.out.as_deref())?;
        let files = scan::audio_files(&options.dir, options.out.as_deref())?;
        if files.is_empty() {
            return Err(Error::NoAudio {
                dir: options.dir.clone(),
                extensions: scan::EXTENSIONS,
            });
        }
        let (documents, unlisted) = match &options.manifest {
            None => (one_each(&files, options)?, 0),
            Some(path) => {
                let documents = rows::documents(path, &files, options)?;
                let listed: usize = documents.iter().map(|d| d.segments.len()).sum();
                (documents, files.len() - listed)
            }
        };
        if options.require_text {
            require_text(&documents)?;
        }
        let ends = plan_units(documents.iter().map(Recordings::bytes), options.shard_bytes);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let units = starts
            .zip(&ends)
            .map(|(start, &end)| unit(&documents[start..end]))
            .collect();
        Ok(Folder {
            name: source_name(options)?,
            arguments: arguments(&documents, options)?,
            documents,
            units,
            ends,
            unlisted,
        })
    }

    /// The documents of a unit, in order.
    pub fn unit(&self, unit: usize) -> &[Recordings] {
        let start = unit.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.documents[start..self.ends[unit]]
    }

    /// All documents, in order.
    pub fn all_documents(&self) -> &[Recordings] {
        &self.documents
    }

    /// Audio files in the folder that the manifest does not name.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }
}

impl Source for Folder {
    fn kind(&self) -> &'static str {
        "folder"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        self.arguments.clone()
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        Grouping::Adjacent
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let counter = emit.counter();
        for document in self.unit(unit) {
            for recording in &document.segments {
                emit.utterance(utterance(document, recording))?;
                counter.fetch_add(recording.bytes, Relaxed);
            }
        }
        Ok(())
    }
}

/// The file is read where it is decoded.
fn utterance(document: &Recordings, recording: &Recording) -> RawUtterance {
    RawUtterance {
        id: document.id.clone(),
        document: document.id.clone(),
        lang: document.lang.clone(),
        origin: recording.origin.clone(),
        transcript: recording.transcript.clone(),
        audio: RawAudio::Recording(audio::Input::File(recording.audio.clone())),
        speaker: recording.speaker.clone(),
        ..RawUtterance::default()
    }
}

/// The job's identity. Inputs count by name, size and inline text, not by time stamps, so that a copied folder is the same.
fn arguments(
    documents: &[Recordings],
    options: &FolderOptions,
) -> Result<BTreeMap<String, String>> {
    let mut listing = String::new();
    for document in documents {
        listing += &format!("{:?} {:?}\n", document.id, document.lang);
        for segment in &document.segments {
            let text = match &segment.transcript {
                Transcript::None => "none".to_owned(),
                Transcript::Text(text) => format!("{text:?}"),
                Transcript::File(path) => {
                    let metadata = path.metadata().map_err(Error::io("look at", path))?;
                    format!("{} bytes", metadata.len())
                }
            };
            let speaker = &segment.speaker;
            listing += &format!(
                "  {:?} {} {speaker:?} {text}\n",
                segment.origin, segment.bytes
            );
        }
    }
    Ok(BTreeMap::from([
        ("name".to_owned(), source_name(options)?),
        (
            "lang".to_owned(),
            options.lang.clone().unwrap_or("by document".to_owned()),
        ),
        ("documents".to_owned(), documents.len().to_string()),
        (
            "inputs_sha256".to_owned(),
            shards::sha256_hex(listing.as_bytes()),
        ),
        ("shard_bytes".to_owned(), options.shard_bytes.to_string()),
    ]))
}

fn source_name(options: &FolderOptions) -> Result<String> {
    if let Some(name) = &options.source {
        return Ok(name.clone());
    }
    let dir = &options.dir;
    let dir = dir
        .canonicalize()
        .map_err(Error::io("open the folder", dir))?;
    let name = dir.file_name().unwrap_or_default().to_str();
    name.map(str::to_owned)
        .ok_or(Error::FileName { path: dir.clone() })
}

fn refuse_inside(dir: &Path, out: Option<&Path>) -> Result<()> {
    let canonical = dir
        .canonicalize()
        .map_err(Error::io("open the folder", dir))?;
    match out.and_then(|out| out.canonicalize().ok()) {
        Some(out) if canonical.starts_with(&out) => Err(Error::InputInsideOutput {
            dir: dir.to_owned(),
            out,
        }),
        _ => Ok(()),
    }
}

fn one_each(files: &[AudioFile], options: &FolderOptions) -> Result<Vec<Recordings>> {
    let mut by_id: BTreeMap<&str, &AudioFile> = BTreeMap::new();
    for file in files {
        if let Some(first) = by_id.insert(file.id(), file) {
            return Err(Error::DuplicateId {
                id: file.id().to_owned(),
                first: first.relative.clone(),
                second: file.relative.clone(),
            });
        }
    }
    let document = |(id, file): (&str, &AudioFile)| Recordings {
        id: id.to_owned(),
        lang: language(options, None, file),
        segments: vec![segment(file, None, None, options)],
    };
    Ok(by_id.into_iter().map(document).collect())
}

/// The row's text, or else the `.txt` file beside the recording, or else none.
fn segment(
    file: &AudioFile,
    text: Option<&str>,
    speaker: Option<&str>,
    options: &FolderOptions,
) -> Recording {
    let audio = options.dir.join(&file.relative);
    let beside = audio.with_extension("txt");
    let transcript = match text {
        Some(text) => Transcript::Text(text.to_owned()),
        None if beside.is_file() => Transcript::File(beside),
        None => Transcript::None,
    };
    Recording {
        audio,
        origin: file.relative.clone(),
        bytes: file.bytes,
        transcript,
        speaker: speaker.map(str::to_owned),
    }
}

fn language(options: &FolderOptions, row: Option<&str>, file: &AudioFile) -> String {
    let folder = || {
        file.relative
            .split_once('/')
            .map(|(first, _)| first)
            .filter(|first| lang::is_code(first))
    };
    options
        .lang
        .as_deref()
        .or(row)
        .or_else(folder)
        .unwrap_or("und")
        .to_owned()
}

fn require_text(documents: &[Recordings]) -> Result<()> {
    let segments = || documents.iter().flat_map(|document| &document.segments);
    let mut missing = segments().filter(|segment| segment.transcript == Transcript::None);
    match missing.next() {
        None => Ok(()),
        Some(first) => Err(Error::MissingText {
            missing: 1 + missing.count(),
            total: segments().count(),
            first: first.origin.clone(),
        }),
    }
}

fn unit(documents: &[Recordings]) -> Unit {
    let (first, last) = (&documents[0].id, &documents[documents.len() - 1].id);
    let bytes = documents.iter().map(Recordings::bytes).sum();
    Unit {
        label: format!(
            "{} documents, {bytes} bytes: {first} to {last}",
            documents.len()
        ),
        bytes,
    }
}

#[cfg(test)]
mod tests;
