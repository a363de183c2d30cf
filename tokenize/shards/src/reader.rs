//! Reads a shard, one row group at a time, and refuses files that are not what they say.

use crate::columns::{Columns, Wanted};
use crate::counts::DocumentCounts;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::meta::ShardMeta;
use crate::read_at::{Fetched, LocalFile, ReadAt};
use crate::schema::{LIGHT_COLUMNS, read_counts, read_documents, schema};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::ChunkReader;
use std::fmt::Display;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::slice::from_ref;
use std::sync::Arc;

/// Documents decoded together, at most.
const BATCH_ROWS: usize = 4096;
/// Values of a column decoded together, about; the memory of decoding is several times as much.
const BATCH_VALUES: i64 = 1 << 18;

/// What is read first, and holds the footer of all but the largest shards.
const TAIL_BYTES: u64 = 64 << 10;
/// The end of a parquet file: the footer's length, and `PAR1`.
const TRAILER_BYTES: u64 = 8;

/// An open shard. Reading needs only `&self`, from any number of threads.
pub struct ShardReader {
    path: PathBuf,
    file: Arc<dyn ReadAt>,
    size: u64,
    metadata: ArrowReaderMetadata,
    meta: ShardMeta,
}

impl ShardReader {
    /// Opens the shard at `path` and checks that it is one of this format.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_at(path, Arc::new(LocalFile::new(path)))
    }

    /// Opens the shard that `file` reads, which errors call `path`.
    pub fn open_at(path: &Path, file: Arc<dyn ReadAt>) -> Result<Self> {
        let size = file.size().map_err(Error::io("open", path))?;
        let footer = fetch_footer(file.as_ref(), size, path)?;
        let load = || ArrowReaderMetadata::load(&footer, ArrowReaderOptions::new());
        let metadata = unless_damaged(path, "footer", load)?;
        let pairs = metadata.metadata().file_metadata().key_value_metadata();
        let meta = ShardMeta::from_key_values(pairs.map_or(&[], Vec::as_slice), path)?;
        let (found, expected) = (metadata.schema(), schema());
        if found.fields() != expected.fields() {
            let odd = expected
                .fields()
                .iter()
                .find(|field| !found.fields().iter().any(|other| other == *field));
            let problem = match odd {
                Some(field) => format!(
                    "its column {:?} is missing or of another type",
                    field.name()
                ),
                None => "it has additional columns".to_string(),
            };
            return Err(Error::NotAShard {
                path: path.into(),
                problem,
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
            metadata,
            meta,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the shard says about itself.
    pub fn meta(&self) -> &ShardMeta {
        &self.meta
    }

    /// Number of row groups.
    pub fn row_groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// Identifiers and lengths of the documents of a row group; reads only the columns without lists.
    pub fn counts(&self, row_group: usize) -> Result<Vec<DocumentCounts>> {
        let mut counts = Vec::new();
        for batch in self.batches(row_group, self.mask(LIGHT_COLUMNS))? {
            counts.extend(read_counts(&batch?));
        }
        Ok(counts)
    }

    /// The documents of a row group, some at a time, as columns; those that are not wanted are not read.
    pub fn columns(
        &self,
        row_group: usize,
        wanted: Wanted,
    ) -> Result<impl Iterator<Item = Result<Columns>>> {
        let paths = wanted.paths();
        let mask = self.mask(paths.iter().map(String::as_str));
        let batches = self.batches(row_group, mask)?;
        let codec = self.meta.codec.as_ref();
        let size = codec.map_or(0, |codec| codec.codebook_size);
        Ok(batches.map(move |batch| {
            let columns = Columns::new(&batch?);
            match columns.problem(self.meta.codebooks(), size, self.meta.vocab.audio_base) {
                None => Ok(columns),
                Some(problem) => Err(damaged(&self.path, problem)),
            }
        }))
    }

    /// The documents of a row group.
    pub fn documents(&self, row_group: usize) -> Result<Vec<Document>> {
        let mut documents = Vec::new();
        for batch in self.batches(row_group, ProjectionMask::all())? {
            let batch = batch?;
            for (document, counts) in read_documents(&batch).into_iter().zip(read_counts(&batch)) {
                self.check(&document, &counts)?;
                documents.push(document);
            }
        }
        Ok(documents)
    }

    fn mask<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> ProjectionMask {
        ProjectionMask::columns(self.metadata.parquet_schema(), paths)
    }

    /// Fetches the columns of a row group, and decodes them batch by batch.
    fn batches(&self, row_group: usize, mask: ProjectionMask) -> Result<DecodedBatches<'_>> {
        if row_group >= self.row_groups() {
            return Err(Error::NoRowGroup {
                path: self.path.clone(),
                row_groups: self.row_groups(),
                asked: row_group,
            });
        }
        let group = self.metadata.metadata().row_group(row_group);
        let columns = group.columns().iter().enumerate();
        let wanted = columns.filter(|(leaf, _)| mask.leaf_included(*leaf));
        let wanted: Vec<&ColumnChunkMetaData> = wanted.map(|(_, column)| column).collect();
        let mut ranges: Vec<Range<u64>> = wanted
            .iter()
            .map(|column| byte_range(column, self.size))
            .collect();
        ranges.sort_by_key(|range| range.start);
        let fetched = Fetched::read(self.file.as_ref(), self.size, &ranges);
        let fetched = fetched.map_err(Error::io("read", &self.path))?;
        let rows = batch_rows(
            group.num_rows(),
            wanted.iter().map(|column| column.num_values()),
        );
        let build = || {
            ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, self.metadata.clone())
                .with_row_groups(vec![row_group])
                .with_projection(mask)
                .with_batch_size(rows)
                .build()
        };
        let part = format!("row group {row_group}");
        Ok(DecodedBatches {
            reader: Some(unless_damaged(&self.path, &part, build)?),
            path: &self.path,
            part,
        })
    }

    /// Refuses a document that contradicts the light columns or the codec: the file was damaged after it was written.
    fn check(&self, document: &Document, counts: &DocumentCounts) -> Result<()> {
        if DocumentCounts::of(document, self.meta.codebooks())? != *counts {
            let problem = format!(
                "document {:?} is not as long as its counts say",
                document.id
            );
            return Err(damaged(&self.path, problem));
        }
        let size = self
            .meta
            .codec
            .as_ref()
            .map_or(0, |codec| codec.codebook_size);
        let max = |segment: &crate::Segment| segment.codes.iter().copied().max();
        let largest = document.segments.iter().filter_map(max).max();
        match largest {
            Some(code) if usize::from(code) >= size => {
                let problem = format!(
                    "document {:?} has code {code}, not below {size}",
                    document.id
                );
                Err(damaged(&self.path, problem))
            }
            _ => Ok(()),
        }
    }
}

/// A row group while it is decoded.
struct DecodedBatches<'a> {
    /// None after an error.
    reader: Option<ParquetRecordBatchReader>,
    path: &'a Path,
    part: String,
}

