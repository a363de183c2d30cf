//! Tensors by name from a folder's memory-mapped files.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};

use super::{Index, LazyTensor, Result, WeightsError, file_name, index_name, io_error};

/// Bytes before a safetensors file's header: its length.
const LENGTH_BYTES: usize = 8;

/// The open weights of a folder. A tensor is read when it is asked for, and not kept.
pub struct Weights {
    dir: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Entry>,
}

struct MappedFile {
    path: PathBuf,
    map: Mmap,
}

struct Entry {
    /// Number of the file.
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes of the file.
    range: Range<usize>,
}

impl Weights {
    /// Opens `STEM.safetensors` of a folder, or the shards that `STEM.safetensors.index.json` lists.
    ///
    /// # Errors
    /// Missing or damaged files, and tensors of the index that are not where it says.
    pub fn open(dir: &Path, stem: &str) -> Result<Self> {
        let mut weights = Self {
            dir: dir.into(),
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        let (file, index) = (dir.join(file_name(stem)), dir.join(index_name(stem)));
        if file.is_file() {
            weights.tensors = weights.map_file(&file)?;
        } else if index.is_file() {
            weights.open_shards(&index)?;
        } else {
            return Err(WeightsError::Missing {
                dir: dir.into(),
                stem: stem.into(),
            });
        }
        Ok(weights)
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Shape of a tensor.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.entry(name)?.shape)
    }

    /// How a tensor is stored.
    ///
    /// # Errors
    /// There is none of this name, or it holds something else than floating-point numbers of 16 or 32 bits.
    pub fn dtype(&self, name: &str) -> Result<Dtype> {
        match self.entry(name)?.dtype {
            dtype @ (Dtype::F32 | Dtype::BF16 | Dtype::F16) => Ok(dtype),
            other => Err(self.bad_tensor(
                name,
                format!(
                    "is stored as {other:?}, but F32, BF16 and F16 can be read; give weights that are not quantized"
                ),
            )),
        }
    }

    /// A tensor as f32, in memory.
    ///
    /// # Errors
    /// As [`Weights::dtype`].
    pub fn tensor(&self, name: &str) -> Result<TensorData> {
        let values: Vec<f32> = self
            .f32_bytes(name)?
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok(TensorData::new(values, self.shape(name)?.to_vec()))
    }

    /// The values of a tensor as f32 in little-endian order, without a copy if they are stored so.
    ///
    /// # Errors
    /// As [`Weights::dtype`].
    pub fn f32_bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let entry = self.entry(name)?;
        let bytes = &self.files[entry.file].map[entry.range.clone()];
        Ok(match self.dtype(name)? {
            Dtype::BF16 => widen(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F16 => widen(bytes, |b| f16::from_le_bytes(b).to_f32()),
            _ => Cow::Borrowed(bytes),
        })
    }

