//! Tensors to files that several processes write into at the same time, each its parts.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::write::{header, split};
use super::{
    FloatType, Index, IndexMetadata, MAX_SHARD_BYTES, Result, file_name, index_name, io_error,
};
use crate::model::Part;

/// The files of a set of tensors of f32: those of [`write_weights`](super::write_weights), to the byte, whoever writes what.
pub struct PartFiles {
    files: Vec<PartFile>,
    index: Option<(PathBuf, Vec<u8>)>,
}

struct PartFile {
    path: PathBuf,
    /// Its length and itself.
    header: Vec<u8>,
    /// Where the values of each tensor begin.
    starts: BTreeMap<String, u64>,
    bytes: u64,
}

impl PartFiles {
    /// Of the tensors that `parts` belong to; each process has a part of each, which may be empty.
    pub fn of(dir: &Path, stem: &str, parts: &[Part]) -> Self {
        let mut tensors: Vec<_> = parts
            .iter()
            .map(|part| (&*part.name, &*part.shape))
            .collect();
        tensors.sort_unstable();
        let sizes = tensors.iter().map(bytes_of);
        let total_size = sizes.sum();
        let shards = split(tensors, bytes_of, MAX_SHARD_BYTES);
        let count = shards.len();
        if count <= 1 {
            let shard = shards.into_iter().next().unwrap_or_default();
            return Self {
                files: vec![PartFile::new(dir.join(file_name(stem)), &shard)],
                index: None,
            };
        }
        let mut index = Index {
            metadata: IndexMetadata { total_size },
            weight_map: BTreeMap::new(),
        };
        let mut files = Vec::new();
        for (number, shard) in (1..).zip(shards) {
            let name = file_name(&format!("{stem}-{number:05}-of-{count:05}"));
            let names = shard
                .iter()
                .map(|(tensor, _)| (tensor.to_string(), name.clone()));
            index.weight_map.extend(names);
            files.push(PartFile::new(dir.join(name), &shard));
        }
        let text = serde_json::to_string_pretty(&index).expect("an index serialises") + "\n";
        Self {
            files,
            index: Some((dir.join(index_name(stem)), text.into_bytes())),
        }
    }

    /// Makes the files, at their full length: one process does, before any writes its parts.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(&self) -> Result<()> {
        for file in &self.files {
            let io = || io_error("write", &file.path);
            let mut out = File::create(&file.path).map_err(io())?;
            out.write_all(&file.header).map_err(io())?;
            out.set_len(file.bytes).map_err(io())?;
        }
        if let Some((path, text)) = &self.index {
            shards::write_atomic(path, text).map_err(io_error("write", path))?;
        }
        Ok(())
    }

    /// Writes parts to their places; they are on the disk when this returns.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, parts: &[Part]) -> Result<()> {
        for file in &self.files {
            let io = || io_error("write", &file.path);
            let mut out = OpenOptions::new()
                .write(true)
                .open(&file.path)
                .map_err(io())?;
            for part in parts {
                if let Some(start) = file.starts.get(&part.name) {
                    let place = start + 4 * part.start as u64;
                    out.seek(SeekFrom::Start(place)).map_err(io())?;
                    out.write_all(part.data.as_bytes()).map_err(io())?;
                }
            }
            out.sync_all().map_err(io())?;
        }
        Ok(())
    }
}

impl PartFile {
    fn new(path: PathBuf, tensors: &[(&str, &[usize])]) -> Self {
        let names = header(tensors.iter().copied(), FloatType::F32);
        let mut header = (names.len() as u64).to_le_bytes().to_vec();
        header.extend(names);
        let mut bytes = header.len() as u64;
        let mut starts = BTreeMap::new();
        for tensor in tensors {
            starts.insert(tensor.0.to_owned(), bytes);
            bytes += bytes_of(tensor);
        }
        Self {
            path,
            header,
            starts,
            bytes,
        }
    }
}

fn bytes_of((_, shape): &(&str, &[usize])) -> u64 {
    4 * shape.iter().product::<usize>() as u64
}
