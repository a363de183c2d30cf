//! YODAS2: archives of whole videos, cut by the transcripts beside them.
//!
//! `data/{shard}/audio/{sub}.tar.gz` holds `{audio_id}.wav`, and `data/{shard}/text/{sub}.json` a list of `{audio_id, text}`,
//! where `text` has a transcript by chunk id. A chunk id is `{audio_id}-{index}-{start}-{end}`, in centiseconds, of which the
//! chunk's audio is that part of the video. A video is a document, its chunks in the order of their indices.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Map, Value};
use stores::{Object, Store};

use super::archive::{self, Member, Stop};
use super::layout;
use super::wav::{NoWav, WavStream};
use crate::source::{Emit, Grouping, RawAudio, RawUtterance, Source, Transcript, Unit};

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/espnet/yodas2";

/// Longest chunk, in centiseconds: an hour. A chunk is held in memory, whatever its id says.
const LONGEST_CS: u64 = 3600 * 100;

/// The shards of the recipe, by language.
pub const SHARDS: [(&str, &[std::ops::RangeInclusive<u32>]); 8] = [
    ("en", &[0..=7, 100..=129]),
    ("th", &[0..=0, 100..=100]),
    ("ar", &[0..=0]),
    ("de", &[0..=0, 100..=102]),
    ("es", &[0..=0, 100..=108]),
    ("fr", &[0..=0, 100..=103]),
    ("hi", &[0..=0, 100..=100]),
    ("zh", &[0..=0]),
];

/// The shards of the recipe in a language; none for a language that is not in it.
pub fn shards_of(lang: &str) -> Vec<String> {
    let ranges = SHARDS.into_iter().filter(|(found, _)| *found == lang);
    ranges
        .flat_map(|(_, ranges)| ranges.iter().cloned().flatten())
        .map(|number| format!("{lang}{number:03}"))
        .collect()
}

/// One language, planned.
pub struct Yodas {
    store: Store,
    name: String,
    lang: String,
    inputs: Vec<Input>,
    units: Vec<Unit>,
    missing: Vec<String>,
}

/// An archive and its transcripts.
struct Input {
    audio: Object,
    text: Option<Object>,
}

impl Yodas {
    /// Lists the archives of the named shards, all of one language.
    ///
    /// # Errors
    /// [`Error::Layout`](crate::Error::Layout) if there are none.
    pub fn open(store: &Store, lang: &str, shards: &[String]) -> crate::Result<Self> {
        let (mut inputs, mut missing) = (Vec::new(), Vec::new());
        for shard in shards {
            let found = inputs_of(store, shard)?;
            if found.is_empty() {
                missing.push(shard.clone());
            }
            inputs.extend(found);
        }
        if inputs.is_empty() {
            let wanted = "no archives data/{shard}/audio/*.tar.gz; give the folder above `data`";
            return Err(layout(store, format!("{}: {wanted}", shards.join(", "))));
        }
        Ok(Yodas {
            store: store.clone(),
            name: format!("yodas2-{lang}"),
            lang: lang.to_owned(),
            units: inputs.iter().map(Unit::from).collect(),
            inputs,
            missing,
        })
    }

    /// Shards that were asked for and are not there.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

fn inputs_of(store: &Store, shard: &str) -> crate::Result<Vec<Input>> {
    let texts = store.list(&format!("data/{shard}/text"))?;
    let mut texts: HashMap<_, _> = texts.into_iter().map(|o| (o.path.clone(), o)).collect();
    let folder = format!("data/{shard}/audio");
    let mut inputs = Vec::new();
    for audio in store.list(&folder)? {
        if let Some(sub) = archive::stem(&audio.path, ".tar.gz") {
            let text = texts.remove(&format!("data/{shard}/text/{sub}.json"));
            inputs.push(Input { audio, text });
        }
    }
    Ok(inputs)
}

impl From<&Input> for Unit {
    fn from(input: &Input) -> Self {
        let audio = Unit::from(&input.audio);
        let text = input.text.as_ref().map(Unit::from);
        let text = text.map_or("no transcripts".to_owned(), |text| text.label);
        Unit {
            label: format!("{}; {text}", audio.label),
            bytes: audio.bytes,
        }
    }
}

/// What is taken of a video in the json.
#[derive(Deserialize)]
struct Video {
    audio_id: String,
    text: Map<String, Value>,
}

/// A part of a video.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Chunk {
    start_cs: u64,
    end_cs: u64,
    index: u64,
    id: String,
    text: String,
}

