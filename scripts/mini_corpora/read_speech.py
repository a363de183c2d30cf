"""Corpora whose documents are single utterances in parquet or flac files: LibriSpeech, LibriTTS-R, People's Speech."""

import pathlib

import pyarrow as pa

from . import clips, files
from .expected import Dataset, write

STRING = pa.string()


def librispeech_tree(root: pathlib.Path) -> Dataset:
    """{split}/{speaker}/{chapter}/{id}.flac with {speaker}-{chapter}.trans.txt, as openslr.org/12 unpacks."""
    dataset = Dataset("librispeech-train", "LibriSpeech")
    # chapter: utterances as (clip, seconds, what is wrong)
    chapters = {
        "train-clean-100/103/1240": [
            ("en-0-1", 0.6, None), ("en-0-2", 0.5, None), ("en-0-3", 0.4, "missing-text"),
            ("en-1-0", 0.4, "missing-audio"), ("en-1-1", 0.4, "empty-transcript"), ("en-1-2", 0.5, None)],
        "train-clean-100/19/198": [("en-1-3", 0.6, None)],
        "train-other-500/1006/135212": [("en-2-0", 0.6, None), ("en-2-1", 0.5, None)],
        "dev-clean/84/121123": [("en-2-2", 0.4, None)],
    }
    for chapter, utterances in chapters.items():
        split, speaker, number = chapter.split("/")
        lines = []
        for index, (name, secs, fault) in enumerate(utterances):
            key, piece = f"{speaker}-{number}-{index:04}", clips.clip(name, 16_000, secs)
            text = {"missing-text": None, "empty-transcript": ""}.get(fault, piece.text.upper().strip(".?!"))
            if text is not None:
                lines.append(f"{key} {text}\n")
            if fault != "missing-audio":
                files.write(root / "LibriSpeech" / chapter / f"{key}.flac", piece.encode("flac"))
            if split.startswith("train"):
                audio = {"path": f"{chapter}/{key}.flac"}
                dataset.utterance(chapter, key, "en", text and text.lower(), audio, fault, speaker=0)
        files.write(root / "LibriSpeech" / chapter / f"{speaker}-{number}.trans.txt", "".join(lines).encode())
    return dataset


def librispeech_parquet(root: pathlib.Path) -> Dataset:
    """openslr/librispeech_asr: all/{split}/NNNN.parquet."""
    dataset = Dataset("librispeech-train", "librispeech_asr")
    columns = {"file": STRING, "audio": files.AUDIO, "text": STRING, "speaker_id": pa.int64(), "chapter_id": pa.int64(),
               "id": STRING}
    parts = {
        "all/train.clean.100/0000.parquet": [
            ("374-180298-0000", "en-0-1", 0.6, None), ("374-180298-0001", "en-0-2", 0.5, None),
            ("374-180298-0002", "en-0-3", 0.4, "empty-transcript")],
        "all/train.clean.100/0001.parquet": [
            ("2514-149482-0000", "en-1-0", 0.6, None), ("2514-149482-0001", "en-1-1", 0.4, "not-audio"),
            ("2514-149482-0002", "en-1-2", 0.5, None)],
        "all/train.other.500/0000.parquet": [("25-123319-0000", "en-1-3", 0.5, None)],
        "all/test.clean/0000.parquet": [("6930-75918-0000", "en-2-0", 0.4, None)],
    }
    for path, utterances in parts.items():
        rows = []
        for row, (key, name, secs, fault) in enumerate(utterances):
            speaker, chapter, _ = key.split("-")
            piece = clips.clip(name, 16_000, secs)
            text = "" if fault == "empty-transcript" else piece.text.upper().strip(".?!")
            rows.append({"file": f"{key}.flac", "audio": sound(piece, "flac", f"{key}.flac", fault), "text": text,
                         "speaker_id": int(speaker), "chapter_id": int(chapter), "id": key})
            if "train" in path:
                dataset.utterance(path, key, "en", text.lower(), cell(path, row), fault, speaker=0)
        files.parquet(root / "librispeech_asr" / path, columns, rows)
    return dataset


