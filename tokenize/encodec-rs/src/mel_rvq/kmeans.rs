//! k-means: Lloyd's algorithm over 8-bit codebooks.
//!
//! Vectors are assigned with the codec's own integer search, so a codebook is fitted to the search that will use it, and
//! the result does not depend on the number of threads: assignments are independent, sums run in the vectors' order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use super::CODEBOOK_SIZE;
use super::codebook::Codebook;

/// Vectors of one task.
const CHUNK: usize = 512;

/// Fits a codebook to `vectors` by `iterations` updates from randomly chosen vectors, and assigns each vector.
/// `report` gets the number of updates done and the mean squared error.
pub(super) fn fit<const D: usize>(
    vectors: &[[f32; D]],
    iterations: usize,
    rng: &mut ChaCha8Rng,
    report: &mut dyn FnMut(usize, f64),
) -> (Codebook<D>, Vec<u16>) {
    let mut centroids = sample(vectors, rng);
    let mut iteration = 0;
    loop {
        let codebook = Codebook::quantize(&centroids);
        let (codes, errors) = assign(&codebook, vectors);
        report(
            iteration,
            errors.iter().map(|&error| f64::from(error)).sum::<f64>() / vectors.len() as f64,
        );
        if iteration == iterations {
            return (codebook, codes);
        }
        let (means, counts) = means(vectors, &codes);
        centroids = means;
        reseed_empty(&mut centroids, &counts, vectors, &errors, rng);
        iteration += 1;
    }
}

/// The mean of the vectors of each code, and how many there are; zeros for a code without vectors.
pub(super) fn means<const D: usize>(
    vectors: &[[f32; D]],
    codes: &[u16],
) -> (Vec<[f32; D]>, Vec<usize>) {
    let (mut sums, mut counts) = (Vec::new(), Vec::new());
    sums.resize(CODEBOOK_SIZE, [0.0f64; D]);
    counts.resize(CODEBOOK_SIZE, 0usize);
    for (vector, &code) in vectors.iter().zip(codes) {
        counts[usize::from(code)] += 1;
        for (sum, value) in sums[usize::from(code)].iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
    }
    let mean =
        |(sum, &count): (&[f64; D], &usize)| sum.map(|sum| (sum / count.max(1) as f64) as f32);
    (sums.iter().zip(&counts).map(mean).collect(), counts)
}

/// As many different vectors as a codebook has entries, drawn without replacement.
fn sample<const D: usize>(vectors: &[[f32; D]], rng: &mut ChaCha8Rng) -> Vec<[f32; D]> {
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    for i in 0..CODEBOOK_SIZE {
        let j = i + (rng.next_u64() % (vectors.len() - i) as u64) as usize;
        order.swap(i, j);
    }
    order[..CODEBOOK_SIZE].iter().map(|&i| vectors[i]).collect()
}

fn assign<const D: usize>(codebook: &Codebook<D>, vectors: &[[f32; D]]) -> (Vec<u16>, Vec<f32>) {
    let mut codes = vec![0; vectors.len()];
    let mut errors = vec![0.0; vectors.len()];
    let tasks = vectors
        .par_chunks(CHUNK)
        .zip(codes.par_chunks_mut(CHUNK))
        .zip(errors.par_chunks_mut(CHUNK));
    tasks.for_each(|((vectors, codes), errors)| {
        codebook.nearest(vectors, codes);
        for ((vector, &code), error) in vectors.iter().zip(&*codes).zip(errors) {
            *error = vector
                .iter()
                .zip(codebook.codeword(code))
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
        }
    });
    (codes, errors)
}

/// Gives each entry without vectors a vector of large error: drawn with probability proportional to its squared
/// distance from its centroid, as k-means++ does (Arthur and Vassilvitskii 2007).
fn reseed_empty<const D: usize>(
    centroids: &mut [[f32; D]],
    counts: &[usize],
    vectors: &[[f32; D]],
    errors: &[f32],
    rng: &mut ChaCha8Rng,
) {
    let cumulative: Vec<f64> = errors
        .iter()
        .scan(0.0, |sum, &error| {
            *sum += f64::from(error);
            Some(*sum)
        })
        .collect();
    let total = cumulative.last().copied().unwrap_or(0.0);
    for (centroid, _) in centroids
        .iter_mut()
        .zip(counts)
        .filter(|(_, count)| **count == 0)
    {
        let target = total * (rng.next_u32() as f64 / 2f64.powi(32));
        let chosen = cumulative
            .partition_point(|&sum| sum <= target)
            .min(vectors.len() - 1);
        *centroid = vectors[chosen];
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn vectors(count: usize) -> Vec<[f32; 16]> {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        (0..count)
            .map(|_| std::array::from_fn(|_| rng.next_u32() as f32 / 1e9))
            .collect()
    }

    #[test]
    fn error_falls() {
        let mut errors = Vec::new();
        fit(
            &vectors(8192),
            4,
            &mut ChaCha8Rng::seed_from_u64(0),
            &mut |_, error| errors.push(error),
        );
        assert_eq!(errors.len(), 5);
        assert!(
            errors.windows(2).all(|pair| pair[1] < pair[0]),
            "{errors:?}"
        );
    }

    #[test]
    fn entries_lost_to_duplicates_are_put_to_use() {
        // half of the vectors are equal, so that about half of the first centroids are
        let mut vectors = vectors(8192);
        vectors[..4096].fill([1.0; 16]);
        let (_, codes) = fit(
            &vectors,
            4,
            &mut ChaCha8Rng::seed_from_u64(0),
            &mut |_, _| (),
        );
        let (_, counts) = means(&vectors, &codes);
        let used = counts.iter().filter(|&&count| count > 0).count();
        assert!(used > 1900, "{used}");
    }
}
