//! Weights by name from a memory-mapped `model.safetensors`.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, tensor::Metadata};
use sha2::{Digest, Sha256};

use crate::network::Tensor;
use crate::{Error, Result};

/// Names of a weight-normed weight's magnitude and direction: of `torch.nn.utils.weight_norm`, and of
/// `torch.nn.utils.parametrizations.weight_norm`.
const WEIGHT_NORM: [(&str, &str); 2] = [
    ("weight_g", "weight_v"),
    (
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ),
];

/// An open checkpoint. Tensors are converted to f32 when asked for.
pub struct Weights {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    /// First byte of the tensors.
    start: usize,
}

impl Weights {
    /// Maps the file and reads its header.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is only read. The file must not be changed meanwhile: where it is written in place the numbers
        // are wrong, and where it is cut off the system ends the program. Downloads are renamed into place.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let (header, start) = parse(&map).map_err(|reason| Error::BadFile {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            map,
            header,
            start,
        })
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&Sha256::digest(&self.map[..]))
    }

    /// The tensor `name`, of exactly `shape`, as f32.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let Some(info) = self.header.info(name) else {
            return Err(self.missing(name, ""));
        };
        if info.shape != shape {
            return Err(self.bad(format!(
                "tensor `{name}` has shape {:?}, expected {shape:?}; do `config.json` and this file belong together?",
                info.shape
            )));
        }
        let (from, to) = info.data_offsets;
        let bytes = &self.map[self.start + from..self.start + to];
        let data = match info.dtype {
            Dtype::F32 => floats(bytes, f32::from_le_bytes),
            Dtype::F16 => floats(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => floats(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            other => {
                return Err(self.bad(format!(
                    "tensor `{name}` is stored as {other:?}; F32, F16 and BF16 can be read"
                )));
            }
        };
        self.check_finite(name, &data)?;
        Ok(Tensor {
            shape: shape.to_vec(),
            data,
        })
    }

    /// The values of a one-dimensional tensor.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        Ok(self.tensor(name, &[length])?.data)
    }

    /// The weight of a layer stored plain (`P.weight`) or weight-normed over all axes but the first
    /// (`P.weight_g` and `P.weight_v`, or `P.parametrizations.weight.original0` and `…original1`):
    /// `g · v / ‖v‖`, [Salimans and Kingma 2016](https://arxiv.org/abs/1602.07868).
    pub fn weight(&self, prefix: &str, shape: &[usize]) -> Result<Tensor> {
        for (g, v) in WEIGHT_NORM {
            let (g, v) = (format!("{prefix}.{g}"), format!("{prefix}.{v}"));
            if self.contains(&g) || self.contains(&v) {
                return self.normed(&g, &v, shape);
            }
        }
        let plain = format!("{prefix}.weight");
        if !self.contains(&plain) {
            let [(g, v), (g2, v2)] = WEIGHT_NORM;
            let forms = format!(", and so are `{g}` with `{v}` and `{g2}` with `{v2}`");
            return Err(self.missing(&plain, &forms));
        }
        self.tensor(&plain, shape)
    }

    fn normed(&self, g_name: &str, v_name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut g_shape = vec![1; shape.len()];
        g_shape[0] = shape[0];
        let g = self.tensor(g_name, &g_shape)?;
        let mut v = self.tensor(v_name, shape)?;
        let length = v.data.len() / shape[0];
        for (index, (row, g)) in v.data.chunks_exact_mut(length).zip(&g.data).enumerate() {
            let norm = row
                .iter()
                .map(|&x| f64::from(x) * f64::from(x))
                .sum::<f64>()
                .sqrt();
            let scale = (f64::from(*g) / norm) as f32;
            // PyTorch would go on with NaN
            if !scale.is_finite() {
                return Err(self.bad(format!(
                    "tensor `{v_name}`: row {index} has length {norm} and cannot be normalised; the checkpoint is damaged"
                )));
            }
            row.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(v)
    }

    /// Checks that all values, those of tensor `name` or computed from it, are numbers.
    pub fn check_finite(&self, name: &str, values: &[f32]) -> Result<()> {
        match first_not_finite(values) {
            None => Ok(()),
            Some(at) => Err(self.bad(format!(
                "tensor `{name}`: value {at} is {}; the checkpoint is damaged",
                values[at]
            ))),
        }
    }

    /// An error about this file.
    pub fn bad(&self, reason: String) -> Error {
        Error::BadFile {
            path: self.path.clone(),
            reason,
        }
    }

    fn contains(&self, name: &str) -> bool {
        self.header.info(name).is_some()
    }

    fn missing(&self, name: &str, more: &str) -> Error {
        // most characters in common at the start and at the end
        let likeness = |other: &String| {
            let (a, b) = (name.bytes(), other.bytes());
            let same = |pairs: &mut dyn Iterator<Item = (u8, u8)>| {
                pairs.take_while(|(a, b)| a == b).count()
            };
            same(&mut a.clone().zip(b.clone())) + same(&mut a.rev().zip(b.rev()))
        };
        let nearest = match self.header.offset_keys().into_iter().max_by_key(likeness) {
            Some(nearest) => format!("the most similar name in the file is `{nearest}`"),
            None => "the file has no tensors".to_owned(),
        };
        self.bad(format!("tensor `{name}` is missing{more}; {nearest}"))
    }
}

