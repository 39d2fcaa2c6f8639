import re
import statistics

import pytest
from tabulate import tabulate

from harness.catalogue import DATASETS, TRAINERS
from harness.report.published import AVERAGED, DATASETS_OF, Source, published_tables, read_published
from harness.report.results import harmonic_mean
from harness.report.runs import find_runs
from harness.report.tables import method_text
from tests.conftest import REPOSITORY
from tests.harness.runs import as_dicts, finish

ENTRY = """\
{name}:
  document: someone/some-fork, README.md
  paper: "2203.05557"
  protocol: {protocol}
  backbone: ViT-B/16
  shots: 16
  says: averages over 3 seeds
  numbers:
    {numbers}
"""
BASE2NEW = "CoOp: {dtd: [79.44, 41.18, 54.24]}"


@pytest.fixture
def written(tmp_path):
    """Write an entry, and read it."""

    def read(numbers=BASE2NEW, protocol="base2new"):
        file = tmp_path / "published.yaml"
        file.write_text(ENTRY.format(name="fork", protocol=protocol, numbers=numbers))
        return read_published(str(file))

    return read


# ---- the file --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published():
    return read_published()


def test_every_source_is_a_file_of_a_public_repository_and_a_paper(published):
    for source in published:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+, [\w./-]+\.(md|png)", source.document), source.document
        assert re.fullmatch(r"\d{4}\.\d{5}|[A-Z]+ \d{4}", source.paper) and source.numbers and source.says


def test_every_number_is_a_percentage_of_what_is_known_here(published):
    """And an H is that of its base and new, as far as their digits go."""
    for source in published:
        for (trainer, dataset, of), value in source.numbers.items():
            assert trainer in TRAINERS and dataset in DATASETS_OF[source.protocol] and 0 <= value <= 100
            if of == "H":
                h = harmonic_mean(*(source.numbers[trainer, dataset, half] for half in ("base", "new")))
                assert value == pytest.approx(h, abs=0.011), (source.name, trainer, dataset)


def test_reading(written):
    base, new, h = (("CoOp", "dtd", of) for of in ("base", "new", "H"))
    (source,) = written()
    assert source == Source(
        name="fork",
        document="someone/some-fork, README.md",
        paper="2203.05557",
        protocol="base2new",
        backbone="ViT-B/16",
        says="averages over 3 seeds",
        shots="16",
        numbers={base: 79.44, new: 41.18, h: 54.24},
    )
    assert written("CoOp: {dtd: [79.44, 41.18]}")[0].numbers == {base: 79.44, new: 41.18}
    assert written("CoOp: {dtd: 41.92}", "xd")[0].numbers == {("CoOp", "dtd", "accuracy"): 41.92}


def test_averages_are_those_of_the_data_sets(published):
    """Figures that were read wrongly do not add up. Those measured anew have averages of their own, or none."""
    checked = 0
    for source in published:
        alike = [s for s in published if s.protocol == source.protocol and not s.says.startswith("measured anew")]
        alike = [source] if source not in alike or source.name == "kgcoop" else alike
        for trainer, of in {(trainer, of) for trainer, _, of in source.numbers if of != "H"}:
            values = [source.numbers.get((trainer, name, of)) for name in AVERAGED[source.protocol]]
            averages = [s.numbers[trainer, "average", of] for s in alike if (trainer, "average", of) in s.numbers]
            if None not in values and averages:
                mean = statistics.fmean(values)
                assert any(abs(mean - average) < 0.016 for average in averages), (source.name, trainer, of, mean)
                checked += 1
    assert checked >= 32


def test_every_method_with_public_figures_is_there(published):
    none = {"SEP", "E2MIM", "CLIPLoRA", "MMRLpp", "TipAdapter", "TipAdapterF", "LinearProbe"}
    assert {trainer for source in published for trainer, _, _ in source.numbers} == set(TRAINERS) - none
    assert sum(len(source.numbers) for source in published) > 600


def test_the_page_has_the_averages_of_the_file(published):
    page = (REPOSITORY / "docs/published.md").read_text(encoding="utf-8")
    rows = []
    for trainer in TRAINERS:
        for source in published:
            found = [source.numbers.get((trainer, "average", of)) for of in ("base", "new", "H")]
            if None not in found:
                rows.append([method_text(trainer), *(f"{value:.2f}" for value in found), source.name, source.document])
    table = tabulate(rows, ["method", "base", "new", "H", "source", "document"], "github", disable_numparse=True)
    assert f"<!-- averages -->\n{table}\n<!-- /averages -->" in page, table


# ---- beside ours -------------------------------------------------------------------------------------------------

BACKBONE = {"MODEL.BACKBONE.NAME": "ViT-B/16"}


def both_halves(folder, dataset="dtd", trainer="CoOp", settings=BACKBONE, **where):
    for seed, base, new in ((1, 80.0, 40.0), (2, 82.0, 42.0)):
        finish(folder, "base", seed, base, dataset=dataset, trainer=trainer, settings=settings, **where)
        finish(folder, "new", seed, new, dataset=dataset, trainer=trainer, settings=settings, **where)


def beside(folder, sources, protocol="base2new"):
    (table,) = published_tables(find_runs(folder)[0], protocol, sources)
    return table, as_dicts(table)


def test_published_value_and_distance_with_spread_and_seeds(tmp_path, written):
    both_halves(tmp_path)
    table, rows = beside(tmp_path, written())
    assert table.title == "Base-to-new, beside published numbers"
    assert table.headers == ["data set", "method", "of", "ours", "published", "distance", "source", "seeds"]
    assert table.rows == [
        ["dtd", "CoOp", "base", "81.00 ± 1.00", "79.44", "+1.56", "fork", "1, 2"],
        ["dtd", "CoOp", "new", "41.00 ± 1.00", "41.18", "-0.18", "fork", "1, 2"],
        ["dtd", "CoOp", "H", "54.44", "54.24", "+0.20", "fork", "1, 2"],
    ]
    assert table.notes[1] == (
        "fork: someone/some-fork, README.md (arXiv 2203.05557; ViT-B/16, 16 shots): averages over 3 seeds."
    )


