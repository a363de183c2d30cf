//! What the loader refuses before a step is wasted, and what it says when data change under it.

use crate::common::*;
use mixes::*;
use shards::{Dataset, Segment};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

#[test]
fn unusable_mixtures_and_data_are_refused() {
    let data = TempDir::new().unwrap();
    let good = mixture(View::Both);
    let missing = refusal(&good, data.path(), &options(data.path()));
    assert!(
        missing.contains("corpus") && missing.contains("no folders"),
        "{missing}"
    );
    dataset(data.path(), 1, 40);
    fs::create_dir(data.path().join("other")).unwrap();
    fs::write(data.path().join("other/a"), "").unwrap();

    let mut elsewhere = good.clone();
    elsewhere.components[0].sources = vec!["nowhere".into()];
    let message = refusal(&elsewhere, data.path(), &options(data.path()));
    assert!(
        message.contains("nowhere") && message.contains("the folders corpus, other"),
        "{message}"
    );
    fs::write(data.path().join("other/job.json"), "{}").unwrap();
    elsewhere.components[0].sources = vec!["other".into()];
    let message = refusal(&elsewhere, data.path(), &options(data.path()));
    assert!(message.contains("not a finished dataset"), "{message}");

    let mut greedy = good.clone();
    greedy.components[0].codebooks = 3;
    let message = refusal(&greedy, data.path(), &options(data.path()));
    assert!(
        message.contains("asks for 3") && message.contains("has 2"),
        "{message}"
    );

    let short = LoaderOptions {
        seq_len: 15,
        ..options(data.path())
    };
    assert!(refusal(&good, data.path(), &short).contains("at least 16"));
    let long = LoaderOptions {
        seq_len: 100_000,
        ..options(data.path())
    };
    let message = refusal(&good, data.path(), &long);
    assert!(
        message.contains("no sequence of 100000") && message.contains("lower the sequence length"),
        "{message}"
    );
    let windowless = LoaderOptions {
        window_groups: 0,
        ..options(data.path())
    };
    assert!(refusal(&good, data.path(), &windowless).contains("window_groups"));
}

#[test]
fn another_tokenizer_and_an_unfinished_dataset_are_refused() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 40);
    let dir = data.path().join("corpus");
    vocabulary(&dir.join("tokenizer"), 21);
    let message = refusal(&mixture(View::Both), data.path(), &options(data.path()));
    assert!(message.contains("tokenizers differ"), "{message}");
    fs::rename(dir.join("manifest.json"), dir.join("job.json")).unwrap();
    let message = refusal(&mixture(View::Both), data.path(), &options(data.path()));
    assert!(message.contains("not a finished dataset"), "{message}");
}

/// Overwrites half of a shard, but not its footer.
fn damage(path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let half = bytes.len() / 2;
    bytes[4..half].fill(0x5A);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_shard_that_changes_or_goes_during_a_run_is_named() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 2, 150);
    let shard = data.path().join("corpus").join(Dataset::shard_file_name(1));
    let whole = fs::read(&shard).unwrap();
    let failure = || open(data.path());
    let after = |change: &dyn Fn()| {
        let loader = failure();
        change();
        let message = loader.sequence(0).unwrap_err().to_string();
        assert!(message.contains("part-00001"), "{message}");
        fs::write(&shard, &whole).unwrap();
        // nothing of the failure is kept
        loader.sequence(0).unwrap();
        message
    };
    let message = after(&|| fs::write(&shard, &whole[..whole.len() - 9]).unwrap());
    assert!(message.contains("changed"), "{message}");
    after(&|| fs::remove_file(&shard).unwrap());
    let message = after(&|| damage(&shard));
    assert!(
        message.contains("damaged") && message.contains("row group"),
        "{message}"
    );
}

#[test]
fn shards_are_checked_against_the_manifest() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 2, 150);
    let shard = data.path().join("corpus").join(Dataset::shard_file_name(1));
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, &whole[1..]).unwrap();
    let message = refusal(&mixture(View::Both), data.path(), &options(data.path()));
    assert!(
        message.contains("part-00001") && message.contains("bytes"),
        "{message}"
    );
    fs::remove_file(&shard).unwrap();
    let message = refusal(&mixture(View::Both), data.path(), &options(data.path()));
    assert!(
        message.contains("part-00001") && message.contains("gone"),
        "{message}"
    );
}

