"""Tables: the best is marked by its direction, variants of Dice are never mixed."""

import functools
from dataclasses import asdict

import pytest

from sali.metrics.clinical import ClinicalRules
from sali.metrics.clinical_summary import clinical_names
from sali.metrics.frame_metric import FRAME_METRICS
from sali.metrics.scores import SCORES, ScoreInfo, is_built_in, score_info
from sali.metrics.vps import METRIC_NAMES
from sali.report.scores import (
    VARIANTS,
    beside_published,
    comparison,
    other_data,
    published_rows,
)
from sali.report.table import Row, Spread, score_table


def tables_of(text):
    """(title, cells of the rows) of each table of a comparison."""
    for part in text.split("\n## ")[1:]:
        rows = [one.strip("|").split("|") for one in part.splitlines() if one.startswith("|")]
        yield part.splitlines()[0], [[cell.strip() for cell in row] for row in rows]


def test_comparison_never_mixes_variants_of_dice():
    ours = {"unseen_easy": {"dice_max": 0.5, "dice_mean": 0.25, "dice_at_0.5": 0.125, "mae": 0.1}}
    found, notes = beside_published({"ours": ours}, {"unseen_easy": 86})
    tables = dict(tables_of(comparison(found, [*notes, "3 maps are missing"])))
    assert [title.split(",")[0] for title in tables] == list(VARIANTS)
    for variant, (header, _, *rows) in zip(VARIANTS, tables.values(), strict=True):
        assert header[3] == "Dice variant" and {row[3] for row in rows} == {variant}
        own = [row for row in rows if row[0] == "**ours (here)**"]
        assert [row[header.index("unseen_easy")] for row in own] == [
            f"**{100 * ours['unseen_easy'][variant]:.1f}**"
        ]
        assert len(rows) - 1 == sum(row["dice_variant"] == variant for row in published_rows())
    assert "must not be compared" in notes[0]


def test_published_rows_name_their_variant():
    rows = published_rows()
    assert len(rows) == 17
    assert {row["dice_variant"] for row in rows} == {"dice_max", "dice_mean"}
    pns = {r["dice_variant"]: r["unseen_easy"] for r in rows if r["method"] == "PNS+"}
    assert pns == {"dice_max": "75.6", "dice_mean": "67.8"}
    (mast,) = [r for r in rows if (r["method"], r["dice_variant"]) == ("MAST", "dice_max")]
    assert mast["seen_easy"] == "" and mast["unseen_hard"] == "80.3"


def test_other_data_has_no_published_rows():
    assert other_data({"unseen_easy": 86, "unseen_hard": 37}) == []
    tables, notes = beside_published(
        {"ours": {"unseen_hard": {"dice_max": 0.5}}}, {"unseen_hard": 4}
    )
    assert tables == [] and notes[1].startswith("unseen_hard has 4 clips here and 37 in SUN-SEG")
    assert beside_published({"ours": {"all": {"dice_max": 0.5}}}, {"all": 4}) == ([], [])


@pytest.fixture
def table():
    rows = (
        Row("g", ("g", "a_b"), {"mae": 0.25, "dice_max": 1.0, "polyps": 3.0, "ece": None}),
        Row("g", ("g", "c&d"), {"mae": 0.25, "dice_max": 0.5, "polyps": 3.0, "ece": None}),
        Row("h", ("h", "x|<y>"), {"mae": 0.5, "dice_max": 0.5, "polyps": 1.0, "ece": 0.125}),
    )
    columns = ("mae", "dice_max", "polyps", "ece")
    return score_table("All & more", ("subset", "method"), columns, rows, notes=["a < b"])


def test_tables_mark_the_best_with_ties_and_escape(table):
    assert table.to_markdown().splitlines()[1:] == [
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| g | a_b | **0.2500** | **1.0000** | 3 | - |",
        "| g | c&d | **0.2500** | 0.5000 | 3 | - |",
        "| h | x/<y> | 0.5000 | 0.5000 | 1 | 0.1250 |",
    ]
    latex = table.to_latex().splitlines()
    assert r"g & a\_b & \textbf{0.2500} & \textbf{1.0000} & 3 & - \\" in latex
    assert r"\caption{All \& more}" in latex and r"subset & method & mae & dice\_max" in latex[5]
    assert latex.count(r"\hline") == 4
    html = table.to_html("list")
    assert "x|&lt;y&gt;" in html and "<li>a &lt; b</li>" in html and '<table id="list">' in html
    assert '<td class="number best" data-value="1.0">1.0000</td>' in html


def test_spreads_are_compared_by_their_means():
    rows = [
        Row("g", (n,), {"mae": Spread(m, s)}) for n, m, s in (("a", 0.2, 0.01), ("b", 0.1, None))
    ]
    table = score_table("t", ["setting"], ["mae"], rows)
    assert table.to_markdown().splitlines()[2:] == ["| a | 0.2000 ± 0.0100 |", "| b | **0.1000** |"]
    assert r"0.2000 $\pm$ 0.0100" in table.to_latex()


def test_a_score_of_another_package_brings_its_direction_and_format():
    rows = [Row("g", (n,), {"hausdorff": v}) for n, v in (("a", 3.21), ("b", 4.0))]

    def lines(info):
        table = score_table("t", ["method"], ["hausdorff"], rows, info=info)
        return table.to_markdown().splitlines()[2:]

    assert lines(score_info) == ["| a | 3.2100 |", "| b | 4.0000 |"]  # nothing is known of it
    stored = {"hausdorff": asdict(ScoreInfo("lower", ".1f", "pixels"))}
    known = functools.partial(score_info, more=stored)
    assert lines(known) == ["| a | **3.2** |", "| b | 4.0 |"]
    html = score_table("t", ["method"], ["hausdorff"], rows, info=known).to_html()
    assert '<span title="pixels">hausdorff</span>' in html


def test_every_built_in_score_has_an_entry():
    for name in (*METRIC_NAMES, *clinical_names(ClinicalRules(threshold=0.7)), *FRAME_METRICS):
        assert is_built_in(name) and score_info(name).meaning, name
    neither = [name for name, info in SCORES.items() if info.direction == "neither"]
    assert neither == ["polyps", "polyp_returns", "stability_of_truth"]
