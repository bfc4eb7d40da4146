"""What an import makes, and how it tells what it could not."""

from __future__ import annotations

from app.services.import_report import Entry, Imported, fit_line, tell_apart


def test_only_sections_that_hold_something() -> None:
    """`--prune` must take nothing away that the import knows nothing of."""
    assert Imported().document() == {"version": 1}
    found = Imported(clients=[Entry({"name": "a"})])
    assert found.document() == {"version": 1, "client_keys": [{"name": "a"}]}


def test_what_is_held_waits_for_somebody() -> None:
    """Disabled, and told why."""
    held, fine = Entry({"name": "a", "state": "enabled"}), Entry({"name": "b"})
    held.hold("nobody knows")
    found = Imported(clients=[fine, held])
    assert held.view["state"] == "disabled"
    assert found.comments() == {("client_keys", 1): ["disabled until you have looked: nobody knows"]}
    assert found.counts() == {"openrouter_keys": 0, "groups": 0, "client_keys": 2, "disabled": 1}
    assert found.told() == [{"section": "client_keys", "name": "a", "notes": held.notes}]


def test_limits_that_cannot_be_hold() -> None:
    """Each limit once."""
    entry = Entry({"name": "a"})
    for words in ("usd/day=5", "usd/day=5", "usd/minute=5"):
        entry.limit(words)
    assert entry.view["limits"] == ["usd/day=5"]
    assert entry.view["state"] == "disabled"


def test_lines_fit() -> None:
    """One line without control characters, and not too long."""
    assert fit_line(" a\nb\x1b\u2028c ") == "a b c"
    assert fit_line(None, "x") == "x"
    assert fit_line("\n", "x") == "x"
    assert len(fit_line("a" * 300)) == 200


def test_names_are_told_apart() -> None:
    """Only where several have one, and still not too long."""
    entries = [Entry({"name": name}) for name in ("a", "b", "a", "x" * 200, "x" * 200)]
    tell_apart(entries, ["1", "2", "3", "4", "5"])
    names = [entry.view["name"] for entry in entries]
    assert names[:3] == ["a (1)", "b", "a (3)"]
    assert [(len(name), name[-3:]) for name in names[3:]] == [(200, "(4)"), (200, "(5)")]
