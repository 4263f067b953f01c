"""What `askew export` does: a directory for another library, compared on real samples, with a model card."""

from dataclasses import dataclass, replace
from pathlib import Path

from askew.data.files import check_output_folder, home_path, replacing_directory, write_text
from askew.data.images import PixelLimit
from askew.data.sources import EMBEDDED, Source, open_source
from askew.errors import UserError, printable, writing
from askew.export.about import About, about_model, about_run, hashes_of
from askew.export.card import model_card
from askew.export.formats import FORMATS
from askew.export.onnx import write_onnx
from askew.export.parity import ParitySamples, first_samples, measured
from askew.export.source import open_model
from askew.report.console import Console
from askew.runs.directory import RunDirectory

CARD = "README.md"


@dataclass(frozen=True)
class ExportRequest:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.
        to: a name in FORMATS.
        out: the folder to write, new or empty.
        samples: how many the parity check compares.
        data: their source; "" is the run's data, and without a run the embedded ones.
        int8: of the format onnx, quantised graphs too.
    """

    model: str
    to: str
    out: Path
    weights: str = "student"
    samples: int = 100
    data: str = ""
    int8: bool = False


def export(asked: ExportRequest, console: Console) -> None:
    """Write the directory, and say where it is. Raises what `write_export` raises."""
    write_export(asked, console)
    out = home_path(asked.out)
    console.say(f"written  {out}: {', '.join(sorted(path.name for path in out.iterdir()))}")


def write_export(asked: ExportRequest, console: Console) -> None:
    """Write the directory whole, or nothing.

    Raises:
        UserError: a wrong request, or a model that the format cannot express.
        RunFailed: the exported model does not give askew's embeddings.
    """
    if asked.int8 and asked.to != "onnx":
        raise UserError(f"--int8 belongs to --to onnx, and this is --to {asked.to}; leave it out")
    out = home_path(asked.out)
    check_output_folder(out)
    source_of_samples, samples = _samples(asked)
    source = open_model(asked.model, asked.weights, console.warn)
    console.say(f"export   {printable(asked.model, 400)} ({source.encoders.protocol['weights']}) to {asked.to}")
    with writing("the export", out), replacing_directory(out) as folder:
        exported = write_onnx(source, folder, int8=True) if asked.int8 else FORMATS[asked.to](source, folder)
        parity = measured(source.encoders, exported, samples)
        console.say(f"parity   {parity.line}")
        further = () if exported.further is None else exported.further(samples.images, samples.texts)
        for line in further:
            console.say(f"int8     {line}")
        exported = replace(exported, notes=(*exported.notes, *further))
        about = _about(asked, source.encoders.protocol, source_of_samples)
        write_text(folder / CARD, model_card(source, exported, parity, about, hashes_of(folder)))


def _run_of(asked: ExportRequest) -> RunDirectory | None:
    directory = RunDirectory(home_path(asked.model))
    return directory if directory.exists and not asked.model.startswith("local-dir:") else None


def _samples(asked: ExportRequest) -> tuple[Source | None, ParitySamples]:
    """The run's own data, if they are opened; and the samples for the parity check."""
    run = _run_of(asked)
    if asked.data:
        source = open_source(asked.data)
        return None, first_samples(source, asked.samples, asked.data)
    if run is None:
        name = "askew's embedded data (--data SOURCE names others)"
        return None, first_samples(open_source(EMBEDDED), asked.samples, name)
    data = run.read_recipe().data
    PixelLimit(data.max_megapixels).apply()
    try:
        source = open_source(data.source, data.options)
    except UserError as error:
        raise UserError(
            f"the run's data, which the parity check compares on, cannot be opened ({error}); "
            "name samples with --data SOURCE"
        ) from error
    return source, first_samples(source, asked.samples, f"the run's data, {data.source}")


def _about(asked: ExportRequest, protocol: dict[str, str], source: Source | None) -> About:
    run = _run_of(asked)
    if run is None:
        return about_model(asked.model)
    return about_run(run, protocol["weights"], protocol["weights_sha256"], source)
