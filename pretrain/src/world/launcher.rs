//! Which launcher started this process, and as which of how many.

use crate::error::{Error, Result};

/// A launcher, and its variables for the number of processes and for a process's number on its machine.
const LAUNCHERS: [(&str, [&str; 2]); 4] = [
    (
        "mpirun of Open MPI",
        ["OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"],
    ),
    ("mpiexec with PMI", ["PMI_SIZE", "MPI_LOCALRANKID"]),
    (
        "mpirun of MVAPICH",
        ["MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_LOCAL_RANK"],
    ),
    ("srun", ["SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"]),
];
/// GPUs that a process may see.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// Several processes, started together.
#[derive(Debug, PartialEq)]
pub(super) struct Launched {
    by: &'static str,
    pub size: usize,
    /// Number of this process on its machine, if the launcher says it.
    local: Option<usize>,
}

impl Launched {
    /// By the environment; none if this process is alone.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let number = |name: &str| match variable(name) {
            None => Ok(None),
            Some(value) => match value.parse::<usize>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Error::World(format!("{name}={value} is no number"))),
            },
        };
        for (by, [size, local]) in LAUNCHERS {
            if let Some(size) = number(size)?.filter(|size| *size > 1) {
                let local = number(local)?;
                return Ok(Some(Self { by, size, local }));
            }
        }
        Ok(None)
    }

    /// Leaves this process one GPU of its machine to see. To be called before there are other threads.
    ///
    /// # Errors
    /// More processes than GPUs that they may see.
    #[cfg(feature = "mpi")]
    pub fn choose_gpu(&self) -> Result<()> {
        let visible = std::env::var(VISIBLE).ok();
        if let Some(mine) = self.gpu(visible.as_deref())? {
            // SAFETY: nothing else runs yet that could read the environment.
            unsafe { std::env::set_var(VISIBLE, mine) };
        }
        Ok(())
    }

    /// What this process is to see of what all see; none if that is one GPU already, or nobody says which.
    #[cfg_attr(not(feature = "mpi"), allow(dead_code))]
    fn gpu(&self, visible: Option<&str>) -> Result<Option<String>> {
        let Some(local) = self.local else {
            return Ok(None);
        };
        let Some(visible) = visible else {
            return Ok(Some(local.to_string()));
        };
        let all: Vec<&str> = visible.split(',').collect();
        match (all.len(), all.get(local)) {
            // of its own, by the launcher
            (1, _) => Ok(None),
            (_, Some(mine)) => Ok(Some(mine.to_string())),
            (count, None) => Err(Error::World(format!(
                "this is process {} of its machine, but {VISIBLE}={visible} has {count} GPUs: start as many processes",
                local + 1
            ))),
        }
    }

    /// The refusal of a program that was built without MPI.
    #[cfg_attr(feature = "mpi", allow(dead_code))]
    pub fn without_mpi(&self) -> Error {
        let Self { by, size, .. } = self;
        Error::World(format!(
            "{by} started {size} processes, but this program was built to run alone, and each of them would train by \
             itself: build it with `--features mpi` (GPUs: `nccl`), or start one process"
        ))
    }

    /// The refusal of a program that is one process.
    pub fn too_many(&self, program: &str) -> Error {
        let Self { by, size, .. } = self;
        Error::World(format!(
            "{by} started {size} processes of {program}, which is one: start one (`--slurm` has others do its work)"
        ))
    }

    /// The refusal of processes that do not find each other.
    #[cfg(feature = "mpi")]
    pub fn apart(&self, found: usize) -> Error {
        let Self { by, size, .. } = self;
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
        assert_eq!(
            of(&[("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_LOCALID", "3")]).local,
            Some(3)
        );
        let bad = find(&[("PMI_SIZE", "many")]).unwrap_err().to_string();
        assert_eq!(bad, "PMI_SIZE=many is no number");
    }

    #[test]
    fn each_process_of_a_machine_sees_one_gpu() {
        let launched = |local| Launched {
            by: "srun",
            size: 16,
            local,
        };
        let gpu = |local, visible| launched(local).gpu(visible);
        assert_eq!(gpu(Some(3), None).unwrap().unwrap(), "3");
        assert_eq!(gpu(Some(1), Some("4,6")).unwrap().unwrap(), "6");
        // what srun leaves with --gpus-per-task
        assert_eq!(gpu(Some(3), Some("0")).unwrap(), None);
        assert_eq!(gpu(None, Some("0,1")).unwrap(), None);
        let error = gpu(Some(2), Some("4,6")).unwrap_err().to_string();
        assert!(
            error.contains("process 3") && error.contains("2 GPUs"),
            "{error}"
        );
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
        let message = launched.too_many("isoflop").to_string();
        assert!(
            message.contains("2 processes of isoflop, which is one"),
            "{message}"
        );
    }
}
