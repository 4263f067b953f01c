"""A batch on its way from the loader to the device: cut to the longest text, and copied on a stream of its own."""

import torch
from torch import Tensor

from askew.methods.base import Batch
from askew.nn.towers import TextTower

TEXTS = ("text", "text_short", "text_aug", "masked_text", "mlm_labels")  # keys of tokens (B, L)
MULTIPLE = 8  # of tokens: few lengths, so that compiled code and the memory of the device are used again


class Transfer:
    """Copies batches to a device. On the CPU it does nothing: there, the text tower cuts the texts to the token.

    On CUDA the copy has a stream of its own. It waits for no computation, and computation that follows waits for it.
    """

    def __init__(self, device: torch.device, text: TextTower):
        self.device, self._text = device, text
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device."""
        if self.device.type == "cpu":
            return batch
        batch = shortened(batch, self._text)
        if self._stream is None:
            return {key: value.to(self.device) for key, value in batch.items()}
        with torch.cuda.stream(self._stream):
            copied = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        computing = torch.cuda.current_stream(self.device)
        computing.wait_stream(self._stream)
        for value in copied.values():
            value.record_stream(computing)  # its memory is not free before the computation is done with it
        return copied


def shortened(batch: Batch, text: TextTower) -> Batch:
    """The batch without what no text needs: all texts have one length, a multiple of MULTIPLE, or their own.

    The texts must be on the CPU.
    """
    texts: dict[str, Tensor] = {key: batch[key] for key in TEXTS if key in batch}
    read = [value for key, value in texts.items() if key != "mlm_labels"]
    if not read:
        return batch
    needed = max(text.num_needed(value) for value in read)
    return {**batch, **{key: value[:, : -(-needed // MULTIPLE) * MULTIPLE] for key, value in texts.items()}}
