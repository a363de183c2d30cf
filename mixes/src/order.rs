//! The order of a component's sequences: its number to a place in the corpus.
//!
//! An epoch visits every sequence once. Its groups are permuted; each `window` consecutive ones form a window, whose sequences are
//! permuted among themselves. So a reader of consecutive numbers holds one window of decoded groups, and the next one while it
//! is being read, and still sees an order that is random across the corpus.

use crate::cache::Cache;
use crate::index::id_hash;
use crate::permutation::{Permutation, PermutationKind, derive_key};
use std::ops::Range;
use std::sync::Arc;

/// Epochs whose order is kept: the current one, and its neighbour for readers ahead of others.
const KEPT_EPOCHS: usize = 2;

/// The key of a component's permutations: of its name, so that its order does not depend on the components beside it.
pub(crate) fn component_key(seed: u64, name: &str) -> u64 {
    derive_key(&[seed, id_hash(name)])
}

/// The purpose of a permutation, part of its key.
#[derive(Clone, Copy)]
enum Purpose {
    Groups = 1,
    Sequences = 2,
    Documents = 3,
    /// Which groups are taken of a corpus that is cut short.
    Subset = 4,
}

/// A sequence's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// How often the component was read before.
    pub epoch: u64,
    /// Window of the epoch.
    pub window: usize,
    /// Number of the group in the corpus.
    pub group: usize,
    /// Number of the sequence in the group.
    pub sequence: u64,
}

/// Turns numbers into places.
pub(crate) struct Order {
    kind: PermutationKind,
    key: u64,
    window: usize,
    /// Groups that are visited, each with its number of sequences.
    visited: Vec<(usize, u64)>,
    /// Sequences of an epoch.
    pub sequences: u64,
    /// Whether every epoch has the same sequences, because there are more that are never seen.
    is_subset: bool,
    epochs: Cache<u64, Epoch>,
}

/// The order of one epoch.
struct Epoch {
    /// Groups, permuted.
    groups: Vec<usize>,
    /// First sequence of each group of `groups`, and the number of all.
    starts: Vec<u64>,
}

impl Order {
    /// An order of groups with these numbers of sequences, of which at most `limit` are ever visited.
    pub(crate) fn new(
        kind: PermutationKind,
        key: u64,
        window: usize,
        sequences: &[u64],
        limit: Option<u64>,
    ) -> Self {
        let filled = sequences
            .iter()
            .copied()
            .enumerate()
            .filter(|(_, count)| *count > 0);
        let mut visited: Vec<(usize, u64)> = filled.collect();
        let total = visited.iter().map(|(_, count)| count).sum();
        let is_subset = limit.is_some_and(|limit| limit < total);
        if let Some(limit) = limit.filter(|_| is_subset) {
            let all = visited.clone();
            let permutation = Permutation::new(
                kind,
                all.len() as u64,
                derive_key(&[key, Purpose::Subset as u64]),
            );
            let mut left = limit;
            visited = (0..all.len() as u64)
                .map(|at| all[permutation.apply(at) as usize])
                .map_while(|(group, count)| {
                    let taken = count.min(left);
                    left -= taken;
                    (taken > 0).then_some((group, taken))
                })
                .collect();
            visited.sort_unstable();
        }
        Self {
            kind,
            key,
            window,
            sequences: visited.iter().map(|(_, count)| count).sum(),
            visited,
            is_subset,
            epochs: Cache::new(KEPT_EPOCHS),
        }
    }

    /// The place of sequence `number`; epochs follow one another, each in another order.
    pub(crate) fn place(&self, number: u64) -> Place {
        let (number, at) = (number / self.sequences, number % self.sequences);
        let epoch = self.epoch(number);
        let window = epoch.holder(at) / self.window;
        let groups = self.groups_of(&epoch, window);
        let (begin, end) = (epoch.starts[groups.start], epoch.starts[groups.end]);
        let permutation = self.permutation(end - begin, number, Purpose::Sequences, window as u64);
        let sequence = begin + permutation.apply(at - begin);
        let holder = epoch.holder(sequence);
        Place {
            epoch: number,
            window,
            group: epoch.groups[holder],
            sequence: sequence - epoch.starts[holder],
        }
    }

    /// The permutation of the renderings of a group in an epoch.
    pub(crate) fn documents(&self, epoch: u64, group: usize, renderings: u64) -> Permutation {
        let epoch = self.packing_epoch(epoch);
        self.permutation(renderings, epoch, Purpose::Documents, group as u64)
    }

    /// Epoch and groups of the window that follows.
    pub(crate) fn next_window(&self, place: Place) -> (u64, Vec<usize>) {
        let windows = self.visited.len().div_ceil(self.window);
        let (epoch, window) = match place.window + 1 < windows {
            true => (place.epoch, place.window + 1),
            false => (place.epoch + 1, 0),
        };
        let order = self.epoch(epoch);
        (epoch, order.groups[self.groups_of(&order, window)].to_vec())
    }

    /// The epoch as which groups are packed: a subset's sequences must come again, so it is packed as the first time.
    pub(crate) fn packing_epoch(&self, epoch: u64) -> u64 {
        if self.is_subset { 0 } else { epoch }
    }

    fn groups_of(&self, epoch: &Epoch, window: usize) -> Range<usize> {
        let first = window * self.window;
        first..(first + self.window).min(epoch.groups.len())
    }

