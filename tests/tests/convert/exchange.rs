//! Import and export.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tests::{assert_same_bytes, fixture, run, run_ok};

use crate::{ROWS, assert_close, base, convert, copy_of, expected, logits, prompt};

const INDEX: &str = "model.safetensors.index.json";

fn file(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// An import of the fixture.
fn imported(dir: &TempDir) -> std::path::PathBuf {
    let out = dir.path().join("imported");
    run_ok(convert("hf-import", &base()).arg("--out").arg(&out));
    out
}

#[test]
fn an_import_has_the_bytes_that_torch_gives_in_f32() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("imported");
    let mut import = convert("hf-import", &base());
    let json = run_ok(import.arg("--json").arg("--out").arg(&out));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["rows"], ROWS);
    assert_eq!(json["tied"], true);
    assert_eq!(
        json["copied"],
        serde_json::json!([
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json"
        ])
    );
    let want = fs::read(fixture("convert/float32.safetensors")).unwrap();
    assert!(file(&out, "model.safetensors") == want, "other weights");
    assert_eq!(
        file(&out, "tokenizer.json"),
        file(&base(), "tokenizer.json")
    );
    assert_close(&logits(&out, &prompt()), &expected("logits"), 1e-5);
}

#[test]
fn import_export_import_is_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let first = imported(&dir);
    let [exported, second] = ["exported", "second"].map(|name| dir.path().join(name));
    run_ok(convert("hf-export", &first).arg("--out").arg(&exported));
    run_ok(convert("hf-import", &exported).arg("--out").arg(&second));
    assert_same_bytes(&second, &first);
    assert!(!exported.join(INDEX).exists());

    // through 16 bits nothing is lost of numbers that have no more
    let [halves, third] = ["halves", "third"].map(|name| dir.path().join(name));
    let mut export = convert("hf-export", &first);
    run_ok(export.args(["--dtype", "bf16"]).arg("--out").arg(&halves));
    run_ok(convert("hf-import", &halves).arg("--out").arg(&third));
    assert_same_bytes(&third, &first);
    let config: Value = serde_json::from_slice(&file(&halves, "config.json")).unwrap();
    assert_eq!(config["torch_dtype"], "bfloat16");
    let bytes = [&halves, &first].map(|folder| file(folder, "model.safetensors").len());
    assert!(bytes[0] < bytes[1] * 6 / 10, "{bytes:?}");
}

#[test]
fn a_card_tells_what_the_model_is() {
    let dir = tempfile::tempdir().unwrap();
    let exported = dir.path().join("tiny-model");
    run_ok(
        convert("hf-export", &imported(&dir))
            .arg("--out")
            .arg(&exported),
    );
    let card = String::from_utf8(file(&exported, "README.md")).unwrap();
    for part in [
        "---\nlibrary_name: transformers\n",
        "# tiny-model",
        "| parameters | 10,",
        "| output head | the embedding matrix |",
        "from_pretrained",
    ] {
        assert!(card.contains(part), "`{part}` is not in:\n{card}");
    }
}

#[test]
fn a_head_that_a_tied_model_stores_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let with_head = dir.path().join("with-head");
    fs::create_dir(&with_head).unwrap();
    fs::copy(base().join("config.json"), with_head.join("config.json")).unwrap();
    let bytes = fs::read(fixture("convert/float32.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut views = file.tensors();
    let embedding = file.tensor("model.embed_tokens.weight").unwrap();
    views.push(("lm_head.weight".to_owned(), embedding));
    safetensors::serialize_to_file(views, None, &with_head.join("model.safetensors")).unwrap();
    let out = dir.path().join("out");
    run_ok(convert("hf-import", &with_head).arg("--out").arg(&out));
    assert!(fs::read(out.join("model.safetensors")).unwrap() == bytes);
}

#[test]
fn foreign_and_damaged_folders_are_refused_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let edited = |name: &str, edit: &dyn Fn(&Path)| {
        let folder = copy_of(&base(), &dir.path().join(name));
        edit(&folder);
        folder
    };
    let replaced = |file: &'static str, from: &'static str, to: &'static str| {
        move |folder: &Path| {
            let text = fs::read_to_string(folder.join(file)).unwrap();
            assert!(text.contains(from));
            fs::write(folder.join(file), text.replace(from, to)).unwrap();
        }
    };
    let shard = "model-00002-of-00002.safetensors";
    let folders: [(std::path::PathBuf, &[&str]); 8] = [
        (
            dir.path().join("nowhere"),
            &["no such folder", "OWNER/NAME"],
        ),
        (
            edited("llama", &replaced("config.json", "\"qwen3\"", "\"llama\"")),
            &["config.json", "model_type is \"llama\""],
        ),
        (
            edited("no-config", &|folder| {
                fs::remove_file(folder.join("config.json")).unwrap()
            }),
            &["cannot read", "config.json"],
        ),
        (
            edited("no-weights", &|folder| {
                fs::remove_file(folder.join(INDEX)).unwrap()
            }),
            &["holds no weights", "pytorch_model.bin"],
        ),
        (
            edited("cut-off", &|folder| {
                let bytes = fs::read(folder.join(shard)).unwrap();
                fs::write(folder.join(shard), &bytes[..bytes.len() - 1]).unwrap();
            }),
            &[shard, "not a complete safetensors file"],
        ),
        (
            edited("no-shard", &|folder| {
                fs::remove_file(folder.join(shard)).unwrap()
            }),
            &["cannot open", shard],
        ),
        (
            edited(
                "wider",
                &replaced("config.json", "\"hidden_size\": 16", "\"hidden_size\": 32"),
            ),
            &["has shape", "config.json"],
        ),
        (
            edited(
                "shallower",
                &replaced(
                    "config.json",
                    "\"num_hidden_layers\": 2",
                    "\"num_hidden_layers\": 1",
                ),
            ),
            &["11 tensors that no Qwen3 has", "model.layers.1."],
        ),
    ];
    let out = dir.path().join("out");
    for (folder, parts) in folders {
        let run = run(convert("hf-import", &folder).arg("--out").arg(&out));
        assert_eq!(run.code, Some(1), "{}", run.stdout);
        for part in parts {
            assert!(
                run.stderr.contains(part),
                "`{part}` is not in: {}",
                run.stderr
            );
        }
        let left = fs::read_dir(dir.path()).unwrap();
        let left = left.filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name == "out" || name.to_string_lossy().contains("partial")
        });
        assert_eq!(left.count(), 0, "{}", folder.display());
    }
    // nor is a folder with files written to
    let run = run(convert("hf-import", &base()).arg("--out").arg(dir.path()));
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("choose another --out"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_folder_without_averaged_weights_has_none_to_export() {
    let dir = tempfile::tempdir().unwrap();
    let first = imported(&dir);
    let out = dir.path().join("out");
    let run = run(convert("hf-export", &first)
        .arg("--ema")
        .arg("--out")
        .arg(&out));
    assert_eq!(run.code, Some(1));
    for part in ["no averaged weights", "ema_decay", "leave --ema out"] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    // with some, they are taken
    let weights = fs::read(first.join("model.safetensors")).unwrap();
    let mut averaged = weights.clone();
    *averaged.last_mut().unwrap() ^= 1;
    fs::write(first.join("ema.safetensors"), &averaged).unwrap();
    run_ok(
        convert("hf-export", &first)
            .arg("--ema")
            .arg("--out")
            .arg(&out),
    );
    assert!(file(&out, "model.safetensors") == averaged);
}
