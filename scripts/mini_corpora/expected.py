"""What must come out of a corpus: the documents and the bad records of each dataset."""

import collections
import json
import pathlib


def segment(text: str, audio: dict | None = None, codes: list[int] | None = None, start_ms: int | None = None,
            end_ms: int | None = None, speaker: int | None = None) -> dict:
    """`audio` says where the recording is whose codes are expected; `codes` are the codes themselves, frame-major."""
    entry = {"text": text, "audio": audio, "start_ms": start_ms, "end_ms": end_ms, "speaker": speaker}
    return entry if codes is None else entry | {"codes": codes}


def speakers(labels: list[str]) -> list[int]:
    """Labels as numbers, in order of first appearance."""
    seen = list(dict.fromkeys(labels))
    return [seen.index(label) for label in labels]


class Dataset:
    """The documents of one component, in order, and the records that are left out."""

    def __init__(self, component: str, input_folder: str = ".", order: str = "listed"):
        self.component = component
        self.input = input_folder
        self.order = order
        self.documents: list[dict] = []
        self.skipped: list[dict] = []

    def document(self, name: str, lang: str | None, unit: str | None, segments: list[dict]) -> None:
        """A document without segments is none."""
        if segments:
            self.documents.append({"id": name, "lang": lang, "unit": unit, "segments": segments})

    def skip(self, unit: str | None, record: str, reason: str) -> None:
        self.skipped.append({"unit": unit, "record": record, "reason": reason})

    def utterance(self, unit: str | None, name: str, lang: str, text: str | None, audio: dict | None, fault: str | None,
                  speaker: int | None = None) -> None:
        """A document of one utterance, unless its text or its recording (`fault`) is bad."""
        reason = transcript_fault(text) or fault
        if reason:
            self.skip(unit, name, reason)
        else:
            self.document(name, lang, unit, [segment(text.strip(), audio, speaker=speaker)])

    def as_json(self) -> dict:
        counts = collections.Counter(entry["reason"] for entry in self.skipped)
        return {"component": self.component, "input": self.input, "order": self.order,
                "counts": dict(sorted(counts.items())), "skipped": self.skipped, "documents": self.documents}


def transcript_fault(text: object) -> str | None:
    if text is None:
        return "missing-text"
    if not isinstance(text, str):
        return "bad-json"
    return None if text.strip() else "empty-transcript"


def write(root: pathlib.Path, datasets: list[Dataset]) -> None:
    value = {"datasets": [dataset.as_json() for dataset in datasets]}
    (root / "expected.json").write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
