//! Parquet files, row by row.
//!
//! Only the columns asked for are read, page by page, so that a file's size does not matter, nor where it lies. Types are
//! those of the file format, whatever the writer held in memory: a text is a text, with offsets of 32 or 64 bits or views.

use std::fmt::Display;
use std::io::{self, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Float64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{ChunkReader, Length};
use stores::{Object, Random, Store};

use super::compressed;
use crate::error::{Error, Result};
use crate::skipped::BadRecord;
use crate::source::{Counted, Counter, Emit};

/// Memory of the rows that are decoded together, for rows of even size.
const BATCH_BYTES: u64 = 16 << 20;
/// Rows decoded together at most.
const BATCH_ROWS: u64 = 1024;
/// First and last bytes of every parquet file.
const MAGIC: &[u8] = b"PAR1";

/// A column to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it must hold.
    pub kind: Kind,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A text or a whole number that names something.
    Label,
    /// A number.
    Number,
    /// A recording: its file's bytes, alone or with its name in a struct of `bytes` and `path`.
    Audio,
}

impl Column {
    /// A column of this name and kind.
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Column { name, kind }
    }
}

impl Kind {
    fn accepts(self, found: &DataType) -> bool {
        match self {
            Kind::Text => *found == DataType::Utf8,
            Kind::Label => *found == DataType::Utf8 || found.is_integer(),
            Kind::Number => found.is_numeric(),
            Kind::Audio => match found {
                DataType::Struct(fields) => fields
                    .find("bytes")
                    .is_some_and(|(_, field)| *field.data_type() == DataType::Binary),
                found => *found == DataType::Binary,
            },
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Label => "text or a whole number",
            Kind::Number => "a number",
            Kind::Audio => "binary, or a struct of bytes (binary) and path (text)",
        }
    }
}

