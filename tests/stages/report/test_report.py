"""The report as a file: what stands in it, that it needs nothing else, and that what is missing is a line."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.metrics.score_names import main_score
from pipeline.pose.skeletons import COCO17
from pipeline.report import plots
from pipeline.report.tables import PAPER, headline_table
from stages.evaluate.curves import THRESHOLDS, pck_curve
from stages.evaluate.poses import read_poses, write_poses
from stages.project.datasets import load_people
from stages.project.project import Project
from stages.report import run as report
from stages.report.gallery import pick_by_error
from tests.pipeline.examples import people
from tests.stages.report.report_project import (
    BASELINE,
    HOSTILE,
    MODELS,
    make_report_project,
    metrics,
    report_params,
    shifted,
)

PAGE, FIGURES = report.REPORT_FOLDER / "report.html", report.FIGURES_FOLDER
LINKS = {"https://arxiv.org/abs/2405.20084"}


class Elements(HTMLParser):
    """Tags with their attributes, and the text of each table row and heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        self.open = tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.rows and self.open in ("th", "td"):
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def row(self, name: str, nth: int = 0) -> list[str]:
        return [row for row in self.rows if row[0] == name][nth]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that the report can be made of."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_report_project(folder)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    place = tmp_path / "copy"
    shutil.copytree(made, place)
    monkeypatch.chdir(place)
    return place


@dataclass(frozen=True)
class Report:
    """A page with the messages, and the files of its figures."""

    text: str
    lines: list[str]
    figures: dict[str, bytes]


def drawn() -> Report:
    """The report of the project in the current folder, with its figures drawn."""
    text, lines = page()
    return Report(text, lines, {path.name: path.read_bytes() for path in FIGURES.iterdir()})


@pytest.fixture(scope="module")
def complete(made: Path) -> Report:
    """The report of the complete project, where a figure of an earlier report lay."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        FIGURES.mkdir(parents=True)
        (FIGURES / "old.pdf").write_bytes(b"")
        return drawn()


@pytest.fixture
def text(complete: Report) -> str:
    """Its page."""
    return complete.text


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not drawn, which takes most of a page's time."""
    monkeypatch.setattr(plots, "_svg", lambda figure, name: "<svg></svg>")
    monkeypatch.setattr(plots, "_pdf", lambda figure: b"%PDF-")


def page(**changes: Any) -> tuple[str, list[str]]:
    """The HTML, and the messages."""
    lines: list[str] = []
    report.run(Project(report_params(**changes)), lines.append)
    return PAGE.read_text(encoding="utf-8"), lines


def test_a_complete_project_gives_a_complete_page_and_the_same_again(complete: Report, project: Path) -> None:
    """Again is in a copy: the folder's own path is in nothing."""
    text = complete.text
    assert complete.lines == [
        f"{PAGE}: {len(text.encode()) / 1e6:.1f} MB, opens in any browser; its figures as SVG and PDF: data/report/figures/"
    ]
    assert 'class="missing"' not in text
    assert drawn() == complete
    found = Elements(text)
    captions = [
        attributes["aria-label"] for tag, attributes in found.tags if tag == "figure" and attributes.get("role")
    ]
    assert [caption.split(":")[0] for caption in captions[1:3]] == ["coco", "other"] and len(captions) == 4
    assert sum(tag == "article" for tag, _ in found.tags) == 2 * 3
    assert sum(tag == "img" for tag, _ in found.tags) == 1


def test_every_model_and_dataset_is_in_the_numbers(text: str) -> None:
    found = Elements(text)
    assert found.row("model") == ["model", "average", "coco AP", "other AP"]
    assert found.row("one") == ["one", *["50.0 ± 2.0"] * 3]
    assert found.row(BASELINE) == [BASELINE, *["40.0 ± 2.0"] * 3]
    assert found.row("teacher tiny (ceiling)") == ["teacher tiny (ceiling)", *["70.0 ± 2.0"] * 3]
    assert found.row(BASELINE, 1) == [BASELINE, "−10.0* (−11.0 to −9.0)"]  # noqa: RUF001
    assert found.row("teacher tiny") == ["teacher tiny", "+20.0 (−3.0 to +43.0)"]  # noqa: RUF001
    assert found.row("AP50") == ["AP50", "55.0", "45.0", "75.0"]
    assert found.row("coco") == ["coco", "49.0", "39.0", "69.0"]


def test_the_papers_numbers_are_told_from_ours(text: str) -> None:
    found = Elements(text)
    assert [found.row(row[0]) for row in PAPER.rows] == PAPER.rows
    numbers = [cell for row in PAPER.rows for cell in row[1:] if cell]
    assert numbers == ["53.79", "70.89", "66.84", "55.78", "76.40", "72.75"]
    assert "Published by Khan et al. 2024, on the real COCO, MPII and Halpe" in found.texts


