//! Variants: what an experiment is run with, one after another.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::document::Document;
use crate::error::Result;

/// What variants differ in, such as `size`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// Its name, and that of the flag that chooses.
    pub name: String,
    /// Its values in the order of the file. The first is the default.
    pub values: Vec<String>,
}

/// One value of each axis. Values that set the same key to different things exclude each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variant {
    /// Its values, joined: `150m-text5`. Empty if the experiment has no variants.
    pub name: String,
    /// Axis and value.
    pub choices: Vec<(String, String)>,
}

impl Variant {
    pub(crate) fn only() -> Self {
        Self {
            name: String::new(),
            choices: Vec::new(),
        }
    }
}

/// A value as a part of a name: a bare number says nothing without its axis.
pub(crate) fn named(axis: &str, value: &str) -> String {
    match value.parse::<f64>() {
        Ok(_) => format!("{axis}{value}"),
        Err(_) => value.into(),
    }
}

/// The axes in a file's `variants`, and the combinations of their values. The last axis changes fastest.
pub(crate) fn variants(
    document: &Document,
    found: Spanned<DeValue<'_>>,
) -> Result<(Vec<Axis>, Vec<Variant>)> {
    let mut axes = Vec::new();
    // what is chosen so far, and what that sets
    let mut all = vec![(Variant::only(), Vec::new())];
    for (axis, values, at) in entries(document, found)? {
        let values: Vec<_> = entries(document, Spanned::new(at..at, DeValue::Table(values)))?
            .into_iter()
            .map(|(value, changes, _)| (value, leaves("", changes)))
            .collect();
        all = extended(&all, &axis, &values);
        let values = values.into_iter().map(|(value, _)| value).collect();
        axes.push(Axis { name: axis, values });
        if all.is_empty() {
            return Err(document.problem(at, "its values contradict those of the other variants"));
        }
    }
    Ok((axes, all.into_iter().map(|(variant, _)| variant).collect()))
}

type Leaf = (String, toml::Value);

fn extended(
    all: &[(Variant, Vec<Leaf>)],
    axis: &str,
    values: &[(String, Vec<Leaf>)],
) -> Vec<(Variant, Vec<Leaf>)> {
    let mut found = Vec::new();
    for (variant, set) in all {
        for (value, changes) in values {
            let contradicts = |(key, value): &Leaf| {
                let earlier = set.iter().find(|(known, _)| known == key);
                earlier.is_some_and(|(_, earlier)| earlier != value)
            };
            if changes.iter().any(contradicts) {
                continue;
            }
            let mut variant = variant.clone();
            if !variant.name.is_empty() {
                variant.name.push('-');
            }
            variant.name += &named(axis, value);
            variant.choices.push((axis.into(), value.clone()));
            found.push((variant, [&set[..], changes].concat()));
        }
    }
    found
}

/// The tables in a table, in the order of the file: name, table, place.
fn entries<'a>(
    document: &Document,
    found: Spanned<DeValue<'a>>,
) -> Result<Vec<(String, DeTable<'a>, usize)>> {
    const WANTED: &str =
        "variants are tables of tables, such as [variants.size] 600m.model.size = \"600m\"";
    let at = found.span().start;
    let DeValue::Table(table) = found.into_inner() else {
        return Err(document.problem(at, WANTED));
    };
    let mut entries = Vec::new();
    for (key, value) in table {
        let at = key.span().start;
        let DeValue::Table(value) = value.into_inner() else {
            return Err(document.problem(at, WANTED));
        };
        entries.push((key.into_inner().into_owned(), value, at));
    }
    if entries.is_empty() {
        return Err(document.problem(at, WANTED));
    }
    entries.sort_by_key(|(_, _, at)| *at);
    Ok(entries)
}

/// Dotted keys and values of a table.
fn leaves(prefix: &str, table: DeTable<'_>) -> Vec<Leaf> {
    let mut found = Vec::new();
    for (key, value) in table {
        let key = format!("{prefix}{}", key.get_ref());
        match value.into_inner() {
            DeValue::Table(table) => found.extend(leaves(&format!("{key}."), table)),
            value => {
                let value = ValueDeserializer::from(Spanned::new(0..0, value));
                // what no TOML value can be, a number of 200 digits, is refused where it is read into its type
                found.extend(toml::Value::deserialize(value).map(|value| (key, value)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Source;

    fn parse(text: &str) -> Result<(Vec<Axis>, Vec<Variant>)> {
        let source = Source {
            label: "my.toml".into(),
            text: text.into(),
            lines: true,
        };
        let document = Document::new([&source]);
        let mut table = document.tables()?.remove(0);
        variants(&document, table.remove("variants").unwrap())
    }

    fn names(text: &str) -> Vec<String> {
        let (_, variants) = parse(text).unwrap();
        variants.into_iter().map(|variant| variant.name).collect()
    }

    #[test]
    fn combinations_come_in_the_order_of_the_file() {
        let text = "[variants.size]\n9m.a = 1\n2m.a = 2\n[variants.text]\n5.b = 1\n0.b = 0";
        assert_eq!(
            names(text),
            ["9m-text5", "9m-text0", "2m-text5", "2m-text0"]
        );
        let (axes, variants) = parse(text).unwrap();
        assert_eq!(axes[1].values, ["5", "0"]);
        let choice = |axis: &str, value: &str| (axis.to_string(), value.to_string());
        assert_eq!(
            variants[1].choices,
            [choice("size", "9m"), choice("text", "0")]
        );
    }

    #[test]
    fn values_that_contradict_each_other_make_no_variant() {
        let text = "[variants.tokens]\n10b.tokens = 10e9\n3b.tokens = 3e9\n\
                    [variants.mix]\na.mix = 'a'\nb = { mix = 'b', tokens = 3e9 }";
        assert_eq!(names(text), ["10b-a", "3b-a", "3b-b"]);
        let none = "[variants.x]\na.k = 1\n[variants.y]\nb.k = 2";
        let error = parse(none).unwrap_err().to_string();
        assert!(
            error.contains("my.toml:3") && error.contains("contradict"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_table_of_tables_is_refused_with_its_line() {
        for (text, line) in [
            ("variants = 3", 1),
            ("\n[variants]\nsize = 3", 3),
            ("[variants.size]", 1),
            ("[variants.size]\na = 3", 2),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.contains(&format!("my.toml:{line}: ")),
                "{text}: {error}"
            );
        }
    }
}
