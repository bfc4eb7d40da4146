"""Reads YAML so that every fault is told with its line. Pure; knows the form of values, not what they mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

__all__ = ["Fault", "MappingNode", "Node", "Reader", "ScalarNode", "line_of"]

# The parser in C where it is there: a file of a hundred thousand clients is read in seconds, and not minutes.
_Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR: Final = "tag:yaml.org,2002:str"
_NULL: Final = "tag:yaml.org,2002:null"
_INT: Final = "tag:yaml.org,2002:int"
_FLOAT: Final = "tag:yaml.org,2002:float"
_BOOL: Final = "tag:yaml.org,2002:bool"
_TIME: Final = "tag:yaml.org,2002:timestamp"
_MERGE: Final = "tag:yaml.org,2002:merge"
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
_TRUTHS: Final = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_MOST_PARTS: Final = 10_000
"""Of one value: aliases can make a small text very large."""
_MOST_DEPTH: Final = 50
# A key in the clear, wherever it stands: comments are read by as many people as values.
_SECRET: Final = re.compile(r"(sk-or-)[A-Za-z0-9_-]{20,}|(gw_live_)[A-Za-z0-9]{20,}")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in a file that is not as it must be. `where` is like client_keys[2].limits."""

    line: int
    where: str
    said: str
    hint: str = ""


class _TooMuch(Exception):  # noqa: N818 - a condition
    """A value that is larger or deeper than any that makes sense."""


def line_of(node: Node) -> int:
    return int(node.start_mark.line) + 1


class Reader:
    """Collects the faults of one file; what has a fault reads as None."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._loader: Any = None
        self._merged: set[int] = set()

    def refuse(self, node: Node, where: str, said: str, hint: str = "") -> None:
        self.faults.append(Fault(line_of(node), where, said, hint))

    def root(self, text: str) -> MappingNode | None:
        """The whole file, which must be one mapping without a secret in it."""
        for number, line in enumerate(text.split("\n"), 1):
            if found := _SECRET.search(line):
                said = f"A key ({found[1] or found[2]}…) stands here in the clear: take it as leaked, and replace it."
                self.faults.append(Fault(number, "", said, "Name where the gateway finds it: secret: {env: NAME}"))
        if self.faults:
            return None
        try:
            self._loader = _Loader(text)
            root = self._loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            said = f"This is no YAML: {error.problem or error.context or 'it cannot be read'}."
            self.faults.append(Fault(mark.line + 1 if mark else 1, "", said))
            return None
        except (yaml.YAMLError, RecursionError):
            self.faults.append(Fault(1, "", "This is no YAML: it holds characters or depths that no file has."))
            return None
        if root is None or not isinstance(root, MappingNode):
            self.faults.append(Fault(1, "", "The file must hold sections like client_keys:, and has none."))
            return None
        return root

    def members(self, node: Node, where: str, known: Collection[str]) -> dict[str, Node]:
        """What a mapping names. Unknown and repeated names are faults; `<<: *anchor` is taken in."""
        if not isinstance(node, MappingNode):
            said = f"{where or 'This'} must be a mapping: lines like name: value."
            self.refuse(node, where, said)
            return {}
        if id(node) not in self._merged and not self._merge(node, where):
            return {}
        found: dict[str, Node] = {}
        for key, value in node.value:
            name = str(key.value)
            if isinstance(key, ScalarNode) and name in known:
                found[name] = value
            else:
                self.refuse(key, where, f"There is no field {name!r} here.", _nearest(name, known))
        return found

    def _merge(self, node: MappingNode, where: str) -> bool:
        """Once for each mapping: what was taken in stands beside what the mapping says itself, and comes before it."""
        self._merged.add(id(node))
        own = [key.value for key, _ in node.value if key.tag != _MERGE and isinstance(key, ScalarNode)]
        for name in sorted({str(name) for name in own if own.count(name) > 1}):
            self.refuse(node, _below(where, name), f"{name} stands here twice.")
        try:
            self._loader.flatten_mapping(node)
        except (yaml.YAMLError, RecursionError):
            self.refuse(node, where, "What << takes in must be a mapping.")
            return False
        return True

    def items(self, node: Node, where: str) -> list[Node]:
        if node.tag == _NULL:
            return []
        if not isinstance(node, SequenceNode):
            self.refuse(node, where, f"{where} must be a list.", "Write [one, two], or a line with - for each.")
            return []
        return list(node.value)

    def text(self, node: Node, where: str) -> str | None:
        """A text; also a time as it is written."""
        if node.tag in (_STR, _TIME) and isinstance(node, ScalarNode):
            return str(node.value)
        hint = 'Put it between quotes: "…".' if isinstance(node, ScalarNode) else ""
        self.refuse(node, where, f"{where} must be a text.", hint)
        return None

    def number(self, node: Node, where: str) -> str | None:
        """A number as it is written, so that no amount goes through a float."""
        if isinstance(node, ScalarNode) and _DECIMAL.fullmatch(node.value):
            return str(node.value)
        self.refuse(node, where, f"{where} must be a number.")
        return None

    def whole(self, node: Node, where: str) -> int | None:
        if node.tag == _INT and isinstance(node, ScalarNode) and _WHOLE.fullmatch(node.value):
            return int(node.value)
        self.refuse(node, where, f"{where} must be a whole number.")
        return None

    def flag(self, node: Node, where: str) -> bool | None:
        if node.tag == _BOOL and isinstance(node, ScalarNode) and node.value.lower() in _TRUTHS:
            return _TRUTHS[node.value.lower()]
        self.refuse(node, where, f"{where} must be true or false.")
        return None

    def plain(self, node: Node, where: str) -> Any:
        """Any value that JSON knows; what it does not know is a fault, and reads as None."""
        try:
            return self._plain(node, [_MOST_PARTS], 0)
        except _TooMuch:
            self.refuse(node, where, "This value is too large.")
        except ValueError:
            self.refuse(node, where, "This value has no form in JSON.", "Put texts between quotes.")
        return None

    def _plain(self, node: Node, left: list[int], depth: int) -> Any:
        left[0] -= 1
        if left[0] < 0 or depth > _MOST_DEPTH:
            raise _TooMuch
        if isinstance(node, SequenceNode):
            return [self._plain(one, left, depth + 1) for one in node.value]
        if isinstance(node, MappingNode):
            return {str(key.value): self._plain(value, left, depth + 1) for key, value in node.value}
        return _scalar(node)


def is_null(node: Node) -> bool:
    return bool(node.tag == _NULL)


def _scalar(node: Node) -> Any:
    """Raises ValueError."""
    if node.tag in (_STR, _TIME):
        return node.value
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL and node.value.lower() in _TRUTHS:
        return _TRUTHS[node.value.lower()]
    if node.tag == _INT and _WHOLE.fullmatch(node.value):
        return int(node.value)
    if node.tag == _FLOAT and _DECIMAL.fullmatch(node.value):
        return float(node.value)
    raise ValueError


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"Is it {near[0]}?" if near else f"Here can stand: {', '.join(known)}."
