//! Principal components of log-mel patches.

use rayon::prelude::*;

use super::{COMPONENTS, PATCH};

/// A patch `[PATCH]` to its `[COMPONENTS]` coordinates on an (almost) orthonormal basis, and back.
pub(super) struct Pca {
    /// `[PATCH]`
    pub(super) mean: Vec<f32>,
    /// Scale of each row of `rows`: `[COMPONENTS]`
    pub(super) scales: Vec<f32>,
    /// `[COMPONENTS][PATCH]`
    pub(super) rows: Vec<[i16; PATCH]>,
    /// The rows times their scales, `[COMPONENTS][PATCH]`.
    basis: Vec<[f32; PATCH]>,
}

impl Pca {
    pub(super) fn new(mean: Vec<f32>, scales: Vec<f32>, rows: Vec<[i16; PATCH]>) -> Self {
        let row = |(row, scale): (&[i16; PATCH], &f32)| row.map(|value| f32::from(value) * scale);
        let basis = rows.iter().zip(&scales).map(row).collect();
        Self {
            mean,
            scales,
            rows,
            basis,
        }
    }

    /// The components of largest variance of at most [`FIT_PATCHES`] patches, evenly spaced over `patches`.
    pub(super) fn fit(patches: &[[f32; PATCH]]) -> Self {
        let stride = patches.len().div_ceil(FIT_PATCHES);
        let chosen: Vec<&[f32; PATCH]> = patches.iter().step_by(stride).collect();
        let mut mean = vec![0.0f64; PATCH];
        for patch in &chosen {
            mean.iter_mut()
                .zip(*patch)
                .for_each(|(sum, &value)| *sum += f64::from(value) / chosen.len() as f64);
        }
        let basis = leading_eigenvectors(&covariance(&chosen, &mean));
        let largest = |row: &[f64]| {
            row.iter()
                .fold(0.0f64, |largest, value| largest.max(value.abs()))
        };
        let scales: Vec<f32> = basis
            .iter()
            .map(|row| (largest(row) / f64::from(i16::MAX)) as f32)
            .collect();
        let quantize = |(row, &scale): (&Vec<f64>, &f32)| {
            std::array::from_fn(|i| (row[i] / f64::from(scale)).round() as i16)
        };
        let rows = basis.iter().zip(&scales).map(quantize).collect();
        Self::new(
            mean.iter().map(|&value| value as f32).collect(),
            scales,
            rows,
        )
    }

    /// Patch `[PATCH]` to coordinates `[COMPONENTS]`.
    pub(super) fn project(&self, patch: &[f32; PATCH]) -> [f32; COMPONENTS] {
        let centred: [f32; PATCH] = std::array::from_fn(|i| patch[i] - self.mean[i]);
        std::array::from_fn(|component| dot(&self.basis[component], &centred))
    }

    /// Coordinates `[COMPONENTS]` to patch `[PATCH]`.
    pub(super) fn reconstruct(&self, coordinates: &[f32; COMPONENTS]) -> [f32; PATCH] {
        let mut patch: [f32; PATCH] = std::array::from_fn(|i| self.mean[i]);
        for (row, coordinate) in self.basis.iter().zip(coordinates) {
            patch
                .iter_mut()
                .zip(row)
                .for_each(|(value, weight)| *value += weight * coordinate);
        }
        patch
    }
}

/// Patches that determine the components; more would not change 640 x 640 covariances to speak of.
const FIT_PATCHES: usize = 20_000;
/// Rounds of orthogonal iteration; the space found matters, not each vector.
const ROUNDS: usize = 40;
/// Rows of the covariance of one task.
const ROW_BLOCK: usize = 8;

/// A dot product in eight partial sums, which the compiler keeps in one or two registers.
fn dot(a: &[f32; PATCH], b: &[f32; PATCH]) -> f32 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

/// `[PATCH][PATCH]`; each element is summed in the patches' order, whatever the threads.
fn covariance(patches: &[&[f32; PATCH]], mean: &[f64]) -> Vec<Vec<f64>> {
    let mut rows = vec![vec![0.0; PATCH]; PATCH];
    rows.par_chunks_mut(ROW_BLOCK)
        .enumerate()
        .for_each(|(block, rows)| {
            for patch in patches {
                let centred: [f64; PATCH] = std::array::from_fn(|i| f64::from(patch[i]) - mean[i]);
                for (i, row) in rows.iter_mut().enumerate() {
                    let factor = centred[block * ROW_BLOCK + i] / patches.len() as f64;
                    row.iter_mut()
                        .zip(&centred)
                        .for_each(|(sum, value)| *sum += factor * value);
                }
            }
        });
    rows
}

/// The [`COMPONENTS`] leading eigenvectors of a symmetric matrix, largest first, by orthogonal iteration.
fn leading_eigenvectors(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    // cosines: smooth, orthogonal, and close to what speech gives
    let start = |k: usize| {
        (0..PATCH)
            .map(move |i| (std::f64::consts::PI * k as f64 * (i as f64 + 0.5) / PATCH as f64).cos())
    };
    let mut vectors: Vec<Vec<f64>> = (0..COMPONENTS).map(|k| start(k).collect()).collect();
    for _ in 0..ROUNDS {
        vectors = vectors
            .par_iter()
            .map(|vector| matrix.iter().map(|row| inner(row, vector)).collect())
            .collect();
        orthonormalize(&mut vectors);
    }
    vectors
}

/// Modified Gram-Schmidt; a vector without direction of its own becomes zero.
fn orthonormalize(vectors: &mut [Vec<f64>]) {
    for i in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        let length = inner(vector, vector).sqrt();
        for other in done {
            let overlap = inner(vector, other);
            vector
                .iter_mut()
                .zip(other.iter())
                .for_each(|(value, other)| *value -= overlap * other);
        }
        let left = inner(vector, vector).sqrt();
        let factor = if left > 1e-9 * length {
            left.recip()
        } else {
            0.0
        };
        vector.iter_mut().for_each(|value| *value *= factor);
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn patches_of_few_directions_are_reproduced() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut value = || rng.next_u32() as f32 / u32::MAX as f32 - 0.5;
        let directions: Vec<[f32; PATCH]> =
            (0..20).map(|_| std::array::from_fn(|_| value())).collect();
        let mut patch = || {
            let weights: [f32; 20] = std::array::from_fn(|_| value());
            std::array::from_fn(|i| {
                3.0 + directions
                    .iter()
                    .zip(weights)
                    .map(|(d, w)| w * d[i])
                    .sum::<f32>()
            })
        };
        let patches: Vec<[f32; PATCH]> = (0..400).map(|_| patch()).collect();
        let pca = Pca::fit(&patches);
        for patch in &patches {
            let copy = pca.reconstruct(&pca.project(patch));
            assert!(patch.iter().zip(&copy).all(|(a, b)| (a - b).abs() < 2e-2));
        }
    }
}
