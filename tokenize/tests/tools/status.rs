//! `tokenize status`.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::common::{self, Place, run_ok, run_refused, tokenize};

fn status(dir: &Path) -> serde_json::Value {
    common::json(&run_ok(tokenize("status").arg(dir).arg("--json")))
}

/// As a worker leaves it.
fn heartbeat(dir: &Path, name: &str, unit: usize, age_secs: u64, error: Option<&str>) {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let beat = json!({
        "worker": name.replace("-of-", "/"), "host": "node-7", "process": 4711,
        "time_unix": since.as_secs() - age_secs, "elapsed_secs": 10.0, "unit": unit,
        "bytes": 3_000_000, "unit_bytes": 100_000, "audio_secs": 500.0, "error": error,
    });
    fs::create_dir_all(dir.join("workers")).unwrap();
    fs::write(dir.join(format!("workers/{name}.json")), beat.to_string()).unwrap();
}

#[test]
fn a_finished_dataset_and_a_folder_of_them() {
    let place = Place::new();
    let en = place.dataset("en");
    let found = &status(&en)[0];
    let all = found["units"]["all"].as_u64().unwrap();
    assert_eq!(
        (&found["state"], &found["units"]["done"]),
        (&json!("finished"), &json!(all))
    );
    assert_eq!(found["documents"], common::documents(&en).len());
    assert_eq!(found["bytes_left"], 0);
    let bad: u64 = found["skipped"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(|n| n.as_u64())
        .sum();
    assert_eq!(bad, 2);
    assert!(found["audio_tokens"].as_u64().unwrap() > 1000);
    let text = run_ok(tokenize("status").arg(&en));
    assert!(
        text.contains("finished") && text.contains("skipped, "),
        "{text}"
    );

    place.dataset("es");
    let found = status(&place.path(""));
    let places: Vec<_> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["location"].as_str().unwrap())
        .collect();
    assert_eq!(places.len(), 2);
    assert!(
        places[0].ends_with("/en") && places[1].ends_with("/es"),
        "{places:?}"
    );

    let (_, stderr) = run_refused(tokenize("status").arg(place.path("tokenizer")));
    assert!(stderr.contains("no job.json here"), "{stderr}");
}

#[test]
fn units_and_rates_of_a_job_at_work() {
    let place = Place::new();
    let en = place.dataset("en");
    let job = common::json(&fs::read_to_string(en.join("job.json")).unwrap());
    let bytes: Vec<u64> = serde_json::from_value(job["unit_bytes"].clone()).unwrap();
    let all = bytes.len();
    assert!(
        all > 1 && bytes.iter().all(|&bytes| bytes > 100_000),
        "{bytes:?}"
    );
    fs::remove_file(en.join("manifest.json")).unwrap();
    fs::remove_file(en.join("units/part-00000.json")).unwrap();
    // its record is there, the shard cut
    let last = en.join(format!("part-{:05}.parquet", all - 1));
    fs::write(&last, b"PAR1").unwrap();

    let found = &status(&en)[0];
    let units = json!({"all": all, "done": all - 2, "running": 0, "failed": 0, "remaining": 2});
    assert_eq!(
        (&found["units"], &found["state"]),
        (&units, &json!("stopped"))
    );
    assert_eq!(found["bytes_left"], bytes[0] + bytes[all - 1]);
    assert!(found["secs_left"].is_null() && found["times_real_time"].is_null());

    heartbeat(&en, "0-of-3", 0, 5, None);
    heartbeat(&en, "1-of-3", all - 1, 1000, None);
    heartbeat(&en, "2-of-3", all - 1, 2, Some("disk full"));
    let found = &status(&en)[0];
    let units = json!({"all": all, "done": all - 2, "running": 1, "failed": 1, "remaining": 0});
    assert_eq!(
        (&found["units"], &found["state"]),
        (&units, &json!("running"))
    );
    let left = bytes[0] - 100_000 + bytes[all - 1];
    assert_eq!(found["bytes_left"], left);
    assert_eq!(found["megabytes_per_sec"], 0.3);
    assert_eq!(found["times_real_time"], 50.0);
    let secs = found["secs_left"].as_f64().unwrap();
    assert!((secs - left as f64 / 300_000.0).abs() < 1e-6, "{secs}");
    let text = run_ok(tokenize("status").arg(&en));
    for part in [
        "1 running, 1 failed",
        "node-7",
        "silent",
        "worker 2/3 failed: disk full",
        "time left",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
