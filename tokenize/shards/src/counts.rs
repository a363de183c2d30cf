//! The lengths of a document, enough to know how long any view of it is without decoding it.

use crate::{Document, Error, Result};

/// Identifier and lengths of one document, from the light columns of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentCounts {
    /// The document's identifier.
    pub id: String,
    /// Text tokens over all segments.
    pub n_text: u32,
    /// Codec frames over all segments.
    pub n_frames: u32,
    /// Segments.
    pub n_segments: u32,
    /// Segments with at least one text token.
    pub n_text_segments: u32,
    /// Segments with at least one frame.
    pub n_audio_segments: u32,
}

impl DocumentCounts {
    /// Counts `document`, whose codes have `codebooks` values a frame.
    pub fn of(document: &Document, codebooks: usize) -> Result<Self> {
        let segments = &document.segments;
        let count = |what: &'static str, n: usize| {
            // Lists inside one row are addressed by 32-bit signed offsets.
            if n > i32::MAX as usize {
                return Err(Error::DocumentTooLarge {
                    id: document.id.clone(),
                    what,
                    n,
                });
            }
            Ok(n as u32)
        };
        let values = segments.iter().map(|s| s.codes.len()).sum::<usize>();
        count("audio codes", values)?;
        Ok(Self {
            id: document.id.clone(),
            n_text: count(
                "text tokens",
                segments.iter().map(|s| s.text_ids.len()).sum(),
            )?,
            n_frames: count("frames", values / codebooks.max(1))?,
            n_segments: count("segments", segments.len())?,
            n_text_segments: segments.iter().filter(|s| !s.text_ids.is_empty()).count() as u32,
            n_audio_segments: segments.iter().filter(|s| !s.codes.is_empty()).count() as u32,
        })
    }
}
