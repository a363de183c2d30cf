//! Weights by name from a memory-mapped `model.safetensors`.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::network::Tensor;
use crate::{Error, Result};

/// An open checkpoint. Tensors are converted to f32 when asked for.
pub struct Weights {
    path: PathBuf,
    map: Mmap,
}

impl Weights {
    /// Maps the file and checks its header.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        // SAFETY: the map is read only; a file changed while it is open gives wrong numbers, not undefined lengths.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        let weights = Self {
            path: path.to_owned(),
            map,
        };
        weights.parse()?;
        Ok(weights)
    }

    /// SHA-256 of the file, hexadecimal.
    pub fn sha256(&self) -> String {
        use sha2::{Digest, Sha256};
        Sha256::digest(&self.map[..])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Whether there is a tensor of that name.
    pub fn contains(&self, name: &str) -> Result<bool> {
        Ok(self.parse()?.tensor(name).is_ok())
    }

    /// The tensor `name`, of exactly `shape`, as f32.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensors = self.parse()?;
        let view = tensors
            .tensor(name)
            .map_err(|_| self.bad(format!("tensor `{name}` is missing")))?;
        if view.shape() != shape {
            return Err(self.bad(format!(
                "tensor `{name}` has shape {:?}, expected {shape:?}",
                view.shape()
            )));
        }
        Ok(Tensor {
            shape: shape.to_vec(),
            data: self.floats(name, &view)?,
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
        for (g, v) in [
            ("weight_g", "weight_v"),
            (
                "parametrizations.weight.original0",
                "parametrizations.weight.original1",
            ),
        ] {
            let (g, v) = (format!("{prefix}.{g}"), format!("{prefix}.{v}"));
            if self.contains(&g)? || self.contains(&v)? {
                let mut g_shape = vec![1; shape.len()];
                g_shape[0] = shape[0];
                let g = self.tensor(&g, &g_shape)?;
                let mut v = self.tensor(&v, shape)?;
                let row = v.data.len() / shape[0];
                for (row, g) in v.data.chunks_exact_mut(row).zip(&g.data) {
                    let norm = row
                        .iter()
                        .map(|&x| f64::from(x) * f64::from(x))
                        .sum::<f64>()
                        .sqrt();
                    let scale = (f64::from(*g) / norm) as f32;
                    row.iter_mut().for_each(|x| *x *= scale);
                }
                return Ok(v);
            }
        }
        self.tensor(&format!("{prefix}.weight"), shape)
    }

    /// An error about this file.
    pub fn bad(&self, reason: String) -> Error {
        Error::BadFile {
            path: self.path.clone(),
            reason,
        }
    }

    fn parse(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.map).map_err(|e| {
            self.bad(format!(
                "not a whole safetensors file ({e}); download it again"
            ))
        })
    }

    fn floats(&self, name: &str, view: &TensorView) -> Result<Vec<f32>> {
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => view
                .data()
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::BF16 => view
                .data()
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => {
                return Err(self.bad(format!(
                    "tensor `{name}` is stored as {other:?}; F32, F16 and BF16 can be read"
                )));
            }
        };
        match data.iter().position(|x| !x.is_finite()) {
            None => Ok(data),
            Some(at) => Err(self.bad(format!("tensor `{name}`: value {at} is {}", data[at]))),
        }
    }
}
