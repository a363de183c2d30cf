//! Which codec, and how it is used.

use encodec_rs::{BackendChoice, Codec, Options, Precision, mel_rvq};

use crate::error::{Error, Result};

/// The codec of a command.
#[derive(clap::Args)]
pub struct CodecArgs {
    /// Codec: kyutai/mimi, facebook/encodec_24khz, facebook/encodec_48khz, descript/dac_16khz, descript/dac_24khz,
    /// descript/dac_44khz, mel-rvq (embedded, for first runs and tests), any other owner/name of these architectures, a
    /// folder of config.json and model.safetensors, or a mel-RVQ .safetensors file
    #[arg(long, default_value = "kyutai/mimi")]
    pub codec: String,
    /// Use the first so many codebooks [default: 8, or all if the codec has fewer]
    #[arg(long)]
    pub codebooks: Option<usize>,
    /// Numbers a neural codec computes with; bf16 is faster where the processor has it, and some codes differ a little
    #[arg(long, value_enum, default_value_t = PrecisionArg::F32)]
    pub precision: PrecisionArg,
    /// Where a neural codec computes; mel-rvq always takes the processor
    #[arg(long, value_enum, default_value_t)]
    pub backend: BackendChoice,
}

/// [`Precision`] as an argument.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum PrecisionArg {
    F32,
    Bf16,
}

impl From<PrecisionArg> for Precision {
    fn from(argument: PrecisionArg) -> Self {
        match argument {
            PrecisionArg::F32 => Precision::F32,
            PrecisionArg::Bf16 => Precision::Bf16,
        }
    }
}

impl CodecArgs {
    /// Opens the codec.
    pub fn open(&self) -> Result<Box<dyn Codec>> {
        let options = Options {
            codebooks: self.codebooks,
            precision: self.precision.into(),
            backend: self.backend.resolve()?,
        };
        let codec = encodec_rs::open(&self.codec, &options)?;
        let spec = codec.spec();
        if spec.name == mel_rvq::NAME && matches!(self.precision, PrecisionArg::Bf16) {
            return Err(Error::FixedOption {
                codec: spec.name.clone(),
                option: "--precision".to_owned(),
                only: "f32".to_owned(),
            });
        }
        Ok(codec)
    }
}
