//! Anneals of one checkpoint side by side, with the run that they branched off.
//!
//! Their mixtures differ, and so do the sequences that they are validated on: what can be compared are the losses of the
//! components that all of them were validated on.

use std::fmt;
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use experiments::AnnealConfig;
use serde::Serialize;

use super::chart::{Chart, Style};
use super::figures::{Figure, LARGE, line};
use super::format::{count, escape, loss, signed};
use super::history::History;
use super::palette::{GREY, part_colour};
use super::tables::{Column, table};
use super::{ReportError, page, read};
use crate::metrics::{Breakdown, ValidationRecord};
use crate::run_dir::RunDir;

/// Anneals of one checkpoint, and the run that they branched off.
#[derive(Serialize)]
pub struct Comparison {
    /// The checkpoint.
    pub from: String,
    /// Its steps.
    pub step: u64,
    /// The components that all runs were validated on.
    pub components: Vec<String>,
    /// The run itself, if it went on, and the anneals.
    pub runs: Vec<Compared>,
}

/// One of the runs.
#[derive(Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Whether it is the run that the others branched off.
    pub is_continuation: bool,
    /// The step of the losses: of all that it was validated at, the nearest to the end of the longest anneal.
    pub step: u64,
    /// Tokens up to there.
    pub tokens: u64,
    /// Mean of the losses of the common components, in nats a token.
    pub loss: f64,
    /// The same at the checkpoint, if it was validated there.
    pub before: Option<f64>,
    /// Validation losses of all of its components.
    pub by_component: Breakdown,
    /// Validation losses by token kind, over all of its components.
    pub by_kind: Breakdown,
    #[serde(skip)]
    history: History,
}

impl Comparison {
    /// Of anneals in these folders.
    ///
    /// # Errors
    /// Runs that anneal nothing, or other checkpoints, or were never validated, or have no component in common.
    pub fn of(folders: &[PathBuf]) -> Result<Self, ReportError> {
        let mut from: Option<AnnealConfig> = None;
        let mut histories = Vec::new();
        for folder in folders {
            let anneal = annealed(folder)?;
            let known = from.get_or_insert_with(|| anneal.clone());
            if known.sha256 != anneal.sha256 {
                let (folder, first) = (folder.display(), &known.from);
                return Err(ReportError::Compare(format!(
                    "{folder} anneals {}, the others {first}; compare anneals of one checkpoint",
                    anneal.from
                )));
            }
            histories.push((false, read(folder)?));
        }
        let Some(from) = from else {
            return Err(ReportError::Compare("no runs are given".into()));
        };
        // RUN/checkpoints/step-N
        let run = Path::new(&from.from).ancestors().nth(2);
        let continuation = run.and_then(|run| read(run).ok());
        let went_on = |history: &History| history.validation.iter().any(|v| v.step > from.step);
        if let Some(history) = continuation.filter(went_on) {
            histories.insert(0, (true, history));
        }
        let last = histories.iter().filter(|(continuation, _)| !continuation);
        let last = last.map(|(_, history)| history.last().step).max();
        let last = last.unwrap_or(from.step);
        let components = common(&histories);
        if components.is_empty() {
            return Err(ReportError::Compare(
                "the runs were not validated, or on no component in common".into(),
            ));
        }
        let compared = histories.into_iter().map(|(is_continuation, history)| {
            compare(history, is_continuation, &from, last, &components)
        });
        Ok(Self {
            runs: compared.collect(),
            from: from.from,
            step: from.step,
            components,
        })
    }

