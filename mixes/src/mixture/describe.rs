//! What a mixture that Timbre brings says about itself.

use super::parameters::declared;
use super::resolve::{self, Surroundings};
use super::{Mixture, catalog};
use crate::error::Result;
use serde::Serialize;
use std::fmt;

/// Stands for a parameter without a default, to see what a mixture is made of: each of those is a share or a factor.
const STAND_IN: f64 = 0.5;

/// A mixture that Timbre brings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogEntry {
    /// Its name.
    pub name: &'static str,
    /// Its parameters, with their default values; none of one that must be given.
    pub parameters: Vec<(String, Option<f64>)>,
    /// Number of its components.
    pub components: usize,
    /// Number of its stages.
    pub stages: usize,
    /// The first sentence of its file.
    pub description: String,
}

impl CatalogEntry {
    pub(super) fn of(name: &'static str) -> Result<Self> {
        let origin = catalog::read(name, None)?;
        let parameters = declared(&origin, &origin.parse()?)?;
        let required = parameters.iter().filter(|(_, default)| default.is_none());
        let arguments: Vec<_> = required
            .map(|(name, _)| (Some(name.as_str()), STAND_IN))
            .collect();
        let Mixture {
            components, stages, ..
        } = resolve::resolve(&origin, &arguments, &Surroundings::default())?;
        Ok(Self {
            name,
            description: first_sentence(&origin.text),
            components: components.len(),
            stages: stages.len(),
            parameters,
        })
    }
}

/// The name as it is called: `cooldown(n=1)`, `nemotron(r=…)`.
impl fmt::Display for CatalogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameter = |(name, default): &(String, Option<f64>)| match default {
            Some(default) => format!("{name}={default}"),
            None => format!("{name}=…"),
        };
        let parameters: Vec<_> = self.parameters.iter().map(parameter).collect();
        match parameters.is_empty() {
            true => f.pad(self.name),
            false => f.pad(&format!("{}({})", self.name, parameters.join(", "))),
        }
    }
}

/// The first sentence of the comment that a file begins with, without its full stop.
fn first_sentence(text: &str) -> String {
    let lines = text.lines().map_while(|line| line.strip_prefix('#'));
    let comment: Vec<&str> = lines.map(str::trim).collect();
    let comment = comment.join(" ");
    let sentence = comment.split(". ").next().unwrap_or_default();
    sentence.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_may_go_over_several_lines() {
        let text = "# One, of .2 in\n# two lines. Another.\nname = \"x\" # not this";
        assert_eq!(first_sentence(text), "One, of .2 in two lines");
        assert_eq!(first_sentence("# One.\n\n# Two.\n"), "One");
        assert_eq!(first_sentence("name = \"x\""), "");
    }

    #[test]
    fn every_built_in_mixture_describes_itself() {
        let all = Mixture::catalog().unwrap();
        assert_eq!(all.len(), Mixture::names().len());
        for entry in &all {
            assert!(!entry.description.is_empty(), "{entry}");
        }
        let named = |name| all.iter().find(|entry| entry.name == name).unwrap();
        let nemotron = named("nemotron");
        assert_eq!(
            (nemotron.to_string().as_str(), nemotron.components),
            ("nemotron(r=…)", 2)
        );
        let cooldown = named("cooldown");
        assert_eq!(
            (cooldown.to_string().as_str(), cooldown.components),
            ("cooldown(n=1)", 9)
        );
        assert_eq!(named("pretrain-to-cooldown").stages, 3);
    }
}
