//! Devices in nodes, and how long a ring over all of them takes.
//!
//! A reduce-scatter or all-gather of S bytes over n ranks in m nodes takes `latency + (n − 1)/n · S/β`, of n − 1 steps in each
//! of which a rank sends S/n bytes (Thakur, Rabenseifner and Gropp 2005, "Optimization of Collective Communication Operations
//! in MPICH"; the bytes are the fewest possible: Patarasu and Yuan 2009, "Bandwidth optimal all-reduce algorithms for clusters
//! of workstations"). Latencies are those of NCCL's own model (`src/graph/tuning.cc`, rings with the protocol Simple).
//!
//! A ring enters and leaves a node once, and there are as many rings as a node has network cards, each with its part of the
//! data and through another card. So β is the node's network, all cards together, or a device's link within the node, through which
//! all the rings go, whichever is slower.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::device::Device;
use crate::{Error, Hardware, Result};

/// Seconds to start a collective.
const LAUNCH_SECS: f64 = 8.4e-6;
/// Seconds of a hop between nodes (InfiniBand or RoCE with GPUDirect), whatever its size.
const NETWORK_HOP_SECS: f64 = 14.0e-6;

/// Bandwidth of the network between nodes, in one direction, as vendors state it: `400Gb` for each device's card, or of a
/// node with `/node`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    bytes_per_sec: f64,
    per_node: bool,
}

impl FromStr for Network {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self> {
        let fail = |reason| Error::Network {
            given: given.into(),
            reason,
        };
        let (rate, per_node) = match given.strip_suffix("/node") {
            Some(rate) => (rate, true),
            None => (given, false),
        };
        // the case of the b is the difference of eight
        let (number, unit) = match (rate.strip_suffix("Gb"), rate.strip_suffix("GB")) {
            (Some(number), _) => (number, 1e9 / 8.0),
            (_, Some(number)) => (number, 1e9),
            _ => return Err(fail("it has no unit")),
        };
        let number: f64 = number.trim().parse().map_err(|_| fail("no number"))?;
        if !(number > 0.0 && number.is_finite()) {
            return Err(fail("it must be above zero"));
        }
        Ok(Self {
            bytes_per_sec: number * unit,
            per_node,
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = if self.per_node { "node" } else { "device" };
        write!(f, "{} Gb/s a {of}", self.bytes_per_sec * 8.0 / 1e9)
    }
}

/// Devices in equal nodes, one process for each.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// All of them.
    pub hardware: Hardware,
    /// Of a node.
    pub per_node: u64,
    /// Between nodes; none if there is but one.
    pub network: Option<Network>,
}

impl Cluster {
    /// Of `ranks` devices of the kind of `hardware`, which is of one or of as many.
    ///
    /// # Errors
    /// [`Error::World`] if the numbers do not go together, or the network of several nodes is not known.
    pub fn new(
        hardware: Hardware,
        ranks: u64,
        per_node: u64,
        network: Option<Network>,
    ) -> Result<Self> {
        let fail = |reason| Err(Error::World { ranks, reason });
        if hardware.count != 1 && hardware.count != ranks {
            return fail(format!(
                "is not the number of {hardware}; give the same, or {} alone",
                hardware.device
            ));
        }
        if ranks > per_node && !ranks.is_multiple_of(per_node) {
            return fail(format!(
                "is no multiple of the {per_node} devices of a node; take one, or say --gpus-per-node"
            ));
        }
        if ranks > per_node && network.is_none() {
            return fail(format!(
                "is more than the {per_node} devices of a node; say what the network carries, such as --net 400Gb"
            ));
        }
        let hardware = Hardware {
            count: ranks,
            ..hardware
        };
        Ok(Self {
            hardware,
            per_node: per_node.min(ranks),
            network,
        })
    }

    /// Devices.
    pub fn ranks(&self) -> u64 {
        self.hardware.count
    }

    /// Nodes.
    pub fn nodes(&self) -> u64 {
        self.ranks() / self.per_node
    }

    /// Bytes a second that a device reads or writes of its memory.
    pub(super) fn memory_bytes_per_sec(&self) -> f64 {
        self.device().memory_bytes_per_sec
    }

    fn device(&self) -> &'static Device {
        Device::named(self.hardware.device).expect("hardware is a known device")
    }

