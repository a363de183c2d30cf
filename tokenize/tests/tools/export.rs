//! `tokenize export`.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;
use shards::{Document, DocumentCounts, Order, Segment, View, Vocab};

use crate::common::{
    Place, documents, json, repository, rewrite_shard, run_ok, run_refused, tokenize,
};

/// Codes of a frame.
const STORED: usize = 8;

fn export(place: &Place, view: &str, form: &str, out: &str) -> Command {
    export_of(&place.path("en"), view, form, &place.path(out))
}

fn export_of(dataset: &Path, view: &str, form: &str, out: &Path) -> Command {
    let mut export = tokenize("export");
    export.arg(dataset).args(["--view", view, "--to", form]);
    export.arg("--out").arg(out);
    export
}

fn parts(dir: &Path, extension: &str) -> Vec<File> {
    let path = |number| dir.join(format!("part-{number:05}.{extension}"));
    (0..)
        .map_while(|number| File::open(path(number)).ok())
        .collect()
}

/// The string columns of parquet files, and the ids if they have some.
fn table(dir: &Path, columns: &[&str]) -> Vec<(Vec<String>, Vec<u32>)> {
    let mut rows = Vec::new();
    for file in parts(dir, "parquet") {
        for batch in ParquetRecordBatchReaderBuilder::try_new(file)
            .unwrap()
            .build()
            .unwrap()
        {
            let batch = batch.unwrap();
            for row in 0..batch.num_rows() {
                let strings = columns
                    .iter()
                    .map(|c| batch[*c].as_string::<i32>().value(row).to_owned());
                let ids = batch.column_by_name("input_ids").map(|column| {
                    let ids = column.as_list::<i32>().value(row);
                    ids.as_primitive::<UInt32Type>().values().to_vec()
                });
                rows.push((strings.collect(), ids.unwrap_or_default()));
            }
        }
    }
    rows
}

/// What is to come out, by the view's definition.
fn expected(
    documents: &[Document],
    vocab: &Vocab,
    view: View,
    codebooks: usize,
) -> Vec<(String, Vec<u32>)> {
    let mut rows = Vec::new();
    for document in documents {
        let counts = DocumentCounts::of(document, STORED).unwrap();
        for order in view.renderings(&counts) {
            let mut ids = Vec::new();
            order.render(document, vocab.layout(), STORED, codebooks, &mut ids);
            let kind = if *order == Order::TextFirst { 1 } else { 2 };
            rows.push((format!("{}_type{kind}", document.id), ids));
        }
    }
    rows
}

#[test]
fn token_ids_are_those_of_the_view() {
    let place = Place::new();
    let en = documents(&place.dataset("en"));
    let vocab = Vocab::load(&place.path("tokenizer")).unwrap();
    let summary = json(&run_ok(
        export(&place, "both", "parquet", "both").arg("--json"),
    ));
    let wanted = expected(&en, &vocab, View::Both, STORED);
    let found: Vec<_> = table(&place.path("both"), &["id"])
        .into_iter()
        .map(|(mut strings, ids)| (strings.remove(0), ids))
        .collect();
    assert_eq!(found, wanted);
    let tokens: usize = wanted.iter().map(|(_, ids)| ids.len()).sum();
    assert_eq!(
        (&summary["rows"], &summary["tokens"]),
        (&wanted.len().into(), &tokens.into())
    );
    // the recording without text has one row
    assert_eq!(wanted.len(), 2 * en.len() - 1);

    run_ok(export(&place, "audio-first", "jsonl", "lines").args(["--codebooks", "1"]));
    let wanted = expected(&en, &vocab, View::AudioFirst, 1);
    let mut found = Vec::new();
    for file in parts(&place.path("lines"), "jsonl") {
        for line in std::io::read_to_string(file).unwrap().lines() {
            let row = json(line);
            let ids: Vec<u32> = serde_json::from_value(row["input_ids"].clone()).unwrap();
            found.push((row["id"].as_str().unwrap().to_owned(), ids));
        }
    }
    assert_eq!(found, wanted);
}

