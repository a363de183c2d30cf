//! IsoFLOP scaling studies: models of many sizes, each trained with the same number of FLOPs.
//!
//! [`grid`] derives the candidates of a budget; [`table`] shows them; a [`study`] is a folder of runs of them.
//! [`observation`] reads what runs came to; [`fit`] fits scaling laws to it, and [`plot`] draws them.

mod convention;
mod error;
pub mod fit;
pub mod grid;
pub mod observation;
pub mod plot;
pub mod study;
pub mod table;

pub use convention::Convention;
pub use error::{Error, Result};
