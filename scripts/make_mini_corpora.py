#!/usr/bin/env python3
"""Make the miniature corpora: every source of the recipe in its raw layout, with what must come out of it.

    scripts/make_mini_corpora.py [tests/fixtures/sources]

The audio is the beginnings of the bundled utterances (tests/corpus). What is expected follows from the rules of each
source, applied here to the records before they are written; the programs under test have no part in it.
Needs ffmpeg with libmp3lame and libopus, and the Python packages numpy, pyarrow and zstandard. The same versions of
them give the same bytes.
"""

import pathlib
import shutil
import sys

from mini_corpora import (common_voice, cvss, damaged, emilia, instructions, mls, nemotron, pretokenized, read_speech,
                          yodas)

SOURCES = {
    "yodas": yodas.make,
    "emilia": emilia.make,
    "mls": mls.make,
    "nemotron": nemotron.make,
    "librispeech": read_speech.make_librispeech,
    "libritts": read_speech.make_libritts,
    "common-voice": common_voice.make,
    "peoples-speech": read_speech.make_peoples_speech,
    "cvss": cvss.make,
    "pretokenized": pretokenized.make,
    "instructions": instructions.make,
    "damaged": damaged.make,
}


def main() -> None:
    default = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "sources"
    root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    for name, make in SOURCES.items():
        folder = root / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        make(folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{name:15} {size / 1000:8.1f} kB")


if __name__ == "__main__":
    main()
