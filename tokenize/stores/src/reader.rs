//! Objects read from their first byte to their last.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use crate::Object;
use crate::error::Result;
use crate::remote::{Fetched, Remote, fetch};

/// Bytes of one request.
const RANGE: u64 = 8 << 20;
/// Ranges requested before the one that is being read has been read.
const AHEAD: usize = 2;
/// Bytes passed on at once where the server knows no ranges.
const BLOCK: usize = 1 << 20;

/// The bytes of an object, in order.
///
/// A remote object is read in ranges of 8 MiB, each tried again where it broke off, while the two that follow are already
/// requested; it holds at most 24 MiB. Errors are [`Error`](crate::Error)s within [`io::Error`]s. After an error, reading goes on at the
/// same byte, with new attempts.
pub struct Reader(Inner);

enum Inner {
    Local(File, Arc<AtomicU64>),
    Remote(Ahead),
}

impl Reader {
    pub(crate) fn local(file: File, transferred: Arc<AtomicU64>) -> Self {
        Self(Inner::Local(file, transferred))
    }

    pub(crate) fn remote(
        remote: Arc<dyn Remote>,
        object: Object,
        transferred: Arc<AtomicU64>,
    ) -> Self {
        Self(Inner::Remote(Ahead::new(
            remote,
            object,
            transferred,
            RANGE,
        )))
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Local(file, transferred) => {
                let count = file.read(buffer)?;
                transferred.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            }
            Inner::Remote(ahead) => ahead.read(buffer),
        }
    }
}

/// Reads ahead in threads, one for each range.
struct Ahead {
    source: Source,
    range: u64,
    /// First byte that has not been handed out.
    position: u64,
    /// First byte that has not been requested.
    requested: u64,
    /// What is being handed out, and how far it has been.
    block: Vec<u8>,
    used: usize,
    /// Ranges under way, in order. `None` stands for a server that knows no ranges.
    pending: VecDeque<Receiver<Result<Option<Vec<u8>>>>>,
    /// The rest of the object, from such a server.
    whole: Option<Receiver<Result<Vec<u8>>>>,
}

/// What the threads need.
#[derive(Clone)]
struct Source {
    remote: Arc<dyn Remote>,
    object: Object,
    transferred: Arc<AtomicU64>,
    /// Nobody reads any longer.
    stopped: Arc<AtomicBool>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.source.stopped.store(true, Ordering::Relaxed);
    }
}

impl Ahead {
    fn new(
        remote: Arc<dyn Remote>,
        object: Object,
        transferred: Arc<AtomicU64>,
        range: u64,
    ) -> Self {
        Self {
            source: Source {
                remote,
                object,
                transferred,
                stopped: Arc::default(),
            },
            range,
            position: 0,
            requested: 0,
            block: Vec::new(),
            used: 0,
            pending: VecDeque::new(),
            whole: None,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.used == self.block.len() {
            if self.position == self.source.object.size {
                return Ok(0);
            }
            let next = self.next_block();
            self.block = next.inspect_err(|_| {
                // the next read starts anew from here
                self.pending.clear();
                self.whole = None;
                self.requested = self.position;
            })?;
            self.used = 0;
        }
        let count = buffer.len().min(self.block.len() - self.used);
        buffer[..count].copy_from_slice(&self.block[self.used..][..count]);
        self.used += count;
        self.position += count as u64;
        Ok(count)
    }

    /// The bytes that follow those handed out.
    fn next_block(&mut self) -> io::Result<Vec<u8>> {
        (self.block, self.used) = (Vec::new(), 0);
        if let Some(whole) = &self.whole {
            return Ok(whole.recv().map_err(|_| thread_ended())??);
        }
        while self.pending.len() <= AHEAD && self.requested < self.source.object.size {
            self.request()?;
        }
        let first = self.pending.pop_front().ok_or_else(thread_ended)?;
        if let Some(block) = first.recv().map_err(|_| thread_ended())?? {
            return Ok(block);
        }
        self.pending.clear();
        let whole = self.source.clone().stream(self.position)?;
        let block = whole.recv().map_err(|_| thread_ended())?;
        self.whole = Some(whole);
        Ok(block?)
    }

    fn request(&mut self) -> io::Result<()> {
        let start = self.requested;
        let end = self.source.object.size.min(start + self.range);
        let source = self.source.clone();
        let (sender, receiver) = sync_channel(1);
        spawn(move || {
            // fails if nobody reads any longer
            let _ = sender.send(source.fetch(start, end));
        })?;
        self.pending.push_back(receiver);
        self.requested = end;
        Ok(())
    }
}

impl Source {
    /// A range, or `None` if the server knows no ranges.
    fn fetch(&self, start: u64, end: u64) -> Result<Option<Vec<u8>>> {
        let mut bytes = Vec::with_capacity((end - start) as usize);
        let mut sink = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            !self.stopped.load(Ordering::Relaxed)
        };
        let (remote, object) = (&*self.remote, &self.object);
        match fetch(
            remote,
            object,
            start..end,
            false,
            &self.transferred,
            &mut sink,
        )? {
            Fetched::RangeIgnored => Ok(None),
            Fetched::Complete | Fetched::Stopped => Ok(Some(bytes)),
        }
    }

