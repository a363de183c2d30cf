//! Reading a metrics file as it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::metrics::{MetricsError, Record};

/// A metrics file and how far it has been read.
pub struct Tail {
    path: PathBuf,
    /// Bytes read, up to the end of a line.
    offset: u64,
    /// Lines read.
    lines: usize,
    /// The last of them: if it is still where it was, so are all before it.
    last_line: Vec<u8>,
}

impl Tail {
    /// A file of which nothing has been read; it need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            lines: 0,
            last_line: Vec::new(),
        }
    }

    /// Adds what was appended since the last look to `state`. A line without its end is left for the next one. If the
    /// file is another one, as after a run was resumed from a checkpoint, `state` begins anew.
    ///
    /// # Errors
    /// A file that cannot be read, and whole lines that are no records.
    pub fn read<T: Default>(
        &mut self,
        state: &mut T,
        add: impl Fn(&mut T, Record),
    ) -> Result<(), MetricsError> {
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(|e| self.unreadable(e))?,
        };
        let mut file = BufReader::new(file);
        if !self.goes_on(&mut file).map_err(|e| self.unreadable(e))? {
            *self = Self::new(std::mem::take(&mut self.path));
            *state = T::default();
            file.rewind().map_err(|e| self.unreadable(e))?;
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            file.read_until(b'\n', &mut line)
                .map_err(|e| self.unreadable(e))?;
            if !line.ends_with(b"\n") {
                return Ok(());
            }
            let record = serde_json::from_slice(&line).map_err(|source| MetricsError::Line {
                path: self.path.clone(),
                line: self.lines + 1,
                source,
            })?;
            add(state, record);
            self.offset += line.len() as u64;
            self.lines += 1;
            self.last_line.clone_from(&line);
        }
    }

    /// Whether the file still holds what was read of it; if so it stands behind that.
    fn goes_on(&self, file: &mut BufReader<File>) -> io::Result<bool> {
        let mut there = vec![0; self.last_line.len()];
        file.seek(SeekFrom::Start(self.offset - there.len() as u64))?;
        match file.read_exact(&mut there) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
            Ok(()) => Ok(there == self.last_line),
        }
    }

    /// How long before `now` the file was written to; none if it is not there.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        let written = std::fs::metadata(&self.path).and_then(|file| file.modified());
        Some(now.duration_since(written.ok()?).unwrap_or_default())
    }

    fn unreadable(&self, source: io::Error) -> MetricsError {
        MetricsError::Read {
            path: self.path.clone(),
            source,
        }
    }
}
