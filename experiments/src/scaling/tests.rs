//! Steps counted by hand, limits, and laws.

use proptest::prelude::*;

use super::*;
use crate::{Hardware, load};

const ROWS: usize = 144_644;

fn plan(size: &str, set: &[&str]) -> Plan {
    let set: Vec<String> = set.iter().map(|set| set.to_string()).collect();
    let experiment = load("exp2.1").unwrap();
    experiment.resolve(&[size.into()], &set).unwrap().plan
}

/// H100s at an MFU of 0.4, each with micro-batches of one sequence.
fn scaling(plan: &Plan, ranks: u64, network: &str) -> Scaling {
    let network = network.parse().unwrap();
    let cluster = Cluster::new("h100".parse().unwrap(), ranks, 8, Some(network)).unwrap();
    Scaling::new(plan, ROWS, &cluster, 1, 0.4).unwrap()
}

fn close(found: f64, expected: f64) {
    let difference = (found / expected - 1.0).abs();
    assert!(difference < 1e-9, "{found} is not {expected}");
}

#[test]
fn one_device_does_not_communicate() {
    let plan = plan("600m", &["batch_size=8"]);
    let found = scaling(&plan, 1, "1Gb");
    assert_eq!((found.communication_share, found.efficiency), (0.0, 1.0));
    assert_eq!((found.sent_bytes, found.reduce_scatter_secs), (0.0, 0.0));
    // 3 × 1.476e9 forward FLOPs a token of 8 × 4096, at 0.4 × 989.4e12 a second; 40 bytes a parameter at 3.35e12
    let flops = training_flops_per_token(&plan.model, ROWS, 4096);
    close(found.parts.compute_secs, flops * 32_768.0 / 395.76e12);
    close(found.parts.optimizer_secs, 736_698_368.0 * 40.0 / 3.35e12);
}

/// Four buckets of 1, 2, 2 and 1 GB over a ring of 1 GB/s, of two ranks: 0.5, 1, 1 and 0.5 seconds.
#[test]
fn transfers_hide_behind_what_is_computed() {
    let hardware: Hardware = "h100".parse().unwrap();
    let network = Some("1GB".parse().unwrap());
    let ring = Cluster::new(hardware, 2, 1, network)
        .unwrap()
        .ring()
        .unwrap();
    let buckets = [(1, 0.1), (2, 0.4), (2, 0.4), (1, 0.1)].map(|(gb, share)| Bucket {
        parameters: gb * 250_000_000,
        share,
    });
    let latency = ring.latency_secs;
    let exposed = |secs: f64| exposed(&buckets, ring, |bucket| secs * bucket.share);
    // nothing to hide behind
    close(exposed(0.0), 3.0 + 4.0 * latency);
    // ready at 0.25, 1.25, 2.25, 2.5; sent by 0.75, 2.25, 3.25, 3.75
    close(exposed(2.5), 1.25 + 3.0 * latency);
    // each is sent before the next is ready
    close(exposed(25.0), 0.5 + latency);
}

#[test]
fn a_step_is_the_sum_of_its_parts() {
    let plan = plan("600m", &[]);
    let found = scaling(&plan, 64, "100Gb/node");
    let Parts {
        compute_secs,
        reduce_scatter_secs,
        all_gather_secs,
        ..
    } = found.parts;
    // 8.4 + 56 × 3.4 + 7 × 14 µs; 63/64 of 2.947 GB at 12.5 GB/s, in 30 buckets
    let latency = 296.8e-6;
    let bytes = 736_698_368.0 * 4.0;
    close(found.ring.latency_secs, latency);
    close(
        found.reduce_scatter_secs,
        30.0 * latency + bytes * 63.0 / 64.0 / 12.5e9,
    );
    close(found.sent_bytes, 2.0 * bytes * 63.0 / 64.0);
    close(found.parts.scalars_secs, 3.0 * latency);
    close(
        found.parts.optimizer_secs,
        736_698_368.0 * 40.0 / 3.35e12 / 64.0,
    );
    // The head's gradients, with which it all begins, are ready after their part of a backward pass of one of eight sequences;
    // from then on the network is never idle.
    let backward = compute_secs / 8.0 * 2.0 / 3.0;
    let idle = backward * buckets(&plan, ROWS)[0].share;
    close(
        reduce_scatter_secs,
        idle + found.reduce_scatter_secs - backward,
    );
    let first = found.parts.optimizer_secs * (144_644.0 * 1024.0 + 1024.0) / 736_698_368.0;
    close(
        all_gather_secs,
        first + found.reduce_scatter_secs - found.parts.optimizer_secs,
    );
    close(found.step_secs, found.parts.sum());
    close(found.tokens_per_sec, 512.0 * 4096.0 / found.step_secs);
    close(found.mfu, 0.4 * compute_secs / found.step_secs);
}

