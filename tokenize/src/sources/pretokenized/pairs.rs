//! Text-first and audio-first rows, folded back into one document.

use std::collections::{BTreeMap, HashMap};

use super::Parsed;
use crate::skipped::BadRecord;

/// Bytes of codes and texts of rows that wait for their twin. Twins follow one another in what is published.
const WAITING_BYTES: usize = 64 << 20;

/// Endings of the ids of a pair.
const ENDINGS: [&str; 2] = ["_type1", "_type2"];

/// What rows became.
#[derive(Debug)]
pub enum Folded {
    /// A document of this id.
    Document(String, Parsed),
    /// Rows that cannot be used.
    Bad(BadRecord),
}

/// Rows without their twin so far, in the order in which they came.
pub struct Pairs {
    rows: BTreeMap<u64, Row>,
    /// Where the row of a document is.
    places: HashMap<String, u64>,
    next: u64,
    bytes: usize,
    max_bytes: usize,
    /// The document that was complete last.
    last: String,
}

struct Row {
    id: String,
    ending: usize,
    parsed: Parsed,
}

impl Pairs {
    /// None yet.
    pub fn new() -> Self {
        Pairs {
            rows: BTreeMap::new(),
            places: HashMap::new(),
            next: 0,
            bytes: 0,
            max_bytes: WAITING_BYTES,
            last: String::new(),
        }
    }

    /// Takes the next row, which completes its pair or waits for its twin; those that have waited longest give way. A row
    /// whose id has no such ending is a document by itself.
    pub fn push(&mut self, row_id: &str, parsed: Parsed) -> Vec<Folded> {
        let strip = |(number, ending): (usize, &&str)| Some((number, row_id.strip_suffix(ending)?));
        let (ending, id) = match ENDINGS.iter().enumerate().find_map(strip) {
            Some((ending, id)) => (Some(ending), id),
            None => (None, row_id),
        };
        let twin = self.places.get(id).map(|place| self.rows[place].ending);
        if id == self.last || (twin.is_some() && twin == ending) {
            return vec![Folded::Bad(repeated(id, parsed))];
        }
        let Some(ending) = ending else {
            return vec![self.document(id.to_owned(), parsed)];
        };
        if let Some(place) = self.places.get(id).copied() {
            let twin = self.remove(place);
            return vec![match differs(&twin.parsed, &parsed) {
                None => self.document(twin.id, twin.parsed),
                Some(what) => Folded::Bad(disagree(twin, &parsed, what)),
            }];
        }
        self.bytes += parsed.bytes();
        self.places.insert(id.to_owned(), self.next);
        let id = id.to_owned();
        self.rows.insert(self.next, Row { id, ending, parsed });
        self.next += 1;
        self.release(self.max_bytes)
    }

    /// The rows whose twins never came.
    pub fn finish(mut self) -> Vec<Folded> {
        self.release(0)
    }

    /// Lets rows go until those that wait are no more than `bytes`.
    fn release(&mut self, bytes: usize) -> Vec<Folded> {
        let mut out = Vec::new();
        while self.bytes > bytes {
            let Some((&place, _)) = self.rows.first_key_value() else {
                break;
            };
            let row = self.remove(place);
            out.push(self.document(row.id, row.parsed));
        }
        out
    }

    fn remove(&mut self, place: u64) -> Row {
        let row = self.rows.remove(&place).expect("a row waits at each place");
        self.places.remove(&row.id);
        self.bytes -= row.parsed.bytes();
        row
    }

    fn document(&mut self, id: String, parsed: Parsed) -> Folded {
        self.last.clone_from(&id);
        Folded::Document(id, parsed)
    }
}

/// In what the rows of a pair differ, if they do.
fn differs(one: &Parsed, other: &Parsed) -> Option<&'static str> {
    if one.utterances.len() != other.utterances.len() {
        return Some("number of utterances");
    }
    let pairs = || one.utterances.iter().zip(&other.utterances);
    if pairs().any(|(a, b)| a.codes != b.codes) {
        return Some("audio");
    }
    pairs()
        .any(|(a, b)| a.text.trim() != b.text.trim())
        .then_some("text")
}

fn disagree(one: Row, other: &Parsed, what: &str) -> BadRecord {
    let path = one.parsed.origin;
    BadRecord {
        id: one.id,
        reason: "disagree".to_owned(),
        message: format!(
            "{path} and {}: the rows of one document differ in their {what}, and neither is taken",
            other.origin
        ),
        path,
    }
}

fn repeated(id: &str, parsed: Parsed) -> BadRecord {
    BadRecord {
        id: id.to_owned(),
        reason: "repeated".to_owned(),
        message: format!(
            "{}: document {id:?} was there before; only the first is taken",
            parsed.origin
        ),
        path: parsed.origin,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::Utterance;
    use super::*;

    fn parsed(text: &str, codes: &[u16]) -> Parsed {
        let utterance = Utterance {
            text: text.to_owned(),
            codes: codes.to_owned(),
        };
        Parsed {
            origin: format!("at {text}"),
            utterances: vec![utterance],
        }
    }

    fn show(folded: Vec<Folded>) -> Vec<String> {
        let show = |folded| match folded {
            Folded::Document(id, _) => id,
            Folded::Bad(bad) => format!("{}: {}", bad.id, bad.reason),
        };
        folded.into_iter().map(show).collect()
    }

    fn fold(mut pairs: Pairs, rows: &[(&str, &str, &[u16])]) -> Vec<String> {
        let mut out = Vec::new();
        for (id, text, codes) in rows {
            out.extend(pairs.push(id, parsed(text, codes)));
        }
        out.extend(pairs.finish());
        show(out)
    }

    #[test]
    fn twins_become_one_in_either_order() {
        let rows: [(&str, &str, &[u16]); 6] = [
            ("a_type1", "one", &[1]),
            ("b_type2", "two", &[2]),
            ("plain", "three", &[3]),
            ("b_type1", " two ", &[2]),
            ("a_type2", "one", &[1]),
            ("c_type1_type2", "four", &[4]),
        ];
        assert_eq!(fold(Pairs::new(), &rows), ["plain", "b", "a", "c_type1"]);
    }

    #[test]
    fn twins_that_differ_are_not_taken() {
        let rows: [(&str, &str, &[u16]); 4] = [
            ("a_type1", "one", &[1]),
            ("a_type2", "One", &[1]),
            ("b_type1", "two", &[2]),
            ("b_type2", "two", &[3]),
        ];
        assert_eq!(fold(Pairs::new(), &rows), ["a: disagree", "b: disagree"]);
    }

    #[test]
    fn a_row_twice_is_taken_once() {
        let rows: [(&str, &str, &[u16]); 4] = [
            ("a_type1", "one", &[1]),
            ("a_type1", "one", &[1]),
            ("a_type2", "one", &[1]),
            ("a_type1", "one", &[1]),
        ];
        assert_eq!(
            fold(Pairs::new(), &rows),
            ["a: repeated", "a", "a: repeated"]
        );
    }

    #[test]
    fn rows_that_wait_are_bounded() {
        let mut pairs = Pairs::new();
        pairs.max_bytes = 10;
        let rows: [(&str, &str, &[u16]); 4] = [
            ("a_type1", "12", &[1, 2]),
            ("b_type1", "12", &[1, 2]),
            ("c_type1", "12", &[1, 2]),
            ("b_type2", "12", &[1, 2]),
        ];
        // the first two give way, and the twin of the second is late
        assert_eq!(fold(pairs, &rows), ["a", "b", "b: repeated", "c"]);
    }
}
