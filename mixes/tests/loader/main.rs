//! The loader, and the program `mixes`, over synthetic datasets.

mod common;
mod duplicates;
mod epochs;
mod faults;
mod mixing;
mod packing;
mod pictures;
mod program;
mod remote;
mod report;
mod samples;
mod views;
