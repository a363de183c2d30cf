//! What a run needs of a device's memory, before it begins.
//!
//! An upper bound, compared with measured runs in docs/training.md. Activations are those that Burn's autodiff keeps.

use std::fmt;

use experiments::scaling::buckets;
use experiments::{ModelConfig, Plan, Precision};
use kernels::linear_cross_entropy::working_bytes;
use mixes::{ComponentSummary, LoaderOptions, LoaderSummary};
use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::error::{Error, Result};
use crate::train::Cut;

/// Bytes of an f32.
const F32: u64 = 4;
/// Tensors of the size of the embedding that its update has beside the embedding itself.
const UPDATED: u64 = 3;
/// Buckets of gradients or parameters that are under way between processes at a time.
const UNDER_WAY: u64 = 2;
/// Freed memory that the allocator keeps in pieces too small for what is asked for next, to the rest; measured up to 0.27.
const HELD: f64 = 0.3;
/// Part of the free memory that a run may take.
const SHARE: f64 = 0.95;

/// Bytes by purpose, of one process.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Parameters, f32.
    pub parameters: u64,
    /// Their gradients.
    pub gradients: u64,
    /// Moments, and a moving average of the parameters.
    pub optimizer: u64,
    /// What comes and goes in a step: first activations and logits, then, when those are gone, parts of the update.
    pub step: u64,
    /// The copy of parameters and moments that is written while training goes on.
    pub checkpoint: u64,
    /// Decoded row groups of the corpus.
    pub data: u64,
    /// Gradients and parameters under way between processes.
    pub communication: u64,
    /// Freed memory that is kept, and does not fit what is asked for next.
    pub held: u64,
}

impl Estimate {
    /// Of a plan with a vocabulary of `vocab_size` rows, cut as said, of which `ranks` processes have a part of the optimizer's state
    /// each; `data` are the loader's bytes.
    ///
    /// Parameters, gradients, moving average and Muon's momenta are whole in each (ZeRO-1, arXiv 1910.02054).
    pub fn new(plan: &Plan, vocab_size: usize, cut: Cut, data: u64, ranks: u64) -> Self {
        let trained = F32 * plan.trained_parameters(vocab_size);
        let frozen = plan.lora.is_some();
        let untrained = if frozen {
            F32 * plan.model.parameters(vocab_size)
        } else {
            0
        };
        let parameters = trained + untrained;
        // one number of each of the layers' matrices instead of two
        let momenta = match plan.optimizer.muon {
            Some(_) if !frozen => F32 * hidden_matrices(&plan.model),
            _ => 0,
        };
        let moments = 2 * (trained - momenta);
        let average = plan.ema_decay.map_or(0, |_| parameters);
        let tokens = cut.micro_batch * plan.seq_len;
        let bytes = activation_bytes(plan) as usize;
        let loss = working_bytes(tokens, plan.model.hidden_size, vocab_size, bytes) as u64;
        let update = UPDATED * F32 * (vocab_size * plan.model.hidden_size) as u64;
        let mut estimate = Self {
            parameters,
            gradients: trained,
            optimizer: moments.div_ceil(ranks) + momenta + average,
            step: (activations(plan, cut) + loss).max(update.div_ceil(ranks)),
            checkpoint: (parameters + moments + momenta + average).div_ceil(ranks),
            data,
            communication: communication(plan, vocab_size, ranks),
            held: 0,
        };
        estimate.held = (HELD * estimate.total() as f64) as u64;
        estimate
    }

