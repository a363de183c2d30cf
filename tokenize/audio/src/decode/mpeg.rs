//! The frames of an MP3 file, checked for gaps.
//!
//! An MP3 is a row of frames, each as long as its header says, and as a rule without a checksum. Readers skip whatever
//! is no frame, and so turn a damaged file into a shorter one. Here the frames must follow one another from the first to
//! the last; only tags, and up to [`MAX_JUNK_BYTES`] of anything else, may stand before and after them.
//!
//! What cannot be seen: a cut between two frames, unless the file's header gives its length; damage to no more than the
//! last [`MAX_JUNK_BYTES`]; and damage inside a frame that still decodes.
//!
//! Headers: ISO 11172-3, section 2.4.2.3, and ISO 13818-3 for the lower sample rates.

use std::ops::Range;

/// Zero bytes tolerated on either side: tags and files are padded to disk sectors.
pub const MAX_ZEROS: usize = 4096;

/// The largest frame of Layer III: 320 kbit/s at 32 kHz, with a byte of padding.
const MAX_FRAME_BYTES: usize = 1441;

/// Headers in a row, each where the one before says, that are no accident: 17 bits of each must be right.
const RUN: usize = 3;

/// Where the frames are and what they hold.
#[derive(Debug, PartialEq)]
pub struct Frames {
    /// Bytes from the start of the first frame to the end of the last.
    pub bytes: Range<usize>,
    /// Sample periods in them, with the encoder's delay and padding and the frame that holds the length.
    pub samples: u64,
}

/// Why a file is not one row of frames.
#[derive(Debug, PartialEq)]
pub struct Fault {
    /// Seconds of audio before the fault.
    pub secs: f64,
    /// What is there.
    pub problem: Problem,
}

/// See [`Fault`].
#[derive(Debug, PartialEq)]
pub enum Problem {
    /// The last frame is cut off.
    CutOff,
    /// Something other than a frame.
    Gap(String),
}

/// Walks over all frames of a file.
pub fn frames(file: &[u8]) -> Result<Frames, Fault> {
    let fault = |secs: f64, problem: Problem| Fault { secs, problem };
    let audio = without_id3v1(file);
    let (first, kind) = first_frame(audio).map_err(|problem| fault(0.0, problem))?;
    let (mut at, mut samples) = (first, 0u64);
    let secs = |samples: u64| samples as f64 / f64::from(kind.rate_hz);
    while let Some(header) = Header::parse(&audio[at..]).filter(|h| h.kind == kind.kind) {
        if at + header.bytes > audio.len() {
            return Err(fault(secs(samples), Problem::CutOff));
        }
        at += header.bytes;
        samples += header.samples;
    }
    check_end(audio, at, &kind).map_err(|problem| fault(secs(samples), problem))?;
    Ok(Frames {
        bytes: first..at,
        samples,
    })
}

/// Start of the first run of frames behind the tags in front, and its header.
fn first_frame(audio: &[u8]) -> Result<(usize, Header), Problem> {
    let mut start = 0;
    while let Some(length) = audio.get(start..).and_then(id3v2_len) {
        start += length;
    }
    start += count_zeros(audio.get(start..).unwrap_or_default().iter());
    let end = audio.len().min(start + MAX_FRAME_BYTES);
    (start..end)
        .filter(|&at| is_run(&audio[at..]))
        .find_map(|at| Some((at, Header::parse(&audio[at..])?)))
        .filter(|(at, header)| at - start < header.bytes)
        .ok_or_else(|| Problem::Gap(format!("no row of MPEG frames starts at byte {start}")))
}

/// Whether the frames may end at `at`.
fn check_end(audio: &[u8], at: usize, kind: &Header) -> Result<(), Problem> {
    let rest = &audio[at..];
    if let Some(skipped) = (1..rest.len()).find(|&skip| is_run(&rest[skip..])) {
        return Err(Problem::Gap(if is_tag(rest) {
            format!(
                "a tag stands between frames at byte {at}: several files are joined in one, split them"
            )
        } else {
            format!(
                "{skipped} bytes at byte {at} belong to no MPEG frame, though more frames follow"
            )
        }));
    }
    let shared = rest.len().min(2);
    if (1..4).contains(&rest.len()) && rest[..shared] == kind.start[..shared] {
        return Err(Problem::CutOff);
    }
    let tag = (0..rest.len().min(MAX_ZEROS)).find(|&skip| is_tag(&rest[skip..]));
    let junk = &rest[..tag.unwrap_or(rest.len())];
    if junk.len() - count_zeros(junk.iter().rev()) < kind.bytes {
        return Ok(());
    }
    let length = junk.len();
    Err(Problem::Gap(format!(
        "{length} bytes at byte {at} hold no MPEG frame"
    )))
}

