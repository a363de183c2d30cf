//! Long short-term memory, all streams a step of time together: its recurrent weights are read once for all of them.

use kernels::gemm::lanes::{Lanes, Op};
use kernels::gemm::{
    Activation, Element, Finish, Job, Output, Packed, Segments, Values, ValuesMut, math, vectorized,
};

use super::program::Scratch;
use crate::network::{Lstm, Tensor};

/// Layers of LSTM with one skip connection around them.
pub struct LstmStep {
    layers: Vec<LstmLayer>,
    hidden: usize,
}

struct LstmLayer {
    input: Packed,
    input_finish: Finish,
    recurrent: Packed,
    recurrent_finish: Finish,
}

/// Hidden and cell state of every layer, `[hidden]` each.
pub struct LstmState {
    layers: Vec<[Vec<f32>; 2]>,
}

/// Memory between calls.
#[derive(Default)]
pub struct Buffers {
    /// Input of a layer, time after time, `[steps, hidden]`, one step for each stream that has rows left.
    x: Vec<f32>,
    /// `[steps, 4 * hidden]`
    from_input: Vec<f32>,
    /// `[streams, 4 * hidden]`
    gates: Vec<f32>,
    /// Hidden and cell states, `[streams, hidden]`.
    h: Vec<f32>,
    c: Vec<f32>,
}

impl LstmState {
    /// As before any input.
    pub fn reset(&mut self) {
        self.layers.iter_mut().flatten().for_each(|x| x.fill(0.0));
    }
}

impl LstmStep {
    /// Packs the weights.
    pub fn new(layers: Vec<Lstm>) -> Self {
        let hidden = layers[0].weight_hh.shape[1];
        let layers = layers
            .into_iter()
            .map(|layer| LstmLayer {
                input: packed(&layer.weight_ih),
                input_finish: Finish::new(4 * hidden, Some(&layer.bias), None),
                recurrent: packed(&layer.weight_hh),
                recurrent_finish: Finish::new(4 * hidden, None, None),
            })
            .collect();
        Self { layers, hidden }
    }

    /// A stream without input so far.
    pub fn state(&self) -> LstmState {
        let zeros = || vec![0.0; self.hidden];
        LstmState {
            layers: self.layers.iter().map(|_| [zeros(), zeros()]).collect(),
        }
    }

    /// Bytes of the weights.
    pub fn bytes(&self) -> usize {
        self.layers
            .iter()
            .map(|layer| layer.input.bytes() + layer.recurrent.bytes())
            .sum()
    }

    /// Adds its output to `rows`, stream after stream, `counts` rows each.
    pub fn run(
        &self,
        rows: &mut [f32],
        counts: &[usize],
        states: &mut [&mut LstmState],
        scratch: &mut Scratch,
    ) {
        let order = Order::new(counts);
        let hidden = self.hidden;
        let Scratch { lstm, sums, .. } = scratch;
        lstm.x.resize(order.steps * hidden, 0.0);
        order.each(|step, row| {
            lstm.x[step * hidden..][..hidden].copy_from_slice(&rows[row * hidden..][..hidden]);
        });
        for (index, layer) in self.layers.iter().enumerate() {
            layer.run(index, &order, states, lstm, sums, hidden);
        }
        order.each(|step, row| {
            let y = &lstm.x[step * hidden..][..hidden];
            rows[row * hidden..][..hidden]
                .iter_mut()
                .zip(y)
                .for_each(|(x, y)| *x += y);
        });
    }
}

/// The order in which rows are computed: time by time, and within a time the streams from the longest to the shortest,
/// so that those with rows left come first.
struct Order {
    /// Streams, longest first.
    streams: Vec<usize>,
    counts: Vec<usize>,
    /// First row of each stream.
    starts: Vec<usize>,
    steps: usize,
}

impl Order {
    fn new(counts: &[usize]) -> Self {
        let mut streams: Vec<usize> = (0..counts.len()).collect();
        streams.sort_by_key(|&stream| std::cmp::Reverse(counts[stream]));
        let mut starts = vec![0; counts.len()];
        for stream in 1..counts.len() {
            starts[stream] = starts[stream - 1] + counts[stream - 1];
        }
        Self {
            streams,
            counts: counts.to_vec(),
            starts,
            steps: counts.iter().sum(),
        }
    }

    /// Streams with a row at `time`.
    fn active(&self, time: usize) -> usize {
        self.streams
            .partition_point(|&stream| self.counts[stream] > time)
    }

    /// Calls `f(step, row)` for every row.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        let mut step = 0;
        for time in 0.. {
            let active = self.active(time);
            if active == 0 {
                return;
            }
            for &stream in &self.streams[..active] {
                f(step, self.starts[stream] + time);
                step += 1;
            }
        }
    }
}

