//! Reads a shard, one row group at a time, and refuses files that are not what they say.

use crate::counts::DocumentCounts;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::meta::ShardMeta;
use crate::schema::{LIGHT_COLUMNS, read_counts, read_documents, schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use std::fmt::Display;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Rows decoded together; bounds the memory that a row group of very many short documents takes beside its documents.
const BATCH_ROWS: usize = 4096;

/// An open shard. Reading needs only `&self`, from any number of threads.
pub struct ShardReader {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    meta: ShardMeta,
}

impl ShardReader {
    /// Opens the shard at `path` and checks that it is one of this format.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let load = || ArrowReaderMetadata::load(&file, ArrowReaderOptions::new());
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
        let parquet_schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::columns(parquet_schema, LIGHT_COLUMNS);
        let batches = self.batches(row_group, mask)?;
        Ok(batches.iter().flat_map(read_counts).collect())
    }

    /// The documents of a row group.
    pub fn documents(&self, row_group: usize) -> Result<Vec<Document>> {
        let batches = self.batches(row_group, ProjectionMask::all())?;
        let mut documents = Vec::new();
        for batch in &batches {
            for (document, counts) in read_documents(batch).into_iter().zip(read_counts(batch)) {
                self.check(&document, &counts)?;
                documents.push(document);
            }
        }
        Ok(documents)
    }

    fn batches(&self, row_group: usize, mask: ProjectionMask) -> Result<Vec<RecordBatch>> {
        if row_group >= self.row_groups() {
            return Err(Error::NoRowGroup {
                path: self.path.clone(),
                row_groups: self.row_groups(),
                asked: row_group,
            });
        }
        // Opened anew: clones of a handle share its position, and other threads may be reading.
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let read = || -> Result<Vec<RecordBatch>, ArrowError> {
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
                .with_row_groups(vec![row_group])
                .with_projection(mask)
                .with_batch_size(BATCH_ROWS)
                .build()?
                .collect()
        };
        unless_damaged(&self.path, &format!("row group {row_group}"), read)
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
