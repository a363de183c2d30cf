"""CVSS pairs in parquet: id, original_text, original_audio, translated_text, translated_audio, in a folder a language."""

import pathlib

from . import clips, files
from .expected import Dataset, segment, transcript_fault, write
from .read_speech import STRING, cell, sound

COLUMNS = {"id": STRING, "original_text": STRING, "original_audio": files.AUDIO, "translated_text": STRING,
           "translated_audio": files.AUDIO}

# The original's clip tells the same story in another language. What is wrong is wrong with the translation.
PARTS = {
    "es/train-00000-of-00002.parquet": [("es-0-1", "en-0-1", None), ("es-0-2", "en-0-2", "empty-transcript"),
                                        ("es-0-3", "en-0-3", None)],
    "es/train-00001-of-00002.parquet": [("es-1-0", "en-1-0", "missing-audio"), ("es-1-1", "en-1-1", None),
                                        ("es-1-2", "en-1-2", "not-audio")],
    "de/train-00000-of-00002.parquet": [("de-0-1", "en-0-1", None)],
    "de/train-00001-of-00002.parquet": [("de-0-2", "en-0-2", None), ("de-0-3", "en-0-3", "missing-text")],
    "es/test-00000-of-00001.parquet": [("es-1-3", "en-1-3", None)],
}


def method_1(lang: str, row: dict, unit: str, index: int) -> list[dict]:
    """Sound of the original, its text, the translation's text, the translation's sound: a segment each, so that every
    view keeps their order."""
    return [
        segment("", cell(unit, index, "original_audio")),
        segment(f"<language>{lang}</language>{row['original_text'].strip()}"),
        segment(f"<language>en</language>{row['translated_text'].strip()}"),
        segment("", cell(unit, index, "translated_audio")),
    ]


def make(root: pathlib.Path) -> None:
    datasets = {lang: Dataset(f"cvss-{lang}") for lang in ("de", "es")}
    for unit, pairs in PARTS.items():
        lang, rows = unit.split("/")[0], []
        for index, (original, translated, fault) in enumerate(pairs):
            key = f"common_voice_{lang}_{18306000 + 100 * (unit in list(PARTS)[1::2]) + index}.mp3"
            source, target = clips.clip(original, 16_000, 0.5), clips.clip(translated, 24_000, 0.4)
            text = {"missing-text": None, "empty-transcript": " "}.get(fault, f"{target.text.lower()} ")
            row = {"id": key, "original_text": source.text, "original_audio": sound(source, "mp3", key, None),
                   "translated_text": text, "translated_audio": sound(target, "wav", f"{key}.wav", fault)}
            rows.append(row)
            if "train" not in unit:
                continue
            reason = transcript_fault(text) or fault
            if reason:
                datasets[lang].skip(unit, key, reason)
            else:
                datasets[lang].document(key, lang, unit, method_1(lang, row, unit, index))
        files.parquet(root / unit, COLUMNS, rows)
    write(root, list(datasets.values()))
