//! `tokenize mls`.

use shards::Vocab;

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs, Outcome};
use crate::filter::Filters;
use crate::job::Coding;
use crate::source::Source;
use crate::sources::mls::{PUBLISHED, Utterances};
use crate::sources::mls_recordings::Recordings;

const EXAMPLES: &str = "\
Examples:
  tokenize mls --tokenizer tokenizer --out data
  tokenize mls --input /data/mls_eng --codec codecs/mimi --tokenizer tokenizer --out data

Makes two datasets: DATA/mls-en-utterances, with each input file as it is, and from it DATA/mls-en, with the utterances of a
recording that follow one another as a document. The first is not needed any more once the second is finished. Running the
same command again continues where it stopped.";

/// Tokenize MLS English: audiobooks, a document a stretch of consecutive utterances
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let vocab = args.job.vocab()?;
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    let utterances = Utterances::open(&args.input.open(PUBLISHED)?)?;
    let mut results = Vec::new();
    let outcome = stage(&args.job, &utterances, &coding, &vocab, &mut results)?;
    match outcome {
        Outcome::Planned(..) => {
            // filters act on utterances, before there are documents
            if !args.job.filters.arguments().is_empty() {
                note(
                    "what the filters drop was sampled from mls-en-utterances; they drop nothing of mls-en",
                );
            }
            note("then the utterances are put together in mls-en");
        }
        Outcome::Made(summary) if summary.shards_missing > 0 => {
            note(
                "mls-en is made once other workers have finished mls-en-utterances: run again then",
            );
        }
        Outcome::Made(_) => {
            let store = args.job.dataset(utterances.name())?;
            let recordings = Recordings::open(&store, utterances.buckets())?;
            let codes = Coding::Codes(coding.info().expect("a codec"));
            // what filters leave out is not there any more
            let job = JobArgs {
                filters: Filters::default(),
                ..args.job.clone()
            };
            stage(&job, &recordings, &codes, &vocab, &mut results)?;
        }
    }
    match args.job.json {
        true => super::print_json(&results),
        false => Ok(()),
    }
}

/// Makes one of the datasets.
fn stage(
    job: &JobArgs,
    source: &dyn Source,
    coding: &Coding<'_>,
    vocab: &Vocab,
    results: &mut Vec<serde_json::Value>,
) -> anyhow::Result<Outcome> {
    let outcome = job.run(source, coding, vocab, job.dataset(source.name())?)?;
    if !job.json {
        println!("{}\n{}\n", source.name(), outcome.text());
    }
    results.push(outcome.json(source));
    Ok(outcome)
}

fn note(text: &str) {
    eprintln!("note: {text}");
}
