//! Neural and embedded audio codecs: samples to codes and back.
//!
//! A [`Codec`] turns mono samples into [`Codes`], a small integer per codebook and frame, and codes back into
//! samples. [`open`] finds one by name; [`MelRvq`] is embedded in the program and needs no download.
//!
//! ```
//! use encodec_rs::{Codec, MelRvq};
//!
//! let codec = MelRvq::embedded();
//! let codes = codec.encode(&vec![0.0; 24_000])?; // one second
//! assert_eq!((codes.frames(), codes.codebooks), (13, 8));
//! assert_eq!(codec.decode(&codes)?.len(), 13 * 1920);
//! # Ok::<(), encodec_rs::Error>(())
//! ```

mod codec;
pub mod cpu;
mod error;
mod framing;
pub mod hub;
pub mod mel_rvq;
pub mod models;
pub mod network;
pub mod quality;
pub mod tensor;
pub mod weights;

use std::path::Path;

pub use kernels::backend::{BackendChoice, BackendKind, Missing};

pub use codec::{Codec, CodecSpec, Codes};
pub use cpu::NeuralCodec;
pub use error::{Error, Result};
pub use mel_rvq::MelRvq;
use network::Model;
#[cfg(any(feature = "cuda", feature = "tch"))]
use tensor::DeviceCodec;

/// How a codec is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The first so many codebooks; by default 8, or all that the codec has if they are fewer.
    pub codebooks: Option<usize>,
    /// Numbers that products are computed with on a processor.
    pub precision: Precision,
    /// Where a neural codec computes.
    pub backend: BackendKind,
}

/// Numbers that products are computed with; sums are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits: codes as the reference gives them.
    #[default]
    F32,
    /// bfloat16: faster where the processor has it (AVX512-BF16), and some codes differ.
    Bf16,
}

/// Opens a codec:
/// - `mel-rvq`, which is embedded;
/// - the path of a mel-RVQ `.safetensors` file;
/// - the folder of a neural codec's `config.json` and `model.safetensors`, as transformers writes them;
/// - one of [`hub::KNOWN`], such as `kyutai/mimi`, also without its owner, `mimi`, or any other `OWNER/NAME` of the
///   Hugging Face hub with these two files: from its cache, else downloaded into it, see [`hub::Hub`]. The codec is then
///   named by the repository, owner and all.
///
/// A folder takes precedence over a repository of the same name.
pub fn open(name_or_path: &str, options: &Options) -> Result<Box<dyn Codec>> {
    if name_or_path == mel_rvq::NAME {
        let codec = MelRvq::embedded();
        return Ok(Box::new(codec.with_codebooks(options.codebooks)?));
    }
    let path = Path::new(name_or_path);
    if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        let codec = MelRvq::load(path)?;
        return Ok(Box::new(codec.with_codebooks(options.codebooks)?));
    }
    if path.is_dir() {
        let model = models::load(path, name_or_path, options.codebooks)?;
        return on_backend(model, options);
    }
    let Some(repo) = hub::repository(name_or_path) else {
        return Err(Error::UnknownCodec {
            name: name_or_path.to_owned(),
        });
    };
    let folder = hub::Hub::from_env().folder(repo)?;
    let model = models::load(&folder, repo, options.codebooks)?;
    on_backend(model, options)
}

fn on_backend(model: Model, options: &Options) -> Result<Box<dyn Codec>> {
    match (options.backend, options.precision) {
        (BackendKind::Cpu, precision) => Ok(Box::new(NeuralCodec::new(model, precision))),
        #[cfg(any(feature = "cuda", feature = "tch"))]
        (_, Precision::Bf16) => Err(Error::DevicePrecision),
        #[cfg(feature = "cuda")]
        (BackendKind::Cuda, Precision::F32) => {
            let device = Default::default();
            Ok(Box::new(DeviceCodec::new::<burn::backend::Cuda>(
                &model,
                device,
                options.backend,
            )))
        }
        #[cfg(feature = "tch")]
        (BackendKind::Tch, Precision::F32) => {
            let device = <burn::backend::LibTorch as kernels::Devices>::device();
            Ok(Box::new(DeviceCodec::new::<burn::backend::LibTorch>(
                &model,
                device,
                options.backend,
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_says_what_is_known() {
        let message = open("mimi-9000", &Options::default())
            .err()
            .unwrap()
            .to_string();
        assert!(
            message.contains("mimi-9000")
                && message.contains("mel-rvq")
                && message.contains("kyutai/mimi"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = open("no/such.safetensors", &Options::default())
            .err()
            .unwrap()
            .to_string();
        assert!(message.contains("no/such.safetensors"), "{message}");
    }
}
