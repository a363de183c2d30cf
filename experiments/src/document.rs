//! Texts that lie over each other: a base, a file, and what the command line sets. Values keep their place, so that an error
//! in what they come to names the line that it is from.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::error::{Error, Result, suggestion};

/// A TOML text and what errors call it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub label: String,
    pub text: String,
    /// Whether errors name a line of it.
    pub lines: bool,
}

/// Sources one behind another, so that one offset is a place in one of them.
pub(crate) struct Document {
    text: String,
    pieces: Vec<Piece>,
}

struct Piece {
    label: String,
    range: Range<usize>,
    lines: bool,
}

impl Document {
    pub(crate) fn new<'s>(sources: impl IntoIterator<Item = &'s Source>) -> Self {
        let mut text = String::new();
        let mut pieces = Vec::new();
        for source in sources {
            let start = text.len();
            text += &source.text;
            text.push('\n');
            pieces.push(Piece {
                label: source.label.clone(),
                range: start..text.len(),
                lines: source.lines,
            });
        }
        Self { text, pieces }
    }

    /// The table of each source; spans are places in the document.
    pub(crate) fn tables(&self) -> Result<Vec<DeTable<'_>>> {
        let each = self.pieces.iter().map(|piece| {
            let start = piece.range.start;
            let parsed = DeTable::parse(&self.text[piece.range.clone()]);
            let parsed = parsed.map_err(|e| {
                let at = start + e.span().unwrap_or_default().start;
                self.problem(at, e.message())
            })?;
            Ok(shifted(parsed.into_inner(), start))
        });
        each.collect()
    }

    /// Reads a table into a type. What is missing from it is missed at `at`.
    pub(crate) fn read<T: DeserializeOwned>(&self, table: DeTable<'_>, at: usize) -> Result<T> {
        let deserializer = Deserializer::from(Spanned::new(at..at, table));
        T::deserialize(deserializer)
            .map_err(|e| self.problem(e.span().map_or(at, |span| span.start), e.message()))
    }

    /// `exp2.1.toml:12`, or `exp2.1.toml, --set batch_size=0`.
    pub(crate) fn place(&self, at: usize) -> String {
        let piece = self.pieces.iter().find(|piece| piece.range.contains(&at));
        let Some(piece) = piece else {
            return String::new();
        };
        if !piece.lines {
            let own = self.pieces.iter().rfind(|piece| piece.lines);
            let own = own.map_or("", |own| &own.label);
            return format!("{own}, {}", piece.label);
        }
        let before = self.text.get(piece.range.start..at).unwrap_or_default();
        format!("{}:{}", piece.label, 1 + before.matches('\n').count())
    }

    /// Where the last source that has lines begins: the experiment's own file.
    pub(crate) fn own_file(&self) -> usize {
        let own = self.pieces.iter().rfind(|piece| piece.lines);
        own.map_or(0, |piece| piece.range.start)
    }

    pub(crate) fn problem(&self, at: usize, message: &str) -> Error {
        Error::Parse {
            place: self.place(at),
            message: reworded(message.trim_end()),
        }
    }
}

/// Lays `from` over `into`: tables are merged, values replaced. A table of another `kind` replaces the one below, whose keys
/// mean nothing to it.
pub(crate) fn merge<'a>(into: &mut DeTable<'a>, from: DeTable<'a>) {
    for (key, value) in from {
        let below = into.get_mut(key.get_ref().as_ref()).map(Spanned::get_mut);
        match (below, value) {
            (Some(DeValue::Table(below)), value) if merges(below, value.get_ref()) => {
                if let DeValue::Table(table) = value.into_inner() {
                    merge(below, table);
                }
            }
            (_, value) => {
                into.remove(key.get_ref().as_ref());
                into.insert(key, value);
            }
        }
    }
}

fn merges(below: &DeTable<'_>, above: &DeValue<'_>) -> bool {
    let kind = |table: &DeTable<'_>| {
        let kind = table.get("kind")?.get_ref().as_str()?;
        Some(kind.to_string())
    };
    match above {
        DeValue::Table(above) => kind(above).is_none_or(|above| kind(below) == Some(above)),
        _ => false,
    }
}

/// The value at a dotted path.
pub(crate) fn at_path<'t, 'a>(
    table: &'t DeTable<'a>,
    path: &str,
) -> Option<&'t Spanned<DeValue<'a>>> {
    match path.split_once('.') {
        None => table.get(path),
        Some((first, rest)) => at_path(table.get(first)?.get_ref().as_table()?, rest),
    }
}

fn shifted(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    let entry = |(key, value): (Spanned<_>, Spanned<_>)| {
        let (key_span, value_span) = (moved(key.span()), moved(value.span()));
        let value = match value.into_inner() {
            DeValue::Table(table) => DeValue::Table(shifted(table, by)),
            value => value,
        };
        (
            Spanned::new(key_span, key.into_inner()),
            Spanned::new(value_span, value),
        )
    };
    table.into_iter().map(entry).collect()
}

/// serde's list of all the keys there are, cut down to the one that was probably meant.
fn reworded(message: &str) -> String {
    let unknown = message.strip_prefix("unknown field `");
    let Some((name, rest)) = unknown.and_then(|rest| rest.split_once('`')) else {
        return message.replacen("missing field", "missing key", 1);
    };
    let mut known: Vec<_> = rest.split('`').skip(1).step_by(2).collect();
    if known.contains(&"batch_size") {
        known.extend(crate::resolve::FILE_KEYS);
    }
    format!("unknown key `{name}`; {}", suggestion(name, &known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(texts: &[&str]) -> Document {
        let sources: Vec<_> = (1..)
            .zip(texts)
            .map(|(number, text)| Source {
                label: format!("{number}.toml"),
                text: text.to_string(),
                lines: true,
            })
            .collect();
        Document::new(&sources)
    }

    #[test]
    fn tables_merge_and_keep_their_places() {
        let document = document(&["a = 1\nt = { x = 1, y = 2 }", "\nt.x = 3\nb = 4"]);
        let mut tables = document.tables().unwrap().into_iter();
        let mut merged = tables.next().unwrap();
        merge(&mut merged, tables.next().unwrap());
        let place = |path| document.place(at_path(&merged, path).unwrap().span().start);
        assert_eq!(
            ["a", "t.x", "t.y", "b"].map(place),
            ["1.toml:1", "2.toml:2", "1.toml:2", "2.toml:3"]
        );
        assert!(at_path(&merged, "t.z").is_none() && at_path(&merged, "a.x").is_none());
    }

    #[test]
    fn a_table_of_another_kind_replaces() {
        let document = document(&[
            "[s]\nkind = 'a'\nx = 1",
            "s = { kind = 'a', y = 2 }",
            "s = { kind = 'b', z = 3 }",
        ]);
        let mut merged = DeTable::new();
        let mut keys = Vec::new();
        for table in document.tables().unwrap() {
            merge(&mut merged, table);
            let s = merged["s"].get_ref().as_table().unwrap();
            keys.push(
                s.keys()
                    .map(|k| k.get_ref().to_string())
                    .collect::<String>(),
            );
        }
        assert_eq!(keys, ["kindx", "kindxy", "kindz"]);
    }
}
