//! Writes a shard: validates documents, cuts row groups by tokens, publishes the complete file.

use crate::atomic::{HashingWriter, partial_path, publish};
use crate::check::check_document;
use crate::counts::DocumentCounts;
use crate::document::Document;
use crate::error::{Error, Result};
use crate::meta::ShardMeta;
use crate::schema::{BatchBuilder, schema};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Tokens, text and audio, after which a row group ends: large enough that its dictionaries cost nothing, small enough to hold.
const ROW_GROUP_TOKENS: usize = 4 << 20;
/// Tokens collected before they are handed to the parquet encoder, which holds them packed.
const BATCH_TOKENS: usize = 1 << 18;
/// Large enough for every distinct text id (4 bytes each), so that ids never fall back to plain encoding.
const DICTIONARY_LIMIT_BYTES: usize = 4 << 20;
const ZSTD_LEVEL: i32 = 3;
const CREATED_BY: &str = concat!("timbre shards ", env!("CARGO_PKG_VERSION"));

/// How a shard is cut.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// A row group ends at this many tokens (text and audio), and exceeds twice as many only for a single larger document.
    pub row_group_tokens: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self {
            row_group_tokens: ROW_GROUP_TOKENS,
        }
    }
}

/// What a finished shard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardSummary {
    /// Documents.
    pub documents: u64,
    /// Segments.
    pub segments: u64,
    /// Text tokens.
    pub text_tokens: u64,
    /// Codec frames.
    pub frames: u64,
    /// Row groups.
    pub row_groups: u64,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

type Output = HashingWriter<BufWriter<File>>;

/// Writes documents to a shard, which gets its final name in [`finish`](ShardWriter::finish) and no sooner.
///
/// Holds one row group in memory, and the ids of the shard's documents. The bytes depend on the documents, the description and
/// the options only.
pub struct ShardWriter {
    path: PathBuf,
    // Declared before `partial`: the file is closed before it is removed.
    writer: ArrowWriter<Output>,
    partial: PartialFile,
    schema: SchemaRef,
    meta: ShardMeta,
    options: WriterOptions,
    batch: BatchBuilder,
    group_tokens: usize,
    ids: HashSet<String>,
    summary: ShardSummary,
}

impl ShardWriter {
    /// Starts a shard that will be called `path`.
    pub fn create(path: &Path, meta: &ShardMeta) -> Result<Self> {
        Self::create_with(path, meta, WriterOptions::default())
    }

    /// Starts a shard that will be called `path`, with row groups of another size.
    pub fn create_with(path: &Path, meta: &ShardMeta, options: WriterOptions) -> Result<Self> {
        meta.check(path)?;
        let partial = PartialFile(partial_path(path));
        let file = File::create(&partial.0).map_err(Error::io("create", &partial.0))?;
        let output = HashingWriter::new(BufWriter::new(file));
        let schema = schema();
        let writer = ArrowWriter::try_new(output, schema.clone(), Some(properties(meta)))
            .map_err(write_error(path))?;
        Ok(Self {
            path: path.to_path_buf(),
            writer,
            partial,
            schema,
            meta: meta.clone(),
            options,
            batch: BatchBuilder::default(),
            group_tokens: 0,
            ids: HashSet::new(),
            summary: ShardSummary::default(),
        })
    }

    /// Appends a document. A refused document leaves the shard as it was.
    pub fn write(&mut self, document: &Document) -> Result<()> {
        check_document(document, &self.meta)?;
        let counts = DocumentCounts::of(document, self.meta.codebooks())?;
        if self.ids.contains(&document.id) {
            let (id, path) = (document.id.clone(), self.path.clone());
            return Err(Error::DuplicateId { id, path });
        }
        let tokens = counts.n_text as usize + counts.n_frames as usize * self.meta.codebooks();
        if self.group_tokens > 0 && self.group_tokens + tokens > 2 * self.options.row_group_tokens {
            self.end_row_group()?;
        }
        // A batch addresses its values by 32-bit offsets, so a giant document gets a batch of its own.
        if !self.batch.is_empty() && self.batch.tokens() + tokens > i32::MAX as usize {
            self.encode_batch()?;
        }
        self.ids.insert(document.id.clone());
        self.batch.append(document, &counts);
        self.group_tokens += tokens;
        self.summary.documents += 1;
        self.summary.segments += u64::from(counts.n_segments);
        self.summary.text_tokens += u64::from(counts.n_text);
        self.summary.frames += u64::from(counts.n_frames);
        if self.group_tokens >= self.options.row_group_tokens {
            self.end_row_group()?;
        } else if self.batch.tokens() >= BATCH_TOKENS {
            self.encode_batch()?;
        }
        Ok(())
    }

    /// Completes the file, syncs it and gives it its final name.
    pub fn finish(mut self) -> Result<ShardSummary> {
        self.end_row_group()?;
        let output = self.writer.into_inner().map_err(write_error(&self.path))?;
        let (buffered, sha256, bytes) = output.into_parts();
        let io = |action| Error::io(action, &self.path);
        let file = buffered
            .into_inner()
            .map_err(|error| io("write")(error.into_error()))?;
        file.sync_all().map_err(io("sync"))?;
        publish(&self.partial.0, &self.path).map_err(io("rename the finished file to"))?;
        Ok(ShardSummary {
            bytes,
            sha256,
            ..self.summary
        })
    }

    /// Hands the collected documents to the encoder.
    fn encode_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = self.batch.finish(&self.schema);
        let written = batch
            .map_err(ParquetError::from)
            .and_then(|b| self.writer.write(&b));
        written.map_err(write_error(&self.path))
    }

    fn end_row_group(&mut self) -> Result<()> {
        self.encode_batch()?;
        if self.writer.in_progress_rows() > 0 {
            self.writer.flush().map_err(write_error(&self.path))?;
            self.summary.row_groups += 1;
        }
        self.group_tokens = 0;
        Ok(())
    }
}

/// The unfinished file; whatever still has this name when the writer goes away is removed.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Encodings: codes and text ids as dictionary indices, which pack 2,048 codes into 11 bits each; nothing else about them.
fn properties(meta: &ShardMeta) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).expect("a valid level");
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_2_0)
        .set_created_by(CREATED_BY.to_string())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_page_size_limit(DICTIONARY_LIMIT_BYTES)
        .set_max_row_group_row_count(None)
        .set_key_value_metadata(Some(meta.to_key_values()));
    // Strings that hardly repeat: a dictionary would only copy them.
    let unique: [&[&str]; 3] = [
        &["id"],
        &["origin"],
        &["segments", "list", "element", "text"],
    ];
    for parts in unique {
        let path = ColumnPath::new(parts.iter().map(|part| part.to_string()).collect());
        builder = builder.set_column_dictionary_enabled(path, false);
    }
    builder.build()
}

fn write_error(path: &Path) -> impl Fn(ParquetError) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Write {
        path: path.clone(),
        source,
    }
}
