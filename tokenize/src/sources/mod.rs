//! The corpora that can be tokenized, and the forms of files that they share.

pub mod compressed;
pub mod cvss;
pub mod folder;
mod lang;
pub mod librispeech_table;
pub mod libritts;
pub mod mls;
pub mod mls_recordings;
pub mod nemotron;
pub mod one_a_row;
pub mod peoples_speech;
pub mod pretokenized;
pub mod table;