#[test]
fn an_average_is_not_shared() {
    let of = |set| {
        scaling(&plan("600m", set), 64, "400Gb")
            .parts
            .optimizer_secs
    };
    let difference = of(&["ema_decay=0.999"]) - of(&[]);
    close(difference, 736_698_368.0 * 12.0 / 3.35e12);
}

#[test]
fn a_batch_is_shared_evenly_or_not_at_all() {
    assert_eq!(shares(48, 12, 2).unwrap(), (4, 2));
    for (batch, ranks, micro_batch, expected) in [
        (
            48,
            64,
            1,
            "--world 64 does not divide the batch of 48 sequences; take one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 48",
        ),
        (
            48,
            12,
            3,
            "--world 12 leaves 4 sequences for each, which --micro-batch 3 does not divide; take one of 1, 2, 4",
        ),
        (48, 0, 1, "--world 0 does not divide"),
        (48, 12, 0, "--micro-batch 0 does not divide"),
    ] {
        let error = shares(batch, ranks, micro_batch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn it_prints_what_a_table_has() {
    let printed = scaling(&plan("600m", &[]), 64, "400Gb").to_string();
    for expected in [
        "64 (nodes: 8), sequences of each: 8 (micro-batches: 8)",
        "370.8 GB/s, 297 µs, 5.80 GB sent a step",
    ] {
        assert!(
            printed.contains(expected),
            "{expected} is not in\n{printed}"
        );
    }
}

proptest! {
    #[test]
    fn more_bandwidth_and_bigger_batches_never_hurt(
        ranks in 1u64..=32,
        gigabits in 1.0f64..1000.0,
        sequences in 1u64..=64,
    ) {
        let ranks = 8 * ranks;
        let of = |gigabits: f64, sequences: u64| {
            let plan = plan("600m", &[&format!("batch_size={}", ranks * sequences)]);
            scaling(&plan, ranks, &format!("{gigabits}Gb"))
        };
        let found = of(gigabits, sequences);
        prop_assert!(of(2.0 * gigabits, sequences).step_secs <= found.step_secs);
        prop_assert!(of(gigabits, 2 * sequences).communication_share <= found.communication_share);
        prop_assert!(found.communication_share > 0.0 && found.communication_share < 1.0);
        let Parts { compute_secs, reduce_scatter_secs, .. } = found.parts;
        prop_assert!(found.step_secs > compute_secs && found.mfu < 0.4);
        // some of it is always waited for: the last bucket
        prop_assert!(reduce_scatter_secs > 0.0 && reduce_scatter_secs <= found.reduce_scatter_secs);
    }

    #[test]
    fn on_infinitely_fast_links_a_step_is_compute_and_update(ranks in 1u64..=64) {
        let plan = plan("600m", &[&format!("batch_size={ranks}")]);
        // one device a node: no link limits, and what remains are latencies
        let network = Some("1e30Gb".parse().unwrap());
        let cluster = Cluster::new("h100".parse().unwrap(), ranks, 1, network).unwrap();
        let found = Scaling::new(&plan, ROWS, &cluster, 1, 0.4).unwrap();
        let latencies = (30.0 + 30.0 + SCALAR_GATHERS) * found.ring.latency_secs;
        let Parts { compute_secs, optimizer_secs, .. } = found.parts;
        prop_assert!(found.step_secs <= compute_secs + optimizer_secs + latencies + 1e-9);
    }
}
