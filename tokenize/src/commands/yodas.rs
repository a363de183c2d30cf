//! `tokenize yodas`.

use anyhow::bail;

use super::codec::CodecArgs;
use super::job::{InputArgs, JobArgs};
use crate::job::Coding;
use crate::source::Source;
use crate::sources::yodas::{PUBLISHED, SHARDS, Yodas, shards_of};

const EXAMPLES: &str = "\
Examples:
  tokenize yodas --langs en,es --tokenizer tokenizer --out data
  tokenize yodas --langs es --shards es000,es100 --input /data/yodas2 --tokenizer tokenizer --out s3://bucket/data

Makes one dataset a language: DATA/yodas2-en, … Running the same command again continues where it stopped.";

/// Tokenize YODAS2: videos with subtitles, a document each
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Languages
    #[arg(long, value_delimiter = ',', required = true)]
    langs: Vec<String>,
    /// Shards of these languages, e.g. en000,en100 [default: those of the recipe, as far as they are there]
    #[arg(long, value_delimiter = ',')]
    shards: Vec<String>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    codec: CodecArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let plan = plan(&args.langs, &args.shards)?;
    let store = args.input.open(PUBLISHED)?;
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for (lang, shards) in plan {
        let source = Yodas::open(&store, &lang, &shards)?;
        let missing = source.missing().join(", ");
        if !missing.is_empty() && !args.shards.is_empty() {
            bail!(
                "{} has no shards {missing}; correct --shards",
                store.location()
            );
        }
        if !missing.is_empty() {
            eprintln!("note: {} has no shards {missing}", store.location());
        }
        sources.push(Box::new(source));
    }
    let codec = args.codec.open()?;
    let coding = Coding::Codec(&*codec, args.codec.precision.into());
    args.job.run_all(&sources, &coding)
}

/// The shards of each language: those asked for, or the recipe's.
fn plan(langs: &[String], shards: &[String]) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let is_of = |shard: &str, lang: &str| {
        let number = shard.strip_prefix(lang);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
    };
    if let Some(shard) = shards
        .iter()
        .find(|s| !langs.iter().any(|lang| is_of(s, lang)))
    {
        bail!("shard {shard:?} is of no language in --langs; shards are named like en000");
    }
    let mut plan = Vec::new();
    for lang in langs {
        let of_lang: Vec<_> = match shards {
            [] => shards_of(lang),
            shards => shards.iter().filter(|s| is_of(s, lang)).cloned().collect(),
        };
        if of_lang.is_empty() {
            let known: Vec<_> = SHARDS.iter().map(|(lang, _)| *lang).collect();
            let known = known.join(", ");
            bail!("no shards of {lang:?}: name them with --shards; the recipe has some of {known}");
        }
        plan.push((lang.clone(), of_lang));
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(langs: &[&str], shards: &[&str]) -> Result<Vec<(String, usize)>, String> {
        let owned = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let plan = plan(&owned(langs), &owned(shards)).map_err(|error| error.to_string())?;
        Ok(plan
            .into_iter()
            .map(|(lang, shards)| (lang, shards.len()))
            .collect())
    }

    #[test]
    fn shards_are_those_asked_for_or_the_recipes() {
        let of = |lang: &str, shards| (lang.to_owned(), shards);
        assert_eq!(
            planned(&["en", "th"], &[]),
            Ok(vec![of("en", 38), of("th", 2)])
        );
        let some = planned(&["en", "es"], &["es000", "en100", "en101"]);
        assert_eq!(some, Ok(vec![of("en", 2), of("es", 1)]));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(
            planned(&["en"], &["es000"])
                .unwrap_err()
                .contains("\"es000\"")
        );
        assert!(
            planned(&["en", "es"], &["es000"])
                .unwrap_err()
                .contains("no shards of \"en\"")
        );
        assert!(planned(&["xx"], &[]).unwrap_err().contains("--shards"));
        assert!(planned(&["en"], &["english000"]).is_err());
    }
}
