//! IsoFLOP scaling studies: models of many sizes, each trained with the same number of FLOPs.
//!
//! [`grid`] derives the candidates of a budget; [`table`] shows them.

mod error;
pub mod grid;
pub mod table;

pub use error::{Error, Result};
