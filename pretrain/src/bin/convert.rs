//! `convert`: models in Hugging Face's form, in and out.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use pretrain::hf::{self, ExportOptions, ExtendOptions, RopeOf};
use pretrain::weights::FloatType;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Take a Qwen3 from Hugging Face, give a checkpoint to it, or extend a text model with audio tokens.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  convert hf-import Qwen/Qwen3-0.6B-Base --out qwen3-600m
  convert hf-export runs/exp/checkpoints/step-320 --out exp-hf --dtype bf16
  convert qwen3x --base Qwen/Qwen3-0.6B-Base --out qwen3x-600m"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print the result as JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// A Qwen3 in Hugging Face's form to a folder of f32 weights, which a run can begin from.
    HfImport {
        /// A folder, or a repository of the hub: OWNER/NAME, or OWNER/NAME@REVISION.
        source: String,
        /// The new folder.
        #[arg(long)]
        out: PathBuf,
    },
    /// A checkpoint to a folder that transformers loads, with a model card.
    HfExport {
        /// A step folder of a run, or a folder that this program made.
        checkpoint: PathBuf,
        /// The new folder.
        #[arg(long)]
        out: PathBuf,
        /// Number format of the weights.
        #[arg(long, value_enum, default_value_t = FloatType::F32)]
        dtype: FloatType,
        /// Take the moving average of the weights, if the run kept one.
        #[arg(long)]
        ema: bool,
    },
    /// A text model and its tokenizer, extended with audio tokens for a warm start.
    Qwen3x {
        /// A folder, or a repository of the hub: OWNER/NAME, or OWNER/NAME@REVISION.
        #[arg(long)]
        base: String,
        /// The new folder.
        #[arg(long)]
        out: PathBuf,
        /// Seed of the new rows.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Codebooks of the codec.
        #[arg(long, default_value_t = 8)]
        codebooks: usize,
        /// Codes of each codebook.
        #[arg(long, default_value_t = 2048)]
        codebook_size: usize,
        /// Whose RoPE and RMSNorm epsilon the model has.
        #[arg(long, value_enum, default_value_t = RopeOf::Checkpoint)]
        rope: RopeOf,
    },
}

fn main() -> ExitCode {
    match try_main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("convert: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_main() -> Result<()> {
    let args = Args::parse();
    let (text, json) = match args.command {
        Command::HfImport { source, out } => import(&source, out)?,
        Command::HfExport {
            checkpoint,
            out,
            dtype,
            ema,
        } => {
            let averaged = ema;
            export(&checkpoint, out, &ExportOptions { dtype, averaged })?
        }
        Command::Qwen3x {
            base,
            out,
            seed,
            codebooks,
            codebook_size,
            rope,
        } => {
            let options = ExtendOptions {
                seed,
                codebooks,
                codebook_size,
                rope,
            };
            extend(&base, out, &options)?
        }
    };
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&json)?),
        false => println!("{text}"),
    }
    Ok(())
}

/// What was done, in words and as JSON.
type Report = (String, Value);

fn import(source: &str, out: PathBuf) -> Result<Report> {
    let imported = hf::import(&hf::resolve(source, &[])?, &out)?;
    let head = if imported.tied { "tied" } else { "untied" };
    let text = format!(
        "{}: {} parameters, {} rows, head {head}; copied {}",
        out.display(),
        imported.parameters,
        imported.rows,
        match imported.copied.is_empty() {
            true => "no tokenizer, for there is none".to_owned(),
            false => imported.copied.join(", "),
        }
    );
    let json = json!({
        "out": out,
        "parameters": imported.parameters,
        "rows": imported.rows,
        "tied": imported.tied,
        "copied": imported.copied,
    });
    Ok((text, json))
}

fn export(checkpoint: &std::path::Path, out: PathBuf, options: &ExportOptions) -> Result<Report> {
    let exported = hf::export(checkpoint, &out, options)?;
    let step = exported.step.map(|step| format!(", step {step}"));
    let text = format!(
        "{}: {} parameters, {} rows{}",
        out.display(),
        exported.parameters,
        exported.rows,
        step.unwrap_or_default()
    );
    let json = json!({
        "out": out,
        "parameters": exported.parameters,
        "rows": exported.rows,
        "step": exported.step,
    });
    Ok((text, json))
}

fn extend(base: &str, out: PathBuf, options: &ExtendOptions) -> Result<Report> {
    let base = hf::resolve(base, &["tokenizer.json"])?;
    let extended = hf::extend(&base, &out, options)?;
    let model = &extended.model;
    let whose = match options.rope {
        RopeOf::Checkpoint => "the base model's",
        RopeOf::Recipe => "the recipe's",
    };
    let rows = extended.copied_rows + extended.new_rows;
    let text = format!(
        "{}: {} parameters\n\
         rows: {} copied, {} new, {rows} in all; {} of the base stand for no token and are left out\n\
         RoPE and epsilon are {whose}: {}, epsilon {:e}",
        out.display(),
        extended.parameters,
        extended.copied_rows,
        extended.new_rows,
        extended.dropped_rows,
        hf::rope_in_words(&model.rope),
        model.rms_norm_eps
    );
    let json = json!({
        "out": out,
        "parameters": extended.parameters,
        "rows": rows,
        "copied_rows": extended.copied_rows,
        "new_rows": extended.new_rows,
        "dropped_rows": extended.dropped_rows,
        "rope": model.rope,
        "rms_norm_eps": model.rms_norm_eps,
    });
    Ok((text, json))
}
