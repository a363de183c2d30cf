//! Convolutions of stride 1 with fewer multiplications: minimal filtering F(4, 3),
//! [Winograd 1980](https://doi.org/10.1137/1.9781611970364), [Lavin and Gray 2015](https://arxiv.org/abs/1509.09308).
//!
//! Four outputs of three taps take 6 products instead of 12. Seven taps are two times three and one: 16 products instead
//! of 28. Outputs are taken in groups of four from the start of the signal, so that a result does not depend on how the
//! signal was pushed.

use kernels::gemm::lanes::{Lanes, Op};
use kernels::gemm::{
    Activation, Element, Finish, Job, Output, Packed, Segments, Values, ValuesMut, vectorized,
};

use crate::network::Conv1d;

/// Outputs of a group.
const OUTPUTS: usize = 4;
/// Taps of a filter.
const TAPS: usize = 3;
/// Products of a group and filter.
const PRODUCTS: usize = OUTPUTS + TAPS - 1;
/// Transformed values that are made at a time.
const BLOCK_VALUES: usize = 512 << 10;

/// The taps in the transformed domain, one row a product; points 0, 1, -1, 2, -2 and infinity.
const FILTER: [[f64; TAPS]; PRODUCTS] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// A convolution of stride 1, without what follows it.
pub struct FastConv {
    channels: usize,
    outputs: usize,
    dilation: usize,
    /// Filters of three taps.
    filters: usize,
    /// For each product, `[filters * channels, outputs]`.
    transformed: Vec<Packed>,
    transformed_finish: Finish,
    /// The taps that are left, `[rest * channels, outputs]`.
    rest: Option<Packed>,
}

/// Memory between calls.
#[derive(Default)]
pub struct Buffers {
    /// `[PRODUCTS, groups, filters * channels]`
    input: Vec<f32>,
    /// `[PRODUCTS, groups, outputs]`
    products: Vec<f32>,
    /// `[rows, outputs]`
    sum: Vec<f32>,
    /// The last rows of a signal and zeros.
    tail: Vec<f32>,
}

impl FastConv {
    /// If the convolution is one whose multiplications are most of its cost.
    pub fn new(conv: &Conv1d, element: Element) -> Option<Self> {
        let &[outputs, channels, kernel] = &conv.weight.shape[..] else {
            unreachable!("convolutions have three axes");
        };
        let large = kernel >= TAPS && channels.min(outputs) >= 32;
        if conv.stride != 1 || element != Element::F32 || !large {
            return None;
        }
        let filters = kernel / TAPS;
        let tap = |n: usize, channel: usize, tap: usize| {
            f64::from(conv.weight.data[(n * channels + channel) * kernel + tap])
        };
        let transformed = |row: &[f64; TAPS]| {
            let shape = Segments::whole(filters * channels);
            Packed::new(Element::F32, shape, outputs, |k, n| {
                let (filter, channel) = (k / channels, k % channels);
                let terms = row.iter().enumerate();
                terms
                    .map(|(at, factor)| factor * tap(n, channel, filter * TAPS + at))
                    .sum::<f64>() as f32
            })
        };
        let left = kernel - filters * TAPS;
        let rest = (left > 0).then(|| {
            let row = Segments {
                count: left,
                len: channels,
                stride: conv.dilation * channels,
            };
            Packed::new(Element::F32, row, outputs, |k, n| {
                tap(n, k % channels, filters * TAPS + k / channels) as f32
            })
        });
        Some(Self {
            channels,
            outputs,
            dilation: conv.dilation,
            filters,
            transformed: FILTER.iter().map(transformed).collect(),
            transformed_finish: Finish::new(outputs, None, None),
            rest,
        })
    }

    /// Rows that are made together.
    pub fn granule(&self) -> usize {
        OUTPUTS * self.dilation
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        self.transformed
            .iter()
            .chain(&self.rest)
            .map(Packed::bytes)
            .sum()
    }

