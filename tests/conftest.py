"""Shapes in the signatures of askew.objectives and askew.nn are checked whenever a test calls them."""

from jaxtyping import install_import_hook

install_import_hook(["askew.objectives", "askew.nn"], "beartype.beartype")
