//! `generate`: a checkpoint goes on from a prompt, and is heard.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use burn::tensor::backend::AutodiffBackend;
use clap::Parser;
use kernels::Kernels;
use pretrain::backend::BackendChoice;
use pretrain::generate::{Generated, Generator, Options, Prompt, Sampling};
use pretrain::with_backend;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Let a checkpoint continue an utterance, or speak a text.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  generate --checkpoint runs/exp/checkpoints/step-320 --prompt hello.wav --out more.wav
  generate --checkpoint DIR --prompt \"Good morning.\" --temperature 0.8 --top-p 0.95 --out said.wav"
)]
struct Args {
    /// A checkpoint's directory.
    #[arg(long)]
    checkpoint: PathBuf,
    /// An audio file to continue, or a text to speak.
    #[arg(long)]
    prompt: String,
    /// The wav file to write: the prompt's audio as the codec gives it, then the model's.
    #[arg(long)]
    out: PathBuf,
    /// Seconds of new audio at least: a whole utterance as prompt is often followed by its end.
    #[arg(long, default_value_t = 0.0)]
    min_seconds: f64,
    /// Seconds of new audio at most.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Divides the logits; 0 takes the likeliest token.
    #[arg(long, default_value_t = Sampling::default().temperature)]
    temperature: f64,
    /// Draw from the likeliest tokens that together have this probability.
    #[arg(long, default_value_t = Sampling::default().top_p)]
    top_p: f64,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The codec's name, folder or file, if it is not where it was when the data was made.
    #[arg(long)]
    codec: Option<String>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t)]
    backend: BackendChoice,
}

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<()> {
    let args = Args::parse();
    if !(args.temperature >= 0.0 && args.temperature.is_finite()) {
        bail!(
            "--temperature is {}, but must be 0 or more",
            args.temperature
        );
    }
    if !(0.0..=1.0).contains(&args.top_p) {
        bail!("--top-p is {}, but must be in [0, 1]", args.top_p);
    }
    let (min, max) = (args.min_seconds, args.seconds);
    if !(min >= 0.0 && max > 0.0 && max.is_finite() && min <= max) {
        bail!(
            "--min-seconds is {min} and --seconds {max}, but they must be 0 or more, and in order"
        );
    }
    with_backend!(args.backend.resolve()?, speak(&args))
}

fn speak<B>(device: &B::Device, args: &Args) -> Result<()>
where
    B: AutodiffBackend,
    B::InnerBackend: Kernels,
{
    let codec = args.codec.as_deref();
    let generator = Generator::<B::InnerBackend>::open(&args.checkpoint, codec, device)?;
    let prompt = read_prompt(&args.prompt, &generator)?;
    let spec = generator.codec().spec().clone();
    let frames = |secs: f64| (secs * spec.frame_rate_hz).ceil() as usize;
    let options = Options {
        min_frames: frames(args.min_seconds),
        max_frames: frames(args.seconds),
        sampling: Sampling {
            temperature: args.temperature,
            top_p: args.top_p,
        },
        seed: args.seed,
    };
    let generated = generator.generate(&prompt, &options)?;
    let samples = generator.codec().decode(&generated.codes)?;
    let audio = audio::Audio {
        samples,
        channels: spec.channels,
        sample_rate_hz: spec.sample_rate_hz,
    };
    audio::write_wav(&args.out, &audio)?;
    report(&args.out, &generated, spec.frame_rate_hz);
    Ok(())
}

/// A path that exists is audio; one that looks like an audio file but is not there is a mistake.
fn read_prompt<B: Kernels>(prompt: &str, generator: &Generator<B>) -> Result<Prompt> {
    const EXTENSIONS: [&str; 8] = ["wav", "flac", "mp3", "ogg", "oga", "m4a", "aac", "mp4"];
    let path = Path::new(prompt);
    if path.is_file() {
        let spec = generator.codec().spec();
        let prompt = audio::load(path, spec.sample_rate_hz, spec.channels)?;
        return Ok(Prompt::Audio(prompt.audio.samples));
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    if extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str())) {
        bail!(
            "--prompt {prompt}: there is no such file; give an audio file that exists, or a text"
        );
    }
    Ok(Prompt::Text(prompt.into()))
}

fn report(out: &Path, generated: &Generated, frame_rate_hz: f64) {
    let secs = |frames: usize| frames as f64 / frame_rate_hz;
    let new = generated.codes.frames() - generated.prompt_frames;
    let how = if generated.ended {
        "the model ended it"
    } else {
        "cut at --seconds"
    };
    println!(
        "{}: {:.2} s of prompt, then {:.2} s generated ({how})",
        out.display(),
        secs(generated.prompt_frames),
        secs(new)
    );
}
