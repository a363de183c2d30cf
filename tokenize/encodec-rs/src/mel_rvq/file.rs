//! The codec as a safetensors file.
//!
//! | tensor | type | shape |
//! |---|---|---|
//! | `pca.mean` | F32 | `[640]` |
//! | `pca.scale`, `pca.rows` | F32, I16 | `[64]`, `[64, 640]`: basis = scale · rows |
//! | `semantic.scale`, `semantic.words` | F32, I8 | `[16]`, `[2048, 16]`: codewords = scale · words |
//! | `explained.scale`, `explained.words` | F32, I8 | `[64]`, `[2048, 64]` |
//! | `acoustic.N.scale`, `acoustic.N.words`, N = 1..7 | F32, I8 | `[64]`, `[2048, 64]` |
//!
//! Metadata `mel-rvq`: a JSON object of [`Header`].

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize as serialize_tensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::codebook::Codebook;
use super::model::Model;
use super::pca::Pca;
use super::{
    CEPSTRA, CODEBOOK_SIZE, CODEBOOKS, COMPONENTS, MELS, NAME, PATCH, SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
};

/// Version of the file and of the analysis it belongs to.
const FORMAT: u32 = 1;

/// Geometry, which must be the program's own.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    sample_rate_hz: u32,
    samples_per_frame: usize,
    codebooks: usize,
    codebook_size: usize,
    mels: usize,
    components: usize,
    cepstra: usize,
}

const HEADER: Header = Header {
    format: FORMAT,
    sample_rate_hz: SAMPLE_RATE_HZ,
    samples_per_frame: SAMPLES_PER_FRAME,
    codebooks: CODEBOOKS,
    codebook_size: CODEBOOK_SIZE,
    mels: MELS,
    components: COMPONENTS,
    cepstra: CEPSTRA,
};

struct Tensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The file's bytes; the same model gives the same bytes.
pub(super) fn serialize(model: &Model) -> Vec<u8> {
    let mut tensors = vec![
        floats("pca.mean", &model.pca.mean),
        floats("pca.scale", &model.pca.scales),
        Tensor {
            name: "pca.rows".into(),
            dtype: Dtype::I16,
            shape: vec![COMPONENTS, PATCH],
            bytes: model
                .pca
                .rows
                .as_flattened()
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        },
    ];
    tensors.extend(codebook("semantic", &model.semantic));
    tensors.extend(codebook("explained", &model.explained));
    for (stage, acoustic) in model.acoustic.iter().enumerate() {
        tensors.extend(codebook(&format!("acoustic.{}", stage + 1), acoustic));
    }
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.as_str(), view.expect("shapes match"))
    });
    let header = serde_json::to_string(&HEADER).expect("a plain struct");
    // one key: several would be written in the random order of the map
    let metadata = HashMap::from([(NAME.to_owned(), header)]);
    serialize_tensors(views, Some(metadata)).expect("names differ and shapes match")
}

fn floats(name: &str, values: &[f32]) -> Tensor {
    Tensor {
        name: name.to_owned(),
        dtype: Dtype::F32,
        shape: vec![values.len()],
        bytes: values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

fn codebook<const D: usize>(name: &str, codebook: &Codebook<D>) -> [Tensor; 2] {
    let words = Tensor {
        name: format!("{name}.words"),
        dtype: Dtype::I8,
        shape: vec![CODEBOOK_SIZE, D],
        bytes: codebook
            .words
            .as_flattened()
            .iter()
            .map(|&value| value as u8)
            .collect(),
    };
    [floats(&format!("{name}.scale"), &codebook.scales), words]
}

/// Reads a file's bytes; the error says what is wrong with them.
pub(super) fn parse(bytes: &[u8]) -> Result<Model, String> {
    let broken =
        |error| format!("not a complete safetensors file ({error}); copy or train it again");
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let header = metadata.metadata().as_ref().and_then(|metadata| metadata.get(NAME)).ok_or(
        "a safetensors file without `mel-rvq` metadata, so not a mel-RVQ codec; make one with `tokenize codec-train`",
    )?;
    let header: Header = serde_json::from_str(header)
        .map_err(|error| format!("its `mel-rvq` metadata cannot be read: {error}"))?;
    if header != HEADER {
        return Err(format!(
            "made for another version of mel-RVQ: found {header:?}, this program has {HEADER:?}; train it again"
        ));
    }
    Ok(Model {
        pca: Pca::new(
            read_floats(&tensors, "pca.mean", PATCH)?,
            read_floats(&tensors, "pca.scale", COMPONENTS)?,
            read_rows(&tensors, "pca.rows")?,
        ),
        semantic: read_codebook(&tensors, "semantic")?,
        explained: read_codebook(&tensors, "explained")?,
        acoustic: (1..CODEBOOKS)
            .map(|stage| read_codebook(&tensors, &format!("acoustic.{stage}")))
            .collect::<Result<_, _>>()?,
    })
}

fn read<'a>(
    tensors: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
    shape: &[usize],
) -> Result<&'a [u8], String> {
    let tensor = tensors
        .tensor(name)
        .map_err(|_| format!("tensor `{name}` is missing; train it again"))?;
    if tensor.dtype() != dtype || tensor.shape() != shape {
        return Err(format!(
            "tensor `{name}` is {:?} {:?} instead of {dtype:?} {shape:?}; train it again",
            tensor.dtype(),
            tensor.shape()
        ));
    }
    Ok(tensor.data())
}

fn read_floats(tensors: &SafeTensors, name: &str, len: usize) -> Result<Vec<f32>, String> {
    let (values, _) = read(tensors, name, Dtype::F32, &[len])?.as_chunks();
    let values: Vec<f32> = values
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(at) => Err(format!(
            "tensor `{name}`: value {at} is {}; train it again",
            values[at]
        )),
    }
}

fn read_rows(tensors: &SafeTensors, name: &str) -> Result<Vec<[i16; PATCH]>, String> {
    let (values, _) = read(tensors, name, Dtype::I16, &[COMPONENTS, PATCH])?.as_chunks();
    let values: Vec<i16> = values
        .iter()
        .map(|&bytes| i16::from_le_bytes(bytes))
        .collect();
    Ok(values.as_chunks().0.to_vec())
}

fn read_codebook<const D: usize>(tensors: &SafeTensors, name: &str) -> Result<Codebook<D>, String> {
    let scales = read_floats(tensors, &format!("{name}.scale"), D)?;
    if let Some(at) = scales.iter().position(|&scale| scale <= 0.0) {
        return Err(format!(
            "tensor `{name}.scale`: value {at} is {}, not positive; train it again",
            scales[at]
        ));
    }
    let words = read(
        tensors,
        &format!("{name}.words"),
        Dtype::I8,
        &[CODEBOOK_SIZE, D],
    )?;
    let words: Vec<i8> = words.iter().map(|&byte| byte as i8).collect();
    Ok(Codebook::new(
        std::array::from_fn(|d| scales[d]),
        words.as_chunks().0.to_vec(),
    ))
}

/// SHA-256, hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes beside `path`, then renames: `path` is complete or as it was.
pub(super) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
