"""What somebody has typed in the playground, and the call that it makes: as a body, and as code for programs. Pure."""

from __future__ import annotations

import math
import pprint
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from app.panel.openrouter_forms import Form

ROLES: Final = ("user", "assistant", "system", "developer")
MOST_TURNS: Final = 40
KEY: Final = "GATEWAY_KEY"
"""The variable that stands in for a key: no secret is ever written into code."""
_LONGEST: Final = 200
_LONGEST_LINK: Final = 20_000
_MOST_TOKENS: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class Turn:
    role: str = "user"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """As it was typed. `client` and `key` are ids; empty: the panel itself, and whatever key the pool chooses."""

    client: str = ""
    key: str = ""
    model: str = ""
    system: str = ""
    turns: tuple[Turn, ...] = (Turn(),)
    temperature: str = ""
    max_tokens: str = ""
    tools: str = ""
    stream: bool = True

    def longer(self, answered: str = "") -> Draft:
        """With room for one more message, behind the answer that has come."""
        answer = (Turn("assistant", answered),) if answered else ()
        return replace(self, turns=(*self.turns, *answer, Turn())[-MOST_TURNS:])


def draft_of(form: Form) -> Draft:
    turns = []
    for number in range(MOST_TURNS):
        if not form.has(f"message.{number}"):
            break
        role = form.get(f"role.{number}")
        turns.append(Turn(role if role in ROLES else "user", form.get(f"message.{number}")))
    # An emptied message is one that was taken away; the last one is the place to type.
    kept = [turn for turn in turns[:-1] if turn.text.strip()] + turns[-1:]

    def short(name: str) -> str:
        return form.get(name).strip()[:_LONGEST]

    return Draft(
        client=short("client"),
        key=short("key"),
        model=short("model"),
        system=form.get("system"),
        turns=tuple(kept) or (Turn(),),
        temperature=short("temperature"),
        max_tokens=short("max_tokens"),
        tools=form.get("tools"),
        stream=form.has("stream"),
    )


def draft_of_link(query: Mapping[str, str]) -> Draft:
    """What the address of a link says: `?model=…&client=…&key=…&message=…`."""
    client, key, model = (query.get(name, "").strip()[:_LONGEST] for name in ("client", "key", "model"))
    return Draft(client=client, key=key, model=model, turns=(Turn("user", query.get("message", "")[:_LONGEST_LINK]),))


def body_of(draft: Draft) -> tuple[dict[str, Any], dict[str, str]]:
    """The call as a program would send it, and for each field that cannot be what is wrong with it."""
    errors: dict[str, str] = {}
    messages = [{"role": "system", "content": draft.system}] if draft.system.strip() else []
    messages += [{"role": turn.role, "content": turn.text} for turn in draft.turns if turn.text.strip()]
    body: dict[str, Any] = {"model": draft.model, "messages": messages}
    if not draft.model:
        errors["model"] = "Which model?"
    if not any(turn.text.strip() for turn in draft.turns):
        errors["message"] = "A call needs a message."
    if draft.temperature:
        _put(body, errors, "temperature", _temperature(draft.temperature), "This must be a number from 0 to 2.")
    if draft.max_tokens:
        _put(body, errors, "max_tokens", _tokens(draft.max_tokens), "This must be a whole number above 0.")
    if draft.tools.strip():
        _put(body, errors, "tools", _tools(draft.tools), "This must be a JSON list of tools.")
    if draft.stream:
        body["stream"] = True
    return body, errors


def _put(body: dict[str, Any], errors: dict[str, str], name: str, value: Any, sentence: str) -> None:
    if value is None:
        errors[name] = sentence
    else:
        body[name] = value


def _temperature(text: str) -> float | None:
    try:
        found = float(text.replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) and 0 <= found <= 2 else None


def _tokens(text: str) -> int | None:
    found = int(text) if text.isascii() and text.isdecimal() and len(text) < 12 else 0
    return found if 0 < found <= _MOST_TOKENS else None


def _tools(text: str) -> list[Any] | None:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return None
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else None


def code_of(body: Mapping[str, Any], base_url: str) -> dict[str, str]:
    """The call for a shell, for Python and for JavaScript."""
    text = msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
    streams = "stream" in body
    return {
        "curl": _curl(text, base_url, stream=streams),
        "Python": _python(body, base_url),
        "JavaScript": _script(text, base_url, stream=streams),
    }


def _curl(text: str, base_url: str, *, stream: bool) -> str:
    return (
        f"curl {'-N ' if stream else ''}{shlex.quote(f'{base_url}/chat/completions')} \\\n"
        f'  -H "Authorization: Bearer ${KEY}" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {shlex.quote(text)}"
    )


def _python(body: Mapping[str, Any], base_url: str) -> str:
    told = pprint.pformat(dict(body), sort_dicts=False, width=100)
    call = (
        "import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={base_url!r}, api_key=os.environ["{KEY}"])\n'
        f"body = {told}\n"
    )
    if "stream" in body:
        return (
            f"{call}for chunk in client.chat.completions.create(**body):\n"
            "    if chunk.choices:\n"
            '        print(chunk.choices[0].delta.content or "", end="", flush=True)\n'
        )
    return f"{call}print(client.chat.completions.create(**body).choices[0].message.content)\n"


def _script(text: str, base_url: str, *, stream: bool) -> str:
    nested = text.replace("\n", "\n  ")
    begin = (
        f"const answer = await fetch({msgspec.json.encode(f'{base_url}/chat/completions').decode()}, {{\n"
        '  method: "POST",\n'
        f'  headers: {{ authorization: `Bearer ${{process.env.{KEY}}}`, "content-type": "application/json" }},\n'
        f"  body: JSON.stringify({nested}),\n}});\n"
    )
    if stream:
        return (
            f"{begin}for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) "
            "process.stdout.write(piece);\n"
        )
    return f"{begin}console.log((await answer.json()).choices[0].message.content);\n"