impl LstmLayer {
    /// Replaces `x` by the layer's output.
    fn run(
        &self,
        index: usize,
        order: &Order,
        states: &mut [&mut LstmState],
        buffers: &mut Buffers,
        sums: &mut Vec<f32>,
        hidden: usize,
    ) {
        let Buffers {
            x,
            from_input,
            gates,
            h,
            c,
        } = buffers;
        from_input.resize(order.steps * 4 * hidden, 0.0);
        let job = Job {
            a: Values::F32(x),
            stride: hidden,
            rows: order.steps,
            add: None,
            outputs: vec![identity(from_input)],
        };
        self.input.multiply(&self.input_finish, &mut [job], sums);
        gates.resize(order.streams.len() * 4 * hidden, 0.0);
        h.clear();
        c.clear();
        for &stream in &order.streams {
            let [hidden_state, cell] = &states[stream].layers[index];
            h.extend_from_slice(hidden_state);
            c.extend_from_slice(cell);
        }
        let mut step = 0;
        for time in 0.. {
            let active = order.active(time);
            if active == 0 {
                break;
            }
            let job = Job {
                a: Values::F32(h),
                stride: hidden,
                rows: active,
                add: Some(&from_input[step * 4 * hidden..]),
                outputs: vec![identity(gates)],
            };
            self.recurrent
                .multiply(&self.recurrent_finish, &mut [job], sums);
            for stream in 0..active {
                let own = stream * hidden..(stream + 1) * hidden;
                let cell = Cell {
                    gates: &gates[stream * 4 * hidden..][..4 * hidden],
                    c: &mut c[own.clone()],
                    h: &mut h[own.clone()],
                };
                // SAFETY: the slices have the lengths that `Cell` checks.
                unsafe { vectorized(cell) };
                x[step * hidden..][..hidden].copy_from_slice(&h[own]);
                step += 1;
            }
        }
        for (at, &stream) in order.streams.iter().enumerate() {
            let [hidden_state, cell] = &mut states[stream].layers[index];
            hidden_state.copy_from_slice(&h[at * hidden..][..hidden]);
            cell.copy_from_slice(&c[at * hidden..][..hidden]);
        }
    }
}

/// One stream's new state: `c = σ(f) c + σ(i) tanh(g)`, `h = σ(o) tanh(c)`.
struct Cell<'a> {
    /// i, f, g, o: `[4 * hidden]`
    gates: &'a [f32],
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Op for Cell<'_> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let hidden = self.c.len();
        assert!(self.h.len() == hidden && self.gates.len() == 4 * hidden);
        let mut at = 0;
        while at < hidden {
            let count = L::N.min(hidden - at);
            // a part of a vector is computed in a copy
            let mut part = [[0.0f32; 16]; 6];
            let gates = self.gates.as_ptr();
            unsafe {
                let [i, f, g, o] = match count == L::N {
                    true => [0, 1, 2, 3].map(
                        #[inline(always)]
                        |gate| L::load(gates.add(gate * hidden + at)),
                    ),
                    false => {
                        for (gate, part) in part[..4].iter_mut().enumerate() {
                            part[..count]
                                .copy_from_slice(&self.gates[gate * hidden + at..][..count]);
                        }
                        part[4][..count].copy_from_slice(&self.c[at..][..count]);
                        [0, 1, 2, 3].map(
                            #[inline(always)]
                            |gate| L::load(part[gate].as_ptr()),
                        )
                    }
                };
                let (c, h) = match count == L::N {
                    true => (self.c.as_mut_ptr().add(at), self.h.as_mut_ptr().add(at)),
                    false => {
                        let [_, _, _, _, c, h] = &mut part;
                        (c.as_mut_ptr(), h.as_mut_ptr())
                    }
                };
                let kept = L::mul(math::sigmoid::<L>(f), L::load(c));
                let cell = L::fma(math::sigmoid::<L>(i), math::tanh::<L>(g), kept);
                L::store(c, cell);
                L::store(h, L::mul(math::sigmoid::<L>(o), math::tanh::<L>(cell)));
            }
            if count < L::N {
                self.c[at..].copy_from_slice(&part[4][..count]);
                self.h[at..].copy_from_slice(&part[5][..count]);
            }
            at += count;
        }
    }
}

/// `[out, in]` for products with rows of `in`.
fn packed(weight: &Tensor) -> Packed {
    let [n, k] = [weight.shape[0], weight.shape[1]];
    Packed::new(Element::F32, Segments::whole(k), n, |k_at, n_at| {
        weight.data[n_at * k + k_at]
    })
}

fn identity(to: &mut [f32]) -> Output<'_> {
    Output {
        to: ValuesMut::F32(to),
        activation: &Activation::Identity,
    }
}
