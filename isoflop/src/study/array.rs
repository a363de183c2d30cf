//! The runs of a study as an array job of Slurm, a task for each.

use std::path::{Path, PathBuf, absolute};

use pretrain::slurm::{absolute_location, write_array};

use super::{How, Study};
use crate::{Error, Result};

impl Study {
    /// Writes `isoflop.sbatch` into the study's folder, in which task `i` is run `i` of the index; returns its path.
    /// `pretrain` is the trainer's program.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_array(&self, pretrain: &Path, how: &How) -> Result<PathBuf> {
        let dir = absolute(&self.dir).map_err(Error::io("find", &self.dir))?;
        let data = absolute_location(&how.data)?;
        let command = |plan: &Path, run: &Path| {
            let words = [
                pretrain.display().to_string(),
                dir.join(plan).display().to_string(),
                "--data".into(),
                data.clone(),
                "--out".into(),
                dir.join(run).display().to_string(),
                "--backend".into(),
                how.backend.to_string(),
                "--resume".into(),
            ];
            words.to_vec()
        };
        let runs = self.index.runs.iter();
        let commands: Vec<_> = runs.map(|run| command(&run.plan, &run.run)).collect();
        Ok(write_array(&self.dir, "isoflop", &commands)?)
    }
}
