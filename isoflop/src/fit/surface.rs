//! L(N, D) = E + A/N^α + B/D^β, and where it is lowest for a budget.

use serde::Serialize;

use super::law::Line;

/// Loss as a function of parameters and tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Surface {
    /// E: the loss that no size and no data go below, in nats a token.
    pub e: f64,
    /// A.
    pub a: f64,
    /// B.
    pub b: f64,
    /// α.
    pub alpha: f64,
    /// β.
    pub beta: f64,
}

/// FLOPs a token F(N) = `coefficient` · N^`exponent`: what ties tokens to size in a budget.
///
/// Textbooks have F = 6N. Embeddings that are only looked up, and attention, make F another function, which a power of N fits
/// well over the sizes of a study. The exponents of the compute-optimal size and length depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenCost {
    /// F of one parameter.
    pub coefficient: f64,
    /// κ: the power of N, 1 in textbooks.
    pub exponent: f64,
    /// The factor by which a run misses it most.
    pub largest_miss: f64,
}

/// The best use of a budget, by a surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimum {
    /// FLOPs.
    pub budget: f64,
    /// Parameters.
    pub params: f64,
    /// Tokens.
    pub tokens: f64,
    /// Loss, in nats a token.
    pub loss: f64,
}

impl TokenCost {
    /// Fits (budget, parameters, tokens) of runs of at least two sizes.
    pub fn fit(runs: &[(f64, f64, f64)]) -> Self {
        let point =
            |(budget, params, tokens): &(f64, f64, f64)| (params.ln(), (budget / tokens).ln());
        let points: Vec<_> = runs.iter().map(point).collect();
        let line = Line::fit(&points);
        let misses = points.iter().map(|(x, y)| (y - line.at(*x)).abs());
        Self {
            coefficient: line.at(0.0).exp(),
            exponent: line.slope(),
            largest_miss: misses.fold(0.0, f64::max).exp(),
        }
    }

    fn of(&self, params: f64) -> f64 {
        self.coefficient * params.powf(self.exponent)
    }
}

impl Surface {
    /// What stands for a surface that was not found.
    pub const UNKNOWN: Self = Self {
        e: f64::NAN,
        a: f64::NAN,
        b: f64::NAN,
        alpha: f64::NAN,
        beta: f64::NAN,
    };

    /// Loss, in nats a token.
    pub fn loss(&self, params: f64, tokens: f64) -> f64 {
        self.e + self.a / params.powf(self.alpha) + self.b / tokens.powf(self.beta)
    }

    /// The exponent of N*(C): β/(α + κβ), with FLOPs a token proportional to N^κ.
    pub fn params_exponent(&self, cost: &TokenCost) -> f64 {
        self.beta / (self.alpha + cost.exponent * self.beta)
    }

    /// The exponent of D*(C): what is left of C when N*^κ is taken off, α/(α + κβ).
    pub fn tokens_exponent(&self, cost: &TokenCost) -> f64 {
        self.alpha / (self.alpha + cost.exponent * self.beta)
    }

    /// The size and length of lowest loss for a budget. With D = C/F(N), the derivative is zero at
    /// N^(α + κβ) = αA/(κβB) · (C/f)^β.
    pub fn optimum(&self, budget: f64, cost: &TokenCost) -> Optimum {
        let power = self.alpha + cost.exponent * self.beta;
        let log_params =
            (self.log_ratio(cost) + self.beta * (budget / cost.coefficient).ln()) / power;
        self.optimum_at(budget, log_params.exp(), cost)
    }

    /// The budget for which a size is the best one.
    pub fn optimum_of_size(&self, params: f64, cost: &TokenCost) -> Optimum {
        let power = self.alpha + cost.exponent * self.beta;
        let log_budget =
            cost.coefficient.ln() + (power * params.ln() - self.log_ratio(cost)) / self.beta;
        self.optimum_at(log_budget.exp(), params, cost)
    }

    fn optimum_at(&self, budget: f64, params: f64, cost: &TokenCost) -> Optimum {
        let tokens = budget / cost.of(params);
        Optimum {
            budget,
            params,
            tokens,
            loss: self.loss(params, tokens),
        }
    }

    /// ln(αA/(κβB)).
    fn log_ratio(&self, cost: &TokenCost) -> f64 {
        (self.alpha * self.a).ln() - (cost.exponent * self.beta * self.b).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURFACE: Surface = Surface {
        e: 1.8,
        a: 400.0,
        b: 2000.0,
        alpha: 0.35,
        beta: 0.37,
    };
    const COST: TokenCost = TokenCost {
        coefficient: 5.0,
        exponent: 1.1,
        largest_miss: 1.0,
    };

    #[test]
    fn no_neighbour_of_the_optimum_is_better() {
        for budget in [1e12, 1e18, 1e24] {
            let best = SURFACE.optimum(budget, &COST);
            assert!((best.tokens * COST.of(best.params) / budget - 1.0).abs() < 1e-9);
            for factor in [0.99, 1.01] {
                let params = best.params * factor;
                let loss = SURFACE.loss(params, budget / COST.of(params));
                assert!(loss > best.loss, "{budget:e} {factor}");
            }
        }
    }

    #[test]
    fn optima_follow_the_exponents() {
        let [low, high] = [1e18, 1e20].map(|budget| SURFACE.optimum(budget, &COST));
        let slope = |low: f64, high: f64| (high / low).log10() / 2.0;
        assert!((slope(low.params, high.params) - SURFACE.params_exponent(&COST)).abs() < 1e-9);
        assert!((slope(low.tokens, high.tokens) - SURFACE.tokens_exponent(&COST)).abs() < 1e-9);
        let textbook = TokenCost {
            exponent: 1.0,
            ..COST
        };
        assert!((SURFACE.params_exponent(&textbook) - 0.37 / 0.72).abs() < 1e-12);
    }

    #[test]
    fn the_budget_of_a_size_is_found_back() {
        let best = SURFACE.optimum(1e19, &COST);
        let found = SURFACE.optimum_of_size(best.params, &COST);
        assert!((found.budget / 1e19 - 1.0).abs() < 1e-9 && (found.loss - best.loss).abs() < 1e-12);
    }

    #[test]
    fn the_cost_of_a_token_is_recovered() {
        let runs = [100.0, 1000.0, 5000.0].map(|params: f64| (1e9, params, 1e9 / COST.of(params)));
        let cost = TokenCost::fit(&runs);
        assert!((cost.coefficient - 5.0).abs() < 1e-9 && (cost.exponent - 1.1).abs() < 1e-12);
        assert!((cost.largest_miss - 1.0).abs() < 1e-9);
    }
}
