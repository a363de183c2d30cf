//! Tar archives, compressed or not, read once from start to end.

use std::cell::Cell;
use std::io::{self, Read};

use stores::{Object, Store};

use super::compressed;
use crate::error::Error;
use crate::skipped::BadRecord;
use crate::source::{Counted, Emit};

/// A file of an archive.
pub struct Member<'a> {
    /// Its path in the archive, without a leading `./`.
    pub path: String,
    content: &'a mut dyn Read,
}

/// Why a member is not read to its end.
pub enum Stop {
    /// Nothing more of the archive is wanted.
    Done,
    /// The job ends.
    Job(Box<Error>),
    /// The archive, or what it is read from.
    Content(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Job(Box::new(error))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Content(error)
    }
}

impl Read for Member<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.content.read(buffer)
    }
}

impl Member<'_> {
    /// All of it.
    pub fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.content.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The name of the file, without folders and without `extension` (`.mp3`), if it has that.
    pub fn stem(&self, extension: &str) -> Option<&str> {
        stem(&self.path, extension)
    }
}

/// The name of the file at `path`, without folders and without `extension` (`.mp3`), if it has that.
pub fn stem<'p>(path: &'p str, extension: &str) -> Option<&'p str> {
    let name = path.rsplit('/').next()?;
    name.strip_suffix(extension).filter(|stem| !stem.is_empty())
}

/// Hands each file of an archive to `each`, in order. Damage is a bad record and ends the archive: what lies before it has
/// been handed over, what follows cannot be found.
///
/// # Errors
/// Those of `each` that end the job, and trouble with the store.
pub fn read_members(
    store: &Store,
    object: &Object,
    emit: &mut dyn Emit,
    mut each: impl FnMut(&mut Member<'_>, &mut dyn Emit) -> Result<(), Stop>,
) -> crate::Result<()> {
    let reader = Counted::new(store.reader(object)?, emit.counter());
    let reader = compressed::open(&object.path, reader)?;
    match walk(reader, &mut |member| each(member, emit)) {
        Ok(()) | Err(Stop::Done) => Ok(()),
        Err(Stop::Job(error)) => Err(*error),
        Err(Stop::Content(error)) => emit.bad(compressed::damage(&object.path, error)?),
    }
}

type Each<'a> = dyn FnMut(&mut Member<'_>) -> Result<(), Stop> + 'a;

fn walk(reader: impl Read, each: &mut Each<'_>) -> Result<(), Stop> {
    let is_over = Cell::new(false);
    let mut archive = tar::Archive::new(Watched {
        inner: reader,
        is_over: &is_over,
    });
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Whole {
            missing: entry.size(),
            inner: &mut entry,
        };
        each(&mut Member {
            path: path.trim_start_matches("./").to_owned(),
            content: &mut content,
        })?;
    }
    // an archive ends with blocks of zeros; one that is cut between two members has none
    if is_over.get() {
        let end = "an archive without its end mark";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, end).into());
    }
    // a compressed file ends with a checksum of all that was read
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Notes whether the end was reached.
struct Watched<'a, R> {
    inner: R,
    is_over: &'a Cell<bool>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.is_over.set(count == 0 && !buffer.is_empty());
        Ok(count)
    }
}

/// Makes an end before its time an error.
struct Whole<R> {
    inner: R,
    missing: u64,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.missing -= count as u64;
        if count == 0 && !buffer.is_empty() && self.missing > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

/// A recording read from an archive.
pub fn in_memory(name: &str, data: Vec<u8>) -> audio::Input {
    audio::Input::Bytes {
        name: name.to_owned(),
        data: data.into(),
    }
}

/// A recording without a transcript.
pub fn missing_text(id: &str, origin: &str, wanted: &str) -> BadRecord {
    bad(
        id,
        origin,
        "missing-text",
        &format!("there is no transcript of it in {wanted}"),
    )
}

/// A transcript without a recording.
pub fn missing_audio(id: &str, origin: &str, wanted: &str) -> BadRecord {
    bad(
        id,
        origin,
        "missing-audio",
        &format!("there is no recording of it in {wanted}"),
    )
}

/// A bad record; the message begins with where it is.
pub fn bad(id: &str, origin: &str, reason: &str, problem: &str) -> BadRecord {
    BadRecord {
        id: id.to_owned(),
        path: origin.to_owned(),
        reason: reason.to_owned(),
        message: format!("{origin}: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: [usize; 3] = [10, 700, 512];

    fn archive() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (index, size) in SIZES.into_iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_size(size as u64);
            let content = vec![index as u8; size];
            let path = format!("./folder/{index}.mp3");
            builder
                .append_data(&mut header, path, &content[..])
                .unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// Members that are whole, and the error after them.
    fn read(bytes: &[u8]) -> (Vec<usize>, Option<io::Error>) {
        let mut sizes = Vec::new();
        let result = walk(bytes, &mut |member| {
            let index = sizes.len();
            assert_eq!(member.path, format!("folder/{index}.mp3"));
            let content = member.bytes()?;
            assert!(content.iter().all(|&byte| usize::from(byte) == index));
            sizes.push(content.len());
            Ok(())
        });
        let error = match result {
            Err(Stop::Content(error)) => Some(error),
            _ => None,
        };
        (sizes, error)
    }

    #[test]
    fn members_are_read_in_order() {
        let (sizes, error) = read(&archive());
        assert_eq!((sizes, error.is_none()), (SIZES.to_vec(), true));
    }

    #[test]
    fn a_cut_is_found_wherever_it_is() {
        let whole = archive();
        let end = whole.len() - 1024;
        let of_member = [512 + 10, 1024 + 512 + 700, 2560 + 512 + 512];
        for cut in 0..=end {
            let (sizes, error) = read(&whole[..cut]);
            let before = of_member.iter().filter(|&&end| end <= cut).count();
            assert_eq!(sizes, SIZES[..before], "cut at {cut}");
            assert!(error.is_some(), "cut at {cut}");
        }
        for cut in end + 512..=whole.len() {
            assert!(read(&whole[..cut]).1.is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_header_ends_it() {
        let mut bytes = archive();
        bytes[1024 + 5] ^= 1;
        let (sizes, error) = read(&bytes);
        assert_eq!(sizes, [10]);
        assert_ne!(error.unwrap().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn names_without_folders_and_extensions() {
        assert_eq!(stem("a/b.c.mp3", ".mp3"), Some("b.c"));
        assert_eq!(stem("b.json", ".mp3"), None);
        assert_eq!(stem("a/.mp3", ".mp3"), None);
    }
}
