//! The documents of a row group as columns, without an allocation for each.

use crate::counts::DocumentCounts;
use crate::schema::{LIGHT_COLUMNS, read_counts};
use arrow::array::*;
use arrow::datatypes::{UInt16Type, UInt32Type};
use arrow::record_batch::RecordBatch;
use std::ops::Range;

/// Which columns of the segments are wanted, besides the documents' identifiers and lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Transcripts.
    pub text: bool,
    /// Text ids.
    pub text_ids: bool,
    /// Codes.
    pub codes: bool,
    /// Speakers.
    pub speaker: bool,
}

impl Wanted {
    /// Paths of the columns in the file.
    pub(crate) fn paths(self) -> Vec<String> {
        let segment = [
            (self.text, "text"),
            (self.text_ids, "text_ids"),
            (self.codes, "codes"),
            (self.speaker, "speaker"),
        ];
        let segment = segment.into_iter().filter(|(wanted, _)| *wanted);
        let light = LIGHT_COLUMNS.map(str::to_owned).into_iter();
        light
            .chain(segment.map(|(_, name)| format!("segments.list.element.{name}")))
            .collect()
    }
}

/// Some documents of a row group. Segments are numbered through all of them.
pub struct Columns {
    /// Identifiers and lengths of the documents.
    pub counts: Vec<DocumentCounts>,
    segments: ListArray,
    text: Option<StringArray>,
    text_ids: Option<ListArray>,
    codes: Option<ListArray>,
    speaker: Option<UInt16Array>,
}

impl Columns {
    pub(crate) fn new(batch: &RecordBatch) -> Self {
        let segments = batch["segments"].as_list::<i32>().clone();
        let fields = segments.values().as_struct();
        let lists = |name| {
            fields
                .column_by_name(name)
                .map(|column| column.as_list::<i32>().clone())
        };
        Self {
            counts: read_counts(batch),
            text: fields
                .column_by_name("text")
                .map(|column| column.as_string::<i32>().clone()),
            text_ids: lists("text_ids"),
            codes: lists("codes"),
            speaker: fields
                .column_by_name("speaker")
                .map(|column| column.as_primitive::<UInt16Type>().clone()),
            segments,
        }
    }

    /// The segments of a document.
    pub fn segments(&self, document: usize) -> Range<usize> {
        let offsets = self.segments.value_offsets();
        offsets[document] as usize..offsets[document + 1] as usize
    }

    /// The transcript of a segment; empty if it was not wanted.
    pub fn text(&self, segment: usize) -> &str {
        self.text
            .as_ref()
            .map_or("", |column| column.value(segment))
    }

    /// The text ids of a segment; none if they were not wanted.
    pub fn text_ids(&self, segment: usize) -> &[u32] {
        self.text_ids.as_ref().map_or(&[], |list| {
            &list.values().as_primitive::<UInt32Type>().values()[range(list, segment)]
        })
    }

    /// The codes of a segment, frame-major `[frames * codebooks]`; none if they were not wanted.
    pub fn codes(&self, segment: usize) -> &[u16] {
        self.codes.as_ref().map_or(&[], |list| {
            &list.values().as_primitive::<UInt16Type>().values()[range(list, segment)]
        })
    }

    /// The speaker of a segment, if known, and wanted.
    pub fn speaker(&self, segment: usize) -> Option<u16> {
        let column = self.speaker.as_ref()?;
        column.is_valid(segment).then(|| column.value(segment))
    }

    /// What contradicts the documents' counts, or lies outside the vocabulary, if anything: the file was damaged after it was
    /// written.
    pub(crate) fn problem(
        &self,
        codebooks: usize,
        codebook_size: usize,
        text_end: u32,
    ) -> Option<String> {
        for (document, counts) in self.counts.iter().enumerate() {
            let segments = self.segments(document);
            let sum = |length: &dyn Fn(usize) -> usize| segments.clone().map(length).sum::<usize>();
            let wrong = segments.len() != counts.n_segments as usize
                || self.text_ids.is_some()
                    && sum(&|s| self.text_ids(s).len()) != counts.n_text as usize
                || self.codes.is_some()
                    && sum(&|s| self.codes(s).len()) != counts.n_frames as usize * codebooks;
            if wrong {
                return Some(format!(
                    "document {:?} is not as long as its counts say",
                    counts.id
                ));
            }
            let code = segments
                .clone()
                .filter_map(|s| self.codes(s).iter().copied().max())
                .max();
            if let Some(code) = code.filter(|&code| usize::from(code) >= codebook_size) {
                return Some(format!(
                    "document {:?} has code {code}, not below {codebook_size}",
                    counts.id
                ));
            }
            let id = segments
                .filter_map(|s| self.text_ids(s).iter().copied().max())
                .max();
            if let Some(id) = id.filter(|&id| id >= text_end) {
                return Some(format!(
                    "document {:?} has text id {id}, not below {text_end}",
                    counts.id
                ));
            }
        }
        None
    }
}

/// Where the values of item `at` are.
fn range(list: &ListArray, at: usize) -> Range<usize> {
    let offsets = list.value_offsets();
    offsets[at] as usize..offsets[at + 1] as usize
}
