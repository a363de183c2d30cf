//! The mixtures that Timbre brings, and how a mixture is named: `mix3-v5(w=.05)`, `my.toml(2)`.

use super::expression::is_name;
use super::file::Origin;
use crate::error::{Error, Result};
use std::fs;
use std::path::Path;

/// The `*.toml` beside this crate's manifest, by name.
macro_rules! built_in {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../", $name, ".toml")))),*]
    };
}

const BUILT_IN: &[(&str, &str)] = &built_in! {
    "anneal-mix2-v2"
    "anneal-mix3-v3"
    "anneal-mix3-v5"
    "commonvoice17-en"
    "cooldown"
    "emilia-english"
    "emilia"
    "librispeech"
    "libritts"
    "mix2-v1"
    "mix2-v2"
    "mix2-v3"
    "mix3-v1"
    "mix3-v2"
    "mix3-v3"
    "mix3-v4"
    "mix3-v5"
    "mls-en"
    "nemotron"
    "peoples-speech-clean"
    "pretrain-to-cooldown"
    "pretrain"
    "quickstart"
    "sft-cvss"
    "unimodal"
    "yodas2-en-acoustic"
    "yodas2-en-semantic"
    "yodas2-en"
    "yodas2"
};

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The text of a built-in mixture, or of the file at a path that ends in `.toml`, relative to `folder`.
pub(super) fn read(target: &str, folder: Option<&Path>) -> Result<Origin> {
    if !target.ends_with(".toml") {
        let found = BUILT_IN.iter().find(|(name, _)| *name == target);
        return match found {
            Some((name, text)) => Ok(Origin::new(name, text, None)),
            None => Err(unknown(target)),
        };
    }
    let path = match folder {
        Some(folder) => folder.join(target),
        None => target.into(),
    };
    let read = || Ok((fs::read_to_string(&path)?, path.canonicalize()?));
    match read() {
        Ok((text, canonical)) => Ok(Origin {
            identity: canonical.display().to_string(),
            ..Origin::new(&path.display().to_string(), &text, path.parent())
        }),
        Err(source) => Err(Error::ReadMixture { path, source }),
    }
}

fn unknown(name: &str) -> Error {
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    let nearest = names().min_by_key(|known| distance(known));
    let nearest = nearest.filter(|known| distance(known) <= known.len() / 3);
    Error::UnknownMixture {
        name: name.into(),
        hint: match nearest {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => format!("known: {}", names().collect::<Vec<_>>().join(", ")),
        },
    }
}

/// A mixture's name or path, and what stands in parentheses behind it.
#[derive(Debug, PartialEq)]
pub(super) struct Call<'a> {
    pub target: &'a str,
    /// Expressions, with the parameter's name if it is given.
    pub arguments: Vec<(Option<&'a str>, &'a str)>,
}

impl<'a> Call<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let text = text.trim();
        // A path may have parentheses of its own.
        let open = match text.rfind(".toml(") {
            Some(at) => Some(at + ".toml".len()),
            None if text.ends_with(".toml") => None,
            None => text.find('('),
        };
        let Some(open) = open else {
            return Ok(Self {
                target: text,
                arguments: Vec::new(),
            });
        };
        let inside = text[open + 1..].strip_suffix(')');
        let inside = inside.ok_or("its arguments do not end with `)`")?;
        let pieces = match inside.trim().is_empty() {
            true => Vec::new(),
            false => inside.split(',').collect(),
        };
        let arguments = pieces.into_iter().map(argument);
        Ok(Self {
            target: text[..open].trim_end(),
            arguments: arguments.collect::<Result<_, _>>()?,
        })
    }
}

fn argument(text: &str) -> Result<(Option<&str>, &str), String> {
    match text.split_once('=') {
        None => Ok((None, text.trim())),
        Some((name, value)) if is_name(name.trim()) => Ok((Some(name.trim()), value.trim())),
        Some((name, _)) => Err(format!("{:?} cannot be a parameter", name.trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_with_and_without_arguments() {
        let call = |target, arguments: &[_]| Call {
            target,
            arguments: arguments.to_vec(),
        };
        for (text, expected) in [
            ("mix3-v1", call("mix3-v1", &[])),
            ("a()", call("a", &[])),
            ("cooldown(2)", call("cooldown", &[(None, "2")])),
            (
                " a ( n = (1+2)*3 , 4 ) ",
                call("a", &[(Some("n"), "(1+2)*3"), (None, "4")]),
            ),
            ("d (old)/my.toml", call("d (old)/my.toml", &[])),
            ("d (1)/my.toml(2)", call("d (1)/my.toml", &[(None, "2")])),
        ] {
            assert_eq!(Call::parse(text), Ok(expected), "{text}");
        }
        for (text, expected) in [("a(1", "do not end"), ("a(2n=1)", "cannot be a parameter")] {
            let problem = Call::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
