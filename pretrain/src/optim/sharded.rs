//! The update over several ranks: each takes in the gradients of its part of every bucket and updates that; then all exchange
//! the new values.

mod parameters;

use std::collections::HashMap;

use burn::module::{Module, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Tensor, TensorData};
use kernels::OptimizerKernels;
use kernels::adamw::Begun;
use kernels::square_sum::square_sum;

use parameters::{FromTheFirst, Place};

use super::buckets::{Bucket, Placed};
use super::norms::{Norms, Squares};
use super::{Flat, Optimizer, Rates};
use crate::model::{Path, Segment};
use crate::world::{Collective, Pending, World};

/// A flattened tensor without autodiff.
type Inner<B> = Flat<<B as AutodiffBackend>::InnerBackend>;

/// A rank's part of the update.
pub struct Sharded<B: AutodiffBackend> {
    world: World,
    collective: Box<dyn Collective<B::InnerBackend>>,
    buckets: Vec<Bucket>,
    held: Vec<Held<B>>,
    device: B::Device,
}

/// A piece of a parameter, of which this rank holds the state.
struct Held<B: AutodiffBackend> {
    bucket: usize,
    /// Number of the parameter among those of all buckets.
    number: usize,
    name: String,
    /// Where it begins in this rank's part of the bucket.
    at: usize,
    elements: usize,
    /// Elements of the whole parameter.
    of: usize,
    /// Present between steps.
    value: Option<Inner<B>>,
}

/// The sums of a step's gradients over ranks that are under way, by bucket.
pub struct Reduction<B: AutodiffBackend>(Vec<Option<Pending<Inner<B>>>>);

/// This rank's part of the summed gradients, by bucket; all of them where the bucket has no parts.
pub struct Reduced<B: AutodiffBackend>(Vec<Inner<B>>);

