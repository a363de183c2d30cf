//! Tables of runs, as CSV.

use std::collections::HashMap;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Observation, ObservationError, Observations};

const REQUIRED: [&str; 4] = ["budget", "params", "tokens", "loss"];
const OPTIONAL: [&str; 3] = ["name", "hidden", "layers"];
/// Before the kind in the name of a column.
const KIND_PREFIX: &str = "loss_";

type Result<T> = std::result::Result<T, ObservationError>;

/// Reads a table; see [`Observations::read`].
pub fn read(path: &Path) -> Result<Observations> {
    let csv_error = |source| ObservationError::Csv {
        path: path.into(),
        source,
    };
    let mut reader = ReaderBuilder::new()
        .trim(Trim::All)
        .from_path(path)
        .map_err(csv_error)?;
    let header = reader.headers().map_err(csv_error)?.clone();
    if header.iter().all(str::is_empty) {
        return Err(ObservationError::Empty { path: path.into() });
    }
    let columns = Columns::new(path, &header)?;
    let mut observations = Observations {
        source: path.into(),
        convention: None,
        kinds: columns.kinds.iter().map(|(kind, _)| kind.clone()).collect(),
        runs: Vec::new(),
        left_out: Vec::new(),
        unused_columns: columns.unused.clone(),
    };
    let mut lines = HashMap::new();
    for record in reader.records() {
        let record = record.map_err(csv_error)?;
        let line = record.position().map_or(0, |position| position.line());
        let row = Row {
            path,
            line,
            columns: &columns,
            record: &record,
        };
        let run = row.observation()?;
        let key = row.identity(&run);
        if let Some(first) = lines.insert(key.clone(), line) {
            return Err(ObservationError::Duplicate {
                path: path.into(),
                line,
                first,
                run: key,
            });
        }
        observations.add(run);
    }
    if lines.is_empty() {
        return Err(ObservationError::Empty { path: path.into() });
    }
    Ok(observations)
}

/// Where each value of a run stands in a line.
struct Columns {
    places: HashMap<String, usize>,
    /// Kinds of token with their columns.
    kinds: Vec<(String, usize)>,
    unused: Vec<String>,
}

impl Columns {
    fn new(path: &Path, header: &StringRecord) -> Result<Self> {
        let mut columns = Self {
            places: HashMap::new(),
            kinds: Vec::new(),
            unused: Vec::new(),
        };
        // spreadsheets begin files with a byte order mark
        let names = header
            .iter()
            .map(|name| name.trim_start_matches('\u{feff}'));
        for (place, name) in names.enumerate() {
            if columns.places.insert(name.into(), place).is_some() {
                return Err(ObservationError::DuplicateColumn {
                    path: path.into(),
                    column: name.into(),
                });
            }
            match name.strip_prefix(KIND_PREFIX) {
                Some(kind) => columns.kinds.push((kind.replace('_', "-"), place)),
                None if REQUIRED.contains(&name) || OPTIONAL.contains(&name) => {}
                None => columns.unused.push(name.into()),
            }
        }
        for column in REQUIRED {
            if !columns.places.contains_key(column) {
                return Err(ObservationError::MissingColumn {
                    path: path.into(),
                    column,
                    found: header.iter().collect::<Vec<_>>().join(", "),
                });
            }
        }
        Ok(columns)
    }
}

/// A line of a table.
struct Row<'a> {
    path: &'a Path,
    line: u64,
    columns: &'a Columns,
    record: &'a StringRecord,
}

