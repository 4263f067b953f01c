"""Decoding, once per sample: colour and size safety."""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = 64_000_000  # larger declared sizes are refused before a pixel is decoded
Image.MAX_IMAGE_PIXELS = None  # our own limit below is an error, Pillow's is a warning


def decode(data: bytes) -> Image.Image:
    """An RGB image from encoded bytes; transparency is laid on white, the first frame of an animation is taken.

    16-bit grey keeps its upper eight bits. A camera's orientation tag is left alone, as open_clip leaves it.

    Raises:
        OSError: empty, truncated, of no known format, or larger than MAX_PIXELS.
    """
    if not data:
        raise OSError("empty image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata would be printed by every worker
        try:
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                raise OSError(f"{image.width}x{image.height} pixels are over the limit of {MAX_PIXELS:,}")
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")  # 16-bit grey
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
        except UnidentifiedImageError as error:
            raise OSError("cannot identify the image: no known format") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise OSError(str(error) or type(error).__name__) from error
