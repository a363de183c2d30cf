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
mod error;
pub mod mel_rvq;
pub mod quality;

use std::path::Path;

pub use codec::{Codec, CodecSpec, Codes};
pub use error::{Error, Result};
pub use mel_rvq::MelRvq;

/// Opens a codec by name (`mel-rvq`, the embedded one) or by the path of its `.safetensors` file.
pub fn open(name_or_path: &str) -> Result<Box<dyn Codec>> {
    if name_or_path == mel_rvq::NAME {
        return Ok(Box::new(MelRvq::embedded()));
    }
    let path = Path::new(name_or_path);
    if path
        .extension()
        .is_some_and(|extension| extension == "safetensors")
    {
        return Ok(Box::new(MelRvq::load(path)?));
    }
    Err(Error::UnknownCodec {
        name: name_or_path.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_says_what_is_known() {
        let message = open("mimi-9000").err().unwrap().to_string();
        assert!(
            message.contains("mimi-9000") && message.contains("mel-rvq"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let message = open("no/such.safetensors").err().unwrap().to_string();
        assert!(message.contains("no/such.safetensors"), "{message}");
    }
}
