//! Recordings and transcripts that come apart from each other, in either order.

use std::collections::{BTreeMap, HashMap};

/// Bytes of recordings and transcripts that may wait for their other half. In the published archives the halves are
/// neighbours, or a folder apart.
const WAITING_BYTES: usize = 256 << 20;

/// One half of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Half {
    /// The recording: where it comes from, and its bytes.
    Audio(String, Vec<u8>),
    /// The transcript, in whatever form the source has.
    Text(String),
}

impl Half {
    fn bytes(&self) -> usize {
        match self {
            Half::Audio(_, data) => data.len(),
            Half::Text(text) => text.len(),
        }
    }
}

/// Both halves: where the recording comes from, its bytes, and the transcript.
pub type Pair = (String, Vec<u8>, String);

/// Halves by the name that both have.
pub struct Pairs {
    /// With the number of its arrival.
    waiting: HashMap<String, (u64, Half)>,
    arrivals: BTreeMap<u64, String>,
    arrived: u64,
    bytes: usize,
    limit: usize,
}

impl Default for Pairs {
    fn default() -> Self {
        Pairs {
            waiting: HashMap::new(),
            arrivals: BTreeMap::new(),
            arrived: 0,
            bytes: 0,
            limit: WAITING_BYTES,
        }
    }
}

impl Pairs {
    /// Takes a half, and gives the pair if the other one waits. A second half of the same kind takes the first one's place.
    pub fn add(&mut self, name: String, half: Half) -> Option<Pair> {
        let other = self.take(&name).map(|(_, other)| other);
        match (half, other) {
            (Half::Audio(origin, data), Some(Half::Text(text)))
            | (Half::Text(text), Some(Half::Audio(origin, data))) => Some((origin, data, text)),
            (half, _) => {
                self.bytes += half.bytes();
                self.arrivals.insert(self.arrived, name.clone());
                self.waiting.insert(name, (self.arrived, half));
                self.arrived += 1;
                None
            }
        }
    }

    /// The half that waits longest, while there are too many: its other half is not to be expected any more.
    pub fn given_up(&mut self) -> Option<(String, Half)> {
        (self.bytes > self.limit).then(|| self.oldest()).flatten()
    }

    /// What is left, in order of arrival.
    pub fn finish(mut self) -> impl Iterator<Item = (String, Half)> {
        std::iter::from_fn(move || self.oldest())
    }

    fn oldest(&mut self) -> Option<(String, Half)> {
        let name = self.arrivals.first_key_value()?.1.clone();
        self.take(&name)
    }

    fn take(&mut self, name: &str) -> Option<(String, Half)> {
        let (name, (arrival, half)) = self.waiting.remove_entry(name)?;
        self.arrivals.remove(&arrival);
        self.bytes -= half.bytes();
        Some((name, half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(size: usize) -> Half {
        Half::Audio("a.tar".to_owned(), vec![7; size])
    }

    fn text() -> Half {
        Half::Text("hello".to_owned())
    }

    #[test]
    fn halves_meet_in_either_order() {
        let mut pairs = Pairs::default();
        let pair = Some(("a.tar".to_owned(), vec![7; 3], "hello".to_owned()));
        assert_eq!(pairs.add("a".to_owned(), audio(3)), None);
        assert_eq!(pairs.add("b".to_owned(), text()), None);
        assert_eq!(pairs.add("a".to_owned(), text()), pair);
        assert_eq!(pairs.add("b".to_owned(), audio(3)), pair);
        assert_eq!(pairs.bytes, 0);
        assert_eq!(pairs.finish().next(), None);
    }

    #[test]
    fn what_has_no_other_half_is_left() {
        let mut pairs = Pairs::default();
        pairs.add("b".to_owned(), text());
        pairs.add("a".to_owned(), audio(1));
        let left = [("b".to_owned(), text()), ("a".to_owned(), audio(1))];
        assert!(pairs.finish().eq(left));
    }

    #[test]
    fn the_oldest_halves_give_way() {
        let mut pairs = Pairs {
            limit: 100,
            ..Pairs::default()
        };
        for name in ["a", "b", "c"] {
            pairs.add(name.to_owned(), audio(50));
        }
        assert_eq!(pairs.given_up(), Some(("a".to_owned(), audio(50))));
        assert_eq!(pairs.given_up(), None);
        // the other half of what was given up now waits in vain
        assert_eq!(pairs.add("a".to_owned(), text()), None);
    }
}
