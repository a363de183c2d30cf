//! Ids, languages, transcripts, manifests and refusals; no audio is read, so the files are not even audio.

use std::fs;

use super::*;

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, FolderOptions) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("corpus");
    for (name, content) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let options = FolderOptions {
        dir,
        shard_bytes: 1 << 20,
        ..FolderOptions::default()
    };
    (temp, options)
}

fn refusal(options: &FolderOptions) -> String {
    Folder::open(options)
        .err()
        .expect("must be refused")
        .to_string()
}

#[test]
fn every_file_is_a_document() {
    let (_temp, options) = folder(&[
        ("en/b.wav", "12"),
        ("en/b.txt", "hello"),
        ("a.flac", "1"),
        ("wav/c.mp3", "1"),
    ]);
    let source = Folder::open(&options).unwrap();
    let documents = source.all_documents();
    let summary: Vec<_> = documents
        .iter()
        .map(|d| (d.id.as_str(), d.lang.as_str(), d.bytes()))
        .collect();
    assert_eq!(
        summary,
        [("a", "und", 1), ("en/b", "en", 2), ("wav/c", "und", 1)]
    );
    assert_eq!(documents[0].segments[0].transcript, Transcript::None);
    assert_eq!(
        documents[1].segments[0].transcript,
        Transcript::File(options.dir.join("en/b.txt"))
    );
    assert_eq!((source.name(), source.units().len()), ("corpus", 1));
    let german = FolderOptions {
        lang: Some("de".into()),
        ..options
    };
    assert!(
        Folder::open(&german)
            .unwrap()
            .all_documents()
            .iter()
            .all(|d| d.lang == "de")
    );
}

#[test]
fn units_hold_their_documents() {
    let (_temp, options) = folder(&[("a.wav", "1234"), ("b.wav", "1234"), ("c.wav", "1234")]);
    let source = Folder::open(&FolderOptions {
        shard_bytes: 8,
        ..options
    })
    .unwrap();
    let ids = |unit| {
        source
            .unit(unit)
            .iter()
            .map(|d| d.id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (ids(0), ids(1)),
        (vec!["a".to_owned(), "b".into()], vec!["c".to_owned()])
    );
    assert_eq!(source.units()[0].label, "2 documents, 8 bytes: a to b");
}

#[test]
fn nothing_found_lists_what_was_looked_for() {
    let (_temp, options) = folder(&[("a.txt", "")]);
    let text = refusal(&options);
    assert!(
        text.contains("no audio found") && text.contains("*.flac") && text.contains("*.mp4"),
        "{text}"
    );
    let text = refusal(&FolderOptions {
        dir: "no/such".into(),
        ..options
    });
    assert!(text.contains("no/such"), "{text}");
}

#[test]
fn two_files_of_one_id_are_refused() {
    let (_temp, options) = folder(&[("x/a.wav", "1"), ("x/a.flac", "1")]);
    let text = refusal(&options);
    assert!(
        text.contains("x/a.wav") && text.contains("x/a.flac") && text.contains("\"x/a\""),
        "{text}"
    );
}

#[test]
fn required_text_is_missed_before_any_work() {
    let (_temp, options) = folder(&[("a.wav", "1"), ("b.wav", "1"), ("b.txt", "hi")]);
    let text = refusal(&FolderOptions {
        require_text: true,
        ..options
    });
    assert!(
        text.contains("1 of 2 recordings") && text.contains("a.wav"),
        "{text}"
    );
}

#[test]
fn the_output_folder_is_not_input() {
    let (_temp, options) = folder(&[("a.wav", "1"), ("out/b.wav", "1")]);
    let out = Some(options.dir.join("out"));
    let source = Folder::open(&FolderOptions {
        out,
        ..options.clone()
    })
    .unwrap();
    assert_eq!(source.all_documents().len(), 1);
    let out = options.dir.parent().map(Path::to_owned);
    let text = refusal(&FolderOptions { out, ..options });
    assert!(text.contains("lies inside the output folder"), "{text}");
}

fn with_manifest(rows: &str) -> (tempfile::TempDir, FolderOptions) {
    let (temp, mut options) = folder(&[
        ("a.wav", "1"),
        ("b.wav", "1"),
        ("c.wav", "1"),
        ("c.txt", "sea"),
        ("m.jsonl", rows),
    ]);
    options.manifest = Some(options.dir.join("m.jsonl"));
    (temp, options)
}

#[test]
fn rows_of_one_document_are_its_segments() {
    let (_temp, options) = with_manifest(
        r#"{"path":"c.wav","document":"talk","speaker":"Bo","lang":"fr"}
           {"path":"./a.wav","document":"talk","speaker":"Al","lang":"fr","text":"un"}"#,
    );
    let source = Folder::open(&options).unwrap();
    let [document] = source.all_documents() else {
        panic!("one document")
    };
    assert_eq!(
        (
            document.id.as_str(),
            document.lang.as_str(),
            source.unlisted()
        ),
        ("talk", "fr", 1)
    );
    let segments: Vec<_> = document
        .segments
        .iter()
        .map(|s| (s.origin.as_str(), s.speaker.as_deref()))
        .collect();
    assert_eq!(segments, [("c.wav", Some("Bo")), ("a.wav", Some("Al"))]);
    assert_eq!(
        document.segments[0].transcript,
        Transcript::File(options.dir.join("c.txt"))
    );
    assert_eq!(
        document.segments[1].transcript,
        Transcript::Text("un".into())
    );
}

#[test]
fn bad_rows_are_refused_by_number() {
    for (rows, expected) in [
        (
            "{\"path\":\"a.wav\"}\n{\"path\":\"z.wav\"}",
            "row 2: \"z.wav\" is no audio file",
        ),
        (
            "{\"path\":\"a.wav\"}\n{\"path\":\"./a.wav\"}",
            "row 2: \"./a.wav\" is already in row 1",
        ),
        (
            "{\"path\":\"../x.wav\"}",
            "row 1: \"../x.wav\" lies outside",
        ),
        (
            "{\"path\":\"a.wav\",\"document\":\"b\"}\n{\"path\":\"b.wav\"}",
            "row 2: document id \"b\" is that of row 1",
        ),
        (
            "{\"path\":\"a.wav\",\"document\":\"d\",\"lang\":\"en\"}\n{\"path\":\"b.wav\",\"document\":\"d\"}",
            "row 2: document \"d\" has language \"und\" here and \"en\" in row 1",
        ),
    ] {
        let (_temp, options) = with_manifest(rows);
        let text = refusal(&options);
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn the_identity_changes_with_the_inputs_and_not_with_their_place() {
    let identity = |files: &[(&str, &str)]| {
        let (_temp, options) = folder(files);
        Folder::open(&options).unwrap().arguments()
    };
    let base = identity(&[("a.wav", "12"), ("a.txt", "x")]);
    assert_eq!(base, identity(&[("a.wav", "34"), ("a.txt", "y")]));
    for other in [
        [("a.wav", "123"), ("a.txt", "x")],
        [("a.wav", "12"), ("a.txt", "xy")],
        [("b.wav", "12"), ("b.txt", "x")],
        [("a.wav", "12"), ("c.txt", "x")],
    ] {
        assert_ne!(base, identity(&other), "{other:?}");
    }
}
