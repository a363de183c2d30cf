//! The program over a network: inputs and outputs in an object store, and servers that fail.

mod bench;
mod datasets;
mod faults;
mod store;
