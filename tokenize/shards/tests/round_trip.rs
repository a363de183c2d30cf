//! Documents through shards: identity, size, row groups, refusals.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shards::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn meta(codebooks: usize, codebook_size: usize) -> ShardMeta {
    ShardMeta {
        codec: Some(CodecInfo {
            name: "test".into(),
            sha256: "00".into(),
            sample_rate_hz: 24_000,
            frame_rate_hz: 12.5,
            codebooks,
            codebook_size,
        }),
        tokenizer: TokenizerInfo {
            name: "test".into(),
            sha256: "11".into(),
        },
        vocab: VocabLayout {
            bos: 1000,
            eos: 1001,
            text_start: 1002,
            text_end: 1003,
            audio_start: 1004,
            audio_end: 1005,
            audio_base: 1006,
            codebooks,
            codebook_size,
            vocab_size: 1006 + (codebooks * codebook_size) as u32,
        },
        arguments_sha256: "22".into(),
    }
}

fn shard(dir: &TempDir) -> PathBuf {
    dir.path().join("part-00000.parquet")
}

fn write_with(
    path: &Path,
    meta: &ShardMeta,
    documents: &[Document],
    row_group_tokens: usize,
) -> Result<ShardSummary> {
    let mut writer = ShardWriter::create_with(path, meta, WriterOptions { row_group_tokens })?;
    for document in documents {
        writer.write(document)?;
    }
    writer.finish()
}

fn read(path: &Path) -> Result<Vec<Vec<Document>>> {
    let reader = ShardReader::open(path)?;
    (0..reader.row_groups())
        .map(|group| reader.documents(group))
        .collect()
}

/// A document of `frames` frames of `codebooks` pseudo-random codes below 2048.
fn noise(id: usize, frames: usize, codebooks: usize) -> Document {
    let mut state = id as u64 + 1;
    let mut code = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 53) as u16
    };
    Document {
        id: format!("noise-{id:06}"),
        segments: vec![Segment {
            codes: (0..frames * codebooks).map(|_| code()).collect(),
            ..Segment::default()
        }],
        ..Document::default()
    }
}

fn segments(codebooks: usize) -> impl Strategy<Value = Segment> {
    let parts = (
        vec(0u32..1000, 0..6),
        ".{0,12}",
        vec(vec(0u16..17, codebooks), 0..4),
        option::of(any::<u32>()),
        option::of(any::<u32>()),
        option::of(any::<u16>()),
    );
    let valid = |s: &Segment| !s.text.is_empty() || (s.text_ids.is_empty() && !s.codes.is_empty());
    let segment =
        |(text_ids, text, frames, start_ms, end_ms, speaker): (_, _, Vec<Vec<u16>>, _, _, _)| {
            Segment {
                text,
                text_ids,
                codes: frames.concat(),
                start_ms,
                end_ms,
                speaker,
            }
        };
    parts.prop_map(segment).prop_filter("text or audio", valid)
}

fn documents(codebooks: usize) -> impl Strategy<Value = Vec<Document>> {
    let one = (
        ".{0,5}",
        ".{0,5}",
        ".{0,5}",
        ".{0,9}",
        vec(segments(codebooks), 0..5),
    );
    vec(one, 0..12).prop_map(|rows| {
        let numbered = rows.into_iter().enumerate();
        numbered
            .map(|(i, (id, source, lang, origin, segments))| Document {
                id: format!("{id}{i}"),
                source,
                lang,
                origin,
                segments,
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn documents_survive_a_shard(
        (codebooks, documents) in (1usize..5).prop_flat_map(|n| (Just(n), documents(n))),
        row_group_tokens in 1usize..60,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let summary = write_with(&shard(&dir), &meta(codebooks, 17), &documents, row_group_tokens).unwrap();
        let groups = read(&shard(&dir)).unwrap();
        prop_assert_eq!(summary.row_groups as usize, groups.len());
        prop_assert_eq!(&groups.concat(), &documents);
        let reader = ShardReader::open(&shard(&dir)).unwrap();
        prop_assert_eq!(reader.meta(), &meta(codebooks, 17));
        let tokens = |d: &Document| d.segments.iter().map(|s| s.text_ids.len() + s.codes.len()).sum::<usize>();
        for (group, documents) in groups.iter().enumerate() {
            let counted: Result<Vec<_>> = documents.iter().map(|d| DocumentCounts::of(d, codebooks)).collect();
            prop_assert_eq!(reader.counts(group).unwrap(), counted.unwrap());
            let total: usize = documents.iter().map(tokens).sum();
            prop_assert!(total <= 2 * row_group_tokens || documents.iter().filter(|d| tokens(d) > 0).count() == 1);
            prop_assert!(total >= row_group_tokens || group + 1 == groups.len() || tokens(&groups[group + 1][0]) + total > 2 * row_group_tokens);
        }
    }
}

#[test]
fn an_audio_token_costs_at_most_1_45_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..130).map(|id| noise(id, 1000, 8)).collect();
    let mut writer = ShardWriter::create(&shard(&dir), &meta(8, 2048)).unwrap();
    documents.iter().for_each(|d| writer.write(d).unwrap());
    let summary = writer.finish().unwrap();
    let bytes = fs::metadata(shard(&dir)).unwrap().len();
    assert_eq!(
        (summary.bytes, summary.frames, summary.row_groups),
        (bytes, 130_000, 1)
    );
    let each = bytes as f64 / (summary.frames * 8) as f64;
    println!(
        "{each:.4} bytes a token of {} random codes",
        summary.frames * 8
    );
    assert!(each <= 1.45, "{each} bytes an audio token");
    assert_eq!(read(&shard(&dir)).unwrap().concat(), documents);
}

#[test]
fn bytes_depend_on_the_documents_only() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..20).map(|id| noise(id, 30, 4)).collect();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let first = write_with(&a, &meta(4, 2048), &documents, 500).unwrap();
    let second = write_with(&b, &meta(4, 2048), &documents, 500).unwrap();
    assert_eq!(first, second);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert_eq!(first.sha256, sha256_file(&a).unwrap());
    assert!(first.row_groups > 1);
}