    /// Everything from `start` on, from a server that knows no ranges: over one connection, because each new one begins with
    /// the object's first byte.
    fn stream(self, start: u64) -> io::Result<Receiver<Result<Vec<u8>>>> {
        let (sender, receiver) = sync_channel(AHEAD);
        spawn(move || {
            let (remote, object) = (&*self.remote, &self.object);
            let range = start..object.size;
            let mut block = Vec::with_capacity(BLOCK);
            let mut sink = |piece: &[u8]| {
                block.extend_from_slice(piece);
                block.len() < BLOCK || {
                    let full = std::mem::replace(&mut block, Vec::with_capacity(BLOCK));
                    sender.send(Ok(full)).is_ok()
                }
            };
            let ended = fetch(remote, object, range, true, &self.transferred, &mut sink);
            // what came before an error is good; sending fails if nobody reads any longer
            if !block.is_empty() {
                let _ = sender.send(Ok(block));
            }
            if let Err(e) = ended {
                let _ = sender.send(Err(e));
            }
        })?;
        Ok(receiver)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name("read ahead".to_owned());
    builder.spawn(work).map(|_| ())
}

fn thread_ended() -> io::Error {
    io::Error::other("the thread that reads ahead has ended; this is a bug")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::fake::{Fake, Manners};

    fn ahead(fake: Fake, range: u64) -> Ahead {
        let object = fake.object();
        Ahead::new(Arc::new(fake), object, Arc::default(), range)
    }

    fn all(ahead: &mut Ahead) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut piece = [0; 1000];
        loop {
            match ahead.read(&mut piece)? {
                0 => return Ok(bytes),
                count => bytes.write_all(&piece[..count])?,
            }
        }
    }

    proptest! {
        /// Whatever the sizes of object, ranges and reads, and wherever connections break.
        #[test]
        fn the_bytes_are_the_same(
            size in 0usize..5000,
            range in 1u64..2000,
            reads in prop::collection::vec(0usize..1500, 1..20),
            cuts in prop::collection::vec(0usize..900, 0..12),
            knows_ranges: bool,
        ) {
            let content: Vec<u8> = (0..size).map(|i| (i * 31 % 251) as u8).collect();
            let manners = Manners { cuts, knows_ranges, ..Manners::default() };
            let mut ahead = ahead(Fake::new(content.clone(), manners), range);
            let mut found = Vec::new();
            for length in reads.iter().cycle().take(20_000) {
                let mut buffer = vec![0; *length];
                let count = ahead.read(&mut buffer).unwrap();
                prop_assert!(*length == 0 || count > 0 || found.len() == size);
                found.extend_from_slice(&buffer[..count]);
            }
            found.extend(all(&mut ahead).unwrap());
            prop_assert_eq!(found, content);
        }
    }

    #[test]
    fn two_ranges_are_fetched_ahead_and_no_more() {
        let fake = Fake::new(vec![7; 1000], Manners::default());
        let asked = fake.asked.clone();
        let mut ahead = ahead(fake, 100);
        let mut one = [0];
        ahead.read(&mut one).unwrap();
        // the threads may still be on their way
        for pending in ahead.pending.drain(..) {
            pending.recv().unwrap().unwrap();
        }
        let mut starts: Vec<u64> = asked.lock().unwrap().iter().map(|r| r.start).collect();
        starts.sort_unstable();
        assert_eq!(starts, [0, 100, 200]);
    }

    #[test]
    fn reading_goes_on_after_an_error() {
        let content: Vec<u8> = (0..=255).cycle().take(3000).collect();
        let manners = Manners {
            refuse_from: Some(1500),
            ..Manners::default()
        };
        let fake = Fake::new(content.clone(), manners);
        let refuses = fake.refuses.clone();
        let mut ahead = ahead(fake, 500);
        let mut found = Vec::new();
        let mut piece = [0; 100];
        let error = loop {
            match ahead.read(&mut piece) {
                Ok(count) => found.extend_from_slice(&piece[..count]),
                Err(e) => break e,
            }
        };
        assert_eq!(
            error.to_string(),
            "fake://: x at byte 1500: no (1 attempt); ask nicely"
        );
        assert_eq!(found, content[..1500]);
        refuses.store(false, Ordering::Relaxed);
        found.extend(all(&mut ahead).unwrap());
        assert!(found == content);
    }

    #[test]
    fn a_server_without_ranges_is_read_over_one_connection() {
        let content = vec![9; 100_000];
        let manners = Manners {
            knows_ranges: false,
            ..Manners::default()
        };
        let fake = Fake::new(content.clone(), manners);
        let asked = fake.asked.clone();
        let mut ahead = ahead(fake, 1000);
        assert!(all(&mut ahead).unwrap() == content);
        // the first range, up to three ahead that were given up, and the rest of the object
        let count = asked.lock().unwrap().len();
        assert!(count <= 5, "{count} requests");
    }
}
