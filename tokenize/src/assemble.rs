//! Utterances to documents.

use std::collections::{BTreeMap, HashMap};

use shards::Document;

use crate::encode::Encoded;
use crate::skipped::BadRecord;
use crate::source::Grouping;

/// Puts the documents of a unit together.
pub struct Assembler<'a> {
    source: &'a str,
    grouping: Grouping,
    /// The document whose utterances are coming, unless all are held.
    open: Vec<Encoded>,
    /// All utterances by document, for [`Grouping::Sorted`]: codes are a hundredth of the audio they stand for.
    held: BTreeMap<String, Vec<Encoded>>,
}

/// What comes out: documents, and utterances that repeat another.
pub type Assembled = Result<Document, Box<BadRecord>>;

impl<'a> Assembler<'a> {
    /// For a unit of the source of this name.
    pub fn new(source: &'a str, grouping: Grouping) -> Self {
        Assembler {
            source,
            grouping,
            open: Vec::new(),
            held: BTreeMap::new(),
        }
    }

    /// Takes the next utterance, which may complete the document before.
    pub fn push(&mut self, encoded: Encoded) -> Option<Document> {
        if let Grouping::Sorted { .. } = self.grouping {
            let key = encoded.document.clone();
            self.held.entry(key).or_default().push(encoded);
            return None;
        }
        let is_new = self
            .open
            .last()
            .is_some_and(|last| self.ends_at(last, &encoded));
        let complete = if is_new { self.close_open() } else { None };
        self.open.push(encoded);
        complete
    }

    /// Whether the open document ends with `last` before `next`.
    fn ends_at(&self, last: &Encoded, next: &Encoded) -> bool {
        let is_again = self.grouping == Grouping::Complete && last.origin != next.origin;
        last.document != next.document || is_again
    }

    /// The documents that are left, at the end of the unit.
    pub fn finish(mut self) -> impl Iterator<Item = Assembled> {
        let open = self.close_open().map(Ok);
        let (source, grouping) = (self.source, self.grouping);
        let sorted = self.held.into_values();
        open.into_iter()
            .chain(sorted.flat_map(move |utterances| split(source, grouping, utterances)))
    }

    fn close_open(&mut self) -> Option<Document> {
        let utterances = std::mem::take(&mut self.open);
        let first = utterances.first()?;
        let id = first.document.clone();
        let is_whole = self.grouping != Grouping::Complete || utterances.len() == 1 + first.others;
        is_whole.then(|| document(self.source, id, utterances))
    }
}

/// The documents of one key.
fn split(source: &str, grouping: Grouping, mut utterances: Vec<Encoded>) -> Vec<Assembled> {
    utterances.sort_by_key(|utterance| utterance.position);
    let mut out: Vec<Assembled> = Vec::new();
    let mut documents: Vec<Vec<Encoded>> = vec![Vec::new()];
    for utterance in utterances {
        let current = documents.last_mut().expect("one at least");
        match current.last() {
            Some(last) if last.position == utterance.position => {
                out.push(Err(Box::new(repeated(last, &utterance))));
            }
            Some(last) if is_apart(grouping, last, &utterance) => documents.push(vec![utterance]),
            _ => current.push(utterance),
        }
    }
    let by_start = matches!(grouping, Grouping::Sorted { gap_ms: Some(_) });
    out.extend(documents.into_iter().map(|utterances| {
        let first = &utterances[0];
        let id = match by_start {
            true => format!("{}-{:08}", first.document, first.position),
            false => first.document.clone(),
        };
        Ok(document(source, id, utterances))
    }));
    out
}

/// Whether an utterance begins further from the end of the one before than documents allow.
fn is_apart(grouping: Grouping, last: &Encoded, next: &Encoded) -> bool {
    let Grouping::Sorted { gap_ms: Some(gap) } = grouping else {
        return false;
    };
    match (last.segment.end_ms, next.segment.start_ms) {
        (Some(end), Some(start)) => end.abs_diff(start) > gap,
        _ => true,
    }
}

fn repeated(first: &Encoded, second: &Encoded) -> BadRecord {
    BadRecord {
        id: second.id.clone(),
        path: second.origin.clone(),
        reason: "repeated".to_owned(),
        message: format!(
            "{}: it has the place of {} in document {:?}; only the first is taken",
            second.origin, first.origin, second.document
        ),
    }
}

