//! All IsoFLOP profiles of a study, and the power laws of their minima.

use serde::Serialize;

use super::Outcome;
use super::bootstrap::{Bootstrap, Residuals};
use super::law::Law;
use super::profile::{Curve, Lowest, Point, Profile};

/// Profiles of all budgets and the laws through their minima.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profiles {
    /// One for each budget, from the smallest.
    pub budgets: Vec<Profile>,
    /// Deviation of losses from their parabolas, in nats a token, estimated over all budgets.
    pub noise: f64,
    /// Runs beyond the three that each parabola takes; at 0, noise is unknown and there are no intervals.
    pub degrees_of_freedom: usize,
    /// N*(C).
    pub params_law: Outcome<Law>,
    /// D*(C).
    pub tokens_law: Outcome<Law>,
}

impl Profiles {
    /// Fits runs that are sorted by budget and size.
    ///
    /// Residuals of all budgets are drawn from one urn: a budget alone has too few to tell how large noise is.
    pub fn fit(runs: &[(f64, Point)], bootstrap: &Bootstrap) -> Self {
        let by_budget = runs.chunk_by(|(a, _), (b, _)| a == b);
        let curves: Vec<Curve> = by_budget
            .map(|runs| Curve::new(runs[0].0, runs.iter().map(|(_, point)| *point).collect()))
            .collect();
        let degrees_of_freedom = curves.iter().map(Curve::degrees_of_freedom).sum();
        let residuals = Residuals::new(
            curves.iter().flat_map(Curve::residuals).collect(),
            degrees_of_freedom,
        );
        // [resample][budget]
        let resampled: Vec<Vec<Lowest>> = bootstrap.run(&residuals, |mut noise| {
            let curves = curves.iter();
            curves
                .map(|curve| curve.resampled(|| noise.draw()))
                .collect()
        });
        let of_budget = |i: usize| resampled.iter().map(|lowest| lowest[i]).collect::<Vec<_>>();
        let budgets: Vec<Profile> = curves
            .iter()
            .enumerate()
            .map(|(i, curve)| curve.profile(&of_budget(i)))
            .collect();
        let law = |quantity: usize| law(&curves, &budgets, &resampled, quantity);
        Self {
            params_law: law(0),
            tokens_law: law(1),
            noise: residuals.deviation(),
            degrees_of_freedom,
            budgets,
        }
    }
}

/// The law of a quantity of [`Lowest`] through the minima that were measured.
fn law(
    curves: &[Curve],
    profiles: &[Profile],
    resampled: &[Vec<Lowest>],
    quantity: usize,
) -> Outcome<Law> {
    let used: Vec<usize> = (0..curves.len())
        .filter(|&i| profiles[i].shape.is_measured())
        .collect();
    if used.len() < 2 {
        return Outcome::Missing {
            missing: format!(
                "a law takes the minima of 2 budgets, and {} of {} budgets have one among their sizes",
                used.len(),
                curves.len()
            ),
        };
    }
    let point = |&i: &usize| (curves[i].budget().ln(), curves[i].lowest()[quantity]);
    let points: Vec<_> = used.iter().map(point).collect();
    let values = |lowest: &Vec<Lowest>| used.iter().map(|&i| lowest[i][quantity]).collect();
    let resampled: Vec<Vec<f64>> = resampled.iter().map(values).collect();
    Outcome::Fitted(Law::fit(&points, &resampled))
}
