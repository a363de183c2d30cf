//! Mirrored or repeated elements around each item of a batch.

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Tensor};

use super::signal::{floats, indices};
use crate::network::Padding;

/// Elements to be put around the items of a batch.
pub struct Border<'a> {
    /// How many stand before each item, and their values.
    pub padding: Padding,
    /// How many stand behind each item.
    pub right: &'a [usize],
}

impl Border<'_> {
    /// The items with their borders: `[batch, channels, time]` to `[batch, channels, left + end]`, `end` the last element
    /// that any item's border reaches. Where a border falls within `time`, `data` must be 0.
    pub fn around<B: Backend>(&self, data: Tensor<B, 3>, lengths: &[usize]) -> Tensor<B, 3> {
        let [batch, channels, time] = data.dims();
        let device = data.device();
        let left = self.padding.left;
        let widest = self.right.iter().copied().max().unwrap_or(0);
        let borders = self.values(&data, lengths, widest);
        let mut parts = Vec::new();
        if left > 0 {
            parts.push(borders.clone().narrow(2, 0, left));
        }
        parts.push(data);
        if widest == 0 {
            return Tensor::cat(parts, 2);
        }
        let behind = borders.narrow(2, left, widest); // [batch, channels, widest]
        if lengths.iter().all(|&length| length == time) {
            parts.push(behind);
            return Tensor::cat(parts, 2);
        }
        let ends = lengths.iter().zip(self.right).map(|(n, right)| n + right);
        let end = ends.max().unwrap_or(time);
        if end > time {
            parts.push(Tensor::zeros([batch, channels, end - time], &device));
        }
        // the values past an item's own border are 0, and may be added anywhere
        let targets = (0..batch).flat_map(|item| {
            (0..widest).map(move |at| match at < self.right[item] {
                true => left + lengths[item] + at,
                false => 0,
            })
        });
        let targets = indices(targets, [batch, 1, widest], &device);
        let targets = targets.expand([batch, channels, widest]);
        Tensor::cat(parts, 2).scatter(2, targets, behind, IndexingUpdateOp::Add)
    }

    /// Values of the borders, `[batch, channels, left + widest]`: those before the items, then those behind them, then 0.
    fn values<B: Backend>(
        &self,
        data: &Tensor<B, 3>,
        lengths: &[usize],
        widest: usize,
    ) -> Tensor<B, 3> {
        let [batch, channels, _] = data.dims();
        let width = self.padding.left + widest;
        let sources: Vec<Option<usize>> = (0..batch)
            .flat_map(|item| {
                let (n, right) = (lengths[item], self.right[item]);
                let before = (-(self.padding.left as isize)..0)
                    .map(move |at| self.padding.source(at, n, right));
                let behind = (0..widest).map(move |at| match at < right {
                    true => self.padding.source((n + at) as isize, n, right),
                    false => None,
                });
                before.chain(behind)
            })
            .collect();
        let device = data.device();
        let keep = sources
            .iter()
            .map(|source| source.map_or(0.0, |_| 1.0))
            .collect();
        let from = sources.iter().map(|source| source.unwrap_or(0));
        let from = indices(from, [batch, 1, width], &device).expand([batch, channels, width]);
        data.clone().gather(2, from) * floats(keep, [batch, 1, width], &device)
    }
}
