//! The parametric fit with its intervals.

use rayon::prelude::*;
use serde::Serialize;

use super::Outcome;
use super::bootstrap::{Bootstrap, Estimate, Residuals};
use super::optimize::{Fitted, Runs, Start};
use super::parabola::distinct;
use super::surface::{Optimum, Surface, TokenCost};
use crate::observation::Observation;

/// Parameters of a surface.
const PARAMETERS: usize = 5;
/// With fewer runs, five parameters leave too little to tell noise from shape.
const MIN_RUNS: usize = 8;
/// Starts whose objective is this near to the best one, relatively, ended at the same optimum.
const SAME_OPTIMUM: f64 = 1e-6;

/// L(N, D) = E + A/N^α + B/D^β, fitted to all runs of a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parametric {
    /// E, in nats a token.
    pub e: Estimate,
    /// A.
    pub a: Estimate,
    /// B.
    pub b: Estimate,
    /// α.
    pub alpha: Estimate,
    /// β.
    pub beta: Estimate,
    /// Sum of the Huber losses of log losses.
    pub objective: f64,
    /// Root mean square of differences in log loss.
    pub log_loss_error: f64,
    /// Starts of L-BFGS.
    pub starts: usize,
    /// Those that ended at the best optimum.
    pub starts_at_optimum: usize,
    /// FLOPs a token as a power of N.
    pub token_cost: TokenCost,
    /// Power of C in N*: β/(α + κβ), with κ of the token cost.
    pub params_exponent: Estimate,
    /// Power of C in D*: α/(α + κβ).
    pub tokens_exponent: Estimate,
    /// β/(α + β): the power of C in N* where a token costs FLOPs in proportion to N.
    pub textbook_params_exponent: Estimate,
    /// α/(α + β): the same of D*.
    pub textbook_tokens_exponent: Estimate,
    /// Each run with what the surface says of it.
    pub residuals: Vec<Residual>,
    /// What to know before one uses it.
    pub notes: Vec<String>,
    #[serde(skip)]
    surface: Surface,
    #[serde(skip)]
    resampled: Vec<Surface>,
}

/// How far a run is from the surface.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Residual {
    /// Name of the run.
    pub name: String,
    /// Its budget, in FLOPs.
    pub budget: f64,
    /// Its parameters.
    pub params: f64,
    /// Measured loss, in nats a token.
    pub loss: f64,
    /// Loss of the surface.
    pub predicted: f64,
    /// ln of the measured loss over the predicted one.
    pub log_residual: f64,
}

/// The best use of a budget, with intervals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OptimumEstimate {
    /// FLOPs.
    pub budget: Estimate,
    /// Parameters.
    pub params: Estimate,
    /// Tokens.
    pub tokens: Estimate,
    /// Loss, in nats a token.
    pub loss: Estimate,
}

impl Parametric {
    /// Fits all runs, from each of the starts.
    pub fn fit(
        observations: &[Observation],
        starts: &[Start],
        bootstrap: &Bootstrap,
    ) -> Outcome<Self> {
        if let Some(missing) = too_few(observations) {
            return Outcome::Missing { missing };
        }
        let logs: Vec<[f64; 3]> = observations
            .iter()
            .map(|run| [run.params, run.tokens, run.loss])
            .collect();
        let runs = Runs::new(&logs);
        let ends: Vec<Fitted> = starts
            .par_iter()
            .filter_map(|start| runs.descend(start))
            .collect();
        let by_objective = |a: &&Fitted, b: &&Fitted| a.objective.total_cmp(&b.objective);
        let Some(best) = ends.iter().min_by(by_objective) else {
            return Outcome::Missing {
                missing:
                    "no start of the optimizer ended at a finite objective; are the losses right?"
                        .into(),
            };
        };
        let near = best.objective * (1.0 + SAME_OPTIMUM) + f64::EPSILON;
        let starts_at_optimum = ends.iter().filter(|end| end.objective <= near).count();
        let cost = TokenCost::fit(
            &observations
                .iter()
                .map(|run| (run.budget, run.params, run.tokens))
                .collect::<Vec<_>>(),
        );
        let residuals = residuals(observations, &best.surface);
        let resampled = resample(&runs, &residuals, &best.surface, bootstrap);
        let estimate = |of: &dyn Fn(&Surface) -> f64| {
            Estimate::new(of(&best.surface), resampled.iter().map(of))
        };
        let textbook = TokenCost {
            exponent: 1.0,
            ..cost
        };
        let squares: f64 = residuals
            .iter()
            .map(|residual| residual.log_residual.powi(2))
            .sum();
        Outcome::Fitted(Self {
            e: estimate(&|surface| surface.e),
            a: estimate(&|surface| surface.a),
            b: estimate(&|surface| surface.b),
            alpha: estimate(&|surface| surface.alpha),
            beta: estimate(&|surface| surface.beta),
            objective: best.objective,
            log_loss_error: (squares / residuals.len() as f64).sqrt(),
            starts: starts.len(),
            starts_at_optimum,
            token_cost: cost,
            params_exponent: estimate(&|surface| surface.params_exponent(&cost)),
            tokens_exponent: estimate(&|surface| surface.tokens_exponent(&cost)),
            textbook_params_exponent: estimate(&|surface| surface.params_exponent(&textbook)),
            textbook_tokens_exponent: estimate(&|surface| surface.tokens_exponent(&textbook)),
            residuals,
            notes: notes(&best.surface, observations),
            surface: best.surface,
            resampled,
        })
    }

