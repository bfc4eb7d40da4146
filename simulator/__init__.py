"""A fake OpenRouter to rehearse with. It knows nothing of the gateway: only what is seen on OpenRouter's wire."""

from __future__ import annotations

from simulator.server import Simulator

__all__ = ["Simulator"]
