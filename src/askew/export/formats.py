"""The formats by name. A format is one function; its heavy imports are inside it."""

from askew.export.onnx import write_onnx
from askew.export.open_clip import write_open_clip
from askew.export.target import Target
from askew.export.transformers import write_transformers

FORMATS: dict[str, Target] = {
    "open_clip": write_open_clip,
    "transformers": write_transformers,
    "onnx": write_onnx,
}
