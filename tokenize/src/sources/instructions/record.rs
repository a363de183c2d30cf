//! A line: its JSON, and the utterances that it stands for.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::InstructionFile;
use crate::skipped::BadRecord;
use crate::source::{RawAudio, RawUtterance, Transcript};
use crate::sources::lines::{self, Line};

/// A line that is what it should be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    id: Option<String>,
    instruction: Content,
    response: Content,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "instruction and response are each a text, or a list of texts and of {\"audio\": \"PATH\"}"
)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Audio(Audio),
}

/// By way of a map: a struct would be read from a list, too.
#[derive(Deserialize)]
#[serde(try_from = "Map<String, Value>")]
struct Audio {
    audio: String,
}

impl TryFrom<Map<String, Value>> for Audio {
    type Error = &'static str;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, Self::Error> {
        match (map.remove("audio"), map.is_empty()) {
            (Some(Value::String(audio)), true) => Ok(Audio { audio }),
            _ => Err("a recording is {\"audio\": \"PATH\"}"),
        }
    }
}

/// Why a line is left out.
pub struct Fault {
    /// The line's own name.
    id: Option<String>,
    reason: &'static str,
    problem: String,
}

impl Fault {
    fn new(reason: &'static str, problem: String) -> Self {
        let id = None;
        Fault {
            id,
            reason,
            problem,
        }
    }

    /// The bad record.
    pub fn at(self, file: &InstructionFile, number: u64) -> BadRecord {
        let path = format!("{}:{number}", file.name);
        BadRecord {
            id: self.id.unwrap_or_else(|| path.clone()),
            message: format!("{path}: {}", self.problem),
            path,
            reason: self.reason.to_owned(),
        }
    }
}

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// The fault of one that is too long, or not as it should be.
    pub fn parse(line: &Line<'_>) -> Result<Self, Fault> {
        let content = line
            .content
            .ok_or_else(|| Fault::new("too-large", lines::too_long()))?;
        let content = content.trim_ascii();
        if content.first() != Some(&b'{') {
            let problem = "no JSON object, {\"instruction\": …, \"response\": …}";
            return Err(Fault::new("bad-json", problem.to_owned()));
        }
        let mut record: Record = serde_json::from_slice(content)
            .map_err(|error| Fault::new("bad-json", lines::json_problem(&error)))?;
        record.id = record.id.filter(|id| !id.is_empty());
        Ok(record)
    }

    /// The line's own name.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The fault of a line whose name another line has.
    pub fn repeated(self) -> Fault {
        let problem = "a line before it has the same id; only the first is taken".to_owned();
        Fault {
            id: self.id,
            ..Fault::new("repeated", problem)
        }
    }

    /// Paths of the recordings.
    pub fn recordings(&self) -> impl Iterator<Item = &str> {
        let parts = self.instruction.parts().chain(self.response.parts());
        parts.filter_map(|part| match part {
            PartRef::Audio(path) => Some(path),
            PartRef::Text(_) => None,
        })
    }

    /// The parts, in order.
    ///
    /// # Errors
    /// The fault of one without content, or without the file of a recording.
    pub fn utterances(
        self,
        file: &InstructionFile,
        number: u64,
    ) -> Result<Vec<RawUtterance>, Fault> {
        let origin = format!("{}:{number}", file.name);
        let id = self.id.clone().unwrap_or_else(|| origin.clone());
        let sides = [
            ("instruction", "empty-instruction", &self.instruction),
            ("response", "empty-response", &self.response),
        ];
        let fault = |reason, problem| Fault {
            id: self.id.clone(),
            ..Fault::new(reason, problem)
        };
        let mut utterances = Vec::new();
        for (side, empty, content) in sides {
            if content.parts().any(|part| part.is_blank()) || content.parts().next().is_none() {
                let problem = format!("the {side} is empty, or one of its parts");
                return Err(fault(empty, problem));
            }
            for part in content.parts() {
                let (transcript, audio) = part
                    .content(file)
                    .map_err(|problem| fault("missing-audio", problem))?;
                utterances.push(RawUtterance {
                    id: id.clone(),
                    document: id.clone(),
                    lang: "und".to_owned(),
                    origin: origin.clone(),
                    transcript,
                    audio,
                    speaker: Some(side.to_owned()),
                    ..RawUtterance::default()
                });
            }
        }
        let others = utterances.len() - 1;
        utterances.iter_mut().for_each(|part| part.others = others);
        Ok(utterances)
    }
}

/// A text or the path of a recording.
#[derive(Clone, Copy)]
enum PartRef<'a> {
    Text(&'a str),
    Audio(&'a str),
}

impl Content {
    fn parts(&self) -> impl Iterator<Item = PartRef<'_>> {
        let (text, parts) = match self {
            Content::Text(text) => (Some(PartRef::Text(text)), &[][..]),
            Content::Parts(parts) => (None, &parts[..]),
        };
        let parts = parts.iter().map(|part| match part {
            Part::Text(text) => PartRef::Text(text),
            Part::Audio(Audio { audio }) => PartRef::Audio(audio),
        });
        text.into_iter().chain(parts)
    }
}

impl PartRef<'_> {
    fn is_blank(self) -> bool {
        let (PartRef::Text(content) | PartRef::Audio(content)) = self;
        content.trim().is_empty()
    }

    /// What is said, and how it sounds.
    fn content(self, file: &InstructionFile) -> Result<(Transcript, RawAudio), String> {
        let path = match self {
            PartRef::Text(text) => {
                return Ok((Transcript::Text(text.to_owned()), RawAudio::None));
            }
            PartRef::Audio(relative) => file.recording(relative),
        };
        match path.is_file() {
            true => {
                let recording = RawAudio::Recording(audio::Input::File(path));
                Ok((Transcript::None, recording))
            }
            false => Err(format!(
                "there is no file {}; paths are relative to {}",
                path.display(),
                file.name
            )),
        }
    }
}