/// The ids of a text with markers spelled out and audio as characters, found as the recipe says.
fn read_back(text: &str, vocab: &Vocab) -> Vec<u32> {
    let layout = vocab.layout();
    let markers = [
        ("<|begin_of_text|>", layout.bos),
        ("<|end_of_text|>", layout.eos),
        ("<|text_start|>", layout.text_start),
        ("<|text_end|>", layout.text_end),
        ("<|audio_start|>", layout.audio_start),
        ("<|audio_end|>", layout.audio_end),
    ];
    let (mut ids, mut rest) = (Vec::new(), text);
    while let Some(char) = rest.chars().next() {
        if let Some((marker, id)) = markers.iter().find(|(marker, _)| rest.starts_with(marker)) {
            ids.push(*id);
            rest = &rest[marker.len()..];
        } else if let Some(code @ 0..16_384) = u32::from(char).checked_sub(0xE000) {
            ids.push(layout.audio_base + code);
            rest = &rest[char.len_utf8()..];
        } else {
            let (said, after) = rest.split_at(rest.find("<|text_end|>").unwrap());
            ids.extend(vocab.encode_text(said).unwrap());
            rest = after;
        }
    }
    ids
}

#[test]
fn text_has_every_audio_character() {
    let place = Place::new();
    let en = place.dataset("en");
    rewrite_shard(&en, 0, |documents| {
        // all codes of all codebooks: U+FEFF, U+FFFE, U+FFFF and what normalisation would change
        documents[0].segments[0].codes = (0..2048).flat_map(|code| [code; STORED]).collect();
    });
    let vocab = Vocab::load(&place.path("tokenizer")).unwrap();
    run_ok(&mut export(&place, "both", "pua", "out"));
    let rows = table(&place.path("out"), &["id", "split", "text"]);
    let wanted = expected(&documents(&en), &vocab, View::Both, STORED);
    assert_eq!(rows.len(), wanted.len());
    for ((strings, _), (id, ids)) in rows.iter().zip(&wanted) {
        assert_eq!((&strings[0], strings[1].as_str()), (id, "corpus-en"));
        assert!(read_back(&strings[2], &vocab) == *ids, "{id}");
    }
    let text = &rows[0].0[2];
    let (start, audio) = text.split_once("<|audio_start|>").unwrap();
    assert!(
        start.starts_with("<|begin_of_text|><|text_start|>") && start.ends_with("<|text_end|>")
    );
    assert!(audio.starts_with(
        "\u{e000}\u{e800}\u{f000}\u{f800}\u{10000}\u{10800}\u{11000}\u{11800}\u{e001}"
    ));
    for char in ['\u{feff}', '\u{fffe}', '\u{ffff}', '\u{11fff}'] {
        assert!(audio.contains(char));
    }
}

