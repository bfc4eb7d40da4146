"""What was asked and what is answered, free of any API skin."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from simulator.catalogue import Model
from simulator.errors import SkinName
from simulator.faults import Fault, Moment
from simulator.ledger import Generation
from simulator.text import example_of, json_pieces, prose


class Kind(StrEnum):
    REASONING = "reasoning"
    TEXT = "text"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class Piece:
    """One token of the answer."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: dict[str, Any]


@dataclass(slots=True)
class Ask:
    """A request for text, as any skin reads it."""

    model: str
    stream: bool = False
    prompt_tokens: int = 0
    max_tokens: int | None = None
    question: str = ""  # the last thing the user said; empty after a tool's result
    tools: list[Tool] = field(default_factory=list)
    forced_tool: str | None = None
    tools_off: bool = False
    schema: dict[str, Any] | None = None  # a structured output was asked for
    reasoning: bool = False
    session_id: str | None = None
    user: str | None = None
    prompt: Any = None
    raw: dict[str, Any] = field(default_factory=dict)

    def tool(self) -> Tool | None:
        """The tool to call: when forced, when the model is one that always calls, or when weather comes up."""
        if not self.tools or self.tools_off or not self.question:
            return None
        if self.forced_tool:
            return next((tool for tool in self.tools if tool.name == self.forced_tool), self.tools[0])
        if self.model.partition(":")[0].endswith("-tools") or "weather" in self.question.lower():
            return self.tools[0]
        return None


@dataclass(slots=True)
class Reply:
    """The answer: all its pieces are known before the first is sent."""

    ask: Ask
    model: Model
    generation: Generation
    pieces: list[Piece]
    finish: str  # stop | length | tool_calls
    tool: Tool | None
    created: int
    show_cost: bool = True  # in the Messages skin
    ends_with_done: bool = False  # in the Messages skin

    @property
    def id(self) -> str:
        return self.generation.id

    @property
    def call_id(self) -> str:
        return f"call_{self.generation.id[-20:]}"

    def text(self, kind: Kind) -> str:
        return "".join(piece.text for piece in self.pieces if piece.kind is kind)


class Stream(Protocol):
    """Turns a reply into events, one list item per event."""

    def opening(self) -> list[bytes]: ...

    def piece(self, piece: Piece) -> list[bytes]: ...

    def closing(self) -> list[bytes]: ...

    def failure(self, fault: Fault, moment: Moment) -> list[bytes]: ...


class Skin(Protocol):
    """One of the API dialects. `read` raises BadBody."""

    name: SkinName

    def read(self, body: dict[str, Any]) -> Ask: ...

    def whole(self, reply: Reply) -> Any: ...

    def failed(self, reply: Reply, fault: Fault, moment: Moment) -> Any: ...

    def stream(self, reply: Reply) -> Stream: ...


def compose(ask: Ask, model: Model, generation: Generation, answer_tokens: int) -> Reply:
    """Decides what the model says."""
    tool = ask.tool()
    pieces: list[Piece] = []
    if ask.reasoning:
        pieces = [Piece(Kind.REASONING, text) for text in prose("Let me think", max(4, answer_tokens // 4))]
    if tool is not None:
        pieces += [Piece(Kind.TOOL, text) for text in json_pieces(example_of(tool.schema))]
        finish = "tool_calls"
    elif ask.schema is not None:
        pieces += [Piece(Kind.TEXT, text) for text in json_pieces(example_of(ask.schema))]
        finish = "stop"
    else:
        pieces += [Piece(Kind.TEXT, text) for text in prose(ask.question, answer_tokens)]
        finish = "stop"
    if ask.max_tokens is not None and len(pieces) > ask.max_tokens:
        pieces, finish = pieces[: ask.max_tokens], "length"
    return Reply(ask, model, generation, pieces, finish, tool, int(generation.created_at))
