//! From shards to training sequences: views of documents, packing, mixtures and the loader.
//!
//! A [`Mixture`] names corpora, how to look at them, and their weights over time; a [`Schedule`] divides the sequences among them.
//! The [`Loader`] turns a sequence number into a [`Sequence`] of tokens, a pure function of shards, mixture and seed, so that any
//! process and any restart asks for the numbers it needs; [`Batches`] reads them ahead.
//! A [`report`] says what a run over a mixture will see.
//! [`View`], and nothing else, decides the order of the tokens of a document.

mod apportion;
mod batches;
mod best_fit;
mod cache;
mod corpus;
mod error;
mod group;
mod index;
mod loader;
mod mixture;
mod order;
mod permutation;
pub mod report;
mod schedule;
mod sequence;
mod source;
mod summary;

pub use batches::{Batches, Share};
pub use error::{Error, Result};
pub use index::is_validation;
pub use loader::{Loader, LoaderOptions, SimulatedEpoching};
pub use mixture::{
    CatalogEntry, Component, Mixture, Packing, Stage, Start, StopStrategy, evaluate,
};
pub use permutation::{Permutation, PermutationKind};
pub use schedule::Schedule;
pub use sequence::Sequence;
pub use shards::View;
pub use summary::{ComponentSummary, LoaderSummary};
