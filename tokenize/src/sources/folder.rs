//! A folder of audio files, with transcripts in `.txt` files beside them or in a manifest.
//!
//! Without a manifest every file is a document whose id is its relative path without the extension. With one, the documents
//! are the manifest's rows, and rows that name the same `document` are its segments. Documents are sorted by id.
//!
//! The language is `--lang`, or else the manifest's, or else the first folder if that is a language code (`en/…`), or `und`.

pub mod manifest;
pub mod scan;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::source::{RawDocument, RawSegment, Source, Transcript, Unit, plan_units};
use crate::sources::lang;
use manifest::Row;
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

/// A planned folder.
pub struct Folder {
    name: String,
    arguments: BTreeMap<String, String>,
    documents: Vec<RawDocument>,
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
                let documents = from_manifest(path, &files, options)?;
                let listed: usize = documents.iter().map(|d| d.segments.len()).sum();
                (documents, files.len() - listed)
            }
        };
        if options.require_text {
            require_text(&documents)?;
        }
        let ends = plan_units(
            documents.iter().map(RawDocument::bytes),
            options.shard_bytes,
        );
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

    /// All documents, in order.
    pub fn all_documents(&self) -> &[RawDocument] {
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

    fn documents(&self, unit: usize) -> Box<dyn Iterator<Item = RawDocument> + Send + '_> {
        let start = unit.checked_sub(1).map_or(0, |before| self.ends[before]);
        Box::new(self.documents[start..self.ends[unit]].iter().cloned())
    }
}

/// The job's identity. Inputs count by name, size and inline text, not by time stamps, so that a copied folder is the same.
fn arguments(
    documents: &[RawDocument],
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
            let speaker = segment.speaker;
            listing += &format!(
                "  {:?} {} {speaker:?} {text}\n",
                segment.origin, segment.bytes
            );
        }
    }
    Ok(BTreeMap::from([
        ("name".to_owned(), source_name(options)?),
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

fn one_each(files: &[AudioFile], options: &FolderOptions) -> Result<Vec<RawDocument>> {
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
    let document = |(id, file): (&str, &AudioFile)| RawDocument {
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
    speaker: Option<u16>,
    options: &FolderOptions,
) -> RawSegment {
    let audio = options.dir.join(&file.relative);
    let beside = audio.with_extension("txt");
    let transcript = match text {
        Some(text) => Transcript::Text(text.to_owned()),
        None if beside.is_file() => Transcript::File(beside),
        None => Transcript::None,
    };
    RawSegment {
        audio,
        origin: file.relative.clone(),
        bytes: file.bytes,
        transcript,
        speaker,
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

/// A document that is being put together from rows.
struct Gathered {
    line: u64,
    document: RawDocument,
    speakers: Vec<String>,
}

fn from_manifest(
    path: &Path,
    files: &[AudioFile],
    options: &FolderOptions,
) -> Result<Vec<RawDocument>> {
    let by_path: BTreeMap<&str, &AudioFile> =
        files.iter().map(|f| (f.relative.as_str(), f)).collect();
    let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
    let mut gathered: BTreeMap<String, Gathered> = BTreeMap::new();
    for row in manifest::read(path)? {
        let bad = |problem: String| Error::Manifest {
            path: path.to_owned(),
            row: row.line,
            problem,
        };
        let relative = below(&options.dir, path, &row.path).map_err(bad)?;
        let Some(&file) = by_path.get(relative.as_str()) else {
            let found = format!(
                "{:?} is no audio file below {}",
                row.path,
                options.dir.display()
            );
            return Err(bad(format!(
                "{found}; paths are relative to the manifest; correct it or remove the row"
            )));
        };
        if let Some(line) = taken.insert(&file.relative, row.line) {
            return Err(bad(format!(
                "{:?} is already in row {line}; remove one of them",
                row.path
            )));
        }
        add_row(&mut gathered, &row, file, options).map_err(bad)?;
    }
    Ok(gathered.into_values().map(|g| g.document).collect())
}

/// Appends the row's segment to its document, which the first of its rows creates.
fn add_row(
    gathered: &mut BTreeMap<String, Gathered>,
    row: &Row,
    file: &AudioFile,
    options: &FolderOptions,
) -> std::result::Result<(), String> {
    let id = row.document.as_deref().unwrap_or(file.id());
    let lang = language(options, row.lang.as_deref(), file);
    let entry = gathered.entry(id.to_owned()).or_insert_with(|| Gathered {
        line: row.line,
        document: RawDocument {
            id: id.to_owned(),
            lang: lang.clone(),
            segments: Vec::new(),
        },
        speakers: Vec::new(),
    });
    let first = entry.line;
    if first != row.line && row.document.is_none() {
        return Err(format!(
            "document id {id:?} is that of row {first} too; rename one of them"
        ));
    }
    if entry.document.lang != lang {
        let other = &entry.document.lang;
        return Err(format!(
            "document {id:?} has language {lang:?} here and {other:?} in row {first}; give it one"
        ));
    }
    let speaker = match &row.speaker {
        None => None,
        Some(name) => Some(number(&mut entry.speakers, name)?),
    };
    entry
        .document
        .segments
        .push(segment(file, row.text.as_deref(), speaker, options));
    Ok(())
}

/// The speaker's number in order of first appearance.
fn number(speakers: &mut Vec<String>, name: &str) -> std::result::Result<u16, String> {
    let known = speakers.iter().position(|speaker| speaker == name);
    let index = known.unwrap_or_else(|| {
        speakers.push(name.to_owned());
        speakers.len() - 1
    });
    u16::try_from(index)
        .map_err(|_| "the document has more than 65,536 speakers; split it".to_owned())
}

/// The manifest's path of a recording, made relative to the scanned folder.
fn below(dir: &Path, manifest: &Path, listed: &str) -> std::result::Result<String, String> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map(|path| normal(&path))
            .map_err(|e| e.to_string())
    };
    let base = manifest.parent().unwrap_or(Path::new(""));
    let base = if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    };
    let file = absolute(&base.join(listed))?;
    let relative = file.strip_prefix(absolute(dir)?).map_err(|_| {
        let dir = dir.display();
        format!("{listed:?} lies outside {dir}; paths are relative to the manifest; move the file or the manifest")
    })?;
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}

/// `a/./b/../c` as `a/c`.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(out.pop()),
            other => out.push(other),
        }
    }
    out
}

fn require_text(documents: &[RawDocument]) -> Result<()> {
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

fn unit(documents: &[RawDocument]) -> Unit {
    let (first, last) = (&documents[0].id, &documents[documents.len() - 1].id);
    let bytes = documents.iter().map(RawDocument::bytes).sum();
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