    /// Writes the comparison as a page.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, path: &Path) -> Result<(), ReportError> {
        let title = format!("Anneals of {}", escape(&self.from));
        let mut body = format!(
            "<header>\n<p class=\"eyebrow\">Timbre · anneals</p>\n<h1>{title}</h1>\n\
             <p class=\"facts\">{} runs from step {} on</p>\n</header>\n",
            self.runs.len(),
            count(self.step)
        );
        body += &page::section("", &[&page::figure_grid("large", self.figures())?]);
        let columns: Vec<Column> = [("component", true)]
            .into_iter()
            .chain(self.runs.iter().map(|run| (run.name.as_str(), false)))
            .collect();
        let table = table("losses", &columns, &self.rows(), &self.mean());
        body += &page::section("Validation loss at the end", &[&table, NOTE]);
        let page = page::document(&title, &body);
        super::write(path, &page)
    }

    fn figures(&self) -> Vec<Figure> {
        let mut figures: Vec<Figure> = self
            .components
            .iter()
            .map(|name| self.figure(name))
            .collect();
        let rate = |history: &History| history.train.iter().map(|t| (t.step, t.lr)).collect();
        let chart = self.chart("Learning rate".into(), "learning rate", rate);
        figures.push(Figure {
            chart,
            caption: String::new(),
        });
        figures
    }

    fn figure(&self, component: &str) -> Figure {
        let losses = |history: &History| {
            let records = history.validation.iter();
            let loss = |v: &ValidationRecord| Some((v.step, v.by_component.get(component)?));
            records.filter_map(loss).collect()
        };
        let title = format!("Validation loss, {component}");
        Figure {
            chart: self.chart(title, "nats / token", losses),
            caption: String::new(),
        }
    }

    fn chart(
        &self,
        title: String,
        y_label: &'static str,
        values: impl Fn(&History) -> Vec<(u64, f64)>,
    ) -> Chart {
        let lines = self.runs.iter().enumerate().map(|(number, run)| {
            let after = values(&run.history)
                .into_iter()
                .filter(|(step, _)| *step >= self.step);
            let look = match run.is_continuation {
                true => (GREY, Style::Dotted),
                false => (part_colour(number), Style::Dotted),
            };
            line(&run.name, super::series::points(after), look)
        });
        Chart {
            title,
            y_label,
            lines: lines.collect(),
            first_step: self.step,
            from_zero: false,
            size: LARGE,
        }
    }

    /// Component, and its loss in each run.
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |component: &String| {
            let losses = self
                .runs
                .iter()
                .map(|run| loss(run.by_component.get(component)));
            [component.clone()].into_iter().chain(losses).collect()
        };
        self.components.iter().map(row).collect()
    }

    /// The mean of each run, and by how much it came down since the checkpoint.
    fn mean(&self) -> Vec<String> {
        let mean = |run: &Compared| match run.before {
            Some(before) => format!("{} ({})", loss(Some(run.loss)), signed(run.loss - before)),
            None => loss(Some(run.loss)),
        };
        let means = self.runs.iter().map(mean);
        ["mean (since the checkpoint)".into()]
            .into_iter()
            .chain(means)
            .collect()
    }
}

const NOTE: &str = "<p class=\"note\">Components that all runs were validated on, each on its own held-out documents. \
    Losses are those of the step nearest to the end of the longest anneal; the continuation is the run that all branched off.</p>\n";

fn annealed(folder: &Path) -> Result<AnnealConfig, ReportError> {
    let plan = RunDir::plan(folder).map_err(|error| ReportError::Compare(error.to_string()))?;
    plan.anneal.ok_or_else(|| {
        let folder = folder.display();
        ReportError::Compare(format!(
            "{folder} did not go on from a checkpoint; give runs of `anneal`"
        ))
    })
}

/// Components that every run was validated on, seen in the same way, in the order of the first.
fn common(histories: &[(bool, History)]) -> Vec<String> {
    let held_out = |history: &History, name: &str| {
        let component = history.run.components.iter().find(|c| c.source == name)?;
        let validated = history.validated_components().contains(&name);
        validated.then(|| (component.view.clone(), component.validation_tokens))
    };
    let Some((_, first)) = histories.first() else {
        return Vec::new();
    };
    let is_common = |name: &&str| {
        let wanted = held_out(first, name);
        histories
            .iter()
            .all(|(_, history)| held_out(history, name) == wanted)
    };
    let names = first.validated_components().into_iter();
    names.filter(is_common).map(str::to_owned).collect()
}

fn compare(
    history: History,
    is_continuation: bool,
    from: &AnnealConfig,
    last: u64,
    components: &[String],
) -> Compared {
    let mean = |record: &ValidationRecord| {
        let losses = components
            .iter()
            .filter_map(|name| record.by_component.get(name));
        losses.sum::<f64>() / components.len() as f64
    };
    let records = &history.validation;
    let before = records
        .iter()
        .find(|record| record.step == from.step)
        .map(mean);
    let record = records
        .iter()
        .min_by_key(|record| record.step.abs_diff(last))
        .expect("it has common components, so it was validated");
    let name = match is_continuation {
        true => format!("{} (continuation)", history.run.name),
        false => history.run.name.clone(),
    };
    Compared {
        name,
        is_continuation,
        step: record.step,
        tokens: record.tokens,
        loss: mean(record),
        before,
        by_component: record.by_component.clone(),
        by_kind: record.by_kind.clone(),
        history,
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let names = self
            .runs
            .iter()
            .map(|run| format!("{}\nstep {}", run.name, run.step));
        table.set_header(
            ["validation loss, nats a token".to_string()]
                .into_iter()
                .chain(names),
        );
        for row in self.rows().into_iter().chain([self.mean()]) {
            table.add_row(row);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}