/// What a chunk's id says. It is read from its end, for the video's id may contain dashes and numbers.
fn parse_id(id: &str, audio_id: &str) -> Option<(u64, u64, u64)> {
    let numbers = id.strip_prefix(audio_id)?.strip_prefix('-')?;
    let mut numbers = numbers.split('-').map(|number| {
        let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
        // times in milliseconds must fit into 32 bits
        let number: u32 = number.parse().ok().filter(|_| is_number)?;
        Some(u64::from(number)).filter(|&number| number < u64::from(u32::MAX / 10))
    });
    let parsed = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(parsed)
}

/// A chunk, or the reason why it is none, and what is wrong.
fn chunk(id: &str, audio_id: &str, text: Value) -> Result<Chunk, (&'static str, String)> {
    let Some((index, start_cs, end_cs)) = parse_id(id, audio_id) else {
        let wanted = "its id is not {audio_id}-{index}-{start}-{end}";
        return Err(("bad-id", wanted.to_owned()));
    };
    if start_cs >= end_cs {
        return Err(("broken-chunk", "it ends where it starts".to_owned()));
    }
    if end_cs - start_cs > LONGEST_CS {
        let secs = (end_cs - start_cs) / 100;
        return Err(("too-long", format!("{secs} s are more than an hour")));
    }
    let Value::String(text) = text else {
        return Err(("bad-json", "its text is no string".to_owned()));
    };
    let id = id.to_owned();
    Ok(Chunk {
        start_cs,
        end_cs,
        index,
        id,
        text,
    })
}

/// Chunks by video, in the order of their starts; `None` once the video has been read.
type Videos = HashMap<String, Option<VecDeque<Chunk>>>;

impl Yodas {
    /// The transcripts of an archive; `None` if there are none that can be read.
    fn videos(&self, input: &Input, emit: &mut dyn Emit) -> crate::Result<Option<Videos>> {
        let bytes = match &input.text {
            Some(text) => self.store.read(&text.path)?,
            None => None,
        };
        let (Some(text), Some(bytes)) = (&input.text, bytes) else {
            let path = &input.audio.path;
            emit.bad(archive::missing_text(path, path, "the folder `text`"))?;
            return Ok(None);
        };
        let path = &text.path;
        let list: Vec<Value> = match serde_json::from_slice(&bytes) {
            Ok(list) => list,
            Err(error) => {
                emit.bad(archive::bad(path, path, "bad-json", &error.to_string()))?;
                return Ok(None);
            }
        };
        drop(bytes);
        let mut videos = Videos::new();
        for (number, video) in list.into_iter().enumerate() {
            let video: Video = match serde_json::from_value(video) {
                Ok(video) => video,
                Err(error) => {
                    let id = format!("{path}:{number}");
                    emit.bad(archive::bad(&id, path, "bad-json", &error.to_string()))?;
                    continue;
                }
            };
            let chunks = videos.entry(video.audio_id.clone()).or_default();
            let chunks = chunks.get_or_insert_default();
            for (id, text) in video.text {
                match chunk(&id, &video.audio_id, text) {
                    Ok(chunk) => chunks.push_back(chunk),
                    Err((reason, problem)) => {
                        emit.bad(archive::bad(&id, path, reason, &format!("{id}: {problem}")))?;
                    }
                }
            }
            chunks.make_contiguous().sort();
        }
        Ok(Some(videos))
    }

