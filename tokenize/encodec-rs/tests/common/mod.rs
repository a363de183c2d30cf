//! Fixtures: checkpoints with what the reference makes of them. `tests/fixtures/README.md` says what they hold.

#![allow(dead_code)] // every test uses a part of it

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use encodec_rs::{Codec, Options};
use safetensors::{Dtype, SafeTensors};

/// A tensor: its shape, and its values as f64 whatever they are stored as.
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn floats(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    pub fn codes(&self) -> Vec<u16> {
        self.data.iter().map(|&x| x as u16).collect()
    }
}

/// A checkpoint's folder and the arrays beside it.
pub struct Fixture {
    pub folder: PathBuf,
    pub arrays: BTreeMap<String, Array>,
}

impl Fixture {
    /// All of `tests/fixtures/KIND`, with the arrays of FILE.
    pub fn all(kind: &str, file: &str) -> Vec<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(kind);
        let mut folders: Vec<PathBuf> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        folders.sort();
        folders
            .into_iter()
            .map(|folder| Self {
                arrays: read(&folder.join(file)),
                folder,
            })
            .collect()
    }

    pub fn name(&self) -> &str {
        self.folder.file_name().unwrap().to_str().unwrap()
    }

    /// The codec as users open it, with its first `codebooks` codebooks.
    pub fn open(&self, codebooks: usize) -> Box<dyn Codec> {
        let options = Options {
            codebooks: Some(codebooks),
            ..Options::default()
        };
        encodec_rs::open(self.folder.to_str().unwrap(), &options).unwrap()
    }
}

fn read(path: &Path) -> BTreeMap<String, Array> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let data = match view.dtype() {
                Dtype::F32 => values(view.data(), |b| f64::from(f32::from_le_bytes(b))),
                Dtype::U16 => values(view.data(), |b| f64::from(u16::from_le_bytes(b))),
                Dtype::U32 => values(view.data(), |b| f64::from(u32::from_le_bytes(b))),
                other => panic!("{name}: {other:?}"),
            };
            let shape = view.shape().to_vec();
            (name.to_owned(), Array { shape, data })
        })
        .collect()
}

fn values<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|&b| value(b)).collect()
}
