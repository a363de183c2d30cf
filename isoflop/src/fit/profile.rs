//! The IsoFLOP profile of a budget: loss against size while the FLOPs stay, and its minimum.
//!
//! Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556): a parabola in ln N.

use serde::Serialize;

use super::bootstrap::Estimate;
use super::parabola::{Design, Parabola};

/// A run as profiles see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Parameters.
    pub params: f64,
    /// Tokens trained on.
    pub tokens: f64,
    /// Validation loss, over all tokens or one kind of them, in nats a token.
    pub loss: f64,
}

/// Where the minimum of a profile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// Between the sizes, with at least two on either side.
    Inside,
    /// Between the sizes, but with one on a side only, or the lowest loss is that of an outermost size.
    Edge,
    /// Beyond the sizes.
    Outside,
    /// Nowhere: the parabola opens downward.
    Downward,
    /// Not known: fewer than three sizes.
    TooFew,
}

impl Shape {
    /// Whether the minimum was measured, rather than extrapolated.
    pub fn is_measured(self) -> bool {
        matches!(self, Self::Inside | Self::Edge)
    }
}

/// The runs of a budget and the parabola through their losses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    /// FLOPs of each run, by the study's convention.
    pub budget: f64,
    /// Runs with a loss.
    pub runs: usize,
    /// Sizes among them.
    pub sizes: usize,
    /// Where the minimum is.
    pub shape: Shape,
    /// Loss as a parabola in ln N; none with fewer than three sizes.
    pub parabola: Option<Parabola>,
    /// Its lowest point; none where it has none.
    pub minimum: Option<Minimum>,
    /// Share of resamples whose parabola opens downward; over 5 % there is no interval.
    pub downward_share: f64,
    /// What to know before one uses the minimum, and what to do; none where all is well.
    pub note: Option<String>,
}

/// The lowest point of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Minimum {
    /// N*: parameters.
    pub params: Estimate,
    /// D*: tokens that the budget gives a model of N* parameters.
    pub tokens: Estimate,
    /// Loss at N*, in nats a token.
    pub loss: Estimate,
}

/// ln N, ln D and loss at the minimum of one parabola; NaN where it has none.
pub type Lowest = [f64; 3];

/// The runs of a budget before noise is resampled.
pub struct Curve {
    budget: f64,
    points: Vec<Point>,
    design: Option<Design>,
    parabola: Option<Parabola>,
    /// ln N and ln D of each size, from the smallest.
    tokens: Vec<(f64, f64)>,
}

impl Curve {
    /// Fits the parabola of a budget; points by size.
    pub fn new(budget: f64, points: Vec<Point>) -> Self {
        let sizes: Vec<f64> = points.iter().map(|point| point.params.ln()).collect();
        let losses: Vec<f64> = points.iter().map(|point| point.loss).collect();
        let design = Design::new(&sizes);
        let parabola = design.as_ref().map(|design| design.fit(&losses));
        let mut tokens: Vec<(f64, f64)> = points
            .iter()
            .map(|p| (p.params.ln(), p.tokens.ln()))
            .collect();
        tokens.dedup_by_key(|(size, _)| *size);
        Self {
            budget,
            points,
            design,
            parabola,
            tokens,
        }
    }

    /// FLOPs.
    pub fn budget(&self) -> f64 {
        self.budget
    }

    /// Residuals, each divided by what fitting shrinks it by, √(1 − leverage); runs that are met exactly are left out.
    pub fn residuals(&self) -> Vec<f64> {
        let (Some(design), Some(parabola)) = (&self.design, self.parabola) else {
            return Vec::new();
        };
        let runs = self.points.iter().zip(design.leverages());
        runs.filter(|(_, leverage)| 1.0 - leverage > 1e-9)
            .map(|(point, leverage)| {
                (point.loss - parabola.at(point.params.ln())) / (1.0 - leverage).sqrt()
            })
            .collect()
    }

    /// Runs beyond the three that a parabola takes.
    pub fn degrees_of_freedom(&self) -> usize {
        self.parabola.map_or(0, |_| self.points.len() - 3)
    }

    /// The minimum of the parabola, wherever it is.
    pub fn lowest(&self) -> Lowest {
        self.parabola
            .map_or([f64::NAN; 3], |parabola| self.lowest_of(&parabola))
    }

