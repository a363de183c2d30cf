//! Tensors on disk, in the form of Hugging Face: `STEM.safetensors`, or, where that would be large, shards
//! `STEM-00001-of-0000N.safetensors` with an index `STEM.safetensors.index.json` that says which tensor is where.
//!
//! [`Weights`] reads them, [`write_weights`] writes them. Both go tensor by tensor: no more than one is held in memory.
//! [`PartFiles`] are written by several processes.

mod parts;
mod read;
mod write;

pub use parts::PartFiles;
pub use read::Weights;
pub(crate) use read::weight_files;
pub use write::{FloatType, LazyTensor, MAX_SHARD_BYTES, write_weights};

use std::io;
use std::path::{Path, PathBuf};

/// Why tensors can not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The folder has neither the file nor an index.
    #[error(
        "{} holds no weights: there is neither {stem}.safetensors nor {stem}.safetensors.index.json; give a folder that \
         has them (weights in other forms, such as pytorch_model.bin, must be saved as safetensors first)",
        dir.display()
    )]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// Name of the files without their ending.
        stem: String,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{}: {reason}; copy or download it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A tensor is missing or can not be used.
    #[error("{}: tensor `{name}` {reason}", path.display())]
    Tensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

/// Result of reading and writing tensors.
pub type Result<T, E = WeightsError> = std::result::Result<T, E>;

/// The file that says which tensor is in which shard.
#[derive(serde::Serialize, serde::Deserialize)]
struct Index {
    metadata: IndexMetadata,
    /// Name of the file of each tensor.
    weight_map: std::collections::BTreeMap<String, String>,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct IndexMetadata {
    /// Bytes of all tensors.
    total_size: u64,
}

fn file_name(stem: &str) -> String {
    format!("{stem}.safetensors")
}

/// Name of the index of shards.
pub(crate) fn index_name(stem: &str) -> String {
    format!("{stem}.safetensors.index.json")
}

/// For `map_err` of an operation on `path`.
fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> WeightsError + use<> {
    let path = path.to_path_buf();
    move |source| WeightsError::Io {
        action,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests;
