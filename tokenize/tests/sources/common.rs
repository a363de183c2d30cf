//! Runs the program over a miniature corpus and compares what it made, token by token, with the corpus' `expected.json`
//! (its fields are in `tests/fixtures/sources/README.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow::array::{Array, BinaryArray, RecordBatch, StructArray};
use audio::Input;
use encodec_rs::{Codec, MelRvq};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde::Deserialize;
use shards::{Dataset, Document, Job, Segment, Vocab};
use tempfile::TempDir;
use tokenize::encode::encode_pieces;
use tokenize::skipped::BadRecord;

#[derive(Deserialize)]
struct Expectations {
    #[serde(default)]
    datasets: Vec<ExpectedDataset>,
    #[serde(default)]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct ExpectedDataset {
    component: String,
    input: String,
    order: String,
    documents: Vec<ExpectedDocument>,
    skipped: Vec<ExpectedBad>,
    counts: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Case {
    case: String,
    component: String,
    reasons: BTreeSet<String>,
    documents: Vec<ExpectedDocument>,
}

#[derive(Deserialize)]
struct ExpectedDocument {
    id: String,
    lang: Option<String>,
    unit: Option<String>,
    segments: Vec<ExpectedSegment>,
}

#[derive(Deserialize)]
struct ExpectedSegment {
    text: String,
    audio: Option<Recording>,
    codes: Option<Vec<u16>>,
    start_ms: Option<u32>,
    end_ms: Option<u32>,
    speaker: Option<u16>,
}

#[derive(Deserialize)]
struct Recording {
    path: String,
    member: Option<String>,
    row: Option<usize>,
    column: Option<String>,
    from_ms: Option<usize>,
    to_ms: Option<usize>,
}

#[derive(Deserialize)]
struct ExpectedBad {
    unit: String,
    record: String,
    reason: String,
}

/// What commands of corpora with sound are given: a codec that needs no download.
pub const CODEC: [&str; 2] = ["--codec", "mel-rvq"];

/// Runs `command` (with [`CODEC`] for a corpus with sound) over the folder `input` of a miniature corpus; the datasets that the
/// corpus' `expected.json` has for this input, and no others, must come out, document by document and bad record by bad
/// record.
pub fn check(corpus: &str, input: &str, command: &[&str]) {
    check_commands(corpus, input, &[command]);
}

/// As [`check`], of what several commands make in one folder.
pub fn check_commands(corpus: &str, input: &str, commands: &[&[&str]]) {
    let folder = fixtures().join(corpus).join(input);
    let made = Made::by(commands, &folder);
    for dataset in made.expected(corpus, input) {
        made.check_documents(&folder, &dataset);
        made.check_bad(&dataset, &dataset.component);
    }
}

/// As [`check`], of a dataset that is made by way of another, `first`, which has the bad records.
pub fn check_in_two(corpus: &str, input: &str, command: &[&str], first: &str) {
    let folder = fixtures().join(corpus).join(input);
    let made = Made::by(&[command], &folder);
    for dataset in datasets(corpus, input) {
        let names = [first, &dataset.component].map(str::to_owned);
        assert_eq!(made.names(), names.into(), "{corpus}: datasets");
        made.check_documents(&folder, &dataset);
        made.check_bad(&dataset, first);
        assert!(made.bad(&dataset.component).is_empty());
    }
}

/// As [`check`], with folders of the input packed into archives of the given names. The order in an archive is that of the
/// names in it, so documents may come in another order.
pub fn check_packed(corpus: &str, input: &str, packs: &[(&str, String)], command: &[&str]) {
    let folder = fixtures().join(corpus).join(input);
    let packed = tempfile::tempdir().unwrap();
    for (part, name) in packs {
        pack(&folder, part, &packed.path().join(name));
    }
    let made = Made::by(&[command], packed.path());
    for mut dataset in made.expected(corpus, input) {
        dataset.order = "any".to_owned();
        dataset.documents.iter_mut().for_each(|d| d.unit = None);
        made.check_documents(&folder, &dataset);
        made.check_bad(&dataset, &dataset.component);
    }
}

/// Packs the files of the folder `part` of `folder`, sorted by name.
fn pack(folder: &Path, part: &str, archive: &Path) {
    let encoder = flate2::write::GzEncoder::new(File::create(archive).unwrap(), Default::default());
    let mut builder = tar::Builder::new(encoder);
    let store = stores::Store::open(folder.to_str().unwrap()).unwrap();
    for object in store.list(part).unwrap() {
        let path = Path::new("folder").join(&object.path);
        let mut file = File::open(folder.join(&object.path)).unwrap();
        builder.append_file(path, &mut file).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
}

/// Runs `command` over a damaged corpus: the documents that are whole must come out, and only they, and the loss must be
/// counted, for the reasons that fit.
pub fn check_damaged(case: &str, command: &[&str]) {
    let folder = fixtures().join("damaged");
    let cases = read_expectations(&folder).cases;
    let expected = cases.into_iter().find(|c| c.case == case);
    let expected = expected.unwrap_or_else(|| panic!("there is no case {case}"));
    let made = Made::by(&[command], &folder.join(case));
    let found = made.documents(&expected.component);
    let documents: Vec<_> = expected.documents.iter().collect();
    made.compare(case, &folder.join(case), &documents, &found);
    let bad = made.bad(&expected.component);
    let reasons: BTreeSet<_> = bad.iter().map(|bad| bad.reason.clone()).collect();
    assert_eq!(reasons, expected.reasons, "{case}: {bad:#?}");
}

/// The miniature corpora.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/sources")
}

/// Makes a tokenizer for the embedded codec.
pub fn make_tokenizer(dir: &Path) {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tokenizer.json");
    let codec = MelRvq::embedded();
    let spec = codec.spec();
    shards::extend_tokenizer(&base, dir, spec.codebooks, spec.codebook_size).unwrap();
}

/// The program with these arguments, whatever part of its input is bad. A command of files, which are its first arguments, is
/// run in the folder of its input.
pub fn command(args: &[&str], input: &Path, tokenizer: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tokenize"));
    command.args(args);
    match args[0] {
        "instructions" => command.current_dir(input),
        _ => command.arg("--input").arg(input),
    };
    command.arg("--tokenizer").arg(tokenizer);
    command.arg("--out").arg(out);
    command.args(["--max-bad", "1", "--threads", "2"]);
    command
}

/// Runs it, which must succeed; what it says on stderr.
pub fn run(args: &[&str], input: &Path, tokenizer: &Path, out: &Path) -> String {
    let output = command(args, input, tokenizer, out).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    stderr.into_owned()
}

/// What the corpus says of datasets of this input.
fn datasets(corpus: &str, input: &str) -> Vec<ExpectedDataset> {
    let mut expected = read_expectations(&fixtures().join(corpus)).datasets;
    expected.retain(|dataset| dataset.input == input);
    expected
}

fn read_expectations(folder: &Path) -> Expectations {
    serde_json::from_slice(&fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

/// What a run of the program made.
struct Made {
    temp: TempDir,
    vocab: Vocab,
    codec: MelRvq,
}

impl Made {
    /// Runs `commands` over `input`, with a tokenizer for the embedded codec, whatever part of it is bad.
    fn by(commands: &[&[&str]], input: &Path) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let codec = MelRvq::embedded();
        let tokenizer = temp.path().join("tokenizer");
        make_tokenizer(&tokenizer);
        let vocab = Vocab::load(&tokenizer).unwrap();
        let made = Made { temp, vocab, codec };
        for command in commands {
            run(command, input, &tokenizer, &made.out());
        }
        made
    }

    fn out(&self) -> PathBuf {
        self.temp.path().join("out")
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.out()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    fn dataset(&self, component: &str) -> Dataset {
        Dataset::open(&self.out().join(component)).unwrap()
    }

    /// Each document with its unit.
    fn documents(&self, component: &str) -> Vec<(Document, String)> {
        let dataset = self.dataset(component);
        let path = dataset.dir().join(Job::FILE);
        let job = Job::parse(&fs::read(&path).unwrap(), &path).unwrap();
        let mut documents = Vec::new();
        for (shard, unit) in job.units.iter().enumerate() {
            let reader = dataset.reader(shard).unwrap();
            for group in 0..reader.row_groups() {
                let group = reader.documents(group).unwrap();
                documents.extend(group.into_iter().map(|d| (d, unit.clone())));
            }
        }
        documents
    }

    fn bad(&self, component: &str) -> Vec<BadRecord> {
        let list = fs::read_to_string(self.out().join(component).join("skipped.jsonl"));
        let list = list.unwrap_or_default();
        list.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What the corpus says of datasets of this input; no others are there.
    fn expected(&self, corpus: &str, input: &str) -> Vec<ExpectedDataset> {
        let expected = datasets(corpus, input);
        let components = expected.iter().map(|dataset| dataset.component.clone());
        assert_eq!(self.names(), components.collect(), "{corpus}: datasets");
        expected
    }

    fn check_documents(&self, input: &Path, dataset: &ExpectedDataset) {
        let name = &dataset.component;
        let mut found = self.documents(name);
        let mut documents: Vec<_> = dataset.documents.iter().collect();
        if dataset.order == "any" {
            found.sort_by(|a, b| a.0.id.cmp(&b.0.id));
            documents.sort_by(|a, b| a.id.cmp(&b.id));
        }
        self.compare(name, input, &documents, &found);
    }

    /// The bad records, in the dataset `name`, each once. One of a line may be named by the line's number.
    fn check_bad(&self, dataset: &ExpectedDataset, name: &str) {
        let mut found = self.bad(name);
        for ExpectedBad {
            unit,
            record,
            reason,
        } in &dataset.skipped
        {
            let is_line = |id: &str| {
                let number = id
                    .strip_prefix(unit)
                    .and_then(|rest| rest.strip_prefix(':'));
                number.is_some_and(|number| number.parse::<u64>().is_ok())
            };
            let is_it =
                |bad: &BadRecord| bad.reason == *reason && (bad.id == *record || is_line(&bad.id));
            let at = found.iter().position(is_it);
            let at = at.unwrap_or_else(|| panic!("{name}: no {reason} of {record} in {found:#?}"));
            found.remove(at);
        }
        assert!(found.is_empty(), "{name}: more bad records: {found:#?}");
        let manifest = self.dataset(name).manifest().clone();
        let counted: u64 = manifest.skipped.values().sum();
        let expected: u64 = dataset.counts.values().sum();
        assert_eq!(counted, expected, "{name}: {:?}", manifest.skipped);
    }

    fn compare(
        &self,
        name: &str,
        input: &Path,
        expected: &[&ExpectedDocument],
        found: &[(Document, String)],
    ) {
        let ids: Vec<_> = expected.iter().map(|document| &document.id).collect();
        let found_ids: Vec<_> = found.iter().map(|(document, _)| &document.id).collect();
        assert_eq!(found_ids, ids, "{name}: documents");
        for (expected, (document, unit)) in expected.iter().zip(found) {
            let name = format!("{name}: {}", document.id);
            if let Some(lang) = &expected.lang {
                assert_eq!(document.lang, *lang, "{name}");
            }
            if let Some(wanted) = &expected.unit {
                let is_there = unit.starts_with(wanted) || document.origin.starts_with(wanted);
                assert!(is_there, "{name}: {unit}, {}", document.origin);
            }
            let segments = expected.segments.iter();
            let segments: Vec<_> = segments.map(|s| self.segment(input, s)).collect();
            assert_eq!(document.segments, segments, "{name}");
        }
    }

    fn segment(&self, input: &Path, expected: &ExpectedSegment) -> Segment {
        let codes = match (&expected.codes, &expected.audio) {
            (Some(codes), _) => codes.clone(),
            (None, Some(recording)) => self.codes(input, recording),
            (None, None) => Vec::new(),
        };
        Segment {
            text_ids: self.vocab.encode_text(&expected.text).unwrap(),
            text: expected.text.clone(),
            codes,
            start_ms: expected.start_ms,
            end_ms: expected.end_ms,
            speaker: expected.speaker,
        }
    }

    fn codes(&self, input: &Path, recording: &Recording) -> Vec<u16> {
        let mut recorded = recording.read(input);
        if let (Some(from), Some(to)) = (recording.from_ms, recording.to_ms) {
            recorded = self.part(&recorded, from, to);
        }
        let spec = self.codec.spec();
        let blocks = audio::open(&recorded, spec.sample_rate_hz, spec.channels).unwrap();
        let samples = blocks.read_all().unwrap().audio.samples;
        encode_pieces(&self.codec, &samples).unwrap().data
    }

    /// A wav of a part of a recording, cut at the recording's own rate.
    fn part(&self, recording: &Input, from_ms: usize, to_ms: usize) -> Input {
        let rate_hz = audio::open(recording, 24_000, 1).unwrap().source_rate_hz();
        let mut audio = audio::open(recording, rate_hz, 1)
            .unwrap()
            .read_all()
            .unwrap()
            .audio;
        let sample = |ms: usize| ms * rate_hz as usize / 1000;
        audio.samples = audio.samples[sample(from_ms)..sample(to_ms)].to_vec();
        let path = self.temp.path().join("part.wav");
        audio::write_wav(&path, &audio).unwrap();
        bytes("part.wav", fs::read(path).unwrap())
    }
}

impl Recording {
    fn read(&self, input: &Path) -> Input {
        let path = input.join(&self.path);
        match (&self.member, self.row, &self.column) {
            (Some(member), ..) => bytes(member, read_member(&path, member)),
            (None, Some(row), Some(column)) => bytes(&self.path, read_cell(&path, row, column)),
            _ => Input::File(path),
        }
    }
}

fn bytes(name: &str, data: Vec<u8>) -> Input {
    Input::Bytes {
        name: name.to_owned(),
        data: data.into(),
    }
}

/// A member of a tar, compressed or not, that may be cut short behind it.
fn read_member(path: &Path, member: &str) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let mut magic = [0; 2];
    file.read_exact(&mut magic).unwrap();
    file.rewind().unwrap();
    let reader: Box<dyn Read> = match magic {
        [0x1f, 0x8b] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        _ => Box::new(file),
    };
    for entry in tar::Archive::new(reader).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path_bytes() == member.as_bytes() {
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            return data;
        }
    }
    panic!("{}: no member {member}", path.display());
}

/// The field `bytes` of a column of recordings.
fn read_cell(path: &Path, row: usize, column: &str) -> Vec<u8> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    let table = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    let cells = table.column_by_name(column).unwrap();
    let cells = cells.as_any().downcast_ref::<StructArray>().unwrap();
    let cells = cells.column_by_name("bytes").unwrap();
    let cells = cells.as_any().downcast_ref::<BinaryArray>().unwrap();
    cells.value(row).to_vec()
}
