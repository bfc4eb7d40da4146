"""The pages of the OpenRouter keys together, in the order in which their addresses are compared. Nothing else."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter

from app.panel import (
    openrouter_add,
    openrouter_deeds,
    openrouter_detail,
    openrouter_edit,
    openrouter_list,
    openrouter_renewals,
    openrouter_rotation,
)

router: Final = APIRouter(include_in_schema=False)
for _part in (
    openrouter_list,
    openrouter_add,
    openrouter_rotation,
    openrouter_deeds,
    openrouter_edit,
    openrouter_renewals,
    openrouter_detail,  # last: its address has room for any name
):
    router.include_router(_part.router)
