//! The program over a miniature of each corpus, `tests/fixtures/sources`, against what must come out of it.

mod common;
mod common_voice;
mod emilia;
mod librispeech;
mod nemotron;
mod yodas;
