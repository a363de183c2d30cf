//! Why a study's runs cannot be read.

use std::path::PathBuf;

use pretrain::metrics::MetricsError;

/// A table or a study's folder that cannot be read as runs.
#[derive(Debug, thiserror::Error)]
pub enum ObservationError {
    /// The table is missing, unreadable or no CSV.
    #[error("cannot read {path}: {source}; give a study's folder or a CSV table of runs")]
    Csv {
        /// The table.
        path: PathBuf,
        /// What is wrong with it.
        source: csv::Error,
    },
    /// The table has no rows.
    #[error(
        "{path} has no runs; it needs a header with budget, params, tokens and loss, and then a line a run"
    )]
    Empty {
        /// The table or folder.
        path: PathBuf,
    },
    /// A column that every table must have.
    #[error(
        "{path}, line 1: no column `{column}` among {found}; a table of runs needs budget, params, tokens and loss"
    )]
    MissingColumn {
        /// The table.
        path: PathBuf,
        /// What is missing.
        column: &'static str,
        /// The columns there are.
        found: String,
    },
    /// The same column twice.
    #[error("{path}, line 1: column `{column}` is there twice; remove or rename one")]
    DuplicateColumn {
        /// The table.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// A cell that is not the number it should be.
    #[error(
        "{path}, line {line}: {column} is `{cell}`, and should be {expected}; correct the cell or remove the line"
    )]
    Cell {
        /// The table.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Column of the cell.
        column: String,
        /// What it holds.
        cell: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// A run that is there twice.
    #[error(
        "{path}, line {line}: {run} is already on line {first}; remove one of them, or give runs of other seeds other names"
    )]
    Duplicate {
        /// The table.
        path: PathBuf,
        /// Line of the second, from 1.
        line: u64,
        /// Line of the first, from 1.
        first: u64,
        /// What is there twice.
        run: String,
    },
    /// A study's index cannot be read.
    #[error(transparent)]
    Index(#[from] crate::Error),
    /// The metrics of a run cannot be read.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}
