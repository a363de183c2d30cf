//! IsoFLOP scaling studies: models of many sizes, each trained with the same number of FLOPs.
//!
//! [`grid`] derives the candidates of a budget; [`table`] shows them; a [`study`] is a folder of runs of them.

mod convention;
mod error;
pub mod grid;
pub mod study;
pub mod table;

pub use convention::Convention;
pub use error::{Error, Result};
