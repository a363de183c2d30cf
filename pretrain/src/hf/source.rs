//! Where a model is: in a folder, or in a repository of the hub.

use std::path::{Path, PathBuf};

use encodec_rs::hub::{Hub, repository};

use super::{CONFIG_FILE, GENERATION_FILE, TOKENIZER_FILES, WEIGHTS};
use crate::error::{Error, Result};
use crate::weights::{index_name, weight_files};

/// The branch that is meant if none is named.
const MAIN: &str = "main";

/// The folder of a model: `source` itself, or that of a repository `OWNER/NAME` or `OWNER/NAME@REVISION` of the Hugging Face
/// hub in its cache, into which is downloaded what is not there. It has the files `needed`, besides configuration and weights.
///
/// # Errors
/// Neither a folder nor the name of a repository, and downloads that fail.
pub fn resolve(source: &str, needed: &[&str]) -> Result<PathBuf> {
    let path = Path::new(source);
    if path.is_dir() {
        return Ok(path.into());
    }
    let (name, revision) = source.split_once('@').unwrap_or((source, MAIN));
    let repo = repository(name).filter(|repo| *repo == name);
    let repo = repo.ok_or_else(|| Error::HuggingFace {
        path: path.into(),
        message: "there is no such folder; give a folder that exists, or a repository of the Hugging Face hub as OWNER/NAME \
                  or OWNER/NAME@REVISION"
            .into(),
    })?;
    let hub = Hub::from_env();
    let index = index_name(WEIGHTS);
    let optional: Vec<&str> = [index.as_str(), GENERATION_FILE]
        .into_iter()
        .chain(TOKENIZER_FILES)
        .collect();
    let needed: Vec<&str> = [CONFIG_FILE].iter().chain(needed).copied().collect();
    let folder = hub.files(repo, revision, &needed, &optional)?;
    // which are the weights' files, the index says
    let weights = weight_files(&folder, WEIGHTS)?;
    let weights: Vec<&str> = weights.iter().map(String::as_str).collect();
    let commit = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(hub.files(repo, &commit, &weights, &[])?)
}