    /// The ring over all of them.
    ///
    /// # Errors
    /// [`Error::World`] if nothing is known of the links within a node.
    pub(super) fn ring(&self) -> Result<Ring> {
        let (ranks, nodes) = (self.ranks(), self.nodes());
        let mut ring = Ring {
            ranks,
            latency_secs: 0.0,
            bytes_per_sec: f64::INFINITY,
        };
        if ranks == 1 {
            return Ok(ring);
        }
        ring.latency_secs = LAUNCH_SECS;
        if self.per_node > 1 {
            let link = self.device().link.ok_or_else(|| Error::World {
                ranks,
                reason: format!(
                    "has no estimate on {}: what joins its chips is not in the table",
                    self.hardware.device
                ),
            })?;
            ring.latency_secs += (ranks - nodes) as f64 * link.hop_secs;
            ring.bytes_per_sec = link.bytes_per_sec;
        }
        if let Some(network) = self.network.filter(|_| nodes > 1) {
            let cards = if network.per_node { 1 } else { self.per_node };
            ring.latency_secs += (nodes - 1) as f64 * NETWORK_HOP_SECS;
            ring.bytes_per_sec = ring.bytes_per_sec.min(cards as f64 * network.bytes_per_sec);
        }
        Ok(ring)
    }
}

/// What a reduce-scatter or an all-gather costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ring {
    #[serde(skip)]
    ranks: u64,
    /// Seconds, whatever the size.
    pub latency_secs: f64,
    /// β, bytes a second; null of a single device.
    pub bytes_per_sec: f64,
}

impl Ring {
    /// Bytes that a rank sends of a tensor of `bytes`.
    pub(super) fn sent(&self, bytes: f64) -> f64 {
        (self.ranks - 1) as f64 / self.ranks as f64 * bytes
    }

    /// Seconds of a tensor of `bytes`.
    pub(super) fn secs(&self, bytes: f64) -> f64 {
        self.latency_secs + self.sent(bytes) / self.bytes_per_sec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(device: &str, ranks: u64, per_node: u64, network: &str) -> Result<Cluster> {
        let network = (!network.is_empty()).then(|| network.parse().unwrap());
        Cluster::new(device.parse().unwrap(), ranks, per_node, network)
    }

    #[test]
    fn a_network_is_bits_or_bytes_of_a_device_or_a_node() {
        let parse = |given: &str| given.parse::<Network>();
        assert_eq!(parse("400Gb").unwrap(), parse("50GB").unwrap());
        assert_eq!(parse("400Gb").unwrap().to_string(), "400 Gb/s a device");
        assert_eq!(parse("12.5GB/node").unwrap().to_string(), "100 Gb/s a node");
        for (given, expected) in [
            ("400", "no unit"),
            ("400gb", "no unit"),
            ("400Gb/s", "no unit"),
            ("Gb", "no number"),
            ("0Gb", "above zero"),
            ("nanGB", "above zero"),
            ("infGB", "write it as 400Gb"),
        ] {
            let error = parse(given).unwrap_err().to_string();
            assert!(error.contains(expected), "{given}: {error}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (found, expected) in [
            (
                cluster("h100x32", 64, 8, "400Gb"),
                "--world 64 is not the number of h100x32",
            ),
            (
                cluster("h100", 12, 8, "400Gb"),
                "--world 12 is no multiple of the 8",
            ),
            (cluster("h100", 16, 8, ""), "such as --net 400Gb"),
            (cluster("h100", 16, 0, "1GB"), "no multiple of the 0"),
        ] {
            let error = found.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = cluster("v5p", 8, 8, "").unwrap().ring().unwrap_err();
        assert!(error.to_string().contains("on v5p"), "{error}");
    }

    #[test]
    fn a_ring_is_as_fast_as_its_slowest_part() {
        let ring = |device, ranks, per_node, network| {
            let cluster = cluster(device, ranks, per_node, network).unwrap();
            let Ring {
                latency_secs,
                bytes_per_sec,
                ..
            } = cluster.ring().unwrap();
            ((latency_secs * 1e7).round() / 10.0, bytes_per_sec / 1e9)
        };
        // µs, GB/s
        assert_eq!(ring("h100", 1, 8, ""), (0.0, f64::INFINITY));
        assert_eq!(ring("h100", 8, 8, ""), (8.4 + 23.8, 370.8));
        // the cards carry 400, the links 370.8
        assert_eq!(ring("h100", 16, 8, "400Gb"), (8.4 + 47.6 + 14.0, 370.8));
        assert_eq!(ring("h100x64", 64, 8, "200Gb"), (8.4 + 190.4 + 98.0, 200.0));
        assert_eq!(ring("a100", 16, 8, "100Gb/node"), (70.0, 12.5));
        // no link is in the way, nor of use
        assert_eq!(ring("v5p", 4, 1, "100Gb"), (8.4 + 42.0, 12.5));
    }

    #[test]
    fn a_ring_sends_all_but_its_own_part() {
        let ring = cluster("h100", 4, 1, "8Gb").unwrap().ring().unwrap();
        assert_eq!(ring.sent(4e9), 3e9);
        assert!((ring.secs(4e9) - (3.0 + 8.4e-6 + 42e-6)).abs() < 1e-12);
    }
}