#[test]
fn an_unfinished_shard_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(&shard(&dir), &meta(4, 2048)).unwrap();
    writer.write(&noise(0, 10, 4)).unwrap();
    let file = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
    let name = file.file_name().into_string().unwrap();
    assert!(
        name.starts_with(".part-00000.parquet.") && name.ends_with(".partial"),
        "{name}"
    );
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn bad_documents_are_refused_and_leave_the_shard_usable() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = ShardWriter::create(&shard(&dir), &meta(4, 100)).unwrap();
    let text = |id: &str, text: &str, text_ids: Vec<u32>, codes: Vec<u16>| Document {
        id: id.into(),
        segments: vec![Segment {
            text: text.into(),
            text_ids,
            codes,
            ..Segment::default()
        }],
        ..Document::default()
    };
    writer
        .write(&text("good", "hi", vec![5], vec![1, 2, 3, 99]))
        .unwrap();
    for (document, expected) in [
        (text("", "hi", vec![5], vec![]), "empty id"),
        (text("good", "hi", vec![5], vec![]), "\"good\" occurs twice"),
        (text("d", "", vec![], vec![]), "neither text nor audio"),
        (text("d", "", vec![5, 6], vec![]), "2 text ids but no text"),
        (
            text("d", "hi", vec![5, 1000], vec![]),
            "text token 1 is 1000, which is a marker",
        ),
        (
            text("d", "hi", vec![1006 + 250], vec![]),
            "audio of codebook 2",
        ),
        (text("d", "hi", vec![9999], vec![]), "past the vocabulary"),
        (
            text("d", "", vec![], vec![1; 6]),
            "6 codes, not a multiple of the 4",
        ),
        (
            text("d", "", vec![], vec![1, 2, 3, 4, 5, 6, 100, 8]),
            "frame 1, codebook 2: code 100",
        ),
    ] {
        let error = writer.write(&document).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(writer.finish().unwrap().documents, 1);
}

#[test]
fn audio_needs_a_codec_that_fits_the_vocabulary() {
    let dir = tempfile::tempdir().unwrap();
    let mut text_only = meta(4, 2048);
    text_only.codec = None;
    let mut writer = ShardWriter::create(&shard(&dir), &text_only).unwrap();
    assert!(
        writer
            .write(&noise(0, 1, 4))
            .unwrap_err()
            .to_string()
            .contains("without a codec")
    );
    for (codebooks, size) in [(5, 2048), (4, 1024)] {
        let mut wrong = meta(4, 2048);
        wrong.codec = meta(codebooks, size).codec;
        let error = ShardWriter::create(&shard(&dir), &wrong)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("make a vocabulary"), "{error}");
    }
}

#[test]
fn other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = shard(&dir);
    let open = || {
        ShardReader::open(&path)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(open().contains("cannot open") && open().contains("part-00000.parquet"));
    fs::write(&path, b"not parquet at all, but long enough to look").unwrap();
    assert!(open().contains("truncated or damaged") && open().contains("tokenize"));
    write_with(&path, &meta(4, 2048), &[noise(0, 10, 4)], 500).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
    assert!(open().contains("truncated or damaged"));
    // The key of the format version is in the footer: another version, and a file without the key.
    let key = b"timbre.format_version";
    let at = bytes
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    let mut changed = bytes.clone();
    assert_eq!(changed[at + key.len() + 2], b'1');
    changed[at + key.len() + 2] = b'7';
    fs::write(&path, &changed).unwrap();
    assert!(
        open().contains("version 7") && open().contains("reads format 1"),
        "{}",
        open()
    );
    changed[at] = b'T';
    fs::write(&path, &changed).unwrap();
    assert!(open().contains("not a token shard"), "{}", open());
}

#[test]
fn row_groups_are_numbered() {
    let dir = tempfile::tempdir().unwrap();
    write_with(&shard(&dir), &meta(4, 2048), &[noise(0, 10, 4)], 500).unwrap();
    let reader = ShardReader::open(&shard(&dir)).unwrap();
    let error = reader.documents(1).unwrap_err().to_string();
    assert!(
        error.contains("1 row groups") && error.contains("no number 1"),
        "{error}"
    );
}

/// Damage anywhere is an error or goes unseen inside compressed values; it never brings the program down.
#[test]
fn damaged_bytes_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let documents: Vec<_> = (0..4).map(|id| noise(id, 20, 4)).collect();
    write_with(&shard(&dir), &meta(4, 2048), &documents, 100).unwrap();
    let bytes = fs::read(shard(&dir)).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        fs::write(shard(&dir), &changed).unwrap();
        refused += usize::from(read(&shard(&dir)).is_err());
    }
    assert!(
        refused > bytes.len() / 10,
        "{refused} of {} damages noticed",
        bytes.len()
    );
}
