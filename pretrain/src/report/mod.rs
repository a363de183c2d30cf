//! `report.html`: a run at a glance, in one file that opens anywhere.
//!
//! The page carries its style and its figures (inline SVG), asks nothing of the network, runs no script, and is
//! laid out for a phone, a desktop, paper, and dark mode. `history` gathers the records, `figures` says what is
//! plotted, `chart` draws it, `tables` and `page` write the HTML.

mod chart;
mod compare;
mod figures;
pub(crate) mod format;
mod glossary;
mod history;
mod page;
mod palette;
mod series;
mod shares;
mod tables;

pub use compare::{Compared, Comparison};

use crate::metrics::{MetricsError, Record};
use history::History;
use std::path::{Path, PathBuf};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The metrics are unreadable.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The metrics are readable, but there is nothing to report on.
    #[error(
        "{path} has no {missing} record: the run has not got that far; write the report after its first step"
    )]
    Incomplete {
        /// The metrics file.
        path: PathBuf,
        /// The kind of record that is missing, `run` or `train`.
        missing: &'static str,
    },
    /// The run's configuration is missing or unreadable.
    #[error(
        "cannot read {path}: {source}; a run directory holds the resolved plan of its run in this file"
    )]
    Config {
        /// The configuration file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Runs that cannot be compared.
    #[error("cannot compare: {0}")]
    Compare(String),
    /// A figure could not be drawn.
    #[error("cannot draw the figure “{title}”: {message}")]
    Figure {
        /// The figure's title.
        title: String,
        /// What the plotting library said.
        message: String,
    },
    /// The page could not be written.
    #[error("cannot write {path}: {source}; check free space and permissions")]
    Write {
        /// The page.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Writes `report.html` into a run directory from its `metrics.jsonl` and `config.toml`, and returns its path.
///
/// The run may still be going on: the report then shows how far it has got.
pub fn write_report(run_dir: &Path) -> Result<PathBuf, ReportError> {
    let history = read(run_dir)?;
    let config_path = run_dir.join("config.toml");
    let config = std::fs::read_to_string(&config_path).map_err(|source| ReportError::Config {
        path: config_path,
        source,
    })?;
    let html = page::render(&history, &config)?;
    let path = run_dir.join("report.html");
    write(&path, &html)?;
    Ok(path)
}

fn write(path: &Path, html: &str) -> Result<(), ReportError> {
    shards::write_atomic(path, html.as_bytes()).map_err(|source| ReportError::Write {
        path: path.into(),
        source,
    })
}

/// What a run recorded.
fn read(run_dir: &Path) -> Result<History, ReportError> {
    let path = run_dir.join("metrics.jsonl");
    let records = Record::read_all(&path)?;
    History::new(records).map_err(|missing| ReportError::Incomplete { path, missing })
}

#[cfg(test)]
pub(crate) mod tests;
