//! What a codec loses: recordings encoded, decoded and compared.

use std::path::{Path, PathBuf};
use std::time::Instant;

use audio::Audio;
use encodec_rs::quality::{self, Usage};
use encodec_rs::{Codec, Codes};
use serde::Serialize;

use crate::encode::encode_pieces;
use crate::error::{Error, Result};

/// A codec, tried on some recordings.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the codec.
    pub codec: String,
    /// SHA-256 of its weights.
    pub sha256: String,
    /// Rate of its audio.
    pub sample_rate_hz: u32,
    /// Channels of its audio.
    pub channels: usize,
    /// Codes of a frame.
    pub codebooks: usize,
    /// Entries of a codebook.
    pub codebook_size: usize,
    /// Each recording.
    pub files: Vec<FileReport>,
    /// All recordings: means of the distances, speeds and codes over the whole.
    pub all: Measures,
}

/// A recording, encoded and decoded.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// What was decoded, if it was written.
    pub decoded: Option<PathBuf>,
    /// How that compares.
    #[serde(flatten)]
    pub measures: Measures,
}

/// Distances between originals and what was decoded, and what the codes cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Measures {
    /// Length of the audio.
    pub audio_secs: f64,
    /// Scale-invariant signal-to-distortion ratio; absent for silence.
    pub si_sdr_db: Option<f64>,
    /// Mean over channels of the log-spectral distance.
    pub log_spectral_distance_db: Option<f64>,
    /// Bits of the codes for each second of audio.
    pub bits_per_sec: Option<f64>,
    /// The same if every code cost the entropy of its codebook.
    pub entropy_bits_per_sec: Option<f64>,
    /// Audio over the time it took to encode, on one thread.
    pub encode_times_real_time: Option<f64>,
    /// Audio over the time it took to decode, on one thread.
    pub decode_times_real_time: Option<f64>,
    /// Use of each codebook.
    #[serde(serialize_with = "serialize_usage")]
    pub usage: Vec<Usage>,
}

fn serialize_usage<S: serde::Serializer>(
    usage: &[Usage],
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row {
        used: usize,
        entropy_bits: f64,
        perplexity: f64,
    }
    to.collect_seq(usage.iter().map(|usage| Row {
        used: usage.used,
        entropy_bits: usage.entropy_bits,
        perplexity: usage.perplexity,
    }))
}

/// A recording's codes and what it took to get them and to decode them.
struct Trial {
    codes: Codes,
    audio_secs: f64,
    encode_secs: f64,
    decode_secs: f64,
    si_sdr_db: Option<f64>,
    log_spectral_distance_db: Option<f64>,
}

/// Encodes and decodes `files` one after another, as `tokenize` does, and writes what is decoded, cut to the original's
/// length, where a second path says so.
pub fn run(codec: &dyn Codec, files: &[(&PathBuf, &Option<PathBuf>)]) -> Result<Report> {
    let spec = codec.spec();
    let mut trials = Vec::new();
    let mut reports = Vec::new();
    for &(path, decoded) in files {
        let trial = try_file(codec, path, decoded.as_deref())?;
        reports.push(FileReport {
            path: path.clone(),
            decoded: decoded.clone(),
            measures: measures(codec, std::slice::from_ref(&trial)),
        });
        trials.push(trial);
    }
    Ok(Report {
        codec: spec.name.clone(),
        sha256: spec.sha256.clone(),
        sample_rate_hz: spec.sample_rate_hz,
        channels: spec.channels,
        codebooks: spec.codebooks,
        codebook_size: spec.codebook_size,
        files: reports,
        all: measures(codec, &trials),
    })
}

fn try_file(codec: &dyn Codec, path: &Path, out: Option<&Path>) -> Result<Trial> {
    let spec = codec.spec();
    let refused = |cause: encodec_rs::Error| Error::Recording {
        path: path.to_owned(),
        cause: cause.into(),
    };
    let original = audio::load(path, spec.sample_rate_hz, spec.channels)?
        .audio
        .samples;
    let start = Instant::now();
    let codes = encode_pieces(codec, &original).map_err(refused)?;
    let encode_secs = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let mut decoded = codec.decode(&codes).map_err(refused)?;
    let decode_secs = start.elapsed().as_secs_f64();
    decoded.truncate(original.len());
    let trial = Trial {
        codes,
        audio_secs: (original.len() / spec.channels) as f64 / f64::from(spec.sample_rate_hz),
        encode_secs,
        decode_secs,
        si_sdr_db: quality::si_sdr(&original, &decoded),
        log_spectral_distance_db: spectral_distance(codec, &original, &decoded),
    };
    if let Some(out) = out {
        let audio = Audio {
            samples: decoded,
            channels: spec.channels,
            sample_rate_hz: spec.sample_rate_hz,
        };
        audio::write_wav(out, &audio)?;
    }
    Ok(trial)
}

/// The mean over channels.
fn spectral_distance(codec: &dyn Codec, original: &[f32], decoded: &[f32]) -> Option<f64> {
    let spec = codec.spec();
    let channel = |samples: &[f32], channel: usize| -> Vec<f32> {
        samples
            .iter()
            .skip(channel)
            .step_by(spec.channels)
            .copied()
            .collect()
    };
    mean((0..spec.channels).map(|index| {
        let (original, decoded) = (channel(original, index), channel(decoded, index));
        quality::log_spectral_distance(&original, &decoded, spec.sample_rate_hz)
    }))
}

/// What trials amount to together.
fn measures(codec: &dyn Codec, trials: &[Trial]) -> Measures {
    let spec = codec.spec();
    let sum = |value: fn(&Trial) -> f64| trials.iter().map(value).sum::<f64>();
    let audio_secs = sum(|trial| trial.audio_secs);
    let codes_of = |codebook: usize| {
        let codes = trials.iter().flat_map(|trial| trial.codes.data.iter());
        codes.copied().skip(codebook).step_by(spec.codebooks)
    };
    let usage: Vec<Usage> = (0..spec.codebooks)
        .map(|codebook| Usage::of(codes_of(codebook)))
        .collect();
    let frames = sum(|trial| trial.codes.frames() as f64);
    let code_bits = (spec.codebook_size as f64).log2();
    let entropy_bits: f64 = usage.iter().map(|usage| usage.entropy_bits).sum();
    let ratio = |a: f64, b: f64| Some(a / b).filter(|ratio| ratio.is_finite());
    Measures {
        audio_secs,
        si_sdr_db: mean(trials.iter().map(|trial| trial.si_sdr_db)),
        log_spectral_distance_db: mean(trials.iter().map(|trial| trial.log_spectral_distance_db)),
        bits_per_sec: ratio(frames * spec.codebooks as f64 * code_bits, audio_secs),
        entropy_bits_per_sec: ratio(frames * entropy_bits, audio_secs),
        encode_times_real_time: ratio(audio_secs, sum(|trial| trial.encode_secs)),
        decode_times_real_time: ratio(audio_secs, sum(|trial| trial.decode_secs)),
        usage,
    }
}

/// The mean of what is there.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
