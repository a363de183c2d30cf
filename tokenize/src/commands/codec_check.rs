//! `tokenize codec-check`.

use std::path::{Path, PathBuf};

use crate::check::{self, Report};
use crate::error::{Error, Result};
use crate::summary::table;

use super::codec::CodecArgs;

const EXAMPLES: &str = "\
Examples:
  tokenize codec-check --codec kyutai/mimi speech.flac
  tokenize codec-check --codec facebook/encodec_24khz --codebooks 4 a.wav b.wav --out decoded
  tokenize codec-check --codec codecs/mimi recordings/*.wav --json

SI-SDR compares waveforms: neural codecs whose phases are their own have low values although they sound well. The
log-spectral distance (dB, lower is nearer) compares 40 ms power spectra where the original is not silent. A codebook's
entropy and perplexity tell how evenly its entries are used; a few seconds of audio cannot use many.";

/// Encode and decode recordings, and tell what is lost
///
/// Everything runs on one thread, so that the times are those of one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Audio files
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    codec: CodecArgs,
    /// Folder for the decoded recordings, as NAME.wav
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the report as JSON on stdout; what cannot be measured is null
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let outputs = match &args.out {
        None => vec![None; args.files.len()],
        Some(dir) => outputs(dir, &args.files)?.into_iter().map(Some).collect(),
    };
    let codec = args.codec.open()?;
    let files: Vec<_> = args.files.iter().zip(&outputs).collect();
    let report = check::run(&*codec, &files)?;
    match args.json {
        true => super::print_json(&report),
        false => {
            print(&report);
            Ok(())
        }
    }
}

/// A file in `dir` for each of `files`, made; refuses to overwrite one of them.
fn outputs(dir: &Path, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    let inputs: Vec<_> = files
        .iter()
        .filter_map(|file| file.canonicalize().ok())
        .collect();
    let outputs: Vec<PathBuf> = names(files).iter().map(|name| dir.join(name)).collect();
    for output in &outputs {
        if output
            .canonicalize()
            .is_ok_and(|path| inputs.contains(&path))
        {
            return Err(Error::OverInput {
                path: output.clone(),
            });
        }
    }
    Ok(outputs)
}

/// `STEM.wav` of each file, or `STEM-2.wav` and so on where that is taken.
fn names(files: &[PathBuf]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let candidates =
            std::iter::once(format!("{stem}.wav")).chain((2..).map(|n| format!("{stem}-{n}.wav")));
        let free = candidates.into_iter().find(|name| !names.contains(name));
        names.extend(free);
    }
    names
}

fn print(report: &Report) {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let header = [
        "",
        "seconds",
        "SI-SDR dB",
        "LSD dB",
        "bits/s",
        "entropy bits/s",
        "encode x",
        "decode x",
    ];
    let row = |name: String, measured: &check::Measures| {
        let rate = number(measured.bits_per_sec, 0);
        vec![
            name,
            format!("{:.2}", measured.audio_secs),
            number(measured.si_sdr_db, 2),
            number(measured.log_spectral_distance_db, 2),
            rate,
            number(measured.entropy_bits_per_sec, 0),
            number(measured.encode_times_real_time, 1),
            number(measured.decode_times_real_time, 1),
        ]
    };
    let mut rows: Vec<_> = report
        .files
        .iter()
        .map(|file| row(file.path.display().to_string(), &file.measures))
        .collect();
    rows.push(row("all".to_owned(), &report.all));
    println!(
        "{}: {} codebooks of {}",
        report.codec, report.codebooks, report.codebook_size
    );
    println!(
        "{}\n",
        table(Some(header.map(str::to_owned).to_vec()), rows)
    );
    let header = ["codebook", "used", "perplexity", "entropy bits"];
    let usage = report
        .all
        .usage
        .iter()
        .enumerate()
        .map(|(codebook, usage)| {
            vec![
                codebook.to_string(),
                format!("{} of {}", usage.used, report.codebook_size),
                format!("{:.1}", usage.perplexity),
                format!("{:.2}", usage.entropy_bits),
            ]
        });
    println!("{}", table(Some(header.map(str::to_owned).to_vec()), usage));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_files_have_names_of_their_own() {
        let files = ["a/x.wav", "b/x.flac", "x-2.ogg", "y.mp3", "c/x.wav"].map(PathBuf::from);
        assert_eq!(
            names(&files),
            ["x.wav", "x-2.wav", "x-2-2.wav", "y.wav", "x-3.wav"]
        );
    }

    #[test]
    fn an_input_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("x.wav");
        std::fs::write(&input, b"").unwrap();
        let files = [input];
        let text = outputs(dir.path(), &files).unwrap_err().to_string();
        assert!(text.contains("x.wav is one of the inputs"), "{text}");
        let out = dir.path().join("out");
        assert_eq!(outputs(&out, &files).unwrap(), [out.join("x.wav")]);
        assert!(out.is_dir());
    }
}
