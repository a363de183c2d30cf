//! Scaling laws of a study, fitted in two ways, with intervals.
//!
//! [`profiles`] are approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556): parabolas for each budget, and power laws through
//! their minima. [`parametric`] is their approach 3: one surface through all runs. `docs/isoflop-fit.md` says what each number
//! means, and how intervals are made.

pub mod agreement;
pub mod bootstrap;
pub mod law;
pub mod number;
pub mod optimize;
pub mod parabola;
pub mod parametric;
pub mod predict;
pub mod profile;
pub mod profiles;
pub mod surface;
pub mod table;

use serde::Serialize;

use crate::observation::Observations;
use agreement::Agreement;
use bootstrap::Bootstrap;
use optimize::chinchilla_starts;
use parametric::Parametric;
use predict::{BudgetPrediction, SizePrediction};
use profile::Point;
use profiles::Profiles;

/// Something that is fitted if the runs suffice.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Outcome<T> {
    /// It is.
    Fitted(T),
    /// It is not.
    Missing {
        /// What the runs lack.
        missing: String,
    },
}

impl<T> Outcome<T> {
    /// What was fitted.
    pub fn fitted(&self) -> Option<&T> {
        match self {
            Self::Fitted(fitted) => Some(fitted),
            Self::Missing { .. } => None,
        }
    }
}

/// All that is fitted to a study.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// The runs.
    #[serde(flatten)]
    pub observations: Observations,
    /// How intervals were made.
    pub bootstrap: Bootstrap,
    /// Parabolas and power laws of the loss of all tokens.
    pub profiles: Profiles,
    /// The surface.
    pub parametric: Outcome<Parametric>,
    /// Whether both say the same.
    pub agreement: Outcome<Agreement>,
    /// Parabolas and power laws of the loss by kind of token.
    pub by_kind: Vec<KindFit>,
}

/// Profiles of one kind of token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KindFit {
    /// The kind, such as `text` or `acoustic-1`.
    pub kind: String,
    /// Parabolas and power laws of its loss.
    #[serde(flatten)]
    pub profiles: Profiles,
}

impl Fit {
    /// Fits a study. What its runs do not suffice for is said in the result.
    pub fn new(observations: Observations, bootstrap: Bootstrap) -> Self {
        let profiles = Profiles::fit(&points(&observations, None), &bootstrap);
        let parametric = Parametric::fit(&observations.runs, &chinchilla_starts(), &bootstrap);
        let kind = |(i, kind): (usize, &String)| KindFit {
            kind: kind.clone(),
            profiles: Profiles::fit(&points(&observations, Some(i)), &bootstrap),
        };
        let kinds = observations.kinds.iter().enumerate().map(kind).collect();
        Self {
            agreement: Agreement::of(&profiles, &parametric),
            observations,
            bootstrap,
            profiles,
            parametric,
            by_kind: kinds,
        }
    }

    /// The best size and length for a budget.
    pub fn predict_budget(&self, budget: f64) -> BudgetPrediction {
        BudgetPrediction::new(self, budget)
    }

    /// The budget and length for which a size is best.
    pub fn predict_size(&self, params: f64) -> SizePrediction {
        SizePrediction::new(self, params)
    }
}

/// Budgets and points of all runs that have the loss of a kind, or of all tokens.
fn points(observations: &Observations, kind: Option<usize>) -> Vec<(f64, Point)> {
    let runs = observations.runs.iter();
    let point = |run: &crate::observation::Observation| {
        let loss = match kind {
            Some(kind) => run.by_kind[kind]?,
            None => run.loss,
        };
        let (params, tokens) = (run.params, run.tokens);
        Some((
            run.budget,
            Point {
                params,
                tokens,
                loss,
            },
        ))
    };
    runs.filter_map(point).collect()
}
