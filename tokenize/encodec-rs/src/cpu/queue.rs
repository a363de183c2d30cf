//! What flows between two steps: rows of channels, oldest first, with one writer and one reader.

use kernels::gemm::lanes::to_bf16;
use kernels::gemm::{Element, Values, ValuesMut};

/// Rows that have been written and not yet read.
pub struct Queue {
    values: Store,
    channels: usize,
    head: usize,
    tail: usize,
    /// Rows the writer has appended, padding not counted.
    pub written: usize,
    /// Whether the writer has finished.
    pub ended: bool,
}

enum Store {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl Queue {
    /// An empty queue.
    pub fn new(element: Element, channels: usize) -> Self {
        Self {
            values: match element {
                Element::F32 => Store::F32(Vec::new()),
                Element::Bf16 => Store::Bf16(Vec::new()),
            },
            channels,
            head: 0,
            tail: 0,
            written: 0,
            ended: false,
        }
    }

    /// Forgets everything but the memory, and starts with `padding` rows of zeros.
    pub fn reset(&mut self, padding: usize) {
        (self.head, self.tail, self.written, self.ended) = (0, 0, 0, false);
        self.append_zeros(padding);
    }

    /// Rows there.
    pub fn rows(&self) -> usize {
        self.tail - self.head
    }

    /// Values of a row.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The rows from `first` on.
    pub fn read(&self, first: usize) -> Values<'_> {
        let range = (self.head + first) * self.channels..self.tail * self.channels;
        match &self.values {
            Store::F32(values) => Values::F32(&values[range]),
            Store::Bf16(values) => Values::Bf16(&values[range]),
        }
    }

    /// The rows, of a queue of f32.
    pub fn floats(&self) -> &[f32] {
        match self.read(0) {
            Values::F32(values) => values,
            Values::Bf16(_) => unreachable!("the reader asked for f32"),
        }
    }

    /// Drops the oldest rows.
    pub fn drop_front(&mut self, rows: usize) {
        self.head += rows;
        debug_assert!(self.head <= self.tail);
    }

    /// Room for `rows` more, to be [committed](Queue::commit).
    pub fn room(&mut self, rows: usize) -> ValuesMut<'_> {
        let (head, tail, channels) = (
            self.head * self.channels,
            self.tail * self.channels,
            self.channels,
        );
        let end = tail - head + rows * channels;
        self.tail -= self.head;
        self.head = 0;
        let start = self.tail * channels;
        match &mut self.values {
            Store::F32(values) => ValuesMut::F32(make_room(values, head..tail, start..end)),
            Store::Bf16(values) => ValuesMut::Bf16(make_room(values, head..tail, start..end)),
        }
    }

    /// Counts `rows` that were written to the [room](Queue::room).
    pub fn commit(&mut self, rows: usize) {
        self.tail += rows;
        self.written += rows;
    }

    /// Takes back the newest rows.
    pub fn drop_back(&mut self, rows: usize) {
        self.tail -= rows;
        self.written -= rows;
    }

    /// Takes out `count` rows that `after` newer ones follow.
    pub fn cut(&mut self, count: usize, after: usize) {
        let to = (self.tail - after - count) * self.channels;
        let from = (self.tail - after) * self.channels..self.tail * self.channels;
        match &mut self.values {
            Store::F32(values) => values.copy_within(from, to),
            Store::Bf16(values) => values.copy_within(from, to),
        }
        self.drop_back(count);
    }

    /// Appends padding of zeros.
    pub fn append_zeros(&mut self, rows: usize) {
        match self.room(rows) {
            ValuesMut::F32(room) => room.fill(0.0),
            ValuesMut::Bf16(room) => room.fill(0),
        }
        self.tail += rows;
    }

    /// Makes the row at `to` a copy of the row at `from`, or zeros.
    pub fn set_row(&mut self, to: usize, from: Option<usize>) {
        let channels = self.channels;
        let at = |row: usize| (self.head + row) * channels;
        let target = at(to)..at(to) + channels;
        match (&mut self.values, from) {
            (Store::F32(values), Some(from)) => {
                let from = (self.head + from) * channels;
                values.copy_within(from..from + channels, target.start);
            }
            (Store::Bf16(values), Some(from)) => {
                let from = (self.head + from) * channels;
                values.copy_within(from..from + channels, target.start);
            }
            (Store::F32(values), None) => values[target].fill(0.0),
            (Store::Bf16(values), None) => values[target].fill(0),
        }
    }

    /// Appends rows, `[rows, channels]`.
    pub fn append(&mut self, rows: &[f32]) {
        let count = rows.len() / self.channels;
        match self.room(count) {
            ValuesMut::F32(room) => room.copy_from_slice(rows),
            ValuesMut::Bf16(room) => room
                .iter_mut()
                .zip(rows)
                .for_each(|(to, &x)| *to = to_bf16(x)),
        }
        self.commit(count);
    }
}

/// Moves what is `kept` to the front and gives the `room` behind it.
fn make_room<T: Copy + Default>(
    values: &mut Vec<T>,
    kept: std::ops::Range<usize>,
    room: std::ops::Range<usize>,
) -> &mut [T] {
    if kept.start > 0 {
        values.copy_within(kept, 0);
    }
    if values.len() < room.end {
        values.resize(room.end, T::default());
    }
    &mut values[room]
}