/// The parquet files below `folder` whose path within it satisfies `is_wanted`, sorted by path.
///
/// # Errors
/// [`Error::Layout`] if there are none, which says that `wanted` were looked for.
pub fn list(
    store: &Store,
    folder: &str,
    wanted: &str,
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Object>> {
    let mut objects = store.list(folder)?;
    objects.retain(|object| {
        let inner = object.path[folder.len()..].trim_start_matches('/');
        inner.ends_with(".parquet") && is_wanted(inner)
    });
    match objects.is_empty() {
        true => Err(Error::Layout {
            location: store.location().to_owned(),
            problem: format!("no files {wanted}; give the folder above them with --input"),
        }),
        false => Ok(objects),
    }
}

/// Hands the rows of a file to `each`. A file that is damaged is a bad record, as are the rows after the damage.
///
/// # Errors
/// [`Error::Layout`] for columns that are missing or of other types, [`Error::Stores`] and [`Error::Io`] for trouble that
/// another attempt may not have, and those of `each`.
pub fn read(
    store: &Store,
    object: &Object,
    columns: &[Column],
    emit: &mut dyn Emit,
    each: &mut dyn FnMut(&Row<'_>, &mut dyn Emit) -> Result<()>,
) -> Result<()> {
    let input = Input {
        random: store.random(object)?,
        counter: emit.counter(),
        failure: Arc::default(),
    };
    let place = Place {
        location: store.location(),
        path: &object.path,
        columns,
    };
    match place.rows(&input, emit, each) {
        Ok(()) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Damage(problem)) => {
            emit.bad(compressed::damage(&object.path, input.cause(problem))?)
        }
    }
}

/// Why a file was not read to its end.
enum Stop {
    Error(Error),
    Damage(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// A file and what is wanted of it.
struct Place<'a> {
    location: &'a str,
    path: &'a str,
    columns: &'a [Column],
}

impl Place<'_> {
    fn rows(
        &self,
        input: &Input,
        emit: &mut dyn Emit,
        each: &mut dyn FnMut(&Row<'_>, &mut dyn Emit) -> Result<()>,
    ) -> Result<(), Stop> {
        // what the writer held in memory, e.g. texts with 64-bit offsets, does not matter
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = unless_damaged(|| ArrowReaderMetadata::load(input, options))?;
        self.check(&metadata)?;
        let mut number = 0;
        for group in 0..metadata.metadata().num_row_groups() {
            let rows = self.batch_rows(metadata.metadata().row_group(group));
            let mask = ProjectionMask::columns(
                metadata.parquet_schema(),
                self.columns.iter().map(|column| column.name),
            );
            let mut batches = unless_damaged(|| {
                ParquetRecordBatchReaderBuilder::new_with_metadata(input.clone(), metadata.clone())
                    .with_row_groups(vec![group])
                    .with_projection(mask)
                    .with_batch_size(rows)
                    .build()
            })?;
            while let Some(batch) = unless_damaged(|| batches.next().transpose())? {
                let cells = unless_damaged(|| self.cells(&batch))?;
                for at in 0..batch.num_rows() {
                    number += 1;
                    let row = Row {
                        path: self.path,
                        cells: &cells,
                        at,
                        number,
                    };
                    each(&row, emit)?;
                }
            }
        }
        let promised = metadata.metadata().file_metadata().num_rows();
        match u64::try_from(promised) == Ok(number) {
            true => Ok(()),
            false => Err(Stop::Damage(format!(
                "{number} rows where {promised} are promised"
            ))),
        }
    }

    /// Refuses a file without the columns, or with other types.
    fn check(&self, metadata: &ArrowReaderMetadata) -> Result<()> {
        for Column { name, kind } in self.columns {
            let found = match metadata.schema().field_with_name(name) {
                Ok(field) if kind.accepts(field.data_type()) => continue,
                Ok(field) => format!("is of type {}", field.data_type()),
                Err(_) => "is missing".to_owned(),
            };
            return Err(Error::Layout {
                location: self.location.to_owned(),
                problem: format!(
                    "{}: column {name:?} {found}; it must hold {}",
                    self.path,
                    kind.wanted()
                ),
            });
        }
        Ok(())
    }

    /// Rows that make up a batch, by their mean size in a row group.
    fn batch_rows(&self, group: &RowGroupMetaData) -> usize {
        let is_wanted = |parts: &[String]| self.columns.iter().any(|c| c.name == parts[0]);
        let bytes: i64 = group
            .columns()
            .iter()
            .filter(|chunk| is_wanted(chunk.column_path().parts()))
            .map(|chunk| chunk.uncompressed_size())
            .sum();
        let rows = u64::try_from(group.num_rows()).unwrap_or(0);
        let mean = u64::try_from(bytes).unwrap_or(0) / rows.max(1);
        (BATCH_BYTES / mean.max(1)).clamp(1, BATCH_ROWS) as usize
    }

    /// The columns of a batch, in the order asked for.
    fn cells(&self, batch: &RecordBatch) -> Result<Vec<Cells>, ArrowError> {
        let cells = |column: &Column| {
            let array = batch.column_by_name(column.name);
            Cells::new(array.expect("the columns were checked"), column.kind)
        };
        self.columns.iter().map(cells).collect()
    }
}

/// A column of a batch.
enum Cells {
    Text(StringArray),
    Number(Float64Array),
    Audio {
        bytes: BinaryArray,
        path: Option<StringArray>,
    },
}

impl Cells {
    fn new(array: &ArrayRef, kind: Kind) -> Result<Self, ArrowError> {
        Ok(match kind {
            Kind::Text => Cells::Text(array.as_string().clone()),
            Kind::Label => Cells::Text(cast(array, &DataType::Utf8)?.as_string().clone()),
            Kind::Number => {
                let numbers = cast(array, &DataType::Float64)?;
                Cells::Number(numbers.as_primitive::<Float64Type>().clone())
            }
            Kind::Audio => match array.as_struct_opt() {
                None => Cells::Audio {
                    bytes: array.as_binary().clone(),
                    path: None,
                },
                Some(parts) => Cells::Audio {
                    bytes: parts
                        .column_by_name("bytes")
                        .expect("it was checked")
                        .as_binary()
                        .clone(),
                    path: parts
                        .column_by_name("path")
                        .and_then(|p| p.as_string_opt().cloned()),
                },
            },
        })
    }
}

/// A row of a file. Columns are asked for by their place in the list given to [`read`].
pub struct Row<'a> {
    path: &'a str,
    cells: &'a [Cells],
    at: usize,
    /// From 1.
    number: u64,
}

impl Row<'_> {
    /// `PATH:ROW`, with rows counted from 1.
    pub fn origin(&self) -> String {
        format!("{}:{}", self.path, self.number)
    }

    /// The text or label, if it is not null.
    pub fn text(&self, column: usize) -> Option<&str> {
        match &self.cells[column] {
            Cells::Text(array) => array.is_valid(self.at).then(|| array.value(self.at)),
            _ => panic!("column {column} was asked for as another kind"),
        }
    }

    /// The number, if it is not null.
    pub fn number(&self, column: usize) -> Option<f64> {
        match &self.cells[column] {
            Cells::Number(array) => array.is_valid(self.at).then(|| array.value(self.at)),
            _ => panic!("column {column} was asked for as another kind"),
        }
    }

    /// The recording, if it is not null.
    pub fn audio(&self, column: usize) -> Option<audio::Input> {
        let Cells::Audio { bytes, path } = &self.cells[column] else {
            panic!("column {column} was asked for as another kind");
        };
        let path = path.as_ref().filter(|path| path.is_valid(self.at));
        let name = match path {
            Some(path) => format!("{}/{}", self.origin(), path.value(self.at)),
            None => self.origin(),
        };
        bytes.is_valid(self.at).then(|| audio::Input::Bytes {
            name,
            data: bytes::Bytes::copy_from_slice(bytes.value(self.at)),
        })
    }

    /// A bad record for this row.
    pub fn bad(&self, id: &str, reason: &str, problem: &str) -> BadRecord {
        let path = self.origin();
        BadRecord {
            id: id.to_owned(),
            message: format!("{path}: {problem}"),
            path,
            reason: reason.to_owned(),
        }
    }
}

