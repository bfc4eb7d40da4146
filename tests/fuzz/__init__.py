"""Fuzzing: everything that parses bytes from outside, with what must hold for any bytes whatsoever."""
