//! A finished dataset as rows of token ids, or of text of which a tokenizer makes these ids.
//!
//! Every shard becomes one file. A file is finished once its record `units/part-….json` is there, and is not made again.

mod rows;
mod spelling;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use shards::{Dataset, Document, DocumentCounts, Manifest, Order, ShardReader, View, Vocab};

use crate::error::{Error, Result};
use crate::output;
use crate::progress::Progress;
use crate::skipped::{self, BadRecord};
use crate::source::Counter;
use crate::summary::{table, thousands};
use rows::{Part, Row, Value};
use spelling::{Spelling, Unfit};

/// What an export is; the first file that is written.
const IDENTITY: &str = "export.json";

/// The form of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Token ids in parquet
    Parquet,
    /// Token ids, a JSON object a line
    Jsonl,
    /// Text with audio tokens as characters, in parquet: the form of the published datasets
    Pua,
}

/// What to export of a dataset.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The order of text and audio.
    pub view: View,
    /// How many codebooks of each frame; all, if not said.
    pub codebooks: Option<usize>,
    /// The form of the rows.
    pub form: Form,
    /// Largest fraction of documents that may be left out.
    pub max_bad: f64,
}

/// What was exported.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Files.
    pub files: usize,
    /// Those of them that were there before this run.
    pub files_kept: usize,
    /// Rows.
    pub rows: u64,
    /// Token ids in them, or those that a tokenizer makes of them.
    pub tokens: u64,
    /// Size of all files.
    pub bytes: u64,
    /// Documents left out, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// What one file holds: the content of its record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    rows: u64,
    tokens: u64,
    bytes: u64,
    skipped: BTreeMap<String, u64>,
}

/// An export at work.
struct Export<'a> {
    dataset: &'a Dataset,
    view: View,
    codebooks: Option<usize>,
    form: Form,
    vocab: Vocab,
    /// For [`Form::Pua`].
    spelling: Option<Spelling>,
    out: &'a Path,
    read: Counter,
    progress: Mutex<Progress>,
}

/// Writes a view of a dataset to the folder `out`.
pub fn run(dataset: &Dataset, options: &Options, out: &Path) -> Result<Summary> {
    check_codebooks(dataset, options.codebooks)?;
    let spelling = match options.form {
        Form::Pua => Some(Spelling::load(dataset)?),
        Form::Parquet | Form::Jsonl => None,
    };
    prepare(dataset, options, out)?;
    let read = Counter::default();
    let bytes = dataset.shards().iter().map(|s| s.summary.bytes).sum();
    let export = Export {
        dataset,
        view: options.view,
        codebooks: options.codebooks,
        form: options.form,
        vocab: dataset.vocab()?,
        spelling,
        out,
        read: read.clone(),
        progress: Mutex::new(Progress::new(bytes, read)),
    };
    let shards = 0..dataset.shards().len();
    let parts: Vec<(Record, bool)> = shards
        .into_par_iter()
        .map(|shard| export.part(shard))
        .collect::<Result<_>>()?;
    let sum = |of: fn(&Record) -> u64| parts.iter().map(|(record, _)| of(record)).sum();
    let summary = Summary {
        files: parts.len(),
        files_kept: parts.iter().filter(|(_, is_kept)| *is_kept).count(),
        rows: sum(|record| record.rows),
        tokens: sum(|record| record.tokens),
        bytes: sum(|record| record.bytes),
        skipped: output::sum(parts.iter().map(|(record, _)| &record.skipped)),
    };
    check_skipped(dataset, options, out, &summary)?;
    Ok(summary)
}

fn check_codebooks(dataset: &Dataset, asked: Option<usize>) -> Result<()> {
    let (Some(asked), false) = (asked, dataset.shards().is_empty()) else {
        return Ok(());
    };
    let stored = dataset.reader(0)?.meta().codebooks();
    match (1..=stored).contains(&asked) {
        true => Ok(()),
        false => Err(Error::Layout {
            location: dataset.dir().display().to_string(),
            problem: format!("it has {stored} codebooks; {asked} of them cannot be exported"),
        }),
    }
}

