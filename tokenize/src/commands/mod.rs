//! The command line: parse, call the library, print.

mod codec;
mod codec_check;
mod codec_train;
mod common_voice;
mod cvss;
mod decode;
mod emilia;
mod export;
mod folder;
mod instructions;
mod job;
mod librispeech;
mod libritts;
mod merge;
mod mls;
mod nemotron;
mod peoples_speech;
mod pretokenized;
mod retext;
mod stats;
mod status;
mod verify;
mod vocab;
mod yodas;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Speech and text corpora to token shards.
#[derive(Parser)]
#[command(name = "tokenize", version, after_help = EXAMPLES, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  tokenize vocab --base tokenizer.json --out tokenizer
  tokenize folder recordings --out data/recordings --tokenizer tokenizer
  tokenize stats data/recordings
  tokenize decode data/recordings/part-00000.parquet --id en/interview-01 --out interview.wav";

#[derive(Subcommand)]
enum Command {
    CommonVoice(common_voice::Args),
    Cvss(cvss::Args),
    Emilia(emilia::Args),
    Folder(folder::Args),
    Instructions(instructions::Args),
    Librispeech(librispeech::Args),
    Libritts(libritts::Args),
    Mls(mls::Args),
    Nemotron(nemotron::Args),
    PeoplesSpeech(peoples_speech::Args),
    Pretokenized(pretokenized::Args),
    Yodas(yodas::Args),
    Stats(stats::Args),
    Decode(decode::Args),
    Export(export::Args),
    Merge(merge::Args),
    Retext(retext::Args),
    Status(status::Args),
    Verify(verify::Args),
    Vocab(vocab::Args),
    CodecCheck(codec_check::Args),
    CodecTrain(codec_train::Args),
}

/// Runs the program; errors end with exit code 1, wrong usage with 2.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::CommonVoice(args) => common_voice::run(&args),
        Command::Cvss(args) => cvss::run(&args),
        Command::Emilia(args) => emilia::run(&args),
        Command::Folder(args) => folder::run(&args),
        Command::Instructions(args) => instructions::run(&args),
        Command::Librispeech(args) => librispeech::run(&args),
        Command::Libritts(args) => libritts::run(&args),
        Command::Mls(args) => mls::run(&args),
        Command::Nemotron(args) => nemotron::run(&args),
        Command::PeoplesSpeech(args) => peoples_speech::run(&args),
        Command::Pretokenized(args) => pretokenized::run(&args),
        Command::Yodas(args) => yodas::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Retext(args) => retext::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Vocab(args) => vocab::run(&args),
        Command::CodecCheck(args) => codec_check::run(&args),
        Command::CodecTrain(args) => codec_train::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, but for causes whose text is already in the message above them.
fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(|cause| cause.to_string()) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// All cores, unless told otherwise.
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// A number of threads, at least one.
fn parse_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least one thread is needed".to_owned()),
        Ok(threads) => Ok(threads),
        Err(error) => Err(format!("{error}")),
    }
}

/// Refuses a location elsewhere where only a folder of this machine will do; `cure` is what to do instead.
fn refuse_elsewhere(path: &Path, cure: &str) -> anyhow::Result<()> {
    let path = path.display().to_string();
    match path.contains("://") {
        true => anyhow::bail!("{path} is no folder of this machine; {cure}"),
        false => Ok(()),
    }
}

/// Prints `value` as indented JSON on stdout.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk on fire")
            .context("cannot read a: disk on fire")
            .context("cannot start");
        assert_eq!(chain(&error), "cannot start: cannot read a: disk on fire");
    }

    #[test]
    fn every_command_has_an_example() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            let help = command
                .get_after_help()
                .map(|text| text.to_string())
                .unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains(command.get_name()),
                "{}",
                command.get_name()
            );
        }
    }
}
