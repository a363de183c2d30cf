//! Files that may be compressed, told by their names.

use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::skipped::BadRecord;

/// Endings of compressed files; a file without one is taken as it is.
const ENDINGS: [&str; 4] = [".gz", ".tgz", ".zst", ".zstd"];

/// Whether a path has this extension, compressed or not.
pub fn has_extension(path: &str, extension: &str) -> bool {
    let is_tar = path.ends_with(".tgz") && extension == "tar";
    is_tar
        || without_ending(path)
            .rsplit_once('.')
            .is_some_and(|(_, found)| found == extension)
}

/// A path without the ending that says how the file is compressed.
pub fn without_ending(path: &str) -> &str {
    let mut stems = ENDINGS.into_iter().filter_map(|end| path.strip_suffix(end));
    stems.next().unwrap_or(path)
}

/// The content of a file. Gzip may have several members, zstd several frames.
pub fn open<'a>(path: &str, reader: impl Read + Send + 'a) -> Result<Box<dyn Read + Send + 'a>> {
    let buffered = BufReader::with_capacity(1 << 17, reader);
    if path.ends_with(".gz") || path.ends_with(".tgz") {
        return Ok(Box::new(MultiGzDecoder::new(buffered)));
    }
    if path.ends_with(".zst") || path.ends_with(".zstd") {
        let decoder = zstd::Decoder::with_buffer(buffered);
        let decoder = decoder.map_err(Error::io("decompress", path.as_ref()))?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(buffered))
}

/// What to make of an error in the middle of a file: trouble with the store ends the job, for another attempt may succeed;
/// damage to the content is a bad record.
pub fn damage(path: &str, error: io::Error) -> Result<BadRecord> {
    if error
        .get_ref()
        .is_some_and(|inner| inner.is::<stores::Error>())
        || error.raw_os_error().is_some()
    {
        return match error.downcast::<stores::Error>() {
            Ok(error) => Err(error.into()),
            Err(error) => Err(Error::io("read", path.as_ref())(error)),
        };
    }
    let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
    let (reason, what) = match is_cut {
        true => ("truncated", "it ends early"),
        false => ("corrupt", "it is damaged"),
    };
    Ok(BadRecord {
        id: path.to_owned(),
        path: path.to_owned(),
        reason: reason.to_owned(),
        message: format!(
            "{path}: {what} ({error}), and what follows is lost; fetch the file again"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(path: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        open(path, bytes).unwrap().read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn names_tell_what_is_inside() {
        for (path, extension, expected) in [
            ("a/b.jsonl.gz", "jsonl", true),
            ("b.jsonl.zstd", "jsonl", true),
            ("b.jsonl", "jsonl", true),
            ("b.tgz", "tar", true),
            ("b.json.gz", "jsonl", false),
            ("jsonl", "jsonl", false),
        ] {
            assert_eq!(has_extension(path, extension), expected, "{path}");
        }
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read("a.gz", &two).unwrap(), b"one two");
        let frames = [&b"one "[..], b"two"].map(|part| zstd::encode_all(part, 3).unwrap());
        assert_eq!(read("a.zst", &frames.concat()).unwrap(), b"one two");
        assert_eq!(read("a.txt", b"one two").unwrap(), b"one two");
    }

    #[test]
    fn damage_is_a_bad_record_and_trouble_is_not() {
        let content: Vec<u8> = (0..100_000u32)
            .flat_map(|n| (n * 2_654_435_761).to_le_bytes())
            .collect();
        let whole = gzip(&content);
        let error = read("a.gz", &whole[..whole.len() / 2]).unwrap_err();
        assert_eq!(damage("a.gz", error).unwrap().reason, "truncated");
        let mut broken = whole.clone();
        broken[200..300].fill(0xff);
        let error = read("a.gz", &broken).unwrap_err();
        assert_eq!(damage("a.gz", error).unwrap().reason, "corrupt");
        assert!(damage("a.gz", io::Error::from_raw_os_error(5)).is_err());
    }
}
