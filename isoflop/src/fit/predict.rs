//! What the laws and the surface say of budgets and sizes that were not run.

use serde::Serialize;

use super::Fit;
use super::bootstrap::Estimate;
use super::parametric::OptimumEstimate;

/// The best size and length for a budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BudgetPrediction {
    /// FLOPs, by the study's convention.
    pub budget: f64,
    /// How many times it is over the largest budget, or under the smallest; 1 between them.
    pub extrapolation: f64,
    /// By the power laws; none where there are none.
    pub laws: Option<SizeAndLength>,
    /// By the surface, which also gives the loss; none where there is none.
    pub parametric: Option<OptimumEstimate>,
}

/// N* and D*.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizeAndLength {
    /// N*: parameters.
    pub params: Estimate,
    /// D*: tokens.
    pub tokens: Estimate,
}

/// The budget for which a size is the best one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SizePrediction {
    /// Parameters.
    pub params: f64,
    /// How many times it is over the largest size, or under the smallest; 1 between them.
    pub extrapolation: f64,
    /// By the power laws; none where there are none.
    pub laws: Option<BudgetAndLength>,
    /// By the surface, which also gives the loss; none where there is none.
    pub parametric: Option<OptimumEstimate>,
}

/// C and D* of a size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BudgetAndLength {
    /// FLOPs.
    pub budget: Estimate,
    /// D*: tokens.
    pub tokens: Estimate,
}

impl BudgetPrediction {
    pub(super) fn new(fit: &Fit, budget: f64) -> Self {
        let laws = fit
            .profiles
            .params_law
            .fitted()
            .zip(fit.profiles.tokens_law.fitted());
        Self {
            budget,
            extrapolation: extrapolation(
                budget,
                fit.observations.runs.iter().map(|run| run.budget),
            ),
            laws: laws.map(|(params, tokens)| SizeAndLength {
                params: params.at(budget),
                tokens: tokens.at(budget),
            }),
            parametric: fit
                .parametric
                .fitted()
                .map(|surface| surface.optimum(budget)),
        }
    }
}

impl SizePrediction {
    pub(super) fn new(fit: &Fit, params: f64) -> Self {
        let laws = fit
            .profiles
            .params_law
            .fitted()
            .zip(fit.profiles.tokens_law.fitted());
        Self {
            params,
            extrapolation: extrapolation(
                params,
                fit.observations.runs.iter().map(|run| run.params),
            ),
            laws: laws.map(|(size, length)| BudgetAndLength {
                budget: size.budget_of(params),
                tokens: size.other_at(params, length),
            }),
            parametric: fit
                .parametric
                .fitted()
                .map(|surface| surface.optimum_of_size(params)),
        }
    }
}

/// The factor by which a value is outside of those measured.
fn extrapolation(value: f64, measured: impl Iterator<Item = f64>) -> f64 {
    let (low, high) = measured.fold((f64::MAX, f64::MIN), |(low, high), m| {
        (low.min(m), high.max(m))
    });
    (value / high).max(low / value).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extrapolation_is_a_factor_on_either_side() {
        let factor = |value| extrapolation(value, [10.0, 40.0, 20.0].into_iter());
        assert_eq!([5.0, 10.0, 33.0, 80.0].map(factor), [2.0, 1.0, 1.0, 2.0]);
    }
}
