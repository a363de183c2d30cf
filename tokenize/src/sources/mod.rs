//! The corpora that can be tokenized, and the forms of files that they share.

pub mod compressed;
pub mod folder;
mod lang;
pub mod nemotron;
pub mod retext;
