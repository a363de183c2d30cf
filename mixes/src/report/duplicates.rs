//! Documents that occur more than once: in two shards of a component, or in two components.

use super::number::{NONE, table, thousands};
use crate::corpus::Corpus;
use crate::error::{Error, Result};
use crate::index::id_hash;
use crate::loader::Loader;
use rayon::prelude::*;
use serde::Serialize;
use std::cmp::Ordering;
use std::fmt;

/// Identifiers that documents share. They are compared by 64 bits of their SHA-256, so one of two different ones is counted
/// once in some 10^19 pairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Within each component, in the mixture's order.
    pub components: Vec<Repeats>,
    /// Between components; pairs that share nothing are left out.
    pub between: Vec<Shared>,
}

/// Identifiers that occur more than once in a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repeats {
    /// The component.
    pub component: String,
    /// Its documents, with those kept for validation.
    pub documents: u64,
    /// Documents whose identifier has occurred before.
    pub repeated: u64,
    /// Such an identifier.
    pub example: Option<String>,
}

/// Identifiers that two components share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// A component.
    pub first: String,
    /// The other one.
    pub second: String,
    /// Different identifiers that are in both.
    pub ids: u64,
    /// Such an identifier.
    pub example: String,
}

impl Duplicates {
    /// Hashes to hold at once, unless memory is short: 256 MiB of them, and at most as much again while they are collected.
    pub const HELD: u64 = 1 << 25;

    /// Reads the identifiers of all documents of `loader`, in so many passes that no more than some `held` hashes are held at once.
    ///
    /// # Errors
    /// If a shard cannot be read.
    pub fn find(loader: &Loader, held: u64) -> Result<Self> {
        let corpora: Vec<&Corpus> = loader.corpora().collect();
        let documents: u64 = corpora.iter().map(|corpus| corpus.stored_documents()).sum();
        find(&corpora, documents.div_ceil(held.max(1)).max(1))
    }
}

fn find(corpora: &[&Corpus], passes: u64) -> Result<Duplicates> {
    let mut repeated: Vec<Count> = vec![Count::default(); corpora.len()];
    let pairs =
        || (0..corpora.len()).flat_map(|second| (0..second).map(move |first| (first, second)));
    let mut shared: Vec<Count> = pairs().map(|_| Count::default()).collect();
    for pass in 0..passes {
        let mut of_pass = Vec::new();
        for (corpus, repeated) in corpora.iter().zip(&mut repeated) {
            let mut hashes = hashes(corpus, passes, pass)?;
            hashes.par_sort_unstable();
            for pair in hashes.windows(2).filter(|pair| pair[0] == pair[1]) {
                repeated.add(pair[0]);
            }
            hashes.dedup();
            of_pass.push(hashes);
        }
        for ((first, second), shared) in pairs().zip(&mut shared) {
            common(&of_pass[first], &of_pass[second], |hash| shared.add(hash));
        }
    }
    let mut found = Duplicates::default();
    for (corpus, count) in corpora.iter().zip(repeated) {
        found.components.push(Repeats {
            component: corpus.component.name.clone(),
            documents: corpus.stored_documents(),
            repeated: count.number,
            example: count.example.map(|hash| id_of(corpus, hash)).transpose()?,
        });
    }
    for ((first, second), count) in pairs().zip(shared) {
        if let Some(hash) = count.example {
            found.between.push(Shared {
                first: corpora[first].component.name.clone(),
                second: corpora[second].component.name.clone(),
                ids: count.number,
                example: id_of(corpora[first], hash)?,
            });
        }
    }
    Ok(found)
}

/// A number of hashes, and the first of them.
#[derive(Clone, Default)]
struct Count {
    number: u64,
    example: Option<u64>,
}

impl Count {
    fn add(&mut self, hash: u64) {
        self.number += 1;
        self.example.get_or_insert(hash);
    }
}

/// The hashes of a corpus that belong to a pass.
fn hashes(corpus: &Corpus, passes: u64, pass: u64) -> Result<Vec<u64>> {
    let of_row_group = |number: usize| {
        let counts = corpus.stored_counts(number)?;
        let hashes = counts.iter().map(|counts| id_hash(&counts.id));
        Ok(hashes
            .filter(|hash| hash % passes == pass)
            .collect::<Vec<u64>>())
    };
    let row_groups = (0..corpus.row_groups()).into_par_iter();
    let parts: Vec<Vec<u64>> = row_groups.map(of_row_group).collect::<Result<_>>()?;
    Ok(parts.concat())
}

/// The identifier with a hash that was found in `corpus`.
fn id_of(corpus: &Corpus, hash: u64) -> Result<String> {
    for number in 0..corpus.row_groups() {
        let counts = corpus.stored_counts(number)?.into_iter();
        let mut ids = counts.map(|counts| counts.id);
        if let Some(id) = ids.find(|id| id_hash(id) == hash) {
            return Ok(id);
        }
    }
    Err(Error::Changed {
        path: corpus.path().to_path_buf(),
        problem: "a document that was there is gone".to_owned(),
    })
}

/// Calls `found` with each number that two ascending lists share.
fn common(first: &[u64], second: &[u64], mut found: impl FnMut(u64)) {
    let (mut i, mut j) = (0, 0);
    while i < first.len() && j < second.len() {
        match first[i].cmp(&second[j]) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                found(first[i]);
                (i, j) = (i + 1, j + 1);
            }
        }
    }
}

impl fmt::Display for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = self.components.iter().map(|found| {
            [
                found.component.clone(),
                thousands(found.documents),
                thousands(found.repeated),
                found.example.clone().unwrap_or(NONE.into()),
            ]
        });
        let header = ["component", "documents", "repeated ids", "example"];
        write!(f, "duplicates\n{}", table(header, within))?;
        if self.between.is_empty() {
            return write!(f, "\nno two components share an id");
        }
        let between = self.between.iter().map(|found| {
            [
                found.first.clone(),
                found.second.clone(),
                thousands(found.ids),
                found.example.clone(),
            ]
        });
        let header = ["component", "and component", "shared ids", "example"];
        write!(f, "\n\n{}", table(header, between))
    }
}
