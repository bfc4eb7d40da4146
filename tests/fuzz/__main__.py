"""`python -m tests.fuzz TARGET|all --seconds N`: looks for bytes that break a parser, and keeps what it finds.

With atheris (`pip install atheris`) it is led by coverage; without, inputs of the corpus are changed at random. What
breaks a target is written to its corpus, where the tests run it from then on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.util
import io
import os
import random
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"
ROOT: Final = Path(__file__).parents[2]
_LONGEST: Final = 4096
_WORDS: Final = (
    b"\r\n", b"\n", b"\r", b"\0", b"\xff", b"\xc3\x28", b'"', b"\\", b"\\u0065", b"{", b"}", b"[", b"]", b":", b",",
    b"0", b"true", b"-1", b"1e400", b"9" * 30, b"null", b"%2e", b"%00", b"..", b"//", b"data: ", b'"usage"', b'"error"',
    b"Content-Length: ", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1", b"\xef\xbb\xbf", b"sk-or-v1-", b"gw_live_",
)  # fmt: skip


def corpus_of(name: str) -> list[Path]:
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def changed(seeds: Sequence[bytes], draw: random.Random) -> bytes:
    """One of the seeds with a few changes."""
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(1, 6)):
        at, end = sorted(draw.randint(0, len(data)) for _ in range(2))
        match draw.randrange(7):
            case 0:
                del data[at : min(end, at + 16)]
            case 1:
                data[at:at] = draw.choice(_WORDS)
            case 2:
                data[at:at] = data[at : min(end, at + 64)]
            case 3:
                other = draw.choice(seeds)
                start = draw.randint(0, len(other))
                data[at:] = other[start:]
            case 4:
                data[at:at] = draw.randbytes(draw.randint(1, 4))
            case _ if data:
                data[min(at, len(data) - 1)] ^= 1 << draw.randrange(8)
    return bytes(data[:_LONGEST])


def inputs(name: str, seed: int) -> Iterator[bytes]:
    """The corpus, then changes of it without end."""
    seeds = [path.read_bytes() for path in corpus_of(name)] or [b""]
    yield from seeds
    draw = random.Random(seed)
    while True:
        yield changed(seeds, draw)


def say(sentence: str) -> None:
    sys.stdout.write(sentence + "\n")
    sys.stdout.flush()


def loop(name: str, seconds: float, seed: int) -> int:
    """Random changes for so long; 1 where something broke."""
    from tests.fuzz.targets import TARGETS

    end = time.monotonic() + seconds
    for count, data in enumerate(inputs(name, seed), 1):
        try:
            TARGETS[name](data)
        except Exception:  # noqa: BLE001 - any is a find
            traceback.print_exc()
            path = CORPUS / name / f"crash-{hashlib.sha256(data).hexdigest()[:12]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            say(f"{name}: broken by {path.relative_to(ROOT)} (seed {seed}, input {count})")
            return 1
        if time.monotonic() >= end:
            say(f"{name}: {count} inputs, seed {seed}, nothing found")
            return 0
    return 0


def led(name: str, seconds: float) -> int:
    """The same, led by coverage. Does not return: libFuzzer ends the process. What it has learned is kept in build/."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["app", "email"]), contextlib.redirect_stderr(io.StringIO()):
        from tests.fuzz.targets import TARGETS
    grown, home = ROOT / "build" / "fuzz" / name, CORPUS / name
    grown.mkdir(parents=True, exist_ok=True)
    words = [
        sys.argv[0], f"-max_total_time={max(1, round(seconds))}", f"-max_len={_LONGEST}", "-timeout=10",
        "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={home}/", str(grown),
        str(home),
    ]  # fmt: skip
    atheris.Setup(words, TARGETS[name])
    atheris.Fuzz()
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", help="a target's name, or all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)), help="of the plain loop")
    parser.add_argument("--plain", action="store_true", help="do not use atheris")
    chosen = parser.parse_args()
    plain = chosen.plain or importlib.util.find_spec("atheris") is None
    if chosen.target != "all":
        names = {path.name for path in CORPUS.iterdir()}
        if chosen.target not in names:
            parser.error(f"targets are: all, {', '.join(sorted(names))}")
        return loop(chosen.target, chosen.seconds, chosen.seed) if plain else led(chosen.target, chosen.seconds)
    from tests.fuzz.targets import TARGETS

    broken = []
    for name in TARGETS:
        words = [sys.executable, "-m", "tests.fuzz", name, "--seconds", str(chosen.seconds), "--seed", str(chosen.seed)]
        if subprocess.run([*words, *(["--plain"] if plain else [])], cwd=ROOT, check=False).returncode:
            broken.append(name)
    say(f"broken: {', '.join(broken)}" if broken else f"{len(TARGETS)} targets, nothing found")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
