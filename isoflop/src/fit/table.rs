//! A fit as tables for people.

use comfy_table::{CellAlignment, Table, presets};

use super::bootstrap::LEVEL;
use super::law::Law;
use super::number::{budget, count, digits, estimate, places};
use super::parametric::Parametric;
use super::predict::{BudgetPrediction, SizePrediction};
use super::profile::Profile;
use super::profiles::Profiles;
use super::{Fit, KindFit, Outcome};

/// Rows of cells under a header.
pub struct Rows {
    /// Names of the columns.
    pub header: Vec<&'static str>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// The whole fit, and predictions.
pub fn render(fit: &Fit, budgets: &[BudgetPrediction], sizes: &[SizePrediction]) -> String {
    let mut text = format!("{}\n", summary(fit));
    for left_out in &fit.observations.left_out {
        text += &format!("  left out: {}: {}\n", left_out.run.name, left_out.reason);
    }
    if !fit.observations.unused_columns.is_empty() {
        text += &format!(
            "  columns not used: {}\n",
            fit.observations.unused_columns.join(", ")
        );
    }
    text += &format!(
        "\nIsoFLOP profiles: a parabola in ln N for each budget\n{}\n",
        draw(&profiles(&fit.profiles))
    );
    for note in profile_notes(&fit.profiles) {
        text += &format!("  {note}\n");
    }
    text += "\nPower laws through the minima\n";
    for line in laws(&fit.profiles) {
        text += &format!("  {line}\n");
    }
    text += "\nParametric fit: L = E + A/N^α + B/D^β\n";
    text += &match &fit.parametric {
        Outcome::Fitted(surface) => {
            let notes: String = parametric_notes(surface)
                .iter()
                .map(|note| format!("  {note}\n"))
                .collect();
            format!("{}\n{notes}", draw(&parametric(surface)))
        }
        Outcome::Missing { missing } => format!("  none: {missing}\n"),
    };
    text += &format!("\nAgreement: {}\n", agreement(fit));
    if !fit.by_kind.is_empty() {
        text += &format!("\nBy kind of token\n{}\n", draw(&kinds(&fit.by_kind)));
    }
    if !budgets.is_empty() || !sizes.is_empty() {
        text += &format!("\nPredictions\n{}\n", draw(&predictions(budgets, sizes)));
    }
    text
}

fn draw(rows: &Rows) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_header(&rows.header);
    for row in &rows.rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What was fitted, and how intervals were made.
pub fn summary(fit: &Fit) -> String {
    format!(
        "{}: {} runs with a loss, budgets in {}; {:.0} % intervals from {} resamples, seed {}",
        fit.observations.source.display(),
        fit.observations.runs.len(),
        fit.observations.budget_unit(),
        100.0 * LEVEL,
        fit.bootstrap.resamples,
        fit.bootstrap.seed,
    )
}

/// A row for each budget.
pub fn profiles(profiles: &Profiles) -> Rows {
    let row = |profile: &Profile| {
        let mut row = vec![budget(profile.budget), profile.runs.to_string()];
        row.extend(match &profile.minimum {
            Some(minimum) => [
                estimate(&minimum.params, count),
                estimate(&minimum.tokens, count),
                digits(minimum.tokens.value / minimum.params.value),
                estimate(&minimum.loss, places),
            ],
            None => ["–"; 4].map(String::from),
        });
        row
    };
    Rows {
        header: vec!["budget", "runs", "N*", "D*", "D*/N*", "loss"],
        rows: profiles.budgets.iter().map(row).collect(),
    }
}

/// What to know before one uses the minima.
pub fn profile_notes(profiles: &Profiles) -> Vec<String> {
    let note = |profile: &Profile| {
        Some(format!(
            "budget {}: {}",
            budget(profile.budget),
            profile.note.as_ref()?
        ))
    };
    let mut notes: Vec<String> = profiles.budgets.iter().filter_map(note).collect();
    for profile in &profiles.budgets {
        if profile
            .minimum
            .is_some_and(|minimum| minimum.params.interval.is_none())
            && profile.downward_share > 0.0
        {
            notes.push(format!(
                "budget {}: {:.0} % of resamples open downward, so noise leaves its minimum undetermined; more sizes or seeds",
                budget(profile.budget),
                100.0 * profile.downward_share
            ));
        }
    }
    notes.push(match profiles.degrees_of_freedom {
        0 => "no interval: no budget has more than the three runs that a parabola takes".into(),
        freedom => format!(
            "losses deviate by {} nats a token from their parabolas ({freedom} degrees of freedom)",
            digits(profiles.noise)
        ),
    });
    notes
}

/// The power laws, a line each.
pub fn laws(profiles: &Profiles) -> Vec<String> {
    let line = |name: &str, law: &Law| {
        format!(
            "{name}(C) = {} · C^{}, over {} budgets, which miss it by a factor of {} at most",
            budget(law.coefficient),
            estimate(&law.exponent, places),
            law.budgets,
            digits(law.largest_miss)
        )
    };
    match (&profiles.params_law, &profiles.tokens_law) {
        (Outcome::Fitted(params), Outcome::Fitted(tokens)) => {
            vec![line("N*", params), line("D*", tokens)]
        }
        (Outcome::Missing { missing }, _) | (_, Outcome::Missing { missing }) => {
            vec![format!("none: {missing}")]
        }
    }
}

/// Parameters and exponents of the surface.
pub fn parametric(surface: &Parametric) -> Rows {
    let row = |name: &str, value: &super::bootstrap::Estimate, show: fn(f64) -> String| {
        vec![
            name.to_owned(),
            show(value.value),
            super::number::interval(value, show),
        ]
    };
    Rows {
        header: vec!["", "value", "95 % interval"],
        rows: vec![
            row("E (nats a token)", &surface.e, places),
            row("A", &surface.a, digits),
            row("B", &surface.b, digits),
            row("α", &surface.alpha, places),
            row("β", &surface.beta, places),
            row("N* ∝ C^, β/(α+κβ)", &surface.params_exponent, places),
            row("D* ∝ C^, α/(α+κβ)", &surface.tokens_exponent, places),
            row("β/(α+β)", &surface.textbook_params_exponent, places),
            row("α/(α+β)", &surface.textbook_tokens_exponent, places),
        ],
    }
}

/// How well the surface fits, and what makes it doubtful.
pub fn parametric_notes(surface: &Parametric) -> Vec<String> {
    let cost = &surface.token_cost;
    let mut notes = vec![
        format!(
            "log losses deviate by {} (root mean square); sum of Huber losses {:.6e}; {} of {} starts ended there",
            digits(surface.log_loss_error),
            surface.objective,
            surface.starts_at_optimum,
            surface.starts
        ),
        format!(
            "a token costs {} · N^{:.3} FLOPs (κ = {:.3}), which runs miss by a factor of {} at most",
            digits(cost.coefficient),
            cost.exponent,
            cost.exponent,
            digits(cost.largest_miss)
        ),
    ];
    notes.extend(surface.notes.iter().cloned());
    notes
}

/// Whether both fits say the same.
pub fn agreement(fit: &Fit) -> String {
    match &fit.agreement {
        Outcome::Fitted(agreement) => agreement.summary.clone(),
        Outcome::Missing { missing } => format!("not known: {missing}"),
    }
}

/// A row for each kind of token.
pub fn kinds(kinds: &[KindFit]) -> Rows {
    let exponent = |law: &Outcome<Law>| {
        law.fitted()
            .map_or("–".into(), |law| estimate(&law.exponent, places))
    };
    let row = |kind: &KindFit| {
        let profiles = &kind.profiles;
        let minima = || {
            profiles
                .budgets
                .iter()
                .filter(|profile| profile.shape.is_measured())
        };
        let loss = |profile: Option<&Profile>| {
            let minimum = profile.and_then(|profile| Some((profile.budget, profile.minimum?.loss)));
            minimum.map_or("–".into(), |(at, loss)| {
                format!("{} ({})", estimate(&loss, places), budget(at))
            })
        };
        vec![
            kind.kind.clone(),
            format!("{} of {}", minima().count(), profiles.budgets.len()),
            loss(minima().next()),
            loss(minima().next_back()),
            exponent(&profiles.params_law),
            exponent(&profiles.tokens_law),
        ]
    };
    Rows {
        header: vec![
            "kind",
            "minima",
            "first minimum (budget)",
            "last minimum (budget)",
            "N* ∝ C^",
            "D* ∝ C^",
        ],
        rows: kinds.iter().map(row).collect(),
    }
}

/// A row for each prediction and approach.
pub fn predictions(budgets: &[BudgetPrediction], sizes: &[SizePrediction]) -> Rows {
    let asked = |what: String, extrapolation: f64| match extrapolation > 1.0 {
        true => format!("{what}, {}× outside", digits(extrapolation)),
        false => what,
    };
    let mut rows = Vec::new();
    for prediction in budgets {
        let asked = asked(
            format!("C = {}", budget(prediction.budget)),
            prediction.extrapolation,
        );
        let laws = prediction
            .laws
            .map(|laws| [estimate(&laws.params, count), estimate(&laws.tokens, count)]);
        rows.push(row(
            &asked,
            "laws",
            laws.map(|[n, d]| [budget(prediction.budget), n, d, "–".into()]),
        ));
        let surface = prediction.parametric.map(|best| {
            let [n, d] = [best.params, best.tokens].map(|value| estimate(&value, count));
            [
                budget(prediction.budget),
                n,
                d,
                estimate(&best.loss, places),
            ]
        });
        rows.push(row(&asked, "parametric", surface));
    }
    for prediction in sizes {
        let asked = asked(
            format!("N = {}", count(prediction.params)),
            prediction.extrapolation,
        );
        let size = || count(prediction.params);
        let laws = prediction.laws.map(|laws| {
            [
                estimate(&laws.budget, budget),
                estimate(&laws.tokens, count),
            ]
        });
        rows.push(row(
            &asked,
            "laws",
            laws.map(|[c, d]| [c, size(), d, "–".into()]),
        ));
        let surface = prediction.parametric.map(|best| {
            let [c, d] = [
                estimate(&best.budget, budget),
                estimate(&best.tokens, count),
            ];
            [c, size(), d, estimate(&best.loss, places)]
        });
        rows.push(row(&asked, "parametric", surface));
    }
    Rows {
        header: vec!["for", "by", "C", "N*", "D*", "loss"],
        rows,
    }
}

fn row(asked: &str, by: &str, cells: Option<[String; 4]>) -> Vec<String> {
    let cells = cells.unwrap_or_else(|| ["–"; 4].map(String::from));
    [asked.to_owned(), by.to_owned()]
        .into_iter()
        .chain(cells)
        .collect()
}
