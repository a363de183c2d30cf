//! Groups the rows of a manifest into documents.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::manifest::{self, Row};
use super::scan::AudioFile;
use super::{FolderOptions, Recordings, language, segment};
use crate::error::{Error, Result};

/// A document that is being put together from rows.
struct Gathered {
    line: u64,
    document: Recordings,
}

/// The documents of the manifest at `path`, whose rows must name some of `files`.
pub fn documents(
    path: &Path,
    files: &[AudioFile],
    options: &FolderOptions,
) -> Result<Vec<Recordings>> {
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
        document: Recordings {
            id: id.to_owned(),
            lang: lang.clone(),
            segments: Vec::new(),
        },
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
    let (text, speaker) = (row.text.as_deref(), row.speaker.as_deref());
    entry
        .document
        .segments
        .push(segment(file, text, speaker, options));
    Ok(())
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
