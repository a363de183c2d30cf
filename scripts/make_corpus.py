#!/usr/bin/env python3
"""Make the bundled corpus: 80 short utterances, four languages, with transcripts and a manifest.

    scripts/make_corpus.py [tests/corpus]

The text is scripts/speech_text.py's, the voices are espeak-ng's; sox resamples and ffmpeg writes the formats. The same
versions of the tools give the same bytes. Needs espeak-ng, sox and ffmpeg.
"""

import json
import pathlib
import random
import subprocess
import sys
import tempfile

import speech_text

# Two speakers a document, four a language: voice variant, pitch and words a minute.
SPEAKERS = [("m3", 38, 140), ("f2", 62, 150), ("m7", 30, 128), ("f5", 70, 160), ("m1", 50, 145), ("f4", 55, 135)]

# Most files are 16 kHz FLAC. These few, in every language, exercise the other decoders, rates and a second channel.
FORMATS = {
    (0, 0): ("wav", 24_000, 1, ["-c:a", "pcm_s16le"]),
    (4, 0): ("mp3", 22_050, 1, ["-c:a", "libmp3lame", "-b:a", "48k", "-write_xing", "0"]),
    (4, 1): ("ogg", 44_100, 2, ["-c:a", "libvorbis", "-q:a", "1"]),
    (4, 2): ("m4a", 16_000, 1, ["-c:a", "aac", "-b:a", "40k"]),
}
FLAC = ("flac", 16_000, 1, ["-c:a", "flac", "-compression_level", "12"])


def speak(text: str, lang: str, speaker: int, rng: random.Random, rate_hz: int, channels: int, out: pathlib.Path):
    """One utterance as a 16-bit WAV at `rate_hz`."""
    variant, pitch, speed = SPEAKERS[speaker]
    pitch, speed = pitch + rng.randint(-4, 4), speed + rng.randint(-8, 8)
    spoken = out.with_suffix(".espeak.wav")
    subprocess.run(["espeak-ng", "-v", f"{lang}+{variant}", "-p", str(pitch), "-s", str(speed), "-w", spoken, text],
                   check=True)
    level_db = f"{rng.uniform(-9, -3):.1f}"
    subprocess.run(["sox", "-R", "-D", "-V1", spoken, "-b", "16", out, "rate", "-h", str(rate_hz), "channels", str(channels),
                    "pad", "0.1", "0.15", "gain", "-n", level_db], check=True)


def compress(wav: pathlib.Path, codec: list[str], out: pathlib.Path):
    exact = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    subprocess.run(["ffmpeg", "-y", "-v", "error", "-i", wav, *codec, *exact, out], check=True)


def make_utterance(root: pathlib.Path, lang: str, document: int, index: int, text: str) -> dict:
    """Writes the audio and its transcript; returns its line of the manifest."""
    name = f"{lang}-{document}-{index}"
    extension, rate_hz, channels, codec = FORMATS.get((document, index), FLAC)
    speaker = (2 * document + index % 2 + list(speech_text.STORIES).index(lang)) % len(SPEAKERS)
    with tempfile.TemporaryDirectory() as scratch:
        wav = pathlib.Path(scratch, "utterance.wav")
        speak(text, lang, speaker, random.Random(f"corpus-{name}"), rate_hz, channels, wav)
        compress(wav, codec, root / lang / f"{name}.{extension}")
    (root / lang / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
    return {"path": f"{lang}/{name}.{extension}", "text": text, "lang": lang, "speaker": f"{lang}-speaker-{speaker}",
            "document": f"{lang}-{document}"}


def main() -> None:
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "corpus"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    lines = []
    for lang, documents in speech_text.STORIES.items():
        (root / lang).mkdir(parents=True, exist_ok=True)
        for document, utterances in enumerate(documents):
            lines += [make_utterance(root, lang, document, i, text) for i, text in enumerate(utterances)]
    manifest = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (root / "manifest.jsonl").write_text(manifest, encoding="utf-8")


if __name__ == "__main__":
    main()
