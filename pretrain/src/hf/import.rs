//! A Qwen3 of transformers to a folder of ours.

use std::path::Path;

use super::model_folder::{ModelFolder, write_model};
use super::new_folder::NewFolder;
use super::{GENERATION_FILE, TOKENIZER_FILES, WEIGHTS};
use crate::error::Result;
use crate::weights::FloatType;

/// What was imported.
#[derive(Clone, Debug)]
pub struct Imported {
    /// Parameters, a tied head counted once.
    pub parameters: u64,
    /// Rows of the embedding matrix, of which some may stand for no token.
    pub rows: usize,
    /// Whether the head is the embedding matrix.
    pub tied: bool,
    /// Files of the tokenizer and of generation, copied.
    pub copied: Vec<String>,
}

/// Writes the model of the folder `source` as f32 to the new folder `out`, with the files of its tokenizer.
///
/// No more than one tensor is held in memory.
///
/// # Errors
/// A source that is no Qwen3 or is damaged, an `out` with files, and I/O errors.
pub fn import(source: &Path, out: &Path) -> Result<Imported> {
    let model = ModelFolder::open(source, WEIGHTS)?;
    let folder = NewFolder::create(out)?;
    let files: Vec<&str> = TOKENIZER_FILES
        .into_iter()
        .chain([GENERATION_FILE])
        .collect();
    let copied = model.copy_files(&files, folder.path())?;
    let tensors = model.tensors()?;
    write_model(
        folder.path(),
        &model.config,
        model.rows,
        tensors,
        FloatType::F32,
    )?;
    folder.publish()?;
    Ok(Imported {
        parameters: model.config.parameters(model.rows),
        rows: model.rows,
        tied: model.config.tie_word_embeddings,
        copied,
    })
}
