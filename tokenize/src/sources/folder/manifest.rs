//! Reads a manifest: one row a recording, as JSON lines or CSV.
//!
//! Columns: `path` (needed; relative to the manifest), `text`, `lang`, `speaker`, `document`. Rows of one `document` form
//! one document, in row order. A column of any other name is an error, lest a misspelt one be ignored.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::sources::lines::json_problem;

const COLUMNS: [&str; 5] = ["path", "text", "lang", "speaker", "document"];

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Line of the manifest, counted from 1.
    #[serde(skip)]
    pub line: u64,
    /// The recording, relative to the manifest's folder.
    pub path: String,
    /// What is said; `None` to look for a `.txt` file beside the recording.
    pub text: Option<String>,
    /// Language code.
    pub lang: Option<String>,
    /// Any name of the speaker.
    pub speaker: Option<String>,
    /// Id of the document this is a segment of; `None` for a document of its own.
    pub document: Option<String>,
}

/// Reads all rows of a `.jsonl` or `.csv` file.
pub fn read(path: &Path) -> Result<Vec<Row>> {
    let bytes = fs::read(path).map_err(Error::io("read the manifest", path))?;
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&bytes);
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
    let rows = match extension.to_ascii_lowercase().as_str() {
        "jsonl" => read_jsonl(bytes),
        "csv" => read_csv(bytes),
        _ => Err((
            1,
            "a manifest must be named *.jsonl or *.csv; rename it".to_owned(),
        )),
    };
    let rows = rows.and_then(
        |rows| match rows.iter().find(|row| row.path.trim().is_empty()) {
            Some(row) => Err((
                row.line,
                "the path is empty; fill it in or remove the row".to_owned(),
            )),
            None if rows.is_empty() => Err((
                1,
                "there are no rows; add some or drop --manifest".to_owned(),
            )),
            None => Ok(rows),
        },
    );
    rows.map_err(|(row, problem)| Error::Manifest {
        path: PathBuf::from(path),
        row,
        problem,
    })
}

type Parsed = std::result::Result<Vec<Row>, (u64, String)>;

fn read_jsonl(bytes: &[u8]) -> Parsed {
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        if text.trim_ascii().is_empty() {
            continue;
        }
        let problem = |error| format!("{}; correct the row", json_problem(&error));
        let row: Row = serde_json::from_slice(text).map_err(|error| (line, problem(error)))?;
        rows.push(Row { line, ..row });
    }
    Ok(rows)
}

fn read_csv(bytes: &[u8]) -> Parsed {
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader
        .headers()
        .map_err(|error| csv_problem(&error, bytes))?
        .clone();
    let mut columns = Vec::new();
    for name in &header {
        let known = COLUMNS.iter().position(|column| *column == name);
        match known {
            Some(column) if columns.contains(&column) => {
                return Err((1, format!("column {name:?} is there twice; remove one")));
            }
            Some(column) => columns.push(column),
            None => {
                let known = COLUMNS.join(", ");
                return Err((
                    1,
                    format!("unknown column {name:?}; the columns are {known}"),
                ));
            }
        }
    }
    if !columns.contains(&0) {
        return Err((
            1,
            "there is no column \"path\"; the first line must name the columns".to_owned(),
        ));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| csv_problem(&error, bytes))?;
        let mut row = Row {
            line: line(record.position(), bytes),
            ..Row::default()
        };
        for (&column, cell) in columns.iter().zip(&record) {
            // an empty cell means "none" but for a transcript, where it may be a lost one
            let filled = || Some(cell.to_owned()).filter(|cell| !cell.is_empty());
            match column {
                0 => row.path = cell.to_owned(),
                1 => row.text = Some(cell.to_owned()),
                2 => row.lang = filled(),
                3 => row.speaker = filled(),
                _ => row.document = filled(),
            }
        }
        rows.push(row);
    }
    Ok(rows)
}

