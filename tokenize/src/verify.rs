//! Whether a finished dataset is what its records say, down to every code and text id.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use rayon::prelude::*;
use serde::Serialize;
use shards::{Dataset, Document, Job, Manifest, ShardEntry, ShardReader, ShardSummary, Vocab};
use stores::Store;

use crate::error::Result;
use crate::ids;
use crate::merge;
use crate::output::{self, UnitRecord};
use crate::progress::Progress;
use crate::skipped;
use crate::source::Counter;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Shards.
    pub shards: usize,
    /// Documents in them that could be read.
    pub documents: u64,
    /// Size of the shards.
    pub bytes: u64,
    /// What is wrong; nothing in a sound dataset.
    pub faults: Vec<Fault>,
}

/// Something wrong in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file, by its name in the dataset.
    pub file: String,
    /// Row group of a shard, from 0.
    pub row_group: Option<usize>,
    /// Id of a document.
    pub document: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl Fault {
    fn new(file: &str, problem: impl Into<String>) -> Self {
        Fault {
            file: file.to_owned(),
            problem: problem.into(),
            ..Fault::default()
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(group) = self.row_group {
            write!(f, ", row group {group}")?;
        }
        if let Some(id) = &self.document {
            write!(f, ", document {id:?}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// A dataset with what its shards are held against.
struct Verifier<'a> {
    dir: &'a Path,
    store: Store,
    job: Job,
    manifest: Manifest,
    vocab: Vocab,
    read: Counter,
    progress: Mutex<Progress>,
}

/// What a shard turned out to be.
#[derive(Default)]
struct Shard {
    /// There if all of its documents can be read.
    reader: Option<ShardReader>,
    documents: u64,
    faults: Vec<Fault>,
}

/// Looks at everything in a finished dataset.
///
/// # Errors
/// If there is no finished dataset, or no tokenizer in it that can be loaded.
pub fn run(dir: &Path) -> Result<Report> {
    let (store, job) = output::open_job(dir)?;
    let Some(manifest) = Manifest::read(dir)? else {
        return Err(shards::Error::Unfinished { path: dir.into() }.into());
    };
    let bytes = manifest.shards.iter().map(|s| s.summary.bytes).sum();
    let read = Counter::default();
    let verifier = Verifier {
        dir,
        store,
        job,
        manifest,
        vocab: Vocab::load(&dir.join("tokenizer"))?,
        progress: Mutex::new(Progress::new(bytes, read.clone())),
        read,
    };
    let mut faults = verifier.check_lists()?;
    let shards: Vec<Shard> = (verifier.manifest.shards.par_iter().enumerate())
        .map(|(index, entry)| verifier.check_shard(index, entry))
        .collect();
    let documents = shards.iter().map(|shard| shard.documents).sum();
    let mut readers = Vec::new();
    for shard in shards {
        faults.extend(shard.faults);
        readers.extend(shard.reader);
    }
    faults.extend(verifier.check_ids(&readers, documents)?);
    let Verifier {
        manifest, progress, ..
    } = verifier;
    if let Ok(progress) = progress.into_inner() {
        progress.finish();
    }
    Ok(Report {
        shards: manifest.shards.len(),
        documents,
        bytes,
        faults,
    })
}

impl Verifier<'_> {
    /// Job, manifest, records and lists of bad records agree, and no shard is in the folder that they do not know.
    fn check_lists(&self) -> Result<Vec<Fault>> {
        let mut faults = Vec::new();
        let (job, manifest) = (&self.job, &self.manifest);
        let mut expect = |good: bool, file: &str, problem: String| {
            if !good {
                faults.push(Fault::new(file, problem));
            }
        };
        let (units, shards) = (job.units.len(), manifest.shards.len());
        let problem = format!("it lists {shards} shards, and job.json {units} units");
        expect(units == shards, Manifest::FILE, problem);
        let found = &self.vocab.info().sha256;
        let problem = format!(
            "its sha256 is {found}, and {} by job.json",
            job.tokenizer.sha256
        );
        let is_same = *found == job.tokenizer.sha256;
        expect(is_same, "tokenizer/tokenizer.json", problem);
        for (index, shard) in manifest.shards.iter().enumerate() {
            let name = Dataset::shard_file_name(index);
            let problem = format!("shard {index} is called {}, not {name}", shard.file);
            expect(shard.file == name, Manifest::FILE, problem);
        }
        let known: HashSet<_> = manifest.shards.iter().map(|s| s.file.as_str()).collect();
        for object in self.store.list("")? {
            let is_shard = object.path.starts_with("part-") && object.path.ends_with(".parquet");
            let is_known = known.contains(object.path.as_str());
            let problem = "manifest.json does not know it".to_owned();
            expect(!is_shard || is_known, &object.path, problem);
        }
        self.check_skipped(&mut faults);
        Ok(faults)
    }

    /// The lists of bad records are as long as the records and the manifest say.
    fn check_skipped(&self, faults: &mut Vec<Fault>) {
        let mut records = Vec::new();
        for index in 0..self.manifest.shards.len() {
            // an unreadable record is a fault of its shard
            let Ok(Some(record)) = output::read_record(&self.store, index) else {
                continue;
            };
            let listed = output::read_skipped(&self.store, index);
            let file = output::skipped_file(index);
            let place = output::record_file(index);
            faults.extend(compare_counts(&file, listed, &record.skipped, &place));
            records.push(record);
        }
        let all = output::read_all_skipped(&self.store);
        let (name, manifest) = (output::ALL_SKIPPED, &self.manifest);
        faults.extend(compare_counts(name, all, &manifest.skipped, Manifest::FILE));
        let filtered = output::sum(records.iter().map(|record| &record.filtered));
        if records.len() == manifest.shards.len() && filtered != manifest.filtered {
            let problem = format!(
                "filtered is {:?}, and {filtered:?} by the records in units/",
                manifest.filtered
            );
            faults.push(Fault::new(Manifest::FILE, problem));
        }
    }

    /// The file, its description, its counts, and every document.
    fn check_shard(&self, index: usize, entry: &ShardEntry) -> Shard {
        let mut shard = Shard::default();
        self.check_record(index, entry, &mut shard.faults);
        self.check_file(entry, &mut shard.faults);
        let reader = match ShardReader::open(&self.dir.join(&entry.file)) {
            Ok(reader) => reader,
            Err(error) => {
                shard
                    .faults
                    .push(Fault::new(&entry.file, error.to_string()));
                return shard;
            }
        };
        self.check_meta(&reader, entry, &mut shard.faults);
        let groups = reader.row_groups();
        let results: Vec<_> = (0..groups)
            .into_par_iter()
            .map(|group| {
                let result = self.check_group(&reader, &entry.file, group);
                self.advance(entry.summary.bytes / groups as u64);
                result
            })
            .collect();
        let mut found = ShardSummary {
            row_groups: groups as u64,
            bytes: entry.summary.bytes,
            sha256: entry.summary.sha256.clone(),
            ..ShardSummary::default()
        };
        let mut is_readable = true;
        for (counts, faults) in results {
            is_readable &= counts.is_some();
            if let Some(counts) = counts {
                found.documents += counts.documents;
                found.segments += counts.segments;
                found.text_tokens += counts.text_tokens;
                found.frames += counts.frames;
            }
            shard.faults.extend(faults);
        }
        if is_readable && found != entry.summary {
            let problem = format!(
                "it holds {found:?}, and manifest.json says {:?}",
                entry.summary
            );
            shard.faults.push(Fault::new(&entry.file, problem));
        }
        shard.documents = found.documents;
        shard.reader = is_readable.then_some(reader);
        shard
    }

    fn advance(&self, bytes: u64) {
        self.read.fetch_add(bytes, Relaxed);
        if let Ok(mut progress) = self.progress.try_lock() {
            progress.show(0.0);
        }
    }

    fn check_record(&self, index: usize, entry: &ShardEntry, faults: &mut Vec<Fault>) {
        let name = output::record_file(index);
        let mut fault = |problem: String| faults.push(Fault::new(&name, problem));
        let record: UnitRecord = match output::read_record(&self.store, index) {
            Ok(Some(record)) => record,
            Ok(None) => return fault("it is missing".to_owned()),
            Err(error) => return fault(error.to_string()),
        };
        if record.shard != entry.summary {
            fault(format!(
                "its shard is {:?}, and in manifest.json {:?}",
                record.shard, entry.summary
            ));
        }
        let unit = self.job.units.get(index);
        if unit.is_some_and(|unit| *unit != record.input) {
            fault(format!("its input is not unit {index} of job.json"));
        }
        if record.arguments_sha256 != self.job.arguments_sha256() {
            fault("it was made with other arguments than those of job.json".to_owned());
        }
    }

    fn check_file(&self, entry: &ShardEntry, faults: &mut Vec<Fault>) {
        let path = self.dir.join(&entry.file);
        let mut fault = |problem: String| faults.push(Fault::new(&entry.file, problem));
        let size = match path.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return fault(error.to_string()),
        };
        if size != entry.summary.bytes {
            let expected = entry.summary.bytes;
            return fault(format!(
                "it has {size} bytes, and {expected} by manifest.json"
            ));
        }
        match shards::sha256_file(&path) {
            Ok(found) if found == entry.summary.sha256 => {}
            Ok(found) => fault(format!(
                "its sha256 is {found}, and {} by manifest.json",
                entry.summary.sha256
            )),
            Err(error) => fault(error.to_string()),
        }
    }

    fn check_meta(&self, reader: &ShardReader, entry: &ShardEntry, faults: &mut Vec<Fault>) {
        let mut fault = |problem: String| faults.push(Fault::new(&entry.file, problem));
        let meta = reader.meta();
        if let Err(error) = meta.check_vocab(&self.vocab, reader.path()) {
            fault(error.to_string());
        }
        let is_same = match (&meta.codec, &self.job.codec) {
            (Some(found), Some(job)) => found.is_same(job),
            (found, job) => found == job,
        };
        if !is_same {
            fault("its codec is not that of job.json".to_owned());
        }
        if !merge::shard_arguments(&self.job).contains(&meta.arguments_sha256) {
            fault("it was made with other arguments than those of job.json".to_owned());
        }
    }

    /// What a row group holds, if it can be read, and what is wrong in it.
    fn check_group(
        &self,
        reader: &ShardReader,
        file: &str,
        group: usize,
    ) -> (Option<ShardSummary>, Vec<Fault>) {
        let fault = |document: Option<&Document>, problem: String| Fault {
            row_group: Some(group),
            document: document.map(|document| document.id.clone()),
            ..Fault::new(file, problem)
        };
        let documents = match reader.documents(group) {
            Ok(documents) => documents,
            Err(error) => return (None, vec![fault(None, error.to_string())]),
        };
        let (mut counts, mut faults) = (ShardSummary::default(), Vec::new());
        let codebooks = reader.meta().codebooks().max(1);
        for document in &documents {
            counts.documents += 1;
            counts.segments += document.segments.len() as u64;
            for segment in &document.segments {
                counts.text_tokens += segment.text_ids.len() as u64;
                counts.frames += (segment.codes.len() / codebooks) as u64;
            }
            let checked = shards::check_document(document, reader.meta());
            let problems = checked.err().map(|error| error.to_string());
            let problems = problems.into_iter().chain(self.text_problems(document));
            faults.extend(problems.map(|problem| fault(Some(document), problem)));
        }
        (Some(counts), faults)
    }

    /// Where text ids are not those of the text.
    fn text_problems(&self, document: &Document) -> Vec<String> {
        let problem = |(number, segment): (usize, &shards::Segment)| match self
            .vocab
            .encode_text(&segment.text)
        {
            Ok(ids) if ids == segment.text_ids => None,
            Ok(_) => Some(format!(
                "segment {number}: its text ids are not those that the tokenizer gives for its text"
            )),
            Err(error) => Some(format!("segment {number}: {error}")),
        };
        let segments = document.segments.iter().enumerate();
        segments.filter_map(problem).collect()
    }

    /// Each id occurs once in the dataset.
    fn check_ids(&self, readers: &[ShardReader], documents: u64) -> Result<Vec<Fault>> {
        let repeated = ids::repeated(readers, documents)?;
        let faults = repeated.into_iter().map(|(id, paths)| {
            let names = paths.iter().filter_map(|path| path.file_name());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            Fault {
                document: Some(id),
                ..Fault::new(
                    &names[0],
                    format!("the id is also in {}", names[1..].join(", ")),
                )
            }
        });
        Ok(faults.collect())
    }
}

/// A fault, if a list of bad records is not as long as `place` says.
fn compare_counts(
    file: &str,
    listed: Result<Vec<skipped::BadRecord>>,
    expected: &BTreeMap<String, u64>,
    place: &str,
) -> Option<Fault> {
    match listed.map(|records| skipped::count(&records)) {
        Ok(found) if found == *expected => None,
        Ok(found) => Some(Fault::new(
            file,
            format!("it lists {found:?}, and {place} says {expected:?}"),
        )),
        Err(error) => Some(Fault::new(file, error.to_string())),
    }
}
