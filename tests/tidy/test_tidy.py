"""The habits of CONTRIBUTING.md that a machine can check. Each test says why the habit is kept."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "holdfast").rglob("*.py"))
FLOORS = {
    "kit", "errors", "model", "settings", "ports", "metrics", "storage", "transport", "cluster",
    "entities", "jobs", "singletons", "schedules", "admin", "runtime", "cli", "web", "testing", "contrib", "verify",
}  # fmt: skip
LINES_PER_FILE = 400
LINES_PER_FUNCTION = 60
FRAGMENT_KINDS = {"added", "changed", "fixed", "removed", "security"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Every absolute import of a file: line, module, and the names taken from it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module or "", tuple(alias.name for alias in node.names)


def test_there_is_something_to_look_at() -> None:
    """An empty list would make every other test here pass for nothing."""
    assert SOURCES


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    """A file is one actor or one idea; past this length it has become two."""
    long = [f"{place(p)}: {n}" for p in SOURCES if (n := p.read_text().count("\n")) > LINES_PER_FILE]
    assert not long


def test_every_function_fits_a_screen() -> None:
    """What cannot be seen at once is not reviewed at once."""
    long = [
        f"{place(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, Function) and (node.end_lineno or 0) - node.lineno >= LINES_PER_FUNCTION
    ]
    assert not long


def test_nothing_is_called_utils() -> None:
    """A module named after no subject collects everything and is imported by everyone."""
    names = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert not [place(p) for p in SOURCES if {p.stem, *p.relative_to(ROOT).parts} & names]


def test_nobody_inside_comes_in_by_the_front_door() -> None:
    """Importing the root package from within makes one import circle of the whole project."""
    guests = [
        f"{place(path)}:{line}"
        for path in SOURCES
        for line, module, names in imports(path)
        if module == "holdfast" and not set(names) & FLOORS
    ]
    assert not guests


def test_the_folders_are_the_floors() -> None:
    """`ls` explains the design: what stands in the package is on the floor plan, and nothing else."""
    inside = {p.name.removesuffix(".py") for p in (ROOT / "src/holdfast").iterdir() if p.name[0] not in "_."}
    assert inside - {"py.typed"} <= FLOORS


def test_kit_needs_only_the_standard_library() -> None:
    """Floor 0 can be lifted out and tested anywhere; a dependency there would be everybody's."""
    allowed = sys.stdlib_module_names | {"holdfast"}
    strangers = [
        f"{place(path)}:{line} {module}"
        for path in SOURCES
        if "kit" in path.parts
        for line, module, _ in imports(path)
        if module.partition(".")[0] not in allowed
    ]
    assert not strangers


def test_every_module_tells_its_story() -> None:
    """A reader who opens a file cold learns from its first lines what lives there; an empty one holds nothing."""
    assert not [place(p) for p in SOURCES if p.read_text().strip() and not ast.get_docstring(tree(p))]


@pytest.mark.parametrize("path", sorted((ROOT / "changelog.d").iterdir()), ids=lambda path: path.name)
def test_changelog_fragments_are_named_so_that_a_release_finds_them(path: Path) -> None:
    """A fragment with a misspelt kind would silently miss the release notes."""
    if path.name == "README.md":
        return
    subject, kind, suffix = path.name.split(".")
    assert subject and kind in FRAGMENT_KINDS and suffix == "md"
    assert not path.read_text().startswith("#")
