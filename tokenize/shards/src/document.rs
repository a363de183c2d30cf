//! What one row of a shard holds.

/// One text, recording, video or conversation: segments in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Identifier, unique within its shard; it also decides whether the document is for validation.
    pub id: String,
    /// Corpus and split, e.g. `yodas2/en`.
    pub source: String,
    /// Language code, empty when unknown.
    pub lang: String,
    /// Where the document came from: a file or an archive member.
    pub origin: String,
    /// The segments, in the order of the recording.
    pub segments: Vec<Segment>,
}

/// One utterance: text, audio or both. An audio-only segment has empty `text` and `text_ids`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The transcript, kept beside its ids so that another tokenizer needs no second pass over audio.
    pub text: String,
    /// Text token ids of `text`: never a marker, BOS, EOS or an audio id.
    pub text_ids: Vec<u32>,
    /// Codec codes, frame-major `[frames * codebooks]`, each below the codebook size.
    pub codes: Vec<u16>,
    /// Start within the recording, in milliseconds.
    pub start_ms: Option<u32>,
    /// End within the recording, in milliseconds.
    pub end_ms: Option<u32>,
    /// Speaker, numbered within the document.
    pub speaker: Option<u16>,
}
