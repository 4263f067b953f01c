"""One table, drawn in the terminal and as Markdown; test_page.py draws it as HTML."""

import io

import pytest
from rich.console import Console as RichConsole

from askew.report.console import Console, clock
from askew.report.markdown import markdown
from askew.report.table import Table

TABLE = Table(
    "Numbers, %",
    ["method", "top-1"],
    [["CLIP", "1.0"], ["<b>|ours|</b> [red]", "12.5"]],
    left=["method"],
    emphasized=[1],
    caption="of 100 items",
)


def test_markdown_is_aligned_and_escaped():
    assert markdown(TABLE).splitlines() == [
        "| method | top-1 |",
        "|---|---:|",
        "| CLIP | 1.0 |",
        "| **<b>\\|ours\\|</b> [red]** | **12.5** |",
    ]


def shown(table, width=80, terminal=True):
    console = Console()
    file = io.StringIO()
    console.out = RichConsole(file=file, width=width, force_terminal=terminal, color_system=None)
    console.table(table)
    return file.getvalue()


def test_the_terminal_shows_markup_and_control_codes_as_text(capsys):
    text = shown(TABLE)
    assert "[red]" in text
    assert "of 100 items" in text
    assert text.index("CLIP") < text.index("├") < text.index("12.5")  # ours are set apart
    assert "\\x1b[31m" in shown(Table("t", ["a"], [["\x1b[31m"]]))


def test_a_pipe_gets_the_whole_table(capsys):
    Console().table(Table("t", ["a", "b"], [["x" * 70, "y" * 70]]))
    assert "x" * 70 in capsys.readouterr().out


def test_a_table_that_does_not_fit_its_columns_is_refused():
    with pytest.raises(AssertionError, match="a cell for every column"):
        Table("t", ["a", "b"], [["1"]])
    with pytest.raises(AssertionError, match="only columns"):
        Table("t", ["a"], [["1"]], left=["b"])


def test_progress_shows_every_term_under_its_own_name(capsys):
    line = {
        "step": 5, "epoch": 0.1, "samples": 40, "loss": 1.5, "contrast": 1.25, "my_term": 0.125, "learning_rate": 0.1,
        "gradient_norm": 2.0, "samples_per_second": 20.0, "data_wait": 0.25, "logit_scale": 14.0,
        "peak_memory_mb": 100.0, "skipped": 0, "seconds": 2.0,
    }  # fmt: skip
    Console().progress(line, ("contrast", "my_term"), 10)
    printed = capsys.readouterr().err
    assert printed == "step 5/10  0:02 left  20 samples/s  data wait 25%  loss 1.500  contrast 1.25  my_term 0.125\n"
    assert clock(3725) == "1:02:05"


def test_the_training_bar_is_gone_when_training_ends_or_fails():
    console = Console()
    console.err = RichConsole(file=io.StringIO(), force_terminal=True, width=80)
    with console.training_bar(3):
        assert console._training is not None
    assert console._training is None
    with pytest.raises(RuntimeError), console.training_bar(0):
        raise RuntimeError
    assert console._training is None
    shown = console.err.file.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 2  # the cursor is back
