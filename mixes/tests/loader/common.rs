//! Synthetic datasets, whose documents tell from their tokens which they are.

use mixes::*;
use serde_json::{Map, json};
use shards::*;
use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

pub const CODEBOOKS: usize = 2;
pub const SIZE: usize = 50;
pub const SEQ_LEN: usize = 32;

/// A folder with a tokenizer of single letters, extended for 2 codebooks of 50 codes.
pub fn vocabulary(dir: &Path, letters: u32) -> Vocab {
    let letter = |id: u32| {
        (
            char::from_u32('a' as u32 + id).unwrap().to_string(),
            id.into(),
        )
    };
    let vocab: Map<_, _> = (0..letters).map(letter).collect();
    let model = json!({"type": "BPE", "vocab": vocab, "merges": []});
    let base = json!({"version": "1.0", "added_tokens": [], "model": model});
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("base.json");
    fs::write(&path, base.to_string()).unwrap();
    extend_tokenizer(&path, dir, CODEBOOKS, SIZE).unwrap();
    Vocab::load(dir).unwrap()
}

/// A document whose text spells its number, so that its tokens tell it from all others.
pub fn document(number: usize, vocab: &Vocab) -> Document {
    let digit = |d: u8| (b'a' + d - b'0') as char;
    let text: String = number.to_string().bytes().map(digit).collect();
    let frames = 1 + number % 9;
    let code = |i: usize| ((number * 31 + i * 7) % SIZE) as u16;
    let spoken = Segment {
        text_ids: vocab.encode_text(&text).unwrap(),
        text,
        codes: (0..frames * CODEBOOKS).map(code).collect(),
        ..Segment::default()
    };
    let silent = Segment {
        codes: vec![1, 2],
        ..Segment::default()
    };
    Document {
        id: format!("document-{number}"),
        segments: if number.is_multiple_of(3) {
            vec![spoken, silent]
        } else {
            vec![spoken]
        },
        ..Document::default()
    }
}

/// What all test shards say about themselves.
pub fn meta(vocab: &Vocab) -> ShardMeta {
    let codec = CodecInfo {
        name: "test".into(),
        sha256: "0".into(),
        sample_rate_hz: 24_000,
        frame_rate_hz: 12.5,
        codebooks: CODEBOOKS,
        codebook_size: SIZE,
    };
    ShardMeta {
        codec: Some(codec),
        tokenizer: vocab.info().clone(),
        vocab: vocab.layout().clone(),
        arguments_sha256: "0".into(),
    }
}

/// Writes documents to the dataset DATA/name, `each` to a shard.
pub fn write(data: &Path, name: &str, vocab: &Vocab, all: &[Document], each: usize) {
    let dir = data.join(name);
    let mut entries = Vec::new();
    for (shard, documents) in all.chunks(each).enumerate() {
        let file = Dataset::shard_file_name(shard);
        let options = WriterOptions {
            row_group_tokens: 400,
        };
        let mut writer = ShardWriter::create_with(&dir.join(&file), &meta(vocab), options).unwrap();
        documents.iter().for_each(|d| writer.write(d).unwrap());
        let summary = writer.finish().unwrap();
        entries.push(ShardEntry { file, summary });
    }
    let manifest = Manifest::new(entries, BTreeMap::new(), BTreeMap::new());
    fs::write(dir.join(Manifest::FILE), manifest.to_json()).unwrap();
}

/// Writes `shards` shards of `each` documents to DATA/name, with codes of the residue `class` modulo 3 alone, by which their
/// sequences can be told; returns the documents.
pub fn dataset_of(
    data: &Path,
    name: &str,
    shards: usize,
    each: usize,
    class: usize,
) -> Vec<Document> {
    let vocab = vocabulary(&data.join(name).join("tokenizer"), 20);
    let mut all: Vec<_> = (0..shards * each)
        .map(|number| document(number, &vocab))
        .collect();
    let codes = all
        .iter_mut()
        .flat_map(|d| &mut d.segments)
        .flat_map(|s| &mut s.codes);
    codes.for_each(|code| *code = *code / 3 * 3 % 48 + class as u16);
    write(data, name, &vocab, &all, each);
    all
}

/// Writes `shards` shards of `each` documents to DATA/corpus; returns the documents.
pub fn dataset(data: &Path, shards: usize, each: usize) -> Vec<Document> {
    let vocab = vocabulary(&data.join("corpus/tokenizer"), 20);
    let all: Vec<_> = (0..shards * each)
        .map(|number| document(number, &vocab))
        .collect();
    write(data, "corpus", &vocab, &all, each);
    all
}

/// A mixture of the component `corpus` alone. Blocks of one sequence leave its order as it is.
pub fn mixture(view: View) -> Mixture {
    Mixture {
        name: "test".into(),
        validation_fraction: 0.2,
        permutation: PermutationKind::Feistel,
        stop: StopStrategy::Restart,
        block_size: 1,
        packing: Packing::Concat,
        components: vec![component("corpus", view)],
        stages: vec![stage(0, &[1.0])],
    }
}

pub fn component(source: &str, view: View) -> Component {
    Component {
        name: source.into(),
        sources: vec![source.into()],
        view,
        codebooks: CODEBOOKS,
    }
}

pub fn stage(sequences: u64, weights: &[f64]) -> Stage {
    Stage {
        start: Start::Sequences(sequences),
        weights: weights.to_vec(),
        until: None,
    }
}

pub fn options(data: &Path) -> LoaderOptions {
    LoaderOptions {
        seq_len: SEQ_LEN,
        seed: 7,
        window_groups: 3,
        simulated_epoching: None,
        cache: Some(data.join(".cache")),
    }
}

pub fn load(mixture: &Mixture, data: &Path) -> Loader {
    Loader::open(mixture, data.to_str().unwrap(), &options(data)).unwrap()
}

pub fn open(data: &Path) -> Loader {
    load(&mixture(View::Both), data)
}

pub fn refusal(mixture: &Mixture, data: &Path, options: &LoaderOptions) -> String {
    Loader::open(mixture, data.to_str().unwrap(), options)
        .err()
        .unwrap()
        .to_string()
}

/// Which corpus of several, with codes of their own residues, a sequence is of.
pub fn corpus_of(sequence: &Sequence, vocab: &Vocab) -> usize {
    let layout = vocab.layout();
    let audio = sequence
        .tokens
        .iter()
        .filter(|&&token| token >= layout.audio_base);
    let classes: HashSet<usize> = audio
        .map(|token| (token - layout.audio_base) as usize % SIZE % 3)
        .collect();
    assert_eq!(classes.len(), 1, "{classes:?}");
    classes.into_iter().next().unwrap()
}
