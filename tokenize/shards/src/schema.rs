//! The columns of a shard: documents to an Arrow record batch and back.

use crate::counts::DocumentCounts;
use crate::document::{Document, Segment};
use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, UInt16Type, UInt32Type};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Columns that hold no lists, enough for [`DocumentCounts`].
pub(crate) const LIGHT_COLUMNS: [&str; 6] = [
    "id",
    "n_text",
    "n_frames",
    "n_segments",
    "n_text_segments",
    "n_audio_segments",
];

/// The schema of every shard; `docs/architecture.md` describes the columns.
pub(crate) fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let count = |name| Field::new(name, DataType::UInt32, false);
    Arc::new(Schema::new(vec![
        text("id"),
        text("source"),
        text("lang"),
        text("origin"),
        Field::new_list(
            "segments",
            element(DataType::Struct(segment_fields())),
            false,
        ),
        count("n_text"),
        count("n_frames"),
        count("n_segments"),
        count("n_text_segments"),
        count("n_audio_segments"),
    ]))
}

fn segment_fields() -> Fields {
    Fields::from(vec![
        Field::new("text", DataType::Utf8, false),
        Field::new_list("text_ids", element(DataType::UInt32), false),
        Field::new_list("codes", element(DataType::UInt16), false),
        Field::new("start_ms", DataType::UInt32, true),
        Field::new("end_ms", DataType::UInt32, true),
        Field::new("speaker", DataType::UInt16, true),
    ])
}

/// List items are called `element`, as the parquet format has it.
fn element(data_type: DataType) -> Field {
    Field::new("element", data_type, false)
}

/// Collects documents into the columns of one record batch.
#[derive(Default)]
pub(crate) struct BatchBuilder {
    id: StringBuilder,
    source: StringBuilder,
    lang: StringBuilder,
    origin: StringBuilder,
    segments: Vec<usize>,
    text: StringBuilder,
    text_ids: (Vec<usize>, Vec<u32>),
    codes: (Vec<usize>, Vec<u16>),
    start_ms: UInt32Builder,
    end_ms: UInt32Builder,
    speaker: UInt16Builder,
    counts: [Vec<u32>; 5],
}

impl BatchBuilder {
    /// Number of tokens held, text and audio.
    pub(crate) fn tokens(&self) -> usize {
        self.text_ids.1.len() + self.codes.1.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    pub(crate) fn append(&mut self, document: &Document, counts: &DocumentCounts) {
        self.id.append_value(&document.id);
        self.source.append_value(&document.source);
        self.lang.append_value(&document.lang);
        self.origin.append_value(&document.origin);
        self.segments.push(document.segments.len());
        for segment in &document.segments {
            self.text.append_value(&segment.text);
            self.text_ids.0.push(segment.text_ids.len());
            self.text_ids.1.extend_from_slice(&segment.text_ids);
            self.codes.0.push(segment.codes.len());
            self.codes.1.extend_from_slice(&segment.codes);
            self.start_ms.append_option(segment.start_ms);
            self.end_ms.append_option(segment.end_ms);
            self.speaker.append_option(segment.speaker);
        }
        let values = [
            counts.n_text,
            counts.n_frames,
            counts.n_segments,
            counts.n_text_segments,
            counts.n_audio_segments,
        ];
        for (column, value) in self.counts.iter_mut().zip(values) {
            column.push(value);
        }
    }

    /// The batch of everything appended; the builder is empty afterwards.
    pub(crate) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let mut all = std::mem::take(self);
        let codes = UInt16Array::from(all.codes.1);
        let segments = StructArray::try_new(
            segment_fields(),
            vec![
                Arc::new(all.text.finish()),
                list(&all.text_ids.0, Arc::new(UInt32Array::from(all.text_ids.1)))?,
                list(&all.codes.0, Arc::new(codes))?,
                Arc::new(all.start_ms.finish()),
                Arc::new(all.end_ms.finish()),
                Arc::new(all.speaker.finish()),
            ],
            None,
        )?;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(all.id.finish()),
            Arc::new(all.source.finish()),
            Arc::new(all.lang.finish()),
            Arc::new(all.origin.finish()),
            list(&all.segments, Arc::new(segments))?,
        ];
        columns.extend(
            all.counts
                .map(|c| Arc::new(UInt32Array::from(c)) as ArrayRef),
        );
        RecordBatch::try_new(schema.clone(), columns)
    }
}

fn list(lengths: &[usize], values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let field = Arc::new(element(values.data_type().clone()));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
}

/// The light columns of `batch`.
pub(crate) fn read_counts(batch: &RecordBatch) -> Vec<DocumentCounts> {
    let ids = batch[LIGHT_COLUMNS[0]].as_string::<i32>();
    let counts = LIGHT_COLUMNS.map(|name| batch[name].as_primitive_opt::<UInt32Type>());
    let at = |column: usize, row: usize| counts[column].map_or(0, |values| values.value(row));
    (0..batch.num_rows())
        .map(|row| DocumentCounts {
            id: ids.value(row).to_string(),
            n_text: at(1, row),
            n_frames: at(2, row),
            n_segments: at(3, row),
            n_text_segments: at(4, row),
            n_audio_segments: at(5, row),
        })
        .collect()
}

/// The documents of `batch`, which must have this module's schema.
pub(crate) fn read_documents(batch: &RecordBatch) -> Vec<Document> {
    let string = |name: &str| batch[name].as_string::<i32>().clone();
    let (id, source) = (string("id"), string("source"));
    let (lang, origin) = (string("lang"), string("origin"));
    let lists = batch["segments"].as_list::<i32>();
    let segments = SegmentColumns::new(lists.values().as_struct());
    (0..batch.num_rows())
        .map(|row| Document {
            id: id.value(row).to_string(),
            source: source.value(row).to_string(),
            lang: lang.value(row).to_string(),
            origin: origin.value(row).to_string(),
            segments: (lists.value_offsets()[row]..lists.value_offsets()[row + 1])
                .map(|at| segments.get(at as usize))
                .collect(),
        })
        .collect()
}

/// The columns of all segments of a batch.
struct SegmentColumns {
    text: StringArray,
    text_ids: ListArray,
    codes: ListArray,
    start_ms: UInt32Array,
    end_ms: UInt32Array,
    speaker: UInt16Array,
}

impl SegmentColumns {
    fn new(segments: &StructArray) -> Self {
        let column = |at: usize| segments.column(at);
        Self {
            text: column(0).as_string::<i32>().clone(),
            text_ids: column(1).as_list::<i32>().clone(),
            codes: column(2).as_list::<i32>().clone(),
            start_ms: column(3).as_primitive::<UInt32Type>().clone(),
            end_ms: column(4).as_primitive::<UInt32Type>().clone(),
            speaker: column(5).as_primitive::<UInt16Type>().clone(),
        }
    }

    fn get(&self, at: usize) -> Segment {
        let text_ids = self.text_ids.value(at);
        let codes = self.codes.value(at);
        Segment {
            text: self.text.value(at).to_string(),
            text_ids: text_ids.as_primitive::<UInt32Type>().values().to_vec(),
            codes: codes.as_primitive::<UInt16Type>().values().to_vec(),
            start_ms: self.start_ms.is_valid(at).then(|| self.start_ms.value(at)),
            end_ms: self.end_ms.is_valid(at).then(|| self.end_ms.value(at)),
            speaker: self.speaker.is_valid(at).then(|| self.speaker.value(at)),
        }
    }
}
