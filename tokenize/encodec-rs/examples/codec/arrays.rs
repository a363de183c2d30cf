//! Waves and codes in safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use encodec_rs::Codes;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// A tensor's name, shape and values.
pub struct Array<T> {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<T>,
}

/// The f32 tensors whose names are `wanted`.
pub fn floats(file: &SafeTensors, wanted: impl Fn(&str) -> bool) -> Result<Vec<Array<f32>>> {
    file.iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, view)| {
            ensure!(
                view.dtype() == Dtype::F32 && (1..=2).contains(&view.shape().len()),
                "tensor `{name}` is {:?} {:?}; expected F32 [samples] or [samples, channels]",
                view.dtype(),
                view.shape()
            );
            Ok(Array {
                name: name.to_owned(),
                shape: view.shape().to_vec(),
                data: view
                    .data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|&bytes| f32::from_le_bytes(bytes))
                    .collect(),
            })
        })
        .collect()
}

/// Codes with their scales, by name.
pub fn read_codes(file: &SafeTensors) -> Result<Vec<(String, Codes)>> {
    let mut scales: BTreeMap<String, Vec<f32>> = floats(file, |name| name.ends_with(".scales"))?
        .into_iter()
        .map(|array| (array.name, array.data))
        .collect();
    file.iter()
        .filter(|(name, _)| !name.ends_with(".scales"))
        .map(|(name, view)| {
            let &[_, codebooks] = view.shape() else {
                bail!(
                    "tensor `{name}` has shape {:?}; expected [frames, codebooks]",
                    view.shape()
                );
            };
            ensure!(
                view.dtype() == Dtype::U16,
                "tensor `{name}` is {:?}; expected U16",
                view.dtype()
            );
            let pairs = view.data().as_chunks().0;
            let mut codes = Codes::new(
                codebooks,
                pairs.iter().map(|&b| u16::from_le_bytes(b)).collect(),
            );
            codes.scales = scales.remove(&format!("{name}.scales")).unwrap_or_default();
            Ok((name.to_owned(), codes))
        })
        .collect()
}

/// Tensors to be written.
#[derive(Default)]
pub struct Tensors(Vec<(String, Dtype, Vec<usize>, Vec<u8>)>);

impl Tensors {
    pub fn push(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) {
        self.0.push((name.to_owned(), dtype, shape, bytes));
    }

    pub fn floats(&mut self, name: &str, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.push(name, Dtype::F32, shape, bytes);
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let views = self
            .0
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>>>()?;
        safetensors::serialize_to_file(views, None, path)
            .with_context(|| path.display().to_string())
    }
}
