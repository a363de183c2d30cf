//! Intervals by the residual bootstrap.
//!
//! Sizes and budgets are chosen, not drawn, and a budget has 5 to 10 of them: drawing runs with replacement (the pairs
//! bootstrap) would often leave too few sizes for a parabola. So sizes stay, and residuals are drawn (Efron 1979; Davison &
//! Hinkley 1997, section 6.3). With few runs, residuals also say little of how large the noise is, and percentiles would be
//! too narrow. Each resample therefore scales its residuals by √(df/χ²), with χ² drawn of as many degrees of freedom as the
//! fit has left: for a mean of normal values this widens the percentiles from those of z to those of Student's t.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{ChiSquared, Distribution, StandardNormal};
use rayon::prelude::*;
use serde::Serialize;

/// Share of intervals that should hold the truth.
pub const LEVEL: f64 = 0.95;

/// How often and from which seed residuals are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Resamples.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// A value with the range that holds the truth with probability [`LEVEL`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its interval; none where the runs do not determine one.
    pub interval: Option<Interval>,
}

/// A range of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether a value lies in it.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Between the quantiles of resampled values; none where too many of all `drawn` resamples gave no finite value.
    pub fn of(values: impl Iterator<Item = f64>, drawn: usize) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        if drawn == 0 || (values.len() as f64) < LEVEL * drawn as f64 {
            return None;
        }
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - LEVEL) / 2.0;
        Some(Self {
            low: quantile(&values, tail),
            high: quantile(&values, 1.0 - tail),
        })
    }
}

impl Estimate {
    /// A value with the interval of its resampled values.
    pub fn new(value: f64, resampled: impl ExactSizeIterator<Item = f64>) -> Self {
        let drawn = resampled.len();
        Self {
            value,
            interval: Interval::of(resampled, drawn),
        }
    }
}

/// The quantile of sorted values, linear between them.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    below + (above - below) * place.fract()
}

/// The residuals of a fit, made equal in variance, and how many more they are than the fit has coefficients.
#[derive(Clone, Debug)]
pub struct Residuals {
    values: Vec<f64>,
    degrees_of_freedom: usize,
    /// Deviation of the normal noise that is added to each draw.
    bandwidth: f64,
}

impl Residuals {
    /// Residuals that were each divided by the factor by which fitting shrinks them; their mean is taken off.
    pub fn new(mut values: Vec<f64>, degrees_of_freedom: usize) -> Self {
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        values.iter_mut().for_each(|value| *value -= mean);
        Self {
            values,
            degrees_of_freedom,
            bandwidth: 0.0,
        }
    }

    /// Draws from a smooth density instead, with Silverman's bandwidth.
    ///
    /// For fits by absolute differences, whose result depends on the density of noise at zero: such a fit meets as many runs
    /// nearly exactly as it has parameters, so residuals heap up there, and intervals would be too narrow (De Angelis, Hall &
    /// Young 1993).
    pub fn smoothed(mut self) -> Self {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let normal_quartiles = 1.34;
        let spread = (quantile(&sorted, 0.75) - quantile(&sorted, 0.25)) / normal_quartiles;
        let count = sorted.len() as f64;
        self.bandwidth = 0.9 * spread.min(self.deviation()) * count.powf(-0.2);
        self
    }

    /// Root mean square.
    pub fn deviation(&self) -> f64 {
        let squares: f64 = self.values.iter().map(|value| value * value).sum();
        (squares / self.values.len().max(1) as f64).sqrt()
    }
}

/// Noise of one resample.
pub struct Noise<'a> {
    residuals: &'a Residuals,
    scale: f64,
    rng: ChaCha8Rng,
}

impl Noise<'_> {
    /// The noise of the next measurement.
    pub fn draw(&mut self) -> f64 {
        let Residuals {
            values, bandwidth, ..
        } = self.residuals;
        let drawn = values[self.rng.random_range(0..values.len())];
        if *bandwidth == 0.0 {
            return self.scale * drawn;
        }
        let normal: f64 = StandardNormal.sample(&mut self.rng);
        self.scale * (drawn + bandwidth * normal)
    }
}

impl Bootstrap {
    /// What `refit` makes of each resample, in order; nothing where no noise can be known of.
    ///
    /// Every resample has its own stream of random numbers, so the result does not depend on threads.
    pub fn run<T: Send>(&self, residuals: &Residuals, refit: impl Fn(Noise) -> T + Sync) -> Vec<T> {
        let freedom = residuals.degrees_of_freedom as f64;
        let Ok(chi_squared) = ChiSquared::new(freedom) else {
            return Vec::new();
        };
        let resample = |number: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(number as u64);
            let scale = (freedom / chi_squared.sample(&mut rng)).sqrt();
            refit(Noise {
                residuals,
                scale,
                rng,
            })
        };
        (0..self.resamples).into_par_iter().map(resample).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bootstrap(resamples: usize) -> Bootstrap {
        Bootstrap { resamples, seed: 3 }
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[7.0], 0.025), 7.0);
    }

    #[test]
    fn a_mean_gets_the_interval_of_student() {
        // mean of four values: three degrees of freedom, whose t is 3.182 where z is 1.96
        let residuals = Residuals::new(
            [-1.5, -0.5, 0.5, 1.5].map(|r| r / 0.75f64.sqrt()).to_vec(),
            3,
        );
        let means = bootstrap(20_000).run(&residuals, |mut noise| {
            (0..4).map(|_| noise.draw()).sum::<f64>() / 4.0
        });
        let interval = Estimate::new(0.0, means.into_iter()).interval.unwrap();
        let expected = 3.182 * residuals.deviation() / 2.0;
        assert!(
            (interval.high / expected - 1.0).abs() < 0.05,
            "{interval:?} {expected}"
        );
        assert!(
            (interval.low / -expected - 1.0).abs() < 0.05,
            "{interval:?} {expected}"
        );
    }

    #[test]
    fn the_seed_alone_determines_the_draws() {
        let residuals = Residuals::new(vec![1.0, 2.0, 4.0], 2);
        let draw =
            |seed| Bootstrap { resamples: 9, seed }.run(&residuals, |mut noise| noise.draw());
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn smoothing_spreads_what_heaps_up() {
        let heap = Residuals::new(vec![-3.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 3.0], 3);
        let at_zero = |residuals: &Residuals| {
            let draws = bootstrap(4_000).run(residuals, |mut noise| noise.draw());
            draws.iter().filter(|draw| draw.abs() < 0.05).count()
        };
        assert!(at_zero(&heap) > 1_800);
        assert!(at_zero(&heap.smoothed()) < 600);
    }

    #[test]
    fn without_freedom_there_is_no_interval() {
        let residuals = Residuals::new(vec![0.0; 3], 0);
        assert!(
            bootstrap(10)
                .run(&residuals, |mut noise| noise.draw())
                .is_empty()
        );
        assert_eq!(Estimate::new(1.0, [].into_iter()).interval, None);
        // one of ten resamples without a value is too many for a level of 95 %
        let values = (0..10).map(|i| if i == 0 { f64::NAN } else { 1.0 });
        assert_eq!(Interval::of(values, 10), None);
    }
}
