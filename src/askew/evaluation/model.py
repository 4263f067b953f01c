"""A model as evaluation sees it: two encoders and their preprocessing, of any open_clip model."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from askew.evaluation.layers import Project, encode_trimmed, may_trim, take_off_projection

OverBatches = Callable[[Sequence[int], Callable[[int], np.ndarray]], list[np.ndarray]]


def one_after_the_other(starts: Sequence[int], encode: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    """Every batch on this rank."""
    return [encode(start) for start in starts]


@dataclass
class Encoders:
    """`image` and `text` map batches to unit-length float32 embeddings (n, D). Evaluation needs nothing else.

    The model is changed: its image tower loses the projection, which is applied here, so that one forward pass yields
    both pooled features and embeddings. Texts are encoded in order of length, and a causal text tower runs only as far
    as the longest text of a batch needs. The numbers are those of `encode_text` up to rounding (1e-6), in a fraction of
    the time.

    Attributes:
        layer: where pooled features come from; "" if the kind of the image tower is not known, so that it gives none.
        configuration: the model's configuration as text, a part of the key of cached features.
        over_batches: encodes texts batch by batch, given where each batch starts; see sharing.py.
    """

    model: Any  # open_clip's models share methods, not a type
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device
    protocol: dict[str, str]
    batch_size: int = 256
    precision: str = "fp32"
    configuration: str = ""
    layer: str = field(default="", init=False)
    over_batches: OverBatches = field(default_factory=lambda: one_after_the_other, init=False)
    _project: Project | None = field(default=None, init=False)
    _state: dict[str, Tensor] = field(default_factory=dict, init=False)  # all of it, with the projection

    def __post_init__(self) -> None:
        self._state = dict(getattr(self.model, "state_dict", dict)())  # a wrapped pair of encoders may have none
        taken = take_off_projection(getattr(self.model, "visual", None))
        if taken is not None:
            self.layer, self._project = taken

    @property
    def state(self) -> dict[str, Tensor]:
        """All weights, with the projection, under open_clip's names in the layout with a separate text tower."""
        return self._state

    def features(self, pixels: Tensor) -> tuple[np.ndarray | None, np.ndarray]:
        """Features before the projection (n, F), or None, and embeddings (n, D) of preprocessed images (n, 3, H, W).

        The embeddings are those of open_clip's `encode_image(normalize=True)`, normalised in float32 even under bf16.
        """
        with torch.inference_mode(), self._autocast():
            if self._project is None:
                embedding = self.model.encode_image(pixels.to(self.device), normalize=True)
                return None, embedding.float().cpu().numpy()
            made = self.model.visual(pixels.to(self.device))
            pooled = made[0] if isinstance(made, tuple) else made
            embedding = F.normalize(self._project(pooled).float(), dim=-1)
        return pooled.float().cpu().numpy(), embedding.cpu().numpy()

    def image(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Embeddings (n, D) of PIL images, in order."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            pixels = torch.stack([self.preprocess(image) for image in images[start : start + self.batch_size]])
            parts.append(self.features(pixels)[1])
        return np.concatenate(parts)

    def text(self, texts: Sequence[str], batch_size: int = 0) -> np.ndarray:
        """Embeddings (n, D) of texts, in order. Each text is encoded once, so equal texts have equal embeddings.

        Args:
            batch_size: texts that are encoded at once; 0 is the batch size of images.
        """
        size = batch_size or self.batch_size
        order = sorted(set(texts), key=lambda text: (len(text), text))
        trim = may_trim(getattr(self.model, "text", None))

        def encode(start: int) -> np.ndarray:
            tokens = self.tokenize(order[start : start + size]).to(self.device)
            with torch.inference_mode(), self._autocast():
                if trim:
                    embedding = encode_trimmed(self.model.text, tokens)
                else:
                    embedding = self.model.encode_text(tokens, normalize=True)
                return embedding.float().cpu().numpy()

        parts = self.over_batches(range(0, len(order), size), encode)
        row_of = {text: row for row, text in enumerate(order)}
        return np.concatenate(parts)[[row_of[text] for text in texts]]

    def cut(self, texts: Sequence[str]) -> int:
        """How many texts have more tokens than the context holds: their ends are not encoded."""
        length = getattr(self.tokenize, "context_length", None)
        if not texts or not isinstance(length, int):
            return 0
        inner = getattr(self.tokenize, "tokenizer", None)  # of Hugging Face: a byte may become several tokens
        long = [text for text in dict.fromkeys(texts) if inner or len(text.encode("utf-8", "replace")) >= length - 1]
        pad = inner.pad_token_id if inner else getattr(getattr(self.model, "text", None), "pad_id", 0)
        pad = getattr(self.tokenize, "absent", pad)
        cut = set[str]()
        for start in range(0, len(long), 1024):
            tokens = self.tokenize(long[start : start + 1024], context_length=length + 1)  # type: ignore[call-arg]
            cut |= {long[start + row] for row in (tokens[:, -1] != pad).nonzero()[:, 0].tolist()}
        return sum(text in cut for text in texts)

    def fingerprint(self) -> str:
        """sha256 of all that decides a feature: weights, configuration, preprocessing, precision, device, versions."""
        parts = [state_sha256(self._state), self.configuration, repr(self.model), repr(self.preprocess)]
        parts += [self.protocol.get("weights_sha256", ""), self.precision, self.layer, self.device.type]
        parts += [torch.__version__, open_clip.__version__]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def state_sha256(state: dict[str, Tensor]) -> str:
    """sha256 of the names, shapes, types and values of tensors."""
    made = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        made.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        made.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return made.hexdigest()
