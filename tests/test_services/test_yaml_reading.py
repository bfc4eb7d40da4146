"""YAML with the line of each fault."""

from __future__ import annotations

import pytest

from app.services.yaml_reading import Fault, Reader, line_of


def faults(text: str, *known: str) -> list[Fault]:
    reader = Reader()
    root = reader.root(text)
    if root is not None:
        reader.members(root, "", known)
    return reader.faults


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "has none"),
        ("- a\n- b", 1, "has none"),
        ("a: 1\nb: [1}", 2, "no YAML"),
        ("a: 1\nb: *x", 2, "undefined alias"),
        ("a: \x00", 1, "no YAML"),
        ("a: 1\n\tb: 2", 2, "no YAML"),
        ("a: 1\nb: 2\na: 3", 1, "a stands here twice"),
        ("a: 1\naa: 2", 2, "no field 'aa'"),
        ("a: 1\n<<: 3", 1, "<< takes in"),
        ("a: 1\n[b]: 3", 2, "no field"),
    ],
)
def test_faults_of_form(text: str, line: int, said: str) -> None:
    """Each has its line, and a sentence."""
    (fault,) = faults(text, "a", "b")
    assert fault.line == line
    assert said in fault.said


def test_the_nearest_name_is_told() -> None:
    """Or all of them, where nothing is near."""
    assert faults("limts: 1", "limits", "note")[0].hint == "Is it limits?"
    assert faults("zzz: 1", "limits", "note")[0].hint == "Here can stand: limits, note."


@pytest.mark.parametrize("secret", ["sk-or-v1-" + "a" * 64, "gw_live_" + "b" * 49])
@pytest.mark.parametrize("place", ["a: {}", "# {}", "a: [x, '{}']"])
def test_a_secret_in_the_clear_is_refused(secret: str, place: str) -> None:
    """Wherever it stands; it is not told again."""
    (fault,) = faults("b: 1\n" + place.format(secret), "a", "b")
    assert fault.line == 2
    assert "leaked" in fault.said
    assert secret not in f"{fault.said}{fault.hint}"


def test_a_masked_key_is_none() -> None:
    """Notes may speak of keys."""
    assert faults("a: was sk-or-v1-0e6…1c96", "a") == []


def test_anchors_are_taken_in_once() -> None:
    """What a mapping says itself stands above what it takes in, however often it is read."""
    reader = Reader()
    root = reader.root("a: &x {b: 1, c: 2}\nd: &y {<<: *x, c: 3}\ne: *y")
    assert root is not None
    top = reader.members(root, "", ("a", "d", "e"))
    for name in ("d", "e"):
        members = reader.members(top[name], name, ("b", "c"))
        assert {field: reader.whole(node, field) for field, node in members.items()} == {"b": 1, "c": 3}
    assert reader.faults == []


def value(text: str, read: str) -> tuple[object, list[str]]:
    reader = Reader()
    root = reader.root(f"v: {text}")
    assert root is not None
    node = reader.members(root, "", ("v",))["v"]
    assert line_of(node) == 1
    return getattr(reader, read)(node, "v"), [fault.said for fault in reader.faults]


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        ("text", "abc", "abc"),
        ("text", "'12'", "12"),
        ("text", "2026-12-01", "2026-12-01"),
        ("whole", "12", 12),
        ("whole", "-3", -3),
        ("number", "5.25", "5.25"),
        ("number", "'5.25'", "5.25"),
        ("flag", "yes", True),
        ("flag", "False", False),
        ("plain", "{a: [1, 2.5, x, true, null, 2026-12-01]}", {"a": [1, 2.5, "x", True, None, "2026-12-01"]}),
    ],
)
def test_values_that_fit(read: str, text: str, expected: object) -> None:
    """As they are written; a time is a text, and no amount is a float."""
    assert value(text, read) == (expected, [])


@pytest.mark.parametrize(
    ("read", "text"),
    [
        ("text", "12"),
        ("text", "yes"),
        ("text", "[a]"),
        ("whole", "1.0"),
        ("whole", "'1'"),
        ("whole", "0x10"),
        ("whole", "1:30"),
        ("whole", "9" * 30),
        ("number", ".inf"),
        ("number", "[1]"),
        ("flag", "1"),
        ("flag", "'yes'"),
        ("plain", ".nan"),
        ("plain", "!!binary aGk="),
        ("plain", "0b1"),
    ],
)
def test_values_that_do_not_fit(read: str, text: str) -> None:
    """One fault each, and no value."""
    found, said = value(text, read)
    assert found is None
    assert len(said) == 1


def test_values_stay_small() -> None:
    """Aliases of aliases, and depth, end in a fault and not in a full memory."""
    bombs = "[&a [x,x,x,x,x,x,x,x,x,x]"
    for before, after in zip("abcde", "bcdef", strict=True):
        bombs += f", &{after} [" + ",".join([f"*{before}"] * 10) + "]"
    for text in (bombs + "]", "[" * 80 + "]" * 80):
        assert value(text, "plain") == (None, ["This value is too large."])


def test_nothing_is_an_empty_list() -> None:
    """And a text is none."""
    assert value("", "items") == ([], [])
    assert value("abc", "items")[1] == ["v must be a list."]
