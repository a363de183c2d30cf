//! Whether parabolas and surface say the same.

use serde::Serialize;

use super::Outcome;
use super::bootstrap::Estimate;
use super::parametric::Parametric;
use super::profiles::Profiles;

/// The two fits side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Whether each law's exponent is in the surface's interval, or the other way around.
    pub consistent: bool,
    /// Exponent of N*: that of the law less that of the surface.
    pub params_exponent_difference: f64,
    /// The same of D*.
    pub tokens_exponent_difference: f64,
    /// N* of each budget by both.
    pub budgets: Vec<SideBySide>,
    /// All this as a sentence.
    pub summary: String,
}

/// N* of a budget by both fits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SideBySide {
    /// FLOPs.
    pub budget: f64,
    /// N* of the parabola.
    pub profile_params: f64,
    /// N* of the surface.
    pub parametric_params: f64,
    /// The parabola's over the surface's.
    pub ratio: f64,
}

impl Agreement {
    /// Compares both, where there are both.
    pub fn of(profiles: &Profiles, parametric: &Outcome<Parametric>) -> Outcome<Self> {
        let laws = profiles
            .params_law
            .fitted()
            .zip(profiles.tokens_law.fitted());
        let (Some((params, tokens)), Some(surface)) = (laws, parametric.fitted()) else {
            return Outcome::Missing {
                missing: "it takes both the power laws and the surface".into(),
            };
        };
        let pairs = [
            (params.exponent, surface.params_exponent),
            (tokens.exponent, surface.tokens_exponent),
        ];
        let [params_difference, tokens_difference] =
            pairs.map(|(law, surface)| law.value - surface.value);
        let consistent = pairs.iter().all(|(law, surface)| within(law, surface));
        let budgets = side_by_side(profiles, surface);
        let ratios = budgets.iter().map(|pair| pair.ratio);
        let (low, high) = ratios.fold((f64::MAX, f64::MIN), |(low, high), ratio| {
            (low.min(ratio), high.max(ratio))
        });
        let summary = format!(
            "the two approaches {}: their exponents of N* differ by {params_difference:+.3}, of D* by {tokens_difference:+.3}, \
             and the parabolas' N* is {low:.2} to {high:.2} times the surface's",
            if consistent { "agree" } else { "disagree" },
        );
        Outcome::Fitted(Self {
            consistent,
            params_exponent_difference: params_difference,
            tokens_exponent_difference: tokens_difference,
            budgets,
            summary,
        })
    }
}

fn within(one: &Estimate, other: &Estimate) -> bool {
    let holds = |estimate: &Estimate, value: f64| {
        estimate
            .interval
            .is_some_and(|interval| interval.contains(value))
    };
    holds(one, other.value) || holds(other, one.value)
}

fn side_by_side(profiles: &Profiles, surface: &Parametric) -> Vec<SideBySide> {
    let measured = profiles
        .budgets
        .iter()
        .filter(|profile| profile.shape.is_measured());
    measured
        .filter_map(|profile| {
            let profile_params = profile.minimum?.params.value;
            let parametric_params = surface
                .surface()
                .optimum(profile.budget, &surface.token_cost)
                .params;
            Some(SideBySide {
                budget: profile.budget,
                profile_params,
                parametric_params,
                ratio: profile_params / parametric_params,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::bootstrap::Interval;

    #[test]
    fn one_interval_that_holds_the_other_value_is_enough() {
        let estimate = |value: f64, half: Option<f64>| Estimate {
            value,
            interval: half.map(|half| Interval {
                low: value - half,
                high: value + half,
            }),
        };
        let law = estimate(0.50, Some(0.05));
        assert!(within(&law, &estimate(0.54, Some(0.01))));
        assert!(within(&estimate(0.54, None), &law));
        // intervals that only touch
        assert!(!within(&law, &estimate(0.56, Some(0.02))));
        assert!(!within(&estimate(0.5, None), &estimate(0.5, None)));
    }
}
