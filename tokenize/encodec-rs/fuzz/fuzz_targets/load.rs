//! Whatever `config.json` and `model.safetensors` hold, reading them ends with a model or an error.
//!
//! The first byte says what the rest is: both files, separated by a zero byte, or changes of a fixture, which come
//! farther than random bytes.
#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use encodec_rs::models::{self, CONFIG_FILE, WEIGHTS_FILE};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

const FIXTURES: [&str; 4] = [
    "mimi",
    "encodec-options",
    "encodec-48khz",
    "dac-weight-norm",
];

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());
static FILES: LazyLock<Vec<(Vec<u8>, Vec<u8>)>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/codecs");
    let read = |name: &str, file: &str| fs::read(root.join(name).join(file)).unwrap();
    let both = |name| (read(name, CONFIG_FILE), read(name, WEIGHTS_FILE));
    FIXTURES.into_iter().map(both).collect()
});

/// Bytes of a fixture's weights that are changed: its header, and the first tensors.
const CHANGED: usize = 1 << 14;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    let (config, weights) = match FILES.get(usize::from(kind) % (FIXTURES.len() + 1)) {
        Some(files) => changed(files.clone(), data),
        None => {
            let mut parts = data.splitn(2, |&byte| byte == 0);
            let mut part = || parts.next().unwrap_or_default().to_vec();
            (part(), part())
        }
    };
    fs::write(FOLDER.path().join(CONFIG_FILE), config).unwrap();
    fs::write(FOLDER.path().join(WEIGHTS_FILE), weights).unwrap();
    let _ = models::load(FOLDER.path(), "fuzz", None);
});

/// Each change is a place, of two bytes, in either file, and what is written there.
fn changed((mut config, mut weights): (Vec<u8>, Vec<u8>), changes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    for &[low, high, byte] in changes.as_chunks().0 {
        let place = usize::from(u16::from_le_bytes([low, high]));
        let (file, place) = match place < CHANGED {
            true => (&mut weights, place),
            false => (&mut config, place - CHANGED),
        };
        let place = place % file.len();
        file[place] = byte;
    }
    (config, weights)
}
