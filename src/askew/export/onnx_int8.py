"""ONNX graphs with 8-bit weights, and what they cost: measured on real samples, never assumed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from askew.evaluation.metrics import matching_columns, ranks, recall_at_k
from askew.export.onnx_reader import OnnxModel
from askew.export.parity import opened
from askew.export.target import in_batches

SUFFIX = "_int8"  # image_int8.onnx beside image.onnx
OPERATORS = ("MatMul", "Gather")


def quantise(folder: Path) -> None:
    """Write image_int8.onnx and text_int8.onnx: OPERATORS with int8 weights, one scale for each output channel.

    Activations are quantised as they come, so that no calibration data are needed. All else stays in float32.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    for kind in ("image", "text"):
        quantize_dynamic(
            folder / f"{kind}.onnx",
            folder / f"{kind}{SUFFIX}.onnx",
            op_types_to_quantize=list(OPERATORS),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )


def of_images(model: OnnxModel, encoded: Sequence[bytes]) -> np.ndarray:
    """Embeddings (n, D) of encoded images, opened by Pillow alone."""
    return in_batches(lambda some: model.encode_images([opened(data) for data in some]), encoded)


def of_texts(model: OnnxModel, texts: Sequence[str]) -> np.ndarray:
    """Embeddings (m, D) of texts."""
    return in_batches(model.encode_texts, texts)


def loss_of_int8(folder: Path, images: Sequence[bytes], texts: Sequence[str]) -> tuple[str, ...]:
    """A line each on size, cosines and retrieval: the int8 graphs against those in float32, on n pairs.

    Equal texts count as matches of one another, as in evaluation.
    """
    models = OnnxModel(folder), OnnxModel(folder, SUFFIX)
    cosines = [of_images(model, images).astype(np.float64) @ of_texts(model, texts).T for model in models]  # (n, n)
    change = np.abs(cosines[1] - cosines[0])
    matches = matching_columns(np.array(texts)[:, None] == np.array(texts))
    recalls = [[100 * recall_at_k(ranks(scores, matches), 1) for scores in (found, found.T)] for found in cosines]
    megabytes = [sum((folder / f"{kind}{end}.onnx").stat().st_size for kind in ("image", "text")) / 1e6
                 for end in ("", SUFFIX)]  # fmt: skip
    return (
        f"image{SUFFIX}.onnx and text{SUFFIX}.onnx have the weights of {' and '.join(OPERATORS)} in int8, and all else "
        f"in float32: {megabytes[1]:.1f} MB in place of {megabytes[0]:.1f} MB",
        f"their cosines of the {len(images):,} images with the {len(texts):,} texts differ from those in float32 by at "
        f"most {change.max():.4f}, on average {change.mean():.4f}",
        f"their R@1 among these {len(images):,} pairs: {recalls[1][0]:.1f} in place of {recalls[0][0]:.1f} (image to "
        f"text), {recalls[1][1]:.1f} in place of {recalls[0][1]:.1f} (text to image)",
    )