fn count_zeros<'a>(bytes: impl Iterator<Item = &'a u8>) -> usize {
    bytes.take(MAX_ZEROS).take_while(|&&byte| byte == 0).count()
}

/// Whether a row of frames starts here, of [`RUN`] frames or up to the end of the audio.
fn is_run(bytes: &[u8]) -> bool {
    let Some(first) = Header::parse(bytes) else {
        return false;
    };
    let mut at = first.bytes;
    (1..RUN).all(|_| match bytes.get(at..) {
        None => false,
        Some([]) => true,
        Some(rest) => match Header::parse(rest).filter(|h| h.kind == first.kind) {
            Some(header) => {
                at += header.bytes;
                true
            }
            None => is_tag(rest),
        },
    })
}

/// Whether a tag starts here: ID3v1, ID3v2, APEv2 or Lyrics3.
fn is_tag(bytes: &[u8]) -> bool {
    const MARKS: [&[u8]; 4] = [b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN"];
    MARKS.iter().any(|mark| bytes.starts_with(mark))
}

fn without_id3v1(file: &[u8]) -> &[u8] {
    match file.split_last_chunk::<128>() {
        Some((audio, tag)) if tag.starts_with(b"TAG") => audio,
        _ => file,
    }
}

/// Bytes of the ID3v2 tag that starts here: a header of ten, seven bits a byte of length, and perhaps a footer of ten.
fn id3v2_len(bytes: &[u8]) -> Option<usize> {
    let [b'I', b'D', b'3', _, _, flags, length @ ..] = bytes.first_chunk::<10>()? else {
        return None;
    };
    let footer = if flags & 0x10 != 0 { 10 } else { 0 };
    let length = length
        .iter()
        .fold(0, |sum, &byte| sum << 7 | usize::from(byte & 0x7f));
    Some(10 + length + footer)
}

/// What the four bytes of a Layer III header say.
struct Header {
    start: [u8; 2],
    /// Version, layer and rate, which all frames of a stream share.
    kind: u32,
    /// Bytes of the frame, with the header.
    bytes: usize,
    samples: u64,
    rate_hz: u32,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        const LAYER_3: u32 = 1;
        let word = u32::from_be_bytes(*bytes.first_chunk()?);
        if word >> 21 != 0x7ff || word >> 17 & 3 != LAYER_3 {
            return None;
        }
        // MPEG 1, 2 and 2.5
        let (is_mpeg1, divisor) = match word >> 19 & 3 {
            3 => (true, 1),
            2 => (false, 2),
            0 => (false, 4),
            _ => return None,
        };
        let kbit_per_sec = bit_rate(is_mpeg1, word >> 12 & 15)?;
        let rate_hz = [44_100, 48_000, 32_000].get((word >> 10 & 3) as usize)? / divisor;
        let samples = frame_samples(rate_hz);
        let padding = word >> 9 & 1;
        Some(Header {
            start: [bytes[0], bytes[1]],
            kind: word & 0xfffe_0c00,
            bytes: (samples / 8 * 1000 * kbit_per_sec / rate_hz + padding) as usize,
            samples: u64::from(samples),
            rate_hz,
        })
    }
}

/// Sample periods of a frame of Layer III: MPEG 1 begins at 32 kHz, MPEG 2 and 2.5 have half frames.
pub fn frame_samples(rate_hz: u32) -> u32 {
    if rate_hz < 32_000 { 576 } else { 1152 }
}

/// Of Layer III. The first index means any rate, which no decoder here supports, and the last nothing.
fn bit_rate(is_mpeg1: bool, index: u32) -> Option<u32> {
    const MPEG1: [u32; 14] = [
        32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const MPEG2: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let table = if is_mpeg1 { MPEG1 } else { MPEG2 };
    table.get((index as usize).checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests;