    /// The fitted surface.
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// The best size and length for a budget.
    pub fn optimum(&self, budget: f64) -> OptimumEstimate {
        self.estimate(|surface| surface.optimum(budget, &self.token_cost))
    }

    /// The budget and length for which a size is the best one.
    pub fn optimum_of_size(&self, params: f64) -> OptimumEstimate {
        self.estimate(|surface| surface.optimum_of_size(params, &self.token_cost))
    }

    fn estimate(&self, optimum: impl Fn(&Surface) -> Optimum) -> OptimumEstimate {
        let best = optimum(&self.surface);
        let resampled: Vec<Optimum> = self.resampled.iter().map(optimum).collect();
        let of = |get: fn(&Optimum) -> f64| Estimate::new(get(&best), resampled.iter().map(get));
        OptimumEstimate {
            budget: of(|optimum| optimum.budget),
            params: of(|optimum| optimum.params),
            tokens: of(|optimum| optimum.tokens),
            loss: of(|optimum| optimum.loss),
        }
    }
}

fn too_few(observations: &[Observation]) -> Option<String> {
    let budgets = distinct(
        &observations
            .iter()
            .map(|run| run.budget)
            .collect::<Vec<_>>(),
    );
    let sizes = distinct(
        &observations
            .iter()
            .map(|run| run.params)
            .collect::<Vec<_>>(),
    );
    if observations.len() < MIN_RUNS {
        return Some(format!(
            "the surface has {PARAMETERS} parameters and takes {MIN_RUNS} runs; there are {}",
            observations.len()
        ));
    }
    if budgets < 2 {
        return Some("with one budget, tokens follow from the size, and their effects cannot be told apart; run another budget".into());
    }
    (sizes < 3).then(|| format!("the surface takes 3 sizes; there are {sizes}"))
}

fn residuals(observations: &[Observation], surface: &Surface) -> Vec<Residual> {
    let residual = |run: &Observation| {
        let predicted = surface.loss(run.params, run.tokens);
        Residual {
            name: run.name.clone(),
            budget: run.budget,
            params: run.params,
            loss: run.loss,
            predicted,
            log_residual: (run.loss / predicted).ln(),
        }
    };
    observations.iter().map(residual).collect()
}

/// Surfaces of resampled log losses, each found from the fitted one.
fn resample(
    runs: &Runs,
    residuals: &[Residual],
    surface: &Surface,
    bootstrap: &Bootstrap,
) -> Vec<Surface> {
    let freedom = residuals.len() - PARAMETERS;
    let shrunk = (residuals.len() as f64 / freedom as f64).sqrt();
    let noise = residuals
        .iter()
        .map(|residual| residual.log_residual * shrunk);
    let urn = Residuals::new(noise.collect(), freedom).smoothed();
    bootstrap.run(&urn, |mut noise| {
        let log_losses = residuals
            .iter()
            .map(|residual| residual.predicted.ln() + noise.draw());
        let end = runs
            .with_log_losses(log_losses)
            .descend(&surface.to_start());
        end.map_or(Surface::UNKNOWN, |end| end.surface)
    })
}

/// What makes the surface doubtful.
fn notes(surface: &Surface, observations: &[Observation]) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, exponent, of) in [("α", surface.alpha, "size"), ("β", surface.beta, "data")] {
        if exponent <= 0.0 {
            notes.push(format!("{name} is {exponent:.3}: by this fit, more {of} does not help; the surface has no optimum"));
        }
    }
    let lowest = observations
        .iter()
        .map(|run| run.loss)
        .fold(f64::MAX, f64::min);
    if surface.e < 0.01 * lowest {
        notes.push(
            "E is next to zero: the runs do not determine the loss that stays; do not extrapolate"
                .into(),
        );
    }
    notes
}
