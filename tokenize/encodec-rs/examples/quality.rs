//! Measures a codec on recordings: `cargo run --release -p encodec-rs --example quality -- CODEC FILE.wav ...`
//!
//! The files are mono WAV at the codec's rate. For each: the log-spectral distance of the decoded audio, and of two controls that
//! show what a bad result is: the same codes with their frames in reverse order, and the next file decoded instead.
//! Then the use of each codebook, and the speed on one thread.

use std::process::ExitCode;
use std::time::Instant;

use encodec_rs::Codes;
use encodec_rs::quality::{Usage, log_spectral_distance};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [codec, files @ ..] = arguments.as_slice() else {
        eprintln!("usage: quality CODEC FILE.wav ...");
        return ExitCode::FAILURE;
    };
    match run(codec, files) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(codec: &str, files: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let codec = encodec_rs::open(codec, &encodec_rs::Options::default())?;
    let originals = files
        .iter()
        .map(|file| read(file, codec.spec().sample_rate_hz))
        .collect::<Result<Vec<_>, _>>()?;
    let audio_secs = originals.iter().map(Vec::len).sum::<usize>() as f64
        / f64::from(codec.spec().sample_rate_hz);
    let start = Instant::now();
    let codes = originals
        .iter()
        .map(|samples| codec.encode(samples))
        .collect::<Result<Vec<_>, _>>()?;
    let encode_secs = start.elapsed().as_secs_f64();
    let start = Instant::now();
    let decoded = codes
        .iter()
        .map(|codes| codec.decode(codes))
        .collect::<Result<Vec<_>, _>>()?;
    let decode_secs = start.elapsed().as_secs_f64();

    println!(
        "{:>8} {:>9} {:>11} {:>9}  file",
        "LSD dB", "reversed", "other file", "level dB"
    );
    let mut sums = [0.0; 4];
    for (i, original) in originals.iter().enumerate() {
        let distance = |samples: &[f32]| {
            log_spectral_distance(original, samples, codec.spec().sample_rate_hz)
                .unwrap_or(f64::NAN)
        };
        let row = [
            distance(&decoded[i]),
            distance(&codec.decode(&reversed(&codes[i]))?),
            distance(&decoded[(i + 1) % decoded.len()]),
            10.0 * (energy(&decoded[i]) / energy(original)).log10(),
        ];
        print_row(&row, &files[i]);
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value / originals.len() as f64);
    }
    print_row(&sums, "mean");
    for codebook in 0..codec.spec().codebooks {
        let used = codes
            .iter()
            .flat_map(|codes| (0..codes.frames()).map(move |i| codes.frame(i)[codebook]));
        println!(
            "codebook {codebook}: perplexity {:.0} of {}",
            Usage::of(used).perplexity,
            codec.spec().codebook_size
        );
    }
    println!(
        "{audio_secs:.1} s of audio; encoding {:.0} times real time, decoding {:.0} times",
        audio_secs / encode_secs,
        audio_secs / decode_secs
    );
    Ok(())
}

fn print_row(row: &[f64; 4], name: &str) {
    println!(
        "{:8.2} {:9.2} {:11.2} {:9.2}  {name}",
        row[0], row[1], row[2], row[3]
    );
}

fn reversed(codes: &Codes) -> Codes {
    let frames = (0..codes.frames()).rev();
    Codes::new(
        codes.codebooks,
        frames.flat_map(|i| codes.frame(i).to_vec()).collect(),
    )
}

fn energy(samples: &[f32]) -> f64 {
    samples
        .iter()
        .map(|&sample| f64::from(sample).powi(2))
        .sum::<f64>()
        / samples.len() as f64
        + 1e-12
}

fn read(path: &str, rate_hz: u32) -> Result<Vec<f32>, String> {
    let mut reader = hound::WavReader::open(path).map_err(|error| format!("{path}: {error}"))?;
    let spec = reader.spec();
    if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (rate_hz, 1, 16) {
        return Err(format!(
            "{path}: {spec:?}; convert it to {rate_hz} Hz, mono, 16 bit"
        ));
    }
    let samples = reader
        .samples::<i16>()
        .map(|sample| sample.map(|sample| f32::from(sample) / 32768.0));
    samples
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{path}: {error}"))
}
