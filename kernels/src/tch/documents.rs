//! Where the documents of packed sequences lie.

use burn::backend::libtorch::TchTensor;
use tch::{Device, Kind, Tensor};

/// Documents in sequences that lie one after the other.
pub(super) struct Documents {
    /// Tokens of a sequence.
    time: usize,
    /// 0, and the end of each document among the tokens of all sequences.
    ends: Vec<usize>,
}

impl Documents {
    /// Of starts `[batch, time]`. They are copied from another device's memory if they lie there.
    pub fn of(starts: &TchTensor) -> Self {
        let time = starts.tensor.size()[1] as usize;
        let starts = starts.tensor.to_device(Device::Cpu).to_kind(Kind::Int64);
        let starts = Vec::<i64>::try_from(starts.flatten(0, -1)).expect("i64 in host memory");
        Self::new(&starts, time)
    }

    /// Of the first position of each token's document, in sequences of `time` tokens.
    ///
    /// # Panics
    /// If they are not those of documents.
    pub fn new(starts: &[i64], time: usize) -> Self {
        let mut ends = Vec::new();
        for (row, starts) in starts.chunks_exact(time).enumerate() {
            let mut current = -1;
            for (position, &start) in starts.iter().enumerate() {
                if start == position as i64 {
                    ends.push(row * time + position);
                    current = start;
                }
                assert!(
                    start == current,
                    "attention: starts[{row}, {position}] is {start}, in a document that starts at {current}"
                );
            }
        }
        ends.push(starts.len());
        Self { time, ends }
    }

    /// 0, and the end of each document among the tokens of all sequences: `[documents + 1]`, i32.
    pub fn ends(&self, device: Device) -> Tensor {
        let ends: Vec<i32> = self.ends.iter().map(|&end| end as i32).collect();
        // Without waiting for the device; the copy has left `ends` when it returns.
        Tensor::from_slice(&ends).to_device_(device, Kind::Int, true, false)
    }

    /// Length of the longest.
    pub fn longest(&self) -> i64 {
        self.places().map(|place| place.length).max().unwrap_or(0)
    }

    /// One after the other.
    pub fn places(&self) -> impl Iterator<Item = Place> + '_ {
        self.ends.windows(2).map(|pair| Place {
            row: (pair[0] / self.time) as i64,
            first: (pair[0] % self.time) as i64,
            length: (pair[1] - pair[0]) as i64,
        })
    }
}

/// A document's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    row: i64,
    first: i64,
    length: i64,
}

impl Place {
    /// The document's part of a tensor `[batch, heads, time, ...]`, as `[1, heads, length, ...]`.
    pub fn of(&self, x: &Tensor) -> Tensor {
        x.narrow(0, self.row, 1).narrow(2, self.first, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_end_where_the_next_begin() {
        let documents = Documents::new(&[0, 0, 2, 2, /**/ 0, 1, 1, 1], 4);
        let ends = Vec::<i32>::try_from(documents.ends(Device::Cpu)).unwrap();
        assert_eq!(ends, [0, 2, 4, 5, 8]);
        assert_eq!(documents.longest(), 3);
        let places: Vec<_> = documents
            .places()
            .map(|place| (place.row, place.first, place.length))
            .collect();
        assert_eq!(places, [(0, 0, 2), (0, 2, 2), (1, 0, 1), (1, 1, 3)]);
    }

    #[test]
    #[should_panic(expected = "attention: starts[1, 2] is 0, in a document that starts at 1")]
    fn starts_that_are_not_those_of_documents_are_named() {
        Documents::new(&[0, 0, 2, 2, /**/ 0, 1, 0, 1], 4);
    }
}
