//! The update on a processor: in place, chunks of elements over the threads.
//!
//! A plain update is one pass, the second half's: it reads four arrays and writes three, 28 bytes an element. A cautious one
//! needs the share of the elements that agree before it can change any: the first half's pass leaves the steps where the
//! gradient was, the second half's applies them, 36 bytes. Norms cost no traffic. Sums are made in the order of the chunks,
//! so that nothing depends on the number of threads.

use burn::tensor::{DType, Shape};
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{Begun, Moments, Parameter, Rule, Squares, Updated};
use crate::gemm::lanes::{Isa, Lanes, Op, dispatch};
use crate::square_sum::{of_slice, scalar};
use crate::storage::{contiguous, floats, slice_mut};

/// Elements that a thread takes at a time.
pub(super) const CHUNK: usize = 1 << 14;
/// Elements whose steps lie in a buffer between their computation and their use: few enough for the first-level cache.
const BLOCK: usize = 1 << 10;

/// A rule's numbers in the precision they are used in.
#[derive(Clone, Copy)]
struct Factors {
    grad_scale: f32,
    /// 1 − β of either moment.
    rates: [f32; 2],
    epsilon: f32,
    lr: f32,
    decay: f32,
    cautious: bool,
    measure: bool,
}

impl Factors {
    fn of(rule: &Rule, measure: bool) -> Self {
        let (epsilon, lr) = rule.corrected();
        Self {
            grad_scale: rule.grad_scale as f32,
            rates: [rule.beta1, rule.beta2].map(|beta| (1.0 - beta) as f32),
            epsilon: epsilon as f32,
            lr: lr as f32,
            decay: rule.decay as f32,
            cautious: rule.cautious,
            measure,
        }
    }
}

/// A parameter or a part of it.
struct Slices<'a> {
    value: &'a mut [f32],
    grad: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
}

/// Sums of squares of change and value.
type Sums = [f64; 2];

/// See [`super::begin`].
pub(crate) fn begin(parameter: Parameter<FlexTensor>, rule: &Rule) -> Begun<FlexTensor> {
    let Parameter {
        value,
        mut grad,
        moments,
    } = parameter;
    let zeros = || FlexTensor::zeros(Shape::new([value.layout().num_elements()]), DType::F32);
    let mut moments = moments.unwrap_or_else(|| Moments {
        mean: zeros(),
        square: zeros(),
    });
    let agreeing = rule.cautious.then(|| {
        let (grad, mean) = (slice_mut(&mut grad), slice_mut(&mut moments.mean));
        let factors = Factors::of(rule, false);
        steps(grad, mean, slice_mut(&mut moments.square), factors)
    });
    Begun {
        value,
        grad,
        moments,
        rule: *rule,
        agreeing: agreeing.map(|count| scalar(count as f64)),
    }
}

/// See [`super::Begun::finish`].
pub(crate) fn finish(
    begun: Begun<FlexTensor>,
    elements: usize,
    measure: bool,
) -> Updated<FlexTensor> {
    let Begun {
        mut value,
        grad,
        mut moments,
        rule,
        agreeing,
    } = begun;
    let factors = Factors::of(&rule, measure);
    let grad = contiguous(grad);
    let [change, sum] = match agreeing {
        Some(agreeing) => {
            let agreeing = f64::from(floats(&contiguous(agreeing))[0]);
            let share = agreeing / elements as f64 + rule.epsilon;
            let scale = share.recip() as f32;
            apply_steps(slice_mut(&mut value), floats(&grad), scale, factors)
        }
        None => {
            let slices = Slices {
                value: slice_mut(&mut value),
                grad: floats(&grad),
                mean: slice_mut(&mut moments.mean),
                square: slice_mut(&mut moments.square),
            };
            plain(slices, factors)
        }
    };
    Updated {
        value,
        moments,
        squares: measure.then(|| Squares {
            change: scalar(change),
            value: scalar(sum),
        }),
    }
}

fn plain(slices: Slices, factors: Factors) -> Sums {
    let isa = Isa::detect();
    let chunks = (
        slices.value.par_chunks_mut(CHUNK),
        slices.grad.par_chunks(CHUNK),
        slices.mean.par_chunks_mut(CHUNK),
        slices.square.par_chunks_mut(CHUNK),
    );
    let work = chunks
        .into_par_iter()
        .map(|(value, grad, mean, square)| Plain {
            chunk: Slices {
                value,
                grad,
                mean,
                square,
            },
            factors,
        });
    // SAFETY: the processor has these instructions.
    total(work.map(|chunk| unsafe { dispatch(isa, chunk) }).collect())
}

