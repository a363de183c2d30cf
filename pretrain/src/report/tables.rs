//! The tables of the page: what the run was fed, and where it ended.

use super::format::{count, escape, loss, percent, si, signed};
use super::history::History;
use super::palette::{css, kind_colour, part_colour};
use crate::metrics::ComponentRecord;

/// A column: its head, and whether it holds text rather than numbers.
pub type Column<'a> = (&'a str, bool);

/// Final validation losses by kind beside the unigram baseline; none before the first validation.
pub fn final_losses(history: &History) -> Option<String> {
    const COLUMNS: [Column; 5] = [
        ("tokens", true),
        ("model", false),
        ("unigram", false),
        ("difference", false),
        ("perplexity", false),
    ];
    let validation = history.final_validation()?;
    let unigram = &history.run.unigram;
    let mut rows = Vec::new();
    for kind in history.kinds() {
        let name = format!("{}{}", swatch(&css(kind_colour(kind)), ""), escape(kind));
        rows.push(loss_row(
            name,
            validation.by_kind.get(kind),
            unigram.by_kind.get(kind),
        ));
    }
    let total = loss_row("all".to_string(), Some(validation.loss), Some(unigram.loss));
    Some(table("losses", &COLUMNS, &rows, &total))
}

/// Final validation and training losses by component; none where there is only one.
pub fn losses_by_component(history: &History) -> Option<String> {
    const COLUMNS: [Column; 5] = [
        ("component", true),
        ("validation", false),
        ("training", false),
        ("difference", false),
        ("perplexity", false),
    ];
    let validation = history.final_validation()?;
    let components = history.validated_components();
    let row = |(index, &component): (usize, &&str)| {
        let name = swatch(&css(part_colour(index)), "") + &escape(component);
        let training = history.final_loss_of(component);
        loss_row(name, validation.by_component.get(component), training)
    };
    let rows: Vec<Vec<String>> = components.iter().enumerate().map(row).collect();
    let total = loss_row(
        "all".to_string(),
        Some(validation.loss),
        history.final_loss(),
    );
    (rows.len() > 1).then(|| table("losses", &COLUMNS, &rows, &total))
}

fn loss_row(name: String, model: Option<f64>, other: Option<f64>) -> Vec<String> {
    let difference = model
        .zip(other)
        .map_or(f64::NAN, |(model, other)| model - other);
    let perplexity = match model.map(f64::exp) {
        Some(value) if (100.0..1e15).contains(&value) => count(value.round() as u64),
        Some(value) if value.is_finite() => format!("{value:.2}"),
        _ => "—".to_string(),
    };
    vec![
        name,
        loss(model),
        loss(other),
        signed(difference),
        perplexity,
    ]
}

/// What each component of the mixture holds.
pub fn data(components: &[ComponentRecord]) -> String {
    const COLUMNS: [Column; 5] = [
        ("source and view", true),
        ("documents", false),
        ("tokens", false),
        ("sequences", false),
        ("held out", false),
    ];
    let rows: Vec<Vec<String>> = components.iter().map(component_row).collect();
    let sum = |value: fn(&ComponentRecord) -> u64| components.iter().map(value).sum();
    let total = component_row(&ComponentRecord {
        source: "all".to_string(),
        view: String::new(),
        documents: sum(|component| component.documents),
        tokens: sum(|component| component.tokens),
        sequences: sum(|component| component.sequences),
        validation_documents: sum(|component| component.validation_documents),
        validation_tokens: sum(|component| component.validation_tokens),
    });
    table("data", &COLUMNS, &rows, &total)
}

fn component_row(component: &ComponentRecord) -> Vec<String> {
    let all_tokens = component.tokens + component.validation_tokens;
    let (source, view) = (escape(&component.source), escape(&component.view));
    vec![
        format!("{source} <span class=\"view\">{view}</span>"),
        si(component.documents as f64),
        si(component.tokens as f64),
        si(component.sequences as f64),
        percent(component.validation_tokens, all_tokens),
    ]
}

/// A small patch of colour; `class` may be `dashed` or `faint`.
pub fn swatch(colour: &str, class: &str) -> String {
    format!("<i class=\"swatch {class}\" style=\"--colour:{colour}\"></i>")
}

/// Cells are HTML already.
pub fn table(
    class_name: &str,
    columns: &[Column],
    rows: &[Vec<String>],
    total: &[String],
) -> String {
    let row = |cells: &[String]| {
        let cells = cells.iter().zip(columns);
        let cells: String = cells
            .map(|(cell, column)| format!("<td{}>{cell}</td>", class(*column)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let heads: String = columns
        .iter()
        .map(|column| format!("<th scope=\"col\"{}>{}</th>", class(*column), column.0))
        .collect();
    let body: String = rows.iter().map(|cells| row(cells)).collect();
    format!(
        "<div class=\"scroll\"><table class=\"{class_name}\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n<tfoot>{}</tfoot>\n</table></div>\n",
        row(total)
    )
}

fn class((_, is_text): Column) -> &'static str {
    if is_text { " class=\"text\"" } else { "" }
}
