//! Whether all ranks are the same program, told to do the same.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::World;
use crate::error::{Error, Result};

/// What must be the same on all ranks.
#[derive(Serialize, Deserialize)]
pub struct Identity {
    host: String,
    /// SHA-256 of the program.
    program: String,
    /// The run's configuration in TOML, with the hash of its data.
    config: String,
}

impl Identity {
    /// Of this process, with the configuration of a run.
    ///
    /// # Errors
    /// A program that cannot be read.
    pub fn of(config: String) -> Result<Self> {
        let program =
            std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
        let program = shards::sha256_file(&program).map_err(Error::io("read", &program))?;
        Ok(Self {
            host: sysinfo::System::host_name().unwrap_or_default(),
            program,
            config,
        })
    }

    /// Refuses ranks that differ from the first.
    ///
    /// # Errors
    /// [`Error::World`] with the ranks and what differs, the same on all of them.
    pub fn check(&self, world: &World) -> Result<()> {
        let mine = serde_json::to_vec(self).expect("plain data serialises");
        let all = world.gather(mine);
        let parsed = all.iter().map(|json| serde_json::from_slice(json).ok());
        let Some(all) = parsed.collect::<Option<Vec<Self>>>() else {
            return Err(Error::World(
                "the ranks are different programs: install the same one on all nodes".into(),
            ));
        };
        let differences: Vec<String> = (1..all.len())
            .filter_map(|rank| {
                Some(format!(
                    "rank {rank} ({}): {}",
                    all[rank].host,
                    all[rank].differs(&all[0])?
                ))
            })
            .collect();
        match differences.is_empty() {
            true => Ok(()),
            false => Err(Error::World(format!(
                "the ranks are to do different things. As against rank 0 ({}): {}",
                all[0].host,
                differences.join("; ")
            ))),
        }
    }

    fn differs(&self, first: &Self) -> Option<String> {
        if self.program != first.program {
            return Some("another program (install the same on all nodes)".into());
        }
        if self.config == first.config {
            return None;
        }
        let lines = self.config.lines().zip(first.config.lines());
        let other = lines.filter(|(mine, first)| mine != first);
        let other: Vec<String> = other
            .map(|(mine, first)| format!("`{}` instead of `{}`", mine.trim(), first.trim()))
            .collect();
        Some(other.join(", "))
    }
}
