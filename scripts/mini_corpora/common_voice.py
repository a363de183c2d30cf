"""Common Voice 17: Mozilla's download (tsv and clips), the hub's copy (tsv and tars of clips), and parquet."""

import dataclasses
import pathlib

import pyarrow as pa

from . import clips, files
from .expected import Dataset, write
from .read_speech import STRING, cell, sound

COLUMNS = ["client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
           "accents", "variant", "locale", "segment"]
RATE_HZ = 32_000


@dataclasses.dataclass
class Line:
    """A clip and its line of the table."""

    number: int
    piece: clips.Clip
    sentence: str
    fault: str | None = None

    @property
    def key(self) -> str:
        return f"common_voice_en_{self.number}"

    def cells(self) -> dict[str, str]:
        client = f"{self.number % 3:x}" * 32
        values = [client, f"{self.key}.mp3", f"{self.number:064x}", self.sentence, "", "2", "0", "", "", "", "", "en", ""]
        return dict(zip(COLUMNS, values))


def line(number: int, name: str, secs: float, sentence: str | None = None, fault: str | None = None) -> Line:
    piece = clips.clip(name, RATE_HZ, secs)
    return Line(number, piece, piece.text if sentence is None else sentence, fault)


def training() -> list[Line]:
    """Sentences with quotation marks, which the tables do not escape, and spaces around; then what is faulty."""
    return [
        line(17285810, "en-0-1", 0.6), line(17285811, "en-0-2", 0.5, '"Where is the cat?" she said, "On the chair.'),
        line(101, "en-0-3", 0.5, "  The dog waits. "), line(17285813, "en-1-0", 0.4, ""),
        line(17285814, "en-1-1", 0.5, "It's 5\u2033 long, isn't it?"),
    ]


def held_out() -> list[Line]:
    return [line(18000000, "en-1-2", 0.4)]


def table(lines: list[Line]) -> bytes:
    rows = [COLUMNS] + [list(l.cells().values()) for l in lines]
    return "".join("\t".join(row) + "\n" for row in rows).encode("utf-8")


def mozilla(root: pathlib.Path) -> Dataset:
    """cv-corpus-17.0-2024-03-15/en/{train,dev}.tsv and clips/*.mp3."""
    folder = "cv-corpus-17.0-2024-03-15"
    dataset, base = Dataset("commonvoice17-en", folder), root / folder / "en"
    lines = training() + [line(17285815, "en-1-3", 0.4, fault="missing-audio"),
                          line(17285816, "en-2-0", 0.4, fault="not-audio")]
    for l in lines + held_out():
        if l.fault != "missing-audio":
            files.write(base / "clips" / f"{l.key}.mp3", files.damaged_sound() if l.fault else l.piece.encode("mp3"))
    files.write(base / "train.tsv", table(lines))
    files.write(base / "dev.tsv", table(held_out()))
    durations = "".join(f"{l.key}.mp3\t{round(l.piece.secs * 1000)}\n" for l in lines + held_out())
    files.write(base / "clip_durations.tsv", b"clip\tduration[ms]\n" + durations.encode())
    for l in lines:
        dataset.utterance("en/train.tsv", l.key, "en", l.sentence, {"path": f"en/clips/{l.key}.mp3"}, l.fault, speaker=0)
    return dataset


def hub(root: pathlib.Path) -> Dataset:
    """transcript/en/{split}.tsv and audio/en/{split}/en_{split}_{n}.tar; the tars' order is not the table's."""
    folder = "common_voice_17_0"
    dataset, base = Dataset("commonvoice17-en", folder), root / folder
    lines = training()
    stray = line(17285819, "en-2-1", 0.4, fault="missing-text")
    archives = {"train/en_train_0.tar": [lines[2], lines[0]], "train/en_train_1.tar": [lines[4], stray, lines[3], lines[1]],
                "dev/en_dev_0.tar": held_out()}
    for path, members in archives.items():
        unit, stem = f"audio/en/{path}", pathlib.PurePosixPath(path).stem
        data = files.tar([(f"{stem}/", b"")] + [(f"{stem}/{l.key}.mp3", l.piece.encode("mp3")) for l in members])
        files.write(base / unit, data)
        for l in members if path.startswith("train") else []:
            sentence = None if l.fault == "missing-text" else l.sentence
            dataset.utterance(unit, l.key, "en", sentence, {"path": unit, "member": f"{stem}/{l.key}.mp3"}, None, speaker=0)
    files.write(base / "transcript/en/train.tsv", table(lines))
    files.write(base / "transcript/en/dev.tsv", table(held_out()))
    return dataset


def parquet(root: pathlib.Path) -> Dataset:
    """en/{split}-NNNNN-of-NNNNN.parquet: the table's columns, with the clip in `audio`."""
    folder = "common_voice_17_0_parquet"
    dataset, lines = Dataset("commonvoice17-en", folder), training()
    columns = {"client_id": STRING, "path": STRING, "audio": files.AUDIO, "sentence": STRING, "up_votes": pa.int64(),
               "down_votes": pa.int64(), "locale": STRING}
    parts = {"en/train-00000-of-00002.parquet": lines[:3], "en/train-00001-of-00002.parquet": lines[3:],
             "en/validation-00000-of-00001.parquet": held_out()}
    for unit, part in parts.items():
        rows = []
        for row, l in enumerate(part):
            values = l.cells() | {"audio": sound(l.piece, "mp3", f"{l.key}.mp3", l.fault), "up_votes": 2, "down_votes": 0}
            rows.append({name: values[name] for name in columns})
            if "train" in unit:
                dataset.utterance(unit, l.key, "en", l.sentence, cell(unit, row), l.fault, speaker=0)
        files.parquet(root / folder / unit, columns, rows)
    return dataset


def make(root: pathlib.Path) -> None:
    write(root, [mozilla(root), hub(root), parquet(root)])
