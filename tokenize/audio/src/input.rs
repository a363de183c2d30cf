//! Where a recording's bytes are.

use std::fs::File;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use symphonia::core::io::MediaSource;

use crate::error::{Error, Result};

/// A recording, not yet opened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// Bytes in memory, such as a member of an archive or a cell of a table.
    Bytes {
        /// What errors call it. An extension is taken for a hint; the container is found by its content.
        name: String,
        /// All of it.
        data: Bytes,
    },
}

impl Input {
    /// The path of the file, or the name of the bytes.
    pub fn name(&self) -> String {
        match self {
            Input::File(path) => path.display().to_string(),
            Input::Bytes { name, .. } => name.clone(),
        }
    }

    /// In lower case, if there is one.
    pub(crate) fn extension(&self) -> Option<String> {
        let path = match self {
            Input::File(path) => path.as_path(),
            Input::Bytes { name, .. } => Path::new(name),
        };
        Some(path.extension()?.to_str()?.to_ascii_lowercase())
    }

    /// A reader of all of it, from the start.
    pub(crate) fn reader(&self) -> Result<Box<dyn MediaSource>> {
        let (reader, length): (Box<dyn MediaSource>, u64) = match self {
            Input::File(path) => {
                let io = |cause| Error::io(path, cause);
                let file = File::open(path).map_err(io)?;
                let metadata = file.metadata().map_err(io)?;
                if metadata.is_dir() {
                    return Err(io(io::ErrorKind::IsADirectory.into()));
                }
                (Box::new(file), metadata.len())
            }
            Input::Bytes { data, .. } => (Box::new(Cursor::new(data.clone())), data.len() as u64),
        };
        if length == 0 {
            return Err(Error::Empty { name: self.name() });
        }
        Ok(reader)
    }

    /// All of it in memory, without a copy of what is there already.
    pub(crate) fn bytes(&self) -> Result<Bytes> {
        match self {
            Input::File(path) => {
                let bytes = std::fs::read(path).map_err(|cause| Error::io(path, cause))?;
                Ok(bytes.into())
            }
            Input::Bytes { data, .. } => Ok(data.clone()),
        }
    }
}

impl From<&Path> for Input {
    fn from(path: &Path) -> Self {
        Input::File(path.to_owned())
    }
}
