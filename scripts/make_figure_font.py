"""Makes isoflop/fonts/arimo.ttf, the font of figures: Arimo, with the characters that figures use and no others.

Arimo has the widths of Arial and Helvetica, which the SVG files name, so that both forms of a figure have the same layout.

    npm pack @fontsource/arimo@5.3.0 && tar xzf fontsource-arimo-5.3.0.tgz
    pip install fonttools==4.68.0 brotli==1.2.1
    python scripts/make_figure_font.py package isoflop/fonts
"""

import shutil
import sys
from pathlib import Path

from fontTools.merge import Merger
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

CHARACTERS = [*map(chr, range(0x20, 0x7F)), *map(chr, range(0xA0, 0x100)), *"αβγδκ–—‘’“”…−"]

package, out = map(Path, sys.argv[1:])
parts = []
for script in ["latin", "greek", "latin-ext"]:
    font = TTFont(package / f"files/arimo-{script}-400-normal.woff2")
    font.flavor = None
    part = out / f"{script}.part"
    font.save(part)
    parts.append(part)
font = Merger().merge(parts)
for part in parts:
    part.unlink()

options = Options()
options.name_IDs = ["*"]
options.hinting = False
# the time of making is not part of the font
font.recalcTimestamp = False
font["head"].modified = font["head"].created
subsetter = Subsetter(options)
subsetter.populate(text="".join(CHARACTERS))
subsetter.subset(font)
font.save(out / "arimo.ttf")
shutil.copy(package / "LICENSE", out / "OFL.txt")

found = font.getBestCmap()
print("missing:", "".join(c for c in CHARACTERS if ord(c) not in found) or "none", "·", (out / "arimo.ttf").stat().st_size, "bytes")