/// The header of a safetensors file, and where its tensors start.
///
/// Offsets and shapes are checked here, so that every tensor lies within the file.
fn parse(file: &[u8]) -> std::result::Result<(Metadata, usize), String> {
    if file.starts_with(b"version https://git-lfs") {
        return Err("a Git LFS pointer instead of the weights; run `git lfs pull`".to_owned());
    }
    let again = "is the download complete?";
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!(
            "{} bytes are no safetensors file; {again}",
            file.len()
        ));
    };
    let length = u64::from_le_bytes(*length);
    let Some(header) = usize::try_from(length).ok().and_then(|n| rest.get(..n)) else {
        return Err(format!(
            "not a whole safetensors file: its header would take {length} bytes, {} follow; {again}",
            rest.len()
        ));
    };
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|e| format!("the header of a safetensors file was expected: {e}; {again}"))?;
    let (needed, found) = (metadata.data_len(), rest.len() - header.len());
    if needed != found {
        return Err(format!(
            "not a whole safetensors file: its tensors take {needed} bytes, {found} follow its header; {again}"
        ));
    }
    Ok((metadata, file.len() - found))
}

fn floats<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| value(bytes))
        .collect()
}

fn first_not_finite(values: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    // without an exit in its midst the loop over a block is compiled to vector instructions
    let bad = |block: &[f32]| {
        block
            .iter()
            .fold(0, |most, x| most.max(x.to_bits() & EXPONENT))
            == EXPONENT
    };
    const BLOCK: usize = 4096;
    let block = values.chunks(BLOCK).position(bad)? * BLOCK;
    let within = values[block..].iter().position(|x| !x.is_finite())?;
    Some(block + within)
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_no_number_is_found() {
        let mut values = vec![f32::MAX; 10_000];
        assert_eq!(first_not_finite(&values), None);
        for at in [9_999, 5_000, 0] {
            values[at] = f32::NEG_INFINITY;
            assert_eq!(first_not_finite(&values), Some(at));
        }
        assert_eq!(first_not_finite(&[]), None);
    }

    #[test]
    fn half_precision_is_read() {
        assert_eq!(
            floats(&[0x00, 0x3c, 0x00, 0xc0], |b| f16::from_le_bytes(b)
                .to_f32()),
            [1.0, -2.0]
        );
        assert_eq!(
            floats(&[0x80, 0x3f, 0x00, 0xc0], |b| bf16::from_le_bytes(b)
                .to_f32()),
            [1.0, -2.0]
        );
    }
}
