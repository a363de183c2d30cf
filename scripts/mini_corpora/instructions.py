"""Instructions and responses of text and sound, an object a line, with the recordings beside them."""

import pathlib

from . import clips, files
from .expected import Dataset, segment, write

RECORDINGS = {"clips/bread.flac": ("en-0-1", "flac"), "clips/morning.mp3": ("de-0-1", "mp3"),
              "clips/cat.wav": ("en-0-2", "wav"), "dog.wav": ("en-1-0", "wav")}
MISSING, DAMAGED = "clips/missing.wav", "clips/noise.wav"


def sound(path: str) -> dict:
    return {"audio": path}


# Of each line what it is, and why it is left out.
LINES = {
    "tasks.jsonl": [
        ({"id": "capital", "instruction": " What is the capital of France?\n", "response": "Paris.\t"}, None),
        ({"instruction": [sound("clips/bread.flac"), "Write down what is said. "],
          "response": "The bread is fresh."}, None),
        (b'{"id": "cut", "instruction": "cut in the mid\n', "bad-json"),
        (b" \n", "blank"),
        ({"id": "translate", "instruction": ["Auf Englisch:", sound("clips/morning.mp3"), "und laut!"],
          "response": ["Good morning.", sound("./clips/cat.wav")]}, None),
        ({"id": "output", "instruction": "?", "output": "!", "response": "!"}, "bad-json"),
        ({"id": "silent", "instruction": "Say something.", "response": " \n"}, "empty-response"),
        ({"id": "nothing", "instruction": [], "response": "!"}, "empty-instruction"),
        ({"id": "half", "instruction": [sound("clips/cat.wav"), ""], "response": "!"}, "empty-instruction"),
        ({"id": "missing", "instruction": ["Listen.", sound(MISSING)], "response": "!"}, "missing-audio"),
        ({"id": "noise", "instruction": [sound("clips/cat.wav"), "?"], "response": ["!", sound(DAMAGED)]}, "not-audio"),
        ({"id": "capital", "instruction": "What is it of Spain?", "response": "Madrid."}, "repeated"),
        ({"id": "number", "instruction": 12, "response": "!"}, "bad-json"),
        ({"id": "transcript", "instruction": [sound("clips/cat.wav") | {"text": "?"}], "response": "!"}, "bad-json"),
        ({"id": "alone", "instruction": "?"}, "bad-json"),
        ({"id": "list", "instruction": [["clips/cat.wav"]], "response": "!"}, "bad-json"),
        (b'[null, "?", "!"]\n', "bad-json"),
        ({"id": "", "instruction": "The last line", "response": ["has no", "line feed, nor an id."]}, None),
    ],
    "speech-0.jsonl.gz": [
        ({"id": "s-0", "instruction": [sound("clips/bread.flac")], "response": [sound("clips/cat.wav")]}, None),
        ({"id": "s-1", "instruction": [sound("dog.wav"), sound("clips/cat.wav")], "response": ["Dog,", "cat."]}, None),
    ],
    "speech-1.jsonl.zst": [
        ({"id": "s-2", "instruction": "What does it say?", "response": [sound("dog.wav")]}, None),
    ],
}


def parts(content: str | list) -> list[str | dict]:
    return [content] if isinstance(content, str) else content


def segments(line: dict) -> list[dict]:
    """Each part as a segment; the instruction's speaker is 0, the response's 1."""
    sides = [line["instruction"], line["response"]]
    return [segment(part.strip(), speaker=speaker) if isinstance(part, str) else
            segment("", {"path": part["audio"].removeprefix("./")}, speaker=speaker)
            for speaker, side in enumerate(sides) for part in parts(side)]


def expect(dataset: Dataset, unit: str) -> None:
    for number, (line, fault) in enumerate(LINES[unit], start=1):
        place = f"{unit}:{number}"
        name = (line.get("id") or place) if isinstance(line, dict) else place
        if fault == "bad-json":
            dataset.skip(unit, place, fault)
        elif fault != "blank":
            dataset.skip(unit, name, fault) if fault else dataset.document(name, None, unit, segments(line))


def packed(path: str) -> bytes:
    lines = [line if isinstance(line, bytes) else files.json_line(line) for line, _ in LINES[path]]
    content = b"".join(lines).rstrip(b"\n")
    return {"jsonl": bytes, "gz": files.gz, "zst": files.zstd}[path.split(".")[-1]](content)


def make(root: pathlib.Path) -> None:
    for path, (name, kind) in RECORDINGS.items():
        files.write(root / path, clips.clip(name, 16_000, 0.4).encode(kind))
    files.write(root / DAMAGED, files.damaged_sound())
    datasets = [Dataset("tasks"), Dataset("speech")]
    for path in LINES:
        files.write(root / path, packed(path))
        expect(datasets[path.startswith("speech")], path)
    write(root, datasets)