    /// A tensor to be written elsewhere, read when its turn comes.
    ///
    /// # Errors
    /// As [`Weights::dtype`].
    pub fn lazy(&self, name: &str) -> Result<LazyTensor<'_>> {
        self.dtype(name)?;
        let shape = self.shape(name)?.to_vec();
        let owned = name.to_owned();
        Ok(LazyTensor::new(name, shape, move || self.f32_bytes(&owned)))
    }

    /// A tensor as f32, refused if a value is NaN or infinite: what begins a run must be usable.
    ///
    /// # Errors
    /// As [`Weights::dtype`], and [`WeightsError::Tensor`] with the value and its place.
    pub fn finite_tensor(&self, name: &str) -> Result<TensorData> {
        let tensor = self.tensor(name)?;
        let values = tensor.as_slice::<f32>().expect("tensors are read as f32");
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(tensor),
            Some(at) => Err(self.bad_tensor(
                name,
                format!(
                    "has the value {} at place {at} (counted from 0), which no computation survives; take the weights of \
                     another checkpoint",
                    values[at]
                ),
            )),
        }
    }

    /// An error about a tensor, in the file it is in.
    pub(crate) fn bad_tensor(&self, name: &str, reason: String) -> WeightsError {
        let file = self
            .tensors
            .get(name)
            .map(|entry| &self.files[entry.file].path);
        WeightsError::Tensor {
            path: file.unwrap_or(&self.dir).clone(),
            name: name.into(),
            reason,
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| {
            self.bad_tensor(
                name,
                "is missing; are these weights of another model?".into(),
            )
        })
    }

    fn open_shards(&mut self, path: &Path) -> Result<()> {
        let weight_map = read_index(path)?;
        let mut shards: BTreeMap<&str, BTreeMap<String, Entry>> = BTreeMap::new();
        for (name, file) in &weight_map {
            let shard = match shards.entry(file.as_str()) {
                btree_map::Entry::Occupied(shard) => shard.into_mut(),
                btree_map::Entry::Vacant(place) => {
                    place.insert(self.map_file(&self.dir.join(file))?)
                }
            };
            let entry = shard.remove(name).ok_or_else(|| WeightsError::Tensor {
                path: self.dir.join(file),
                name: name.clone(),
                reason: format!(
                    "is missing, although {} says it is there; copy or download both again",
                    path.display()
                ),
            })?;
            self.tensors.insert(name.clone(), entry);
        }
        Ok(())
    }

    fn map_file(&mut self, path: &Path) -> Result<BTreeMap<String, Entry>> {
        let file = File::open(path).map_err(io_error("open", path))?;
        // SAFETY: the map is only read. The file must not be changed meanwhile: where it is written in place the numbers
        // are wrong, and where it is cut off the system ends the program. Ours are renamed into place.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error("map", path))?;
        let (header, metadata) =
            SafeTensors::read_metadata(&map).map_err(|e| WeightsError::Damaged {
                path: path.into(),
                reason: format!("not a complete safetensors file: {e}"),
            })?;
        let start = LENGTH_BYTES + header;
        let entry = |info: &TensorInfo| Entry {
            file: self.files.len(),
            dtype: info.dtype,
            shape: info.shape.clone(),
            range: start + info.data_offsets.0..start + info.data_offsets.1,
        };
        let tensors = metadata.tensors();
        let tensors = tensors
            .iter()
            .map(|(name, info)| (name.clone(), entry(info)));
        let tensors = tensors.collect();
        self.files.push(MappedFile {
            path: path.into(),
            map,
        });
        Ok(tensors)
    }
}

/// The file of each tensor, by an index.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>> {
    let damaged = |reason: String| WeightsError::Damaged {
        path: path.into(),
        reason,
    };
    let bytes = fs::read(path).map_err(io_error("read", path))?;
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|e| damaged(format!("not an index of safetensors: {e}")))?;
    match index
        .weight_map
        .values()
        .find(|file| file.contains(['/', '\\']))
    {
        None => Ok(index.weight_map),
        Some(file) => Err(damaged(format!("the shard `{file}` is not in this folder"))),
    }
}

/// The files that hold a folder's tensors: those of the index if there is one, else `STEM.safetensors`, which may be missing.
///
/// # Errors
/// An index that can not be read.
pub(crate) fn weight_files(dir: &Path, stem: &str) -> Result<BTreeSet<String>> {
    let index = dir.join(index_name(stem));
    match index.is_file() {
        true => Ok(read_index(&index)?.into_values().collect()),
        false => Ok([file_name(stem)].into()),
    }
}

/// Numbers of 16 bits as f32.
fn widen(bytes: &[u8], convert: impl Fn([u8; 2]) -> f32) -> Cow<'static, [u8]> {
    let mut out = vec![0; bytes.len() * 2];
    for (from, to) in bytes.chunks_exact(2).zip(out.chunks_exact_mut(4)) {
        to.copy_from_slice(&convert([from[0], from[1]]).to_le_bytes());
    }
    Cow::Owned(out)
}