    /// Does what the product with all taps would: a row of the result for the window that starts at each row of `job.a`.
    pub fn run(&self, job: Job, finish: &Finish, buffers: &mut Buffers, sums: &mut Vec<f32>) {
        let Job {
            a: Values::F32(x),
            rows,
            add,
            outputs,
            ..
        } = job
        else {
            unreachable!("the element was asked for");
        };
        let granule = self.granule();
        let block = BLOCK_VALUES / (PRODUCTS * self.filters * self.channels * self.dilation);
        let block = block.max(1) * granule;
        let mut sum = std::mem::take(&mut buffers.sum);
        sum.resize(rows * self.outputs, 0.0);
        for first in (0..rows).step_by(block) {
            let count = block.min(rows - first);
            let to = &mut sum[first * self.outputs..(first + count) * self.outputs];
            let x = &x[first * self.channels..];
            match count.is_multiple_of(granule) {
                true => self.block(x, to, buffers, sums),
                false => {
                    // the end of the signal: whole groups are computed over zeros
                    let whole = count.next_multiple_of(granule);
                    let mut tail = std::mem::take(&mut buffers.tail);
                    tail.clear();
                    tail.extend_from_slice(x);
                    tail.resize((whole + self.reach()) * self.channels, 0.0);
                    let mut all = vec![0.0; whole * self.outputs];
                    self.block(&tail, &mut all, buffers, sums);
                    to.copy_from_slice(&all[..to.len()]);
                    buffers.tail = tail;
                }
            }
        }
        if let Some(add) = add {
            sum.iter_mut().zip(add).for_each(|(x, add)| *x += add);
        }
        match &self.rest {
            Some(rest) => {
                let skipped = self.filters * TAPS * self.dilation * self.channels;
                let job = Job {
                    a: Values::F32(&x[skipped..]),
                    stride: self.channels,
                    rows,
                    add: Some(&sum),
                    outputs,
                };
                rest.multiply(finish, &mut [job], sums);
            }
            None => {
                let mut job = Job {
                    a: Values::F32(&sum),
                    stride: self.outputs,
                    rows,
                    add: None,
                    outputs,
                };
                finish.apply(self.outputs, &mut job);
            }
        }
        buffers.sum = sum;
    }

    /// Input rows beyond the first of a window.
    fn reach(&self) -> usize {
        let left = self
            .rest
            .as_ref()
            .map_or(0, |rest| rest.rows() / self.channels);
        (self.filters * TAPS + left - 1) * self.dilation
    }

    /// The filters of three taps over whole groups: `to` is `[rows, outputs]`.
    fn block(&self, x: &[f32], to: &mut [f32], buffers: &mut Buffers, sums: &mut Vec<f32>) {
        let groups = to.len() / self.outputs / OUTPUTS;
        let width = self.filters * self.channels;
        buffers.input.resize(PRODUCTS * groups * width, 0.0);
        buffers
            .products
            .resize(PRODUCTS * groups * self.outputs, 0.0);
        let transform = TransformInput {
            conv: self,
            x,
            groups,
            to: &mut buffers.input,
        };
        // SAFETY: `TransformInput` slices its rows before it reads them.
        unsafe { vectorized(transform) };
        for ((packed, input), product) in self
            .transformed
            .iter()
            .zip(buffers.input.chunks_exact(groups * width))
            .zip(buffers.products.chunks_exact_mut(groups * self.outputs))
        {
            let job = Job {
                a: Values::F32(input),
                stride: width,
                rows: groups,
                add: None,
                outputs: vec![Output {
                    to: ValuesMut::F32(product),
                    activation: &Activation::Identity,
                }],
            };
            packed.multiply(&self.transformed_finish, &mut [job], sums);
        }
        let transform = TransformOutput {
            conv: self,
            products: &buffers.products,
            groups,
            to,
        };
        // SAFETY: `TransformOutput` slices its rows before it reads them.
        unsafe { vectorized(transform) };
    }

    /// First row of a group: those of one phase of the dilation are `dilation` apart.
    fn row(&self, group: usize) -> usize {
        group / self.dilation * self.granule() + group % self.dilation
    }
}

/// Six rows of the signal to the factors of six products.
struct TransformInput<'a> {
    conv: &'a FastConv,
    x: &'a [f32],
    groups: usize,
    /// `[PRODUCTS, groups, filters * channels]`
    to: &'a mut [f32],
}

impl Op for TransformInput<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (channels, dilation) = (self.conv.channels, self.conv.dilation);
        let width = self.conv.filters * channels;
        let plane = self.groups * width;
        for group in 0..self.groups {
            for filter in 0..self.conv.filters {
                let first = self.conv.row(group) + filter * TAPS * dilation;
                let rows: [&[f32]; PRODUCTS] = std::array::from_fn(
                    #[inline(always)]
                    |row| &self.x[(first + row * dilation) * channels..][..channels],
                );
                let start = group * width + filter * channels;
                let mut at = 0;
                while at < channels {
                    // the last vector overlaps the one before it; there are at least 32 channels
                    let from = at.min(channels - L::N);
                    let to = &mut self.to[start + from..];
                    assert!(to.len() >= (PRODUCTS - 1) * plane + L::N);
                    unsafe {
                        let mut x = [L::splat(0.0); PRODUCTS];
                        for (x, row) in x.iter_mut().zip(rows) {
                            *x = L::load(row.as_ptr().add(from));
                        }
                        let factors = input_factors::<L>(x);
                        for (product, factor) in factors.into_iter().enumerate() {
                            L::store(to.as_mut_ptr().add(product * plane), factor);
                        }
                    }
                    at += L::N;
                }
            }
        }
    }
}