/// Takes gradients into the moments and leaves the steps in their place, 0 where they point against them. Says how many do
/// not.
fn steps(grad: &mut [f32], mean: &mut [f32], square: &mut [f32], factors: Factors) -> usize {
    let isa = Isa::detect();
    let chunks = (
        grad.par_chunks_mut(CHUNK),
        mean.par_chunks_mut(CHUNK),
        square.par_chunks_mut(CHUNK),
    );
    let work = chunks.into_par_iter().map(|(grad, mean, square)| Steps {
        grad,
        mean,
        square,
        factors,
    });
    // SAFETY: the processor has these instructions.
    work.map(|chunk| unsafe { dispatch(isa, chunk) }).sum()
}

/// Changes values by the steps, times `scale`, and the decay.
fn apply_steps(value: &mut [f32], steps: &[f32], scale: f32, factors: Factors) -> Sums {
    let isa = Isa::detect();
    let chunks = (value.par_chunks_mut(CHUNK), steps.par_chunks(CHUNK));
    let work = chunks.into_par_iter().map(|(value, steps)| Apply {
        value,
        steps,
        scale,
        factors,
    });
    // SAFETY: the processor has these instructions.
    total(work.map(|chunk| unsafe { dispatch(isa, chunk) }).collect())
}

/// Of the chunks' sums, in their order.
fn total(chunks: Vec<Sums>) -> Sums {
    let sum = |[a, b]: Sums, [c, d]: Sums| [a + c, b + d];
    chunks.into_iter().fold([0.0; 2], sum)
}

/// The whole update of a chunk.
struct Plain<'a> {
    chunk: Slices<'a>,
    factors: Factors,
}

impl Op for Plain<'_> {
    type Out = Sums;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Sums {
        let Slices {
            value,
            grad,
            mean,
            square,
        } = self.chunk;
        let mut buffer = [0f32; BLOCK];
        let mut sums = [0.0; 2];
        let blocks = value
            .chunks_mut(BLOCK)
            .zip(grad.chunks(BLOCK))
            .zip(mean.chunks_mut(BLOCK).zip(square.chunks_mut(BLOCK)));
        for ((value, grad), (mean, square)) in blocks {
            let steps = &mut buffer[..grad.len()];
            steps.copy_from_slice(grad);
            take_in(steps, mean, square, &self.factors);
            apply(value, steps, 1.0, &self.factors, &mut sums);
        }
        sums
    }
}

/// The moments' part of a cautious update of a chunk, see [`steps`].
struct Steps<'a> {
    grad: &'a mut [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    factors: Factors,
}

impl Op for Steps<'_> {
    type Out = usize;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> usize {
        take_in(self.grad, self.mean, self.square, &self.factors) as usize
    }
}

/// The value's part of a cautious update of a chunk, see [`apply_steps`].
struct Apply<'a> {
    value: &'a mut [f32],
    steps: &'a [f32],
    /// Of the steps.
    scale: f32,
    factors: Factors,
}

impl Op for Apply<'_> {
    type Out = Sums;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Sums {
        let mut buffer = [0f32; BLOCK];
        let mut sums = [0.0; 2];
        let blocks = self.value.chunks_mut(BLOCK).zip(self.steps.chunks(BLOCK));
        for (value, steps) in blocks {
            // Copied, so that what is not needed any more is not written to memory.
            let change = &mut buffer[..steps.len()];
            change.copy_from_slice(steps);
            apply(value, change, self.scale, &self.factors, &mut sums);
        }
        sums
    }
}

/// Takes gradients into the moments and puts the steps into their places; counts the steps that agree with the gradient.
#[inline(always)]
fn take_in(grad: &mut [f32], mean: &mut [f32], square: &mut [f32], factors: &Factors) -> u32 {
    match factors.cautious {
        true => take_in_as::<true>(grad, mean, square, factors),
        false => take_in_as::<false>(grad, mean, square, factors),
    }
}

#[inline(always)]
fn take_in_as<const CAUTIOUS: bool>(
    grad: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    factors: &Factors,
) -> u32 {
    let Factors {
        grad_scale,
        rates: [mean_rate, square_rate],
        epsilon,
        lr,
        ..
    } = *factors;
    let mut agreeing = 0;
    for ((grad, mean), square) in grad.iter_mut().zip(mean).zip(square) {
        let scaled = *grad * grad_scale;
        *mean += (scaled - *mean) * mean_rate;
        *square += (scaled * scaled - *square) * square_rate;
        *grad = *mean / (square.sqrt() + epsilon) * lr;
        if CAUTIOUS {
            let agrees = scaled * *grad > 0.0;
            agreeing += u32::from(agrees);
            // Multiplied, so that NaN stays.
            *grad *= if agrees { 1.0 } else { 0.0 };
        }
    }
    agreeing
}

/// Subtracts steps and decay from values; leaves in `steps` what was subtracted.
#[inline(always)]
fn apply(value: &mut [f32], steps: &mut [f32], scale: f32, factors: &Factors, sums: &mut Sums) {
    for (value, step) in value.iter_mut().zip(steps.iter_mut()) {
        *step = *step * scale + *value * factors.decay;
        *value -= *step;
    }
    if factors.measure {
        sums[0] += of_slice(steps);
        sums[1] += of_slice(value);
    }
}
