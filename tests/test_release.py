"""What a release promises: one version, its dependencies and extras, the workflows that check and upload it."""

import ast
import importlib.util
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_args

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import askew
from askew.config import TrackerName

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "askew"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
INSTALLED = packages_distributions()
# Of people who work on askew itself, not of those who use it
FOR_DEVELOPERS = {"dev", "docs", "data"}
# Distributions whose modules have other names, where they may be missing here
MODULES = {"pillow-heif": "pillow_heif", "resvg-py": "resvg_py"}
STANDALONE = {PACKAGE / "export" / "onnx_reader.py"}  # a script that is written into exported folders
WORKFLOWS = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in (ROOT / ".github/workflows").glob("*.yml")}
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def names(requirements):
    """Canonical names of distributions; those of another extra in place of `askew[EXTRA]`."""
    found = set()
    for requirement in map(Requirement, requirements):
        if requirement.name == "askew":
            found |= {name for extra in requirement.extras for name in names(EXTRAS[extra])}
        else:
            found.add(str(canonicalize_name(requirement.name)))
    return found


CORE = names(PROJECT["dependencies"])
IN_EXTRA = {extra: names(listed) for extra, listed in EXTRAS.items()}


def imported():
    """Of every import of another package: file, module, and whether it waits for its use, in a function."""
    for file in sorted(set(PACKAGE.rglob("*.py")) - STANDALONE):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        late = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) or for_types_alone(node))
        inside = {id(node) for part in late for node in ast.walk(part)}
        for node in ast.walk(tree):
            for module in modules_of(node):
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names | {"askew"}:
                    yield file, module, id(node) in inside


def for_types_alone(node):
    """`if TYPE_CHECKING:`, which no program runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def modules_of(node):
    """The modules that a statement or `import_module("NAME")` names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module]
    called = isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", ""))
    if called == "import_module" and isinstance(node.args[0], ast.Constant):
        return [node.args[0].value]
    return []


def distribution_of(module):
    """The distribution that has a module; its own name where it is not installed here."""
    if module == "torch.utils.tensorboard":
        return "tensorboard"  # all that PyTorch has there is for this package
    top = module.partition(".")[0]
    found = INSTALLED.get(top)
    known = {name: distribution for distribution, name in MODULES.items()}
    return str(canonicalize_name(found[0] if found else known.get(top, top)))


IMPORTED = {(distribution_of(module), file, inside) for file, module, inside in imported()}


def test_the_core_imports_every_dependency_and_no_other_package():
    optional = set().union(*(IN_EXTRA[extra] for extra in EXTRAS.keys() - FOR_DEVELOPERS))
    found = {name for name, _, _ in IMPORTED}
    assert CORE - found == set(), "a dependency that nothing imports"
    assert found - CORE - optional == set(), "an import that nothing installs"
    assert CORE & optional == set()


@pytest.mark.parametrize("extra", sorted(EXTRAS.keys() - FOR_DEVELOPERS))
def test_what_an_extra_installs_is_imported_where_it_is_used(extra):
    """And the line for those who lack it names the extra, or those that it consists of."""
    places = [(name, file.name, inside) for name, file, inside in IMPORTED if name in IN_EXTRA[extra]]
    assert places
    assert [place for place in places if not place[2]] == []
    text = "".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"pip install 'askew\[([\w{}]+)\]'", text))
    named |= set(get_args(TrackerName)) if "{name}" in named else set()
    parts = {part for one in map(Requirement, EXTRAS[extra]) if one.name == "askew" for part in one.extras}
    assert (parts or {extra}) <= named


def test_the_page_lists_every_extra():
    page = (ROOT / "docs/versions.md").read_text(encoding="utf-8")
    table = page.split("## Extras")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", table, re.MULTILINE))
    installed = {extra: set(re.findall(r"`([\w.-]+)`", cell)) for extra, cell in rows.items()}
    users = EXTRAS.keys() - FOR_DEVELOPERS
    assert {extra: set(map(str, map(canonicalize_name, found))) for extra, found in installed.items()} == {
        extra: IN_EXTRA[extra] for extra in users
    }
    for extra in FOR_DEVELOPERS & EXTRAS.keys():
        assert f"`{extra}`" in table


