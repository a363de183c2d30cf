//! Cuts a file into units of lines, which are known by what is in them.

use std::collections::{BTreeSet, HashSet};

use super::InstructionFile;
use super::record::{Fault, Record};
use crate::error::Result;
use crate::source::Unit;
use crate::sources::compressed;
use crate::sources::lines::Line;

/// The lines of a unit.
#[derive(Default)]
pub struct Planned {
    /// First line.
    pub first: u64,
    /// First line of the next unit; the last one has none, and goes to the end of the file, or to where it is damaged.
    pub end: Option<u64>,
    /// Lines of a name that a line before them has, in this unit or another.
    pub repeated: BTreeSet<u64>,
}

/// Reads a file, and collects the `ids` of its lines. A unit ends before it would exceed `unit_bytes`, and holds at least one
/// line. It is known by a hash of its lines and of the sizes of their recordings, so that a copied folder is the same.
///
/// # Errors
/// If the file cannot be read, or has no lines.
pub fn plan(
    file: &InstructionFile,
    unit_bytes: u64,
    ids: &mut HashSet<String>,
) -> Result<Vec<(Planned, Unit)>> {
    let mut lines = file.lines()?;
    let mut units = Vec::new();
    let mut open = Draft::default();
    loop {
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            // it is told when the unit is read
            Err(error) => {
                open.add(
                    0,
                    &compressed::damage(&file.name, error)?.message.into_bytes(),
                    0,
                );
                break;
            }
        };
        let record = Record::parse(&line);
        let bytes = input_bytes(file, &line, &record);
        if open.lines > 0 && open.bytes + bytes > unit_bytes {
            units.push(open.finish(file, Some(line.number)));
            open = Draft::default();
        }
        open.add(line.number, line.content.unwrap_or_default(), bytes);
        let id = record.as_ref().ok().and_then(Record::id);
        if id.is_some_and(|id| !ids.insert(id.to_owned())) {
            open.planned.repeated.insert(line.number);
        }
    }
    if open.lines == 0 {
        return Err(file.refused("it has no lines; give a file of instructions as JSON lines"));
    }
    units.push(open.finish(file, None));
    Ok(units)
}

/// Size of a line and its recordings.
pub fn input_bytes(file: &InstructionFile, line: &Line<'_>, record: &Result<Record, Fault>) -> u64 {
    let size = |path: &str| {
        let metadata = file.recording(path).metadata();
        metadata.map_or(0, |metadata| metadata.len())
    };
    let recordings = record.iter().flat_map(Record::recordings);
    let content = line.content.map_or(0, |content| content.len() as u64);
    content + recordings.map(size).sum::<u64>()
}

/// A unit that may get more lines.
#[derive(Default)]
struct Draft {
    planned: Planned,
    lines: u64,
    bytes: u64,
    /// Of the lines so far.
    hash: String,
}

impl Draft {
    fn add(&mut self, number: u64, content: &[u8], bytes: u64) {
        if self.lines == 0 {
            self.planned.first = number;
        }
        let place = format!("{} {number} {bytes} ", self.hash);
        self.hash = shards::sha256_hex(&[place.as_bytes(), content].concat());
        self.lines += 1;
        self.bytes += bytes;
    }

    fn finish(self, file: &InstructionFile, end: Option<u64>) -> (Planned, Unit) {
        let Draft {
            planned,
            lines,
            bytes,
            hash,
        } = self;
        let label = format!(
            "{} from line {}, {lines} lines, {bytes} bytes with recordings, sha256 {hash:.12}",
            file.name, planned.first
        );
        (Planned { end, ..planned }, Unit { label, bytes })
    }
}
