//! The surface nearest to measured losses.
//!
//! Approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556, appendix D.2): the Huber loss of the difference in log loss, where
//! ln L(N, D) = LSE(ln E, ln A − α ln N, ln B − β ln D), minimised by L-BFGS from each start of a grid. Besiroglu et al. 2024
//! (arXiv 2404.10102) found that their optimizer had stopped early, because it saw the mean of tiny values instead of the
//! sum. Here the sum is divided by δ, and ln N and ln D are centered, so that A and α, as B and β, can be told apart.

use std::cell::Cell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::surface::Surface;

/// Differences in log loss beyond this count linearly: an outlier pulls no harder.
pub const HUBER_DELTA: f64 = 1e-3;
/// Steps that L-BFGS remembers.
const MEMORY: usize = 10;
/// L-BFGS ends when the gradient of the sum over δ is shorter, or a step gains less.
const GRADIENT_TOLERANCE: f64 = 1e-9;
const COST_TOLERANCE: f64 = 1e-15;
const MAX_ITERATIONS: u64 = 2_000;
/// The line search has no limit of its own, and where rounding hides the slope it would go on for ever. A descent that
/// converges takes some hundreds of evaluations.
const MAX_EVALUATIONS: usize = 3_000;

/// ln A, ln B, ln E, α, β.
pub type Start = [f64; 5];

/// The starts of Hoffmann et al.: 4,500, of all combinations.
pub fn chinchilla_starts() -> Vec<Start> {
    let steps =
        |from: f64, step: f64, count: usize| (0..count).map(move |i| from + step * i as f64);
    let mut starts = Vec::new();
    for alpha in steps(0.0, 0.5, 5) {
        for beta in steps(0.0, 0.5, 5) {
            for log_e in steps(-1.0, 0.5, 5) {
                for log_a in steps(0.0, 5.0, 6) {
                    starts
                        .extend(steps(0.0, 5.0, 6).map(|log_b| [log_a, log_b, log_e, alpha, beta]));
                }
            }
        }
    }
    starts
}

impl Surface {
    /// The logarithms that are optimized.
    pub fn to_start(self) -> Start {
        [self.a.ln(), self.b.ln(), self.e.ln(), self.alpha, self.beta]
    }

    fn from_start([log_a, log_b, log_e, alpha, beta]: Start) -> Self {
        Self {
            e: log_e.exp(),
            a: log_a.exp(),
            b: log_b.exp(),
            alpha,
            beta,
        }
    }
}

/// A surface with its sum of Huber losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fitted {
    /// The surface.
    pub surface: Surface,
    /// Sum over runs, of log losses.
    pub objective: f64,
}

/// Runs as the optimizer sees them.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Means of ln N and ln D.
    center: [f64; 2],
    /// ln N and ln D from their means, and ln L.
    points: Vec<[f64; 3]>,
}

impl Runs {
    /// Takes parameters, tokens and losses.
    pub fn new(runs: &[[f64; 3]]) -> Self {
        let logs: Vec<[f64; 3]> = runs.iter().map(|run| run.map(f64::ln)).collect();
        let mean = |i: usize| logs.iter().map(|log| log[i]).sum::<f64>() / logs.len() as f64;
        let center = [mean(0), mean(1)];
        let points = logs
            .iter()
            .map(|[n, d, l]| [n - center[0], d - center[1], *l]);
        Self {
            center,
            points: points.collect(),
        }
    }

    /// The same sizes and lengths with other log losses.
    pub fn with_log_losses(&self, log_losses: impl Iterator<Item = f64>) -> Self {
        let points = self.points.iter().zip(log_losses);
        Self {
            center: self.center,
            points: points.map(|(&[n, d, _], loss)| [n, d, loss]).collect(),
        }
    }

    /// Where L-BFGS ends from a start; none if it meets numbers that are not finite.
    pub fn descend(&self, start: &Start) -> Option<Fitted> {
        let line_search = MoreThuenteLineSearch::new();
        let solver = LBFGS::new(line_search, MEMORY)
            .with_tolerance_grad(GRADIENT_TOLERANCE)
            .and_then(|solver| solver.with_tolerance_cost(COST_TOLERANCE))
            .expect("tolerances are positive");
        let start = self.centered(*start).to_vec();
        let problem = Descent {
            runs: self,
            evaluations: Cell::new(0),
        };
        let result = Executor::new(problem, solver)
            .configure(|state| state.param(start).max_iters(MAX_ITERATIONS))
            .ctrlc(false)
            .timer(false)
            .run()
            .ok()?;
        let state = result.state();
        let best: Start = state.get_best_param()?.as_slice().try_into().ok()?;
        let objective = state.get_best_cost() * HUBER_DELTA;
        let surface = Surface::from_start(self.uncentered(best));
        objective
            .is_finite()
            .then_some(Fitted { surface, objective })
    }

    fn centered(&self, [a, b, e, alpha, beta]: Start) -> Start {
        [
            a - alpha * self.center[0],
            b - beta * self.center[1],
            e,
            alpha,
            beta,
        ]
    }