    /// The sum.
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Names and bytes.
    pub fn parts(&self) -> [(&'static str, u64); 8] {
        [
            ("parameters", self.parameters),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("step", self.step),
            ("checkpoint", self.checkpoint),
            ("data", self.data),
            ("communication", self.communication),
            ("held", self.held),
        ]
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts: Vec<String> = self
            .parts()
            .iter()
            .filter(|(name, bytes)| *name != "communication" || *bytes > 0)
            .map(|(name, bytes)| format!("{name} {}", gib(*bytes)))
            .collect();
        write!(f, "{}: {}", gib(self.total()), parts.join(", "))
    }
}

/// Refuses a run that does not fit into `limit` bytes, with what would.
///
/// # Errors
/// [`Error::Memory`].
pub fn check(
    plan: &Plan,
    vocab_size: usize,
    cut: Cut,
    data: u64,
    ranks: u64,
    limit: u64,
) -> Result<()> {
    let estimate = Estimate::new(plan, vocab_size, cut, data, ranks);
    if fits(&estimate, limit) {
        return Ok(());
    }
    Err(Error::Memory {
        estimate: estimate.to_string(),
        limit: gib(limit),
        advice: match suggest(plan, vocab_size, data, ranks, limit) {
            Some(Cut {
                micro_batch,
                recompute: false,
            }) => format!("With --micro-batch {micro_batch} it would fit"),
            Some(Cut { micro_batch, .. }) => {
                format!("With --micro-batch {micro_batch} --recompute it would fit")
            }
            None => "Not even one sequence at a time would fit: take a smaller model, shorter sequences or more memory".into(),
        },
    })
}

/// The largest micro-batch that divides a process' part of the batch and fits, without recomputation if one does.
pub fn suggest(plan: &Plan, vocab_size: usize, data: u64, ranks: u64, limit: u64) -> Option<Cut> {
    let sequences = plan.batch_size / ranks as usize;
    let divisors = (1..=sequences)
        .rev()
        .filter(|size| sequences.is_multiple_of(*size));
    let divisors: Vec<usize> = divisors.collect();
    let cuts = [false, true].into_iter().flat_map(|recompute| {
        divisors.iter().map(move |&micro_batch| Cut {
            micro_batch,
            recompute,
        })
    });
    cuts.into_iter()
        .find(|&cut| fits(&Estimate::new(plan, vocab_size, cut, data, ranks), limit))
}

fn fits(estimate: &Estimate, limit: u64) -> bool {
    estimate.total() as f64 <= SHARE * limit as f64
}

/// Memory that this process may still take, in bytes: what is free, or what its control group leaves of it.
pub fn available() -> u64 {
    let memory = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(memory);
    let free = system.available_memory();
    match system.cgroup_limits() {
        Some(group) => free.min(group.free_memory),
        None => free,
    }
}

/// Bytes of the row groups that a loader keeps decoded: two windows of each component.
pub fn data(summary: &LoaderSummary) -> u64 {
    /// Between those of an audio token (2) and of a text token (4).
    const BYTES: u64 = 3;
    let kept = 2 * LoaderOptions::WINDOW_GROUPS;
    let component = |component: &ComponentSummary| {
        let groups = component.row_groups.max(1) as u64;
        BYTES * component.train_tokens / groups * groups.min(kept as u64)
    };
    summary.components.iter().map(component).sum()
}

/// Bytes of a number in the layers.
fn activation_bytes(plan: &Plan) -> u64 {
    match plan.precision {
        Precision::F32 => F32,
        Precision::Bf16 => 2,
    }
}

/// Bytes of activations, of one micro-batch: what the layers keep for the backward pass, and what one of them makes in it.
fn activations(plan: &Plan, cut: Cut) -> u64 {
    let model = &plan.model;
    let tokens = (cut.micro_batch * plan.seq_len) as u64;
    let [hidden, inner, head_dim] =
        [model.hidden_size, model.intermediate_size, model.head_dim].map(|x| x as u64);
    let [heads, kv_heads] =
        [model.num_attention_heads, model.num_key_value_heads].map(|x| x as u64);
    let bytes = activation_bytes(plan);
    let attention = (heads + kv_heads) * head_dim;
    // Residual stream, queries, keys, values, attention's result and logsumexp, gate and up; norms, rotation and their
    // product are computed again.
    let kept = bytes * (2 * hidden + 2 * attention + 2 * inner) + F32 * heads;
    // These and the gradients of all.
    let made = bytes * (4 * hidden + 3 * attention + 4 * inner);
    let layers = model.num_hidden_layers as u64;
    match cut.recompute {
        false => tokens * (layers * kept + made),
        true => tokens * (kept + made + layers * hidden * bytes),
    }
}

/// Bytes of what is under way between `ranks` processes.
fn communication(plan: &Plan, vocab_size: usize, ranks: u64) -> u64 {
    let buckets = buckets(plan, vocab_size);
    let largest = buckets.iter().map(|bucket| bucket.parameters).max();
    match ranks {
        1 => 0,
        _ => UNDER_WAY * F32 * largest.unwrap_or(0),
    }
}

/// Parameters of the layers' matrices.
fn hidden_matrices(model: &ModelConfig) -> u64 {
    let norms = 2 * model.hidden_size + 2 * model.head_dim;
    let layers = model.parameters(0) - model.hidden_size as u64;
    layers - (model.num_hidden_layers * norms) as u64
}

/// Bytes as people read them.
fn gib(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes >= 0.1 * 1024f64.powi(3) {
        true => format!("{:.1} GiB", bytes / 1024f64.powi(3)),
        false => format!("{:.1} MiB", bytes / 1024f64.powi(2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use experiments::load;

    const ROWS: usize = 144_644;
    const CUT: Cut = Cut {
        micro_batch: 1,
        recompute: false,
    };

    fn plan(size: &str, set: &[&str]) -> Plan {
        let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
        let experiment = load("exp2.1").unwrap();
        experiment.resolve(&[size.into()], &set).unwrap().plan
    }

    #[test]
    fn processes_share_moments_and_checkpoints_alone() {
        let of = |set, ranks| Estimate::new(&plan("600m", set), ROWS, CUT, 7, ranks);
        let (one, many) = (of(&[], 1), of(&[], 8));
        let trained = 4 * 736_698_368;
        assert_eq!((one.parameters, one.gradients), (trained, trained));
        assert_eq!((one.optimizer, one.checkpoint), (2 * trained, 3 * trained));
        assert_eq!((many.parameters, many.gradients), (trained, trained));
        assert_eq!(
            (many.optimizer, many.checkpoint),
            (trained / 4, 3 * trained / 8)
        );
        assert_eq!((many.step, many.data), (one.step, 7));
        // the head with the final norm, twice
        let head = 4 * (ROWS as u64 + 1) * 1024;
        assert_eq!((one.communication, many.communication), (0, 2 * head));
        // an average and the momenta of Muon are in each
        let averaged = of(&["ema_decay=0.99"], 8);
        assert_eq!(averaged.optimizer, trained / 4 + trained);
        let matrices = 4 * hidden_matrices(&plan("600m", &[]).model);
        let muon = of(&["optimizer.muon={lr=0.02}"], 8);
        assert_eq!(muon.optimizer, (trained - matrices) / 4 + matrices);
    }

    /// The last column of the tables of docs/scaling.md; the others are checked where they come from.
    #[test]
    fn documents_say_what_a_process_needs() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scaling.md");
        let text = std::fs::read_to_string(path).unwrap();
        let mut rows = 0;
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [
                "",
                size @ ("600m" | "1.7b" | "4b"),
                ranks,
                micro_batch,
                ..,
                said,
                "",
            ] = cells[..]
            else {
                continue;
            };
            let cut = Cut {
                micro_batch: micro_batch.parse().unwrap(),
                ..CUT
            };
            let estimate = Estimate::new(&plan(size, &[]), ROWS, cut, 0, ranks.parse().unwrap());
            let gib = estimate.total() as f64 / 1024f64.powi(3);
            assert_eq!(said, format!("{gib:.1}"), "{line}");
            rows += 1;
        }
        assert_eq!(rows, 2 * 3 * 6);
    }
}
