"""Warnings that name the line of the user's program, and not one of askew."""

import sys
import warnings


def warn(text: str) -> None:
    """A Python warning, in the line that called into askew."""
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "askew":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)
