//! A checkpoint to a folder that transformers loads and the hub shows.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use shards::VocabLayout;

use super::card::{Card, RunFacts};
use super::model_folder::{ModelFolder, write_json, write_model};
use super::new_folder::NewFolder;
use super::{GENERATION_FILE, LAYOUT_FILE, TOKENIZER_FILES, WEIGHTS};
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::generate::Sampling;
use crate::metrics::Record;
use crate::weights::{FloatType, WeightsError};

/// Name of the files of averaged weights, without their ending.
const AVERAGED: &str = "ema";
/// What a folder has that is a run's checkpoint.
const STATE_FILE: &str = "state.json";
/// The model card.
const CARD_FILE: &str = "README.md";

/// How to export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// Number format of the weights.
    pub dtype: FloatType,
    /// The moving average of the weights instead of the weights.
    pub averaged: bool,
}

/// What was exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Parameters, a tied head counted once.
    pub parameters: u64,
    /// Rows of the embedding matrix.
    pub rows: usize,
    /// Steps of the run so far; none if the folder is no checkpoint.
    pub step: Option<u64>,
}

/// Writes the model of the folder `checkpoint`, a step of a run or a model in Hugging Face's form, to the new folder `out`:
/// weights, configuration, tokenizer, defaults of generation and a model card.
///
/// # Errors
/// A folder that is damaged or of another model; averaged weights that are not there; an `out` with files; I/O errors.
pub fn export(checkpoint: &Path, out: &Path, options: &ExportOptions) -> Result<Exported> {
    let model = open(checkpoint, options.averaged)?;
    let facts = run_facts(checkpoint)?;
    let layout = read_layout(checkpoint)?;
    let folder = NewFolder::create(out)?;
    model.copy_files(&TOKENIZER_FILES, folder.path())?;
    match &layout {
        Some(layout) => write_generation_config(folder.path(), layout)?,
        // without the layout, its own file knows best
        None => {
            model.copy_files(&[GENERATION_FILE], folder.path())?;
        }
    }
    let tensors = model.tensors()?;
    write_model(
        folder.path(),
        &model.config,
        model.rows,
        tensors,
        options.dtype,
    )?;
    let card = Card {
        name: out.file_name().unwrap_or_default().to_string_lossy().into(),
        model: &model.config,
        rows: model.rows,
        layout: layout.as_ref(),
        averaged: options.averaged,
        run: facts.as_ref(),
    };
    let path = folder.path().join(CARD_FILE);
    fs::write(&path, card.to_string()).map_err(Error::io("write", &path))?;
    folder.publish()?;
    Ok(Exported {
        parameters: model.config.parameters(model.rows),
        rows: model.rows,
        step: facts.map(|facts| facts.state.step),
    })
}

/// transformers' defaults of generation: begin, end and padding by the vocabulary, and sampling as `generate` does it.
pub(super) fn write_generation_config(dir: &Path, layout: &VocabLayout) -> Result<()> {
    let sampling = Sampling::default();
    let json = json!({
        "bos_token_id": layout.bos,
        "eos_token_id": layout.eos,
        "pad_token_id": layout.eos,
        "do_sample": true,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        // transformers would otherwise draw from the 50 likeliest only
        "top_k": 0,
    });
    write_json(&dir.join(GENERATION_FILE), &json)
}

fn open(checkpoint: &Path, averaged: bool) -> Result<ModelFolder> {
    let stem = if averaged { AVERAGED } else { WEIGHTS };
    match ModelFolder::open(checkpoint, stem) {
        Err(Error::Weights(WeightsError::Missing { .. })) if averaged => {
            Err(Error::HuggingFace {
                path: checkpoint.into(),
                message: "there are no averaged weights (ema.safetensors), which a run keeps if its plan has `ema_decay`; \
                          leave --ema out to export the weights themselves"
                    .into(),
            })
        }
        opened => opened,
    }
}

fn read_layout(dir: &Path) -> Result<Option<VocabLayout>> {
    let path = dir.join(LAYOUT_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let layout = serde_json::from_slice(&bytes).map_err(|e| Error::HuggingFace {
        path,
        message: format!("not the layout of a vocabulary: {e}"),
    })?;
    Ok(Some(layout))
}

/// What the run of a checkpoint recorded; none if the folder is no checkpoint.
fn run_facts(checkpoint: &Path) -> Result<Option<RunFacts>> {
    if !checkpoint.join(STATE_FILE).is_file() {
        return Ok(None);
    }
    let state = Checkpoint::open(checkpoint)?.state;
    let (mut run, mut validation) = (None, None);
    if let Some(metrics) = metrics_of(checkpoint) {
        for record in Record::read_all(&metrics)? {
            match record {
                Record::Run(record) => run = Some(record),
                Record::Validation(record) if record.step <= state.step => {
                    validation = Some(record)
                }
                _ => {}
            }
        }
    }
    Ok(Some(RunFacts {
        state,
        run,
        validation,
    }))
}

/// `RUN/metrics.jsonl` of `RUN/checkpoints/step-N`, if the checkpoint still lies there.
fn metrics_of(checkpoint: &Path) -> Option<PathBuf> {
    let checkpoint = checkpoint.canonicalize().ok()?;
    let path = checkpoint.parent()?.parent()?.join("metrics.jsonl");
    path.is_file().then_some(path)
}