def test_what_was_run(made: Path, text: str) -> None:
    found = Elements(text)
    fingerprint = json.loads((made / "data/targets/tiny/coco-train.zarr/manifest.json").read_text())["fingerprint"]
    stored = next(row for row in found.rows if row[:3] == ["tiny", "coco", "train"])
    assert stored[-3:] == [fingerprint[key][:12] for key in ("teacher", "people", "pictures")]
    # sha256 of b"weights"
    trained = next(row for row in found.rows if row[:3] == ["one", "coco", "tiny"])
    assert trained[3:] == ["replayed", "64 x 32", "72 s", "coco 12.3", "9a129038d9a0"]
    assert any("shard: 16" in text for text in found.texts)
    assert found.row("numpy")[1] == np.__version__


def test_the_page_needs_nothing_else(text: str) -> None:
    addresses = {
        value or ""
        for _, attributes in Elements(text).tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "data", "poster")
    }
    outside = {address for address in addresses if not address.startswith(("#", "data:"))}
    assert outside == LINKS
    assert "@import" not in text and set(re.findall(r"url\((.)", text)) <= {"#"}
    assert {tag for tag, _ in Elements(text).tags} & {"iframe", "object", "embed", "base"} == set()


def test_ids_are_unique_and_what_is_referred_to_is_there(text: str) -> None:
    ids = [attributes["id"] for _, attributes in Elements(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {name for name in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', text) for name in name if name} <= set(ids)


def test_hostile_names_are_texts(text: str) -> None:
    found = Elements(text)
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert (
        sum(tag == "b" for tag, _ in found.tags) == (6 + 2) * 4
    )  # titles of the panels in the gallery and on the first screen
    assert any(HOSTILE in each for each in found.texts) and BASELINE in found.texts


@pytest.mark.usefixtures("undrawn")
def test_the_gallery_shows_the_best_the_middle_and_the_worst(project: Path) -> None:
    """Errors of `one` are 0, 1, 2, ... percent by person, the baseline's twice and the teacher's three times that."""
    text, _ = page()
    truth = load_people("coco", "test")
    used = truth.rows(truth.use)
    count = len(used)
    articles = re.findall(r"<article.*?</article>", text, re.DOTALL)
    for article, kind, n in zip(
        articles[:3], ("best", "typical", "worst"), (0, (count - 1) // 2, count - 1), strict=True
    ):
        assert f'data-set="coco" data-kind="{kind}"' in article
        assert f"coco, {kind}: {used.image[n]}, person {used.person[n]}" in article
        notes = re.findall(r"<figcaption><b>([^<]*)</b> ([^<]*)</figcaption>", article)
        assert notes == [
            ("truth", ""),
            ("teacher tiny", f"{3 * n:.1f} %"),
            ("one", f"{n:.1f} %"),
            ("&lt;b&gt;two", f"{2 * n:.1f} %"),
        ]
        assert article.count("<title>nose</title>") == 1
        assert article.count("<title>nose, confidence 0.75</title>") == 3
    sheet = cv2.imread(str(report.REPORT_FOLDER / "coco.jpg"))
    assert sheet.shape[1] > 4 * 240 and sheet.shape[0] > 3 * 320


@pytest.mark.usefixtures("undrawn")
def test_poses_lie_where_they_are_predicted(project: Path) -> None:
    """The crop scales the padded box, widened to 3:4, to 240 x 320 pixels."""
    text, _ = page()
    article = next(a for a in re.findall(r"<article.*?</article>", text, re.DOTALL) if 'data-kind="best"' in a)
    truth = load_people("coco", "test")
    row = int(np.flatnonzero(truth.use)[0])
    x, y, width, height = truth.box[row]
    scale = 240 / (1.25 * max(width, height * 0.75))
    expected = (truth.keypoints[row, COCO17.index("nose")] - (x + width / 2, y + height / 2)) * scale + (120, 160)
    drawn = re.search(r'cx="([\d.-]+)" cy="([\d.-]+)" r="\d+"><title>nose<', article)
    assert drawn and [float(value) for value in drawn.groups()] == pytest.approx(expected, abs=0.06)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "absent",
    [
        {
            "data/students/one/curve.csv": (
                "data/students/one/curve.csv: no curve to show: run `pipeline distill --student one`"
            ),
            "data/targets": (
                "data/targets/tiny/coco-train.zarr: no such target store: run `pipeline teach --teacher tiny`"
            ),
            "data/poses/other.parquet": (
                "data/poses/other.parquet: expected poses, found no file: run `pipeline evaluate`"
            ),
            "data/pck.csv": "data/pck.csv: no curves to show: run `pipeline evaluate`",
            "tiny.onnx": None,
        },
        {
            "data/students/one/student.json": "data/students/one/student.json: no such student: run `pipeline distill",
            "pictures": "pictures/00.jpg",
        },
        {"data/people/coco/test-people.parquet": "data/people/coco/test-people.parquet: expected a people table"},
    ],
    ids=["made", "given", "table"],
)
def test_what_is_missing_is_a_line(project: Path, absent: dict[str, str | None]) -> None:
    """Several things at once, none of which hides another."""
    for name in absent:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    text, lines = page()
    found = Elements(text)
    assert "50.0 ± 2.0" in text
    assert all("\n" not in line for line in lines)
    for name, message in absent.items():
        if message:
            assert any(line.startswith(message) for line in lines)
            assert any(line.startswith(message) for line in found.texts)
        else:
            assert "missing" in found.row(name.removesuffix(".onnx"))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[1]\n", b"step,total\n", b"step,total\n1,x\n", b"step,total\n1\n"]
)
def test_what_is_damaged_is_a_line(project: Path, content: bytes) -> None:
    files = ["data/students/one/curve.csv", "data/students/one/student.json", "data/pck.csv"]
    for file in files:
        Path(file).write_bytes(content)
    lines = page(report={"people": 0, "target_examples": 0})[1]
    assert [file for file in files if any(line.startswith(file) for line in lines)] == files


@pytest.mark.usefixtures("undrawn")
def test_poses_of_other_people_are_a_line(project: Path) -> None:
    truth = load_people("coco", "test")
    others = replace(truth, person=truth.person + 5000)
    write_poses(Path("data/poses/coco.parquet"), {model: shifted(others, 1) for model in MODELS})
    text, lines = page()
    message = "data/poses/coco.parquet: no poses of the people there are now: run `pipeline evaluate`"
    assert message in lines and message in Elements(text).texts
    assert 'data-set="other"' in text and 'data-set="coco"' not in text


@pytest.mark.usefixtures("undrawn")
def test_a_file_of_scores_without_intervals_and_keypoints(project: Path) -> None:
    plain = {model: {key: each[key] for key in ("coco", "other", "average")} for model, each in metrics().items()}
    report.METRICS_FILE.write_text(json.dumps(plain))
    text, lines = page()
    assert Elements(text).row("one") == ["one", "50.0", "50.0", "50.0"] and "±" not in text
    assert "results/metrics.json: no numbers per keypoint of coco: run `pipeline evaluate`" in lines


def test_scores_that_are_undefined_are_empty_cells(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their plots are drawn, once."""
    monkeypatch.setattr(plots, "_pdf", lambda figure: b"%PDF-")
    document = metrics()
    document["one"]["average"] = document["one"]["coco"]["AP"] = None
    document["one"]["keypoints"]["coco"]["PCK@0.1"] = [None] * 17
    document["one"]["intervals"]["average"] = [None, None]
    report.METRICS_FILE.write_text(json.dumps(document))
    assert Elements(page()[0]).row("one") == ["one", "", "", "50.0 ± 2.0"]


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}", b'{"one": 3}'])
def test_without_scores_there_is_no_report(project: Path, content: bytes | None) -> None:
    report.METRICS_FILE.unlink()
    if content is not None:
        report.METRICS_FILE.write_bytes(content)
    with pytest.raises(UserError, match=r"^results/metrics\.json: expected [^\n]*: run `pipeline evaluate`$"):
        page()


@pytest.mark.usefixtures("undrawn")
def test_nothing_of_people_and_maps_where_none_are_wanted(project: Path) -> None:
    text, lines = page(report={"people": 0, "target_examples": 0})
    assert "<article" not in text and "<img" not in text and len(lines) == 1
    with pytest.raises(UserError, match="unknown key `peopl`: did you mean `people`"):
        page(report={"peopl": 1})


def test_picks() -> None:
    error = np.array([0.5, 0.1, np.nan, 0.3, 0.2, 0.6, 0.4])
    assert {kind: rows.tolist() for kind, rows in pick_by_error(error, 1).items()} == {
        "best": [1],
        "typical": [3],
        "worst": [5],
    }
    assert {kind: rows.tolist() for kind, rows in pick_by_error(error, 9).items()} == {
        "best": [1, 4],
        "typical": [3, 6],
        "worst": [5, 0],
    }
    assert {kind: rows.tolist() for kind, rows in pick_by_error(error[:3], 5).items()} == {"typical": [1, 0]}
    assert {kind: rows.tolist() for kind, rows in pick_by_error(np.full(3, np.nan), 5).items()} == {"typical": []}


def test_curve_of_people_that_are_off_by_whole_percents() -> None:
    """Four people off by 0, 6, 12 and 18 % of their boxes' longer sides."""
    curve = pck_curve(*(lambda truth: (truth, shifted(truth, 6)))(people(4)))
    at = {f"{threshold:.2f}": value for threshold, value in zip(THRESHOLDS, curve, strict=True)}
    assert [at[key] for key in ("0.00", "0.05", "0.07", "0.13", "0.17", "0.19", "0.30")] == [
        25,
        25,
        50,
        75,
        75,
        100,
        100,
    ]


def test_poses_come_back(tmp_path: Path) -> None:
    truth = people(5)
    shown = {
        "one": shifted(truth, 1),
        "other's": shifted(truth, 2).rows(np.array([3, 1])),
        "none": shifted(truth, 1).rows(np.array([], int)),
    }
    shown["one"].keypoints[2, 3] = np.nan
    write_poses(tmp_path / "poses.parquet", shown)
    found = read_poses(tmp_path / "poses.parquet")
    assert list(found) == list(shown)
    for model, poses in shown.items():
        assert found[model].skeleton == poses.skeleton
        for name in ("person", "image_id", "score"):
            np.testing.assert_array_equal(getattr(found[model], name), getattr(poses, name))
        # float32 of up to 300 pixels: half a unit in the last place is 1.6e-5.
        np.testing.assert_allclose(found[model].keypoints, poses.keypoints, rtol=0, atol=2e-5)
        np.testing.assert_array_equal(found[model].confidence, poses.confidence)
    first = (tmp_path / "poses.parquet").read_bytes()
    write_poses(tmp_path / "poses.parquet", shown)
    assert (tmp_path / "poses.parquet").read_bytes() == first


def test_poses_of_another_kind_are_refused(project: Path) -> None:
    for content in (b"", b"PAR1", Path("data/people/coco/test-people.parquet").read_bytes()):
        Path("poses.parquet").write_bytes(content)
        with pytest.raises(
            UserError, match=r"^poses\.parquet: expected poses .* another kind of file: run `pipeline evaluate`$"
        ):
            read_poses(Path("poses.parquet"))


def test_what_a_dataset_is_main_score() -> None:
    assert main_score({"AP50": 1, "AP": 2, "PCK@0.1": 3}) == "AP"
    assert main_score({"PCKh@0.5": 1, "PCKh@0.1": 2}) == "PCKh@0.5"
    assert main_score({"AP-17": 1, "AP-20": 2, "AP-21 (thorax as neck)": 3}) == "AP-20"
    assert main_score({"NME": 1}) is None


@pytest.mark.usefixtures("undrawn")
def test_models_of_the_page_are_those_that_are_scored(project: Path) -> None:
    """Poses of a model that is no longer scored are left out."""
    document = {model: each for model, each in metrics().items() if model != MODELS[2]}
    report.METRICS_FILE.write_text(json.dumps(document))
    text, _ = page()
    assert "<b>teacher tiny</b>" not in text and "<b>one</b>" in text


def test_the_plots_lie_beside_the_page_as_svg_and_pdf(made: Path, complete: Report) -> None:
    names, files = {"training", "pck", "keypoints-coco", "keypoints-other"}, complete.figures
    assert files.keys() == {f"{name}.{end}" for name in names for end in ("svg", "pdf")}
    for name in names:
        svg, pdf = files[f"{name}.svg"], files[f"{name}.pdf"]
        assert svg.decode() in complete.text and ElementTree.fromstring(svg).tag.endswith("svg")
        assert pdf.startswith(b"%PDF-") and str(made).encode() not in pdf


def test_an_average_is_marked_where_one_of_its_scores_is() -> None:
    """Without validation people too, and not for a set that no one is trained on."""
    scores = {"average": 40.0, "coco": {"AP": 40.0}, "halpe": {"AP-17": 30.0}, "validation": {}}
    missed = {"halpe": {"AP-17": ["nose"]}}
    main = {"coco": "AP", "halpe": "AP-17"}
    table = headline_table({"one": {**scores, "missed": missed}}, main, ["one"])
    assert table.rows == [["one", "40.0", "40.0", "30.0\N{DAGGER}"]]
    missed = {"coco": {"AP": ["nose"]}, "average": ["nose"]}
    table = headline_table({"one": {**scores, "missed": missed}}, main, ["one"])
    assert table.rows == [["one", "40.0\N{DAGGER}", "40.0\N{DAGGER}", "30.0"]]
