//! What is known of devices: how fast they compute, read their memory, and reach the others of their node.

/// A device by its maker's data sheet.
#[derive(Debug)]
pub(crate) struct Device {
    pub name: &'static str,
    /// Peak in bf16 without sparsity, sums in f32, FLOP/s.
    pub peak_flops: f64,
    /// Of its memory, bytes a second.
    pub memory_bytes_per_sec: f64,
    /// To the other devices of a node; none where devices are not in nodes.
    pub link: Option<Link>,
}

/// A device's connection to the others of its node, as NCCL's model of collectives has it (as of 2025: bandwidths of
/// `src/graph/topo.h` and `topo.cc`, which are a fifth below the data sheets', latencies of `src/graph/tuning.cc`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// In one direction, all lanes together, bytes a second.
    pub bytes_per_sec: f64,
    /// Seconds that a hop of a ring takes whatever its size.
    pub hop_secs: f64,
}

const fn nvlink(links: u32, gb_per_sec: f64) -> Option<Link> {
    Some(Link {
        bytes_per_sec: links as f64 * gb_per_sec * 1e9,
        hop_secs: 3.4e-6,
    })
}

/// 16 lanes.
const fn pcie(gb_per_sec: f64) -> Option<Link> {
    Some(Link {
        bytes_per_sec: gb_per_sec * 1e9,
        hop_secs: 5.7e-6,
    })
}

const fn device(name: &'static str, tflops: f64, memory: f64, link: Option<Link>) -> Device {
    Device {
        name,
        peak_flops: tflops * 1e12,
        memory_bytes_per_sec: memory * 1e9,
        link,
    }
}

/// Name, peak in TFLOP/s, memory in GB/s, link.
pub(crate) const DEVICES: [Device; 11] = [
    device("a100", 312.0, 2039.0, nvlink(12, 20.0)), // SXM, 80 GB
    device("h100", 989.4, 3350.0, nvlink(18, 20.6)), // SXM
    device("h100-pcie", 756.0, 2039.0, pcie(48.0)),  // fewer cores, at lower clocks; generation 5
    device("h200", 989.4, 4800.0, nvlink(18, 20.6)), // an H100 with more memory
    device("b200", 2250.0, 8000.0, nvlink(18, 40.1)), // in an HGX
    device("l40s", 362.05, 864.0, pcie(24.0)),       // generation 4
    device("rtx4090", 165.2, 1008.0, pcie(24.0)),    // generation 4
    device("mi300x", 1307.4, 5300.0, nvlink(7, 48.0)), // Infinity Fabric, by RCCL's topo.h
    device("v4", 275.0, 1228.0, None),               // TPU, a chip
    device("v5e", 197.0, 819.0, None),               // TPU, a chip
    device("v5p", 459.0, 2765.0, None),              // TPU, a chip; the recipe's runs
];

impl Device {
    /// The device of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        const { &DEVICES }.iter().find(|device| device.name == name)
    }
}
