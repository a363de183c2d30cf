//! How gradients and optimizer state are divided among ranks (ZeRO-1; Rajbhandari et al., arXiv 1910.02054).
//!
//! Gradients travel in buckets, one for what each segment of the backward pass completes. A bucket is its parameters,
//! flattened, one after the other, filled up with zeros so that all ranks' parts are equal. A rank holds the state of what lies
//! in its part: pieces of parameters, most of them whole.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::backend::Backend;
use burn::tensor::{Shape, Tensor};

use crate::model::{Path, Segment};

/// A trained parameter in its bucket.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Burn's name for it.
    pub id: ParamId,
    /// Its name in checkpoints.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
    /// Where it begins in the bucket.
    pub start: usize,
}

/// Parameters whose gradients travel together.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// With whose gradients it is complete.
    pub segment: Segment,
    /// Whether ranks hold parts of the state; else all of them hold it all.
    pub is_sharded: bool,
    /// In the order of the model.
    pub parameters: Vec<Placed>,
    /// Elements of each rank's part.
    pub part: usize,
}

/// The part of a parameter that lies in a rank's part of a bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which of the bucket's parameters.
    pub parameter: usize,
    /// Which of its elements.
    pub elements: Range<usize>,
}

impl Placed {
    /// Elements.
    pub fn elements(&self) -> usize {
        self.shape.num_elements()
    }
}

impl Bucket {
    /// Elements of the parameters, without what fills them up.
    pub fn elements(&self) -> usize {
        self.parameters.iter().map(Placed::elements).sum()
    }

    /// What lies in a rank's part, in order; nothing if there are no parts.
    pub fn pieces(&self, rank: usize) -> Vec<Piece> {
        if !self.is_sharded {
            return Vec::new();
        }
        let part = rank * self.part..(rank + 1) * self.part;
        let piece = |(parameter, placed): (usize, &Placed)| {
            let [start, end] = [part.start, part.end]
                .map(|edge| edge.saturating_sub(placed.start).min(placed.elements()));
            (start < end).then_some(Piece {
                parameter,
                elements: start..end,
            })
        };
        self.parameters
            .iter()
            .enumerate()
            .filter_map(piece)
            .collect()
    }
}

/// What a rank holds the state of: elements of each trained parameter, none perhaps, and how many it has.
pub type Places = BTreeMap<String, (Range<usize>, usize)>;

/// What rank `rank` holds of the parameters in buckets.
pub fn places(buckets: &[Bucket], rank: usize) -> Places {
    let mut places = Places::new();
    for bucket in buckets {
        for placed in &bucket.parameters {
            let elements = placed.elements();
            let held = if bucket.is_sharded { 0..0 } else { 0..elements };
            places.insert(placed.name.clone(), (held, elements));
        }
        for piece in bucket.pieces(rank) {
            let name = &bucket.parameters[piece.parameter].name;
            if let Some((held, _)) = places.get_mut(name) {
                *held = piece.elements;
            }
        }
    }
    places
}

/// The buckets of a model's trained parameters among `ranks`, in the order of the backward pass. `is_sharded` says of which
/// parameters ranks hold parts of the state.
pub fn buckets<B: Backend, M: Module<B>>(
    model: &M,
    layers: usize,
    ranks: usize,
    is_sharded: impl Fn(&str) -> bool,
) -> Vec<Bucket> {
    let mut collect = Collect {
        layers,
        is_sharded,
        buckets: Vec::new(),
        path: Path::default(),
    };
    model.visit(&mut collect);
    let mut buckets = collect.buckets;
    buckets.sort_by_key(|bucket| bucket.segment);
    for bucket in &mut buckets {
        let elements = bucket.elements();
        bucket.part = match bucket.is_sharded {
            true => elements.div_ceil(ranks),
            false => elements,
        };
    }
    buckets
}

struct Collect<F> {
    layers: usize,
    is_sharded: F,
    buckets: Vec<Bucket>,
    path: Path,
}

impl<B: Backend, F: Fn(&str) -> bool> ModuleVisitor<B> for Collect<F> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if !param.is_require_grad() {
            return;
        }
        let name = self.path.name();
        let (segment, is_sharded) = (Segment::of(&name, self.layers), (self.is_sharded)(&name));
        let found = |bucket: &Bucket| (bucket.segment, bucket.is_sharded) == (segment, is_sharded);
        let index = self.buckets.iter().position(found);
        let index = index.unwrap_or_else(|| {
            self.buckets.push(Bucket {
                segment,
                is_sharded,
                parameters: Vec::new(),
                part: 0,
            });
            self.buckets.len() - 1
        });
        let bucket = &mut self.buckets[index];
        bucket.parameters.push(Placed {
            id: param.id,
            name,
            shape: param.shape(),
            start: bucket.elements(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(sizes: &[usize], ranks: usize) -> Bucket {
        let mut start = 0;
        let parameters = sizes.iter().enumerate().map(|(number, &elements)| {
            start += elements;
            Placed {
                id: ParamId::new(),
                name: format!("p{number}"),
                shape: Shape::new([elements]),
                start: start - elements,
            }
        });
        Bucket {
            segment: Segment::Head,
            is_sharded: true,
            parameters: parameters.collect(),
            part: sizes.iter().sum::<usize>().div_ceil(ranks),
        }
    }

    proptest! {
        /// Every element is one rank's, in the order of the bucket, and no rank has more than its part.
        #[test]
        fn pieces_cover_parameters_once(
            sizes in prop::collection::vec(1..40usize, 1..8),
            ranks in 1..9usize,
        ) {
            let bucket = bucket(&sizes, ranks);
            let mut next = vec![0; sizes.len()];
            for rank in 0..ranks {
                let pieces = bucket.pieces(rank);
                let held: usize = pieces.iter().map(|piece| piece.elements.len()).sum();
                prop_assert!(held <= bucket.part);
                for piece in pieces {
                    prop_assert_eq!(piece.elements.start, next[piece.parameter]);
                    next[piece.parameter] = piece.elements.end;
                }
            }
            prop_assert_eq!(next, sizes.clone());
            let all = |rank| places(std::slice::from_ref(&bucket), rank);
            for (number, elements) in sizes.iter().enumerate() {
                let name = format!("p{number}");
                let held: usize = (0..ranks).map(|rank| all(rank)[&name].0.len()).sum();
                prop_assert_eq!(held, *elements);
            }
        }
    }
}
