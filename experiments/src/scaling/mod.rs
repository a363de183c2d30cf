//! How long a training step takes on many devices: a prediction from the speed of one and the bandwidth between them.
//!
//! Data parallelism with the optimizer's state in shards (ZeRO-1; Rajbhandari et al. 2020, arXiv 1910.02054). A rank computes
//! the gradients of its sequences, of which the last micro-batch's backward pass sends each bucket around a ring as soon as it
//! is ready (reduce-scatter); then it updates its part of each bucket, and sends that around (all-gather). The first hides behind
//! the backward pass, the second only behind the rest of the update. What `docs/scaling.md` says of it in tables is this.

mod buckets;
mod cluster;

use std::fmt;

use serde::Serialize;

use crate::flops::training_flops_per_token;
use crate::summary::{grouped, lines};
use crate::{Error, Plan, Result};
pub use buckets::{Bucket, buckets};
pub use cluster::{Cluster, Network, Ring};

/// Bytes of a gradient or a parameter, f32.
const F32: f64 = 4.0;
/// Part of a step's operations that the forward pass has.
const FORWARD: f64 = 1.0 / 3.0;
/// All-gathers of a few numbers a step: losses, norms, and how much of an update a cautious one keeps.
const SCALAR_GATHERS: f64 = 3.0;
/// Bytes of memory that the norm and update of a parameter read and write (docs/benchmarks.md).
const UPDATE_BYTES: f64 = 32.0;
/// The same if it is cautious.
const CAUTIOUS_UPDATE_BYTES: f64 = 40.0;
/// The same of a moving average.
const AVERAGE_BYTES: f64 = 12.0;

/// Seconds of a step, one part after the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Parts {
    /// Forward and backward passes.
    pub compute_secs: f64,
    /// Reduce-scatters of gradients, as far as no backward pass hides them.
    pub reduce_scatter_secs: f64,
    /// All-gathers of single numbers.
    pub scalars_secs: f64,
    /// Update of a rank's part, and of the moving average.
    pub optimizer_secs: f64,
    /// All-gathers of parameters, as far as no update hides them.
    pub all_gather_secs: f64,
}

impl Parts {
    fn communication_secs(&self) -> f64 {
        self.reduce_scatter_secs + self.scalars_secs + self.all_gather_secs
    }

    fn sum(&self) -> f64 {
        self.compute_secs + self.optimizer_secs + self.communication_secs()
    }
}

/// What a step comes to on many devices. It prints as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scaling {
    /// Devices.
    pub ranks: u64,
    /// Nodes of them.
    pub nodes: u64,
    /// Sequences of a step that each has.
    pub sequences: usize,
    /// Parts that those pass through the model in.
    pub micro_batches: usize,
    /// What joins the devices.
    pub ring: Ring,
    /// Bytes that a rank sends a step.
    pub sent_bytes: f64,
    /// Seconds of all reduce-scatters, hidden or not.
    pub reduce_scatter_secs: f64,
    /// Seconds of a step.
    pub step_secs: f64,
    /// What they are made of.
    pub parts: Parts,
    /// Tokens a second of all devices.
    pub tokens_per_sec: f64,
    /// Part of the step in which communication is waited for.
    pub communication_share: f64,
    /// Speed of a device, to that of one alone with as many sequences a step. A little above 1 is possible: the update is shared.
    pub efficiency: f64,
    /// Model FLOPs utilisation with communication and update.
    pub mfu: f64,
}

impl Scaling {
    /// Of a plan with a vocabulary of `vocab_size` rows, of which `micro_batch` sequences pass through the model of a rank at a time,
    /// where one device's passes have a utilisation of `mfu`.
    ///
    /// # Errors
    /// [`Error::World`] if the devices cannot share the batch, and [`Error::Hardware`] if `mfu` is not in (0, 1].
    pub fn new(
        plan: &Plan,
        vocab_size: usize,
        cluster: &Cluster,
        micro_batch: usize,
        mfu: f64,
    ) -> Result<Self> {
        let (sequences, micro_batches) = shares(plan.batch_size, cluster.ranks(), micro_batch)?;
        let ring = cluster.ring()?;
        let buckets = buckets(plan, vocab_size);
        let flops = training_flops_per_token(&plan.model, vocab_size, plan.seq_len)
            * (sequences * plan.seq_len) as f64;
        let compute_secs = flops / cluster.hardware.used_flops(mfu)?;
        let backward_secs = compute_secs * (1.0 - FORWARD) / micro_batches as f64;
        let update_secs = update_secs(plan, cluster);
        let average_secs = match plan.ema_decay {
            Some(_) => {
                plan.model.parameters(vocab_size) as f64 * AVERAGE_BYTES
                    / cluster.memory_bytes_per_sec()
            }
            None => 0.0,
        };
        let trained = plan.trained_parameters(vocab_size) as f64;
        let alone_secs = compute_secs + trained * update_secs + average_secs;
        let update_secs = update_secs / cluster.ranks() as f64;
        let parts = Parts {
            compute_secs,
            reduce_scatter_secs: exposed(&buckets, ring, |bucket| backward_secs * bucket.share),
            scalars_secs: SCALAR_GATHERS * ring.latency_secs,
            optimizer_secs: trained * update_secs + average_secs,
            all_gather_secs: exposed(&buckets, ring, |bucket| {
                update_secs * bucket.parameters as f64
            }),
        };
        let step_secs = parts.sum();
        let tokens = plan.tokens_per_step() as f64;
        Ok(Self {
            ranks: cluster.ranks(),
            nodes: cluster.nodes(),
            sequences,
            micro_batches,
            ring,
            sent_bytes: 2.0 * ring.sent(F32 * trained),
            reduce_scatter_secs: transfers(&buckets, ring).sum(),
            step_secs,
            parts,
            tokens_per_sec: tokens / step_secs,
            communication_share: parts.communication_secs() / step_secs,
            efficiency: alone_secs / step_secs,
            mfu: flops / step_secs / cluster.hardware.peak_flops,
        })
    }
}

