//! Fine-tuning: the weights of a checkpoint or a published model, trained on the responses to instructions.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use experiments::{ModelConfig, Plan};
use mixes::Mixture;
use shards::CodecInfo;

use crate::checkpoint::{Checkpoint, STATE};
use crate::error::{Error, Result};
use crate::hf;
use crate::train::open_loader;

/// Shares of the documents that are held out for validation: the first under which there is one.
const VALIDATION: [f64; 4] = [0.05, 0.1, 0.2, 0.4];
/// Endings of files of instructions.
const ENDINGS: [&str; 3] = [".jsonl", ".jsonl.gz", ".jsonl.zst"];

/// What is fine-tuned: a checkpoint of a run, or a folder in Hugging Face's form.
pub struct Origin {
    /// The folder.
    pub folder: PathBuf,
    /// The model's shape.
    pub model: ModelConfig,
    /// Of a checkpoint.
    checkpoint: Option<Checkpoint>,
}

impl Origin {
    /// Opens a folder.
    ///
    /// # Errors
    /// What is neither.
    pub fn open(folder: &Path) -> Result<Self> {
        let (model, _) = hf::folder_config(folder)?;
        let checkpoint = match folder.join(STATE).is_file() {
            true => Some(Checkpoint::open(folder)?),
            false => None,
        };
        Ok(Self {
            folder: folder.into(),
            model,
            checkpoint,
        })
    }

    /// The plan of its run, without the Muon that it may have been trained with, whose rate is none for fine-tuning; none of a
    /// published model.
    pub fn plan(&self) -> Option<Plan> {
        let mut plan = self.checkpoint.as_ref()?.state.plan.clone();
        plan.optimizer.muon = None;
        Some(plan)
    }

    /// The name of its run, or of its folder.
    pub fn name(&self) -> String {
        let folder = self.folder.file_name().unwrap_or_default();
        let name = self.plan().map(|plan| plan.name);
        name.unwrap_or_else(|| folder.to_string_lossy().into())
    }

    /// The codec of its audio tokens, if it is known.
    fn codec(&self) -> Option<&CodecInfo> {
        self.checkpoint.as_ref()?.state.codec.as_ref()
    }
}

/// Whether a location of data is a file of instructions.
pub fn is_instructions(data: &str) -> bool {
    ENDINGS.iter().any(|ending| data.ends_with(ending))
}

/// Name of the dataset that is made of a file of instructions.
pub fn dataset_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let stem = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending));
    stem.unwrap_or(&name).to_owned()
}

/// Tokenizes a file of instructions into a dataset below `data`, with the tokenizer and the codec of `origin`, or another
/// `codec`. This is what `tokenize instructions` does; a dataset that is there is not made again.
///
/// # Errors
/// If there is no program `tokenize`, or it fails, having said why.
pub fn tokenize(file: &Path, origin: &Origin, codec: Option<&str>, data: &Path) -> Result<()> {
    let program = tokenizer_program();
    let mut command = Command::new(&program);
    command.arg("instructions").arg(file);
    command.arg("--name").arg(dataset_name(file));
    command.arg("--tokenizer").arg(&origin.folder);
    command.arg("--out").arg(data);
    let known = origin.codec();
    if let Some(codec) = codec.or(known.map(|known| known.name.as_str())) {
        command.arg("--codec").arg(codec);
    }
    if let Some(known) = known {
        command.arg("--codebooks").arg(known.codebooks.to_string());
    }
    // what it prints is not this program's result
    command.stdout(std::io::stderr());
    let status = command.status().map_err(|error| {
        Error::Instructions(format!(
            "{} cannot be started: {error}; it makes tokens of {}, and belongs beside this program or on PATH",
            program.display(),
            file.display()
        ))
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(Error::Instructions(format!(
            "{} could not be tokenized, as said above",
            file.display()
        ))),
    }
}

/// `tokenize`, beside this program if it is there.
fn tokenizer_program() -> PathBuf {
    let name = format!("tokenize{}", env::consts::EXE_SUFFIX);
    let beside = env::current_exe()
        .ok()
        .and_then(|exe| Some(exe.parent()?.join(&name)));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| name.into())
}

/// The mixture, as TOML, of one dataset of instructions: whole documents, whose responses are trained.
fn mixture(name: &str, validation_fraction: f64) -> String {
    let name = toml::Value::from(name);
    format!(
        "name = {name}\nvalidation_fraction = {validation_fraction:?}\npacking = \"best-fit\"\n\
         components = [{{ source = {name}, view = \"sft\", weight = 1 }}]\n"
    )
}

/// The mixture of a dataset below `data`, with the smallest of some shares held out under which there is a document for
/// validation. `plan` says how long sequences are.
///
/// # Errors
/// Data that cannot be opened, or of which no document fits into a sequence.
pub fn mixture_of(name: &str, data: &str, plan: &Plan) -> Result<String> {
    let mut last = 0.0;
    for fraction in VALIDATION {
        let mix = mixture(name, fraction);
        let plan = Plan {
            mix: mix.clone(),
            ..plan.clone()
        };
        let components = open_loader(&plan, data)?.summary().components;
        if components.iter().any(|c| c.validation_documents > 0) {
            return Ok(mix);
        }
        last = fraction;
    }
    Err(Error::NoValidation { fraction: last })
}

/// Tokens of an epoch over the data of a plan, padding included.
///
/// # Errors
/// Data that cannot be opened.
pub fn epoch_tokens(plan: &Plan, data: &str) -> Result<u64> {
    let components = open_loader(plan, data)?.summary().components;
    let sequences = components.iter().map(|c| c.sequences_per_epoch);
    Ok(sequences.sum::<u64>() * plan.seq_len as u64)
}

/// Documents that fit into no sequence and are left out, as a sentence a component; a mixture that cuts documents has none.
///
/// # Errors
/// Data that cannot be opened.
pub fn left_out(plan: &Plan, data: &str) -> Result<Vec<String>> {
    if Mixture::open(&plan.mix)?.packing != mixes::Packing::BestFit {
        return Ok(Vec::new());
    }
    let report = mixes::report::Report::new(&*open_loader(plan, data)?, 0..1)?;
    let data = report
        .components
        .into_iter()
        .filter_map(|component| component.data);
    let long = data.filter(|data| data.truncation.long_renderings > 0).map(|data| {
        format!(
            "{} of {} documents of {} are longer than {} tokens and are left out; --set seq_len=N makes sequences longer",
            data.truncation.long_renderings,
            data.truncation.renderings,
            data.counts.name,
            plan.seq_len
        )
    });
    Ok(long.collect())
}