def test_the_version_is_in_one_place():
    assert "version" not in PROJECT
    assert PROJECT["dynamic"] == ["version"]
    assert str(Version(askew.__version__)) == askew.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == askew.__version__


def test_the_changelog_is_by_release():
    headings = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    unreleased, releases = headings[0] == "Unreleased", [one for one in headings if one != "Unreleased"]
    dated = [re.fullmatch(r"(\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)", one) for one in releases]
    assert len(headings) - len(releases) == unreleased
    versions = [Version(found[1]) for found in dated if found]
    assert len(versions) == len(releases)
    assert versions == sorted(versions, reverse=True)
    ours = Version(askew.__version__)
    assert all(one < ours for one in versions) if unreleased else versions[0] == ours


def check_release():
    """scripts/check_release.py as a module."""
    spec = importlib.util.spec_from_file_location("check_release", ROOT / "scripts/check_release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def release(folder, version="1.2.0", heading="1.2.0 (2027-01-31)", cited="1.2.0", date="2027-01-31"):
    """The files of a release."""
    (folder / "src/askew").mkdir(parents=True)
    (folder / "src/askew/__init__.py").write_text(f'"""askew."""\n\n__version__ = "{version}"\n', encoding="utf-8")
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n## 1.1.0 (2026-12-01)\n", encoding="utf-8")
    (folder / "CITATION.cff").write_text(f"version: {cited}\ndate-released: {date}\n", encoding="utf-8")
    return folder


def test_a_release_that_is_described_may_be_uploaded(tmp_path):
    assert check_release().faults("v1.2.0", release(tmp_path)) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": "1.3.0"}, "the tag v1.2.0 is not v1.3.0"),
        ({"heading": "Unreleased"}, "CHANGELOG.md begins with 'Unreleased', not with '1.2.0 (YYYY-MM-DD)'"),
        ({"cited": "1.1.0"}, "CITATION.cff does not have version 1.2.0"),
        ({"date": "2027-01-30"}, "CITATION.cff does not have date-released"),
    ],
)
def test_a_release_that_is_not_is_refused_by_name(tmp_path, changed, words):
    assert any(words in fault for fault in check_release().faults("v1.2.0", release(tmp_path, **changed)))


def steps_of(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_the_workflows_run_what_is_there():
    assert WORKFLOWS.keys() >= {"check", "release"}
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = [step["run"] for workflow in WORKFLOWS.values() for step in steps_of(workflow) if "run" in step]
    made = {target for command in commands for target in re.findall(r"\bmake (\w+)", command)}
    assert {"check", "test"} <= made <= targets
    scripts = [path for command in commands for path in re.findall(r"\bscripts/\S+", command)]
    assert scripts
    assert [path for path in scripts if not (ROOT / path).is_file()] == []
    for step in (step for workflow in WORKFLOWS.values() for step in steps_of(workflow)):
        assert ("run" in step) != ("uses" in step)
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "actions/checkout@v1"))


def test_the_workflow_tests_every_python_that_askew_supports():
    tested = WORKFLOWS["check"]["jobs"]["check"]["strategy"]["matrix"]["python"]
    prefix = "Programming Language :: Python :: "
    named = [one.removeprefix(prefix) for one in PROJECT["classifiers"] if re.fullmatch(prefix + r"3\.\d+", one)]
    assert tested == named
    assert PROJECT["requires-python"] == f">={tested[0]}"
    minors = [int(one.removeprefix("3.")) for one in tested]
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_a_tag_is_uploaded_without_a_token_and_only_once_it_is_checked():
    workflow = WORKFLOWS["release"]
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads `on` as true
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert publish["needs"] == "build"
    assert publish["permissions"] == {"id-token": "write"}
    assert workflow["permissions"] == {"contents": "read"}
    runs = [step["run"] for step in build["steps"] if "run" in step]
    for command in ("scripts/check_release.py", "twine check --strict", "check-wheel-contents"):
        assert any(command in run for run in runs)
    assert "secrets" not in (ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8")