impl Iterator for DecodedBatches<'_> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let batch = unless_damaged(self.path, &self.part, || reader.next().transpose());
        if batch.is_ok() {
            self.reader = Some(reader);
        }
        batch.transpose()
    }
}

/// How many rows are decoded together, where the columns have so many values in all rows.
fn batch_rows(rows: i64, values: impl Iterator<Item = i64>) -> usize {
    let values = values.max().unwrap_or(1).max(1);
    let wanted = i128::from(rows) * i128::from(BATCH_VALUES) / i128::from(values);
    wanted.clamp(1, BATCH_ROWS as i128) as usize
}

/// Where a column of a row group lies in a file of `size` bytes; in a damaged one anywhere in it, or nowhere.
fn byte_range(column: &ColumnChunkMetaData, size: u64) -> Range<u64> {
    let start = column
        .dictionary_page_offset()
        .unwrap_or(column.data_page_offset());
    let start = u64::try_from(start).map_or(size, |start| start.min(size));
    let length = u64::try_from(column.compressed_size()).unwrap_or(0);
    start..start.saturating_add(length).min(size)
}

/// The end of the file, from the footer on.
fn fetch_footer(file: &dyn ReadAt, size: u64, path: &Path) -> Result<Fetched> {
    let read = |start: u64| {
        Fetched::read(file, size, from_ref(&(start..size))).map_err(Error::io("read", path))
    };
    let tail = size.saturating_sub(TAIL_BYTES);
    let fetched = read(tail)?;
    let trailer = fetched.get_bytes(size.saturating_sub(TRAILER_BYTES), TRAILER_BYTES as usize);
    let trailer = trailer.map_err(|_| {
        damaged(
            path,
            format!("it has {size} bytes, too few for a parquet file"),
        )
    })?;
    let length = u32::from_le_bytes(trailer[..4].try_into().expect("four bytes"));
    let start = size.saturating_sub(TRAILER_BYTES + u64::from(length));
    match start < tail {
        true => read(start),
        false => Ok(fetched),
    }
}

fn damaged(path: &Path, problem: impl Display) -> Error {
    Error::Damaged {
        path: path.into(),
        problem: problem.to_string(),
    }
}

/// Runs `read`, which decodes `part` of the file. The parquet library answers some damage by an error and some by a panic;
/// both become the error that names the file.
fn unless_damaged<T, E: Display>(
    path: &Path,
    part: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(path, format!("{part}: {error}"))),
        Err(_) => Err(damaged(path, format!("{part}: the values make no sense"))),
    }
}
