"""Whether a release is described: tag, version, changelog and citation agree. The workflow `release` runs it.

python scripts/check_release.py v0.1.0
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def faults(tag: str, root: Path) -> list[str]:
    """What has to be changed before `tag` is released; empty if all agree."""
    init = (root / "src/askew/__init__.py").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    version = _found(r'^__version__ = "(.+)"$', init)
    heading = _found(r"^## (.+)$", changelog)
    dated = re.fullmatch(re.escape(version) + r" \((\d{4}-\d{2}-\d{2})\)", heading)
    checks = {
        f"the tag {tag} is not v{version}, the version in src/askew/__init__.py": tag == f"v{version}",
        f"CHANGELOG.md begins with '{heading}', not with '{version} (YYYY-MM-DD)'": dated is not None,
        f"CITATION.cff does not have version {version}": _found(r"^version: (.+)$", citation) == version,
        "CITATION.cff does not have date-released, with the date in CHANGELOG.md": dated is not None
        and _found(r"^date-released: (.+)$", citation) == dated[1],
    }
    return [fault for fault, agrees in checks.items() if not agrees]


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip("\"'") if found else ""


if __name__ == "__main__":
    sys.exit("\n".join(faults(sys.argv[1], ROOT)) or None)
