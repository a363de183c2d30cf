//! Several streams through one program, a bounded number of rows at a time.

use std::sync::{Mutex, PoisonError};

use super::program::{Program, Scratch, State};

/// A program and the memory of its finished runs, which the next ones use.
pub struct Engine {
    program: Program,
    idle: Mutex<Vec<Session>>,
}

/// Memory of one thread.
#[derive(Default)]
pub struct Session {
    /// Streams.
    pub states: Vec<State>,
    /// What they share.
    pub scratch: Scratch,
}

/// One whole input: rows, and rows of zeros after them.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// `[rows, channels]`
    pub rows: &'a [f32],
    /// Values of zero that follow.
    pub zeros: usize,
}

/// Output rows of one stream.
pub struct Made<'a> {
    /// The number of its input.
    pub stream: usize,
    /// `[rows, channels]`
    pub rows: &'a [f32],
}

impl Engine {
    /// Runs `program`.
    pub fn new(program: Program) -> Self {
        Self {
            program,
            idle: Mutex::default(),
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs all inputs side by side and gives `sink` what each pass made, in order. A pass takes `pass_values` values in
    /// all, shared by the streams that have some left.
    pub fn run(
        &self,
        inputs: &[Input],
        pass_values: usize,
        mut sink: impl FnMut(&[Made], &mut Vec<f32>),
    ) {
        let mut session = self.session(inputs.len());
        let Session { states, scratch } = &mut session;
        let channels = self.program.input_channels();
        let mut done = vec![0; inputs.len()];
        let mut active: Vec<usize> = (0..inputs.len()).collect();
        while !active.is_empty() {
            let share = (pass_values / active.len()).max(pass_values / 16) / channels * channels;
            for &stream in &active {
                let (input, state) = (inputs[stream], &mut states[stream]);
                let rows = &input.rows[done[stream]..];
                let rows = &rows[..rows.len().min(share)];
                done[stream] += rows.len();
                let last = done[stream] == input.rows.len();
                self.program.push(state, rows, last && input.zeros == 0);
                if last && input.zeros > 0 {
                    self.program.push(state, &vec![0.0; input.zeros], true);
                }
            }
            let mut running: Vec<&mut State> = states
                .iter_mut()
                .enumerate()
                .filter(|(stream, _)| active.contains(stream))
                .map(|(_, state)| state)
                .collect();
            self.program.run(&mut running, scratch);
            let made: Vec<Made> = active
                .iter()
                .map(|&stream| Made {
                    stream,
                    rows: self.program.output(&states[stream]),
                })
                .collect();
            sink(&made, &mut scratch.sums);
            for &stream in &active {
                self.program.take(&mut states[stream]);
            }
            active.retain(|&stream| done[stream] < inputs[stream].rows.len());
        }
        self.put_back(session);
    }

    /// At least `streams` streams that nothing has been pushed to.
    pub fn session(&self, streams: usize) -> Session {
        let mut session = self.lock().pop().unwrap_or_default();
        let Session { states, .. } = &mut session;
        states
            .iter_mut()
            .for_each(|state| self.program.reset(state));
        while states.len() < streams {
            states.push(self.program.state());
        }
        session
    }

    /// Keeps the memory for the next one.
    pub fn put_back(&self, session: Session) {
        self.lock().push(session);
    }

    /// A panic elsewhere leaves the list of idle sessions whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