/// Runs `read`. The parquet library answers some damage by an error and some by a panic.
fn unless_damaged<T, E: Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, Stop> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Stop::Damage(error.to_string())),
        Err(_) => Err(Stop::Damage("the values make no sense".to_owned())),
    }
}

/// A file that counts what is read of it, and keeps the store's error, of which parquet passes on the text only.
#[derive(Clone)]
struct Input {
    random: Random,
    counter: Counter,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Input {
    fn keep(&self, error: io::Error) -> io::Error {
        let copy = io::Error::new(error.kind(), error.to_string());
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        copy
    }

    /// The store's error, or else what is wrong with the content.
    fn cause(&self, problem: String) -> io::Error {
        let kept = self
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        kept.unwrap_or_else(|| {
            let kind = match self.is_cut() {
                true => io::ErrorKind::UnexpectedEof,
                false => io::ErrorKind::InvalidData,
            };
            io::Error::new(kind, problem)
        })
    }

    /// Whether it begins as parquet and does not end so.
    fn is_cut(&self) -> bool {
        let length = MAGIC.len() as u64;
        let start = length.min(self.len());
        let is_magic = |range: Range<u64>| {
            let count = (range.end - range.start) as usize;
            let bytes = self.random.get_bytes(range.start, count);
            bytes.is_ok_and(|bytes| bytes == MAGIC[..count])
        };
        is_magic(0..start)
            && (self.len() < 2 * length || !is_magic(self.len() - length..self.len()))
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.random.len()
    }
}

impl ChunkReader for Input {
    type T = Counted<Kept>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        let reader = Box::new(self.random.get_read(start)?);
        let input = self.clone();
        Ok(Counted::new(Kept { reader, input }, self.counter.clone()))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<bytes::Bytes> {
        let bytes = self
            .random
            .get_bytes(start, length)
            .map_err(|error| match error {
                ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                    Ok(cause) => self.keep(*cause).into(),
                    Err(cause) => ParquetError::External(cause),
                },
                other => other,
            })?;
        self.counter.fetch_add(length as u64, Relaxed);
        Ok(bytes)
    }
}

/// A reader whose error is kept.
struct Kept {
    reader: Box<<Random as ChunkReader>::T>,
    input: Input,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader
            .read(buffer)
            .map_err(|error| self.input.keep(error))
    }
}

#[cfg(test)]
mod tests;
