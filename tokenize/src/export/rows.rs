//! Rows to a file, which gets its name when it is complete.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use serde::Serialize;

use super::Form;
use crate::error::{Error, Result};

/// What the parquet library gives.
type Written<T> = std::result::Result<T, ParquetError>;

/// Ids, or bytes of text, of one record batch: it addresses its values by signed 32-bit offsets.
const BATCH: usize = 1 << 28;

/// One rendering of a document.
pub struct Row {
    /// The document's id with what tells its renderings apart.
    pub id: String,
    /// What it holds.
    pub value: Value,
    /// How many tokens that is.
    pub tokens: u64,
}

/// What a row holds.
pub enum Value {
    /// Token ids.
    Ids(Vec<u32>),
    /// Text that stands for them.
    Text {
        /// Where it is from.
        split: String,
        /// The text.
        text: String,
    },
}

impl Value {
    /// Number of ids or of bytes.
    pub fn len(&self) -> usize {
        match self {
            Value::Ids(ids) => ids.len(),
            Value::Text { text, .. } => text.len(),
        }
    }

    fn ids(&self) -> &[u32] {
        match self {
            Value::Ids(ids) => ids,
            Value::Text { .. } => &[],
        }
    }

    fn text(&self) -> (&str, &str) {
        match self {
            Value::Ids(_) => ("", ""),
            Value::Text { split, text } => (split, text),
        }
    }
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    input_ids: &'a [u32],
}

/// A file being written.
pub struct Part {
    path: PathBuf,
    partial: PathBuf,
    writer: Writer,
}

enum Writer {
    Ids(ArrowWriter<File>),
    Text(ArrowWriter<File>),
    Lines(BufWriter<File>),
}

impl Part {
    /// Starts a file that will be called `path`. What an interrupted run left of it is replaced.
    pub fn create(path: &Path, form: Form) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let partial = path.with_file_name(format!(".{name}.partial"));
        let file = File::create(&partial).map_err(Error::io("create", &partial))?;
        let parquet = |file, schema: Schema| {
            ArrowWriter::try_new(file, Arc::new(schema), Some(properties())).map_err(failed(path))
        };
        Ok(Part {
            path: path.to_owned(),
            writer: match form {
                Form::Parquet => Writer::Ids(parquet(file, ids_schema())?),
                Form::Pua => Writer::Text(parquet(file, text_schema())?),
                Form::Jsonl => Writer::Lines(BufWriter::new(file)),
            },
            partial,
        })
    }

    /// Adds rows, in parquet as a row group.
    pub fn write(&mut self, rows: &[Row]) -> Result<()> {
        let (path, partial) = (&self.path, &self.partial);
        match &mut self.writer {
            Writer::Ids(writer) => write_group(writer, rows, ids_batch).map_err(failed(path)),
            Writer::Text(writer) => write_group(writer, rows, text_batch).map_err(failed(path)),
            Writer::Lines(writer) => rows.iter().try_for_each(|row| {
                let (id, input_ids) = (row.id.as_str(), row.value.ids());
                let line = serde_json::to_vec(&Line { id, input_ids });
                let mut line = line.expect("plain data has a JSON form");
                line.push(b'\n');
                writer.write_all(&line).map_err(Error::io("write", partial))
            }),
        }
    }

    /// Completes the file and gives it its name. Returns its size.
    pub fn finish(self) -> Result<u64> {
        let (path, partial) = (&self.path, &self.partial);
        let file = match self.writer {
            Writer::Ids(writer) | Writer::Text(writer) => {
                writer.into_inner().map_err(failed(path))?
            }
            Writer::Lines(writer) => writer
                .into_inner()
                .map_err(|error| Error::io("write", partial)(error.into_error()))?,
        };
        file.sync_all().map_err(Error::io("sync", partial))?;
        let size = file
            .metadata()
            .map_err(Error::io("look at", partial))?
            .len();
        fs::rename(partial, path).map_err(Error::io("rename the finished file to", path))?;
        Ok(size)
    }
}

fn failed(path: &Path) -> impl Fn(ParquetError) -> Error + use<> {
    let path = path.to_owned();
    move |cause| Error::WriteExport {
        path: path.clone(),
        cause,
    }
}

fn properties() -> WriterProperties {
    let level = ZstdLevel::try_new(3).expect("a valid level");
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_max_row_group_row_count(None)
        .build()
}

fn ids_schema() -> Schema {
    Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new_list("input_ids", id_field(), false),
    ])
}

fn id_field() -> Field {
    Field::new("element", DataType::UInt32, false)
}

fn text_schema() -> Schema {
    let column = |name| Field::new(name, DataType::Utf8, false);
    Schema::new(["id", "split", "text"].map(column).to_vec())
}

/// Writes rows in batches that are not too large, and ends the row group.
fn write_group(
    writer: &mut ArrowWriter<File>,
    mut rows: &[Row],
    batch: fn(&[Row]) -> Written<RecordBatch>,
) -> Written<()> {
    while !rows.is_empty() {
        let mut held = 0;
        let fits = rows.iter().take_while(|row| {
            held += row.value.len();
            held <= BATCH
        });
        let (now, later) = rows.split_at(fits.count().max(1));
        writer.write(&batch(now)?)?;
        rows = later;
    }
    writer.flush()
}

fn ids_batch(rows: &[Row]) -> Written<RecordBatch> {
    let values: Vec<u32> = rows.iter().flat_map(|r| r.value.ids()).copied().collect();
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(|row| row.value.len()));
    let values = Arc::new(UInt32Array::from(values));
    let lists = ListArray::try_new(Arc::new(id_field()), offsets, values, None)?;
    let columns: Vec<ArrayRef> = vec![ids(rows), Arc::new(lists)];
    Ok(RecordBatch::try_new(Arc::new(ids_schema()), columns)?)
}

fn text_batch(rows: &[Row]) -> Written<RecordBatch> {
    let column = |of: fn(&Row) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(of)))
    };
    let columns = vec![
        ids(rows),
        column(|row| row.value.text().0),
        column(|row| row.value.text().1),
    ];
    Ok(RecordBatch::try_new(Arc::new(text_schema()), columns)?)
}

fn ids(rows: &[Row]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(
        rows.iter().map(|row| &row.id),
    ))
}
