//! Which positions see which.

use std::ops::Range;

use burn::tensor::DType;
use burn_flex::FlexTensor;

/// The documents of a sequence. Ranges of neighbouring positions move forward together.
pub(super) struct Documents {
    /// First position that each one sees.
    starts: Vec<usize>,
    /// Last + 1 of the positions that see each one.
    ends: Vec<usize>,
}

/// Documents of sequences of `time` tokens, from the first position of each token's document.
///
/// # Panics
/// If a document starts before the first position, after one of its tokens, or before the document in front of it.
pub(super) fn read(starts: &FlexTensor, time: usize) -> Vec<Documents> {
    let starts = starts.to_contiguous();
    let starts: Vec<i64> = match starts.dtype() {
        DType::I64 => starts.as_slice().expect("contiguous").to_vec(),
        DType::I32 => {
            let starts: &[i32] = starts.as_slice().expect("contiguous");
            starts.iter().copied().map(i64::from).collect()
        }
        other => panic!("attention: the documents' starts are {other:?}, not i64 or i32"),
    };
    let rows = starts.chunks_exact(time).enumerate();
    rows.map(|(row, starts)| Documents::new(row, starts))
        .collect()
}

impl Documents {
    fn new(row: usize, starts: &[i64]) -> Self {
        let mut least = 0;
        let mut valid = Vec::with_capacity(starts.len());
        for (position, &start) in starts.iter().enumerate() {
            let may = least as i64..=position as i64;
            assert!(
                may.contains(&start),
                "attention: starts[{row}, {position}] is {start}, not within {may:?}"
            );
            least = start as usize;
            valid.push(least);
        }
        let mut ends = vec![starts.len(); starts.len()];
        let mut hidden = 0;
        for (position, &start) in valid.iter().enumerate() {
            // From here on, nothing before `start` is seen.
            ends[hidden..start].fill(position);
            hidden = start;
        }
        Self {
            starts: valid,
            ends,
        }
    }

    /// Positions that at least one of these sees.
    pub fn keys(&self, queries: Range<usize>) -> Range<usize> {
        self.starts[queries.start]..queries.end
    }

    /// Positions that see at least one of these.
    pub fn queries(&self, keys: Range<usize>) -> Range<usize> {
        keys.start..self.ends[keys.end - 1]
    }
}

/// What a block of queries sees of a block of keys. Rows are keys and columns queries, counted from the start of their block.
pub(super) struct Window<'a> {
    documents: &'a Documents,
    pub queries: Range<usize>,
    pub keys: Range<usize>,
    /// Whether each query sees each key.
    whole: bool,
}

impl<'a> Window<'a> {
    pub fn new(documents: &'a Documents, queries: Range<usize>, keys: Range<usize>) -> Self {
        let past = keys.end <= queries.start + 1;
        Self {
            documents,
            whole: past && queries.end <= documents.ends[keys.start],
            queries,
            keys,
        }
    }

    /// Columns that see at least one of the rows.
    #[inline(always)]
    pub fn columns(&self, rows: Range<usize>) -> Range<usize> {
        if self.whole {
            return 0..self.queries.len();
        }
        let first = self.keys.start;
        let seen = self.documents.queries(first + rows.start..first + rows.end);
        within(seen, &self.queries)
    }

    /// Rows that at least one of the columns sees.
    #[inline(always)]
    pub fn rows(&self, columns: Range<usize>) -> Range<usize> {
        if self.whole {
            return 0..self.keys.len();
        }
        let first = self.queries.start;
        let seen = self
            .documents
            .keys(first + columns.start..first + columns.end);
        within(seen, &self.keys)
    }
}

/// The part of a range that lies in a block, from the start of the block.
fn within(range: Range<usize>, block: &Range<usize>) -> Range<usize> {
    let place = |position: usize| position.clamp(block.start, block.end) - block.start;
    place(range.start)..place(range.end)
}

/// Puts `value` in the places that are not seen.
#[inline(always)]
pub(super) fn hide<T: Copy>(row: &mut [T], seen: Range<usize>, value: T) {
    row[..seen.start].fill(value);
    row[seen.end..].fill(value);
}
