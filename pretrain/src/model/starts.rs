//! Which positions a token may attend to.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Tensor, TensorData};

/// Causal attention, blocked across documents: `[batch, 1, time, time]`, true where position `j`
/// (last dimension) is hidden from position `i`, that is, after it or of another document.
///
/// `segment_ids`: `[batch][time]`, the document each token belongs to.
pub fn attention_mask<B: Backend>(
    segment_ids: &[&[u32]],
    device: &B::Device,
) -> Tensor<B, 4, Bool> {
    let batch = segment_ids.len();
    let time = segment_ids.first().map_or(0, |row| row.len());
    let mut hidden = Vec::with_capacity(batch * time * time);
    for row in segment_ids {
        for i in 0..time {
            hidden.extend((0..time).map(|j| j > i || row[j] != row[i]));
        }
    }
    Tensor::from_data(TensorData::new(hidden, [batch, 1, time, time]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_the_future_and_other_documents() {
        let mask = attention_mask::<burn_flex::Flex>(&[&[0, 0, 1]], &Default::default());
        let hidden = mask.into_data().to_vec::<bool>().unwrap();
        let seen: Vec<u8> = hidden.iter().map(|&hidden| u8::from(!hidden)).collect();
        assert_eq!(seen, [1, 0, 0, /**/ 1, 1, 0, /**/ 0, 0, 1]);
    }
}
