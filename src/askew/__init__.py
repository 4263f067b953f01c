"""askew: language-image pretraining that learns from misalignment (MCD, ICCV 2023) and its rivals.

The import is light on purpose: `askew --help` must answer at once, so torch is imported by the modules that need it.
"""

__version__ = "0.1.0"
