"""Two encoders and their preprocessing, as evaluation sees them: any open_clip model."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from askew.checkpoint import digest
from askew.errors import UserError, printable


@dataclass
class Encoders:
    """`image` and `text` map batches to unit-length float32 embeddings (n, D); nothing else of a model is used."""

    model: Any  # open_clip's models share methods, not a type
    preprocess: Callable[[Image.Image], torch.Tensor]
    tokenize: Callable[[list[str]], torch.Tensor]
    device: torch.device
    protocol: dict[str, str]
    batch_size: int = 256
    precision: str = "fp32"

    def image(self, images: Sequence[Image.Image]) -> np.ndarray:
        """(n, D) of PIL images, in order."""
        parts = []
        for start in range(0, len(images), self.batch_size):
            pixels = torch.stack([self.preprocess(image) for image in images[start : start + self.batch_size]])
            with torch.inference_mode(), self._autocast():
                parts.append(self.model.encode_image(pixels.to(self.device), normalize=True).float().cpu())
        return torch.cat(parts).numpy()

    def text(self, texts: Sequence[str]) -> np.ndarray:
        """(n, D) of texts, in order."""
        parts = []
        for start in range(0, len(texts), self.batch_size):
            tokens = self.tokenize(list(texts[start : start + self.batch_size]))
            with torch.inference_mode(), self._autocast():
                parts.append(self.model.encode_text(tokens.to(self.device), normalize=True).float().cpu())
        return torch.cat(parts).numpy()

    def _autocast(self):
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)


def load_encoders(
    name: str, device: torch.device, weights: str = "student", batch_size: int = 256, precision: str = "fp32"
) -> Encoders:
    """The encoders of a run directory, of `local-dir:FOLDER`, or of `NAME` or `NAME/TAG` of open_clip.

    Args:
        weights: "student" or, for a run directory of a method that has one, the momentum "teacher".

    Raises:
        UserError: nothing of that name, or a run without the asked weights.
    """
    folder = Path(name.removeprefix("local-dir:")).expanduser()
    pretrained = None
    if not name.startswith("local-dir:") and (folder / "recipe.yaml").is_file():
        folder = folder / {"student": "model", "teacher": "teacher"}[weights]
        if not folder.is_dir():
            raise UserError(
                f"{printable(name)}: the run has no {folder.name}/ folder; "
                + ("this method has no teacher" if weights == "teacher" else "finish it with --resume")
            )
    elif weights != "student":
        raise UserError(f"--weights {weights} needs a run directory, {printable(name)} is none")
    config_file = folder / "open_clip_config.json"
    try:
        if config_file.is_file():
            identifier = f"local-dir:{folder}"
            fingerprint = digest(folder / "open_clip_model.safetensors")
        else:
            identifier, _, tag = name.partition("/")
            pretrained, fingerprint = tag or None, tag or "random"
            if name.startswith("local-dir:") or open_clip.get_model_config(identifier) is None:
                raise UserError(
                    f"{printable(name)}: neither a run directory, nor a folder with open_clip_config.json, "
                    "nor a model name of open_clip (NAME or NAME/TAG)"
                )
        made: tuple[Any, Any, Any] = open_clip.create_model_and_transforms(
            identifier, pretrained=pretrained, device=device
        )
        model, _, preprocess = made
        tokenize = open_clip.get_tokenizer(identifier)
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{printable(name)}: cannot be loaded ({' '.join(str(error).split())[:300]})") from error
    protocol = {
        "model": printable(name, 400),
        "weights": weights,
        "weights_sha256": fingerprint,
        "precision": precision,
        "resolution": str(model.visual.image_size),
        "open_clip": open_clip.__version__,
        "torch": torch.__version__,
    }
    return Encoders(model.eval(), preprocess, tokenize, device, protocol, batch_size, precision)
