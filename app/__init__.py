"""A gateway between a team's programs and OpenRouter."""

__version__ = "0.1.0"
