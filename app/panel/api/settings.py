"""`/admin/api/settings`: what is set and where, and the settings that are changed while the gateway runs. Shows no
secret.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body
from pydantic import BaseModel, Field, WithJsonSchema

from app.panel.api.callers import PROVED
from app.panel.api.conventions import ApiProblem
from app.panel.context import Context, PanelContext, SignedIn
from app.panel.problems import Problem
from app.panel.setting_rows import rows
from app.panel.settings_page import reset_all, switch_to
from app.services.key_names import KeyRefused
from app.services.live_settings import LIVE, checked
from app.services.switches import Switch

router: Final = APIRouter(prefix="/admin/api/settings", tags=["Settings"])

_MOST_LETTERS: Final = 2000
_Name = Annotated[str, Field(pattern="^[a-z0-9_]{1,100}$")]
_Value = Annotated[Any, WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Changes = Annotated[
    dict[_Name, _Value],
    Body(
        max_length=len(LIVE),
        description=f"Values by name; null: what the environment says. These are live: {', '.join(LIVE)}.",
        examples=[{LIVE[1].value: 3, LIVE[0].value: None}],
    ),
]


class SettingOut(BaseModel):
    """`value` is written as in the environment, `given` what holds where nothing is switched here. Of a secret only
    whether it is set. `live`: may be changed here. `source`: default, environment, .env or panel.
    """

    name: str
    group: str
    value: str
    given: str
    source: str
    live: bool
    secret: bool
    choices: list[str]
    help: str


def _every(ctx: PanelContext) -> list[SettingOut]:
    groups = rows(ctx.settings, {switch: ctx.switches.get(switch) for switch in LIVE})
    return [
        SettingOut(
            name=row.name,
            group=title,
            value=row.value,
            given=row.given,
            source=row.source,
            live=row.live,
            secret=row.secret,
            choices=list(row.choices),
            help=row.help,
        )
        for title, own in groups
        for row in own
    ]


@router.get("")
async def list_settings(ctx: Context) -> list[SettingOut]:
    """All settings, in the order of `.env.example`."""
    return _every(ctx)


@router.patch("")
async def change_settings(changes: Changes, ctx: Context, person: SignedIn) -> list[SettingOut]:
    """Sets what is named, in all workers and at once: all of it, or with an error nothing."""
    for switch, text in _checked(changes).items():
        await switch_to(ctx, switch, text, by=person.by)
    return [one for one in _every(ctx) if one.name in changes]


@router.post("/reset", dependencies=[PROVED])
async def reset_settings(ctx: Context, person: SignedIn) -> list[SettingOut]:
    """Everything that was switched is what the environment says again: a deed for each."""
    await reset_all(ctx, by=person.by)
    return [one for one in _every(ctx) if one.live]


def _checked(changes: dict[str, _Value]) -> dict[Switch, str | None]:
    """Raises ApiProblem."""
    found: dict[Switch, str | None] = {}
    errors: list[tuple[str, str]] = []
    for name, value in changes.items():
        if name not in list(Switch):
            errors.append((name, "This is no setting that may be changed while the gateway runs."))
            continue
        try:
            found[Switch(name)] = None if value is None else checked(Switch(name), _text(value))
        except KeyRefused as refusal:
            errors.append((name, str(refusal)))
    if errors:
        raise ApiProblem(Problem(422, "invalid", "Nothing was changed.", errors=tuple(errors)))
    return found


def _text(value: object) -> str:
    """As the variable would be written. Raises KeyRefused."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value) if isinstance(value, str | int | float) else "\0"
    if len(text) > _MOST_LETTERS or not text.isprintable():
        raise KeyRefused(f"It must be a number, true, false, or a text of at most {_MOST_LETTERS} characters.")
    return text