    fn epoch(&self, number: u64) -> Arc<Epoch> {
        let make = || -> Result<Epoch, std::convert::Infallible> {
            let permutation =
                self.permutation(self.visited.len() as u64, number, Purpose::Groups, 0);
            let permuted =
                (0..permutation.len()).map(|at| self.visited[permutation.apply(at) as usize]);
            let (mut groups, mut starts) = (Vec::new(), vec![0]);
            for (group, count) in permuted {
                groups.push(group);
                starts.push(starts[starts.len() - 1] + count);
            }
            Ok(Epoch { groups, starts })
        };
        match self.epochs.get(number, make) {
            Ok(epoch) => epoch,
            Err(never) => match never {},
        }
    }

    fn permutation(&self, len: u64, epoch: u64, purpose: Purpose, item: u64) -> Permutation {
        let key = derive_key(&[self.key, epoch, purpose as u64, item]);
        Permutation::new(self.kind, len, key)
    }
}

impl Epoch {
    /// Position of the group that holds a sequence of the epoch.
    fn holder(&self, sequence: u64) -> usize {
        self.starts.partition_point(|&start| start <= sequence) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mixture::Mixture;
    use crate::schedule::Schedule;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn kinds() -> impl Strategy<Value = PermutationKind> {
        prop_oneof![
            Just(PermutationKind::Feistel),
            Just(PermutationKind::Linear)
        ]
    }

    proptest! {
        #[test]
        fn an_epoch_visits_every_sequence_once(
            counts in vec(0u64..9, 1..12), window in 1usize..5, key: u64, kind in kinds(),
        ) {
            let total: u64 = counts.iter().sum();
            prop_assume!(total > 0);
            let order = Order::new(kind, key, window, &counts, None);
            prop_assert_eq!(order.sequences, total);
            for epoch in 0..3 {
                let places: Vec<_> = (0..total).map(|at| order.place(epoch * total + at)).collect();
                let seen: BTreeSet<_> = places.iter().map(|place| (place.group, place.sequence)).collect();
                prop_assert_eq!(seen.len() as u64, total);
                prop_assert!(places.iter().all(|place| place.epoch == epoch && place.sequence < counts[place.group]));
                // windows follow one another, and no group is in two of them
                prop_assert!(places.windows(2).all(|pair| (0..2).contains(&(pair[1].window as i64 - pair[0].window as i64))));
                let homes: BTreeSet<_> = places.iter().map(|place| (place.group, place.window)).collect();
                let groups: BTreeSet<_> = places.iter().map(|place| place.group).collect();
                prop_assert_eq!(homes.len(), groups.len());
                for place in &places {
                    let (next, of_next) = order.next_window(*place);
                    let after = order.place(place.epoch * total + places.iter().filter(|p| p.window <= place.window).count() as u64);
                    prop_assert_eq!(next, after.epoch);
                    prop_assert!(of_next.contains(&after.group));
                }
            }
        }

        #[test]
        fn a_subset_has_the_same_sequences_in_every_epoch(counts in vec(0u64..9, 1..12), key: u64, limit in 1u64..40) {
            let total: u64 = counts.iter().sum();
            prop_assume!(total > 0);
            let order = Order::new(PermutationKind::Feistel, key, 2, &counts, Some(limit));
            prop_assert_eq!(order.sequences, limit.min(total));
            let epoch = |number: u64| -> BTreeSet<_> {
                let numbers = number * order.sequences..(number + 1) * order.sequences;
                numbers.map(|at| order.place(at)).map(|place| (place.group, place.sequence)).collect()
            };
            prop_assert_eq!(epoch(0).len() as u64, order.sequences);
            prop_assert_eq!(epoch(0), epoch(5));
            let packed = |number| (0..20).map(|at| order.documents(number, 0, 20).apply(at)).collect::<Vec<_>>();
            prop_assert_eq!(packed(0) == packed(5), limit < total);
        }
    }

    /// Says the same as `scripts/check_mix_order.py --example`, which computes it a second time.
    #[test]
    fn the_worked_example_of_the_documentation_is_true() {
        let row = |name: &str, items: Vec<String>| format!("{name:7} {}\n", items.join(" "));
        let hex = |key: u64| format!("{key:016x}");
        let keys = [&[0][..], &[7, 0], &[7, 1]].map(|parts| hex(derive_key(parts)));
        let mut example = row("keys", keys.to_vec());
        let key = component_key(7, "small");
        example += &row("small", vec![hex(key)]);
        for (name, kind) in [
            ("feistel", PermutationKind::Feistel),
            ("linear", PermutationKind::Linear),
        ] {
            let permutation = Permutation::new(kind, 10, 42);
            example += &row(
                name,
                (0..10).map(|i| permutation.apply(i).to_string()).collect(),
            );
        }
        let text = "name = 'x'\nvalidation_fraction = 0\nblock_size = 8\ncomponents = [
            { source = 'large', view = 'both', weight = 5 },
            { source = 'middle', view = 'both', weight = 2 },
            { source = 'small', view = 'both', weight = 1 },
        ]";
        let schedule = Schedule::new(&Mixture::parse(text, "x").unwrap(), 4096, 7).unwrap();
        let located = (0..16)
            .map(|i| schedule.locate(i))
            .map(|(component, number)| format!("{component}:{number}"));
        example += &row("locate", located.collect());
        let order = Order::new(PermutationKind::Feistel, key, 2, &[3, 0, 5, 4], None);
        let places = (0..16)
            .map(|i| order.place(i))
            .map(|p| format!("{}:{}:{}", p.epoch, p.group, p.sequence));
        example += &row("places", places.collect());
        let documentation = include_str!("../../docs/mixes.md");
        assert!(
            documentation.contains(&example),
            "docs/mixes.md lacks\n{example}"
        );
    }
}