#[test]
fn a_row_group_that_was_not_counted_so_is_refused() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 150);
    open(data.path());
    // an index that is whole, and of other documents
    let index = data.path().join(".cache/index");
    let file = fs::read_dir(&index)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let content = fs::read_to_string(&file).unwrap();
    let json = content.split_once('\n').unwrap().1;
    let mut counted: serde_json::Value = serde_json::from_str(json).unwrap();
    let tokens = &mut counted["shards"][0][0]["train"]["tokens"];
    *tokens = (tokens.as_u64().unwrap() + 1).into();
    let json = counted.to_string();
    fs::write(
        &file,
        format!("{}\n{json}", shards::sha256_hex(json.as_bytes())),
    )
    .unwrap();
    let message = open(data.path()).sequence(0).unwrap_err().to_string();
    assert!(
        message.contains("part-00000") && message.contains("when it was counted"),
        "{message}"
    );
}

#[test]
fn an_empty_component_is_refused() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary(&data.path().join("corpus/tokenizer"), 20);
    write(data.path(), "corpus", &vocab, &[], 10);
    let message = refusal(&mixture(View::Both), data.path(), &options(data.path()));
    assert!(
        message.contains("\"corpus\"") && message.contains("0 training documents"),
        "{message}"
    );
    let all = [document(3, &vocab)];
    write(data.path(), "corpus", &vocab, &all, 10);
    let silent = refusal(&mixture(View::Sft), data.path(), &options(data.path()));
    assert!(!silent.is_empty());
}

#[test]
fn an_instruction_without_a_response_is_refused() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary(&data.path().join("corpus/tokenizer"), 20);
    let mut all = [document(3, &vocab), document(4, &vocab)];
    for (document, speakers) in all.iter_mut().zip([[0, 1], [1, 1]]) {
        let segment = &document.segments[0];
        let by = |speaker| Segment {
            speaker: Some(speaker),
            ..segment.clone()
        };
        document.segments = speakers.map(by).into();
    }
    write(data.path(), "corpus", &vocab, &all, 10);
    let message = refusal(&mixture(View::Sft), data.path(), &options(data.path()));
    let id = format!("{:?}", all[1].id);
    for part in [id.as_str(), "of another speaker"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn components_of_other_vocabularies_are_refused() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 150);
    // of the same size, so that only its hash tells
    let folder = data.path().join("other/tokenizer");
    vocabulary(&folder, 20);
    let file = folder.join("tokenizer.json");
    let content = fs::read_to_string(&file).unwrap();
    fs::write(&file, content + "\n").unwrap();
    let vocab = shards::Vocab::load(&folder).unwrap();
    let all: Vec<_> = (0..150).map(|number| document(number, &vocab)).collect();
    write(data.path(), "other", &vocab, &all, 150);
    let both = Mixture {
        components: vec![
            component("corpus", View::Both),
            component("other", View::Both),
        ],
        stages: vec![stage(0, &[0.5, 0.5])],
        block_size: 8,
        ..mixture(View::Both)
    };
    let message = refusal(&both, data.path(), &options(data.path()));
    assert!(
        message.contains("\"corpus\"")
            && message.contains("\"other\"")
            && message.contains("retext"),
        "{message}"
    );
}

#[test]
fn the_index_is_counted_once() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 150);
    let first = open(data.path());
    let index = data.path().join(".cache/index");
    let files = || {
        fs::read_dir(&index)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let [file] = files().try_into().unwrap();
    let content = fs::read(&file).unwrap();
    let made = fs::metadata(&file).unwrap().modified().unwrap();
    assert_eq!(open(data.path()).summary(), first.summary());
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), made);
    // a damaged one is made again
    fs::write(&file, &content[..content.len() / 2]).unwrap();
    assert_eq!(open(data.path()).summary(), first.summary());
    assert_eq!(fs::read(&file).unwrap(), content);
    // another view is another index
    load(&mixture(View::Semantic), data.path());
    assert_eq!(files().len(), 2);
}