impl<B> Sharded<B>
where
    B: AutodiffBackend,
    B::InnerBackend: OptimizerKernels,
{
    /// For a model, which gets the first rank's parameters.
    pub fn new<M: Module<B>>(
        world: World,
        collective: Box<dyn Collective<B::InnerBackend>>,
        buckets: Vec<Bucket>,
        device: &B::Device,
        model: M,
    ) -> (Self, M) {
        let mut first = FromTheFirst::<B> {
            collective: &*collective,
            values: HashMap::new(),
        };
        let model = model.map(&mut first);
        let held = hold(&buckets, world.rank(), &first.values);
        let this = Self {
            world,
            collective,
            buckets,
            held,
            device: device.clone(),
        };
        (this, model)
    }

    /// The processes.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Before a step's last backward pass.
    pub fn begin_reduction(&self) -> Reduction<B> {
        Reduction(self.buckets.iter().map(|_| None).collect())
    }

    /// Sends the buckets that are complete with the gradients of a segment, to which those of `earlier` micro-batches are added.
    /// What is sent is taken out of both.
    ///
    /// # Panics
    /// If a parameter of theirs has no gradient.
    pub fn reduce(
        &self,
        reduction: &mut Reduction<B>,
        segment: Segment,
        grads: &mut GradientsParams,
        earlier: &mut GradientsParams,
    ) {
        for (bucket, sent) in self.buckets.iter().zip(&mut reduction.0) {
            if bucket.segment > segment || sent.is_some() {
                continue;
            }
            let grad = |placed: &Placed| {
                let now = take::<B>(grads, placed);
                let now = now.unwrap_or_else(|| panic!("{} has no gradient", placed.name));
                match take::<B>(earlier, placed) {
                    Some(earlier) => earlier + now,
                    None => now,
                }
            };
            let grads = bucket.parameters.iter().map(grad).collect();
            *sent = Some(match bucket.is_sharded {
                true => {
                    let length = bucket.part * self.world.size();
                    self.collective
                        .reduce_scatter(join(grads, length, &self.device))
                }
                false => self
                    .collective
                    .all_reduce(join(grads, bucket.part, &self.device)),
            });
        }
    }

    /// The sums, when all have arrived.
    ///
    /// # Panics
    /// If a bucket was not sent.
    pub fn wait(&self, reduction: Reduction<B>) -> Reduced<B> {
        let parts = reduction
            .0
            .into_iter()
            .map(|part| part.expect("all segments were passed"));
        Reduced(parts.map(|part| self.world.wait(part)).collect())
    }

    /// Sum of the squares of the elements that this rank answers for: summed over ranks, that of the whole gradient.
    pub fn squares(&self, reduced: &Reduced<B>) -> f64 {
        let mut squares = Squares::default();
        for (bucket, part) in self.buckets.iter().zip(&reduced.0) {
            if bucket.is_sharded || self.world.is_first() {
                squares.add_sum(square_sum(part.clone()));
            }
        }
        let [sum] = Squares::sums([squares]);
        sum
    }

    /// One update of every trained parameter, each gradient scaled by `scale` first. Norms are computed if `measure` asks for
    /// them.
    pub fn step<M: Module<B>>(
        &mut self,
        optimizer: &mut Optimizer<B>,
        model: M,
        reduced: Reduced<B>,
        (rates, scale): (Rates, f64),
        measure: bool,
    ) -> (M, Option<Norms>) {
        optimizer.count_update();
        let mut grads: Vec<Option<Inner<B>>> = reduced.0.into_iter().map(Some).collect();
        let mut begun = Vec::with_capacity(self.held.len());
        for held in &mut self.held {
            let grad = &mut grads[held.bucket];
            // A piece that is all of its part takes it: the step changes it in place, then.
            let is_all = held.elements == self.buckets[held.bucket].part;
            let grad = if is_all { grad.take() } else { grad.clone() };
            let grad = range(grad.expect("taken once"), held.at, held.elements);
            let value = held.value.take().expect("present between steps");
            begun.push(optimizer.begin(&held.name, value, grad, rates, scale));
        }
        if optimizer.is_cautious() {
            self.count_agreeing(&mut begun);
        }
        let mut squares = measure.then(<[Squares<_>; 2]>::default);
        let gathered = self.finish(optimizer, begun, squares.as_mut());
        let mut place = Place {
            grads: self.unsharded(grads),
            values: self.received(gathered),
            optimizer,
            rates,
            scale,
            // One rank counts for all.
            squares: squares.as_mut().filter(|_| self.world.is_first()),
            path: Path::default(),
        };
        let model = model.map(&mut place);
        let norms = squares.map(|squares| {
            let sums = self.world.sum(&Squares::sums(squares));
            Norms {
                update: sums[0].sqrt(),
                params: sums[1].sqrt(),
            }
        });
        (model, norms)
    }

    /// The share of a parameter's elements that agree with their gradients is that of all of its pieces.
    fn count_agreeing(&self, begun: &mut [Begun<Inner<B>>]) {
        let counts: Vec<_> = begun
            .iter()
            .filter_map(|begun| begun.agreeing.clone())
            .collect();
        let parameters = self.buckets.iter().map(|bucket| bucket.parameters.len());
        let mut all = vec![0.0; parameters.sum()];
        if !counts.is_empty() {
            let counts = Tensor::cat(counts, 0).into_data();
            for (held, count) in self.held.iter().zip(counts.iter::<f64>()) {
                all[held.number] = count;
            }
        }
        let sums: Vec<f32> = self.world.sum(&all).iter().map(|&sum| sum as f32).collect();
        let length = sums.len();
        let sums =
            Tensor::<B::InnerBackend, 1>::from_data(TensorData::new(sums, [length]), &self.device);
        for (held, begun) in self.held.iter().zip(begun) {
            begun.agreeing = Some(range(sums.clone(), held.number, 1));
        }
    }

    /// The second halves of the updates; each bucket is sent as soon as it is finished.
    fn finish(
        &mut self,
        optimizer: &mut Optimizer<B>,
        begun: Vec<Begun<Inner<B>>>,
        mut squares: Option<&mut [Squares<B::InnerBackend>; 2]>,
    ) -> Vec<Option<Pending<Inner<B>>>> {
        let mut work = self.held.iter_mut().zip(begun).peekable();
        let mut sent = Vec::new();
        for (index, bucket) in self.buckets.iter().enumerate() {
            let mut values = Vec::new();
            while let Some((held, begun)) = work.next_if(|(held, _)| held.bucket == index) {
                let value = optimizer.finish(&held.name, begun, held.of, squares.as_deref_mut());
                values.push(value.clone());
                held.value = Some(value);
            }
            let part = bucket
                .is_sharded
                .then(|| join(values, bucket.part, &self.device));
            sent.push(part.map(|part| self.collective.all_gather(part)));
        }
        sent
    }

    /// The new values of sharded parameters.
    fn received(&self, gathered: Vec<Option<Pending<Inner<B>>>>) -> HashMap<ParamId, Inner<B>> {
        let mut values = HashMap::new();
        for (bucket, gathered) in self.buckets.iter().zip(gathered) {
            let Some(all) = gathered.map(|all| self.world.wait(all)) else {
                continue;
            };
            for placed in &bucket.parameters {
                let value = range(all.clone(), placed.start, placed.elements());
                values.insert(placed.id, value);
            }
        }
        values
    }

    /// The gradients of parameters of which all ranks hold all of the state.
    fn unsharded(&self, grads: Vec<Option<Inner<B>>>) -> HashMap<ParamId, Inner<B>> {
        let whole = self
            .buckets
            .iter()
            .zip(grads)
            .filter(|(bucket, _)| !bucket.is_sharded);
        let mut found = HashMap::new();
        for (bucket, grads) in whole {
            let grads = grads.expect("no piece takes it");
            for placed in &bucket.parameters {
                let grad = range(grads.clone(), placed.start, placed.elements());
                found.insert(placed.id, grad);
            }
        }
        found
    }
}

