//! A wav file as it streams by, cut into parts.

use std::io::{self, Read};

/// Bytes read at once.
const BLOCK: usize = 1 << 16;
/// Most bytes of the chunk `fmt `, which needs 40 at most.
const FORMAT_BYTES: u32 = 1 << 10;

/// Codes of sample formats.
const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

/// A stream that stands at the samples of a wav file, or behind some of them.
pub struct WavStream<R> {
    reader: R,
    /// The content of the chunk `fmt `, which parts have too.
    format: Vec<u8>,
    /// Periods of samples a second.
    rate_hz: u64,
    /// Bytes of a period, of all channels.
    period: u64,
    /// Sample bytes that have not been read, by the header.
    left: u64,
    /// Sample bytes read last, and where the first of them lies.
    window: Vec<u8>,
    start: u64,
}

/// Why a stream is no wav that can be cut.
pub enum NoWav {
    /// It cannot be read.
    Io(io::Error),
    /// What is in it.
    Content(String),
}

impl From<io::Error> for NoWav {
    fn from(error: io::Error) -> Self {
        NoWav::Io(error)
    }
}

impl<R: Read> WavStream<R> {
    /// Reads up to the samples. The header may be shorter than it says, as that of a wav that was written to a pipe.
    pub fn open(mut reader: R) -> Result<Self, NoWav> {
        let mut riff = [0; 12];
        if fill(&mut reader, &mut riff)? < riff.len()
            || &riff[..4] != b"RIFF"
            || &riff[8..] != b"WAVE"
        {
            return Err(NoWav::Content("it is no wav file".to_owned()));
        }
        let mut format = Vec::new();
        loop {
            let mut header = [0; 8];
            if fill(&mut reader, &mut header)? < header.len() {
                return Err(NoWav::Content("it ends before its samples".to_owned()));
            }
            let size = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
            // chunks begin at even places
            let padded = u64::from(size) + u64::from(size % 2);
            match &header[..4] {
                b"fmt " if size <= FORMAT_BYTES => {
                    (&mut reader).take(padded).read_to_end(&mut format)?;
                    format.truncate(size as usize);
                }
                b"data" => return Self::at_samples(reader, format, size),
                _ => {
                    io::copy(&mut (&mut reader).take(padded), &mut io::sink())?;
                }
            }
        }
    }

    fn at_samples(reader: R, format: Vec<u8>, size: u32) -> Result<Self, NoWav> {
        let (rate_hz, period) = parse_format(&format).map_err(NoWav::Content)?;
        Ok(WavStream {
            reader,
            format,
            rate_hz,
            period,
            // programs that write to a pipe do not know the size
            left: match size {
                0 | u32::MAX => u64::MAX,
                size => u64::from(size),
            },
            window: Vec::new(),
            start: 0,
        })
    }

    /// The wav of the samples from `from_cs` up to `to_cs`, in centiseconds, or of as many of them as there are; `None` if
    /// there are none. Parts must be asked for in the order of their starts; memory is that of the longest part.
    pub fn part(&mut self, from_cs: u64, to_cs: u64) -> io::Result<Option<Vec<u8>>> {
        let at = |cs: u64| cs * self.rate_hz / 100 * self.period;
        let (from, to) = (at(from_cs), at(to_cs));
        while self.end() < to && self.left > 0 {
            self.drop_before(from);
            if !self.read_up_to(to)? {
                break;
            }
        }
        self.drop_before(from);
        let count = to.min(self.end()).saturating_sub(self.start.max(from));
        // half a period at the end of a file that is cut is none
        let count = count / self.period * self.period;
        Ok((count > 0).then(|| wav(&self.format, &self.window[..count as usize])))
    }

    fn end(&self) -> u64 {
        self.start + self.window.len() as u64
    }

    /// Forgets samples before byte `from`, as far as they have been read.
    fn drop_before(&mut self, from: u64) {
        let count = from
            .saturating_sub(self.start)
            .min(self.window.len() as u64);
        self.window.drain(..count as usize);
        self.start += count;
    }

    /// Reads a block, but nothing from byte `to` on: what lies there may be damaged. Returns whether there was more.
    fn read_up_to(&mut self, to: u64) -> io::Result<bool> {
        let held = self.window.len();
        let wanted = to.saturating_sub(self.end());
        let count = self.left.min(wanted).min(BLOCK as u64) as usize;
        self.window.resize(held + count, 0);
        let read = fill(&mut self.reader, &mut self.window[held..])?;
        self.window.truncate(held + read);
        self.left = if read < count {
            0
        } else {
            self.left - read as u64
        };
        Ok(read > 0)
    }
}

/// Rate and bytes of a period of the formats that can be cut.
fn parse_format(format: &[u8]) -> Result<(u64, u64), String> {
    let u16_at = |at: usize| u16::from_le_bytes([format[at], format[at + 1]]);
    if format.len() < 16 {
        return Err("its header is damaged".to_owned());
    }
    let code = match u16_at(0) {
        EXTENSIBLE if format.len() >= 26 => u16_at(24),
        code => code,
    };
    let (channels, bits) = (u16_at(2), u16_at(14));
    let rate_hz = u32::from_le_bytes([format[4], format[5], format[6], format[7]]);
    if !matches!((code, bits), (PCM, 16 | 24 | 32) | (FLOAT, 32)) {
        return Err(format!(
            "samples of {bits} bits in format {code} cannot be cut; wanted are PCM of 16, 24 or 32 bits, and float"
        ));
    }
    let period = u64::from(channels) * u64::from(bits / 8);
    if period == 0 || rate_hz == 0 || u64::from(u16_at(12)) != period {
        return Err("its header is damaged".to_owned());
    }
    Ok((u64::from(rate_hz), period))
}

