"""The panel's own files, and those of others."""

from __future__ import annotations

import gzip
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.panel.assets import FOLDER, Assets

VENDOR = FOLDER / "vendor"
TEMPLATES = FOLDER.parent / "templates"
VENDORED: list[dict[str, Any]] = tomllib.loads((VENDOR / "VENDOR.toml").read_text())["file"]
LICENCES = {"0BSD": "Permission to use, copy, modify, and/or distribute", "MIT": "Permission is hereby granted"}
MOST_SCRIPT_BYTES = 40_000
MOST_OWN_LINES = 200


def squeezed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


@pytest.mark.parametrize("entry", VENDORED, ids=lambda entry: str(entry["name"]))
def test_what_is_not_ours_is_what_its_makers_published(entry: dict[str, Any]) -> None:
    """Version in the name, digest, licence and its text."""
    path = VENDOR / entry["file"]

    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert entry["version"] in path.name
    assert entry["version"] in entry["source"]
    assert LICENCES[entry["licence"]] in (VENDOR / entry["licence_file"]).read_text()


def test_nothing_lies_there_unlisted() -> None:
    """Every file of the folder is in the list, or is the licence of one that is."""
    listed = {entry[name] for entry in VENDORED for name in ("file", "licence_file")}
    assert {path.name for path in VENDOR.iterdir()} == listed | {"VENDOR.toml"}


def scripts_of(template: Path) -> set[str]:
    return set(re.findall(r"asset\(['\"]([^'\"]+\.js)['\"]\)", template.read_text()))


def without_live(template: Path) -> bool:
    """Whether it leaves out the script of the live stream."""
    return "{% block sse %}{% endblock %}" in template.read_text()


def test_scripts_stay_small() -> None:
    """40 kB on the wire for any page, two hundred lines of our own on every one."""
    everywhere = scripts_of(TEMPLATES / "base.html")

    assert "panel.js" in everywhere
    for template in TEMPLATES.rglob("*.html"):
        names = everywhere | scripts_of(template)
        if without_live(template):
            names = {name for name in names if "hx-sse" not in name}
        assert sum(squeezed(FOLDER / name) for name in names) <= MOST_SCRIPT_BYTES, template.name
    assert len((FOLDER / "panel.js").read_text().splitlines()) <= MOST_OWN_LINES


def test_our_files_keep_to_the_content_policy() -> None:
    """No eval, no foreign address, nothing imported from elsewhere."""
    for path in (*FOLDER.glob("*.js"), *FOLDER.glob("*.css")):
        text = path.read_text().replace('"http://www.w3.org/2000/svg"', "")  # a name, not an address
        assert not re.search(r"\beval\(|new Function|https?://|@import|url\(", text), path.name


def test_templates_keep_to_the_content_policy() -> None:
    """No style, no script and no handler within a page; no filter of htmx, which would need eval."""
    for path in TEMPLATES.rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"\sstyle=|\son[a-z]+=|hx-on|<style|hx-trigger=\"[^\"]*\[", text), path.name
        for script in re.findall(r"<script[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, path.name


def test_an_address_changes_with_the_bytes(tmp_path: Path) -> None:
    """So that a browser may keep what it leads to for ever."""
    urls = []
    for text in ("a {}", "b {}"):
        (tmp_path / "x.css").write_text(text)
        urls.append(Assets(tmp_path).url("x.css"))

    assert urls[0] != urls[1]
    with pytest.raises(KeyError):
        Assets(tmp_path).url("y.css")


def test_files_are_served_zipped_and_for_ever(signed_in: httpx2.Client) -> None:
    """From the address that a page names, with their type."""
    url = Assets().url("panel.css")

    zipped = signed_in.get(url)
    plain = signed_in.get(url, headers={"accept-encoding": "identity"})

    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.content == plain.content == (FOLDER / "panel.css").read_bytes()
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["content-type"] == "text/css; charset=utf-8"
    assert plain.headers["x-content-type-options"] == "nosniff"


def test_ranges_are_not_looked_at(signed_in: httpx2.Client) -> None:
    """Ten thousand of them cost nothing: a file of ours is small, and comes whole."""
    url = Assets().url("panel.css")
    plain = signed_in.get(url)
    for ranges in ("bytes=0-1", "bytes=" + ",".join(["0-"] * 5000)):
        answer = signed_in.get(url, headers={"range": ranges})
        assert (answer.status_code, answer.content) == (200, plain.content)
        assert "accept-ranges" not in answer.headers


@pytest.mark.parametrize(
    "path", ["panel.css", "0000000000/panel.css", "../render.py", "%2e%2e/render.py", "vendor/VENDOR.toml"]
)
def test_no_other_address_leads_anywhere(signed_in: httpx2.Client, path: str) -> None:
    """No name without its digest, nothing outside the folder."""
    assert signed_in.get(f"/static/{path}").status_code in (400, 404)
