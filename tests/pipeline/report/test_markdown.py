"""Text from files never becomes markup in the report, and the report always fits into a comment."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pipeline.__main__ import main
from pipeline.markdown import bullets, code, table
from pipeline.report.document import Section, render_document
from pipeline.report.sections.verdict import Status, Verdict
from tests.pipeline.evaluated_models import EvaluatedModel, create_released, create_repository

# GitHub's limit for a comment, in characters.
LIMIT = 65_536
# The report's own uses of "<": HTML, and a small p-value.
OWN_MARKUP = re.compile(r"</?(details|summary)>|p < 0.0001")
HOSTILE = (
    "a|b", "a\\|b", "back`tick", "``", "![x](http://example.org/x.png)", "[x](y)", "@everyone", "a@b.org",
    "#12", "org/repo#3", "<img src=x onerror=y>", "<!-- ", "</details>", "\n\n# heading", "\r\n| a | b |",
    "---", "\u202egnp", "\u2028line", "\x00\x1b[31m", "\ud800", "www.example.org", "https://example.org",
    "*bold* _it_", "&lt;b&gt;", "${{ secrets }}", "$(id)", "\\", " ", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("tabby cat", "`tabby cat`"),
        ("  two \n lines\t", "`two lines`"),
        ("a|b`c<d", "`a¦b\u02cbc\u2039d`"),
        ("", "` `"),
        ("\u202e\x07", "`\ufffd`"),
        ("日本 café", "`日本 café`"),
        ("x" * 60, f"`{'x' * 60}`"),
        ("a" * 50 + "z" * 50, f"`{'a' * 39}…{'z' * 20}`"),
    ],
)
def test_text_of_a_file_becomes_code(text: str, shown: str) -> None:
    assert code(text) == shown


@pytest.mark.parametrize("text", HOSTILE)
def test_any_text_stays_one_cell_of_code(text: str) -> None:
    written = table(["key", "value"], [[code(text), "1"]])
    rows = cells(written)
    assert [len(row) for row in rows] == [2, 2]
    assert [token.type for token in rows[1][0]] == ["code_inline"]
    assert rows[1][1][0].content == "1"
    assert [token.type for token in inline(bullets([code(text)]))] == ["code_inline"]


def parsed(text: str) -> list[Token]:
    """The block tokens of a Markdown text with tables."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def cells(text: str) -> list[list[list[Token]]]:
    """The inline tokens of each cell, by row, of all tables."""
    rows: list[list[list[Token]]] = []
    tokens = parsed(text)
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(tokens[place + 1].children or [])
    return rows


def inline(text: str) -> Iterator[Token]:
    for token in parsed(text):
        yield from token.children or []


def check_harmless(text: str, *names: str) -> None:
    """Checks that a report has only its own HTML, images and cells, and `names` only inside of code."""
    for line in text.splitlines():
        bare = re.sub(r"`[^`]*`", "", line)
        assert "<" not in OWN_MARKUP.sub("", line), line
        assert not re.search(r"@|https?:|www\.|\[(?!Images|Confusion|Reliability)", bare), line
        assert not any(name in bare for name in names), line
        # All lines of a table have the same number of cells.
        if line.startswith("|"):
            assert line.endswith("|")
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1, block
    for token in inline(text):
        assert token.type not in ("html_inline", "link_open"), token.content
        assert token.type != "image" or str(token.attrs["src"]).startswith("report/"), token.attrs
    assert text.count("<details>") == text.count("</details>")
    assert len(text) <= LIMIT
    assert len(text.encode()) <= LIMIT


def report(*options: str) -> str:
    assert main(["report", *options]) == 0
    return Path("report.md").read_text(encoding="utf-8")


def test_hostile_names_do_not_leave_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files are UTF-8, which cannot encode a lone surrogate.
    names = tuple(name for name in HOSTILE if name != "\ud800")
    mistakes = {f"{place:03d}/000.png": (names[place - 1], 0.9) for place in range(1, len(names))}
    monkeypatch.chdir(create_released(tmp_path / "project", EvaluatedModel("old", names=names[:-3])).root)
    EvaluatedModel("new", mistakes, names).write(Path.cwd())
    gate = Path("reports/tiny/metrics.json")
    gate.write_text(gate.read_text().replace(">= 0.5", "| @someone <b> `x` ![y](z)"))
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("A model for tests.", "'| @someone ![x](y) `<b>` |'"))
    text = report("--against", "main")
    check_harmless(text, "everyone", "someone", "onerror", "heading")
    assert text.count("someone") == 2


