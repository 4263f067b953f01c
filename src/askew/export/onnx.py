"""The format `onnx`: a graph for images and one for texts, with all that is needed to use them without PyTorch."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Shaped
from torch import Tensor, nn

from askew.errors import UserError, printable
from askew.export.open_clip import save_directory
from askew.export.target import ExportedModel, SourceModel, require_extra
from askew.export.tokenizer import LEFT_OUT_OF_CLEANING, backend_of

SNIPPET = """\
from pathlib import Path

from example import OnnxModel  # example.py of this folder
from PIL import Image

model = OnnxModel(Path("."))  # the folder of this file
image_embedding = model.encode_images([Image.open("photo.jpg")])
text_embedding = model.encode_texts(["a red bicycle"])
"""
MAIN = (
    """

if __name__ == "__main__":  # python example.py PHOTO TEXT...: the cosine of the photo with each text
    import sys

    model = OnnxModel(Path(__file__).parent)
    cosines = model.encode_images([Image.open(sys.argv[1])]) @ model.encode_texts(sys.argv[2:]).T
    for cosine, text in zip(cosines[0], sys.argv[2:], strict=True):
        """
    + "print(f'{cosine:.4f}  {text}')\n"
)
CLEANING = (
    "HTML entities unescaped, quotes straightened, ligatures split, wide letters narrowed, control characters removed, "
    "NFC, one space for white space, lower case"
)
OPSET = 18  # the lowest that torch.onnx.export(dynamo=True) writes, so that the most runtimes read it
PREPROCESSING, TOKENIZER, EXAMPLE = "preprocessing.json", "tokenizer.json", "example.py"
NOTES = (
    "`image.onnx` takes `pixels` (batch, 3, H, W) in float32 and gives `image_embedding` (batch, D); `text.onnx` "
    "takes `tokens` (batch, L) in int64 and gives `text_embedding` (batch, D). Embeddings have unit length. The batch "
    f"size is free. The opset is {OPSET}.",
    f"`{PREPROCESSING}` says how pixels and tokens are made. `{EXAMPLE}` does so with NumPy, Pillow, onnxruntime and "
    "tokenizers alone, and the numbers below were measured with it.",
    LEFT_OUT_OF_CLEANING,
)


def write_onnx(source: SourceModel, folder: Path, int8: bool = False) -> ExportedModel:
    """Write the graphs, the tokenizer, preprocessing.json and example.py, and read them by what is in example.py.

    Args:
        int8: write quantised graphs beside those in float32, too.

    Raises:
        UserError: a tower or tokenizer that cannot be expressed, or a package that is not installed.
    """
    require_extra("onnx", "onnxruntime", "onnxscript", "tokenizers")
    import onnxruntime

    from askew.export import onnx_reader
    from askew.export.onnx_int8 import loss_of_int8, of_images, of_texts, quantise

    text = write_tokenizer(source.encoders.tokenize, folder / TOKENIZER)
    write_graphs(source, folder)
    settings = {
        "image": image_settings(source.preprocess_cfg),
        "text": text,
        "logits": logit_settings(source.encoders.model),
        "graphs": {"opset": OPSET, "image": "image.onnx", "text": "text.onnx"},
    }
    (folder / PREPROCESSING).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    reader = Path(onnx_reader.__file__).read_text(encoding="utf-8")
    (folder / EXAMPLE).write_text(reader + MAIN, encoding="utf-8")
    if int8:
        with quiet():
            quantise(folder)
    model = onnx_reader.OnnxModel(folder)
    return ExportedModel(
        images=lambda encoded: of_images(model, encoded),
        texts=lambda texts: of_texts(model, texts),
        library="onnx",
        versions={"onnxruntime": onnxruntime.__version__},
        snippet=SNIPPET,
        notes=NOTES,
        further=(lambda images, texts: loss_of_int8(folder, images, texts)) if int8 else None,
    )


class UnitLength(nn.Module):
    """A tower of open_clip with embeddings of unit length. Forward: (B, ...) -> (B, D)."""

    def __init__(self, tower: nn.Module):
        super().__init__()
        self.tower = tower

    def forward(self, inputs: Shaped[Tensor, "B ..."]) -> Float32[Tensor, "B D"]:
        """Embeddings of normalised images (B, 3, H, W), or of token ids (B, L)."""
        return F.normalize(self.tower(inputs), dim=-1)


def write_graphs(source: SourceModel, folder: Path) -> None:
    """Write image.onnx and text.onnx: open_clip's plain towers in float32, of which only the batch size is free.

    Raises:
        UserError: torch.onnx cannot express a tower.
    """
    with TemporaryDirectory() as plain:
        save_directory(source, Path(plain))
        model: Any = open_clip.create_model(f"local-dir:{plain}", device="cpu", force_custom_text=True)
    rows, columns = image_size(source.preprocess_cfg)
    tokens = source.encoders.tokenize(["a photo", "a photo of a dog"])
    write_graph(model.visual, torch.zeros(2, 3, rows, columns), "pixels", folder / "image.onnx")
    write_graph(model.text, tokens, "tokens", folder / "text.onnx")


def write_graph(tower: nn.Module, example: Tensor, name: str, path: Path) -> None:
    """Write the graph `name` -> `image_embedding` or `text_embedding`, after the stem of the path, and check it."""
    import onnx

    try:
        with quiet():
            program = torch.onnx.export(
                UnitLength(tower).eval(),
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=[f"{path.stem}_embedding"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = printable(" ".join(str(error.__cause__ or error).split()), 200)
        raise UserError(
            f"--to onnx: torch.onnx cannot express the {path.stem} tower {type(tower).__name__} ({reason}); "
            "use another tower, or --to open_clip"
        ) from error
    assert program is not None
    program.save(path)  # weights of more than 2 GB lie beside it
    onnx.checker.check_model(path)


def logit_settings(model: Any) -> dict[str, float]:
    """What the model makes of a cosine: cosine * scale + bias."""
    bias = model.logit_bias
    return {"scale": model.logit_scale.exp().item(), "bias": 0.0 if bias is None else bias.item()}


def write_tokenizer(tokenize: Any, path: Path) -> dict[str, Any]:
    """Write a tokenizer.json that cuts and pads to the context length; returns what preprocessing.json says of it."""
    made = backend_of(tokenize, "onnx")
    made.enable_truncation(max_length=tokenize.context_length)
    made.enable_padding(length=tokenize.context_length, pad_id=0, pad_token=tokenize.decoder[0])
    made.save(str(path))
    return {
        "tokenizer": path.name,
        "context_length": tokenize.context_length,
        "start_id": tokenize.sot_token_id,
        "end_id": tokenize.eot_token_id,
        "pad_id": 0,
        "cleaning": CLEANING,
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what PyTorch's exporter and onnxruntime's quantiser print about their own progress."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def image_size(settings: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of the images that the image tower takes."""
    size = settings["size"]
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def image_settings(preprocess_cfg: dict[str, Any]) -> dict[str, Any]:
    """What onnx_reader.py needs to make the pixels that open_clip's transform of this configuration makes."""
    rows, columns = image_size(preprocess_cfg)
    how = preprocess_cfg["resize_mode"]
    bicubic = preprocess_cfg["interpolation"] != "bilinear" or (how == "shortest" and rows != columns)
    return {
        "size": [rows, columns],
        "channels": "RGB",
        "resize": how,
        "interpolation": "bicubic" if bicubic else "bilinear",
        "crop": "center",
        "fill": preprocess_cfg["fill_color"],
        "scale": 1 / 255,
        "mean": list(preprocess_cfg["mean"]),
        "std": list(preprocess_cfg["std"]),
    }
