//! The corpora that can be tokenized.

pub mod folder;
mod lang;
