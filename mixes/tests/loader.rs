//! The loader over synthetic datasets: every token once, the same sequences after any restart, and what it refuses.

use mixes::*;
use serde_json::{Map, json};
use shards::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const CODEBOOKS: usize = 2;
const SIZE: usize = 50;
const SEQ_LEN: usize = 32;

/// A folder with a tokenizer of single letters, extended for 2 codebooks of 50 codes.
fn vocabulary(dir: &Path, letters: u32) -> Vocab {
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
fn document(number: usize, vocab: &Vocab) -> Document {
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

/// Writes `shards` shards of `each` documents to DATA/corpus; returns the documents.
fn dataset(data: &Path, shards: usize, each: usize) -> Vec<Document> {
    let dir = data.join("corpus");
    let vocab = vocabulary(&dir.join("tokenizer"), 20);
    let codec = CodecInfo {
        name: "test".into(),
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
    let all: Vec<_> = (0..shards * each)
        .map(|number| document(number, &vocab))
        .collect();
    let mut entries = Vec::new();
    for (shard, documents) in all.chunks(each).enumerate() {
        let file = Dataset::shard_file_name(shard);
        let options = WriterOptions {
            row_group_tokens: 400,
        };
        let mut writer = ShardWriter::create_with(&dir.join(&file), &meta, options).unwrap();
        documents.iter().for_each(|d| writer.write(d).unwrap());
        let summary = writer.finish().unwrap();
        entries.push(ShardEntry { file, summary });
    }
    let manifest = Manifest::new(entries, BTreeMap::new(), BTreeMap::new());
    fs::write(dir.join(Manifest::FILE), manifest.to_json()).unwrap();
    all
}

fn mixture(view: View) -> Mixture {
    Mixture {
        name: "test".into(),
        validation_fraction: 0.2,
        permutation: PermutationKind::Feistel,
        stop: StopStrategy::Restart,
        block_size: Mixture::BLOCK_SIZE,
        packing: Packing::Concat,
        components: vec![Component {
            name: "corpus".into(),
            sources: vec!["corpus".into()],
            view,
            codebooks: CODEBOOKS,
        }],
        stages: vec![Stage {
            start: Start::Sequences(0),
            weights: vec![1.0],
            until: None,
        }],
    }
}

fn options() -> LoaderOptions {
    LoaderOptions {
        seq_len: SEQ_LEN,
        seed: 7,
        window_row_groups: 3,
    }
}

fn open(data: &Path) -> Loader {
    Loader::open(&mixture(View::Both), data, &options()).unwrap()
}

fn refusal(mixture: &Mixture, data: &Path, options: &LoaderOptions) -> String {
    Loader::open(mixture, data, options)
        .err()
        .unwrap()
        .to_string()
}

/// The training renderings of `all`, or the validation ones.
fn renderings(
    all: &[Document],
    layout: &VocabLayout,
    view: View,
    validation: bool,
) -> Vec<Vec<u32>> {
    let mut out = Vec::new();
    for document in all
        .iter()
        .filter(|d| is_validation(&d.id, 0.2) == validation)
    {
        for order in view.variants() {
            let mut tokens = Vec::new();
            order.render(document, layout, CODEBOOKS, CODEBOOKS, &mut tokens);
            out.push(tokens);
        }
    }
    out
}

/// Every packed document of an epoch's sequences that lies whole within one sequence.
fn whole_documents(sequences: &[Sequence], layout: &VocabLayout) -> Vec<Vec<u32>> {
    let mut found = Vec::new();
    for sequence in sequences {
        for segment in 0..=*sequence.segment_ids.last().unwrap() {
            let ids = sequence.tokens.iter().zip(&sequence.segment_ids);
            let tokens: Vec<u32> = ids
                .filter(|(_, s)| **s == segment)
                .map(|(t, _)| *t)
                .collect();
            if tokens[0] == layout.bos && tokens[tokens.len() - 1] == layout.eos && tokens.len() > 1
            {
                found.push(tokens);
            }
        }
    }
    found
}

fn epoch(loader: &Loader, number: u64) -> Vec<Sequence> {
    let n = loader.summary().sequences_per_epoch;
    (number * n..(number + 1) * n)
        .map(|i| loader.sequence(i).unwrap())
        .collect()
}

#[test]
fn an_epoch_has_every_training_token_once_but_for_the_remainders() {
    let data = TempDir::new().unwrap();
    let all = dataset(data.path(), 3, 150);
    for view in [View::Both, View::TextFirst, View::AudioFirst] {
        let loader = Loader::open(&mixture(view), data.path(), &options()).unwrap();
        let (summary, layout) = (loader.summary(), loader.vocab().layout().clone());
        let expected = renderings(&all, &layout, view, false);
        let tokens: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(summary.train_tokens as usize, tokens);
        let row_groups = summary.components[0].row_groups;
        assert!(row_groups > 8, "{row_groups} row groups");
        let served = summary.sequences_per_epoch as usize * SEQ_LEN;
        assert!(served <= tokens && tokens - served < row_groups * SEQ_LEN);

        let mut left: BTreeMap<Vec<u32>, usize> = BTreeMap::new();
        expected
            .into_iter()
            .for_each(|tokens| *left.entry(tokens).or_default() += 1);
        let sequences = epoch(&loader, 0);
        let mut histogram = vec![0i64; layout.vocab_size as usize];
        for tokens in whole_documents(&sequences, &layout) {
            let count = left.get_mut(&tokens).expect("a training document");
            *count = count.checked_sub(1).expect("each rendering once");
        }
        sequences
            .iter()
            .flat_map(|s| &s.tokens)
            .for_each(|&t| histogram[t as usize] += 1);
        for tokens in renderings(&all, &layout, view, false) {
            tokens.iter().for_each(|&t| histogram[t as usize] -= 1);
        }
        assert!(
            histogram.iter().all(|&n| n <= 0),
            "no token is served more often than it is stored"
        );
        assert_eq!(-histogram.iter().sum::<i64>(), (tokens - served) as i64);
    }
}

#[test]
fn sequences_are_a_pure_function_of_their_number() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 2, 150);
    let loader = open(data.path());
    let n = loader.summary().sequences_per_epoch;
    let forward: Vec<_> = (0..2 * n).map(|i| loader.sequence(i).unwrap()).collect();
    let fresh = open(data.path());
    for i in (0..2 * n).rev() {
        assert_eq!(
            fresh.sequence(i).unwrap(),
            forward[i as usize],
            "sequence {i} read backwards"
        );
    }
    // A stride visits windows and epochs in an order that no cache expects, from several threads.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (fresh, forward) = (&fresh, &forward);
            scope.spawn(move || {
                for step in 0..2 * n {
                    let i = (step * 37 + thread * 11) % (2 * n);
                    assert_eq!(fresh.sequence(i).unwrap(), forward[i as usize]);
                }
            });
        }
    });
    assert_ne!(
        forward[..n as usize],
        forward[n as usize..],
        "epochs differ in order"
    );
    let other = Loader::open(
        &mixture(View::Both),
        data.path(),
        &LoaderOptions {
            seed: 8,
            ..options()
        },
    )
    .unwrap();
    assert_ne!(
        epoch(&other, 0),
        forward[..n as usize],
        "seeds differ in order"
    );
    loader.sequence((1 << 40) - 1).unwrap();
    assert!(
        loader
            .sequence(1 << 40)
            .unwrap_err()
            .to_string()
            .contains("2^40")
    );
}