/// Numbers the speakers in the order in which they speak.
fn document(source: &str, id: String, utterances: Vec<Encoded>) -> Document {
    let mut numbers: HashMap<String, u16> = HashMap::new();
    let (lang, origin) = (utterances[0].lang.clone(), utterances[0].origin.clone());
    let source = utterances[0].source.as_deref().unwrap_or(source).to_owned();
    let segments = utterances.into_iter().map(|mut utterance| {
        if let Some(name) = utterance.speaker {
            let next = numbers.len().min(usize::from(u16::MAX)) as u16;
            utterance.segment.speaker = Some(*numbers.entry(name).or_insert(next));
        }
        utterance.segment
    });
    Document {
        id,
        source,
        lang,
        segments: segments.collect(),
        origin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::Segment;

    fn utterance(document: &str, position: u64, span_ms: (u32, u32), speaker: &str) -> Encoded {
        Encoded {
            id: format!("{document}/{position}"),
            document: document.to_owned(),
            position,
            speaker: Some(speaker.to_owned()),
            segment: Segment {
                text: format!("{position}"),
                start_ms: Some(span_ms.0),
                end_ms: Some(span_ms.1),
                ..Segment::default()
            },
            ..Encoded::default()
        }
    }

    /// `id: texts` of each document, or `id!` of what repeats another.
    fn assemble(grouping: Grouping, utterances: Vec<Encoded>) -> Vec<String> {
        let mut assembler = Assembler::new("test", grouping);
        let mut out: Vec<Assembled> = Vec::new();
        for utterance in utterances {
            out.extend(assembler.push(utterance).map(Ok));
        }
        out.extend(assembler.finish());
        let show = |assembled: Assembled| match assembled {
            Ok(document) => {
                let texts: Vec<_> = document.segments.iter().map(|s| s.text.as_str()).collect();
                format!("{}: {}", document.id, texts.join(" "))
            }
            Err(bad) => format!("{}!", bad.id),
        };
        out.into_iter().map(show).collect()
    }

    fn places(places: &[(&str, u64)]) -> Vec<Encoded> {
        let at = |&(document, position): &(&str, u64)| utterance(document, position, (0, 0), "a");
        places.iter().map(at).collect()
    }

    #[test]
    fn neighbours_of_one_key_are_a_document() {
        let utterances = places(&[("b", 1), ("b", 0), ("a", 5), ("b", 2)]);
        let documents = assemble(Grouping::Adjacent, utterances);
        assert_eq!(documents, ["b: 1 0", "a: 5", "b: 2"]);
        assert!(assemble(Grouping::Adjacent, Vec::new()).is_empty());
    }

    #[test]
    fn what_lacks_an_utterance_is_dropped() {
        // document, position, origin, others
        let utterances = [
            ("a", 0, "1", 1),
            ("b", 0, "2", 2),
            ("b", 1, "2", 2),
            ("b", 2, "2", 2),
            ("c", 1, "3", 0),
            // two of one name, neither of which is whole
            ("d", 0, "4", 1),
            ("d", 1, "5", 1),
            ("e", 0, "6", 1),
            ("e", 1, "6", 1),
        ];
        let utterances = utterances.map(|(document, position, origin, others)| Encoded {
            origin: origin.to_owned(),
            others,
            ..utterance(document, position, (0, 0), "a")
        });
        let documents = assemble(Grouping::Complete, utterances.into());
        assert_eq!(documents, ["b: 0 1 2", "c: 1", "e: 0 1"]);
    }

    #[test]
    fn utterances_are_gathered_and_sorted() {
        let utterances = places(&[("b", 2), ("a", 7), ("b", 0), ("b", 2), ("b", 1)]);
        let documents = assemble(Grouping::Sorted { gap_ms: None }, utterances);
        assert_eq!(documents, ["a: 7", "b/2!", "b: 0 1 2"]);
    }

    #[test]
    fn a_gap_begins_a_new_document() {
        let at = |start: u32, end: u32| utterance("r", start.into(), (start, end), "a");
        let utterances = vec![
            at(9_000, 9_500),
            at(0, 1_000),
            at(1_200, 2_000),
            at(2_201, 3_000),
            at(2_900, 4_000),
        ];
        let documents = assemble(Grouping::Sorted { gap_ms: Some(200) }, utterances);
        assert_eq!(
            documents,
            [
                "r-00000000: 0 1200",
                "r-00002201: 2201 2900",
                "r-00009000: 9000"
            ]
        );
    }

    #[test]
    fn speakers_are_numbered_as_they_appear() {
        let mut assembler = Assembler::new("test", Grouping::Adjacent);
        for (position, speaker) in ["B", "A", "B", "C"].into_iter().enumerate() {
            assert!(
                assembler
                    .push(utterance("d", position as u64, (0, 0), speaker))
                    .is_none()
            );
        }
        let document = assembler.finish().next().unwrap().unwrap();
        let speakers: Vec<_> = document.segments.iter().map(|s| s.speaker).collect();
        assert_eq!(speakers, [Some(0), Some(1), Some(0), Some(2)]);
        assert_eq!(document.source, "test");
    }
}
