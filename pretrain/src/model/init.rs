//! Initial weights, as Levanter draws them: embeddings from N(0, `initializer_range`²), linear layers
//! from a normal of deviation 1/√fan_in truncated at three deviations, norms at 1.
//!
//! Each parameter has its own random stream, derived from the seed and its name, on the host: the
//! weights are the same on every backend and whatever the order of construction.

use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::layers::{Embedding, Linear, RmsNorm};

/// Truncation of the linear layers' normal distribution, in deviations.
const TRUNCATION: f32 = 3.0;
/// Values drawn from one stream; the streams of a parameter are drawn in parallel.
const STREAM: usize = 1 << 16;

pub(super) struct Init<'a, B: Backend> {
    /// None for zeros.
    pub seed: Option<u64>,
    pub device: &'a B::Device,
}

impl<B: Backend> Init<'_, B> {
    pub fn linear(&self, name: &str, input: usize, output: usize) -> Linear<B> {
        let deviation = (input as f32).powf(-0.5);
        let values = self.draw(name, output * input, TRUNCATION);
        Linear {
            weight: self.param(values, deviation, [output, input]),
            lora: None,
        }
    }

    pub fn embedding(&self, name: &str, rows: usize, width: usize, deviation: f64) -> Embedding<B> {
        let values = self.draw(name, rows * width, f32::INFINITY);
        Embedding {
            weight: self.param(values, deviation as f32, [rows, width]),
        }
    }

    pub fn norm(&self, channels: usize, epsilon: f64) -> RmsNorm<B> {
        RmsNorm {
            weight: Param::from_tensor(Tensor::ones([channels], self.device)),
            epsilon,
        }
    }

    fn draw(&self, name: &str, count: usize, truncation: f32) -> Vec<f32> {
        match self.seed {
            Some(seed) => normals(seed, name, count, truncation),
            None => vec![0.0; count],
        }
    }

    fn param(
        &self,
        mut values: Vec<f32>,
        deviation: f32,
        shape: [usize; 2],
    ) -> Param<Tensor<B, 2>> {
        if self.seed.is_some() {
            values.iter_mut().for_each(|x| *x *= deviation);
        }
        Param::from_tensor(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }
}

/// `count` draws of a standard normal, redrawn while beyond `truncation`.
pub(crate) fn normals(seed: u64, name: &str, count: usize, truncation: f32) -> Vec<f32> {
    let digest: [u8; 32] = Sha256::digest(format!("{seed} {name}").as_bytes()).into();
    let mut values = vec![0f32; count];
    values
        .par_chunks_mut(STREAM)
        .enumerate()
        .for_each(|(stream, values)| {
            let mut rng = ChaCha8Rng::from_seed(digest);
            rng.set_stream(stream as u64);
            for value in values {
                *value = loop {
                    let normal = standard_normal(&mut rng);
                    if normal.abs() <= truncation {
                        break normal;
                    }
                };
            }
        });
    values
}

/// Box and Muller's transform of two uniform draws.
fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_standard_normal_and_depend_on_seed_and_name() {
        let draws = normals(1, "a", 200_000, f32::INFINITY);
        let n = draws.len() as f64;
        let mean = draws.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let variance = draws.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        assert!(
            mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02,
            "mean {mean}, variance {variance}"
        );
        assert!(draws.iter().any(|x| x.abs() > 3.0));
        assert!(normals(1, "a", 200_000, 3.0).iter().all(|x| x.abs() <= 3.0));
        assert_ne!(normals(1, "b", 8, 3.0), normals(1, "a", 8, 3.0));
        assert_ne!(normals(2, "a", 8, 3.0), normals(1, "a", 8, 3.0));
    }
}
