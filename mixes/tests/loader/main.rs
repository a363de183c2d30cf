//! The loader over synthetic datasets.

mod common;
mod epochs;
mod faults;
mod mixing;
mod packing;
mod views;
