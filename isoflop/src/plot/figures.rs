//! The figures of a fit.

use super::PlotError;
use super::axis::{Axis, Notation};
use super::canvas::{
    self, Anchor, BLACK, COLUMN, Canvas, GREY, PAGE, Place, TEXT, VERMILION, raised,
};
use super::panel::{Labels, Panel};
use super::style::Legend;
use crate::fit::Fit;
use crate::fit::bootstrap::{Estimate, Interval};
use crate::fit::law::Law;
use crate::fit::number::places;
use crate::fit::profile::Profile;
use crate::fit::profiles::Profiles;
use crate::observation::Observation;

/// Room for the values and the label of an axis, and at the other sides, in points.
const LEFT: f64 = 44.0;
const BELOW: f64 = 28.0;
const ABOVE: f64 = 6.0;
const RIGHT: f64 = 8.0;
/// Points of a curve.
const POINTS: usize = 80;

/// A drawn figure.
pub struct Figure {
    /// Name of its files.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// How to read it.
    pub caption: String,
    /// The drawing.
    pub svg: String,
}

/// All figures that the fit suffices for.
pub fn all(fit: &Fit) -> Result<Vec<Figure>, PlotError> {
    let mut figures = vec![curves(fit)?];
    if fit.profiles.params_law.fitted().is_some() {
        figures.push(laws(fit)?);
    }
    if fit.parametric.fitted().is_some() {
        figures.push(residuals(fit)?);
    }
    if !fit.by_kind.is_empty() {
        figures.push(kinds(fit)?);
    }
    Ok(figures)
}

fn curves(fit: &Fit) -> Result<Figure, PlotError> {
    let legend = Legend::new(fit);
    let width = COLUMN - LEFT - RIGHT;
    let top = ABOVE + legend.height(width);
    let size = (COLUMN, top + 140.0 + BELOW);
    let svg = canvas::draw(size, |canvas| {
        legend.draw(canvas, (LEFT, ABOVE - 3.0), width, true)?;
        let frame = ((LEFT, top), (COLUMN - RIGHT, size.1 - BELOW));
        let axes = Axes::of(&fit.observations.runs, &fit.profiles, |run| Some(run.loss));
        let labels = Labels {
            x_notation: Notation::Units,
            x: true,
            y: true,
        };
        let panel = Panel::new(
            canvas,
            frame,
            axes.named("Validation loss (nats per token)"),
            labels,
        )?;
        profiles(
            &panel,
            &legend,
            &fit.observations.runs,
            &fit.profiles,
            |run| Some(run.loss),
        )
    })?;
    Ok(Figure {
        name: "isoflop-curves",
        title: "IsoFLOP curves",
        caption: "Final validation loss of each run against its size, with a parabola in ln N for each budget. Crosses: minima \
                  that lie among the sizes, with their intervals."
            .into(),
        svg,
    })
}

/// Values that a panel of profiles must show.
struct Axes {
    sizes: Vec<f64>,
    losses: Vec<f64>,
}

impl Axes {
    fn of(
        runs: &[Observation],
        profiles: &Profiles,
        loss: impl Fn(&Observation) -> Option<f64>,
    ) -> Self {
        let minima = profiles
            .budgets
            .iter()
            .filter(|profile| profile.shape.is_measured());
        let minima = minima.filter_map(|profile| Some(profile.minimum?.loss.value));
        Self {
            sizes: runs.iter().map(|run| run.params).collect(),
            losses: runs.iter().filter_map(loss).chain(minima).collect(),
        }
    }

    fn named(&self, y: &str) -> [Axis; 2] {
        [
            Axis::logarithmic("Parameters N", self.sizes.iter().copied()),
            Axis::linear(y, self.losses.iter().copied()),
        ]
    }
}

/// Runs, parabolas and minima.
fn profiles(
    panel: &Panel,
    legend: &Legend,
    runs: &[Observation],
    profiles: &Profiles,
    loss: impl Fn(&Observation) -> Option<f64>,
) -> Result<(), PlotError> {
    for profile in &profiles.budgets {
        let marker = legend.marker(profile.budget);
        let of_budget = || runs.iter().filter(|run| run.budget == profile.budget);
        let points: Vec<_> = of_budget()
            .filter_map(|run| Some((run.params, loss(run)?)))
            .collect();
        if let (Some(parabola), Some(first), Some(last)) =
            (profile.parabola, points.first(), points.last())
        {
            let curve: Vec<_> = between(first.0, last.0)
                .map(|size| (size, parabola.at(size.ln())))
                .collect();
            panel.curve(&curve, marker.colour)?;
        }
        for point in points {
            panel.marker(&marker, point)?;
        }
    }
    // above all points
    for minimum in profiles
        .budgets
        .iter()
        .filter(|profile| profile.shape.is_measured())
    {
        if let Some(minimum) = minimum.minimum {
            if let Some(interval) = minimum.params.interval {
                panel.bar_x(interval, minimum.loss.value)?;
            }
            panel.cross((minimum.params.value, minimum.loss.value))?;
        }
    }
    Ok(())
}