def test_a_model_of_a_thousand_long_names_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:04d} {'`|@x<日本' * 28}"[:200] for number in range(1000)]
    mistakes = {f"{number:03d}/{number % 3:03d}.png": (names[number - 1], 0.5) for number in range(1, 1000)}
    monkeypatch.chdir(create_released(tmp_path / "project", EvaluatedModel("old", {}, names, images=3)).root)
    EvaluatedModel("new", mistakes, names, images=3, train=101).write(Path.cwd())
    text = report()
    check_harmless(text, "@x")
    assert "significantly worse than main (999 lost, 0 gained, p < 0.0001)" in text
    assert "... and 949 more." in text
    assert "Left out" not in text


def test_fifty_models_whose_params_all_change_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [f"model-{number}-{'x' * 50}" for number in range(50)]
    project = create_repository(tmp_path / "project", models)
    monkeypatch.chdir(project.root)
    for model in models:
        EvaluatedModel("old", model=model).write(project.root)
    project.commit("old")
    project.succeed("git", "switch", "-q", "-c", "change")
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("A model for tests.", f"'| @x {'日' * 500}'"))
    for number, model in enumerate(models):
        mistakes = {f"000/{place:03d}.png": ("dog", 0.7) for place in range(number % 20)}
        floor = 0.99 if number == 7 else 0.0
        EvaluatedModel("new", mistakes, floor=floor, model=model).write(project.root)
    text = report()
    check_harmless(text, "@x")
    assert text.index(f"❌ **{models[7]}: refused.**") < text.index("⚠️") < text.index("✅")
    assert sum(f"**{model}: " in text for model in models) == 50
    assert "Left out to fit into a GitHub comment: " in text
    # The sections of the highest priority are kept, at least of the first models.
    assert "#### Metrics" in text
    assert "#### Artifact" not in text
    assert text.index(f"### {models[7]}\n\n") < text.index(f"### {models[0]}\n\n")


def test_sections_of_low_priority_are_shortened_and_left_out_first() -> None:
    def rows(most: int) -> str:
        return table(["key"], [["x" * 500]] * 100, most)

    sections = [
        Section("tiny", title, weight, rows) for title, weight in (("First", 3), ("Second", 1), ("Third", 2))
    ]
    verdict = Verdict(Status.PASSED, "✅ **tiny: passed.**", [])
    assert [title for title, _ in found(render_document([verdict], "", sections, ""))] == [
        "First",
        "Second",
        "Third",
    ]
    many = [*sections, *(Section("tiny", "Other", 0, lambda most: "x" * 20_000) for _ in range(3))]
    text = render_document([verdict], "", many, "foot")
    assert len(text.encode()) <= LIMIT
    # Tables are shortened before sections are left out, lowest priority first.
    assert [(title, shown) for title, shown in found(text) if title != "Other"] == [
        ("First", 6), ("Second", 6), ("Third", 6),
    ]  # fmt: skip
    assert "Left out to fit into a GitHub comment: Other (1)." in text
    assert text.endswith("foot")


def found(text: str) -> list[tuple[str, int]]:
    """The sections of a report, with the number of rows of their tables."""
    return [
        (part.partition("\n")[0], part.count("| xxx")) for part in re.split(r"^### ", text, flags=re.M)[1:]
    ]


def test_verdicts_of_very_many_models_lose_their_notes_and_then_the_last_ones() -> None:
    verdicts = [Verdict(Status.REFUSED, "**model-999**", [])]
    verdicts += [
        Verdict(Status.PASSED, f"**model-{number}** {'x' * 100}", ["y" * 500]) for number in range(999)
    ]
    text = render_document(verdicts, "", [Section("model-1", "Metrics", 1, lambda most: "z")], "foot")
    assert len(text) <= LIMIT
    assert "1,000 models: 1 refused, 999 passed." in text
    assert text.index("model-999") < text.index("model-0")
    assert re.search(r"\.\.\. and \d+ more\.", text)
    assert "yyy" not in text
    assert "#### Metrics" in text