/// Sequences of a batch that each of `ranks` has, and how many micro-batches they are.
fn shares(batch: usize, ranks: u64, micro_batch: usize) -> Result<(usize, usize)> {
    let divisors = |number: usize| {
        let divisors = (1..=number).filter(|divisor| number.is_multiple_of(*divisor));
        let divisors: Vec<String> = divisors.map(|divisor| divisor.to_string()).collect();
        divisors.join(", ")
    };
    let fail = |reason| Err(Error::World { ranks, reason });
    if !(batch as u64).is_multiple_of(ranks) {
        return fail(format!(
            "does not divide the batch of {batch} sequences; take one of {}",
            divisors(batch)
        ));
    }
    let sequences = batch / ranks as usize;
    if !sequences.is_multiple_of(micro_batch) {
        return fail(format!(
            "leaves {sequences} sequences for each, which --micro-batch {micro_batch} does not divide; take one of {}",
            divisors(sequences)
        ));
    }
    Ok((sequences, sequences / micro_batch))
}

/// Seconds in which one device updates a parameter: what its memory takes. Muon's orthogonalisation is not counted.
fn update_secs(plan: &Plan, cluster: &Cluster) -> f64 {
    let bytes = match plan.optimizer.cautious {
        true => CAUTIOUS_UPDATE_BYTES,
        false => UPDATE_BYTES,
    };
    bytes / cluster.memory_bytes_per_sec()
}

/// Seconds of each bucket's reduce-scatter, or of its all-gather. An empty bucket has none.
fn transfers(buckets: &[Bucket], ring: Ring) -> impl Iterator<Item = f64> + '_ {
    buckets.iter().map(move |bucket| match bucket.parameters {
        0 => 0.0,
        parameters => ring.secs(F32 * parameters as f64),
    })
}

/// Seconds for which the transfers of all buckets go on after the last is ready, where `work` says in how many seconds a bucket
/// becomes ready after the one before. They take place one after the other.
fn exposed(buckets: &[Bucket], ring: Ring, work: impl Fn(&Bucket) -> f64) -> f64 {
    let (mut ready, mut free) = (0.0, 0.0f64);
    for (bucket, transfer) in buckets.iter().zip(transfers(buckets, ring)) {
        ready += work(bucket);
        free = free.max(ready) + transfer;
    }
    free - ready
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            ranks,
            nodes,
            sequences,
            micro_batches,
            parts,
            ..
        } = self;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let rows = [
            (
                "devices",
                format!(
                    "{ranks} (nodes: {nodes}), sequences of each: {sequences} (micro-batches: {micro_batches})"
                ),
            ),
            (
                "ring",
                format!(
                    "{:.1} GB/s, {:.0} µs, {:.2} GB sent a step",
                    self.ring.bytes_per_sec / 1e9,
                    self.ring.latency_secs * 1e6,
                    self.sent_bytes / 1e9
                ),
            ),
            (
                "step",
                format!(
                    "{}, {} tokens/s",
                    time(self.step_secs),
                    grouped(self.tokens_per_sec as u64)
                ),
            ),
            ("compute", time(parts.compute_secs)),
            (
                "gradients",
                format!(
                    "{} of {} are waited for",
                    time(parts.reduce_scatter_secs),
                    time(self.reduce_scatter_secs)
                ),
            ),
            ("scalars", time(parts.scalars_secs)),
            ("update", time(parts.optimizer_secs)),
            ("parameters", time(parts.all_gather_secs)),
            (
                "efficiency",
                format!(
                    "{}, communication {}, MFU {}",
                    percent(self.efficiency),
                    percent(self.communication_share),
                    percent(self.mfu)
                ),
            ),
        ];
        lines(f, &rows)
    }
}

/// `1.234 s` or `12.3 ms`.
fn time(secs: f64) -> String {
    match secs >= 1.0 {
        true => format!("{secs:.3} s"),
        false => format!("{:.1} ms", 1e3 * secs),
    }
}

#[cfg(test)]
mod tests;
