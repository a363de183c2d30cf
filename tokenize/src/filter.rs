//! What a job leaves out on purpose. Every filter is off unless asked for, and counts what it drops.

use std::collections::BTreeMap;

use whatlang::{Detector, Lang};

/// Window over which silence is judged.
const WINDOW_SECS: f64 = 0.02;
/// Mean power below which a window is silent: −60 dB of full scale.
const SILENT_POWER: f64 = 1e-6;
/// Level from which a sample is clipped.
const CLIPPED: f32 = 0.999;
/// Shortest text, in characters, whose language is judged: of shorter ones it cannot be told.
const LANGUAGE_CHARS: usize = 24;

/// The filters of a job.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Filters (off unless given; each drops utterances and counts them)")]
pub struct Filters {
    /// Shortest recording, in seconds
    #[arg(long, value_name = "SECS")]
    pub min_secs: Option<f64>,
    /// Longest recording, in seconds
    #[arg(long, value_name = "SECS")]
    pub max_secs: Option<f64>,
    /// Fewest characters of transcript for each second of recording
    #[arg(long, value_name = "N")]
    pub min_chars_per_sec: Option<f64>,
    /// Most characters of transcript for each second of recording
    #[arg(long, value_name = "N")]
    pub max_chars_per_sec: Option<f64>,
    /// Fewest characters of text
    #[arg(long, value_name = "N")]
    pub min_chars: Option<usize>,
    /// Most characters of text
    #[arg(long, value_name = "N")]
    pub max_chars: Option<usize>,
    /// Drop texts that are surely of another language than declared
    #[arg(long)]
    pub check_language: bool,
    /// Drop texts that occurred before in the same input file
    #[arg(long)]
    pub unique_text: bool,
    /// Largest part of a recording that may be silent (below −60 dB), from 0 to 1
    #[arg(long, value_name = "FRACTION")]
    pub max_silence: Option<f64>,
    /// Largest part of a recording's samples that may be at full scale, from 0 to 1
    #[arg(long, value_name = "FRACTION")]
    pub max_clipped: Option<f64>,
}

impl Filters {
    /// The filters that are on, by name: a part of a job's identity.
    pub fn arguments(&self) -> BTreeMap<String, String> {
        let mut arguments = BTreeMap::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                arguments.insert(name.to_owned(), value);
            }
        };
        let on = |flag: bool| flag.then(|| "yes".to_owned());
        add("min_secs", self.min_secs.map(|v| v.to_string()));
        add("max_secs", self.max_secs.map(|v| v.to_string()));
        add(
            "min_chars_per_sec",
            self.min_chars_per_sec.map(|v| v.to_string()),
        );
        add(
            "max_chars_per_sec",
            self.max_chars_per_sec.map(|v| v.to_string()),
        );
        add("min_chars", self.min_chars.map(|v| v.to_string()));
        add("max_chars", self.max_chars.map(|v| v.to_string()));
        add("check_language", on(self.check_language));
        add("unique_text", on(self.unique_text));
        add("max_silence", self.max_silence.map(|v| v.to_string()));
        add("max_clipped", self.max_clipped.map(|v| v.to_string()));
        arguments
    }

    /// The filter that drops a text of this declared language, if any.
    pub fn of_text(&self, text: &str, lang: &str) -> Option<&'static str> {
        if self.min_chars.is_some() || self.max_chars.is_some() {
            let chars = text.chars().count();
            if self.min_chars.is_some_and(|min| chars < min) {
                return Some("min-chars");
            }
            if self.max_chars.is_some_and(|max| chars > max) {
                return Some("max-chars");
            }
        }
        (self.check_language && is_other_language(text, lang)).then_some("language")
    }

    /// The filter that drops a recording of `secs` with this transcript, if any.
    pub fn of_speech(&self, text: &str, secs: f64) -> Option<&'static str> {
        if self.min_secs.is_some_and(|min| secs < min) {
            return Some("min-secs");
        }
        if self.max_secs.is_some_and(|max| secs > max) {
            return Some("max-secs");
        }
        if text.is_empty() || (self.min_chars_per_sec.is_none() && self.max_chars_per_sec.is_none())
        {
            return None;
        }
        let rate = text.chars().count() as f64 / secs;
        if self.min_chars_per_sec.is_some_and(|min| rate < min) {
            return Some("min-chars-per-sec");
        }
        let is_fast = self.max_chars_per_sec.is_some_and(|max| rate > max);
        is_fast.then_some("max-chars-per-sec")
    }

    /// A meter, if a filter needs one.
    pub fn loudness(&self, rate_hz: u32) -> Option<Loudness> {
        let is_needed = self.max_silence.is_some() || self.max_clipped.is_some();
        is_needed.then(|| Loudness::new(rate_hz))
    }

    /// The filter that drops a recording that sounds like this, if any.
    pub fn of_sound(&self, loudness: &Loudness) -> Option<&'static str> {
        if self.max_silence.is_some_and(|max| loudness.silence() > max) {
            return Some("silence");
        }
        let is_clipped = self.max_clipped.is_some_and(|max| loudness.clipped() > max);
        is_clipped.then_some("clipped")
    }
}

/// How much of a recording is silent or clipped.
pub struct Loudness {
    window: usize,
    power: f64,
    in_window: usize,
    windows: usize,
    silent: usize,
    samples: usize,
    clipped: usize,
}

impl Loudness {
    /// Of nothing so far.
    pub fn new(rate_hz: u32) -> Self {
        Loudness {
            window: (f64::from(rate_hz) * WINDOW_SECS) as usize,
            power: 0.0,
            in_window: 0,
            windows: 0,
            silent: 0,
            samples: 0,
            clipped: 0,
        }
    }