    /// The minimum after noise on the fitted losses.
    pub fn resampled(&self, mut noise: impl FnMut() -> f64) -> Lowest {
        let (Some(design), Some(parabola)) = (&self.design, self.parabola) else {
            return [f64::NAN; 3];
        };
        let noisy = |point: &Point| parabola.at(point.params.ln()) + noise();
        let losses: Vec<f64> = self.points.iter().map(noisy).collect();
        self.lowest_of(&design.fit(&losses))
    }

    fn lowest_of(&self, parabola: &Parabola) -> Lowest {
        match parabola.argmin() {
            Some(size) => [size, self.tokens_at(size), parabola.at(size)],
            None => [f64::NAN; 3],
        }
    }

    /// ln D that the budget gives a size: along straight lines between the logarithms of the runs, the outermost of which go
    /// on beyond them. D·F(N) is the budget, and FLOPs a token F(N) are nearly a power of N from one size to the next.
    fn tokens_at(&self, size: f64) -> f64 {
        let above = self.tokens.partition_point(|(s, _)| *s < size);
        let end = above.clamp(1, self.tokens.len() - 1);
        let ((x0, y0), (x1, y1)) = (self.tokens[end - 1], self.tokens[end]);
        y0 + (y1 - y0) * (size - x0) / (x1 - x0)
    }

    /// The profile, with intervals from the minima of all resamples.
    pub fn profile(&self, resampled: &[Lowest]) -> Profile {
        let lowest = self.lowest();
        let estimate = |i: usize, scale: fn(f64) -> f64| {
            let values = resampled.iter().map(|lowest| scale(lowest[i]));
            Estimate::new(scale(lowest[i]), values)
        };
        let shape = self.shape(lowest[0]);
        let downward = resampled.iter().filter(|lowest| lowest[0].is_nan()).count();
        Profile {
            budget: self.budget,
            runs: self.points.len(),
            sizes: self.tokens.len(),
            shape,
            parabola: self.parabola,
            minimum: lowest[0].is_finite().then(|| Minimum {
                params: estimate(0, f64::exp),
                tokens: estimate(1, f64::exp),
                loss: estimate(2, |loss| loss),
            }),
            downward_share: downward as f64 / resampled.len().max(1) as f64,
            note: self.note(shape, lowest[0]),
        }
    }

    /// Where a minimum at ln N is among the sizes; NaN for none.
    fn shape(&self, size: f64) -> Shape {
        let sizes: Vec<f64> = self.tokens.iter().map(|(size, _)| *size).collect();
        if self.parabola.is_none() {
            return Shape::TooFew;
        }
        let [last, beside_last] = [1, 2].map(|from_end| sizes[sizes.len() - from_end]);
        let by_loss = |a: &&Point, b: &&Point| a.loss.total_cmp(&b.loss);
        let best = self
            .points
            .iter()
            .min_by(by_loss)
            .map_or(f64::NAN, |point| point.params.ln());
        match size {
            _ if size.is_nan() => Shape::Downward,
            _ if size < sizes[0] || size > last => Shape::Outside,
            _ if size < sizes[1] || size > beside_last => Shape::Edge,
            _ if best == sizes[0] || best == last => Shape::Edge,
            _ => Shape::Inside,
        }
    }