    fn member(
        &self,
        input: &Input,
        videos: &mut Videos,
        member: &mut Member<'_>,
        emit: &mut dyn Emit,
    ) -> Result<(), Stop> {
        let Some(id) = member.stem(".wav").map(str::to_owned) else {
            return Ok(());
        };
        let origin = format!("{}:{}", input.audio.path, member.path);
        let chunks = match videos.get_mut(&id) {
            Some(chunks) => chunks.take(),
            None => {
                let wanted = input.text.as_ref().map_or("", |text| &text.path);
                emit.bad(archive::missing_text(&id, &origin, wanted))?;
                return Ok(());
            }
        };
        let Some(mut chunks) = chunks else {
            let problem = "the archive has this video twice; only the first is taken";
            emit.bad(archive::bad(&id, &origin, "repeated", problem))?;
            return Ok(());
        };
        let done = self.video(&id, &origin, &mut chunks, member, emit);
        // what damage left of them is counted at the end
        if !chunks.is_empty() {
            videos.insert(id, Some(chunks));
        }
        done
    }

    /// Cuts a video while it streams by, and takes the chunks that it is done with out of `chunks`.
    fn video(
        &self,
        id: &str,
        origin: &str,
        chunks: &mut VecDeque<Chunk>,
        member: &mut Member<'_>,
        emit: &mut dyn Emit,
    ) -> Result<(), Stop> {
        let mut wav = match WavStream::open(member) {
            Ok(wav) => wav,
            Err(NoWav::Io(error)) => return Err(error.into()),
            Err(NoWav::Content(problem)) => {
                for chunk in chunks.drain(..) {
                    emit.bad(archive::bad(&chunk.id, origin, "not-audio", &problem))?;
                }
                return Ok(());
            }
        };
        while let Some(chunk) = chunks.pop_front() {
            match wav.part(chunk.start_cs, chunk.end_cs) {
                Ok(Some(part)) => emit.utterance(self.utterance(id, origin, chunk, part))?,
                Ok(None) => {
                    let wanted = format!("the video, which ends before {} s", chunk.start_cs / 100);
                    emit.bad(archive::missing_audio(&chunk.id, origin, &wanted))?;
                }
                Err(error) => {
                    chunks.push_front(chunk);
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }

    /// That the recording is as long as the id says is checked where it is decoded.
    fn utterance(&self, video: &str, origin: &str, chunk: Chunk, wav: Vec<u8>) -> RawUtterance {
        let ms = |cs: u64| (cs * 10) as u32;
        RawUtterance {
            document: video.to_owned(),
            position: chunk.index,
            lang: self.lang.clone(),
            origin: origin.to_owned(),
            transcript: Transcript::Text(chunk.text),
            audio: RawAudio::Recording(archive::in_memory(&format!("{origin}:{}", chunk.id), wav)),
            declared_secs: Some((chunk.end_cs - chunk.start_cs) as f64 / 100.0),
            span_ms: Some((ms(chunk.start_cs), ms(chunk.end_cs))),
            id: chunk.id,
            ..RawUtterance::default()
        }
    }
}

impl Source for Yodas {
    fn kind(&self) -> &'static str {
        "yodas"
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn arguments(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn grouping(&self) -> Grouping {
        Grouping::Sorted { gap_ms: None }
    }

    fn read(&self, unit: usize, emit: &mut dyn Emit) -> crate::Result<()> {
        let input = &self.inputs[unit];
        let Some(mut videos) = self.videos(input, emit)? else {
            return Ok(());
        };
        archive::read_members(&self.store, &input.audio, emit, |member, emit| {
            self.member(input, &mut videos, member, emit)
        })?;
        let mut left: Vec<_> = videos.into_values().flatten().flatten().collect();
        left.sort_by(|a, b| a.id.cmp(&b.id));
        for chunk in left {
            let path = &input.audio.path;
            emit.bad(archive::missing_audio(&chunk.id, path, path))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
