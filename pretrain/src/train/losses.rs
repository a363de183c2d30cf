//! Mean losses of tokens by kind and by component of the mixture, whatever the tokens weigh in the objective.

use mixes::Sequence;
use shards::{TokenKind, VocabLayout};

use super::batch::scored;
use crate::metrics::Breakdown;
use crate::world::World;

/// Sums of losses.
pub struct Losses<'a> {
    vocab: &'a VocabLayout,
    /// In the order of the vocabulary.
    kinds: Vec<(TokenKind, Sum)>,
    /// In the order of the mixture.
    components: Vec<(&'a str, Sum)>,
}

#[derive(Clone, Copy, Default)]
struct Sum {
    weight: f64,
    loss: f64,
}

impl Sum {
    fn add(&mut self, weight: f64, nll: f64) {
        self.weight += weight;
        self.loss += weight * nll;
    }

    fn mean(self) -> f64 {
        self.loss / self.weight
    }
}

impl<'a> Losses<'a> {
    /// No losses yet.
    pub fn new(vocab: &'a VocabLayout, components: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds = TokenKind::all(vocab.codebooks);
        Self {
            vocab,
            kinds: kinds
                .into_iter()
                .map(|kind| (kind, Sum::default()))
                .collect(),
            components: components
                .into_iter()
                .map(|name| (name, Sum::default()))
                .collect(),
        }
    }

    /// Adds the negative log-likelihoods of a sequence's targets, a sequence of the component of that number.
    pub fn add(&mut self, component: usize, sequence: &Sequence, nll: &[f32]) {
        for ((target, weight), &nll) in scored(sequence).zip(nll) {
            if weight != 0.0 {
                self.add_token(component, target, f64::from(weight), f64::from(nll));
            }
        }
    }

    /// Adds one token.
    pub fn add_token(&mut self, component: usize, target: u32, weight: f64, nll: f64) {
        let kind = self.vocab.kind(target);
        if let Some((_, sum)) = self.kinds.iter_mut().find(|(other, _)| *other == kind) {
            sum.add(weight, nll);
        }
        self.components[component].1.add(weight, nll);
    }

    /// With those of all other processes.
    pub fn over(mut self, world: &World) -> Self {
        let sums = self.kinds.iter_mut().map(|(_, sum)| sum);
        let sums = sums.chain(self.components.iter_mut().map(|(_, sum)| sum));
        let mut sums: Vec<&mut Sum> = sums.collect();
        let mine: Vec<f64> = sums.iter().flat_map(|sum| [sum.weight, sum.loss]).collect();
        for (sum, all) in sums.iter_mut().zip(world.sum(&mine).chunks_exact(2)) {
            [sum.weight, sum.loss] = [all[0], all[1]];
        }
        self
    }

    /// Mean over all tokens, in nats; NaN without tokens.
    pub fn mean(&self) -> f64 {
        let mut all = Sum::default();
        for (_, sum) in &self.kinds {
            all.weight += sum.weight;
            all.loss += sum.loss;
        }
        all.mean()
    }

    /// Means of the kinds that occurred, in nats.
    pub fn by_kind(&self) -> Breakdown {
        present(&self.kinds, TokenKind::to_string)
    }

    /// Means of the components that occurred, in nats.
    pub fn by_component(&self) -> Breakdown {
        present(&self.components, |name| name.to_string())
    }
}

fn present<K>(sums: &[(K, Sum)], name: impl Fn(&K) -> String) -> Breakdown {
    let present = sums.iter().filter(|(_, sum)| sum.weight > 0.0);
    present.map(|(key, sum)| (name(key), sum.mean())).collect()
}