/// Refuses a folder with anything but this very export, and says in it what it will hold.
fn prepare(dataset: &Dataset, options: &Options, out: &Path) -> Result<()> {
    let manifest = dataset.dir().join(Manifest::FILE);
    let manifest = fs::read(&manifest).map_err(Error::io("read", &manifest))?;
    let identity = serde_json::json!({
        "dataset_sha256": shards::sha256_hex(&manifest),
        "view": options.view,
        "codebooks": options.codebooks,
        "to": options.form,
    });
    let mut identity = serde_json::to_vec_pretty(&identity).expect("plain data has a JSON form");
    identity.push(b'\n');
    let path = out.join(IDENTITY);
    match fs::read(&path) {
        Ok(found) if found == identity => return Ok(()),
        Ok(_) => {
            return Err(Error::OtherData {
                dir: out.to_owned(),
                found: format!("{IDENTITY} of another export"),
            });
        }
        Err(_) => {}
    }
    for folder in [out, &out.join("units"), &out.join("skipped")] {
        let is_empty = fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        if !is_empty && folder == out {
            return Err(Error::OtherData {
                dir: out.to_owned(),
                found: format!("no {IDENTITY}"),
            });
        }
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    write(&path, &identity)
}

/// Merges the lists of what was left out, and refuses too much of it.
fn check_skipped(
    dataset: &Dataset,
    options: &Options,
    out: &Path,
    summary: &Summary,
) -> Result<()> {
    let mut all = Vec::new();
    for shard in 0..summary.files {
        all.extend(fs::read(list_path(out, shard)).unwrap_or_default());
    }
    if all.is_empty() {
        return Ok(());
    }
    let list_file = out.join(output::ALL_SKIPPED);
    write(&list_file, &all)?;
    let bad: u64 = summary.skipped.values().sum();
    let total = dataset.shards().iter().map(|s| s.summary.documents).sum();
    match bad as f64 > options.max_bad * total as f64 {
        false => Ok(()),
        true => Err(Error::Unspellable {
            bad,
            total,
            max_bad: options.max_bad,
            reasons: summary.skipped.clone(),
            list_file,
        }),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    shards::write_atomic(path, bytes).map_err(Error::io("write", path))
}

fn list_path(out: &Path, shard: usize) -> PathBuf {
    out.join(output::skipped_file(shard))
}

impl Export<'_> {
    /// The file of a shard: what it holds, and whether it was there before.
    fn part(&self, shard: usize) -> Result<(Record, bool)> {
        let extension = match self.form {
            Form::Parquet | Form::Pua => "parquet",
            Form::Jsonl => "jsonl",
        };
        let path = self.out.join(format!("part-{shard:05}.{extension}"));
        let record_path = self.out.join(output::record_file(shard));
        if let Some(record) = finished(&path, &record_path) {
            self.advance(self.dataset.shards()[shard].summary.bytes);
            return Ok((record, true));
        }
        let (record, bad) = self.write_part(shard, &path)?;
        let list = list_path(self.out, shard);
        match bad.is_empty() {
            true => drop(fs::remove_file(&list)),
            false => write(&list, &skipped::to_json_lines(&bad))?,
        }
        let json = serde_json::to_vec_pretty(&record).expect("plain data has a JSON form");
        write(&record_path, &json)?;
        Ok((record, false))
    }

    fn write_part(&self, shard: usize, path: &Path) -> Result<(Record, Vec<BadRecord>)> {
        let reader = self.dataset.reader(shard)?;
        let mut part = Part::create(path, self.form)?;
        let (mut record, mut bad) = (Record::default(), Vec::new());
        let groups = reader.row_groups();
        for group in 0..groups {
            let documents = reader.documents(group)?;
            let rendered: Vec<_> = documents
                .par_iter()
                .map(|document| self.rows(&reader, document))
                .collect();
            let mut rows = Vec::new();
            for (document, rendered) in documents.iter().zip(rendered) {
                match rendered {
                    Ok(of_document) => rows.extend(of_document),
                    Err((reason, message)) => bad.push(BadRecord {
                        id: document.id.clone(),
                        path: document.origin.clone(),
                        reason: reason.to_owned(),
                        message,
                    }),
                }
            }
            record.rows += rows.len() as u64;
            record.tokens += rows.iter().map(|row| row.tokens).sum::<u64>();
            part.write(&rows)?;
            self.advance(self.dataset.shards()[shard].summary.bytes / groups as u64);
        }
        record.bytes = part.finish()?;
        record.skipped = skipped::count(&bad);
        Ok((record, bad))
    }

    /// The rows of a document; or why it has none.
    fn rows(
        &self,
        reader: &ShardReader,
        document: &Document,
    ) -> std::result::Result<Vec<Row>, Unfit> {
        let meta = reader.meta();
        let stored = meta.codebooks();
        let codebooks = self.view.codebooks(self.codebooks.unwrap_or(stored));
        let too_long = |error: shards::Error| ("too-long", error.to_string());
        let document = self.view.rewrite(document, &self.vocab).map_err(too_long)?;
        let counts = DocumentCounts::of(&document, stored).map_err(too_long)?;
        let speakers = document.segments.iter().map(|segment| segment.speaker);
        let instruction = self.view.variants()[0].instruction(speakers);
        if let Some(misfit) = self.view.misfit(&counts, instruction) {
            return Err(("misfit", misfit.to_owned()));
        }
        let renderings = self.view.renderings(&counts);
        let mut rows = Vec::new();
        for &order in renderings {
            let value = match &self.spelling {
                Some(spelling) => Value::Text {
                    split: document.source.clone(),
                    text: spelling.spell(order, &document, stored, codebooks)?,
                },
                None => {
                    let mut ids = Vec::new();
                    order.render(&document, &meta.vocab, stored, codebooks, &mut ids);
                    Value::Ids(ids)
                }
            };
            if value.len() > i32::MAX as usize {
                let problem = format!("it takes more than {} bytes or ids a row", i32::MAX);
                return Err(("too-long", problem));
            }
            rows.push(Row {
                id: format!("{}{}", document.id, suffix(self.view, order)),
                value,
                tokens: order.tokens(&counts, codebooks),
            });
        }
        Ok(rows)
    }

    fn advance(&self, bytes: u64) {
        self.read.fetch_add(bytes, Relaxed);
        if let Ok(mut progress) = self.progress.try_lock() {
            progress.show(0.0);
        }
    }
}

/// The record of a file, if the file is there with its size.
fn finished(path: &Path, record_path: &Path) -> Option<Record> {
    let record: Record = serde_json::from_slice(&fs::read(record_path).ok()?).ok()?;
    let size = path.metadata().ok()?.len();
    (size == record.bytes).then_some(record)
}

/// How the published datasets tell both rows of a document apart; other views make one row of it.
fn suffix(view: View, order: Order) -> &'static str {
    match (view, order) {
        (View::Both | View::TextFirst, Order::TextFirst) => "_type1",
        (View::Both | View::AudioFirst, Order::AudioFirst) => "_type2",
        _ => "",
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            (
                "files".to_owned(),
                format!("{} ({} kept)", self.files, self.files_kept),
            ),
            ("rows".to_owned(), thousands(self.rows)),
            ("tokens".to_owned(), thousands(self.tokens)),
            ("bytes".to_owned(), thousands(self.bytes)),
        ];
        let skipped = self.skipped.iter();
        rows.extend(skipped.map(|(key, n)| (format!("skipped, {key}"), thousands(*n))));
        let rows = rows.into_iter().map(|(name, value)| vec![name, value]);
        f.write_str(&table(None, rows))
    }
}
