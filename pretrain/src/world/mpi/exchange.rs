//! The operations on numbers, as exchanges between pairs of ranks that never block.
//!
//! In turn `t` a rank sends to the one `t` after it and receives from the one `t` before it, so that all links are busy and each
//! number is sent once (pairwise exchange; Thakur, Rabenseifner & Gropp 2005). MPI's own reduce-scatter takes memory for
//! a whole copy at each call, and three times as long (Open MPI 4.1, two ranks of one machine); what does not block there it
//! reduces at one rank.

use std::sync::atomic::Ordering;

use ::mpi::request::scope;
use ::mpi::traits::{Communicator, CommunicatorCollectives, Destination, Source};

use super::{Thread, is_complete};

/// Numbers exchanged at a time: 256 KiB stay in the cache until they are added.
const CHUNK: usize = 1 << 16;

impl Thread {
    fn place(&self) -> [usize; 2] {
        [self.world.rank(), self.world.size()].map(|number| number as usize)
    }

    /// This rank's part of the sum over ranks, `[r · n]` to `[n]`. The order of the sum depends on the rank, and on nothing else.
    pub(super) fn reduce_scatter(&mut self, values: &[f32]) -> Vec<f32> {
        let [rank, ranks] = self.place();
        let length = values.len() / ranks;
        assert_eq!(
            values.len(),
            length * ranks,
            "as many numbers for each rank"
        );
        let part = |of: usize| &values[of * length..][..length];
        let mut sum = part(rank).to_vec();
        let mut received = vec![0f32; CHUNK.min(length)];
        for turn in 1..ranks {
            let [to, from] = [(rank + turn) % ranks, (rank + ranks - turn) % ranks];
            for (sum, mine) in sum.chunks_mut(CHUNK).zip(part(to).chunks(CHUNK)) {
                let received = &mut received[..mine.len()];
                self.exchange(mine, to, received, from);
                for (sum, received) in sum.iter_mut().zip(received) {
                    *sum += *received;
                }
            }
        }
        sum
    }

    /// The parts of all ranks, one after the other: `[n]` to `[r · n]`.
    pub(super) fn all_gather(&mut self, part: &[f32]) -> Vec<f32> {
        let [rank, ranks] = self.place();
        let mut all = Vec::with_capacity(part.len() * ranks);
        // SAFETY: each turn writes a part, and reads none.
        #[allow(clippy::uninit_vec)]
        unsafe {
            all.set_len(part.len() * ranks)
        };
        all[rank * part.len()..][..part.len()].copy_from_slice(part);
        for turn in 1..ranks {
            let [to, from] = [(rank + turn) % ranks, (rank + ranks - turn) % ranks];
            let theirs = &mut all[from * part.len()..][..part.len()];
            for (received, mine) in theirs.chunks_mut(CHUNK).zip(part.chunks(CHUNK)) {
                self.exchange(mine, to, received, from);
            }
        }
        all
    }

    /// The first rank's values: from each rank to those a power of two after it (a binomial tree).
    pub(super) fn broadcast(&mut self, values: &[f32]) -> Vec<f32> {
        let [rank, ranks] = self.place();
        let mut values = values.to_vec();
        let mut distance = 1;
        while distance < ranks {
            let to = (rank < distance && rank + distance < ranks).then(|| rank + distance);
            let from = (distance..2 * distance)
                .contains(&rank)
                .then(|| rank - distance);
            for chunk in values.chunks_mut(CHUNK) {
                if let Some(to) = to {
                    self.exchange(chunk, to, &mut [], to);
                } else if let Some(from) = from {
                    self.exchange(&[], from, chunk, from);
                }
            }
            distance *= 2;
        }
        values
    }

    /// Sends to one rank and receives from one; nothing if there is nothing.
    fn exchange(&mut self, mine: &[f32], to: usize, theirs: &mut [f32], from: usize) {
        let sent = 4 * mine.len() as u64;
        scope(|scope| {
            let [to, from] = [to, from].map(|rank| self.world.process_at_rank(rank as i32));
            let mut receiving =
                (!theirs.is_empty()).then(|| from.immediate_receive_into(scope, theirs));
            let mut sending = (!mine.is_empty()).then(|| to.immediate_send(scope, mine));
            self.wait_for(|| is_complete(&mut receiving) & is_complete(&mut sending));
        });
        self.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// The bytes of all ranks, which need not be equally many.
    pub(super) fn gather(&mut self, bytes: Vec<u8>) -> Vec<Vec<u8>> {
        let [_, ranks] = self.place();
        let lengths = self.gather_equal(&(bytes.len() as u64).to_le_bytes());
        let length = |word: &[u8]| u64::from_le_bytes(word.try_into().expect("eight bytes"));
        let lengths: Vec<usize> = lengths
            .chunks_exact(8)
            .map(|word| length(word) as usize)
            .collect();
        let longest = lengths.iter().max().copied().unwrap_or_default();
        if longest == 0 {
            return vec![Vec::new(); ranks];
        }
        let mut padded = bytes;
        padded.resize(longest, 0);
        let all = self.gather_equal(&padded);
        let parts = all.chunks_exact(longest).zip(lengths);
        parts
            .map(|(part, length)| part[..length].to_vec())
            .collect()
    }

    fn gather_equal(&mut self, bytes: &[u8]) -> Vec<u8> {
        let [_, ranks] = self.place();
        let mut all = vec![0; bytes.len() * ranks];
        scope(|scope| {
            let request = self
                .world
                .immediate_all_gather_into(scope, bytes, &mut all[..]);
            let mut request = Some(request);
            self.wait_for(|| is_complete(&mut request));
        });
        all
    }
}
