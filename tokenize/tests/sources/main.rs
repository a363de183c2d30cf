//! The program over a miniature of each corpus, `tests/fixtures/sources`, against what must come out of it.

mod common;
mod common_voice;
mod cvss;
mod emilia;
mod instructions;
mod librispeech;
mod mls;
mod nemotron;
mod pretokenized;
mod read_speech;
mod yodas;