    /// Hears the next samples.
    pub fn push(&mut self, samples: &[f32]) {
        for &sample in samples {
            self.clipped += usize::from(sample.abs() >= CLIPPED);
            self.power += f64::from(sample * sample);
            self.in_window += 1;
            if self.in_window == self.window {
                self.windows += 1;
                self.silent += usize::from(self.power < SILENT_POWER * self.window as f64);
                (self.power, self.in_window) = (0.0, 0);
            }
        }
        self.samples += samples.len();
    }

    /// The part of all windows that is silent.
    pub fn silence(&self) -> f64 {
        self.silent as f64 / self.windows.max(1) as f64
    }

    /// The part of all samples that is clipped.
    pub fn clipped(&self) -> f64 {
        self.clipped as f64 / self.samples.max(1) as f64
    }
}

/// Whether a text is surely not of the language of this ISO 639 code. Languages that cannot be recognised never are.
fn is_other_language(text: &str, lang: &str) -> bool {
    let Some(declared) = language(lang) else {
        return false;
    };
    if text.chars().count() < LANGUAGE_CHARS {
        return false;
    }
    let found = Detector::new().detect(text);
    found.is_some_and(|info| info.is_reliable() && info.lang() != declared)
}

/// The language of an ISO 639-1 or 639-3 code, whatever script or region follows it.
fn language(code: &str) -> Option<Lang> {
    let code = code
        .split(['-', '_'])
        .next()
        .unwrap_or_default()
        .to_lowercase();
    let three = match code.as_str() {
        "ar" => "ara",
        "bg" => "bul",
        "bn" => "ben",
        "ca" => "cat",
        "cs" => "ces",
        "da" => "dan",
        "de" => "deu",
        "el" => "ell",
        "en" => "eng",
        "es" => "spa",
        "et" => "est",
        "fa" => "pes",
        "fi" => "fin",
        "fr" => "fra",
        "he" => "heb",
        "hi" => "hin",
        "hr" => "hrv",
        "hu" => "hun",
        "id" => "ind",
        "it" => "ita",
        "ja" => "jpn",
        "ka" => "kat",
        "ko" => "kor",
        "lt" => "lit",
        "lv" => "lav",
        "mn" => "khk",
        "nl" => "nld",
        "no" => "nob",
        "pl" => "pol",
        "pt" => "por",
        "ro" => "ron",
        "ru" => "rus",
        "sk" => "slk",
        "sl" => "slv",
        "sv" => "swe",
        "ta" => "tam",
        "te" => "tel",
        "th" => "tha",
        "tr" => "tur",
        "uk" => "ukr",
        "ur" => "urd",
        "vi" => "vie",
        "zh" => "cmn",
        other => other,
    };
    Lang::from_code(three)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_dropped_unless_asked() {
        let filters = Filters::default();
        assert!(filters.arguments().is_empty() && filters.loudness(24_000).is_none());
        assert_eq!(filters.of_text("", "en"), None);
        assert_eq!(filters.of_speech("x", 1e9), None);
    }

    #[test]
    fn lengths_and_rates_are_inclusive() {
        let filters = Filters {
            min_secs: Some(1.0),
            max_secs: Some(4.0),
            min_chars_per_sec: Some(2.0),
            max_chars_per_sec: Some(4.0),
            min_chars: Some(2),
            max_chars: Some(5),
            ..Filters::default()
        };
        assert_eq!(filters.arguments().len(), 6);
        for (text, secs, expected) in [
            ("äöü", 1.0, None),
            ("abcd", 1.0, None),
            ("abcde", 1.0, Some("max-chars-per-sec")),
            ("abc", 2.0, Some("min-chars-per-sec")),
            ("abcd", 0.99, Some("min-secs")),
            ("abcd", 4.01, Some("max-secs")),
            ("", 2.0, None),
        ] {
            assert_eq!(filters.of_speech(text, secs), expected, "{text} {secs}");
        }
        assert_eq!(filters.of_text("a", "en"), Some("min-chars"));
        assert_eq!(filters.of_text("äöüäöü", "en"), Some("max-chars"));
        assert_eq!(filters.of_text("äöüäö", "en"), None);
    }

    #[test]
    fn texts_of_another_language_are_told() {
        let filters = Filters {
            check_language: true,
            ..Filters::default()
        };
        let (english, german) = (
            "This is what we wanted to say about the weather in the mountains.",
            "Das ist es, was wir über das Wetter in den Bergen sagen wollten.",
        );
        assert_eq!(filters.of_text(english, "en"), None);
        assert_eq!(filters.of_text(german, "de-DE"), None);
        assert_eq!(filters.of_text(german, "en"), Some("language"));
        assert_eq!(filters.of_text(english, "deu"), Some("language"));
        // too short, or a language that the detector does not know
        assert_eq!(filters.of_text("Das ist es", "en"), None);
        assert_eq!(filters.of_text(german, "und"), None);
    }

    #[test]
    fn silence_and_clipping_are_measured_across_blocks() {
        let samples: Vec<f32> = (0..24_000)
            .map(|n| match n {
                0..6_000 => 0.0005,
                6_000..12_000 => 1.0,
                _ => 0.3,
            })
            .collect();
        let mut loudness = Loudness::new(24_000);
        samples.chunks(777).for_each(|block| loudness.push(block));
        assert_eq!((loudness.silence(), loudness.clipped()), (0.24, 0.25));
        let dropped = |max_silence, max_clipped| {
            let filters = Filters {
                max_silence,
                max_clipped,
                ..Filters::default()
            };
            filters.of_sound(&loudness)
        };
        assert_eq!(dropped(Some(0.2), None), Some("silence"));
        assert_eq!(dropped(None, Some(0.2)), Some("clipped"));
        assert_eq!(dropped(Some(0.3), Some(0.3)), None);
    }
}
