//! An object in memory, behind a network that misbehaves, for tests.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::Object;
use crate::error::Result;
use crate::remote::{Download, Remote};
use crate::retry::{Attempt, Failure, Place, Retry};

pub struct Manners {
    /// Answers that break off after so many bytes, the last one first.
    pub cuts: Vec<usize>,
    pub knows_ranges: bool,
    /// Ranges that begin here or later are refused.
    pub refuse_from: Option<u64>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            cuts: Vec::new(),
            knows_ranges: true,
            refuse_from: None,
        }
    }
}

pub struct Fake {
    place: Place,
    content: Vec<u8>,
    manners: Manners,
    cuts: Mutex<Vec<usize>>,
    pub asked: Arc<Mutex<Vec<Range<u64>>>>,
    pub refuses: Arc<AtomicBool>,
}

impl Fake {
    pub fn new(content: Vec<u8>, mut manners: Manners) -> Self {
        Self {
            place: Place {
                location: "fake://".to_owned(),
                retry: Retry {
                    // more than there are cuts
                    attempts: 20,
                    base: Duration::ZERO,
                    ..Retry::default()
                },
            },
            content,
            cuts: Mutex::new(std::mem::take(&mut manners.cuts)),
            manners,
            asked: Arc::default(),
            refuses: Arc::new(AtomicBool::new(true)),
        }
    }

    pub fn object(&self) -> Object {
        Object {
            path: "x".to_owned(),
            size: self.content.len() as u64,
            etag: None,
        }
    }
}

impl Remote for Fake {
    fn place(&self) -> &Place {
        &self.place
    }

    fn get(&self, _: &Object, range: Range<u64>) -> Attempt<Download> {
        self.asked.lock().unwrap().push(range.clone());
        let refused = self
            .manners
            .refuse_from
            .is_some_and(|from| range.start >= from);
        if refused && self.refuses.load(Ordering::Relaxed) {
            return Err(Failure::lasting("no", "ask nicely"));
        }
        let (start, end) = match self.manners.knows_ranges {
            true => (range.start, range.end),
            false => (0, self.content.len() as u64),
        };
        let mut bytes = self.content[start as usize..end as usize].to_vec();
        if let Some(cut) = self.cuts.lock().unwrap().pop() {
            bytes.truncate(cut);
        }
        Ok(Download {
            start,
            data: Box::new(Cursor::new(bytes)),
        })
    }

    fn list(&self, _: &str) -> Result<Vec<Object>> {
        unreachable!()
    }

    fn head(&self, _: &str) -> Result<Option<Object>> {
        unreachable!()
    }

    fn write(&self, _: &str, _: Vec<u8>) -> Result<()> {
        unreachable!()
    }

    fn upload(&self, _: &str, _: &Path) -> Result<()> {
        unreachable!()
    }

    fn delete(&self, _: &str) -> Result<()> {
        unreachable!()
    }
}