#[test]
fn validation_is_apart_complete_and_in_order() {
    let data = TempDir::new().unwrap();
    let all = dataset(data.path(), 2, 150);
    let loader = open(data.path());
    let layout = loader.vocab().layout().clone();
    let expected = renderings(&all, &layout, View::Both, true);
    let sequences = loader.validation().unwrap();
    let tokens: Vec<u32> = sequences.iter().flat_map(|s| s.tokens.clone()).collect();
    let stored = expected.concat();
    assert_eq!(loader.summary().validation_tokens as usize, stored.len());
    assert!(!stored.is_empty() && tokens.len() - stored.len() < SEQ_LEN);
    assert_eq!(tokens[..stored.len()], stored);
    assert!(tokens[stored.len()..].iter().all(|&t| t == layout.eos));
    let weights: Vec<f32> = sequences
        .iter()
        .flat_map(|s| s.loss_weights.clone())
        .collect();
    assert!(weights[stored.len() - 1..].iter().all(|&w| w == 0.0));

    let kept: BTreeSet<_> = expected.into_iter().collect();
    let trained = whole_documents(&epoch(&loader, 0), &layout);
    assert!(trained.len() > 100 && trained.iter().all(|document| !kept.contains(document)));
}

#[test]
fn shapes_and_weights() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 100);
    let loader = open(data.path());
    let eos = loader.vocab().layout().eos;
    for sequence in epoch(&loader, 0) {
        assert_eq!(
            [
                sequence.tokens.len(),
                sequence.segment_ids.len(),
                sequence.loss_weights.len()
            ],
            [SEQ_LEN; 3]
        );
        for i in 0..SEQ_LEN - 1 {
            let ends = sequence.tokens[i] == eos;
            assert_eq!(sequence.loss_weights[i], if ends { 0.0 } else { 1.0 });
            assert_eq!(
                sequence.segment_ids[i + 1] - sequence.segment_ids[i],
                u32::from(ends)
            );
        }
        assert_eq!(
            (sequence.segment_ids[0], sequence.loss_weights[SEQ_LEN - 1]),
            (0, 0.0)
        );
    }
}

