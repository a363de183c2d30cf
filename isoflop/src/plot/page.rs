//! A page with all figures and tables, in one file.

use std::fmt::Write;

use super::figures::Figure;
use crate::fit::table::{self, Rows};
use crate::fit::{Fit, Outcome};

const STYLE: &str = include_str!("page.css");

/// The page.
pub fn render(fit: &Fit, figures: &[Figure]) -> String {
    let mut body = format!(
        "<h1>IsoFLOP study</h1>\n<p>{}</p>\n",
        escape(&table::summary(fit))
    );
    let left_out = fit.observations.left_out.iter();
    body += &list(
        left_out.map(|left_out| format!("left out: {}: {}", left_out.run.name, left_out.reason)),
    );
    body += &format!(
        "<p><strong>Agreement:</strong> {}.</p>\n",
        escape(&table::agreement(fit))
    );
    for figure in figures {
        let _ = write!(
            body,
            "<figure id=\"{}\">\n<h2>{}</h2>\n{}<figcaption>{}</figcaption>\n</figure>\n",
            figure.name,
            figure.title,
            figure.svg,
            escape(&figure.caption)
        );
    }
    body += &section(
        "IsoFLOP profiles",
        Some(table::profiles(&fit.profiles)),
        table::profile_notes(&fit.profiles),
    );
    body += &section("Power laws", None, table::laws(&fit.profiles));
    body += &match &fit.parametric {
        Outcome::Fitted(surface) => section(
            "Parametric fit: L = E + A/N^α + B/D^β",
            Some(table::parametric(surface)),
            table::parametric_notes(surface),
        ),
        Outcome::Missing { missing } => {
            section("Parametric fit", None, vec![format!("none: {missing}")])
        }
    };
    if !fit.by_kind.is_empty() {
        body += &section(
            "By kind of token",
            Some(table::kinds(&fit.by_kind)),
            Vec::new(),
        );
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>IsoFLOP study</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

fn section(title: &str, rows: Option<Rows>, notes: Vec<String>) -> String {
    let table = rows.map_or(String::new(), |rows| table(&rows));
    format!(
        "<h2>{}</h2>\n{table}{}",
        escape(title),
        list(notes.into_iter())
    )
}

fn table(rows: &Rows) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = cells("th", &mut rows.header.iter().copied());
    let body: String = rows
        .rows
        .iter()
        .map(|row| cells("td", &mut row.iter().map(String::as_str)))
        .collect();
    format!(
        "<div class=\"wide\"><table>\n<thead>{head}</thead>\n<tbody>\n{body}</tbody>\n</table></div>\n"
    )
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: String = items
        .map(|item| format!("<li>{}</li>\n", escape(&item)))
        .collect();
    match items.is_empty() {
        true => items,
        false => format!("<ul>\n{items}</ul>\n"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(
            list(["<b> & c".to_owned()].into_iter()),
            "<ul>\n<li>&lt;b&gt; &amp; c</li>\n</ul>\n"
        );
        let rows = Rows {
            header: vec!["a"],
            rows: vec![vec!["<i>".into()]],
        };
        assert!(table(&rows).contains("<td>&lt;i&gt;</td>"));
    }
}
