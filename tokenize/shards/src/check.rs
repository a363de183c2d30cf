//! What a document must satisfy to be written.

use crate::document::{Document, Segment};
use crate::error::{Error, Result, describe};
use crate::layout::TokenKind;
use crate::meta::ShardMeta;

/// Refuses documents that no reader could use, naming the first offender.
pub fn check_document(document: &Document, meta: &ShardMeta) -> Result<()> {
    if document.id.is_empty() {
        let origin = document.origin.clone();
        return Err(Error::EmptyId { origin });
    }
    for (number, segment) in document.segments.iter().enumerate() {
        let id = || document.id.clone();
        if segment.text.is_empty() && !segment.text_ids.is_empty() {
            let n = segment.text_ids.len();
            return Err(Error::IdsWithoutText {
                id: id(),
                segment: number,
                n,
            });
        }
        if segment.text.is_empty() && segment.codes.is_empty() {
            return Err(Error::EmptySegment {
                id: id(),
                segment: number,
            });
        }
        check_text(document, number, segment, meta)?;
        check_codes(document, number, segment, meta)?;
    }
    Ok(())
}

fn check_text(
    document: &Document,
    number: usize,
    segment: &Segment,
    meta: &ShardMeta,
) -> Result<()> {
    let is_text = |&id: &u32| id < meta.vocab.audio_base && meta.vocab.kind(id) == TokenKind::Text;
    let Some(position) = segment.text_ids.iter().position(|id| !is_text(id)) else {
        return Ok(());
    };
    let token = segment.text_ids[position];
    Err(Error::NotText {
        id: document.id.clone(),
        segment: number,
        position,
        token,
        found: describe(&meta.vocab, token),
        audio_base: meta.vocab.audio_base,
    })
}

fn check_codes(
    document: &Document,
    number: usize,
    segment: &Segment,
    meta: &ShardMeta,
) -> Result<()> {
    let (id, values) = (|| document.id.clone(), segment.codes.len());
    if values == 0 {
        return Ok(());
    }
    let Some(codec) = &meta.codec else {
        return Err(Error::NoCodec {
            id: id(),
            segment: number,
            values,
        });
    };
    let codebooks = codec.codebooks;
    if !values.is_multiple_of(codebooks) {
        return Err(Error::PartialFrame {
            id: id(),
            segment: number,
            values,
            codebooks,
        });
    }
    let outside = |&code: &u16| usize::from(code) >= codec.codebook_size;
    match segment.codes.iter().position(outside) {
        None => Ok(()),
        Some(at) => Err(Error::CodeOutOfRange {
            id: id(),
            segment: number,
            frame: at / codebooks,
            codebook: at % codebooks,
            code: segment.codes[at],
            codebook_size: codec.codebook_size,
        }),
    }
}
