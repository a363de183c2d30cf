//! Figures of a fit, made to be put in a paper: SVG, PNG, and a page with all of them.

mod axis;
mod canvas;
mod figures;
mod page;
mod panel;
mod png;
mod style;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fit::Fit;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// A folder or file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A figure could not be drawn.
    #[error("cannot draw a figure: {0}; please report this with the table of runs")]
    Drawing(String),
    /// There is nothing to draw.
    #[error("no run of {path} has a loss; `isoflop fit` names why")]
    NoRuns {
        /// The table or folder.
        path: PathBuf,
    },
}

impl PlotError {
    fn drawing(error: impl Display) -> Self {
        Self::Drawing(error.to_string())
    }
}

/// Writes `NAME.svg` and `NAME.png` of each figure and `index.html` with all of them into a folder; gives their paths.
///
/// # Errors
/// A study without a loss; I/O errors.
pub fn write(fit: &Fit, folder: &Path) -> Result<Vec<PathBuf>, PlotError> {
    if fit.observations.runs.is_empty() {
        return Err(PlotError::NoRuns {
            path: fit.observations.source.clone(),
        });
    }
    let figures = figures::all(fit)?;
    let mut files = Vec::new();
    for figure in &figures {
        files.push((
            format!("{}.svg", figure.name),
            figure.svg.clone().into_bytes(),
        ));
        files.push((format!("{}.png", figure.name), png::render(&figure.svg)?));
    }
    files.push((
        "index.html".into(),
        page::render(fit, &figures).into_bytes(),
    ));
    fs::create_dir_all(folder).map_err(|source| PlotError::Write {
        path: folder.into(),
        source,
    })?;
    let write = |(name, bytes): (String, Vec<u8>)| {
        let path = folder.join(name);
        match shards::write_atomic(&path, &bytes) {
            Ok(()) => Ok(path),
            Err(source) => Err(PlotError::Write { path, source }),
        }
    };
    files.into_iter().map(write).collect()
}
