//! Measures the loader: writes a corpus of random codes, or reads sequences of one.
//!
//!     read_sequences make DIR TOKENS
//!     read_sequences read DIR SEQUENCES SEQ_LEN [FIRST_STEP]
//!
//! Speech-like documents: 1 to 20 utterances of 2 to 12 s in 8 codebooks of 2,048 codes, each with a transcript of a fiftieth of
//! its tokens. `read` opens the corpus in view `both` and takes its batches of 128 sequences, as training does; it prints JSON.

use mixes::{
    Batches, Component, Loader, LoaderOptions, Mixture, Packing, PermutationKind, Share, Stage,
    Start, StopStrategy, View,
};
use serde_json::json;
use shards::*;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

// as the programs have it
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CODEBOOKS: usize = 8;
const SIZE: usize = 2048;
const BATCH: u64 = 128;
const SHARD_TOKENS: u64 = 40_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", dir, tokens] => make(Path::new(dir), tokens.parse()?),
        ["read", dir, sequences, seq_len] => read(dir, sequences.parse()?, seq_len.parse()?, 0),
        ["read", dir, sequences, seq_len, first] => {
            read(dir, sequences.parse()?, seq_len.parse()?, first.parse()?)
        }
        _ => Err(
            "usage: read_sequences make DIR TOKENS | read DIR SEQUENCES SEQ_LEN [FIRST_STEP]"
                .into(),
        ),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

fn make(dir: &Path, tokens: u64) -> Outcome<()> {
    let dir = dir.join("speech");
    let vocab = vocabulary(&dir.join("tokenizer"))?;
    let codec = CodecInfo {
        name: "random".into(),
        sha256: "0".into(),
        sample_rate_hz: 24_000,
        frame_rate_hz: 12.5,
        codebooks: CODEBOOKS,
        codebook_size: SIZE,
    };
    let meta = ShardMeta {
        codec: Some(codec),
        tokenizer: vocab.info().clone(),
        vocab: vocab.layout().clone(),
        arguments_sha256: "0".into(),
    };
    let mut random = Random(1);
    let (mut made, mut entries) = (0, Vec::new());
    while made < tokens {
        let file = Dataset::shard_file_name(entries.len());
        let mut writer = ShardWriter::create(&dir.join(&file), &meta)?;
        let until = tokens.min(made + SHARD_TOKENS);
        while made < until {
            let document = document(made, &mut random);
            made += document
                .segments
                .iter()
                .map(|s| (s.codes.len() + s.text_ids.len()) as u64)
                .sum::<u64>();
            writer.write(&document)?;
        }
        let summary = writer.finish()?;
        entries.push(ShardEntry { file, summary });
    }
    fs::write(
        dir.join(Manifest::FILE),
        Manifest::new(entries, BTreeMap::new(), BTreeMap::new()).to_json(),
    )?;
    Ok(())
}

/// A tokenizer of single letters: texts are not encoded here.
fn vocabulary(dir: &Path) -> Outcome<Vocab> {
    let ids: serde_json::Map<_, _> = ('a'..='z')
        .enumerate()
        .map(|(id, letter)| (letter.to_string(), id.into()))
        .collect();
    let model = json!({"type": "BPE", "vocab": ids, "merges": []});
    fs::create_dir_all(dir)?;
    let base = dir.join("base.json");
    fs::write(
        &base,
        json!({"version": "1.0", "added_tokens": [], "model": model}).to_string(),
    )?;
    extend_tokenizer(&base, dir, CODEBOOKS, SIZE)?;
    Ok(Vocab::load(dir)?)
}

fn document(number: u64, random: &mut Random) -> Document {
    let utterances = 1 + random.below(20);
    let segments = (0..utterances).map(|_| {
        let codes = (25 + random.below(125)) as usize * CODEBOOKS;
        let letters: String = (0..codes / 50)
            .map(|_| (b'a' + random.below(26) as u8) as char)
            .collect();
        Segment {
            text_ids: letters
                .bytes()
                .map(|letter| u32::from(letter - b'a'))
                .collect(),
            text: letters,
            codes: (0..codes)
                .map(|_| random.below(SIZE as u64) as u16)
                .collect(),
            ..Segment::default()
        }
    });
    Document {
        id: format!("document-{number:012}"),
        source: "speech".into(),
        segments: segments.collect(),
        ..Document::default()
    }
}

fn read(dir: &str, sequences: u64, seq_len: usize, first_step: u64) -> Outcome<()> {
    let mixture = Mixture {
        name: "speech".into(),
        validation_fraction: 0.0001,
        permutation: PermutationKind::Feistel,
        stop: StopStrategy::Restart,
        block_size: Mixture::BLOCK_SIZE,
        packing: Packing::Concat,
        components: vec![Component {
            name: "speech".into(),
            sources: vec!["speech".into()],
            view: View::Both,
            codebooks: CODEBOOKS,
        }],
        stages: vec![Stage {
            start: Start::Sequences(0),
            weights: vec![1.0],
            until: None,
        }],
    };
    let options = LoaderOptions {
        seq_len,
        seed: 0,
        window_groups: 8,
        simulated_epoching: None,
        cache: None,
    };
    let start = Instant::now();
    let loader = Arc::new(Loader::open(&mixture, dir, &options)?);
    let opened = start.elapsed();
    let mut batches = Batches::start(loader, Share::whole(BATCH), first_step * BATCH, 2);
    black_box(batches.next().ok_or("no batch")??);
    let first = start.elapsed();
    let (start, steps) = (Instant::now(), sequences.div_ceil(BATCH));
    for _ in 0..steps {
        black_box(batches.next().ok_or("no batch")??);
    }
    let tokens = (steps * BATCH) as usize * seq_len;
    let result = json!({
        "open_secs": opened.as_secs_f64(),
        "first_batch_secs": first.as_secs_f64(),
        "tokens": tokens,
        "tokens_per_sec": tokens as f64 / start.elapsed().as_secs_f64(),
        "peak_mib": peak_mib(),
    });
    println!("{result}");
    Ok(())
}

/// Largest resident size so far, where the system tells it.
fn peak_mib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}