impl Row<'_> {
    fn observation(&self) -> Result<Observation> {
        let count =
            |column: &str| self.optional(column, "a whole number", |cell| cell.parse().ok());
        let by_kind = self.columns.kinds.iter().map(|(kind, place)| {
            let loss = self.loss(*place, &kind_column(kind))?;
            Ok(loss.is_finite().then_some(loss))
        });
        Ok(Observation {
            name: self.name().unwrap_or_else(|| format!("line {}", self.line)),
            budget: self.positive("budget")?,
            hidden: count("hidden")?,
            layers: count("layers")?,
            params: self.positive("params")?,
            tokens: self.positive("tokens")?,
            loss: self.loss(self.columns.places["loss"], "loss")?,
            by_kind: by_kind.collect::<Result<_>>()?,
        })
    }

    fn name(&self) -> Option<String> {
        let name = self.cell(*self.columns.places.get("name")?);
        (!name.is_empty()).then(|| name.into())
    }

    /// What no other run has: the name, or without one all that is measured.
    fn identity(&self, run: &Observation) -> String {
        match self.name() {
            Some(name) => format!("`{name}`"),
            None => format!(
                "the run of budget {:e}, {} parameters, {} tokens and loss {}",
                run.budget, run.params, run.tokens, run.loss
            ),
        }
    }

    fn cell(&self, place: usize) -> &str {
        self.record.get(place).unwrap_or_default()
    }

    fn positive(&self, column: &'static str) -> Result<f64> {
        let place = self.columns.places[column];
        let number = self.cell(place).parse().ok();
        number
            .filter(|number: &f64| *number > 0.0 && number.is_finite())
            .ok_or_else(|| self.bad(place, column, "a positive number"))
    }

    fn optional<T>(
        &self,
        column: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.columns.places.get(column) {
            Some(&place) if !self.cell(place).is_empty() => {
                let value = parse(self.cell(place));
                value
                    .map(Some)
                    .ok_or_else(|| self.bad(place, column, expected))
            }
            _ => Ok(None),
        }
    }

    /// A loss; NaN where the cell is empty or says that there is none.
    fn loss(&self, place: usize, column: &str) -> Result<f64> {
        let cell = self.cell(place);
        if ["", "null", "none", "na", "n/a"].contains(&cell.to_ascii_lowercase().as_str()) {
            return Ok(f64::NAN);
        }
        let loss = cell.parse().ok();
        loss.filter(|loss: &f64| loss.is_nan() || *loss > 0.0)
            .ok_or_else(|| {
                self.bad(
                    place,
                    column,
                    "a positive number, or empty where there is none",
                )
            })
    }

    fn bad(&self, place: usize, column: &str, expected: &'static str) -> ObservationError {
        ObservationError::Cell {
            path: self.path.into(),
            line: self.line,
            column: column.into(),
            cell: self.cell(place).into(),
            expected,
        }
    }
}

/// Name of the column of a kind's loss.
fn kind_column(kind: &str) -> String {
    format!("{KIND_PREFIX}{}", kind.replace('-', "_"))
}