/// A document of views.json.
fn golden_document(golden: &Value, vocab: &Vocab) -> Document {
    let segment = |golden: &Value| {
        let text = golden["text"].as_str().unwrap();
        let frames: Vec<Vec<u16>> = serde_json::from_value(golden["frames"].clone()).unwrap();
        Segment {
            text: text.to_owned(),
            text_ids: vocab.encode_text(text).unwrap(),
            codes: frames.concat(),
            speaker: serde_json::from_value(golden["speaker"].clone()).unwrap(),
            ..Segment::default()
        }
    };
    Document {
        id: golden["id"].as_str().unwrap().to_owned(),
        source: "golden".to_owned(),
        segments: golden["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(segment)
            .collect(),
        ..Document::default()
    }
}

/// The rows of a case of views.json with their ids; `None` if the view cannot be made of the document, or not be spelled.
fn golden_rows(golden: &Value, case: &Value) -> Option<Vec<Vec<String>>> {
    let id = case["document"].as_str().unwrap();
    let rows = case["rows"].as_array()?.iter().map(|row| {
        let suffix = row["suffix"].as_str().unwrap();
        let number = row["row"].as_u64().unwrap() as usize;
        let text = golden["rows"][number]["text"].as_str()?;
        Some(vec![
            format!("{id}{suffix}"),
            "golden".to_owned(),
            text.to_owned(),
        ])
    });
    rows.collect()
}

/// The strings are made by scripts/make_view_fixtures.py.
#[test]
fn text_of_every_view_is_the_published_form() {
    let place = Place::new();
    let dataset = place.dataset("es");
    let vocab = Vocab::load(&place.path("tokenizer")).unwrap();
    let path = repository().join("tokenize/shards/tests/fixtures/views.json");
    let golden = json(&fs::read_to_string(path).unwrap());
    let all = golden["documents"].as_array().unwrap();
    rewrite_shard(&dataset, 0, |documents| {
        *documents = all
            .iter()
            .map(|document| golden_document(document, &vocab))
            .collect();
    });
    for (view, codebooks) in View::ALL
        .into_iter()
        .flat_map(|view| [1, 3, 8].map(|n| (view, n)))
    {
        let out = place.path(&format!("{view}-{codebooks}"));
        let mut export = export_of(&dataset, view.name(), "pua", &out);
        run_ok(export.args(["--codebooks", &codebooks.to_string(), "--max-bad", "1"]));
        let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
        for case in golden["cases"].as_array().unwrap() {
            if case["view"] == view.name() && case["codebooks"] == codebooks {
                match golden_rows(&golden, case) {
                    Some(rows) => wanted.extend(rows),
                    None => left_out.push(case["document"].clone()),
                }
            }
        }
        let rows = table(&out, &["id", "split", "text"]);
        let found: Vec<_> = rows.into_iter().map(|(strings, _)| strings).collect();
        assert_eq!(found, wanted, "{view}, {codebooks}");
        let skipped = fs::read_to_string(out.join("skipped.jsonl")).unwrap_or_default();
        let skipped: Vec<_> = skipped
            .lines()
            .map(|line| json(line)["id"].clone())
            .collect();
        assert_eq!(skipped, left_out, "{view}, {codebooks}");
    }
}

#[test]
fn what_a_tokenizer_would_misread_is_left_out_of_text() {
    let place = Place::new();
    let en = place.dataset("en");
    let mut ids = Vec::new();
    let vocab = Vocab::load(&place.path("tokenizer")).unwrap();
    rewrite_shard(&en, 0, |documents| {
        for (document, text) in documents
            .iter_mut()
            .zip(["It says <|audio_end|>.", "A full-width comma\u{ff0c}"])
        {
            document.segments[0].text_ids = vocab.encode_text(text).unwrap();
            document.segments[0].text = text.to_owned();
            ids.push(document.id.clone());
        }
    });
    run_ok(tokenize("verify").arg(&en));
    let (_, stderr) = run_refused(&mut export(&place, "text-first", "pua", "out"));
    assert!(
        stderr.contains("1 audio-character, 1 special-token") && stderr.contains("skipped.jsonl"),
        "{stderr}"
    );
    // the same export goes on where it is
    let run = run_ok(export(&place, "text-first", "pua", "out").args(["--max-bad", "1", "--json"]));
    let summary = json(&run);
    assert_eq!(summary["files_kept"], summary["files"]);
    assert_eq!(summary["rows"], documents(&en).len() - 2);
    let list = fs::read_to_string(place.path("out/skipped.jsonl")).unwrap();
    let listed: Vec<_> = list
        .lines()
        .map(|line| json(line)["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed, ids);
    // as ids there is nothing wrong with them
    let summary = json(&run_ok(
        export(&place, "text-first", "jsonl", "lines").arg("--json"),
    ));
    assert_eq!(summary["rows"], documents(&en).len());
}

#[test]
fn what_is_finished_is_kept_and_another_export_refused() {
    let place = Place::new();
    place.dataset("en");
    run_ok(&mut export(&place, "both", "parquet", "whole"));
    run_ok(&mut export(&place, "both", "parquet", "out"));
    let out = place.path("out");
    let whole = table(&place.path("whole"), &["id"]);
    fs::remove_file(out.join("units/part-00000.json")).unwrap();
    fs::write(out.join("part-00001.parquet"), b"PAR1").unwrap();
    fs::write(out.join(".part-00001.parquet.partial"), b"PAR1").unwrap();
    let summary = json(&run_ok(
        export(&place, "both", "parquet", "out").arg("--json"),
    ));
    let files = summary["files"].as_u64().unwrap();
    assert_eq!(
        (summary["files_kept"].as_u64(), summary["rows"].as_u64()),
        (Some(files - 2), Some(whole.len() as u64))
    );
    assert!(table(&out, &["id"]) == whole);

    let (_, stderr) = run_refused(&mut export(&place, "text-first", "parquet", "out"));
    assert!(stderr.contains("of another export"), "{stderr}");
    let (_, stderr) = run_refused(&mut export(&place, "both", "parquet", "en"));
    assert!(stderr.contains("no export.json"), "{stderr}");
    let (_, stderr) =
        run_refused(export(&place, "both", "parquet", "nine").args(["--codebooks", "9"]));
    assert!(stderr.contains("it has 8 codebooks"), "{stderr}");
}