/// `[4 0 -5 0 1 0; 0 -4 -4 1 1 0; 0 4 -4 -1 1 0; 0 -2 -1 2 1 0; 0 2 -1 -2 1 0; 0 4 0 -5 0 1] x`
#[inline(always)]
unsafe fn input_factors<L: Lanes>(x: [L::V; PRODUCTS]) -> [L::V; PRODUCTS] {
    unsafe {
        let (four, five, two) = (L::splat(4.0), L::splat(-5.0), L::splat(2.0));
        let minus_four = L::splat(-4.0);
        let even = L::fma(minus_four, x[2], x[4]);
        let odd = L::fma(minus_four, x[1], x[3]);
        let outer = L::sub(x[4], x[2]);
        let inner = L::mul(two, L::sub(x[3], x[1]));
        [
            L::fma(four, x[0], L::fma(five, x[2], x[4])),
            L::add(even, odd),
            L::sub(even, odd),
            L::add(outer, inner),
            L::sub(outer, inner),
            L::fma(four, x[1], L::fma(five, x[3], x[5])),
        ]
    }
}

/// Six products to four rows of the result.
struct TransformOutput<'a> {
    conv: &'a FastConv,
    /// `[PRODUCTS, groups, outputs]`
    products: &'a [f32],
    groups: usize,
    /// `[groups * OUTPUTS, outputs]`
    to: &'a mut [f32],
}

impl Op for TransformOutput<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (outputs, dilation) = (self.conv.outputs, self.conv.dilation);
        let plane = self.groups * outputs;
        for group in 0..self.groups {
            let first = self.conv.row(group) * outputs;
            let mut at = 0;
            while at < outputs {
                let from = at.min(outputs - L::N);
                let products = &self.products[group * outputs + from..];
                assert!(products.len() >= (PRODUCTS - 1) * plane + L::N);
                let to = &mut self.to[first + from..];
                assert!(to.len() >= (OUTPUTS - 1) * dilation * outputs + L::N);
                unsafe {
                    let mut p = [L::splat(0.0); PRODUCTS];
                    for (product, p) in p.iter_mut().enumerate() {
                        *p = L::load(products.as_ptr().add(product * plane));
                    }
                    for (row, y) in output_rows::<L>(p).into_iter().enumerate() {
                        L::store(to.as_mut_ptr().add(row * dilation * outputs), y);
                    }
                }
                at += L::N;
            }
        }
    }
}

/// `[1 1 1 1 1 0; 0 1 -1 2 -2 0; 0 1 1 4 4 0; 0 1 -1 8 -8 1] p`
#[inline(always)]
unsafe fn output_rows<L: Lanes>(p: [L::V; PRODUCTS]) -> [L::V; OUTPUTS] {
    unsafe {
        let (sum, difference) = (L::add(p[1], p[2]), L::sub(p[1], p[2]));
        let (far_sum, far_difference) = (L::add(p[3], p[4]), L::sub(p[3], p[4]));
        [
            L::add(p[0], L::add(sum, far_sum)),
            L::fma(L::splat(2.0), far_difference, difference),
            L::fma(L::splat(4.0), far_sum, sum),
            L::add(L::fma(L::splat(8.0), far_difference, difference), p[5]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Padding, Tensor};

    fn noise(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn outputs_are_those_of_the_definition() {
        for (kernel, dilation, rows) in [(7, 1, 40), (7, 3, 31), (7, 9, 100), (6, 2, 17), (8, 1, 5)]
        {
            let (input, output) = (40, 33);
            let conv = Conv1d {
                weight: Tensor {
                    shape: vec![output, input, kernel],
                    data: noise(1, output * input * kernel),
                },
                bias: None,
                stride: 1,
                dilation,
                padding: Padding::symmetric(0),
                norm: None,
            };
            let fast = FastConv::new(&conv, Element::F32).unwrap();
            let x = noise(2, (rows + (kernel - 1) * dilation) * input);
            let (bias, add) = (noise(3, output), noise(4, rows * output));
            let finish = Finish::new(output, Some(&bias), None);
            let mut y = vec![0.0; rows * output];
            let to = vec![Output {
                to: ValuesMut::F32(&mut y),
                activation: &Activation::Identity,
            }];
            let mut buffers = Buffers::default();
            let job = Job {
                a: Values::F32(&x),
                stride: input,
                rows,
                add: Some(&add),
                outputs: to,
            };
            fast.run(job, &finish, &mut buffers, &mut Vec::new());
            for (at, y) in y.iter().enumerate() {
                let (row, n) = (at / output, at % output);
                let mut want = f64::from(bias[n] + add[at]);
                for tap in 0..kernel {
                    for channel in 0..input {
                        want += f64::from(conv.weight.data[(n * input + channel) * kernel + tap])
                            * f64::from(x[(row + tap * dilation) * input + channel]);
                    }
                }
                let error = (f64::from(*y) - want).abs();
                assert!(
                    error < 5e-5,
                    "{kernel} {dilation} [{row}, {n}]: {y}, not {want}"
                );
            }
        }
    }
}