#[test]
fn fewer_codebooks_are_the_first_ones() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 100);
    let mut semantic = mixture(View::AudioFirst);
    semantic.components[0].codebooks = 1;
    let loader = Loader::open(&semantic, data.path(), &options()).unwrap();
    let layout = loader.vocab().layout().clone();
    let all = epoch(&loader, 0);
    let audio = all
        .iter()
        .flat_map(|s| &s.tokens)
        .filter(|&&t| t >= layout.audio_base);
    assert!(audio.clone().count() > 100);
    assert!(
        audio
            .into_iter()
            .all(|&t| layout.kind(t) == TokenKind::Audio(0))
    );
}

#[test]
fn unusable_mixtures_and_data_are_refused() {
    let data = TempDir::new().unwrap();
    let good = mixture(View::Both);
    let missing = refusal(&good, data.path(), &options());
    assert!(
        missing.contains("corpus") && missing.contains("no folders"),
        "{missing}"
    );
    dataset(data.path(), 1, 40);
    fs::create_dir(data.path().join("other")).unwrap();

    let mut elsewhere = good.clone();
    elsewhere.components[0].sources[0] = "nowhere".into();
    let message = refusal(&elsewhere, data.path(), &options());
    assert!(
        message.contains("nowhere") && message.contains("the folders corpus, other"),
        "{message}"
    );
    elsewhere.components[0].sources[0] = "other".into();
    let message = refusal(&elsewhere, data.path(), &options());
    assert!(message.contains("not a dataset"), "{message}");

    let mut two = good.clone();
    two.components.push(two.components[0].clone());
    assert!(refusal(&two, data.path(), &options()).contains("not supported yet"));
    let mut greedy = good.clone();
    greedy.components[0].codebooks = 3;
    let message = refusal(&greedy, data.path(), &options());
    assert!(
        message.contains("asks for 3") && message.contains("has 2"),
        "{message}"
    );

    let short = LoaderOptions {
        seq_len: 15,
        ..options()
    };
    assert!(refusal(&good, data.path(), &short).contains("at least 16"));
    let long = LoaderOptions {
        seq_len: 100_000,
        ..options()
    };
    let message = refusal(&good, data.path(), &long);
    assert!(
        message.contains("no sequence of 100000") && message.contains("lower the sequence length"),
        "{message}"
    );
    let windowless = LoaderOptions {
        window_row_groups: 0,
        ..options()
    };
    assert!(refusal(&good, data.path(), &windowless).contains("window_row_groups"));
}

#[test]
fn another_tokenizer_and_an_unfinished_dataset_are_refused() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 40);
    let dir = data.path().join("corpus");
    vocabulary(&dir.join("tokenizer"), 21);
    let message = refusal(&mixture(View::Both), data.path(), &options());
    assert!(message.contains("tokenizers differ"), "{message}");
    fs::rename(dir.join("manifest.json"), dir.join("job.json")).unwrap();
    let message = refusal(&mixture(View::Both), data.path(), &options());
    assert!(message.contains("has not finished"), "{message}");
}
