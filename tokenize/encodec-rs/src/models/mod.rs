//! Checkpoints of the Hugging Face `transformers` format, a folder of `config.json` and `model.safetensors`, as [`Model`]s.

mod dac;
mod encodec;
mod mimi;
mod seanet;

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::network::Model;
use crate::weights::Weights;
use crate::{Error, Result};

/// File of the architecture.
pub const CONFIG_FILE: &str = "config.json";
/// File of the weights.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Codebooks used where neither the caller nor the model says otherwise: those of the recipe.
const DEFAULT_CODEBOOKS: usize = 8;

/// Sizes beyond are damage, and would overflow what is computed from them.
const LIMIT: usize = 1 << 20;
/// Strides of an encoder, likewise.
const MAX_RATIOS: usize = 16;

/// Reads the codec in `folder`, which will carry `name`, with its first `codebooks` codebooks (8, or all if it has fewer).
pub fn load(folder: &Path, name: &str, codebooks: Option<usize>) -> Result<Model> {
    let config = Config::read(&folder.join(CONFIG_FILE))?;
    let read = config.architecture()?;
    let source = Source {
        name,
        weights: Weights::open(&folder.join(WEIGHTS_FILE))?,
        codebooks,
    };
    read(&config, &source)
}

/// Checks that `config`, a `config.json`, is one of a codec known here: before its weights are downloaded.
pub(crate) fn check_architecture(config: &Path) -> Result<()> {
    Config::read(config)?.architecture().map(|_| ())
}

/// Reads a model of one architecture.
type Reader = fn(&Config, &Source) -> Result<Model>;

/// A `config.json`.
struct Config {
    path: std::path::PathBuf,
    text: String,
}

impl Config {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    fn architecture(&self) -> Result<Reader> {
        #[derive(Deserialize)]
        struct Kind {
            model_type: String,
        }
        match self.parse::<Kind>()?.model_type.as_str() {
            "mimi" => Ok(mimi::model),
            "encodec" => Ok(encodec::model),
            "dac" => Ok(dac::model),
            other => Err(self.bad(format!(
                "model_type `{other}` is not a codec known here; known: mimi, encodec, dac"
            ))),
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text).map_err(|e| self.bad(e.to_string()))
    }

    fn bad(&self, reason: String) -> Error {
        Error::BadFile {
            path: self.path.clone(),
            reason,
        }
    }

    /// Checks that `value` is one of the supported settings of `key`.
    fn require<T: PartialEq + std::fmt::Debug>(
        &self,
        key: &str,
        value: &T,
        supported: &[T],
    ) -> Result<()> {
        match supported.contains(value) {
            true => Ok(()),
            false => Err(self.bad(format!(
                "`{key}` is {value:?}; supported: {}",
                supported
                    .iter()
                    .map(|v| format!("{v:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))),
        }
    }

    /// Codes are stored in 16 bits.
    fn require_codebook_size(&self, size: usize) -> Result<()> {
        match (2..=1 << 16).contains(&size) {
            true => Ok(()),
            false => Err(self.bad(format!(
                "`codebook_size` is {size}; it must be from 2 to 65536"
            ))),
        }
    }

    /// Checks the strides of the convolutions, whose channels double from one to the next.
    fn require_ratios(&self, key: &str, ratios: &[usize]) -> Result<()> {
        let product = ratios.iter().try_fold(1, |product: usize, &ratio| {
            product
                .checked_mul(ratio)
                .filter(|p| (1..=LIMIT).contains(p))
        });
        match (1..=MAX_RATIOS).contains(&ratios.len()) && product.is_some() {
            true => Ok(()),
            false => Err(self.bad(format!(
                "`{key}` is {ratios:?}; 1 to {MAX_RATIOS} numbers are needed, of a product from 1 to {LIMIT}"
            ))),
        }
    }

    /// Checks that every named size lies in 1..=[`LIMIT`].
    fn require_sizes(&self, sizes: &[(&str, usize)]) -> Result<()> {
        match sizes.iter().find(|(_, size)| !(1..=LIMIT).contains(size)) {
            None => Ok(()),
            Some((key, size)) => {
                Err(self.bad(format!("`{key}` is {size}; it must be from 1 to {LIMIT}")))
            }
        }
    }
}

/// What a model is made from besides its configuration.
struct Source<'a> {
    name: &'a str,
    weights: Weights,
    codebooks: Option<usize>,
}

impl Source<'_> {
    /// The number of codebooks to use of the `available` ones.
    fn codebooks(&self, available: usize) -> Result<usize> {
        match self.codebooks {
            None => Ok(available.min(DEFAULT_CODEBOOKS)),
            Some(asked) if (1..=available).contains(&asked) => Ok(asked),
            Some(asked) => Err(Error::TooManyCodebooks {
                name: self.name.to_owned(),
                asked,
                available,
            }),
        }
    }
}