fn wav(format: &[u8], samples: &[u8]) -> Vec<u8> {
    let chunk =
        |name: &[u8; 4], size: usize| [name.as_slice(), &(size as u32).to_le_bytes()].concat();
    let format_pad = format.len() % 2;
    let size = 4 + 8 + format.len() + format_pad + 8 + samples.len();
    let mut wav = Vec::with_capacity(8 + size);
    wav.extend(chunk(b"RIFF", size));
    wav.extend(b"WAVE");
    wav.extend(chunk(b"fmt ", format.len()));
    wav.extend(format);
    wav.extend(&[0][..format_pad]);
    wav.extend(chunk(b"data", samples.len()));
    wav.extend(samples);
    wav
}

/// Reads until `buffer` is full or the stream ends.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: u32 = 1_000;

    /// The content of `fmt `.
    fn format(code: u16, channels: u16, bits: u16) -> Vec<u8> {
        let period = channels * bits / 8;
        let mut format = Vec::new();
        format.extend(code.to_le_bytes());
        format.extend(channels.to_le_bytes());
        format.extend(RATE_HZ.to_le_bytes());
        format.extend((RATE_HZ * u32::from(period)).to_le_bytes());
        format.extend(period.to_le_bytes());
        format.extend(bits.to_le_bytes());
        format
    }

    /// Seconds of mono, whose samples count up, after a chunk of odd size.
    fn recording(secs: u32) -> Vec<u8> {
        let samples: Vec<u8> = (0..secs * RATE_HZ)
            .flat_map(|n| (n as i16).to_le_bytes())
            .collect();
        let mut bytes = wav(&format(PCM, 1, 16), &samples);
        bytes.splice(12..12, *b"LIST\x03\0\0\0abc\0");
        bytes
    }

    fn open(bytes: &[u8]) -> WavStream<&[u8]> {
        match WavStream::open(bytes) {
            Ok(stream) => stream,
            Err(NoWav::Io(error)) => panic!("{error}"),
            Err(NoWav::Content(problem)) => panic!("{problem}"),
        }
    }

    fn refusal(bytes: &[u8]) -> String {
        match WavStream::open(bytes) {
            Err(NoWav::Content(problem)) => problem,
            _ => panic!("must be refused"),
        }
    }

    /// First sample and number of samples.
    fn part(stream: &mut WavStream<&[u8]>, from_cs: u64, to_cs: u64) -> Option<(i16, usize)> {
        let bytes = stream.part(from_cs, to_cs).unwrap()?;
        let mut part = open(&bytes);
        assert_eq!((part.rate_hz, part.period), (1_000, 2));
        part.part(0, u64::from(u32::MAX)).unwrap();
        let first = i16::from_le_bytes([part.window[0], part.window[1]]);
        Some((first, part.window.len() / 2))
    }

    #[test]
    fn parts_may_overlap_and_leave_gaps() {
        let bytes = recording(300);
        let mut stream = open(&bytes);
        assert_eq!(part(&mut stream, 0, 100), Some((0, 1_000)));
        assert_eq!(part(&mut stream, 50, 250), Some((500, 2_000)));
        assert_eq!(part(&mut stream, 50, 60), Some((500, 100)));
        assert_eq!(
            part(&mut stream, 20_000, 20_001),
            Some((200_000u32 as i16, 10))
        );
        assert!(stream.window.len() <= BLOCK);
        assert_eq!(
            part(&mut stream, 29_990, 30_010),
            Some((299_900u32 as i16, 100))
        );
        assert_eq!(part(&mut stream, 30_000, 30_010), None);
        assert_eq!(part(&mut stream, 90_000, 90_010), None);
    }

    #[test]
    fn an_unknown_size_means_up_to_the_end() {
        for size in [0, u32::MAX] {
            let mut bytes = recording(1);
            let at = bytes.len() - 2_000 - 4;
            bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
            assert_eq!(part(&mut open(&bytes), 90, 200), Some((900, 100)));
        }
    }

    #[test]
    fn what_follows_the_samples_is_none_of_them() {
        let mut bytes = recording(1);
        bytes.extend(b"LIST\x04\0\0\0abcd");
        assert_eq!(part(&mut open(&bytes), 90, 200), Some((900, 100)));
    }

    #[test]
    fn half_a_sample_is_none() {
        let bytes = recording(1);
        let mut stream = open(&bytes[..bytes.len() - 3]);
        assert_eq!(part(&mut stream, 90, 100), Some((900, 98)));
    }

    #[test]
    fn formats_that_cannot_be_cut_are_refused() {
        let one = |format: &[u8]| wav(format, &[0; 64]);
        for (code, bits) in [(PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32)] {
            open(&one(&format(code, 2, bits)));
        }
        let mut extensible = format(EXTENSIBLE, 1, 16);
        extensible.extend([
            22, 0, 16, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 128, 0, 0, 170, 0, 56, 155, 113,
        ]);
        open(&one(&extensible));
        assert!(refusal(&one(&format(PCM, 1, 8))).contains("8 bits"));
        assert!(refusal(&one(&format(2, 1, 4))).contains("format 2"));
        assert!(refusal(&one(&format(PCM, 0, 16))).contains("damaged"));
        assert!(refusal(b"OggS").contains("no wav"));
        assert!(refusal(&recording(1)[..40]).contains("before its samples"));
    }
}
