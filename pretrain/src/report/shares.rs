//! Which parts of a step its time goes to.

use crate::metrics::{StepTime, TrainRecord};

/// The parts, from the bottom of the figure to its top; the last is what is left.
pub const PARTS: [&str; 6] = [
    "data",
    "forward",
    "backward",
    "optimizer",
    "checkpoint",
    "other",
];
/// Stretches of the run over which shares are taken: a checkpoint is a part of the steps around it.
const STRETCHES: usize = 60;

/// The parts' shares of the time of a stretch of the run; they add up to 1.
pub struct Stretch {
    /// Steps finished before and after it.
    pub steps: (u64, u64),
    pub shares: [f64; PARTS.len()],
}

/// The run in stretches, without those of which no time is known.
pub fn time_shares(train: &[TrainRecord]) -> Vec<Stretch> {
    let length = train.len().div_ceil(STRETCHES).max(1);
    let mut start = 0;
    let stretches = train.chunks(length).filter_map(|records| {
        let steps = (start, records[records.len() - 1].step);
        start = steps.1;
        let mut sums = [0.0; PARTS.len()];
        let timed = records.iter().filter(|record| record.time.secs.is_finite());
        for record in timed {
            for (sum, secs) in sums.iter_mut().zip(parts(&record.time)) {
                *sum += secs;
            }
        }
        let total: f64 = sums.iter().sum();
        let shares = sums.map(|sum| sum / total);
        (total > 0.0).then_some(Stretch { steps, shares })
    });
    stretches.collect()
}

/// Seconds of each of the [`PARTS`].
fn parts(time: &StepTime) -> [f64; PARTS.len()] {
    let mut parts = [
        time.data_secs,
        time.forward_secs,
        time.backward_secs,
        time.optimizer_secs,
        time.checkpoint_secs,
        0.0,
    ];
    // clocks that are read one after another may leave a little less than nothing
    parts[PARTS.len() - 1] = (time.secs - parts.iter().sum::<f64>()).max(0.0);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Record;
    use crate::report::tests::records;

    #[test]
    fn shares_are_of_the_time_of_their_stretch() {
        let records = records("r").into_iter().filter_map(|record| match record {
            Record::Train(train) => Some(train),
            _ => None,
        });
        let mut train: Vec<_> = records.collect();
        let stretches = time_shares(&train);
        let steps: Vec<_> = stretches.iter().map(|stretch| stretch.steps).collect();
        assert_eq!(
            (steps.len(), steps[0], steps[59]),
            (60, (0, 10), (590, 600))
        );
        for Stretch { steps, shares } in &stretches {
            assert!(
                (shares.iter().sum::<f64>() - 1.0).abs() < 1e-12,
                "{steps:?}"
            );
        }
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        // steps of 0.41 s, of which 0.01 s go to no part; each hundredth also waits 2.05 s for its checkpoint
        let (usual, checkpoint) = (stretches[0].shares, stretches[9].shares);
        assert!(close(usual[1], 0.13 / 0.41) && close(usual[5], 0.01 / 0.41));
        assert!(close(usual[4], 0.0) && close(checkpoint[4], 2.05 / (10.0 * 0.41 + 2.05)));

        train[0].time.secs = f64::NAN;
        assert_eq!(time_shares(&train)[0].shares[1], usual[1]);
        assert!(time_shares(&train[..1]).is_empty() && time_shares(&[]).is_empty());
    }
}
