"""README.md and docs/*.md taken apart: blocks of code, commands, links, words in code."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASSIGNMENT = re.compile(r"(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """Code between fences."""

    page: str
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """One command of a bash block, with variables put in, as a shell would split it."""

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    return [Block(page.name, *found.groups()) for found in _FENCE.finditer(page.read_text())]


def files(page: Path) -> dict[str, str]:
    """Files that a page shows: {path: content} of the blocks that begin with `# path`."""
    shown = {}
    for block in blocks(page):
        path = re.match(r"(?:# @package \S+\n)?# (\S+/\S+\.(?:py|yaml))\n", block.text)
        if path:
            shown[path[1]] = block.text
    return shown


@contextmanager
def written_files(pages: Sequence[Path], folder: Path) -> Iterator[None]:
    """Make the `files` of pages below a folder; until the end, their packages can be imported."""
    packages = set()
    for path, content in (item for page in pages for item in files(page).items()):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        if file.suffix == ".py":
            (file.parent / "__init__.py").touch()
            packages.add(Path(path).parts[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        try:
            yield
        finally:
            for name in [name for name in sys.modules if name.split(".")[0] in packages]:
                del sys.modules[name]


def logical_lines(text: str) -> list[str]:
    """Lines of a script without empty ones and comments, continued ones joined."""
    lines = text.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def commands(block: Block) -> Iterator[Command]:
    """The commands of a bash block; variables that it sets are filled in.

    Raises:
        ValueError: quotes that do not close, a variable that is not set, or shell syntax that is
            not understood here, so that it cannot be checked.
    """
    variables: dict[str, str] = {}
    for line in logical_lines(block.text):
        split = shlex.shlex(line, posix=True, punctuation_chars=";&|<>()")
        split.whitespace_split = True
        words = [part for word in split for part in _filled(word, variables)]
        if any(set(word) <= set(";&|<>()") for word in words):
            raise ValueError(f"{block.page}: give commands lines of their own: {line}")
        assignment = _ASSIGNMENT.fullmatch(words[0])
        if assignment and len(words) == 1:
            variables[assignment[1]] = assignment[2]
        else:
            yield Command(block.page, tuple(words))


def _filled(word: str, variables: dict[str, str]) -> list[str]:
    """A word, or the words of the variable that it names."""
    if "$" not in word:
        return [word]
    name = word.removeprefix("$")
    if name not in variables:
        raise ValueError(f"{word} is not a variable that this block sets")
    return shlex.split(variables[name])


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Targets of links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def codes(page: Path) -> set[str]:
    """Words in code outside of blocks."""
    return {" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))}


def section(page: Path, heading: str) -> str:
    """A page's text from a heading of the second level to the next.

    Raises:
        ValueError: no such heading.
    """
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S)
    if found is None:
        raise ValueError(f"{page.name} has no section {heading!r}")
    return found[1]
