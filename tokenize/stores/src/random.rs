//! Objects read in any order, as parquet files are.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::reader::{ChunkReader, Length};

use crate::Object;
use crate::error::Result;
use crate::remote::{Remote, fetch};

/// Remote objects are read in blocks of this size, so that a page of parquet is not a request.
const BLOCK: u64 = 4 << 20;
/// Blocks kept: more than a file has columns that are read side by side.
const KEPT: usize = 12;
/// Blocks requested at once where several are needed.
const RUN: u64 = 4;

/// An object that can be read at any place. Clones share their buffer.
///
/// Remote objects are read in blocks of 4 MiB, two at a time where they are read in order, of which the last twelve are kept
/// (48 MiB).
#[derive(Clone)]
pub struct Random(Arc<Inner>);

struct Inner {
    size: u64,
    source: Source,
    transferred: Arc<AtomicU64>,
}

enum Source {
    Local(Mutex<File>),
    Remote {
        remote: Arc<dyn Remote>,
        object: Object,
        block: u64,
        /// Blocks by their number, the one used last at the end.
        kept: Mutex<VecDeque<(u64, Bytes)>>,
    },
}

impl Random {
    pub(crate) fn local(file: File, object: &Object, transferred: Arc<AtomicU64>) -> Self {
        Self(Arc::new(Inner {
            size: object.size,
            source: Source::Local(Mutex::new(file)),
            transferred,
        }))
    }

    pub(crate) fn remote(
        remote: Arc<dyn Remote>,
        object: Object,
        transferred: Arc<AtomicU64>,
    ) -> Self {
        Self::in_blocks(remote, object, transferred, BLOCK)
    }

    fn in_blocks(
        remote: Arc<dyn Remote>,
        object: Object,
        transferred: Arc<AtomicU64>,
        block: u64,
    ) -> Self {
        Self(Arc::new(Inner {
            size: object.size,
            source: Source::Remote {
                remote,
                object,
                block,
                kept: Mutex::default(),
            },
            transferred,
        }))
    }
}

impl Length for Random {
    fn len(&self) -> u64 {
        self.0.size
    }
}

impl ChunkReader for Random {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Cursor {
            random: self.clone(),
            position: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let end = start.checked_add(length as u64);
        let Some(end) = end.filter(|end| *end <= self.0.size) else {
            return Err(ParquetError::EOF(format!(
                "{length} bytes from byte {start} are asked of a file of {} bytes; it is damaged",
                self.0.size
            )));
        };
        let bytes = self.0.read(start..end);
        bytes.map_err(|e| ParquetError::External(Box::new(e)))
    }
}

/// Reads on from a place of a [`Random`].
pub struct Cursor {
    random: Random,
    position: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.random.0.size.saturating_sub(self.position);
        let count = left.min(buffer.len() as u64);
        let bytes = self.random.0.read(self.position..self.position + count)?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        self.position += count;
        Ok(bytes.len())
    }
}

