//! A network as steps that pass rows through queues, so that any number of samples can be pushed at a time, memory does
//! not grow with the utterance, and a result does not depend on how its samples were pushed.

use std::ops::Range;

use kernels::gemm::{Activation, Element, Finish, Job, Output, Values};

use super::lstm::{LstmState, LstmStep};
use super::norm::NormStep;
use super::product::{Method, Product, Progress};
use super::queue::Queue;
use super::transformer::{TransformerState, TransformerStep};

/// Steps with larger weights are run for all streams at once and for all rows that have come, so that the weights are
/// read from memory as rarely as possible; the others in tiles of time whose rows stay in cache.
const JOINT_BYTES: usize = 2 << 20;
/// Values that the steps with large weights may have between them.
const JOINT_VALUES: usize = 16 << 20;
/// Values of the widest rows of a tile.
const TILE_VALUES: usize = 48 << 10;

/// A network ready to run.
pub struct Program {
    pub(super) steps: Vec<Step>,
    pub(super) queues: Vec<QueueShape>,
    /// Queues of the first step and of the result.
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) stages: Vec<Stage>,
}

/// What a queue is made from.
pub(super) struct QueueShape {
    pub element: Element,
    pub channels: usize,
    /// Rows of zeros it starts with.
    pub placeholders: usize,
}

/// Reads one queue and writes one or two.
pub(super) struct Step {
    pub kind: Kind,
    pub input: usize,
    /// Queue whose rows are added to the result.
    pub add: Option<usize>,
    pub outputs: Vec<(usize, Activation)>,
    /// Channels of the result.
    pub channels: usize,
    /// Its rows for a row of the program's input.
    pub rate: f64,
}

pub(super) enum Kind {
    Product(Box<Product>),
    Norm(NormStep),
    Lstm(LstmStep),
    Transformer(TransformerStep),
}

/// Steps that are run together.
pub(super) struct Stage {
    steps: Range<usize>,
    /// Rows of the first step's product at a time; `None`: all, and all streams at once.
    tile_rows: Option<usize>,
}

/// Where one stream of samples is.
pub struct State {
    queues: Vec<Queue>,
    steps: Vec<StepState>,
}

enum StepState {
    Product(Progress),
    Norm,
    Lstm(LstmState),
    Transformer(TransformerState),
}

/// Memory that steps share.
#[derive(Default)]
pub struct Scratch {
    /// Sums of products.
    pub sums: Vec<f32>,
    /// Rows of all streams, one after another.
    rows: Vec<f32>,
    /// For [`FastConv`](super::fast::FastConv).
    fast: super::fast::Buffers,
    /// For [`TransformerStep`].
    pub transformer: super::transformer::Buffers,
    /// For [`LstmStep`].
    pub lstm: super::lstm::Buffers,
}

impl Program {
    /// A stream that nothing has been pushed to.
    pub fn state(&self) -> State {
        let mut state = State {
            queues: self
                .queues
                .iter()
                .map(|shape| Queue::new(shape.element, shape.channels))
                .collect(),
            steps: self.steps.iter().map(|step| step.kind.state()).collect(),
        };
        self.reset(&mut state);
        state
    }

    /// Makes a stream as new, with its memory kept.
    pub fn reset(&self, state: &mut State) {
        for (queue, shape) in state.queues.iter_mut().zip(&self.queues) {
            queue.reset(shape.placeholders);
        }
        for (state, step) in state.steps.iter_mut().zip(&self.steps) {
            match (state, &step.kind) {
                (StepState::Product(progress), _) => *progress = Progress::default(),
                (StepState::Norm, _) => (),
                (StepState::Lstm(state), _) => state.reset(),
                (StepState::Transformer(state), _) => state.reset(),
            }
        }
    }

    /// Values of an input row.
    pub fn input_channels(&self) -> usize {
        self.queues[self.input].channels
    }

    /// Appends input rows, `[rows, channels]`; no more follow after `last`.
    pub fn push(&self, state: &mut State, rows: &[f32], last: bool) {
        let queue = &mut state.queues[self.input];
        queue.append(rows);
        queue.ended = last;
    }