/// What rank `rank` holds, with its values.
fn hold<B: AutodiffBackend>(
    buckets: &[Bucket],
    rank: usize,
    values: &HashMap<ParamId, Inner<B>>,
) -> Vec<Held<B>> {
    let mut held = Vec::new();
    let mut number = 0;
    for (index, bucket) in buckets.iter().enumerate() {
        let mut at = 0;
        for piece in bucket.pieces(rank) {
            let placed = &bucket.parameters[piece.parameter];
            let elements = piece.elements.len();
            let value = range(values[&placed.id].clone(), piece.elements.start, elements);
            held.push(Held {
                bucket: index,
                number: number + piece.parameter,
                name: placed.name.clone(),
                at,
                elements,
                of: placed.elements(),
                value: Some(value),
            });
            at += elements;
        }
        number += bucket.parameters.len();
    }
    held
}

/// A gradient, flattened, taken out.
fn take<B: AutodiffBackend>(grads: &mut GradientsParams, placed: &Placed) -> Option<Inner<B>> {
    match placed.shape.num_dims() {
        1 => grads.remove::<B::InnerBackend, 1>(placed.id),
        2 => Some(grads.remove::<B::InnerBackend, 2>(placed.id)?.flatten(0, 1)),
        dims => unreachable!(
            "{} has {dims} dimensions; a model has vectors and matrices",
            placed.name
        ),
    }
}

/// Tensors one after the other, filled up with zeros to `length`.
fn join<B: Backend>(mut tensors: Vec<Flat<B>>, length: usize, device: &B::Device) -> Flat<B> {
    let used: usize = tensors.iter().map(|tensor| tensor.dims()[0]).sum();
    if used < length {
        tensors.push(Tensor::zeros([length - used], device));
    }
    match tensors.len() {
        1 => tensors.swap_remove(0),
        _ => Tensor::cat(tensors, 0),
    }
}

/// Elements from `start` on.
fn range<B: Backend>(tensor: Flat<B>, start: usize, elements: usize) -> Flat<B> {
    match tensor.dims() == [elements] {
        true => tensor,
        false => tensor.narrow(0, start, elements),
    }
}
