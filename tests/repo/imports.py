"""Which local modules a module imports, read from the source without running it."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "scoring", "serving")


def modules(package: str) -> list[Path]:
    """The modules of one package, relative to the root."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Dotted names of all that a module imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from pipeline import params` names a module, `from pipeline.params import load` a function.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def local(path: Path) -> set[Path]:
    """The local modules that a module imports directly."""
    return set(_files(imported(path)))


def closure(path: Path) -> set[Path]:
    """A module and all local ones that it imports, directly or not."""
    found, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += local(current)
    return found


def dependencies(needed: set[Path]) -> list[str]:
    """The modules as a stage's `deps` name them: a package whose modules are all needed is one folder."""
    folders = {
        folder
        for folder in {path.parent for path in needed}
        if {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")} <= needed
    }
    outermost = {folder for folder in folders if not folders & set(folder.parents)}
    single = {path for path in needed if not outermost & set(path.parents)}
    return sorted(path.as_posix() for path in outermost | single)


def _files(names: set[str]) -> Iterator[Path]:
    for name in names:
        parts = name.split(".")
        # Importing a.b runs a/__init__.py too.
        for length in range(1, len(parts) + 1 if parts[0] in PACKAGES else 0):
            base = Path(*parts[:length])
            for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                if (ROOT / candidate).is_file():
                    yield candidate
