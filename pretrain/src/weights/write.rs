//! Tensors to files, one at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::{Index, IndexMetadata, Result, file_name, index_name, io_error};
use crate::model::NamedTensor;

/// Bytes of tensors in one file, unless a single one is larger; what Hugging Face's libraries long took, too.
pub const MAX_SHARD_BYTES: u64 = 5_000_000_000;
/// A file's tensors begin at a multiple of this, as the format wants it.
const ALIGNMENT: usize = 8;
/// Bytes handed to the system at once.
const BUFFER: usize = 1 << 20;

/// Number formats that weights are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits, of which 8 are the exponent.
    Bf16,
}

impl FloatType {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

/// A tensor to be written, whose values are made or read when its turn comes.
pub struct LazyTensor<'a> {
    name: String,
    shape: Vec<usize>,
    values: Box<dyn FnOnce() -> Result<Cow<'a, [u8]>> + 'a>,
}

impl<'a> LazyTensor<'a> {
    /// `values` gives numbers of f32 in little-endian order, as many as the shape says.
    pub fn new(
        name: impl Into<String>,
        shape: Vec<usize>,
        values: impl FnOnce() -> Result<Cow<'a, [u8]>> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            shape,
            values: Box::new(values),
        }
    }

    /// Calls `done` when the values were made.
    pub fn then(self, done: impl FnOnce() + 'a) -> Self {
        let values = self.values;
        Self::new(self.name, self.shape, move || values().inspect(|_| done()))
    }

    /// Numbers in the tensor.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

impl<'a> From<&'a NamedTensor> for LazyTensor<'a> {
    fn from(tensor: &'a NamedTensor) -> Self {
        let shape = tensor.data.shape.to_vec();
        Self::new(&tensor.name, shape, || {
            Ok(Cow::Borrowed(tensor.data.as_bytes()))
        })
    }
}

/// Writes tensors as `STEM.safetensors` into a folder, or, if they are more than `max_shard_bytes` ([`MAX_SHARD_BYTES`]
/// where there is no reason for another), as shards with an index. Rounds to nearest, ties to even, if `dtype` has 16 bits.
///
/// The order of the tensors is that of their names, so that the same tensors give the same bytes. Files are on the disk when
/// this returns; they are written under their final names, so `dir` should be a folder that gets its own name afterwards.
/// Returns the files, the index last.
///
/// # Errors
/// I/O errors, and what the tensors' own functions give.
pub fn write_weights<'a>(
    dir: &Path,
    stem: &str,
    tensors: impl IntoIterator<Item = LazyTensor<'a>>,
    dtype: FloatType,
    max_shard_bytes: u64,
) -> Result<Vec<PathBuf>> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let sizes = tensors.iter().map(|tensor| bytes_of(tensor, dtype) as u64);
    let total_size = sizes.sum();
    let mut shards = split(
        tensors,
        |tensor| bytes_of(tensor, dtype) as u64,
        max_shard_bytes,
    );
    if shards.len() <= 1 {
        let path = dir.join(file_name(stem));
        write_file(&path, shards.pop().unwrap_or_default(), dtype)?;
        return Ok(vec![path]);
    }
    let mut index = Index {
        metadata: IndexMetadata { total_size },
        weight_map: Default::default(),
    };
    let mut paths = Vec::new();
    let count = shards.len();
    for (number, shard) in (1..).zip(shards) {
        let name = file_name(&format!("{stem}-{number:05}-of-{count:05}"));
        let names = shard
            .iter()
            .map(|tensor| (tensor.name.clone(), name.clone()));
        index.weight_map.extend(names);
        let path = dir.join(name);
        write_file(&path, shard, dtype)?;
        paths.push(path);
    }
    let path = dir.join(index_name(stem));
    let text = serde_json::to_string_pretty(&index).expect("an index serialises") + "\n";
    shards::write_atomic(&path, text.as_bytes()).map_err(io_error("write", &path))?;
    paths.push(path);
    Ok(paths)
}

fn bytes_of(tensor: &LazyTensor, dtype: FloatType) -> usize {
    tensor.elements() * dtype.bytes()
}

/// Tensors in their order, a new shard before each that would make one too large.
pub(super) fn split<T>(tensors: Vec<T>, bytes: impl Fn(&T) -> u64, max_bytes: u64) -> Vec<Vec<T>> {
    let mut shards: Vec<Vec<_>> = Vec::new();
    let mut used = 0;
    for tensor in tensors {
        let bytes = bytes(&tensor);
        match shards.last_mut() {
            Some(shard) if used + bytes <= max_bytes => {
                shard.push(tensor);
                used += bytes;
            }
            _ => {
                shards.push(vec![tensor]);
                used = bytes;
            }
        }
    }
    shards
}

/// One safetensors file. Not by the crate's own function, whose files only their owner can read, and which takes no tensor
/// that can fail.
fn write_file(path: &Path, tensors: Vec<LazyTensor>, dtype: FloatType) -> Result<()> {
    let io = || io_error("write", path);
    let file = File::create(path).map_err(io())?;
    let mut out = BufWriter::with_capacity(BUFFER, &file);
    let shapes = tensors
        .iter()
        .map(|t| (t.name.as_str(), t.shape.as_slice()));
    let header = header(shapes, dtype);
    out.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| out.write_all(&header))
        .map_err(io())?;
    for tensor in tensors {
        let (name, elements) = (tensor.name.clone(), tensor.elements());
        let values = (tensor.values)()?;
        assert_eq!(values.len(), elements * 4, "values of tensor `{name}`");
        match dtype {
            FloatType::F32 => out.write_all(&values),
            FloatType::Bf16 => out.write_all(&to_bf16(&values)),
        }
        .map_err(io())?;
    }
    out.flush().and_then(|()| file.sync_all()).map_err(io())
}

/// Names, shapes and places as JSON, with blanks after it so that the tensors are aligned.
pub(super) fn header<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
    dtype: FloatType,
) -> Vec<u8> {
    let mut end = 0;
    let infos = tensors.map(|(name, shape)| {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bytes();
        let info = TensorInfo {
            dtype: dtype.dtype(),
            shape: shape.to_vec(),
            data_offsets: (start, end),
        };
        (name.to_owned(), info)
    });
    // Hugging Face's libraries ask for it
    let format = [("format".to_owned(), "pt".to_owned())].into();
    let metadata = Metadata::new(Some(format), infos.collect()).expect("tensors without gaps");
    let mut header = serde_json::to_vec(&metadata).expect("a header serialises");
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    header
}

fn to_bf16(values: &[u8]) -> Vec<u8> {
    let mut out = vec![0; values.len() / 2];
    for (from, to) in values.chunks_exact(4).zip(out.chunks_exact_mut(2)) {
        let value = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
        to.copy_from_slice(&bf16::from_f32(value).to_le_bytes());
    }
    out
}