    /// Computes all that the pushed rows allow.
    pub fn run(&self, streams: &mut [&mut State], scratch: &mut Scratch) {
        for stage in &self.stages {
            match stage.tile_rows {
                None => {
                    for step in stage.steps.clone() {
                        self.step(step, usize::MAX, streams, scratch);
                    }
                }
                Some(tile_rows) => {
                    for stream in streams.iter_mut() {
                        let one = std::slice::from_mut(stream);
                        loop {
                            let advanced = self.step(stage.steps.start, tile_rows, one, scratch);
                            for step in stage.steps.clone().skip(1) {
                                self.step(step, usize::MAX, one, scratch);
                            }
                            if !advanced {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }

    /// The output rows so far, `[rows, channels]`, which are taken out by [`take`](Self::take).
    pub fn output<'a>(&self, state: &'a State) -> &'a [f32] {
        state.queues[self.output].floats()
    }

    /// Removes the output rows, so that there is room for more.
    pub fn take(&self, state: &mut State) {
        let queue = &mut state.queues[self.output];
        queue.drop_front(queue.rows());
    }

    /// Bytes of the packed weights.
    pub fn bytes(&self) -> usize {
        self.steps.iter().map(|step| step.kind.bytes()).sum()
    }

    /// Runs a step for all `streams`; whether it made rows.
    fn step(
        &self,
        index: usize,
        limit: usize,
        streams: &mut [&mut State],
        scratch: &mut Scratch,
    ) -> bool {
        match &self.steps[index].kind {
            Kind::Product(product) => self.product(index, product, limit, streams, scratch),
            _ => self.sequence(index, streams, scratch),
        }
    }

    fn product(
        &self,
        index: usize,
        product: &Product,
        limit: usize,
        streams: &mut [&mut State],
        scratch: &mut Scratch,
    ) -> bool {
        let step = &self.steps[index];
        let mut windows = Vec::with_capacity(streams.len());
        for stream in streams.iter_mut() {
            let StepState::Product(progress) = &mut stream.steps[index] else {
                unreachable!("states are made from the steps");
            };
            // what is added must be there too
            let limit = match step.add {
                Some(add) => limit.min(stream.queues[add].rows()),
                None => limit,
            };
            windows.push(product.windows(&mut stream.queues[step.input], progress, limit));
        }
        let mut jobs = Vec::with_capacity(streams.len());
        let Scratch { sums, fast, .. } = scratch;
        for (stream, windows) in streams.iter_mut().zip(&windows) {
            if windows.count > 0 {
                let ends = step.ends(&mut stream.queues);
                let Some(input) = ends.input else {
                    unreachable!("steps have an input");
                };
                jobs.push(Job {
                    a: input.read(windows.first),
                    stride: product.stride(input.channels()),
                    rows: windows.count,
                    add: ends.add.map(|queue| queue.floats()),
                    outputs: step.targets(ends.outputs, windows.count * product.expansion),
                });
            }
        }
        match &product.method {
            Method::Direct(matrix) => matrix.multiply(&product.finish, &mut jobs, sums),
            Method::Fast(conv) => jobs
                .drain(..)
                .for_each(|job| conv.run(job, &product.finish, fast, sums)),
        }
        drop(jobs);
        for (stream, windows) in streams.iter_mut().zip(&windows) {
            let StepState::Product(progress) = &mut stream.steps[index] else {
                unreachable!("states are made from the steps");
            };
            let Ends {
                input: Some(input),
                add,
                mut outputs,
            } = step.ends(&mut stream.queues)
            else {
                unreachable!("steps have an input");
            };
            for queue in outputs.iter_mut().flatten() {
                queue.commit(windows.count * product.expansion);
            }
            if let Some(add) = add {
                add.drop_front(windows.count);
            }
            let made = outputs.iter_mut().flatten().map(|queue| &mut **queue);
            let done = product.trim(input, progress, windows.count, made);
            product.consume(input, progress, windows);
            for queue in outputs.iter_mut().flatten() {
                queue.ended = done;
            }
        }
        windows.iter().any(|windows| windows.count > 0)
    }

    /// A step that is not a product, over the rows of all streams together.
    fn sequence(&self, index: usize, streams: &mut [&mut State], scratch: &mut Scratch) -> bool {
        let step = &self.steps[index];
        let mut rows = std::mem::take(&mut scratch.rows);
        rows.clear();
        let mut counts = Vec::with_capacity(streams.len());
        for stream in streams.iter_mut() {
            let queue = &mut stream.queues[step.input];
            let count = match (&step.kind, queue.ended) {
                (Kind::Norm(_), false) => 0,
                _ => queue.rows(),
            };
            rows.extend_from_slice(&queue.floats()[..count * queue.channels()]);
            queue.drop_front(count);
            counts.push(count);
        }
        if counts.iter().any(|&count| count > 0) {
            let mut states: Vec<&mut StepState> = streams
                .iter_mut()
                .map(|stream| &mut stream.steps[index])
                .collect();
            match &step.kind {
                Kind::Norm(norm) => norm.run(&mut rows, &mut counts),
                Kind::Lstm(lstm) => {
                    let mut states: Vec<_> = states.iter_mut().map(|s| s.lstm()).collect();
                    lstm.run(&mut rows, &counts, &mut states, scratch);
                }
                Kind::Transformer(transformer) => {
                    let mut states: Vec<_> = states.iter_mut().map(|s| s.transformer()).collect();
                    transformer.run(&mut rows, &counts, &mut states, scratch);
                }
                Kind::Product(_) => unreachable!("products are run elsewhere"),
            }
        }
        let finish = Finish::new(step.channels, None, None);
        let mut left = &rows[..];
        for (stream, &count) in streams.iter_mut().zip(&counts) {
            let (own, others) = left.split_at(count * step.channels);
            left = others;
            let ended = stream.queues[step.input].ended;
            let ends = step.ends(&mut stream.queues);
            let mut job = Job {
                a: Values::F32(own),
                stride: step.channels,
                rows: count,
                add: ends.add.map(|queue| queue.floats()),
                outputs: step.targets(ends.outputs, count),
            };
            finish.apply(step.channels, &mut job);
            let ends = step.ends(&mut stream.queues);
            if let Some(add) = ends.add {
                add.drop_front(count);
            }
            for queue in ends.outputs.into_iter().flatten() {
                queue.commit(count);
                queue.ended = ended;
            }
        }
        scratch.rows = rows;
        counts.iter().any(|&count| count > 0)
    }

    /// Tiles before the first step with large weights and after the last one; what lies between is run jointly.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let large = |step: &Step| step.kind.bytes() > JOINT_BYTES;
        let first = self.steps.iter().position(large);
        let last = self.steps.iter().rposition(large);
        let joint = match (first, last) {
            (Some(first), Some(last)) => first..last + 1,
            _ => 0..0,
        };
        let mut stages = Vec::new();
        for (steps, tiled) in [
            (0..joint.start, true),
            (joint.clone(), false),
            (joint.end..self.steps.len(), true),
        ] {
            if !steps.is_empty() {
                let tile_rows = tiled.then(|| self.tile_rows(steps.clone()));
                stages.push(Stage { steps, tile_rows });
            }
        }
        stages
    }

    /// Values of input whose rows take [`JOINT_VALUES`] in the steps that are run jointly.
    pub fn pass_values(&self) -> usize {
        let joint = self.stages.iter().filter(|stage| stage.tile_rows.is_none());
        let values: f64 = joint
            .flat_map(|stage| &self.steps[stage.steps.clone()])
            .map(|step| step.rate * (step.channels * step.outputs.len()) as f64)
            .sum();
        let rows = JOINT_VALUES as f64 / values.max(1e-3);
        rows as usize * self.input_channels()
    }

    /// Rows of the first of `steps` whose consequences are about [`TILE_VALUES`] where they are most.
    fn tile_rows(&self, steps: Range<usize>) -> usize {
        let first = &self.steps[steps.start];
        let start = first.rate / first.kind.expansion() as f64;
        let widest = self.steps[steps]
            .iter()
            .map(|step| step.rate * step.channels as f64)
            .fold(1.0, f64::max);
        let rows = (TILE_VALUES as f64 * start / widest) as usize;
        rows.max(first.kind.granule())
    }
}

/// The queues of a step.
struct Ends<'a> {
    input: Option<&'a mut Queue>,
    add: Option<&'a mut Queue>,
    outputs: [Option<&'a mut Queue>; 2],
}

impl Step {
    fn ends<'a>(&self, queues: &'a mut [Queue]) -> Ends<'a> {
        let mut ends = Ends {
            input: None,
            add: None,
            outputs: [None, None],
        };
        for (id, queue) in queues.iter_mut().enumerate() {
            if id == self.input {
                ends.input = Some(queue);
            } else if Some(id) == self.add {
                ends.add = Some(queue);
            } else if let Some(at) = self.outputs.iter().position(|(output, _)| *output == id) {
                ends.outputs[at] = Some(queue);
            }
        }
        ends
    }

    /// Room for `rows` in every output.
    fn targets<'a>(&'a self, queues: [Option<&'a mut Queue>; 2], rows: usize) -> Vec<Output<'a>> {
        queues
            .into_iter()
            .flatten()
            .zip(&self.outputs)
            .map(|(queue, (_, activation))| Output {
                to: queue.room(rows),
                activation,
            })
            .collect()
    }
}

impl Kind {
    fn state(&self) -> StepState {
        match self {
            Self::Product(_) => StepState::Product(Progress::default()),
            Self::Norm(_) => StepState::Norm,
            Self::Lstm(lstm) => StepState::Lstm(lstm.state()),
            Self::Transformer(transformer) => StepState::Transformer(transformer.state()),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Product(product) => product.bytes(),
            Self::Norm(_) => 0,
            Self::Lstm(lstm) => lstm.bytes(),
            Self::Transformer(transformer) => transformer.bytes(),
        }
    }

    /// Rows that are made together.
    fn granule(&self) -> usize {
        match self {
            Self::Product(product) => product.granule(),
            _ => 1,
        }
    }

    /// Rows for the readers that a row of the result holds.
    pub(super) fn expansion(&self) -> usize {
        match self {
            Self::Product(product) => product.expansion,
            _ => 1,
        }
    }
}

impl StepState {
    fn lstm(&mut self) -> &mut LstmState {
        match self {
            Self::Lstm(state) => state,
            _ => unreachable!("states are made from the steps"),
        }
    }

    fn transformer(&mut self) -> &mut TransformerState {
        match self {
            Self::Transformer(state) => state,
            _ => unreachable!("states are made from the steps"),
        }
    }
}
