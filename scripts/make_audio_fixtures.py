"""Makes fixtures of tokenize/audio: Opus and MP3 of variable bit rate, compared with other decoders, and MP3 from a pipe.

Needs ffmpeg (5.1, with libopus and libmp3lame), espeak-ng (1.51) and soundfile (0.14, whose libsndfile holds mpg123).
Beside each recording lies what another decoder makes of it: `NAME.EXT.s16`, 16-bit little-endian, all channels of every
16th sample period. For Opus that is ffmpeg with libopus, for MP3 mpg123: in short blocks of MPEG-2 at 24 kHz ffmpeg 5.1
is off by up to 0.002, where mpg123 and symphonia agree to 4e-7. All of them agree on the length.

    python scripts/make_audio_fixtures.py
"""

import array
import subprocess
import tempfile
from pathlib import Path

import soundfile

FIXTURES = Path(__file__).resolve().parent.parent / "tokenize/audio/fixtures"
EVERY = 16
TEXT = "so much depends"

# name: source, length in seconds (no multiple of a frame), what the encoder is told
RECORDINGS = {
    "speech.opus": ("speech", 0.613, "-ar 48000 -ac 1 -c:a libopus -b:a 20k -application voip -page_duration 200000"),
    "speech.webm": ("speech", 0.613, "-ar 48000 -ac 1 -c:a libopus -b:a 20k -application voip"),
    "music.opus": ("music", 0.407, "-ar 48000 -ac 2 -c:a libopus -b:a 64k -frame_duration 10 -page_duration 100000"),
    "surround.opus": ("surround", 0.207, "-ar 48000 -ac 6 -c:a libopus -b:a 96k -mapping_family 1"),
    "vbr-mono.mp3": ("speech", 0.813, "-ar 24000 -ac 1 -c:a libmp3lame -q:a 4"),
    "vbr-stereo.mp3": ("music", 0.507, "-ar 44100 -ac 2 -c:a libmp3lame -q:a 6"),
}

# written to a pipe, so without the tag that gives delay and padding: name, length in seconds, what the encoder is told
PIPED = ("piped.mp3", 0.405, "-ar 24000 -ac 1 -c:a libmp3lame -q:a 4")

MUSIC = "0.3*sin(2*PI*(300+4000*t)*t)+0.1*(random(0)-0.5)*lt(mod(t\\,0.2)\\,0.1)|0.3*sin(2*PI*700*t)*gt(t\\,0.1)"
SURROUND = "|".join(f"0.3*sin(2*PI*{hz}*t)" for hz in (300, 500, 700, 900, 60, 1100))


def ffmpeg(*args: str) -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def source(kind: str, speech: Path) -> list[str]:
    if kind == "speech":
        return ["-i", str(speech)]
    levels, layout = (MUSIC, "stereo") if kind == "music" else (SURROUND, "5.1")
    return ["-f", "lavfi", "-i", f"aevalsrc={levels}:s=48000:c={layout}"]


def decode_opus(path: Path) -> array.array:
    # as float first: libopus clips in its own way when it is asked for 16 bits
    wanted = ["-request_sample_fmt", "flt", "-c:a", "libopus", "-i", str(path)]
    return array.array("h", ffmpeg(*wanted, "-f", "s16le", "-"))


def decode_mp3(path: Path) -> array.array:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    by_ffmpeg = len(ffmpeg("-i", str(path), "-f", "s16le", "-")) // 2
    assert by_ffmpeg == samples.size, f"{path}: {samples.size} samples at {rate_hz} Hz, {by_ffmpeg} by ffmpeg"
    levels = (samples * 32768).round().clip(-32768, 32767).astype("<i2")
    return array.array("h", levels.tobytes())


def main() -> None:
    exact = "-map_metadata -1 -fflags +bitexact -flags:a +bitexact".split()
    with tempfile.TemporaryDirectory() as folder:
        speech = Path(folder) / "speech.wav"
        subprocess.run(["espeak-ng", "-s", "180", "-w", str(speech), TEXT], check=True)
        for name, (kind, secs, options) in RECORDINGS.items():
            out = FIXTURES / name
            ffmpeg(*source(kind, speech), "-t", str(secs), *exact, *options.split(), str(out))
            channels = int(options.split("-ac ")[1].split()[0])
            samples = decode_opus(out) if "libopus" in options else decode_mp3(out)
            periods = len(samples) // channels
            kept = array.array("h")
            for period in range(0, periods, EVERY):
                kept.extend(samples[period * channels : (period + 1) * channels])
            Path(f"{out}.s16").write_bytes(kept.tobytes())
            print(f"{name}: {out.stat().st_size} bytes, {channels} channels, {periods} sample periods")
        name, secs, options = PIPED
        piped = ffmpeg(*source("speech", speech), "-t", str(secs), *exact, *options.split(), "-f", "mp3", "-")
        (FIXTURES / name).write_bytes(piped)
        print(f"{name}: {len(piped)} bytes")


if __name__ == "__main__":
    main()