    fn uncentered(&self, [a, b, e, alpha, beta]: Start) -> Start {
        [
            a + alpha * self.center[0],
            b + beta * self.center[1],
            e,
            alpha,
            beta,
        ]
    }

    /// Sum of Huber losses over δ, and its gradient, of parameters about the center.
    fn evaluate(&self, parameters: &[f64]) -> (f64, [f64; 5]) {
        let (mut sum, mut gradient) = (0.0, [0.0; 5]);
        let &[a, b, e, alpha, beta] = parameters else {
            return (f64::NAN, [f64::NAN; 5]);
        };
        for [n, d, log_loss] in &self.points {
            let terms = [a - alpha * n, b - beta * d, e];
            let largest = terms.into_iter().fold(f64::MIN, f64::max);
            let shares = terms.map(|term| (term - largest).exp());
            let total: f64 = shares.iter().sum();
            let residual = largest + total.ln() - log_loss;
            let inside = residual.abs() <= HUBER_DELTA;
            sum += match inside {
                true => residual * residual / (2.0 * HUBER_DELTA),
                false => residual.abs() - HUBER_DELTA / 2.0,
            };
            let slope = (residual / HUBER_DELTA).clamp(-1.0, 1.0) / total;
            let [of_a, of_b, of_e] = shares.map(|share| share * slope);
            for (sum, term) in gradient
                .iter_mut()
                .zip([of_a, of_b, of_e, -n * of_a, -d * of_b])
            {
                *sum += term;
            }
        }
        (sum, gradient)
    }
}

/// One descent over runs.
struct Descent<'a> {
    runs: &'a Runs,
    evaluations: Cell<usize>,
}

impl CostFunction for Descent<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, parameters: &Self::Param) -> Result<f64, Error> {
        self.evaluations.update(|evaluations| evaluations + 1);
        match self.evaluations.get() {
            // ends the line search, and with it the descent, at the best place so far
            evaluations if evaluations > MAX_EVALUATIONS => Err(Error::msg("too many evaluations")),
            _ => Ok(self.runs.evaluate(parameters).0),
        }
    }
}

impl Gradient for Descent<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, parameters: &Self::Param) -> Result<Vec<f64>, Error> {
        Ok(self.runs.evaluate(parameters).1.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: Surface = Surface {
        e: 1.82,
        a: 482.0,
        b: 2085.4,
        alpha: 0.3478,
        beta: 0.3658,
    };

    fn runs(noise: impl Fn(usize) -> f64) -> Runs {
        let budgets = [1e18, 1e19, 1e20, 1e21];
        let run = |i: usize| {
            let params = 5e7 * 2f64.powi(i as i32 % 6) * (1 + i / 6) as f64;
            let tokens = budgets[i / 6] / (6.0 * params);
            [params, tokens, TRUTH.loss(params, tokens) * noise(i).exp()]
        };
        Runs::new(&(0..24).map(run).collect::<Vec<_>>())
    }

    #[test]
    fn the_gradient_is_that_of_the_cost() {
        let runs = runs(|i| 2e-3 * (i as f64).sin());
        let at = runs.centered(
            Surface {
                alpha: 0.3479,
                ..TRUTH
            }
            .to_start(),
        );
        let gradient = runs.evaluate(&at).1;
        for i in 0..5 {
            let moved = |by: f64| {
                let mut at = at;
                at[i] += by;
                runs.evaluate(&at).0
            };
            let numeric = (moved(1e-7) - moved(-1e-7)) / 2e-7;
            assert!(
                (gradient[i] - numeric).abs() < 1e-4 * numeric.abs().max(1.0),
                "{i}: {} {numeric}",
                gradient[i]
            );
        }
    }

    #[test]
    fn a_surface_without_noise_is_recovered_from_afar() {
        let found = runs(|_| 0.0).descend(&[10.0, 10.0, 0.0, 0.5, 0.5]).unwrap();
        assert!(found.objective < 1e-12, "{found:?}");
        let [alpha, beta] = [found.surface.alpha, found.surface.beta];
        assert!(
            (alpha - 0.3478).abs() < 1e-4 && (beta - 0.3658).abs() < 1e-4,
            "{found:?}"
        );
    }

    #[test]
    fn an_outlier_pulls_no_harder_when_it_is_farther() {
        let fit = |by: f64| {
            runs(|i| if i == 5 { by } else { 0.0 })
                .descend(&TRUTH.to_start())
                .unwrap()
                .surface
        };
        assert!((fit(0.1).alpha - fit(0.5).alpha).abs() < 1e-3);
    }

    #[test]
    fn the_grid_is_that_of_the_paper() {
        let starts = chinchilla_starts();
        assert_eq!(starts.len(), 4_500);
        assert_eq!(starts[0], [0.0, 0.0, -1.0, 0.0, 0.0]);
        assert_eq!(starts[4_499], [25.0, 25.0, 1.0, 2.0, 2.0]);
    }
}
