//! Drawing a token from logits: temperature, then nucleus (top-p) sampling (arXiv 1904.09751).

use rand::{Rng, RngExt};

/// How tokens are drawn.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token.
    pub temperature: f64,
    /// Only the likeliest tokens that together have this probability are drawn from.
    pub top_p: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.9,
            top_p: 0.95,
        }
    }
}

/// One of `ids`, drawn by their logits.
///
/// # Panics
/// If `ids` is empty.
pub fn sample(logits: &[f32], ids: &[u32], sampling: Sampling, rng: &mut impl Rng) -> u32 {
    let mut ranked: Vec<(f64, u32)> = ids
        .iter()
        .map(|&id| (f64::from(logits[id as usize]), id))
        .collect();
    // By logit, then by id, so that ties are drawn the same everywhere.
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let (max, likeliest) = ranked[0];
    if sampling.temperature == 0.0 {
        return likeliest;
    }
    let weight = |logit: f64| ((logit - max) / sampling.temperature).exp();
    let total: f64 = ranked.iter().map(|(logit, _)| weight(*logit)).sum();
    let mut nucleus = 0.0;
    let mut kept = 0;
    while kept < ranked.len() && (kept == 0 || nucleus < sampling.top_p * total) {
        nucleus += weight(ranked[kept].0);
        kept += 1;
    }
    let mut left = rng.random::<f64>() * nucleus;
    for (logit, id) in &ranked[..kept] {
        left -= weight(*logit);
        if left < 0.0 {
            return *id;
        }
    }
    ranked[kept - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    fn shares(sampling: Sampling) -> [f64; 4] {
        // Probabilities 0.1, 0.2, 0.3, 0.4, of which id 1 is not allowed.
        let logits = [0.1f32.ln(), 0.2f32.ln(), 0.3f32.ln(), 0.4f32.ln()];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut counts = [0.0; 4];
        for _ in 0..20_000 {
            counts[sample(&logits, &[0, 2, 3], sampling, &mut rng) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn assert_close(got: [f64; 4], want: [f64; 4]) {
        assert!(
            got.iter()
                .zip(want)
                .all(|(got, want)| (got - want).abs() < 0.02),
            "{got:?}, not {want:?}"
        );
    }

    #[test]
    fn draws_follow_the_probabilities_of_the_allowed_ids() {
        assert_close(
            shares(Sampling {
                temperature: 1.0,
                top_p: 1.0,
            }),
            [0.125, 0.0, 0.375, 0.5],
        );
        let squares = 0.01 + 0.09 + 0.16;
        assert_close(
            shares(Sampling {
                temperature: 0.5,
                top_p: 1.0,
            }),
            [0.01 / squares, 0.0, 0.09 / squares, 0.16 / squares],
        );
    }

    #[test]
    fn the_nucleus_leaves_out_the_tail_and_temperature_0_takes_the_likeliest() {
        assert_close(
            shares(Sampling {
                temperature: 1.0,
                top_p: 0.8,
            }),
            [0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0],
        );
        assert_close(
            shares(Sampling {
                temperature: 1.0,
                top_p: 0.0,
            }),
            [0.0, 0.0, 0.0, 1.0],
        );
        assert_close(
            shares(Sampling {
                temperature: 0.0,
                top_p: 1.0,
            }),
            [0.0, 0.0, 0.0, 1.0],
        );
    }
}