/// The table of all runs.
pub fn write(observations: &Observations) -> String {
    let kinds = observations.kinds.iter().map(|kind| kind_column(kind));
    let header = [
        "name", "budget", "hidden", "layers", "params", "tokens", "loss",
    ]
    .map(String::from);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write =
        |cells: Vec<String>| writer.write_record(cells).expect("memory takes everything");
    write(header.into_iter().chain(kinds).collect());
    let left_out = observations.left_out.iter().map(|left_out| &left_out.run);
    for run in observations.runs.iter().chain(left_out) {
        let count = |count: Option<u64>| count.map_or(String::new(), |count| count.to_string());
        let loss = |loss: Option<f64>| {
            loss.filter(|loss| loss.is_finite())
                .map_or(String::new(), |loss| loss.to_string())
        };
        let mut cells = vec![
            run.name.clone(),
            format!("{:e}", run.budget),
            count(run.hidden),
            count(run.layers),
            run.params.to_string(),
            run.tokens.to_string(),
            loss(Some(run.loss)),
        ];
        cells.extend(run.by_kind.iter().map(|value| loss(*value)));
        write(cells);
    }
    let bytes = writer.into_inner().expect("memory takes everything");
    String::from_utf8(bytes).expect("all cells are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "name,budget,hidden,layers,params,tokens,loss,loss_text,loss_acoustic_1\n\
        a,1e12,64,2,1000000,160000,5.5,3.25,6.5\n\
        b,1e12,128,4,2000000,80000,5.25,3,\n\
        c,1e12,256,4,4000000,40000,,,\n";

    fn parse(text: &str) -> Result<Observations> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.csv");
        std::fs::write(&path, text).unwrap();
        Observations::read(&path)
    }

    fn message(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_read_is_written() {
        let observations = parse(TABLE).unwrap();
        assert_eq!(observations.kinds, ["text", "acoustic-1"]);
        assert_eq!(observations.runs[0].by_kind, [Some(3.25), Some(6.5)]);
        assert_eq!(observations.runs[1].by_kind, [Some(3.0), None]);
        assert_eq!(observations.runs[1].hidden, Some(128));
        assert_eq!(observations.to_csv(), TABLE);
    }

    #[test]
    fn runs_are_sorted_by_budget_and_size() {
        let header = "loss,tokens,params,budget,seed\n";
        let observations =
            parse(&format!("{header}3,1,9,2e3,0\n4,1,7,1e3,0\n5,1,3,2e3,0\n")).unwrap();
        let losses: Vec<f64> = observations.runs.iter().map(|run| run.loss).collect();
        assert_eq!(losses, [4.0, 5.0, 3.0]);
        assert_eq!(observations.unused_columns, ["seed"]);
    }

    #[test]
    fn runs_without_a_loss_are_left_out_with_the_reason() {
        for (cell, reason) in [
            ("", "missing or not a number"),
            ("NaN", "missing or not a number"),
            ("null", "missing or not a number"),
            ("inf", "infinite"),
        ] {
            let observations = parse(&TABLE.replace("5.25", cell)).unwrap();
            let left_out = &observations.left_out[0];
            assert_eq!(left_out.run.name, "b");
            assert!(
                left_out.reason.contains(reason),
                "{cell}: {}",
                left_out.reason
            );
            assert_eq!(observations.runs.len(), 1);
        }
    }

    #[test]
    fn bad_cells_are_named_with_their_line() {
        for (from, to, expected) in [
            (
                "2000000",
                "0",
                "line 3: params is `0`, and should be a positive number",
            ),
            (
                "2000000",
                "-5",
                "line 3: params is `-5`, and should be a positive number",
            ),
            (
                "160000",
                "many",
                "line 2: tokens is `many`, and should be a positive number",
            ),
            (
                "40000,",
                ",",
                "line 4: tokens is ``, and should be a positive number",
            ),
            (
                "b,1e12",
                "b,inf",
                "line 3: budget is `inf`, and should be a positive number",
            ),
            (
                "5.25",
                "-5.25",
                "line 3: loss is `-5.25`, and should be a positive number",
            ),
            (
                "5.25",
                "0",
                "line 3: loss is `0`, and should be a positive number",
            ),
            ("5.25", "5.2.5", "line 3: loss is `5.2.5`"),
            ("6.5", "x", "line 2: loss_acoustic_1 is `x`"),
            (
                "128",
                "1.5",
                "line 3: hidden is `1.5`, and should be a whole number",
            ),
        ] {
            let message = message(&TABLE.replacen(from, to, 1));
            assert!(message.contains(expected), "{from} -> {to}: {message}");
        }
    }

    #[test]
    fn tables_without_runs_or_columns_are_refused() {
        for text in ["", "\n", "name,budget,params,tokens,loss\n"] {
            let message = message(text);
            assert!(
                message.contains("runs.csv has no runs"),
                "{text:?}: {message}"
            );
        }
        let found = message("name,budget,parms,tokens,loss\na,1,1,1,1\n");
        assert!(
            found.contains("line 1: no column `params` among name, budget, parms"),
            "{found}"
        );
        let found = message("budget,params,tokens,loss,loss\n1,1,1,1,1\n");
        assert!(
            found.contains("line 1: column `loss` is there twice"),
            "{found}"
        );
        let found = message(&TABLE.replace(",6.5\n", "\n"));
        assert!(found.contains("line: 2"), "{found}");
    }

    #[test]
    fn a_run_that_is_there_twice_is_named_with_both_lines() {
        let found = message(&TABLE.replace("\nc,", "\na,"));
        assert!(
            found.contains("line 4: `a` is already on line 2"),
            "{found}"
        );
        let found = message("budget,params,tokens,loss\n1,1,1,1\n1,1,1,1\n");
        assert!(
            found.contains("line 3: ") && found.contains("already on line 2"),
            "{found}"
        );
        // the same size again, with another seed
        assert!(parse("budget,params,tokens,loss\n1,1,1,1\n1,1,1,2\n").is_ok());
    }
}
