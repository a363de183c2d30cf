//! How the sequences of a block are divided among components.

use crate::mixture::Component;

/// Products of weight and block size that are whole numbers but for rounding are taken as those.
const SLACK: f64 = 1e-9;

/// Sequences of each component in a block: weight times block size, rounded down, and what is left to the largest (the first of
/// equals). This is Levanter's rule, kept so that the paper's mixes have the paper's proportions. `weights` sum to 1.
pub(crate) fn counts(weights: &[f64], block_size: u64) -> Vec<u64> {
    let count = |weight: &f64| (weight * block_size as f64 + SLACK) as u64;
    let mut counts: Vec<u64> = weights.iter().map(count).collect();
    let given: u64 = counts.iter().sum();
    let mut largest = 0;
    for (component, &count) in counts.iter().enumerate() {
        if count > counts[largest] {
            largest = component;
        }
    }
    counts[largest] += block_size - given;
    counts
}

/// The first component that has a weight and no sequence in a block, and what to do about it.
pub(crate) fn vanishing(
    components: &[Component],
    weights: &[f64],
    block_size: u64,
) -> Option<(usize, String)> {
    let counts = counts(weights, block_size);
    let mut pairs = weights.iter().zip(&counts);
    let component = pairs.position(|(weight, count)| *weight > 0.0 && *count == 0)?;
    let problem = format!(
        "component {:?} has a share of {:.3e}, less than one of the {block_size} sequences of a block; raise its weight, or set \
         block_size to at least {}",
        components[component].name,
        weights[component],
        enough(weights)
    );
    Some((component, problem))
}

/// The smallest block in which no component vanishes.
fn enough(weights: &[f64]) -> u64 {
    let present = weights.iter().filter(|weight| **weight > 0.0);
    let smallest = present.fold(1.0, |least: f64, weight| least.min(*weight));
    ((1.0 - SLACK) / smallest).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remainder_goes_to_the_first_largest() {
        for (weights, size, expected) in [
            (vec![0.5, 0.5], 5, vec![3, 2]),
            (vec![0.2, 0.4, 0.4], 9, vec![1, 5, 3]),
            (vec![0.90, 0.08, 0.02], 50, vec![45, 4, 1]),
            (vec![1.0 / 3.0, 2.0 / 3.0], 3, vec![1, 2]),
            // 0.29 * 100 is 28.999999999999996 in doubles.
            (vec![0.29, 0.71], 100, vec![29, 71]),
            (vec![1.0, 0.0], 7, vec![7, 0]),
        ] {
            assert_eq!(counts(&weights, size), expected, "{weights:?} of {size}");
        }
    }

    #[test]
    fn the_block_size_that_is_named_is_the_smallest_that_does() {
        for weights in [
            vec![0.999, 0.001],
            vec![0.7, 0.3],
            vec![0.0, 1.0],
            vec![0.9993, 0.0007],
        ] {
            let size = enough(&weights);
            let vanishes = |size| {
                let counts = counts(&weights, size);
                weights
                    .iter()
                    .zip(counts)
                    .any(|(w, count)| *w > 0.0 && count == 0)
            };
            assert!(!vanishes(size), "{weights:?}, {size}");
            assert!(size == 1 || vanishes(size - 1), "{weights:?}, {size}");
        }
    }
}
