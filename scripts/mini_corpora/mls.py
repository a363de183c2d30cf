"""MLS English (parler-tts/mls_eng): data/train-00000-of-0000N.parquet; a recording's utterances lie in any file."""

import dataclasses
import pathlib
import random

import pyarrow as pa

from . import clips, files
from .expected import Dataset, segment, transcript_fault, write

RATE_HZ = 16_000
FILES = 3
COLUMNS = {"audio": files.AUDIO, "original_path": pa.string(), "begin_time": pa.float64(), "end_time": pa.float64(),
           "transcript": pa.string(), "audio_duration": pa.float64(), "speaker_id": pa.string(), "book_id": pa.string()}

# Utterances follow each other up to this distance; over it a new document starts.
NEXT_WITHIN_SECS = 0.2


@dataclasses.dataclass
class Utterance:
    """A row and, once it is placed, where."""

    row: dict
    fault: str | None
    place: dict | None = None

    @property
    def key(self) -> str:
        return f"{self.row['original_path']}-{milliseconds(self.row['begin_time']):08}"


def milliseconds(secs: float) -> int:
    return round(secs * 1000)


def recording(book: str, speaker: str, first_begin: float, spoken: list[tuple]) -> list[Utterance]:
    """Utterances of one recording: (clip, seconds, distance to the one before, encoding), then what is wrong, if so."""
    path = f"http://www.archive.org/download/{book}_librivox/{book}_01_{speaker}_64kb.mp3"
    utterances, end = [], first_begin
    for name, secs, distance, kind, *fault in spoken:
        fault = fault[0] if fault else None
        piece = clips.clip(name, RATE_HZ, secs)
        begin = round(end + distance, 2)
        end = round(begin + secs, 2)
        sound = {"not-audio": files.damaged_sound(), "missing-audio": None}.get(fault, piece.encode(kind))
        audio = None if sound is None else {"bytes": sound, "path": f"{speaker}_{book}_{len(utterances):06}.{kind}"}
        text = {"empty-transcript": "  "}.get(fault, piece.text.lower().rstrip(".?!") + (" " if distance else ""))
        utterances.append(Utterance({
            "audio": audio, "original_path": path, "begin_time": begin, "end_time": end, "transcript": text,
            "audio_duration": secs * 4 if fault == "duration" else secs, "speaker_id": speaker, "book_id": book}, fault))
    return utterances


def recordings() -> list[list[Utterance]]:
    return [
        # one document, in all three files
        recording("emma_0812", "7447", 12.5, [("en-0-1", 0.6, 0, "flac"), ("en-0-2", 0.5, 0, "opus"),
                                              ("en-0-3", 0.7, 0, "wav"), ("en-1-0", 0.4, 0, "opus"),
                                              ("en-1-1", 0.6, 0, "flac")]),
        # distances of 0.15 s either way hold a document together, 0.25 s and an overlap of 0.4 s do not
        recording("dracula_1209", "2156", 0.0, [("en-1-2", 0.7, 0, "opus"), ("en-1-3", 0.7, 0.15, "flac"),
                                                ("en-2-0", 0.6, 0.25, "flac"), ("en-2-1", 0.6, -0.15, "opus"),
                                                ("en-2-2", 0.8, -0.4, "opus")]),
        # a long gap after a bad utterance at the end of a document, and one at the end of the recording
        recording("walden_c05", "10148", 1034.96, [("en-2-3", 0.6, 0, "opus"),
                                                   ("en-3-0", 0.4, 0, "flac", "empty-transcript"),
                                                   ("en-3-1", 0.5, 9.3, "flac"), ("en-3-2", 0.4, 0, "flac", "not-audio")]),
        # nothing of this one is left
        recording("silas_0906", "31", 7.0, [("en-3-3", 0.4, 0, "opus", "duration"),
                                            ("en-0-1", 0.4, 30, "flac", "missing-audio")]),
        # begins so early that its document's name ends in zeros, and shares a speaker with another book
        recording("persuasion_12", "7447", 0.0, [("en-0-2", 0.5, 0, "wav")]),
    ]


def place(all_recordings: list[list[Utterance]]) -> list[list[Utterance]]:
    """Deals each recording's utterances to the files in turn, and shuffles every file."""
    dealt: list[list[Utterance]] = [[] for _ in range(FILES)]
    for number, utterances in enumerate(all_recordings):
        for index, utterance in enumerate(utterances):
            dealt[(number + 2 * index) % FILES].append(utterance)
    for number, part in enumerate(dealt):
        random.Random(f"mls-{number}").shuffle(part)
        for row, utterance in enumerate(part):
            utterance.place = {"path": f"data/train-{number:05}-of-{FILES:05}.parquet", "row": row, "column": "audio"}
    return dealt


def documents(utterances: list[Utterance]) -> list[list[Utterance]]:
    """Cuts a recording's utterances where the next does not begin where the one before ended."""
    groups: list[list[Utterance]] = []
    for utterance in sorted(utterances, key=lambda u: u.row["begin_time"]):
        if groups and abs(utterance.row["begin_time"] - groups[-1][-1].row["end_time"]) <= NEXT_WITHIN_SECS:
            groups[-1].append(utterance)
        else:
            groups.append([utterance])
    return groups


def expect(dataset: Dataset, all_recordings: list[list[Utterance]]) -> None:
    found = []
    for utterances in all_recordings:
        reasons = {id(u): u.fault or transcript_fault(u.row["transcript"]) for u in utterances}
        for u in utterances:
            if reasons[id(u)]:
                dataset.skip(u.place["path"], u.key, reasons[id(u)])
        good = [u for u in utterances if not reasons[id(u)]]
        # a bad utterance stands at a document's end, so it does not matter whether it is left out before the cut or after
        cut_first = [[u for u in group if u in good] for group in documents(utterances)]
        assert documents(good) == [group for group in cut_first if group]
        found += documents(good)
    for group in sorted(found, key=lambda group: group[0].key):
        dataset.document(group[0].key, "en", None, [
            segment(u.row["transcript"].strip(), u.place, start_ms=milliseconds(u.row["begin_time"]),
                    end_ms=milliseconds(u.row["end_time"]), speaker=0) for u in group])


def make(root: pathlib.Path) -> None:
    all_recordings = recordings()
    for part in place(all_recordings):
        files.parquet(root / part[0].place["path"], COLUMNS, [u.row for u in part])
    dataset = Dataset("mls-en", order="any")
    expect(dataset, all_recordings)
    write(root, [dataset])
