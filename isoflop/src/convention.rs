//! What a budget counts. The recipe's code, papers, and rules of thumb count the same run differently.

use std::fmt;

use clap::ValueEnum;
use experiments::flops::Flops;
use serde::{Deserialize, Serialize};

/// Which floating-point operations of a run a budget counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
pub enum Convention {
    /// Those of all forward passes, as the recipe's code has it.
    #[default]
    #[serde(rename = "forward")]
    Forward,
    /// Those of forward and backward passes, three times as many, as the paper quotes them.
    #[serde(rename = "training")]
    Training,
    /// 6 · parameters · tokens, both embeddings counted (Kaplan et al., arXiv 2001.08361).
    #[serde(rename = "6nd")]
    #[value(name = "6nd")]
    SixNd,
}

impl Convention {
    /// The count of a run, or of a token of it, that a budget is compared with.
    pub fn count(self, flops: &Flops) -> f64 {
        match self {
            Self::Forward => flops.forward,
            Self::Training => flops.training,
            Self::SixNd => flops.six_nd,
        }
    }

    /// About how many of these a forward FLOP stands for: 6ND leaves out attention, and counts an embedding that is only
    /// looked up.
    pub fn per_forward_flop(self) -> f64 {
        match self {
            Self::Forward => 1.0,
            Self::Training | Self::SixNd => 3.0,
        }
    }
}

impl fmt::Display for Convention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forward => "forward FLOPs",
            Self::Training => "training FLOPs",
            Self::SixNd => "6ND FLOPs",
        })
    }
}
