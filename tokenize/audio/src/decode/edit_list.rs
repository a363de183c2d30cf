//! The part of an MP4 track that is to be played.
//!
//! An AAC encoder puts 1024 to 2112 samples of priming in front and fills the last frame. The track's edit list
//! (ISO 14496-12, section 8.6.6) says which part is the recording; symphonia does not hand it on, so that it is read here.
//! A list of several parts, or of another speed, is not followed, nor is the `iTunSMPB` comment that Apple's old encoders
//! wrote in its place: such a track is kept whole, with its priming.

use std::io::{self, Read, Seek, SeekFrom};

/// What to keep of a decoded track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Where it starts.
    pub start_secs: f64,
    /// How long it is; `None` is up to the end.
    pub length_secs: Option<f64>,
}

/// The span that the edit list of track `track_id` gives, if there is such a list.
pub fn read(file: &mut (impl Read + Seek), track_id: u32) -> io::Result<Option<Span>> {
    Ok(movie(file)?.and_then(|movie| span(&movie, track_id)))
}

/// Contents of the file's `moov` atom. Lengths of 64 bits, which `mdat` may have, are in the 8 bytes behind the name.
fn movie(file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut at = 0u64;
    while at.saturating_add(16) <= end {
        file.seek(SeekFrom::Start(at))?;
        let mut header = [0; 16];
        file.read_exact(&mut header)?;
        let length = match be32(&header, 0) {
            Some(1) => u64::from_be_bytes(*header.last_chunk().expect("it has 16 bytes")),
            length => length.unwrap_or(0).into(),
        };
        if &header[4..8] == b"moov" {
            let mut movie = header[8..].to_vec();
            file.by_ref()
                .take(length.saturating_sub(16))
                .read_to_end(&mut movie)?;
            return Ok(Some(movie));
        }
        if length < 8 {
            break;
        }
        at = at.saturating_add(length);
    }
    Ok(None)
}

fn span(movie: &[u8], track_id: u32) -> Option<Span> {
    let track = atoms(movie)
        .filter(|&(name, _)| name == b"trak")
        .map(|(_, track)| track)
        .find(|track| atom(track, &[b"tkhd"]).and_then(after_times) == Some(track_id))?;
    let ticks_per_sec = |atom| after_times(atom).filter(|&n| n > 0).map(f64::from);
    let movie_scale = ticks_per_sec(atom(movie, &[b"mvhd"])?)?;
    let media_scale = ticks_per_sec(atom(track, &[b"mdia", b"mdhd"])?)?;
    let list = atom(track, &[b"edts", b"elst"])?;
    if *list.first()? != 0 {
        return None; // 64-bit times, for recordings of weeks
    }
    // length, start and speed; a start of -1 makes a pause, which matters to other tracks only
    let mut edits = list
        .get(8..)?
        .chunks_exact(12)
        .filter_map(|edit| Some((be32(edit, 0)?, be32(edit, 4)? as i32, be32(edit, 8)?)))
        .filter(|&(_, start, _)| start >= 0);
    let (length, start, speed) = edits.next()?;
    if edits.next().is_some() || speed != 1 << 16 {
        return None;
    }
    Some(Span {
        start_secs: f64::from(start) / media_scale,
        length_secs: (length > 0).then(|| f64::from(length) / movie_scale),
    })
}

/// The field of `mvhd`, `tkhd` or `mdhd` behind the two times, which are longer in version 1.
fn after_times(atom: &[u8]) -> Option<u32> {
    be32(atom, if *atom.first()? == 0 { 12 } else { 20 })
}

/// Contents of the first atom with this path of names.
fn atom<'a>(parent: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(parent, |parent, &wanted| {
        let (_, body) = atoms(parent).find(|&(name, _)| name == wanted)?;
        Some(body)
    })
}

/// Names and contents of the atoms in a row; a broken one ends the row.
fn atoms(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (atom, rest) = bytes.split_at_checked(be32(bytes, 0)? as usize)?;
        bytes = rest;
        atom.get(4..)?.split_first_chunk()
    })
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests;
