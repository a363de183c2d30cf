//! Checkpoints: `checkpoints/step-N/{model.safetensors, optimizer.safetensors, config.json, state.json}`
//! and the tokenizer's files, complete or absent.
//!
//! A checkpoint is written under another name, synced, and renamed, so a run can be killed at any
//! instant. `state.json` holds the hashes of the tensor files.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, TensorData};
use experiments::{ModelConfig, Plan};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use shards::CodecInfo;

use crate::error::{Error, Result};
use crate::model::{NamedTensor, Qwen3, load_params, named_params};
use crate::optim::AdamW;

const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// Files of the tokenizer's directory that make a checkpoint usable by itself.
const TOKENIZER: [&str; 3] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "audio_vocab.json",
];

/// Where a run stood: with the weights and moments, all that is needed to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Format of this file.
    pub format: u32,
    /// Optimizer steps finished.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Number of the next training sequence.
    pub next_sequence: u64,
    /// Hash of the data, as the loader gives it.
    pub data_sha256: String,
    /// Codec of the audio tokens; none for text alone.
    pub codec: Option<CodecInfo>,
    /// Codebooks of each frame that the model was trained on.
    pub codebooks: usize,
    /// The plan of the run.
    pub plan: Plan,
    /// SHA-256 of the tensor files.
    pub files: BTreeMap<String, String>,
}

/// Version of [`State`] that this program writes and reads.
pub const STATE_FORMAT: u32 = 1;

/// What a checkpoint is made of, besides its state.
pub struct Parts<'a, B: AutodiffBackend> {
    /// The model.
    pub model: &'a Qwen3<B>,
    /// Its optimizer.
    pub optimizer: &'a AdamW<B>,
    /// The dataset's tokenizer directory, copied.
    pub tokenizer_dir: &'a Path,
    /// Rows of the vocabulary.
    pub vocab_size: usize,
}

/// A complete checkpoint's directory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    /// Where the run stood.
    pub state: State,
}

impl Checkpoint {
    /// Writes `checkpoints/step-N`, replacing one that is there already.
    ///
    /// # Errors
    /// [`Error::Io`]: nothing is left under the final name then.
    pub fn write<B: AutodiffBackend>(
        checkpoints: &Path,
        parts: &Parts<B>,
        mut state: State,
    ) -> Result<PathBuf> {
        let dir = checkpoints.join(format!("step-{}", state.step));
        let partial = checkpoints.join(format!(".step-{}.partial", state.step));
        let io = |path: &Path| Error::io("write", path);
        remove_dir(&partial)?;
        fs::create_dir_all(&partial).map_err(io(&partial))?;
        write_tensors(&partial.join(MODEL), &named_params(parts.model))?;
        write_tensors(&partial.join(OPTIMIZER), &parts.optimizer.state())?;
        for name in [MODEL, OPTIMIZER] {
            let path = partial.join(name);
            state
                .files
                .insert(name.into(), shards::sha256_file(&path).map_err(io(&path))?);
        }
        for name in TOKENIZER {
            let to = partial.join(name);
            fs::copy(parts.tokenizer_dir.join(name), &to).map_err(io(&to))?;
        }
        write_json(
            &partial.join(CONFIG),
            &hf_config(&state.plan, parts.vocab_size),
        )?;
        write_json(&partial.join(STATE), &state)?;
        for entry in fs::read_dir(&partial).map_err(io(&partial))? {
            let path = entry.map_err(io(&partial))?.path();
            sync(&path)?;
        }
        sync(&partial)?;
        remove_dir(&dir)?;
        fs::rename(&partial, &dir).map_err(io(&dir))?;
        sync(checkpoints)?;
        Ok(dir)
    }

