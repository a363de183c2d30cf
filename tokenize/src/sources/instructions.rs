//! Instructions with their responses, for supervised fine-tuning: a document a line of JSON, plain or compressed.
//!
//! A line is `{"id": …, "instruction": CONTENT, "response": CONTENT}`, without `id` if need be. CONTENT is a text, or a list of
//! parts, each a text or `{"audio": PATH}`, a recording relative to the file. Parts are segments, those of the instruction by
//! speaker 0, those of the response by speaker 1; where one cannot be used, the line is left out.

mod plan;
mod record;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

use super::compressed;
use super::lines::Lines;
use crate::error::{Error, Result};
use crate::source::{Emit, Grouping, Source, Unit};
use plan::Planned;
use record::Record;

/// Files of instructions, planned.
pub struct Instructions {
    name: String,
    files: Vec<InstructionFile>,
    spans: Vec<Span>,
    units: Vec<Unit>,
}

/// A file of this machine.
struct InstructionFile {
    path: PathBuf,
    /// What it is called in lists and shards.
    name: String,
}

/// The lines of a unit.
struct Span {
    /// Number of the file.
    file: usize,
    lines: Planned,
}

impl Instructions {
    /// Reads the files, and plans them in units of about `unit_bytes` of lines and recordings. The dataset's name is that of the
    /// only file, without its extension, unless it is given.
    ///
    /// # Errors
    /// If a file cannot be read; [`Error::Layout`] for a file without lines, two of one name, and several without a name for
    /// the dataset.
    pub fn open(paths: &[PathBuf], name: Option<&str>, unit_bytes: u64) -> Result<Self> {
        let mut files: Vec<InstructionFile> = Vec::new();
        for path in paths {
            let file = InstructionFile::new(path)?;
            if files.iter().any(|other| other.name == file.name) {
                let problem = "another file has this name, and documents are named after their files; rename one";
                return Err(file.refused(problem));
            }
            files.push(file);
        }
        let name = match (name, &files[..]) {
            (Some(name), _) => name,
            (None, [only]) => only.stem(),
            (None, [first, ..]) => {
                return Err(first.refused("several files become one dataset; name it with --name"));
            }
            (None, []) => unreachable!("a command has a file at least"),
        };
        let name = name.to_owned();
        let (mut spans, mut units) = (Vec::new(), Vec::new());
        let mut ids = HashSet::new();
        for (number, file) in files.iter().enumerate() {
            for (lines, unit) in plan::plan(file, unit_bytes, &mut ids)? {
                let file = number;
                spans.push(Span { file, lines });
                units.push(unit);
            }
        }
        Ok(Instructions {
            name,
            files,
            spans,
            units,
        })
    }
}

impl Source for Instructions {
    fn kind(&self) -> &'static str {
        "instructions"
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
        let Span {
            file,
            lines: planned,
        } = &self.spans[unit];
        let file = &self.files[*file];
        let mut lines = file.lines()?;
        loop {
            let line = match lines.next() {
                Ok(Some(line)) if line.number < planned.first => continue,
                Ok(Some(line)) if planned.end != Some(line.number) => line,
                Ok(_) => return Ok(()),
                // what was complete before the damage is kept
                Err(error) => return emit.bad(compressed::damage(&file.name, error)?),
            };
            let record = Record::parse(&line);
            let bytes = plan::input_bytes(file, &line, &record);
            let is_repeated = planned.repeated.contains(&line.number);
            let parts = record.and_then(|record| match is_repeated {
                true => Err(record.repeated()),
                false => record.utterances(file, line.number),
            });
            match parts {
                Ok(parts) => parts
                    .into_iter()
                    .try_for_each(|part| emit.utterance(part))?,
                Err(fault) => emit.bad(fault.at(file, line.number))?,
            }
            emit.counter().fetch_add(bytes, Relaxed);
        }
    }
}

impl InstructionFile {
    fn new(path: &Path) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::FileName {
            path: path.to_owned(),
        })?;
        Ok(InstructionFile {
            path: path.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Its name without the extension and the ending of a compressed file.
    fn stem(&self) -> &str {
        let name = compressed::without_ending(&self.name);
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }

    fn lines(&self) -> Result<Lines<'static>> {
        let file = fs::File::open(&self.path).map_err(Error::io("open", &self.path))?;
        Lines::open(&self.name, file)
    }

    /// Where a recording is.
    fn recording(&self, relative: &str) -> PathBuf {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        folder.join(relative)
    }

    fn refused(&self, problem: &str) -> Error {
        Error::Layout {
            location: self.path.display().to_string(),
            problem: problem.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
