//! The HTML page around figures and tables.

use super::ReportError;
use super::chart::{Line, Style};
use super::figures::{self, Figure};
use super::format::{count, duration, escape, loss, si, signed};
use super::glossary::GLOSSARY;
use super::history::History;
use super::palette::css;
use super::tables::{self, swatch};
use std::fmt::Write;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn render(history: &History, config: &str) -> Result<String, ReportError> {
    let name = escape(&history.run.name);
    let mut body = header(history, &name);
    body += &section("", &[&tiles(history)]);
    body += &section("", &[&figure_grid("large", figures::losses(history))?]);
    body += &match tables::final_losses(history) {
        Some(table) => section("Validation loss by token kind, at the end", &[&table]),
        None => section(
            "Validation",
            &["<p>This run has not been validated yet.</p>\n"],
        ),
    };
    if let Some(table) = tables::losses_by_component(history) {
        body += &section("Loss by component, at the end", &[&table, COMPONENTS_NOTE]);
    }
    let optimization = figure_grid("small", figures::optimization(history))?;
    body += &section("Optimization", &[&optimization, &skipped_note(history)]);
    body += &section("Speed", &[&figure_grid("small", figures::speed(history))?]);
    body += &section("Data", &[&tables::data(&history.run.components), DATA_NOTE]);
    let config = format!(
        "<details><summary>config.toml</summary><pre>{}</pre></details>\n",
        escape(config)
    );
    body += &section("Configuration", &[&config]);
    body += &section("Terms", &[&glossary()]);
    Ok(document(&format!("{name} · Timbre run"), &body))
}

/// A page of its own; `title` and `body` are HTML.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

const DATA_NOTE: &str = "<p class=\"note\">Documents, tokens and packed sequences of one epoch of training; \
    held out: share of the component's tokens that only validation sees.</p>\n";

const COMPONENTS_NOTE: &str = "<p class=\"note\">Training: mean over the last 50 records in which the component occurs. \
    Validation above training, and growing: the model learns documents by heart.</p>\n";

/// How many steps were left out, where any were.
fn skipped_note(history: &History) -> String {
    match history.last().skipped_steps {
        0 => String::new(),
        skipped => format!(
            "<p class=\"note\">{} of {} steps were left out for spikes of the loss or the gradient norm.</p>\n",
            count(skipped),
            count(history.last().step),
        ),
    }
}

/// A part of the page; without a title if that is empty.
pub fn section(title: &str, parts: &[&str]) -> String {
    let head = match title {
        "" => String::new(),
        _ => format!("<h2>{title}</h2>\n"),
    };
    format!("<section>\n{head}{}</section>\n", parts.concat())
}

fn header(history: &History, name: &str) -> String {
    let run = &history.run;
    let mut header = format!(
        "<header>\n<p class=\"eyebrow\">Timbre · training run</p>\n<h1>{name}</h1>\n\
         <p class=\"facts\">{} parameters · {} sequences of {} tokens a step</p>\n",
        si(run.parameters as f64),
        count(run.batch),
        count(run.seq_len),
    );
    let bad = history.not_finite();
    if bad > 0 {
        let _ = writeln!(
            header,
            "<p class=\"warning\">In {} of {} training records the loss or the gradient norm is not a finite number; \
             the figures leave them out.</p>",
            count(bad as u64),
            count(history.train.len() as u64),
        );
    }
    header + "</header>\n"
}

/// The headline numbers.
fn tiles(history: &History) -> String {
    let (run, last) = (&history.run, history.last());
    let validation = history.final_validation();
    let semantic = validation.and_then(|record| record.by_kind.get("semantic"));
    let steps_left = match run.steps.saturating_sub(last.step) {
        0 => "all planned steps".to_string(),
        _ => format!("of {} planned", count(run.steps)),
    };
    let all = loss_tile(
        "validation loss",
        validation.map(|record| record.loss),
        Some(run.unigram.loss),
    );
    let semantic = loss_tile(
        "semantic loss",
        semantic,
        run.unigram.by_kind.get("semantic"),
    );
    let rest = [
        tile("steps", &count(last.step), &steps_left),
        tile("tokens", &si(last.tokens as f64), "trained on"),
        tile("tokens / second", &si(history.tokens_per_sec()), "median"),
        tile(
            "wall time",
            &duration(history.wall_secs()),
            "with validation",
        ),
    ];
    format!(
        "<div class=\"tiles\">\n{all}{semantic}{}</div>\n",
        rest.concat()
    )
}

fn loss_tile(label: &str, model: Option<f64>, unigram: Option<f64>) -> String {
    let mut note = format!("unigram {}", loss(unigram));
    if let Some((model, unigram)) = model.zip(unigram) {
        let _ = write!(note, "<br>difference {}", signed(model - unigram));
    }
    tile(label, &loss(model), &note)
}

fn tile(label: &str, value: &str, note: &str) -> String {
    format!(
        "<div class=\"tile\"><span>{label}</span><strong>{value}</strong><small>{note}</small></div>\n"
    )
}

/// Figures side by side, with their legends.
pub fn figure_grid(class: &str, figures: Vec<Figure>) -> Result<String, ReportError> {
    let mut grid = format!("<div class=\"figures {class}\">\n");
    for Figure { chart, caption } in figures {
        let _ = writeln!(
            grid,
            "<figure>\n<h3>{}</h3>\n{}",
            escape(&chart.title),
            chart.draw()?.trim()
        );
        if chart.lines.len() > 1 {
            let entries: String = chart.lines.iter().map(legend_entry).collect();
            let _ = writeln!(grid, "<ul class=\"legend\">{entries}</ul>");
        }
        if !caption.is_empty() {
            let _ = writeln!(grid, "<figcaption>{caption}</figcaption>");
        }
        grid += "</figure>\n";
    }
    Ok(grid + "</div>\n")
}

fn legend_entry(line: &Line) -> String {
    let class = match line.style {
        Style::Solid | Style::Dotted => "",
        Style::Faint => "faint",
        Style::Dashed => "dashed",
        Style::Area => "area",
    };
    format!(
        "<li>{}{}</li>",
        swatch(&css(line.colour), class),
        escape(&line.name)
    )
}

fn glossary() -> String {
    let entries: String = GLOSSARY
        .iter()
        .map(|(term, meaning)| format!("<dt>{term}</dt><dd>{meaning}</dd>\n"))
        .collect();
    format!("<dl>\n{entries}</dl>\n")
}