    /// The complete checkpoint with the most steps, if there is any; unfinished ones are removed.
    ///
    /// # Errors
    /// An unreadable directory or checkpoint.
    pub fn newest(checkpoints: &Path) -> Result<Option<Self>> {
        let entries = match fs::read_dir(checkpoints) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("read", checkpoints)(e)),
        };
        let mut newest = None;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", checkpoints))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(".step-") {
                remove_dir(&entry.path())?;
            }
            if let Some(step) = name
                .strip_prefix("step-")
                .and_then(|step| step.parse::<u64>().ok())
            {
                newest = newest.max(Some((step, entry.path())));
            }
        }
        newest.map(|(_, dir)| Self::open(&dir)).transpose()
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
        let state: State = serde_json::from_slice(&text)
            .map_err(|e| bad(format!("{STATE} is not readable: {e}")))?;
        match state.format == STATE_FORMAT {
            true => Ok(Self {
                dir: dir.into(),
                state,
            }),
            false => Err(bad(format!(
                "format {} is not {STATE_FORMAT}, which this version reads",
                state.format
            ))),
        }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The model with the checkpoint's weights, after their hash was verified.
    ///
    /// # Errors
    /// Missing, damaged or misshapen tensors.
    pub fn load_model<B: Backend>(
        &self,
        vocab_size: usize,
        device: &B::Device,
    ) -> Result<Qwen3<B>> {
        let plan = &self.state.plan;
        let model = Qwen3::new(&plan.model, vocab_size, plan.seed, device);
        let tensors = self.tensors(MODEL)?;
        load_params(model, tensors).map_err(|e| self.bad(format!("{MODEL}: {e}")))
    }

    /// The optimizer with the checkpoint's moments.
    ///
    /// # Errors
    /// Missing or damaged tensors.
    pub fn load_optimizer<B: AutodiffBackend>(&self, device: &B::Device) -> Result<AdamW<B>> {
        let mut optimizer = AdamW::new(self.state.plan.optimizer.clone());
        let tensors = self.tensors(OPTIMIZER)?;
        optimizer
            .load(self.state.step, tensors, device)
            .map_err(|e| self.bad(format!("{OPTIMIZER}: {e}")))?;
        Ok(optimizer)
    }

    fn bad(&self, message: String) -> Error {
        Error::Checkpoint {
            dir: self.dir.clone(),
            message,
        }
    }

    fn tensors(&self, name: &str) -> Result<BTreeMap<String, TensorData>> {
        let path = self.dir.join(name);
        let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
        let found = shards::sha256_hex(&bytes);
        if self.state.files.get(name) != Some(&found) {
            return Err(self.bad(format!(
                "{name} is damaged: its SHA-256 is {found}, not that of {STATE}"
            )));
        }
        read_tensors(&bytes).map_err(|message| self.bad(format!("{name}: {message}")))
    }
}

/// f32 tensors of a safetensors file, by name.
pub fn read_tensors(bytes: &[u8]) -> std::result::Result<BTreeMap<String, TensorData>, String> {
    let file =
        SafeTensors::deserialize(bytes).map_err(|e| format!("not a safetensors file: {e}"))?;
    let tensor = |(name, view): (String, TensorView)| {
        if view.dtype() != Dtype::F32 {
            return Err(format!("tensor `{name}` is {:?}, not F32", view.dtype()));
        }
        let values: Vec<f32> = view
            .data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        Ok((name, TensorData::new(values, view.shape().to_vec())))
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn write_tensors(path: &Path, tensors: &[NamedTensor]) -> Result<()> {
    let f32_only = tensors.iter().all(|tensor| tensor.data.dtype == DType::F32);
    assert!(f32_only, "parameters and moments are kept in f32");
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(
            Dtype::F32,
            tensor.data.shape.to_vec(),
            tensor.data.as_bytes(),
        );
        (
            tensor.name.as_str(),
            view.expect("the bytes of a tensor are those of its shape"),
        )
    });
    let metadata = Some([("format".to_string(), "pt".to_string())].into());
    safetensors::serialize_to_file(views, metadata, path)
        .map_err(|e| Error::io("write", path)(std::io::Error::other(e)))
}

/// transformers' configuration of the model.
fn hf_config(plan: &Plan, vocab_size: usize) -> serde_json::Value {
    let ModelConfig { rope, .. } = &plan.model;
    let rope_parameters = match &rope.scaling {
        Some(scaling) => serde_json::json!({
            "rope_type": "llama3",
            "rope_theta": rope.theta,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings,
        }),
        None => serde_json::json!({ "rope_type": "default", "rope_theta": rope.theta }),
    };
    let model = &plan.model;
    serde_json::json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "rms_norm_eps": model.rms_norm_eps,
        "initializer_range": model.initializer_range,
        "tie_word_embeddings": model.tie_word_embeddings,
        "max_position_embeddings": model.max_position_embeddings,
        "rope_theta": rope.theta,
        "rope_scaling": rope_parameters,
        "torch_dtype": "float32",
    })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("plain data serialises") + "\n";
    fs::write(path, text).map_err(Error::io("write", path))
}

/// Removes a directory that may not be there.
fn remove_dir(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", dir)(e)),
        _ => Ok(()),
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Error::io("sync", path))
}