    fn note(&self, shape: Shape, size: f64) -> Option<String> {
        let sizes = self.tokens.len();
        let middle = self.tokens.iter().map(|(size, _)| size).sum::<f64>() / sizes as f64;
        let side = if size < middle { "smaller" } else { "larger" };
        let note = match shape {
            Shape::TooFew => format!("{sizes} of the 3 sizes that a parabola takes; run more"),
            Shape::Downward => {
                "opens downward, so there is no minimum; more sizes, farther apart, or more seeds"
                    .into()
            }
            Shape::Outside => format!(
                "its minimum is beyond the sizes, and the laws leave it out; run {side} models"
            ),
            Shape::Edge if sizes == 3 => "the parabola meets its 3 sizes exactly; run more".into(),
            Shape::Edge => format!("its minimum is at the edge of the sizes; run {side} models"),
            Shape::Inside => return None,
        };
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of a budget of 6e6 with 6ND FLOPs and loss 3 + 0.1·ln(N/`best`)².
    fn curve(params: &[f64], best: f64, bend: f64) -> Curve {
        let point = |&params: &f64| Point {
            params,
            tokens: 1e6 / params,
            loss: 3.0 + bend * (params / best).ln().powi(2),
        };
        Curve::new(6e6, params.iter().map(point).collect())
    }

    const SIZES: [f64; 5] = [100.0, 200.0, 400.0, 800.0, 1600.0];

    #[test]
    fn the_minimum_and_its_tokens_are_found() {
        let profile = curve(&SIZES, 500.0, 0.1).profile(&[]);
        let minimum = profile.minimum.unwrap();
        for (found, expected) in [
            (minimum.params, 500.0),
            (minimum.tokens, 2000.0),
            (minimum.loss, 3.0),
        ] {
            assert!(
                (found.value / expected - 1.0).abs() < 1e-9,
                "{found:?} {expected}"
            );
        }
        assert_eq!(
            (profile.runs, profile.sizes, profile.shape, profile.note),
            (5, 5, Shape::Inside, None)
        );
    }

    #[test]
    fn tokens_follow_the_runs_beyond_the_sizes() {
        let minimum = curve(&SIZES, 3200.0, 0.1).profile(&[]).minimum.unwrap();
        assert!(
            (minimum.tokens.value / 312.5 - 1.0).abs() < 1e-9,
            "{minimum:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_said() {
        for (sizes, best, bend, shape, note) in [
            (
                &SIZES[..],
                150.0,
                0.1,
                Shape::Edge,
                "at the edge of the sizes; run smaller models",
            ),
            (
                &SIZES,
                1200.0,
                0.1,
                Shape::Edge,
                "at the edge of the sizes; run larger models",
            ),
            (
                &SIZES,
                90.0,
                0.1,
                Shape::Outside,
                "beyond the sizes, and the laws leave it out; run smaller models",
            ),
            (
                &SIZES,
                9e3,
                0.1,
                Shape::Outside,
                "beyond the sizes, and the laws leave it out; run larger models",
            ),
            (&SIZES, 400.0, -0.1, Shape::Downward, "opens downward"),
            (
                &SIZES[..3],
                250.0,
                0.1,
                Shape::Edge,
                "meets its 3 sizes exactly",
            ),
            (&SIZES[..2], 150.0, 0.1, Shape::TooFew, "2 of the 3 sizes"),
        ] {
            let profile = curve(sizes, best, bend).profile(&[]);
            assert_eq!(profile.shape, shape, "{best} {bend}");
            let found = profile.note.unwrap();
            assert!(found.contains(note), "{found}");
        }
    }

    #[test]
    fn a_size_that_was_run_twice_counts_once() {
        let twice = [100.0, 100.0, 400.0, 400.0];
        let profile = curve(&twice, 250.0, 0.1).profile(&[]);
        assert_eq!(
            (profile.runs, profile.sizes, profile.shape),
            (4, 2, Shape::TooFew)
        );
        assert!(profile.minimum.is_none());
    }

    #[test]
    fn residuals_are_as_large_as_the_noise() {
        let mut curve = curve(&SIZES, 400.0, 0.1);
        curve.points[2].loss += 0.07;
        let curve = Curve::new(curve.budget, curve.points);
        assert_eq!(curve.degrees_of_freedom(), 2);
        // of 0.07 at the middle of five evenly spaced places, 17/35 stay in the fit
        let middle = 0.07 * (1.0 - 17.0 / 35.0f64).sqrt();
        assert!(
            (curve.residuals()[2] - middle).abs() < 1e-9,
            "{:?}",
            curve.residuals()
        );
    }

    #[test]
    fn resamples_give_intervals_and_count_what_opens_downward() {
        let curve = curve(&SIZES, 400.0, 0.1);
        let lowest = |size: f64| [size.ln(), 0.0, 3.0];
        let mut resampled = [lowest(300.0), lowest(600.0)].repeat(20);
        let interval = curve
            .profile(&resampled)
            .minimum
            .unwrap()
            .params
            .interval
            .unwrap();
        assert!(
            (interval.low - 300.0).abs() < 1e-9 && (interval.high - 600.0).abs() < 1e-9,
            "{interval:?}"
        );
        resampled[..10].fill([f64::NAN; 3]);
        let profile = curve.profile(&resampled);
        assert_eq!(profile.downward_share, 0.25);
        assert_eq!(profile.minimum.unwrap().params.interval, None);
    }
}
