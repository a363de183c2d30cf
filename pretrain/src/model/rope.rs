//! Rotary position embedding (arXiv 2104.09864) with Llama-3 scaling of the long wavelengths.

use std::f64::consts::PI;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use experiments::RopeConfig;
use kernels::Kernels;
use kernels::norm_rope::norm_rope;

use super::layers::RmsNorm;

/// Cosines and sines of a range of positions.
#[derive(Clone, Debug)]
pub struct RopeTable<B: Backend> {
    /// `[time, head_dim / 2]`.
    cos: Tensor<B, 2>,
    sin: Tensor<B, 2>,
}

impl<B: Backend> RopeTable<B> {
    /// Tables of positions `start .. start + time`, computed in f64.
    pub fn new(
        config: &RopeConfig,
        head_dim: usize,
        start: usize,
        time: usize,
        device: &B::Device,
    ) -> Self {
        let frequencies = frequencies(config, head_dim);
        let angles = (start..start + time)
            .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| (angle.sin() as f32, angle.cos() as f32))
            .unzip();
        let shape = [time, head_dim / 2];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device);
        Self {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }

    /// The same tables without autodiff.
    pub fn inner(&self) -> RopeTable<B::InnerBackend>
    where
        B: AutodiffBackend,
    {
        RopeTable {
            cos: self.cos.clone().inner(),
            sin: self.sin.clone().inner(),
        }
    }
}

impl<B: Kernels> RopeTable<B> {
    /// Queries or keys `[batch, time, heads, head_dim]` after their norm and the rotation of the pairs (c, c + head_dim / 2),
    /// as transformers does it.
    pub(super) fn norm_rotate(&self, x: Tensor<B, 4>, norm: &RmsNorm<B>) -> Tensor<B, 4> {
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        norm_rope(x, norm.weight.val(), cos, sin, norm.epsilon)
    }
}

/// Radians a position, for each of the `head_dim / 2` pairs.
fn frequencies(config: &RopeConfig, head_dim: usize) -> Vec<f64> {
    let plain =
        (0..head_dim / 2).map(|pair| config.theta.powf(-2.0 * pair as f64 / head_dim as f64));
    let Some(scaling) = &config.scaling else {
        return plain.collect();
    };
    let original = scaling.original_max_position_embeddings as f64;
    let (low, high) = (scaling.low_freq_factor, scaling.high_freq_factor);
    let scale = |frequency: f64| {
        // How often the wave turns within the original context, from `low` (stretched) to `high` (kept).
        let turns = original * frequency / (2.0 * PI);
        let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        keep * frequency + (1.0 - keep) * frequency / scaling.factor
    };
    plain.map(scale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_scaling_keeps_short_and_stretches_long_wavelengths() {
        let scaled = frequencies(&RopeConfig::default(), 64);
        let plain = frequencies(
            &RopeConfig {
                scaling: None,
                ..Default::default()
            },
            64,
        );
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[31], plain[31] / 8.0);
        assert!(scaled.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
