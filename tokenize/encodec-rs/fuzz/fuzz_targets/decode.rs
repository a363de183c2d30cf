//! Whatever codes hold, decoding them ends with samples, as many as the codec gives for so many frames, or an error.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use encodec_rs::{Codec, Codes, Options};
use libfuzzer_sys::fuzz_target;

const FIXTURES: [&str; 6] = [
    "mimi",
    "mimi-trim",
    "encodec-24khz",
    "encodec-48khz",
    "encodec-normalize",
    "dac",
];

static CODECS: LazyLock<Vec<Box<dyn Codec>>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/codecs");
    let paths = FIXTURES.map(|name| root.join(name).to_str().unwrap().to_owned());
    let names = paths.iter().map(String::as_str).chain(["mel-rvq"]);
    let open = |name| encodec_rs::open(name, &Options::default()).unwrap();
    names.map(open).collect()
});

fuzz_target!(|data: &[u8]| {
    let Some((&[codec, codebooks, scales], data)) = data.split_first_chunk() else {
        return;
    };
    let codec = &CODECS[usize::from(codec) % CODECS.len()];
    let (scales, data) = data.split_at(data.len().min(4 * usize::from(scales)));
    // one bit of high bytes leaves most codes in range
    let code = |&[low, high]: &[u8; 2]| match high {
        255 => u16::MAX,
        _ => u16::from_le_bytes([low, high & 1]) % codec.spec().codebook_size as u16,
    };
    let codes = Codes {
        codebooks: usize::from(codebooks),
        data: data.as_chunks().0.iter().map(code).collect(),
        scales: scales
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
    };
    if let Ok(samples) = codec.decode(&codes) {
        assert!(samples.len().is_multiple_of(codec.spec().channels));
    }
});
