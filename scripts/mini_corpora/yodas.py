"""YODAS2: data/{shard}/audio/{sub}.tar.gz with a 24 kHz wav a video, data/{shard}/text/{sub}.json with its chunks.

A chunk's id is `{audio_id}-{index:05}-{start:08}-{end:08}` in centiseconds; its audio is that part of the video's wav.
"""

import dataclasses
import json
import pathlib

import numpy as np

from . import clips, files
from .expected import Dataset, segment, transcript_fault, write

RATE_HZ = 24_000
CENTISECOND = RATE_HZ // 100


@dataclasses.dataclass
class Video:
    """`wav` is None where the archive lacks it, `chunks` where the json does. Chunks: (index, start, end, text)."""

    audio_id: str
    wav: bytes | None
    samples: int
    chunks: list[tuple[int, int, int, object]] | None

    def chunk_id(self, chunk: tuple) -> str:
        index, start, end, _ = chunk
        return f"{self.audio_id}-{index:05}-{start:08}-{end:08}"


def speech(audio_id: str, utterances: list[tuple[str, float]], gap_secs: float = 0.1, lead: np.ndarray | None = None):
    """A video that says `utterances` (name, seconds) one after another, after the sound `lead`; a chunk each."""
    parts, chunks = ([] if lead is None else [lead]), []
    position = 0 if lead is None else len(lead)
    for index, (name, secs) in enumerate(utterances):
        piece = clips.clip(name, RATE_HZ, secs)
        start = position // CENTISECOND
        end = (position + len(piece.samples)) // CENTISECOND
        parts += [piece.samples, np.zeros(round(gap_secs * RATE_HZ), dtype="<i2")]
        position += len(parts[-2]) + len(parts[-1])
        chunks.append((index, start, end, piece.text))
    samples = np.concatenate(parts)
    return Video(audio_id, clips.encode(samples, RATE_HZ, "wav"), len(samples), chunks)


def first_shard() -> list[Video]:
    dashes = speech("Yab-3_x--Q9", [("en-0-1", 0.8), ("en-0-2", 0.7), ("en-0-3", 0.6)])
    end = dashes.chunks[-1][2]
    dashes.chunks.append((3, end, end, "nothing is said here"))
    first, second, third, broken = dashes.chunks
    dashes.chunks = [third, first, broken, (1, *second[1:3], f"  {second[3]}\n")]
    like_a_chunk = speech("Yz-00001-00", [("en-1-0", 0.7), ("en-1-1", 0.5)])
    like_a_chunk.chunks[1] = (*like_a_chunk.chunks[1][:3], " \n\t ")
    long_secs = 62.5
    long = speech("Ylong0minut", [("en-1-2", 0.6)], lead=clips.tones(long_secs, RATE_HZ))
    long.chunks = [(0, 0, round(long_secs * 100), "A very long tone."), (1, *long.chunks[0][1:])]
    no_wav = Video("Ymissing-wv", None, 0, [(0, 100, 250, "This video was taken down.")])
    no_json = speech("Ynojson_000", [("en-1-3", 0.4)])
    no_json.chunks = None
    return [long, dashes, no_wav, like_a_chunk, no_json]


def second_shard() -> list[Video]:
    short = speech("Yg-Y2--S7q8", [("en-2-0", 0.7)])
    end = short.samples // CENTISECOND
    short.chunks += [(1, end - 30, end + 30, "Half of this is there."), (2, end + 500, end + 700, "None of this is there.")]
    garbage = Video("Ygarbage--_", files.damaged_sound(), 600, [(0, 0, 100, "No recording.")])
    wrong_type = speech("Ywrong_type", [("en-2-1", 0.5), ("en-2-2", 0.5)])
    wrong_type.chunks[0] = (*wrong_type.chunks[0][:3], 12)
    empty = speech("Yno__chunks", [("en-2-3", 0.3)])
    empty.chunks = []
    return [short, garbage, wrong_type, empty]


def shards() -> dict[str, tuple[str, list[Video], str]]:
    """By audio path: language, videos in the json's order, and how the archive names its members."""
    return {
        "data/en000/audio/00000000.tar.gz": ("en", first_shard(), "{}.wav"),
        "data/en000/audio/00000001.tar.gz": ("en", second_shard(), "{}.wav"),
        "data/en100/audio/00000000.tar.gz": ("en", [speech("Yauto-cap-1", [("en-3-0", 0.8), ("en-3-1", 0.6)]),
                                                    speech("Y_utomatic2", [("en-3-2", 0.6)])], "./{}.wav"),
        "data/es000/audio/00000000.tar.gz": ("es", [speech("Yes-mx_0001", [("es-0-1", 0.7), ("es-0-2", 0.5)])],
                                             "00000000/{}.wav"),
        "data/es000/audio/00000001.tar.gz": ("es", [speech("Y-es_000002", [("es-1-0", 0.6)]),
                                                    speech("Y-es_000001", [("es-1-1", 0.6)])], "00000001/{}.wav"),
    }


def chunk_fault(video: Video, chunk: tuple) -> str | None:
    """Why a chunk cannot be used."""
    _, start, end, text = chunk
    if start == end:
        return "broken-chunk"
    if transcript_fault(text):
        return transcript_fault(text)
    if video.wav is None or start * CENTISECOND >= video.samples:
        return "missing-audio"
    if video.wav == files.damaged_sound():
        return "not-audio"
    return "duration" if end * CENTISECOND > video.samples else None


def expect(dataset: Dataset, unit: str, videos: list[Video], member: str, lang: str) -> None:
    for video in sorted(videos, key=lambda video: video.audio_id):
        if video.chunks is None:
            dataset.skip(unit, video.audio_id, "missing-text")
            continue
        segments = []
        for chunk in sorted(video.chunks, key=lambda chunk: chunk[0]):
            reason = chunk_fault(video, chunk)
            if reason:
                dataset.skip(unit, video.chunk_id(chunk), reason)
                continue
            _, start, end, text = chunk
            audio = {"path": unit, "member": member.format(video.audio_id), "from_ms": start * 10, "to_ms": end * 10}
            segments.append(segment(text.strip(), audio, start_ms=start * 10, end_ms=end * 10))
        dataset.document(video.audio_id, lang, unit, segments)


def archive(videos: list[Video], member: str) -> bytes:
    """The videos' wavs in the reverse of the json's order, after their folder where they have one."""
    folder = [(str(pathlib.PurePosixPath(member).parent) + "/", b"")] if member.count("/") else []
    return files.gz(files.tar(folder + [(member.format(v.audio_id), v.wav) for v in videos[::-1] if v.wav is not None]))


def text_json(videos: list[Video]) -> bytes:
    entries = [{"audio_id": v.audio_id, "text": {v.chunk_id(chunk): chunk[3] for chunk in v.chunks}}
               for v in videos if v.chunks is not None]
    return json.dumps(entries, ensure_ascii=False, indent=2).encode("utf-8")


def make(root: pathlib.Path) -> None:
    datasets = {lang: Dataset(f"yodas2-{lang}") for lang in ("en", "es")}
    for unit, (lang, videos, member) in shards().items():
        files.write(root / unit, archive(videos, member))
        files.write(root / unit.replace("/audio/", "/text/").replace(".tar.gz", ".json"), text_json(videos))
        expect(datasets[lang], unit, videos, member, lang)
    write(root, list(datasets.values()))
