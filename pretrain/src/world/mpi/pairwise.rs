//! Reduce-scatter by pairwise exchange.

use std::sync::atomic::{AtomicU64, Ordering};

use ::mpi::point_to_point::send_receive_into;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::Communicator;

/// Numbers exchanged at a time: 256 KiB stay in the cache until they are added.
const CHUNK: usize = 1 << 16;

/// This rank's part of the sum over ranks, `[r · n]` to `[n]`; MPI's own operation takes memory for a whole copy at each call
/// (Open MPI 4.1), and three times as long.
///
/// In turn `t` a rank sends to the one `t` after it and receives from the one `t` before it, so that all links are busy and
/// each number is sent once (Thakur, Rabenseifner & Gropp 2005, section 4.3). The order of the sum depends on the rank, and on
/// nothing else.
pub(super) fn reduce_scatter(
    world: &SimpleCommunicator,
    values: &[f32],
    sent: &AtomicU64,
) -> Vec<f32> {
    let [rank, ranks] = [world.rank(), world.size()].map(|number| number as usize);
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
        let processes = [to, from].map(|rank| world.process_at_rank(rank as i32));
        for (sum, mine) in sum.chunks_mut(CHUNK).zip(part(to).chunks(CHUNK)) {
            let received = &mut received[..mine.len()];
            send_receive_into(mine, &processes[0], received, &processes[1]);
            sent.fetch_add(4 * mine.len() as u64, Ordering::Relaxed);
            for (sum, received) in sum.iter_mut().zip(received) {
                *sum += *received;
            }
        }
    }
    sum
}
