"""Pillow's warnings about odd metadata, which every worker would print, are ignored in the whole process.

`warnings.catch_warnings` would ignore them where they arise, but threads decode images, and it belongs to the process:
two threads that leave it in another order than they entered would take the user's own warnings away for good.
"""

import re
import warnings

_OF_PILLOW = re.compile(r"PIL\.|pillow_heif")  # the modules that warn


def ignore_pillow_warnings() -> None:
    """Before an image is read. It changes nothing the second time, unless other filters were put in front."""
    if not warnings.filters or warnings.filters[0][3] != _OF_PILLOW:
        warnings.filterwarnings("ignore", module=_OF_PILLOW.pattern)
