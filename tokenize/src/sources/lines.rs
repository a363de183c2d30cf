//! Files with a record a line, compressed or not.

use std::io::{self, BufRead, BufReader, Read};

use super::compressed;
use crate::error::Result;

/// Bytes of a line at most. On its way to the shard a document takes some twenty times as much memory.
const MAX_BYTES: u64 = 64 << 20;

/// The lines of a file, but for blank ones.
pub struct Lines<'a> {
    reader: BufReader<Box<dyn Read + Send + 'a>>,
    line: Vec<u8>,
    number: u64,
    max_bytes: u64,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// From 1, as text editors count.
    pub number: u64,
    /// With its end; `None` if it is too long.
    pub content: Option<&'a [u8]>,
}

impl<'a> Lines<'a> {
    /// Reads the content of the file `path`, whose name says how it is compressed.
    ///
    /// # Errors
    /// Those of starting to decompress.
    pub fn open(path: &str, reader: impl Read + Send + 'a) -> Result<Self> {
        let content = compressed::open(path, reader)?;
        Ok(Lines {
            reader: BufReader::with_capacity(1 << 18, content),
            line: Vec::new(),
            number: 0,
            max_bytes: MAX_BYTES,
        })
    }

    /// The next line that is not blank. Of one that is too long nothing is kept.
    ///
    /// # Errors
    /// Those of reading, for [`compressed::damage`].
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            self.line.clear();
            let most = self.max_bytes + 1;
            let taken = (&mut self.reader)
                .take(most)
                .read_until(b'\n', &mut self.line)?;
            if taken == 0 {
                return Ok(None);
            }
            self.number += 1;
            let is_whole = self.line.last() == Some(&b'\n') || (taken as u64) < most;
            if !is_whole {
                self.reader.skip_until(b'\n')?;
                self.line = Vec::new();
            }
            if !is_whole || !self.line.iter().all(u8::is_ascii_whitespace) {
                break;
            }
        }
        Ok(Some(Line {
            number: self.number,
            content: (!self.line.is_empty()).then_some(&self.line),
        }))
    }
}

/// What is wrong with a line that is too long.
pub fn too_long() -> String {
    format!("it has over {MAX_BYTES} bytes, too many for one document")
}

/// What is wrong with the JSON of a line, without the number of the line, which serde_json takes for 1.
pub fn json_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    format!("{text} (at byte {} of the line)", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_passed_over_and_the_next_one_read() {
        let content = b"ab\n\nabcdefgh\nabcd\nabcde\n \nabcd";
        let mut lines = Lines::open("a.jsonl", &content[..]).unwrap();
        lines.max_bytes = 4;
        let mut found = Vec::new();
        while let Some(Line { number, content }) = lines.next().unwrap() {
            found.push((
                number,
                content.map(|line| String::from_utf8_lossy(line).into_owned()),
            ));
        }
        let line = |number, text: &str| (number, Some(text.to_owned()));
        let expected = [
            line(1, "ab\n"),
            (3, None),
            line(4, "abcd\n"),
            (5, None),
            line(7, "abcd"),
        ];
        assert_eq!(found, expected);
    }
}
