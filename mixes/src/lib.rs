//! From shards to training sequences: views of documents, packing, mixtures and the loader.
//!
//! A [`Mixture`] names corpora and how to look at them. The [`Loader`] turns a sequence number into a [`Sequence`] of tokens, a
//! pure function of shards, mixture and seed, so that any process and any restart asks for the numbers it needs. The [`Schedule`]
//! says from which component a sequence is.
//! [`View`], and nothing else, decides the order of the tokens of a document.

mod apportion;
mod cache;
mod corpus;
mod error;
mod index;
mod loader;
mod mixture;
mod pack;
mod permutation;
mod schedule;

pub use error::{Error, Result};
pub use index::is_validation;
pub use loader::{ComponentSummary, Loader, LoaderOptions, LoaderSummary};
pub use mixture::{Component, Mixture, Packing, PermutationKind, Stage, Start, StopStrategy};
pub use pack::Sequence;
pub use permutation::Permutation;
pub use schedule::Schedule;
pub use shards::View;
