//! What filters would drop, told from the first utterances of a corpus.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::encode::transcript_of;
use crate::error::{Error, Result};
use crate::filter::Filters;
use crate::skipped::BadRecord;
use crate::source::{Counter, Emit, RawAudio, RawUtterance, Source};
use crate::summary::thousands;

/// Utterances looked at.
const SAMPLE: usize = 1000;
/// Rate at which recordings are heard.
const RATE_HZ: u32 = 16_000;

/// Counts over a sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Utterances looked at.
    pub utterances: u64,
    /// Those that cannot be used.
    pub bad: u64,
    /// Those that filters drop, by filter.
    pub filtered: BTreeMap<String, u64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dropped: u64 = self.filtered.values().sum();
        let (total, bad) = (self.utterances, self.bad);
        let percent = |n: u64| 100.0 * n as f64 / total.max(1) as f64;
        write!(
            f,
            "of the first {} utterances {bad} are bad, and filters drop {dropped} ({:.1} %)",
            thousands(total),
            percent(dropped)
        )?;
        for (name, n) in &self.filtered {
            write!(f, "\n  {name}  {n} ({:.1} %)", percent(*n))?;
        }
        Ok(())
    }
}

/// Applies `filters` to the first utterances of a source. Nothing is encoded.
pub fn filtered(source: &dyn Source, filters: &Filters) -> Result<Sample> {
    let mut listener = Listener {
        filters,
        texts: Default::default(),
        sample: Sample::default(),
    };
    for unit in 0..source.units().len() {
        match source.read(unit, &mut listener) {
            Ok(()) => listener.texts.clear(),
            Err(Error::Stopped) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(listener.sample)
}

struct Listener<'a> {
    filters: &'a Filters,
    texts: std::collections::HashSet<String>,
    sample: Sample,
}

impl Listener<'_> {
    /// The filter that drops an utterance, if any, or its error.
    fn judge(&mut self, raw: &RawUtterance) -> std::result::Result<Option<&'static str>, ()> {
        let filters = self.filters;
        let text = transcript_of(raw).map_err(drop)?;
        if !text.is_empty()
            && let Some(name) = filters.of_text(&text, &raw.lang)
        {
            return Ok(Some(name));
        }
        if let RawAudio::Recording(input) = &raw.audio {
            let mut loudness = filters.loudness(RATE_HZ);
            let mut samples = 0;
            for block in audio::open(input, RATE_HZ, 1).map_err(drop)? {
                let block = block.map_err(drop)?;
                samples += block.len();
                if let Some(loudness) = &mut loudness {
                    loudness.push(&block);
                }
            }
            let by_length = filters.of_speech(&text, samples as f64 / f64::from(RATE_HZ));
            let by_sound = loudness.and_then(|loudness| filters.of_sound(&loudness));
            if let Some(name) = by_length.or(by_sound) {
                return Ok(Some(name));
            }
        }
        let is_repeated = filters.unique_text && !text.is_empty() && !self.texts.insert(text);
        Ok(is_repeated.then_some("unique-text"))
    }

    fn count(&mut self) -> Result<()> {
        self.sample.utterances += 1;
        match self.sample.utterances < SAMPLE as u64 {
            true => Ok(()),
            false => Err(Error::Stopped),
        }
    }
}

impl Emit for Listener<'_> {
    fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
        match self.judge(&utterance) {
            Ok(None) => {}
            Ok(Some(name)) => *self.sample.filtered.entry(name.to_owned()).or_insert(0) += 1,
            Err(()) => self.sample.bad += 1,
        }
        self.count()
    }

    fn bad(&mut self, _: BadRecord) -> Result<()> {
        self.sample.bad += 1;
        self.count()
    }

    fn counter(&self) -> Counter {
        Counter::default()
    }
}
