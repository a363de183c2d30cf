//! `tokenize stats`.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::Serialize;
use shards::{Dataset, TokenKind};

use crate::nearby::Nearby;
use crate::summary::{table, thousands};

const EXAMPLES: &str = "\
Examples:
  tokenize stats data/recordings
  tokenize stats data/recordings --json";

/// Count documents, hours and tokens of a dataset
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A dataset made by `tokenize`; one in an object store is first copied to a temporary folder
    #[arg(value_name = "DIR|URL")]
    dir: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Totals of the documents of one language, or of all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Totals {
    documents: u64,
    audio_only_documents: u64,
    frames: u64,
    text_tokens: u64,
}

/// Totals of a dataset.
#[derive(Debug, Serialize)]
struct Stats {
    documents: u64,
    audio_only_documents: u64,
    audio_hours: f64,
    /// By kind: text, semantic, acoustic-1, …
    tokens: BTreeMap<String, u64>,
    languages: BTreeMap<String, Language>,
    shards: usize,
    bytes: u64,
    bytes_per_audio_token: Option<f64>,
    skipped: BTreeMap<String, u64>,
}

/// Totals of a language.
#[derive(Debug, Serialize)]
struct Language {
    documents: u64,
    audio_only_documents: u64,
    audio_hours: f64,
    tokens: BTreeMap<String, u64>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let nearby = Nearby::open(&args.dir)?;
    let dataset = Dataset::open(nearby.dir())?;
    let stats = stats(&dataset)?;
    if args.json {
        return super::print_json(&stats);
    }
    print(&stats);
    Ok(())
}

fn stats(dataset: &Dataset) -> anyhow::Result<Stats> {
    let shards: Vec<_> = (0..dataset.shards().len())
        .into_par_iter()
        .map(|shard| languages(dataset, shard))
        .collect::<Result<_, shards::Error>>()?;
    let mut by_language: BTreeMap<String, Totals> = BTreeMap::new();
    for (lang, totals) in shards.into_iter().flatten() {
        by_language.entry(lang).or_default().add(&totals);
    }
    let mut all = Totals::default();
    by_language.values().for_each(|totals| all.add(totals));
    let codec = match dataset.shards().is_empty() {
        true => None,
        false => dataset.reader(0)?.meta().codec.clone(),
    };
    let (codebooks, rate) = codec.map_or((0, 1.0), |codec| (codec.codebooks, codec.frame_rate_hz));
    let language = |totals: &Totals| Language {
        documents: totals.documents,
        audio_only_documents: totals.audio_only_documents,
        audio_hours: totals.frames as f64 / rate / 3600.0,
        tokens: totals.tokens(codebooks),
    };
    let bytes = dataset
        .shards()
        .iter()
        .map(|shard| shard.summary.bytes)
        .sum();
    let audio_tokens = all.frames * codebooks as u64;
    let whole = language(&all);
    Ok(Stats {
        documents: whole.documents,
        audio_only_documents: whole.audio_only_documents,
        audio_hours: whole.audio_hours,
        tokens: whole.tokens,
        languages: by_language
            .iter()
            .map(|(lang, totals)| (lang.clone(), language(totals)))
            .collect(),
        shards: dataset.shards().len(),
        bytes,
        bytes_per_audio_token: (audio_tokens > 0).then(|| bytes as f64 / audio_tokens as f64),
        skipped: dataset.manifest().skipped.clone(),
    })
}

/// Totals of one shard by language.
fn languages(dataset: &Dataset, shard: usize) -> Result<BTreeMap<String, Totals>, shards::Error> {
    let reader = dataset.reader(shard)?;
    let codebooks = reader.meta().codebooks().max(1);
    let mut languages: BTreeMap<String, Totals> = BTreeMap::new();
    for row_group in 0..reader.row_groups() {
        for document in reader.documents(row_group)? {
            let text_tokens: usize = document.segments.iter().map(|s| s.text_ids.len()).sum();
            let codes: usize = document.segments.iter().map(|s| s.codes.len()).sum();
            languages.entry(document.lang).or_default().add(&Totals {
                documents: 1,
                audio_only_documents: u64::from(text_tokens == 0),
                frames: (codes / codebooks) as u64,
                text_tokens: text_tokens as u64,
            });
        }
    }
    Ok(languages)
}

impl Totals {
    fn add(&mut self, other: &Totals) {
        self.documents += other.documents;
        self.audio_only_documents += other.audio_only_documents;
        self.frames += other.frames;
        self.text_tokens += other.text_tokens;
    }

    /// Tokens by kind; a frame has one token of each codebook. Markers are not counted: views add them.
    fn tokens(&self, codebooks: usize) -> BTreeMap<String, u64> {
        let count = |kind: TokenKind| match kind {
            TokenKind::Text => Some(self.text_tokens),
            TokenKind::Marker => None,
            TokenKind::Audio(_) => Some(self.frames),
        };
        let kinds = TokenKind::all(codebooks).into_iter();
        kinds
            .filter_map(|kind| Some((kind.to_string(), count(kind)?)))
            .collect()
    }
}

fn print(stats: &Stats) {
    let hours = |hours: f64| format!("{hours:.3}");
    let row = |name: &str,
               documents: u64,
               audio_only: u64,
               audio_hours: f64,
               tokens: &BTreeMap<String, u64>| {
        let audio: u64 = tokens
            .iter()
            .filter(|(kind, _)| *kind != "text")
            .map(|(_, n)| n)
            .sum();
        let text = tokens.get("text").copied().unwrap_or(0);
        vec![
            name.to_owned(),
            thousands(documents),
            thousands(audio_only),
            hours(audio_hours),
            thousands(text),
            thousands(audio),
        ]
    };
    let header = [
        "language",
        "documents",
        "audio only",
        "hours",
        "text tokens",
        "audio tokens",
    ];
    let mut rows: Vec<_> = stats
        .languages
        .iter()
        .map(|(lang, l)| {
            row(
                lang,
                l.documents,
                l.audio_only_documents,
                l.audio_hours,
                &l.tokens,
            )
        })
        .collect();
    rows.push(row(
        "all",
        stats.documents,
        stats.audio_only_documents,
        stats.audio_hours,
        &stats.tokens,
    ));
    println!(
        "{}\n",
        table(Some(header.map(str::to_owned).to_vec()), rows)
    );
    let kinds = stats
        .tokens
        .iter()
        .map(|(kind, n)| vec![kind.clone(), thousands(*n)]);
    println!(
        "{}\n",
        table(Some(vec!["kind".into(), "tokens".into()]), kinds)
    );
    let per_token = stats
        .bytes_per_audio_token
        .map_or("-".to_owned(), |bytes| format!("{bytes:.3}"));
    println!(
        "{} shards, {} bytes, {per_token} bytes per audio token",
        stats.shards,
        thousands(stats.bytes)
    );
    for (reason, n) in &stats.skipped {
        println!("skipped, {reason}: {}", thousands(*n));
    }
}