def libritts(root: pathlib.Path) -> Dataset:
    """mythicinfinity/libritts_r: data/{split}/{split}-NNNNN-of-NNNNN.parquet; the text is text_normalized."""
    dataset = Dataset("libritts-train")
    columns = {"audio": files.AUDIO, "text_normalized": STRING, "text_original": STRING, "speaker_id": STRING,
               "path": STRING, "chapter_id": STRING, "id": STRING}
    parts = {
        "data/train.clean.100/train.clean.100-00000-of-00002.parquet": [
            ("103_1241_000000_000001", "en-0-1", 0.5, None), ("103_1241_000002_000000", "en-0-2", 0.4, "empty-transcript"),
            ("103_1241_000004_000003", "en-0-3", 0.5, None)],
        "data/train.clean.100/train.clean.100-00001-of-00002.parquet": [
            ("26_495_000004_000000", "en-1-0", 0.4, "missing-audio"), ("26_495_000006_000000", "en-1-1", 0.5, None)],
        "data/dev.clean/dev.clean-00000-of-00001.parquet": [("84_121123_000007_000001", "en-1-2", 0.4, None)],
    }
    for path, utterances in parts.items():
        rows = []
        for row, (key, name, secs, fault) in enumerate(utterances):
            piece = clips.clip(name, 24_000, secs)
            text = "\n" if fault == "empty-transcript" else f"{piece.text} "
            original = piece.text.replace("Good", "GOOD").replace("The", "Ye")
            rows.append({"audio": sound(piece, "wav", f"{key}.wav", fault), "text_normalized": text,
                         "text_original": original, "speaker_id": key.split("_")[0], "chapter_id": key.split("_")[1],
                         "path": f"/LibriTTS_R/train-clean-100/{key}.wav", "id": key})
            if "train" in path:
                dataset.utterance(path, key, "en", text, cell(path, row), fault, speaker=0)
        files.parquet(root / path, columns, rows)
    return dataset


def peoples_speech(root: pathlib.Path) -> list[Dataset]:
    """MLCommons/peoples_speech: {config}/train-NNNNN-of-NNNNN.parquet, each with duration_ms."""
    datasets = {"clean": Dataset("peoples-speech-clean"), "clean_sa": Dataset("peoples-speech-clean_sa")}
    columns = {"id": STRING, "audio": files.AUDIO, "duration_ms": pa.int32(), "text": STRING}
    parts = {
        "clean/train-00000-of-00002.parquet": [("en-0-1", 0.6, None), ("en-0-2", 0.4, "duration"), ("en-0-3", 0.5, None)],
        "clean/train-00001-of-00002.parquet": [("en-1-0", 0.5, None), ("en-1-1", 0.4, "missing-text")],
        "clean_sa/train-00000-of-00002.parquet": [("en-1-2", 0.5, None)],
        "clean_sa/train-00001-of-00002.parquet": [("en-1-3", 0.4, "not-audio"), ("en-2-0", 0.5, None)],
        "validation/validation-00000-of-00001.parquet": [("en-2-1", 0.4, None)],
    }
    for path, utterances in parts.items():
        config, rows = path.split("/")[0], []
        for row, (name, secs, fault) in enumerate(utterances):
            key = f"07282016HFUUforum_SLASH_{path[:-8].replace('/', '_DOT_')}_{row:05}.flac"
            piece = clips.clip(name, 16_000, secs)
            text = None if fault == "missing-text" else piece.text.lower().strip(".?!")
            duration_ms = round(piece.secs * 1000) + (9000 if fault == "duration" else 0)
            rows.append({"id": key, "audio": sound(piece, "flac", key, fault), "duration_ms": duration_ms, "text": text})
            if config in datasets:
                datasets[config].utterance(path, key, "en", text, cell(path, row), fault)
        files.parquet(root / path, columns, rows)
    return list(datasets.values())


def sound(piece: clips.Clip, kind: str, name: str, fault: str | None) -> dict | None:
    """The audio cell of a row."""
    if fault == "missing-audio":
        return None
    return {"bytes": files.damaged_sound() if fault == "not-audio" else piece.encode(kind), "path": name}


def cell(path: str, row: int, column: str = "audio") -> dict:
    return {"path": path, "row": row, "column": column}


def make_librispeech(root: pathlib.Path) -> None:
    write(root, [librispeech_tree(root), librispeech_parquet(root)])


def make_libritts(root: pathlib.Path) -> None:
    write(root, [libritts(root)])


def make_peoples_speech(root: pathlib.Path) -> None:
    write(root, peoples_speech(root))
