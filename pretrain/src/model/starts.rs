//! Where the documents of packed sequences begin.

use burn::tensor::{Int, Tensor, TensorData};
use kernels::Devices;

/// The position at which each token's document begins, `[batch, time]`. Attention is causal within documents: position `i`
/// sees `starts[i] ..= i`. They lie where attention on `device` wants them.
///
/// `segment_ids`: `[batch][time]`, the document each token belongs to, one run of tokens a document.
pub fn document_starts<B: Devices>(
    segment_ids: &[&[u32]],
    device: &B::Device,
) -> Tensor<B, 2, Int> {
    let time = segment_ids.first().map_or(0, |row| row.len());
    let runs = segment_ids.iter().flat_map(|row| row.chunk_by(u32::eq));
    let mut starts: Vec<i32> = Vec::with_capacity(segment_ids.len() * time);
    for run in runs {
        let start = starts.len() % time;
        starts.extend(std::iter::repeat_n(start as i32, run.len()));
    }
    let starts = TensorData::new(starts, [segment_ids.len(), time]);
    Tensor::from_data(starts, &B::starts_device(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_and_sequences_begin_anew() {
        let rows: [&[u32]; 2] = [&[0, 0, 3, 3, 3, 1], &[1, 0, 0, 0, 0, 0]];
        let starts = document_starts::<burn_flex::Flex>(&rows, &Default::default());
        assert_eq!(starts.dims(), [2, 6]);
        let starts: Vec<i32> = starts.into_data().convert::<i32>().to_vec().unwrap();
        assert_eq!(starts, [0, 0, 2, 2, 2, 5, /**/ 0, 1, 1, 1, 1, 1]);
    }
}