/// Evenly spaced factors from one value to another.
fn between(low: f64, high: f64) -> impl Iterator<Item = f64> {
    let ratio = high / low;
    (0..=POINTS).map(move |i| low * ratio.powf(i as f64 / POINTS as f64))
}

fn laws(fit: &Fit) -> Result<Figure, PlotError> {
    let size = (PAGE, 172.0);
    let width = 0.5 * PAGE - LEFT - RIGHT;
    let svg = canvas::draw(size, |canvas| {
        let legend = Legend::new(fit);
        for (number, quantity) in [Quantity::Params, Quantity::Tokens].into_iter().enumerate() {
            let left = LEFT + number as f64 * 0.5 * PAGE;
            let frame = ((left, ABOVE), (left + width, size.1 - BELOW));
            law(canvas, frame, &legend, fit, quantity)?;
        }
        Ok(())
    })?;
    Ok(Figure {
        name: "power-laws",
        title: "Compute-optimal size and length",
        caption: "Minima of the IsoFLOP curves against the budget, with power laws through them and 95 % intervals; markers are \
                  those of the curves. Dashed: the optimum of the parametric fit."
            .into(),
        svg,
    })
}

/// One of the two things that a budget decides.
#[derive(Clone, Copy, PartialEq)]
enum Quantity {
    Params,
    Tokens,
}

impl Quantity {
    fn label(self) -> &'static str {
        match self {
            Self::Params => "Optimal parameters N*",
            Self::Tokens => "Optimal training tokens D*",
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Self::Params => "N*",
            Self::Tokens => "D*",
        }
    }

    fn law(self, profiles: &Profiles) -> Option<&Law> {
        match self {
            Self::Params => profiles.params_law.fitted(),
            Self::Tokens => profiles.tokens_law.fitted(),
        }
    }

    fn minimum(self, profile: &Profile) -> Option<Estimate> {
        let minimum = profile.minimum.filter(|_| profile.shape.is_measured())?;
        Some(match self {
            Self::Params => minimum.params,
            Self::Tokens => minimum.tokens,
        })
    }
}

/// One power law and what the surface says in its place.
fn law(
    canvas: &Canvas,
    frame: (Place, Place),
    legend: &Legend,
    fit: &Fit,
    quantity: Quantity,
) -> Result<(), PlotError> {
    let Some(law) = quantity.law(&fit.profiles) else {
        return Ok(());
    };
    let minima: Vec<_> = fit
        .profiles
        .budgets
        .iter()
        .filter_map(|p| Some((p.budget, quantity.minimum(p)?)))
        .collect();
    let (first, last) = (minima[0].0, minima[minima.len() - 1].0);
    // half a decade on either side shows how intervals widen
    let budgets: Vec<f64> = between(first / 3.0, last * 3.0).collect();
    let surface: Option<Vec<_>> = fit.parametric.fitted().map(|parametric| {
        let optimum = |budget: &f64| {
            let optimum = parametric
                .surface()
                .optimum(*budget, &parametric.token_cost);
            (
                *budget,
                if quantity == Quantity::Params {
                    optimum.params
                } else {
                    optimum.tokens
                },
            )
        };
        budgets
            .iter()
            .map(optimum)
            .filter(|(_, value)| value.is_finite())
            .collect()
    });
    let band: Vec<(f64, Interval)> = budgets
        .iter()
        .filter_map(|budget| Some((*budget, law.at(*budget).interval?)))
        .collect();
    let line: Vec<_> = budgets
        .iter()
        .map(|budget| (*budget, law.at(*budget).value))
        .collect();
    let values = line
        .iter()
        .chain(surface.iter().flatten())
        .map(|(_, value)| *value);
    let ends = band
        .iter()
        .flat_map(|(_, interval)| [interval.low, interval.high]);
    let axes = [
        Axis::logarithmic(
            format!("Budget C ({})", fit.observations.budget_unit()),
            budgets.iter().copied(),
        ),
        Axis::logarithmic(quantity.label(), values.chain(ends)),
    ];
    let labels = Labels {
        x_notation: Notation::Powers,
        x: true,
        y: true,
    };
    let panel = Panel::new(canvas, frame, axes, labels)?;
    panel.band(&band, GREY)?;
    panel.curve(&line, BLACK)?;
    if let Some(surface) = &surface {
        panel.dashed(surface, VERMILION)?;
    }
    for (budget, minimum) in &minima {
        let marker = legend.marker(*budget);
        if let Some(interval) = minimum.interval {
            panel.bar_y(*budget, interval, marker.colour)?;
        }
        panel.marker(&marker, (*budget, minimum.value))?;
    }
    let exponents = fit.parametric.fitted().map(|parametric| match quantity {
        Quantity::Params => parametric.params_exponent.value,
        Quantity::Tokens => parametric.tokens_exponent.value,
    });
    key(
        canvas,
        frame.0,
        quantity.symbol(),
        law.exponent.value,
        exponents,
    )
}

