//! Bytes of a shard's file, wherever it is: a file of this machine, or what another crate knows to read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

/// A file that is read at any place, by any number of threads.
pub trait ReadAt: Send + Sync {
    /// Size of the file in bytes.
    ///
    /// # Errors
    /// If the file cannot be asked, or is gone.
    fn size(&self) -> io::Result<u64>;

    /// The bytes of `range`, all of them.
    ///
    /// # Errors
    /// Also if the file ends before the range does.
    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes>;
}

/// A file of this machine, opened anew for every read, because clones of a handle share its position.
pub(crate) struct LocalFile(pub PathBuf);

impl LocalFile {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_path_buf())
    }
}

impl ReadAt for LocalFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut file = File::open(&self.0)?;
        file.seek(SeekFrom::Start(range.start))?;
        let mut bytes = vec![0; (range.end - range.start) as usize];
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// Parts of a file that were read before, to decode them without touching the file.
pub(crate) struct Fetched {
    size: u64,
    /// Start and bytes of each part, ascending.
    parts: Vec<(u64, Bytes)>,
}

/// Two ranges this close are read together: the bytes between them cost less than another request.
const CLOSE_BYTES: u64 = 64 << 10;

impl Fetched {
    /// Reads `ranges`, which ascend, of a file of `size` bytes.
    pub(crate) fn read(file: &dyn ReadAt, size: u64, ranges: &[Range<u64>]) -> io::Result<Self> {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end + CLOSE_BYTES => {
                    last.end = range.end.max(last.end)
                }
                _ => joined.push(range.clone()),
            }
        }
        let read = |range: Range<u64>| Ok((range.start, file.read_at(range)?));
        let parts = joined.into_iter().map(read).collect::<io::Result<_>>()?;
        Ok(Self { size, parts })
    }
}

impl Length for Fetched {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Fetched {
    type T = io::Cursor<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        self.from(start).map(io::Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start)?;
        match length <= bytes.len() {
            true => Ok(bytes.slice(..length)),
            false => Err(ParquetError::EOF(format!(
                "no {length} bytes from byte {start} on"
            ))),
        }
    }
}

impl Fetched {
    /// What was read from `start` on.
    fn from(&self, start: u64) -> ParquetResult<Bytes> {
        let next = self.parts.partition_point(|(from, _)| *from <= start);
        let part = next.checked_sub(1).map(|at| &self.parts[at]);
        match part {
            Some((from, bytes)) if start - from < bytes.len() as u64 => {
                Ok(bytes.slice((start - from) as usize..))
            }
            _ => Err(ParquetError::EOF(format!(
                "byte {start} is in no column of the row group"
            ))),
        }
    }
}
