//! Exchange with Hugging Face: models in transformers' form, from a folder or from the hub, to one of ours and back.
//!
//! Both forms have the same names and layouts of tensors, so that nothing is renamed or transposed. A folder of ours has
//! f32 weights without the head of a tied model, a `config.json` that any transformers of version 4 or 5 reads, and the
//! tokenizer's files. [`import`] makes one, [`extend`] makes one with audio tokens of a text model, [`export`] makes of it, or
//! of a run's checkpoint, a folder to publish.

mod card;
mod config;
mod export;
mod extend;
mod import;
mod initial;
mod lora;
mod model_folder;
mod new_folder;
mod source;

pub use config::{config_json, folder_config, rope_in_words};
pub use export::{ExportOptions, Exported, export};
pub use extend::{ExtendOptions, Extended, RopeOf, extend};
pub use import::{Imported, import};
pub use initial::{InitialWeights, initial_weights};
pub use source::resolve;

/// The model's shape, as transformers reads it.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// How transformers generates, if it is not told otherwise.
const GENERATION_FILE: &str = "generation_config.json";
/// What the ids of audio mean; ours.
const LAYOUT_FILE: &str = "audio_vocab.json";
/// All that a tokenizer may consist of.
const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    LAYOUT_FILE,
];
/// Name of the files of weights, without their ending.
const WEIGHTS: &str = "model";
