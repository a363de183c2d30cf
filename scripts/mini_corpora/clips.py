"""Short pieces of the bundled corpus, and their encodings as wav, flac, mp3 and opus."""

import dataclasses
import functools
import io
import pathlib
import subprocess
import tempfile
import wave

import numpy as np

CORPUS = pathlib.Path(__file__).resolve().parents[2] / "tests" / "corpus"

# Nothing that depends on the build or the time of day goes into a file.
EXACT = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]

# Both mp3 kinds carry a Xing/Info frame with the LAME tag's delay and padding, as Emilia's and Common Voice's do.
CODECS = {
    "flac": ("flac", ["-c:a", "flac", "-compression_level", "12"]),
    "mp3": ("mp3", ["-c:a", "libmp3lame", "-b:a", "32k", "-id3v2_version", "0"]),
    "mp3-vbr": ("mp3", ["-c:a", "libmp3lame", "-q:a", "7", "-id3v2_version", "0"]),
    "opus": ("opus", ["-c:a", "libopus", "-b:a", "24k"]),
}


@dataclasses.dataclass(frozen=True)
class Clip:
    """The first part of a bundled utterance, with the whole utterance's transcript."""

    text: str
    lang: str
    rate_hz: int
    samples: np.ndarray

    @property
    def secs(self) -> float:
        return len(self.samples) / self.rate_hz

    def encode(self, kind: str) -> bytes:
        return encode(self.samples, self.rate_hz, kind)


@functools.lru_cache(maxsize=None)
def clip(name: str, rate_hz: int, secs: float) -> Clip:
    """`secs` of utterance `name`, e.g. `en-1-2`, mono, after its leading silence."""
    lang = name[:2]
    path = next(p for p in (CORPUS / lang).glob(f"{name}.*") if p.suffix != ".txt")
    command = ["ffmpeg", "-v", "error", "-i", path, "-ss", "0.1", "-ac", "1", "-ar", str(rate_hz), "-f", "s16le", "-"]
    decoded = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, dtype="<i2")
    count = round(secs * rate_hz)
    assert len(decoded) >= count, f"{name} has only {len(decoded) / rate_hz:.2f} s"
    text = (CORPUS / lang / f"{name}.txt").read_text(encoding="utf-8").strip()
    return Clip(text, lang, rate_hz, coarse(decoded[:count]))


def coarse(samples: np.ndarray) -> np.ndarray:
    """Samples rounded to 8 bits: the sound stays speech and its files become half as large."""
    return (np.clip(np.round(samples / 256), -127, 127) * 256).astype("<i2")


def encode(samples: np.ndarray, rate_hz: int, kind: str) -> bytes:
    wav = io.BytesIO()
    with wave.open(wav, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(samples.tobytes())
    if kind == "wav":
        return wav.getvalue()
    extension, codec = CODECS[kind]
    with tempfile.TemporaryDirectory() as scratch:
        # a file, not a pipe: the mp3 and flac writers go back to fill in their headers
        source, target = pathlib.Path(scratch, "in.wav"), pathlib.Path(scratch, f"out.{extension}")
        source.write_bytes(wav.getvalue())
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, *codec, *EXACT, target], check=True)
        return target.read_bytes()


def tones(secs: float, rate_hz: int) -> np.ndarray:
    """A long recording that compresses to nothing: whole periods of square waves, another pitch every ten seconds."""
    pieces = []
    for block in range(round(secs * 10)):
        half_period = 30 + 10 * (block // 100)
        wave_index = np.arange(rate_hz // 10) // half_period
        pieces.append(np.where(wave_index % 2 == 0, 4096, -4096))
    return np.concatenate(pieces).astype("<i2")
