"""The batch that made a step fail, kept so that the step can be looked at."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from askew.methods.base import Batch


def kept_batch(batch: Batch, file: Path) -> str:
    """Write the batch, and say where it is, or why it could not be written: the run has failed already."""
    try:
        file.parent.mkdir(exist_ok=True)
        save_file({key: value.detach().cpu().contiguous() for key, value in batch.items()}, file)
        return f"; the batch is in {file}"
    except (OSError, SafetensorError) as error:
        return f"; the batch could not be written ({error})"
