"""Secrets: sealing, minting, masking, redacting."""

from __future__ import annotations

import base64
import copy
import hashlib
import math
import pickle
import re
import statistics
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings, SettingsError
from app.core.security import (
    OPENROUTER_KEY_RE,
    ClientKeyring,
    KeyRing,
    SealBroken,
    Secret,
    derive,
    keyrings,
    mask_openrouter_key,
    openrouter_key_id,
    redact,
    redact_bytes,
)

KEY = "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"
RING = KeyRing({1: b"1" * 32})
CLIENTS = ClientKeyring(b"p" * 32)
MINTED = [CLIENTS.mint().reveal() for _ in range(20)]


def settings(**changes: object) -> Settings:
    return Settings(_env_file=None, **{"session_secret_key": "s" * 40} | changes)


def test_a_secret_does_not_show_itself() -> None:
    """Neither as text nor in a container, an f-string, a copy or a pickle."""
    secret = Secret("canary-value")
    assert "canary" not in f"{secret} {secret!r} {[secret]} {secret!s:>10}"
    assert secret.reveal() == "canary-value"
    for spread in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            spread(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_compare_by_value() -> None:
    """Equal texts are equal secrets, and a secret is never equal to its text."""
    assert Secret("é") == Secret("é")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1


def test_a_secret_is_never_empty() -> None:
    """The empty text is refused, so that nothing is hashed with it by accident."""
    with pytest.raises(ValueError):
        Secret("")


@given(st.text(min_size=1), st.text())
def test_what_is_sealed_opens(plain: str, context: str) -> None:
    """Any text comes back in its context."""
    plain, context = (text.encode("utf-8", "replace").decode() for text in (plain, context))
    assert RING.unseal(RING.seal(plain, context=context), context=context).reveal() == plain


def test_a_seal_has_a_version_and_a_nonce_of_its_own() -> None:
    """The same text never looks the same twice, and its form is known."""
    seals = {RING.seal(KEY, context="c") for _ in range(50)}
    assert len(seals) == 50
    assert all(re.fullmatch(r"v1\.1\.[A-Za-z0-9_=-]+", seal) for seal in seals)
    assert not any(KEY in seal or base64.urlsafe_b64encode(KEY.encode()).decode() in seal for seal in seals)


def test_a_seal_opens_only_in_its_place() -> None:
    """Moved to another record, it is broken."""
    with pytest.raises(SealBroken):
        RING.unseal(RING.seal(KEY, context="a"), context="b")


def test_every_changed_byte_breaks_the_seal() -> None:
    """Flipping any bit of nonce, ciphertext or tag is noticed."""
    form, version, text = RING.seal(KEY, context="c").split(".")
    raw = base64.urlsafe_b64decode(text)
    for place in range(len(raw)):
        changed = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        with pytest.raises(SealBroken):
            RING.unseal(f"{form}.{version}.{base64.urlsafe_b64encode(changed).decode()}", context="c")


@pytest.mark.parametrize(
    "sealed", ["", "v1.1.", "v1.1.AAAA", "v2.1.{}", "v1.9.{}", "v1.x.{}", "v1.1.é", "v1.1.A.B", "{}"]
)
def test_garbage_is_a_broken_seal(sealed: str) -> None:
    """Whatever stands in the store, the only failure is SealBroken."""
    with pytest.raises(SealBroken):
        RING.unseal(sealed.format(RING.seal("x", context="c").split(".")[2]), context="c")


def test_an_old_ring_key_opens_and_the_first_seals() -> None:
    """Rotation: a new first key seals; what the old one sealed still opens; without the old one it does not."""
    old = RING.seal(KEY, context="c")
    rotated = KeyRing({2: b"2" * 32, 1: b"1" * 32})
    assert rotated.unseal(old, context="c").reveal() == KEY
    assert rotated.seal(KEY, context="c").startswith("v1.2.")
    with pytest.raises(SealBroken):
        KeyRing({2: b"2" * 32}).unseal(old, context="c")


@pytest.mark.parametrize("keys", [{}, {1: b""}, {1: b"short"}, {1: b"1" * 32, 2: b"1" * 31}])
def test_weak_rings_are_refused(keys: dict[int, bytes]) -> None:
    """A ring has keys, and each has 32 bytes."""
    with pytest.raises(ValueError):
        KeyRing(keys)


@pytest.mark.parametrize("pepper", [b"", b"p" * 31])
def test_weak_peppers_are_refused(pepper: bytes) -> None:
    """Hashing with an empty or short key is impossible."""
    with pytest.raises(ValueError):
        ClientKeyring(pepper)


def test_reprs_tell_nothing() -> None:
    """Rings can be printed."""
    assert repr(RING) == "<KeyRing of 1>"
    assert repr(CLIENTS) == "<ClientKeyring>"


def test_minted_keys_are_well_formed_and_random() -> None:
    """Prefix, 43 + 6 base62 signs, no two alike, every sign of the alphabet in use."""
    keys = {CLIENTS.mint().reveal() for _ in range(500)}
    assert len(keys) == 500
    assert all(re.fullmatch(r"gw_live_[0-9A-Za-z]{49}", key) for key in keys)
    assert all(CLIENTS.well_formed(key) and CLIENTS.well_formed(key.encode()) for key in keys)
    assert len(Counter("".join(key[10:51] for key in keys))) == 62


def test_one_wrong_sign_is_noticed_without_a_look_up() -> None:
    """Each single typing mistake breaks the checksum."""
    key = CLIENTS.mint().reveal()
    for place in range(len(key)):
        wrong = "a" if key[place] != "a" else "b"
        assert not CLIENTS.well_formed(key[:place] + wrong + key[place + 1 :])


@given(st.sampled_from(MINTED), st.integers(0, 56), st.characters(min_codepoint=1, max_codepoint=0x2FF))
def test_no_typing_mistake_passes(key: str, place: int, wrong: str) -> None:
    """Any key, any place, any sign."""
    assert CLIENTS.well_formed(key)
    assert CLIENTS.well_formed(key[:place] + wrong + key[place + 1 :]) is (key[place] == wrong)


@pytest.mark.parametrize(
    "candidate",
    ["", "*", "gw_live_", "' OR 1=1 --", "\r\nFLUSHALL\r\n", "gw_live_" + "0" * 49,
     "gw_live_é" + "0" * 48, "gw_live_" + "０" * 49, "\ud800", KEY, b"\xff\xfe", b"gw_live_\x00" + b"0" * 48],
)  # fmt: skip
def test_hostile_candidates_are_not_well_formed(candidate: str | bytes) -> None:
    """What is no key is refused by its form."""
    assert not CLIENTS.well_formed(candidate)
    assert not CLIENTS.well_formed(candidate * 100_000)


def test_whitespace_around_a_key_is_not_part_of_it() -> None:
    """A key with a trailing newline is no key."""
    key = CLIENTS.mint().reveal()
    assert not any(CLIENTS.well_formed(text) for text in (f"{key}\n", f" {key}", f"{key}\0", key[:-1] + "\n"))


@pytest.mark.parametrize("shared", [20, 40, 56])
def test_keys_that_begin_alike_are_never_confused(shared: int) -> None:
    """The digest is of the whole key."""
    key = CLIENTS.mint().reveal().encode()
    other = key[:shared] + bytes(reversed(key[shared:])) + b"x"
    assert CLIENTS.digest(key) != CLIENTS.digest(other)


def test_digests_depend_on_the_pepper() -> None:
    """A copy of the store cannot verify a guess; the plain hash of a key stands nowhere."""
    key = CLIENTS.mint().reveal().encode()
    assert len(CLIENTS.digest(key)) == 32
    assert CLIENTS.digest(key) == ClientKeyring(b"p" * 32).digest(key)
    assert CLIENTS.digest(key) != ClientKeyring(b"q" * 32).digest(key)
    assert CLIENTS.digest(key) != hashlib.sha256(key).digest()


def test_masks_show_ends_only() -> None:
    """Four signs of a client key, three and four of an OpenRouter key, nothing of a short one."""
    key = CLIENTS.mint().reveal()
    assert CLIENTS.mask(key) == f"gw_live_…{key[-4:]}"
    assert mask_openrouter_key(KEY) == "sk-or-v1-0e6…1c96"
    assert mask_openrouter_key("sk-or-abcdefgh") == "sk-or-…"
    assert mask_openrouter_key("sk-or-v1-abcdefgh") == "sk-or-…"


def test_the_id_is_openrouters_own() -> None:
    """SHA-256 of the whole key, in lower-case hex."""
    assert openrouter_key_id(KEY) == hashlib.sha256(KEY.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "fits"),
    [(KEY, True), ("sk-or-abcdefgh", True), ("sk-or-v2_new-form", True), ("sk-or-short", False),
     ("sk-ant-api03-abcdefgh", False), (KEY + "\n", False),
     (KEY + "\0", False), (KEY[:-1] + "é", False), (f" {KEY}", False), ("", False),
     ("sk-or-" + "a" * 501, False)],
)  # fmt: skip
def test_shape_of_openrouter_keys(text: str, fits: bool) -> None:
    """Lenient on what OpenRouter may change, strict on what a header cannot hold."""
    assert bool(OPENROUTER_KEY_RE.fullmatch(text)) is fits


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"key {KEY} refused", "key sk-or-… refused"),
        ("Incorrect key: sk-or-v1-0e6f44a47a", "Incorrect key: sk-or-…"),
        ("a gw_live_abcdefgh b", "a gw_live_… b"),
        ("Authorization: Bearer abcdefgh.ijk=", "Authorization: Bearer …"),
        ("bearer abcdefghijk", "bearer …"),
        ("BEARER abcdefghijk", "BEARER …"),
        ("sk-or-v1-0e6…1c96 and gw_live_…a81f", "sk-or-v1-0e6…1c96 and gw_live_…a81f"),
        ("nothing here", "nothing here"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    """Keys are cut to their prefix; masks and other words stay."""
    assert redact(text) == shown
    assert redact_bytes(text.encode()) == shown.replace("…", "..." if text != shown else "…").encode()


def test_rings_of_settings() -> None:
    """The first of ENCRYPTION_KEYS seals; what was sealed before they were set still opens; peppers differ."""
    ring = "2:" + base64.b64encode(b"2" * 32).decode()
    before, clients = keyrings(settings())
    after, same = keyrings(settings(encryption_keys=ring))
    _, peppered = keyrings(settings(client_key_pepper="q" * 32))
    sealed = before.seal(KEY, context="c")
    assert sealed.startswith("v1.0.")
    assert after.unseal(sealed, context="c").reveal() == KEY
    assert after.seal(KEY, context="c").startswith("v1.2.")
    assert clients.digest(b"x") == same.digest(b"x") != peppered.digest(b"x")
    with pytest.raises(SealBroken):
        keyrings(settings(session_secret_key="t" * 40))[0].unseal(sealed, context="c")


def test_a_weak_pepper_setting_is_refused() -> None:
    """A guessable pepper is worse than the derived one."""
    with pytest.raises(SettingsError, match="CLIENT_KEY_PEPPER"):
        keyrings(settings(client_key_pepper="short"))


def test_the_generated_secret_is_kept(tmp_path: Path) -> None:
    """Without SESSION_SECRET_KEY the secret of DATA_DIR serves, from then on."""
    one, two = (keyrings(Settings(_env_file=None, data_dir=tmp_path)) for _ in range(2))
    assert two[0].unseal(one[0].seal(KEY, context="c"), context="c").reveal() == KEY
    assert (tmp_path / "session-secret").stat().st_mode & 0o777 == 0o600


def test_derived_keys_are_independent() -> None:
    """Another purpose or another root gives other bytes."""
    assert len({derive(b"r", "a"), derive(b"r", "b"), derive(b"s", "a")}) == 3


def test_a_look_up_takes_as_long_for_any_key() -> None:
    """Keys that begin like a known one take no longer and no less than others: Welch's t over many, thrice at most."""
    known = [CLIENTS.mint().reveal().encode() for _ in range(1000)]
    table = {CLIENTS.digest(key) for key in known}
    near = [known[0][:40] + made.reveal().encode()[40:] for made in (CLIENTS.mint() for _ in range(64))]
    far = [CLIENTS.mint().reveal().encode() for _ in range(64)]

    def t_value() -> float:
        times: tuple[list[int], list[int]] = ([], [])
        for number in range(10_000):
            for which in (0, 1) if number % 2 else (1, 0):
                key = (near, far)[which][number % 64]
                began = time.perf_counter_ns()
                assert CLIENTS.digest(key) not in table
                times[which].append(time.perf_counter_ns() - began)
        # Where the scheduler came between, nothing was measured.
        kept = [sorted(each)[: len(each) * 9 // 10] for each in times]
        means, spreads = [statistics.fmean(each) for each in kept], [statistics.variance(each) for each in kept]
        return abs(means[0] - means[1]) / math.sqrt(sum(s / len(kept[0]) for s in spreads))

    assert any(t_value() < 4.5 for _ in range(3))