impl Inner {
    /// A range that lies within the object.
    fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match &self.source {
            Source::Local(file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; (range.end - range.start) as usize];
                file.seek(SeekFrom::Start(range.start))?;
                file.read_exact(&mut bytes)?;
                let count = bytes.len() as u64;
                self.transferred.fetch_add(count, Ordering::Relaxed);
                Ok(bytes.into())
            }
            Source::Remote { block, kept, .. } => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(self.joined_blocks(range, *block, &mut kept)?)
            }
        }
    }

    fn joined_blocks(
        &self,
        range: Range<u64>,
        block: u64,
        kept: &mut VecDeque<(u64, Bytes)>,
    ) -> Result<Bytes> {
        let (first, last) = (range.start / block, (range.end - 1) / block);
        let mut joined = Vec::new();
        for number in first..=last {
            let bytes = self.block(number, last, block, kept)?;
            let base = number * block;
            let start = range.start.max(base) - base;
            let end = range.end.min(base + block) - base;
            let part = bytes.slice(start as usize..end as usize);
            if first == last {
                return Ok(part);
            }
            joined.extend_from_slice(&part);
        }
        Ok(joined.into())
    }

    /// A block, read together with those up to `last` that are needed next if it is not at hand.
    fn block(
        &self,
        number: u64,
        last: u64,
        block: u64,
        kept: &mut VecDeque<(u64, Bytes)>,
    ) -> Result<Bytes> {
        if let Some(at) = kept.iter().position(|(n, _)| *n == number) {
            let found = kept.remove(at).expect("a place just found");
            kept.push_back(found.clone());
            return Ok(found.1);
        }
        let at_hand = |wanted: u64| kept.iter().any(|(n, _)| *n == wanted);
        // the block before is here, so it is probably being read in order
        let ahead = u64::from(number > 0 && at_hand(number - 1));
        let end = self.size.div_ceil(block).min(number + RUN);
        let wanted = last.max(number + ahead) + 1;
        let mut after = number + 1;
        while after < wanted.min(end) && !at_hand(after) {
            after += 1;
        }
        let run = self.fetch(number * block..self.size.min(after * block))?;
        // the first is used last
        for n in (number..after).rev() {
            let start = (n - number) * block;
            let end = (run.len() as u64).min(start + block);
            // a copy, lest one block keep the whole run in memory
            let bytes = Bytes::copy_from_slice(&run[start as usize..end as usize]);
            kept.push_back((n, bytes));
        }
        let found = kept.back().expect("a block just put there").1.clone();
        kept.drain(..kept.len().saturating_sub(KEPT));
        Ok(found)
    }

    fn fetch(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let Source::Remote { remote, object, .. } = &self.source else {
            unreachable!("only remote objects have blocks");
        };
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut sink = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            true
        };
        fetch(&**remote, object, range, true, &self.transferred, &mut sink)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fake::{Fake, Manners};

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn any_range_is_what_it_is_in_the_file(
            size in 1usize..5000,
            block in 1u64..700,
            wanted in prop::collection::vec((0usize..5000, 0usize..3000), 1..30),
            cuts in prop::collection::vec(0usize..900, 0..12),
            knows_ranges: bool,
        ) {
            let content = content(size);
            let manners = Manners { cuts, knows_ranges, ..Manners::default() };
            let fake = Fake::new(content.clone(), manners);
            let object = fake.object();
            let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), block);
            for (start, length) in wanted {
                let start = start.min(size);
                let length = length.min(size - start);
                let expected = &content[start..start + length];
                prop_assert_eq!(&random.get_bytes(start as u64, length).unwrap()[..], expected);
                let mut read = vec![0; length];
                random.get_read(start as u64).unwrap().read_exact(&mut read).unwrap();
                prop_assert_eq!(&read[..], expected);
            }
        }
    }

    #[test]
    fn small_reads_share_requests() {
        let fake = Fake::new(content(4000), Manners::default());
        let asked = fake.asked.clone();
        let object = fake.object();
        let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), 100);
        for start in 0..3000 {
            random.get_bytes(start, 10).unwrap();
        }
        // the first block alone, then two at a time: blocks 0 to 30
        assert_eq!(asked.lock().unwrap().len(), 16);
        random.get_bytes(2950, 30).unwrap();
        assert_eq!(asked.lock().unwrap().len(), 16, "it is still there");
        random.get_bytes(0, 4000).unwrap();
        assert!(
            asked.lock().unwrap()[16..]
                .iter()
                .all(|r| r.end - r.start <= 400)
        );
    }

    #[test]
    fn edges_of_blocks_and_the_end_take_no_request_more() {
        let fake = Fake::new(content(1350), Manners::default());
        let asked = fake.asked.clone();
        let object = fake.object();
        let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), 100);
        for (start, length) in [(0, 100), (300, 200), (450, 50), (1100, 250)] {
            random.get_bytes(start, length).unwrap();
        }
        assert_eq!(asked.lock().unwrap()[..], [0..100, 300..500, 1100..1350]);
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let fake = Fake::new(content(1000), Manners::default());
        let asked = fake.asked.clone();
        let object = fake.object();
        let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), 100);
        random.get_bytes(200, 100).unwrap();
        random.get_bytes(0, 400).unwrap();
        assert_eq!(asked.lock().unwrap()[..], [200..300, 0..200, 300..500]);
    }

    #[test]
    fn a_block_in_use_is_kept() {
        let fake = Fake::new(content(10_000), Manners::default());
        let asked = fake.asked.clone();
        let object = fake.object();
        let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), 100);
        // no two of them neighbours, and more than are kept
        for start in (1000..10_000).step_by(200) {
            random.get_bytes(start, 10).unwrap();
            random.get_bytes(0, 10).unwrap();
        }
        let first = asked
            .lock()
            .unwrap()
            .iter()
            .filter(|r| r.start == 0)
            .count();
        assert_eq!(first, 1);
    }

    #[test]
    fn the_buffer_is_bounded() {
        let fake = Fake::new(content(100_000), Manners::default());
        let object = fake.object();
        let random = Random::in_blocks(Arc::new(fake), object, Arc::default(), 100);
        random.get_bytes(0, 100_000).unwrap();
        let Source::Remote { kept, .. } = &random.0.source else {
            unreachable!()
        };
        assert_eq!(kept.lock().unwrap().len(), KEPT);
    }

    #[test]
    fn beyond_the_end_is_an_error() {
        let fake = Fake::new(content(100), Manners::default());
        let object = fake.object();
        let random = Random::remote(Arc::new(fake), object, Arc::default());
        let error = random.get_bytes(90, 11).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("11 bytes from byte 90 are asked of a file of 100 bytes")
        );
        assert!(random.get_bytes(u64::MAX, 2).is_err());
    }
}
