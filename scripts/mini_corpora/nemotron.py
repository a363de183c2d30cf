"""Nemotron-CC: contrib/Nemotron/Nemotron-CC/data-jsonl/quality=Q/kind=K/kind2=K2/CC-MAIN-*.jsonl.zstd, a text a line.

Common Crawl publishes zstandard with `warc_record_id`; copies by Marin's downloader are gzip, with `id` in its place.
"""

import json
import pathlib

from . import files
from .expected import Dataset, segment, transcript_fault, write

ROOT = "contrib/Nemotron/Nemotron-CC/data-jsonl"
PARAGRAPHS = [
    "The kitchen is warm and the bread is fresh.\n\nBake it for forty minutes, then let it stand.",
    "Il y a 3 œufs, ½ tasse de crème — et c'est tout! \U0001f950\tPrix: 4,50 €.",
    "def tokens(text):\n    return text.split()  # one line\n",
    "Tabs\tand \"quotes\" and back\\slashes\\n and a null-free line.",
]


def record_id(number: int) -> str:
    return f"<urn:uuid:{number:08x}-5f3a-4c1e-9b7d-0123456789ab>"


def published(number: int, text: object) -> dict:
    return {"warc_record_id": record_id(number), "url": f"https://example.org/{number}", "language": "eng", "text": text}


def copied(number: int, text: object) -> dict:
    metadata = {"nemotron_url": f"https://example.org/{number}", "nemotron_language": "eng"}
    return {"id": record_id(number), "text": text, "source": "nemotron", "format": "text", "metadata": metadata}


def inputs() -> dict[str, tuple[str, list[dict | bytes]]]:
    """By path below the root: component and lines; bytes are lines that are no json."""
    without_text = published(5, "")
    del without_text["text"]
    audio_characters = "".join(chr(0xE000 + i * 137) for i in range(12)) + "\ufeff\ufffd"
    return {
        "quality=high/kind=actual/kind2=actual/CC-MAIN-2013-20-part-00000.jsonl.gz": ("nemotron-hq_actual", [
            published(1, PARAGRAPHS[0]), b'{"warc_record_id": "<urn:uuid:2>", "text": "cut in the mid\n', published(3, 12),
            published(4, " \n\t "), without_text, published(6, PARAGRAPHS[1])]),
        "quality=high/kind=actual/kind2=actual/CC-MAIN-2013-20-part-00001.jsonl.gz": ("nemotron-hq_actual", [
            copied(7, PARAGRAPHS[2].strip()), copied(8, f"Private characters {audio_characters} stay text."),
            copied(9, "<|begin_of_text|>Spelled <|text_start|>markers<|text_end|>"
                      "<|audio_start|><|audio_end|><|end_of_text|>")]),
        "quality=high/kind=actual/kind2=actual/CC-MAIN-2014-10-part-00000.jsonl.zstd": ("nemotron-hq_actual", [
            published(10, PARAGRAPHS[3]), b"[1, 2, 3]\n", published(11, "A long line. " * 4000 + "Its end.")]),
        "quality=high/kind=synthetic/kind2=distill/CC-MAIN-2013-20-part-00000.jsonl.zstd": ("nemotron-hq_synth", [
            published(12, "Bread, distilled: flour, water, salt and time.")]),
        "quality=high/kind=synthetic/kind2=diverse_qa_pairs/CC-MAIN-2013-20-part-00000.jsonl.gz": ("nemotron-hq_synth", [
            published(13, "Question: Is the bread fresh? Answer: Yes.")]),
        "quality=medium-high/kind=actual/kind2=actual/CC-MAIN-2013-20-part-00000.jsonl.gz": ("nemotron-medium_high", [
            published(14, "A medium-high page.")]),
    }


def expect(dataset: Dataset, unit: str, lines: list[dict | bytes]) -> None:
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes):
            dataset.skip(unit, f"line {number}", "bad-json")
            continue
        name, text = line.get("warc_record_id") or line["id"], line.get("text")
        reason = transcript_fault(text)
        if reason:
            dataset.skip(unit, name, reason)
        else:
            dataset.document(name, "en", unit, [segment(text)])


def packed(path: str, lines: list[dict | bytes]) -> bytes:
    """The file's bytes. A gzip file has a member for every two lines, as if written by several processes; the zstandard
    file ends without a line feed."""
    encoded = [line if isinstance(line, bytes) else files.json_line(line) for line in lines]
    if path.endswith(".zstd"):
        return files.zstd(b"".join(encoded).rstrip(b"\n"))
    return b"".join(files.gz(b"".join(encoded[i : i + 2])) for i in range(0, len(encoded), 2))


def make(root: pathlib.Path) -> None:
    datasets: dict[str, Dataset] = {}
    for path, (component, lines) in inputs().items():
        unit = f"{ROOT}/{path}"
        files.write(root / unit, packed(path, lines))
        expect(datasets.setdefault(component, Dataset(component)), unit, lines)
    write(root, list(datasets.values()))