fn csv_problem(error: &csv::Error, bytes: &[u8]) -> (u64, String) {
    let line = line(error.position(), bytes);
    let problem = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            format!(
                "{len} cells where the header has {expected_len}; quote cells that contain commas"
            )
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("{err}; save the manifest as UTF-8"),
        _ => format!("{error}; correct the row"),
    };
    (line, problem)
}

/// The line a record starts on. The reader's position is before any empty lines that it skips.
fn line(position: Option<&csv::Position>, bytes: &[u8]) -> u64 {
    let Some(position) = position else { return 1 };
    let rest = &bytes[(position.byte() as usize).min(bytes.len())..];
    let line_ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + line_ends.filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(name: &str, text: impl AsRef<[u8]>) -> Result<Vec<Row>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        read(&path)
    }

    fn problem(name: &str, text: impl AsRef<[u8]>) -> (u64, String) {
        match read_text(name, text) {
            Err(Error::Manifest { row, problem, .. }) => (row, problem),
            other => panic!("expected a manifest error, got {other:?}"),
        }
    }

    #[test]
    fn both_forms_give_the_same_rows() {
        let json = "\u{feff}{\"path\":\"a.wav\",\"text\":\"Hi, \\\"you\\\"\",\"speaker\":\"S1\"}\n\n\
                    {\"path\":\"b.wav\",\"text\":\"\",\"lang\":\"de\",\"document\":\"d\"}\n";
        let csv = "\u{feff}path,text,lang,speaker,document\na.wav,\"Hi, \"\"you\"\"\",,S1,\n\nb.wav,,de,,d\n";
        let rows = read_text("m.jsonl", json).unwrap();
        let mut from_csv = read_text("m.CSV", csv).unwrap();
        assert_eq!([rows[0].line, rows[1].line], [1, 3]);
        assert_eq!([from_csv[0].line, from_csv[1].line], [2, 4]);
        from_csv
            .iter_mut()
            .zip(&rows)
            .for_each(|(csv, json)| csv.line = json.line);
        assert_eq!(rows, from_csv);
        assert_eq!(rows[0].text.as_deref(), Some("Hi, \"you\""));
        assert_eq!(rows[1].text.as_deref(), Some(""));
        assert_eq!(rows[1].document.as_deref(), Some("d"));
    }

    #[test]
    fn errors_name_the_row() {
        let (row, text) = problem(
            "m.jsonl",
            "{\"path\":\"a\"}\n{\"path\":\"b\",\"txt\":\"?\"}\n",
        );
        assert_eq!(row, 2);
        assert!(
            text.contains("unknown field `txt`") && text.contains("`speaker`"),
            "{text}"
        );
        assert_eq!(problem("m.jsonl", "{\"path\":\"a\"}\n{\"path\":\n").0, 2);
        assert_eq!(problem("m.jsonl", "{\"text\":\"a\"}\n").0, 1);
        assert_eq!(
            problem("m.jsonl", "\n{\"path\":\" \"}\n"),
            (2, "the path is empty; fill it in or remove the row".into())
        );
        assert!(problem("m.jsonl", "\n").1.contains("no rows"));

        assert!(
            problem("m.csv", "path,words\na,b\n")
                .1
                .contains("unknown column \"words\"")
        );
        assert!(
            problem("m.csv", "text\nhello\n")
                .1
                .contains("no column \"path\"")
        );
        assert!(problem("m.csv", "path,path\na,b\n").1.contains("twice"));
        let (row, text) = problem("m.csv", "path,text\na,b\nc,d,e\n");
        assert_eq!(row, 3);
        assert!(text.contains("3 cells where the header has 2"), "{text}");
        assert_eq!(problem("m.csv", b"path,text\na,b\n\n\nc,\xff\n").0, 5);
        assert!(problem("m.tsv", "path\n").1.contains("*.jsonl or *.csv"));
    }
}
