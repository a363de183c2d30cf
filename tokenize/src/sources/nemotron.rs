//! Nemotron-CC: a document a line, in gzip or zstd.
//!
//! Files lie in `contrib/Nemotron/Nemotron-CC/data-jsonl/quality=Q/kind=K/…/*.jsonl.gz` (or `.zst`, `.zstd`, or plain).
//! A line is an object with `text`, and `warc_record_id` or `id`. Text is taken as it is but for white space at its ends.

use std::collections::BTreeMap;
use std::io::Read;

use rayon::prelude::*;
use serde::Deserialize;
use stores::{Object, Store};

use super::lines::{self, Line, Lines};
use super::{compressed, layout};
use crate::error::{Error, Result};
use crate::skipped::BadRecord;
use crate::source::{Counted, Emit, Grouping, RawUtterance, Source, Transcript, Unit};

/// Where the corpus is published.
pub const PUBLISHED: &str = "https://data.commoncrawl.org";

const FOLDER: &str = "contrib/Nemotron/Nemotron-CC/data-jsonl";
/// The list of all files.
const PATHS: &str = "contrib/Nemotron/Nemotron-CC/data-jsonl.paths.gz";

/// The splits by the recipe's names, with the folder of each.
pub const SPLITS: [(&str, &str); 7] = [
    ("hq_actual", "quality=high/kind=actual"),
    ("hq_synth", "quality=high/kind=synthetic"),
    ("medium_high", "quality=medium-high"),
    ("medium", "quality=medium"),
    ("medium_low", "quality=medium-low"),
    ("low_actual", "quality=low/kind=actual"),
    ("low_synth", "quality=low/kind=synthetic"),
];

/// A planned split.
pub struct Nemotron {
    store: Store,
    name: String,
    objects: Vec<Object>,
    units: Vec<Unit>,
}

impl Nemotron {
    /// Lists the files of a split, one of [`SPLITS`].
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are none.
    pub fn open(store: &Store, split: &str) -> Result<Self> {
        let (name, folder) = SPLITS
            .into_iter()
            .find(|(name, _)| *name == split)
            .ok_or_else(|| layout(store, format!("there is no split {split:?}")))?;
        let folder = format!("{FOLDER}/{folder}");
        let mut objects = match store.location().starts_with("http") {
            true => published(store, &folder)?,
            false => store.list(&folder)?,
        };
        objects.retain(|object| compressed::has_extension(&object.path, "jsonl"));
        if objects.is_empty() {
            let wanted =
                format!("no files {folder}/**/*.jsonl.gz; give the folder above `contrib`");
            return Err(layout(store, wanted));
        }
        Ok(Nemotron {
            store: store.clone(),
            name: format!("nemotron-{name}"),
            units: objects.iter().map(Unit::from).collect(),
            objects,
        })
    }
}

/// The files below a folder, from the list that Common Crawl publishes, for a web server has no listing.
fn published(store: &Store, folder: &str) -> Result<Vec<Object>> {
    let list = store.read(PATHS)?;
    let list = list.ok_or_else(|| layout(store, format!("there is no list {PATHS}")))?;
    let mut text = String::new();
    compressed::open(PATHS, &list[..])?
        .read_to_string(&mut text)
        .map_err(Error::io("read", PATHS.as_ref()))?;
    let paths = text.lines().filter(|path| path.starts_with(folder));
    let mut paths: Vec<&str> = paths.collect();
    paths.sort_unstable();
    let head = |path: &&str| {
        let found = store.head(path)?;
        found.ok_or_else(|| {
            layout(
                store,
                format!("{path} is in the list {PATHS} and not there"),
            )
        })
    };
    paths.par_iter().map(head).collect()
}

/// A line. Other fields are left alone.
#[derive(Deserialize)]
struct Page {
    text: Option<String>,
    warc_record_id: Option<String>,
    id: Option<String>,
}

impl Source for Nemotron {
    fn kind(&self) -> &'static str {
        "nemotron"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        // lines of one name are documents of their own, of which the shard takes the first
        Grouping::Complete
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> Result<()> {
        let object = &self.objects[unit];
        let reader = Counted::new(self.store.reader(object)?, emit.counter());
        let mut lines = Lines::open(&object.path, reader)?;
        loop {
            let Line { number, content } = match lines.next() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) => line,
                // what was complete before the damage is kept
                Err(error) => return emit.bad(compressed::damage(&object.path, error)?),
            };
            let bad = |reason, problem: &str| bad_line(&object.path, number, reason, problem);
            let Some(content) = content else {
                emit.bad(bad("too-large", &lines::too_long()))?;
                continue;
            };
            match serde_json::from_slice::<Page>(content) {
                Ok(page) if page.text.is_none() => emit.bad(bad("missing-text", "no `text`"))?,
                Ok(page) => emit.utterance(utterance(page, &object.path, number))?,
                Err(error) => emit.bad(bad("bad-json", &error.to_string()))?,
            }
        }
    }
}

fn utterance(page: Page, path: &str, number: u64) -> RawUtterance {
    let origin = format!("{path}:{number}");
    let id = page.warc_record_id.or(page.id);
    let id = id
        .filter(|id| !id.is_empty())
        .unwrap_or_else(|| origin.clone());
    RawUtterance {
        document: id.clone(),
        id,
        lang: "en".to_owned(),
        origin,
        transcript: Transcript::Text(page.text.unwrap_or_default()),
        ..RawUtterance::default()
    }
}

fn bad_line(path: &str, number: u64, reason: &str, problem: &str) -> BadRecord {
    BadRecord {
        id: format!("{path}:{number}"),
        path: path.to_owned(),
        reason: reason.to_owned(),
        message: format!("line {number}: {problem}"),
    }
}
