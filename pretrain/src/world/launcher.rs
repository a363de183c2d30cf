//! Which launcher started this process, and as which of how many.

use crate::error::{Error, Result};

/// A launcher, and its variables for the number of processes. What they are to each other MPI itself says.
const LAUNCHERS: [(&str, &str); 4] = [
    ("mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE"),
    ("mpiexec with PMI", "PMI_SIZE"),
    ("mpirun of MVAPICH", "MV2_COMM_WORLD_SIZE"),
    ("srun", "SLURM_STEP_NUM_TASKS"),
];

/// Several processes, started together.
#[derive(Debug, PartialEq)]
pub(super) struct Launched {
    by: &'static str,
    pub size: usize,
}

impl Launched {
    /// By the environment; none if this process is alone.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        for (by, name) in LAUNCHERS {
            let Some(value) = variable(name) else {
                continue;
            };
            let size = value.parse();
            let size = size.map_err(|_| Error::World(format!("{name}={value} is no number")))?;
            if size > 1 {
                return Ok(Some(Self { by, size }));
            }
        }
        Ok(None)
    }

    /// The refusal of a program that was built without MPI.
    #[cfg_attr(feature = "mpi", allow(dead_code))]
    pub fn without_mpi(&self) -> Error {
        let Self { by, size } = self;
        Error::World(format!(
            "{by} started {size} processes, but this program was built to run alone, and each of them would train by \
             itself: build it with `--features mpi` (GPUs: `nccl`), or start one process"
        ))
    }

    /// The refusal of processes that do not find each other.
    #[cfg(feature = "mpi")]
    pub fn apart(&self, found: usize) -> Error {
        let Self { by, size } = self;
        Error::World(format!(
            "{by} started {size} processes, but MPI sees {found}: they were built with another MPI library than the \
             launcher's, or it does not speak to it (`srun --mpi=list` shows what srun can; try `srun --mpi=pmix`, or mpirun \
             inside the job)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(variables: &[(&str, &str)]) -> Result<Option<Launched>> {
        let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
        Launched::find(|name| variables.get(name).map(|value| value.to_string()))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        assert_eq!(find(&[]).unwrap(), None);
        // a batch script's own processes are alone, whatever the job was given
        assert_eq!(find(&[("SLURM_NTASKS", "4")]).unwrap(), None);
        assert_eq!(find(&[("OMPI_COMM_WORLD_SIZE", "1")]).unwrap(), None);
        let of = |variables| find(variables).unwrap().unwrap();
        assert_eq!(of(&[("SLURM_STEP_NUM_TASKS", "4")]).by, "srun");
        // mpirun starts its own processes below one srun step
        let both = of(&[("OMPI_COMM_WORLD_SIZE", "8"), ("SLURM_STEP_NUM_TASKS", "2")]);
        assert_eq!((both.by, both.size), ("mpirun of Open MPI", 8));
        let bad = find(&[("PMI_SIZE", "many")]).unwrap_err().to_string();
        assert_eq!(bad, "PMI_SIZE=many is no number");
    }

    #[test]
    fn a_program_without_mpi_says_what_to_do() {
        let launched = find(&[("PMI_SIZE", "2")]).unwrap().unwrap();
        let message = launched.without_mpi().to_string();
        assert!(
            message.contains("mpiexec with PMI started 2 processes"),
            "{message}"
        );
        assert!(message.contains("--features mpi"), "{message}");
    }
}
