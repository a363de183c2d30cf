//! Audio files to mono samples at a codec's rate, and back.