/// The exponents of the law and of the surface, with the lines that show them.
fn key(
    canvas: &Canvas,
    (left, top): Place,
    symbol: &str,
    law: f64,
    surface: Option<f64>,
) -> Result<(), PlotError> {
    const SAMPLE: f64 = 16.0;
    const ACROSS: f64 = 64.0;
    let lines = [("power law", Some(law)), ("parametric", surface)];
    for (number, (name, exponent)) in lines.into_iter().enumerate() {
        let Some(exponent) = exponent else { continue };
        let at = (left + 8.0, top + 6.0 + 11.0 * number as f64);
        let sample = [at, (at.0 + SAMPLE, at.1)];
        match number {
            0 => canvas.line(&sample, BLACK, 1.0)?,
            _ => canvas.dashes(&sample, VERMILION, 1.0)?,
        }
        canvas.text(name, (at.0 + SAMPLE + 5.0, at.1), Anchor::Left)?;
        let text = raised(&format!("{symbol} ~ C"), &places(exponent));
        canvas.text(&text, (at.0 + ACROSS, at.1), Anchor::Left)?;
    }
    Ok(())
}

fn residuals(fit: &Fit) -> Result<Figure, PlotError> {
    let legend = Legend::new(fit);
    let width = COLUMN - LEFT - RIGHT;
    let top = ABOVE + legend.height(width);
    let size = (COLUMN, top + 110.0 + BELOW);
    let residuals = fit
        .parametric
        .fitted()
        .map_or(&[][..], |parametric| &parametric.residuals);
    let percent: Vec<f64> = residuals
        .iter()
        .map(|residual| 100.0 * residual.log_residual)
        .collect();
    let svg = canvas::draw(size, |canvas| {
        legend.draw(canvas, (LEFT, ABOVE - 3.0), width, false)?;
        let frame = ((LEFT, top), (COLUMN - RIGHT, size.1 - BELOW));
        let axes = [
            Axis::logarithmic(
                "Parameters N",
                residuals.iter().map(|residual| residual.params),
            ),
            Axis::linear("Loss above fit (%)", percent.iter().copied().chain([0.0])),
        ];
        let labels = Labels {
            x_notation: Notation::Units,
            x: true,
            y: true,
        };
        let panel = Panel::new(canvas, frame, axes, labels)?;
        panel.level(0.0)?;
        for (residual, percent) in residuals.iter().zip(&percent) {
            panel.marker(&legend.marker(residual.budget), (residual.params, *percent))?;
        }
        Ok(())
    })?;
    Ok(Figure {
        name: "residuals",
        title: "Residuals of the parametric fit",
        caption: "100 · ln of the measured loss over that of L = E + A/N^α + B/D^β. A pattern over sizes or budgets is what the \
                  formula does not describe."
            .into(),
        svg,
    })
}

fn kinds(fit: &Fit) -> Result<Figure, PlotError> {
    const COLUMNS: usize = 3;
    const HEIGHT: f64 = 92.0;
    const TITLE: f64 = 13.0;
    let legend = Legend::new(fit);
    let top = ABOVE + legend.height(PAGE - LEFT - RIGHT);
    let rows = fit.by_kind.len().div_ceil(COLUMNS);
    let size = (
        PAGE,
        top + (HEIGHT + TITLE + 12.0) * rows as f64 + BELOW - 8.0,
    );
    let cell = (PAGE - 10.0) / COLUMNS as f64;
    let svg = canvas::draw(size, |canvas| {
        legend.draw(canvas, (LEFT, ABOVE - 3.0), PAGE - LEFT - RIGHT, true)?;
        for (number, kind) in fit.by_kind.iter().enumerate() {
            let (row, column) = (number / COLUMNS, number % COLUMNS);
            let left = LEFT + cell * column as f64;
            let above = top + (HEIGHT + TITLE + 12.0) * row as f64 + TITLE;
            let frame = ((left, above), (left + cell - LEFT, above + HEIGHT));
            let loss = |run: &Observation| run.by_kind[number];
            let runs = &fit.observations.runs;
            let labels = Labels {
                x_notation: Notation::Units,
                x: number + COLUMNS >= fit.by_kind.len(),
                y: column == 0,
            };
            let axes = Axes::of(runs, &kind.profiles, loss).named("Loss (nats per token)");
            let panel = Panel::new(canvas, frame, axes, labels)?;
            canvas.text(&kind.kind, (left + 4.0, above - 0.7 * TEXT), Anchor::Left)?;
            profiles(&panel, &legend, runs, &kind.profiles, loss)?;
        }
        Ok(())
    })?;
    Ok(Figure {
        name: "kinds",
        title: "Loss by kind of token",
        caption: "The same curves for each kind of token, each on its own scale of loss. The sizes that are best for one kind need \
                  not be so for another, and the loss of all tokens is dominated by the kinds there are most of."
            .into(),
        svg,
    })
}
