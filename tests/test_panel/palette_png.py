"""Screenshots as they are kept: 256 colours are enough for a panel, and take a third of the bytes."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

_MOST_COLOURS: Final = 256
# The browser has a decoder of PNG. A colour is kept the sooner the more pixels have it and the less it is like those
# that are kept; each other one becomes its nearest.
_COUNT: Final = """
async ([data, most]) => {
  const bytes = Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes], {type: 'image/png'}));
  const context = new OffscreenCanvas(image.width, image.height).getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) || 0) + 1);
  const colours = [...counts].sort((one, other) => other[1] - one[1] || one[0] - other[0]).map(([pixel, count]) => (
    {pixel, count, parts: [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255], apart: 255, place: 0}));
  const kept = [];
  for (let next = colours[0]; next && kept.length < most;) {
    const place = kept.push(next.parts) - 1;
    let worst = 0, after = null;
    for (const colour of colours) {
      const apart = Math.max(...colour.parts.map((part, which) => Math.abs(part - next.parts[which])));
      if (apart < colour.apart || colour === next) [colour.apart, colour.place] = [apart, place];
      if (colour.apart * colour.apart * colour.count > worst) {
        worst = colour.apart * colour.apart * colour.count;
        after = colour;
      }
    }
    next = after;
  }
  const places = new Map(colours.map((colour) => [colour.pixel, colour.place]));
  let text = '';
  for (const pixel of pixels) text += String.fromCharCode(places.get(pixel));
  const furthest = Math.max(...colours.map((colour) => colour.apart));
  return {width: image.width, height: image.height, kept, furthest, text: btoa(text)};
}
"""


@dataclass(frozen=True, slots=True)
class Picture:
    png: bytes
    width: int
    height: int
    colours: int
    furthest: int
    """By how much the worst pixel has changed, of 255."""


def with_palette(png: bytes, context: BrowserContext) -> Picture:
    """The same picture, smaller."""
    page = context.new_page()
    try:
        told = page.evaluate(_COUNT, [base64.b64encode(png).decode(), _MOST_COLOURS])
    finally:
        page.close()
    width, height = told["width"], told["height"]
    places = base64.b64decode(told["text"])
    rows = b"".join(b"\0" + places[row * width : (row + 1) * width] for row in range(height))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(part for colour in told["kept"] for part in colour)),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return Picture(
        b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, chunks)), width, height, len(told["kept"]), told["furthest"]
    )


def _chunk(chunk: tuple[bytes, bytes]) -> bytes:
    kind, content = chunk
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
