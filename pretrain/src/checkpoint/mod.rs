//! Checkpoints: `step-N/{model.safetensors, optimizer.safetensors, ema.safetensors, config.json, state.json}` and the
//! tokenizer's files, complete or absent.
//!
//! Weights larger than 5 GB are split into shards with an index, in Hugging Face's form. `state.json` holds the hashes of
//! all other files. [`Snapshot`] writes a checkpoint, [`Writer`] does so while training goes on, [`Mirror`] keeps a copy
//! of the run elsewhere, and [`Checkpoint`] reads one.

mod mirror;
mod snapshot;
mod state;
mod writer;

pub use mirror::Mirror;
pub use snapshot::Snapshot;
pub use state::{STATE_FORMAT, State, plan_sha256};
pub use writer::{Writer, Written};

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use burn::tensor::backend::{AutodiffBackend, Backend};
use experiments::Plan;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::model::{Qwen3, load_params};
use crate::optim::{Ema, Optimizer, Spikes};
use crate::weights::Weights;
use crate::world::World;

const MODEL: &str = "model";
const OPTIMIZER: &str = "optimizer";
const EMA: &str = "ema";
/// Where a run stood, and the hashes of the other files.
pub(crate) const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// Files of the tokenizer's directory that make a checkpoint usable by itself.
const TOKENIZER: [&str; 3] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "audio_vocab.json",
];

/// A complete checkpoint's directory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    /// Where the run stood.
    pub state: State,
}

/// A checkpoint on a device.
pub struct Loaded<B: AutodiffBackend> {
    /// Steps finished.
    pub step: u64,
    /// Parameters.
    pub model: Qwen3<B>,
    /// The optimizer with its moments.
    pub optimizer: Optimizer<B>,
    /// Moving average of the parameters.
    pub ema: Option<Ema<B>>,
    /// What is known of spikes.
    pub spikes: Option<Spikes>,
}

/// The newest checkpoint that can be used, and those that were passed over.
#[derive(Debug, Default)]
pub struct Newest {
    /// None if there is no checkpoint at all.
    pub checkpoint: Option<Checkpoint>,
    /// What is wrong with newer ones, and where they were put aside.
    pub damaged: Vec<String>,
}

impl Checkpoint {
    /// The complete checkpoint with the most steps whose files have the hashes that it says. Damaged ones are put aside, as
    /// `damaged-step-N`; unfinished ones are removed.
    ///
    /// # Errors
    /// An unreadable folder, and a folder in which every checkpoint is damaged.
    pub fn newest(folder: &Path) -> Result<Newest> {
        let mut newest = Newest::default();
        for step in steps(folder)?.into_iter().rev() {
            let dir = folder.join(format!("step-{step}"));
            match Self::open(&dir).and_then(|checkpoint| checkpoint.verified()) {
                Ok(checkpoint) => {
                    newest.checkpoint = Some(checkpoint);
                    return Ok(newest);
                }
                Err(error) => {
                    let aside = folder.join(format!("damaged-step-{step}"));
                    remove_dir(&aside)?;
                    fs::rename(&dir, &aside).map_err(Error::io("rename", &dir))?;
                    let aside = aside.display();
                    newest.damaged.push(format!("{error}; it is now {aside}"));
                }
            }
        }
        match newest.damaged.is_empty() {
            true => Ok(newest),
            false => Err(Error::AllDamaged {
                folder: folder.into(),
                reasons: newest.damaged.join("; "),
            }),
        }
    }

    /// Opens a checkpoint's directory.
    ///
    /// # Errors
    /// A missing or unreadable `state.json`, or one of another format.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE);
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let bad = |message: String| Error::Checkpoint {
            dir: dir.into(),
            message,
        };
        let format = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|state| state.get("format")?.as_u64());
        if let Some(format) = format
            && format != u64::from(STATE_FORMAT)
        {
            return Err(bad(format!(
                "format {format} is not {STATE_FORMAT}, which this version reads"
            )));
        }
        let state = serde_json::from_slice(&text)
            .map_err(|e| bad(format!("{STATE} is not readable: {e}")))?;
        Ok(Self {
            dir: dir.into(),
            state,
        })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Itself, after the hashes of all its files were compared.
    ///
    /// # Errors
    /// A file that is missing or has another hash.
    pub fn verified(self) -> Result<Self> {
        let check = |(name, hash): (&String, &String)| {
            let path = self.dir.join(name);
            let found = shards::sha256_file(&path).map_err(Error::io("read", &path))?;
            match found == *hash {
                true => Ok(()),
                false => Err(self.bad(format!(
                    "{name} is damaged: its SHA-256 is {found}, not that of {STATE}"
                ))),
            }
        };
        self.state.files.par_iter().try_for_each(check)?;
        Ok(self)
    }

    /// The model with the checkpoint's weights.
    ///
    /// # Errors
    /// Missing, damaged or misshapen tensors.
    pub fn load_model<B: Backend>(&self, device: &B::Device) -> Result<Qwen3<B>> {
        let plan = &self.state.plan;
        let model = Qwen3::zeros(&plan.model, self.state.vocab_size, device);
        let model = match &plan.lora {
            Some(lora) => model.with_lora(lora, None, device),
            None => model,
        };
        load_params(model, self.tensors(MODEL)?).map_err(|e| self.bad(format!("{MODEL}: {e}")))
    }

    /// Everything, to go on with it by `plan`, which may differ in what does not change the tensors; of the optimizer's state,
    /// what this process holds.
    ///
    /// # Errors
    /// Missing, damaged or misshapen tensors.
    pub fn load<B: AutodiffBackend>(
        &self,
        plan: &Plan,
        world: &World,
        device: &B::Device,
    ) -> Result<Loaded<B>> {
        let model = self.load_model::<B>(device)?;
        let mut optimizer = Optimizer::among(plan.optimizer.clone(), &model, world);
        optimizer
            .load(self.state.updates, self.tensors(OPTIMIZER)?, device)
            .map_err(|e| self.bad(format!("{OPTIMIZER}: {e}")))?;
        let mut ema = plan.ema_decay.map(|decay| Ema::new(decay, &model));
        // without averages in the checkpoint, they begin at its weights
        if let Some(ema) = &mut ema
            && self.state.plan.ema_decay.is_some()
        {
            ema.load(self.tensors(EMA)?)
                .map_err(|e| self.bad(format!("{EMA}: {e}")))?;
        }
        let mut spikes = plan.skip_step.clone().map(Spikes::new);
        if let (Some(spikes), Some(known)) = (&mut spikes, &self.state.spikes) {
            spikes.take_over(known);
        }
        Ok(Loaded {
            step: self.state.step,
            model,
            optimizer,
            ema,
            spikes,
        })
    }

    fn bad(&self, message: String) -> Error {
        Error::Checkpoint {
            dir: self.dir.clone(),
            message,
        }
    }

    fn tensors(&self, stem: &str) -> Result<BTreeMap<String, TensorData>> {
        let weights = Weights::open(&self.dir, stem)?;
        let tensor = |name: &str| Ok((name.to_owned(), weights.tensor(name)?));
        weights.names().map(tensor).collect()
    }
}

/// Steps of the complete checkpoints in a folder, in order; unfinished ones are removed.
fn steps(folder: &Path) -> Result<Vec<u64>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("read", folder)(e)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(".step-") {
            remove_dir(&entry.path())?;
        }
        steps.extend(step_of(&name));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// N of `step-N`.
fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix("step-")?.parse().ok()
}

/// Removes a directory that may not be there.
fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(e)),
        _ => Ok(()),
    }
}