def test_sources_that_disagree_both_stand_there(tmp_path, written):
    both_halves(tmp_path)
    (one,) = written()
    other = one._replace(name="other", numbers={("CoOp", "dtd", "base"): 79.33})
    _, rows = beside(tmp_path, [one, other])
    assert [(row["published"], row["source"]) for row in rows if row["of"] == "base"] == [
        ("79.44", "fork"),
        ("79.33", "other"),
    ]


NAME, ACTIVATION = "MODEL.BACKBONE.NAME", "MODEL.BACKBONE.ACTIVATION"


@pytest.mark.parametrize(
    "settings, compared",
    [
        (None, True),  # as runs of a fork
        ({NAME: "ViT-B/16"}, True),
        ({NAME: "/weights/ViT-B-16.pt"}, True),
        ({NAME: "ViT-B/32"}, False),
        ({NAME: "open_clip:ViT-B-16/laion2b_s34b_b88k"}, False),
        ({NAME: "ViT-B/16", ACTIVATION: "gelu"}, False),  # OpenAI's is another
    ],
)
def test_only_runs_of_the_same_backbone_are_compared(tmp_path, written, settings, compared):
    both_halves(tmp_path, settings=settings)
    table, rows = beside(tmp_path, written())
    assert bool(rows) == compared
    missing = "No published number is of the backbone, shots and data sets of these runs."
    assert (missing in table.notes) != compared


def test_only_runs_with_the_settings_of_a_source_are_compared(tmp_path, published):
    """DePT around SEP is not what was published of DePT around PromptSRC; nor is a run that does not say."""
    for base in ("SEP", "PromptSRC"):
        settings = {**BACKBONE, "TRAINER.DEPT.BASE": base}
        both_halves(tmp_path / base, trainer="DePT", cfg=base, settings=settings)
    both_halves(tmp_path / "unknown", trainer="DePT", cfg="unknown", settings=None)
    _, rows = beside(tmp_path, published)
    assert [row["source"] for row in rows] == ["dept_promptsrc"] * 3


def test_other_shots_are_not_compared_but_for_zero_shot(tmp_path, written):
    both_halves(tmp_path, shots=4)
    assert beside(tmp_path, written())[1] == []
    both_halves(tmp_path, shots=4, trainer="ZeroshotCLIP")
    (source,) = written("ZeroshotCLIP: {dtd: [53.24, 59.90, 56.37]}")
    assert {row["method"] for row in beside(tmp_path, [source])[1]} == {"ZeroshotCLIP"}


def test_no_number_for_what_is_drawn_here_and_it_says_so(tmp_path, published):
    both_halves(tmp_path, dataset="shapes", settings=None)
    table, rows = beside(tmp_path, published)
    assert rows == [] and table.notes == ["Nobody has published numbers of shapes: these pictures are drawn here."]


def test_methods_without_a_published_number_are_named(tmp_path, published):
    both_halves(tmp_path, trainer="SEP")
    both_halves(tmp_path, trainer="CoOp")
    table, rows = beside(tmp_path, published)
    assert {row["method"] for row in rows} == {"CoOp"} and "No published number was found of SEP." in table.notes


def test_the_average_needs_all_of_the_papers_data_sets(tmp_path, written):
    (source,) = written("CoOp: {average: [82.69, 63.22, 71.66]}")
    for dataset in [*DATASETS[1:], "shapes"]:
        both_halves(tmp_path, dataset=dataset)
    assert beside(tmp_path, [source])[1] == []
    both_halves(tmp_path, dataset="imagenet")
    _, rows = beside(tmp_path, [source])
    assert [(row["of"], row["ours"], row["distance"]) for row in rows] == [
        ("base", "81.00", "-1.69"),
        ("new", "41.00", "-22.22"),
        ("H", "54.44", "-17.22"),
    ]
    assert harmonic_mean(81, 41) == pytest.approx(54.44, abs=0.005)
    assert rows[0]["seeds"] == "11 data sets: 1, 2"


@pytest.mark.parametrize("protocol", ["xd", "dg"])
def test_source_targets_and_average(tmp_path, written, protocol):
    targets = AVERAGED[protocol]
    numbers = f"CoOp: {{imagenet: 71.51, {targets[0]}: 50.0, average: 55.0}}"
    where = {"trainer": "CoOp", "cfg": "x"}
    for seed in (1, 2):
        finish(tmp_path, "source", seed, 72.0, dataset="imagenet", **where)
        for i, target in enumerate(targets):
            finish(tmp_path, "target", seed, 50.0 + seed + i, dataset=target, source="imagenet", **where)
    _, rows = beside(tmp_path, written(numbers, protocol), protocol)
    mean = 51.5 + (len(targets) - 1) / 2
    assert [(row["data set"], row["ours"], row["distance"]) for row in rows] == [
        ("imagenet", "72.00 ± 0.00", "+0.49"),
        (targets[0], "51.50 ± 0.50", "+1.50"),
        ("average", f"{mean:.2f}", f"{mean - 55:+.2f}"),
    ]
    finish(tmp_path, "target", 3, 50.0, dataset=targets[0], source="imagenet", **where)  # seeds that differ
    assert "average" not in {row["data set"] for row in beside(tmp_path, written(numbers, protocol), protocol)[1]}
