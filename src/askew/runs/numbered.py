"""Run directories without a name of their own: `runs/NAME-001`, `runs/NAME-002`, and so on."""

from pathlib import Path


def next_numbered(name: str, parent: Path) -> Path:
    """`parent/NAME-NNN`, the first number never used; made at once, so that two runs cannot share it."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name.rsplit("-", 1)[1]) for p in numbered(name, parent)), default=0)
    while True:
        path = parent / f"{name}-{number:03d}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def numbered(name: str, parent: Path) -> list[Path]:
    """Run directories of a recipe's name, oldest first."""
    found = [p for p in parent.glob(f"{name}-*") if p.is_dir() and p.name[len(name) + 1 :].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]))
