"""`predict` on images whose keypoints are known, on everything a folder of images may hold, and on videos."""

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pipeline.common.errors import UserError
from pipeline.drawing import LEFT, RIGHT
from pipeline.inference.exported import exported_spec
from pipeline.inference.predict import poses_of_crops
from pipeline.media.videos import VideoWriter, read_frames
from pipeline.pose.skeletons import COCO17
from stages.predict import run as predict
from stages.predict.run import PredictOptions
from tests.closure import ROOT
from tests.colours import COLORS, PICTURE_WH, colour_params, make_colour_dataset, save_colour_teacher
from tests.fixtures import tree
from tests.pipeline.detection.detectors import save_boxes
from tests.test_real import real_params

NAMES = tuple(reversed(COCO17.keypoints))
"""In no known skeleton's order: the names in the file count."""

WITHIN = 6.0
"""Pixels that a found keypoint may be off. A map pixel is 5.9 of the image's, decoded to a quarter, so half of one in x and
in y; averaging over its four input pixels moves it by 1.5 x 1.46. Keypoints are 20 apart."""


def save_student(path: Path) -> None:
    """The colour teacher as `export` would write it, its channels named from the last of COCO's keypoints to the first."""
    save_colour_teacher(path, np.arange(17)[::-1])
    spec = {k: v for k, v in colour_params()["teachers"]["tiny"].items() if k not in ("onnx", "dataset")}
    carry(path, path, {**spec, "skeleton": "unified"}, NAMES)


def carry(source: Path, path: Path, spec: dict[str, Any], names: tuple[str, ...]) -> None:
    model = onnx.load(source)
    helper.set_model_props(model, {"pose_fusion.spec": json.dumps(spec), "pose_fusion.keypoints": json.dumps(names)})
    onnx.save(model, path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """student.onnx, and `images` with 00.png to 02.png of two people each; the truth is annotations/train.json."""
    (tmp_path / "pictures").mkdir()
    (tmp_path / "annotations").mkdir()
    make_colour_dataset(tmp_path, pictures=3, people=2)
    save_student(tmp_path / "student.onnx")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*images: str, out: str = "out", **options: Any) -> tuple[dict[str, Any], list[str], list[str]]:
    """The document, the messages, and the warnings."""
    logged: list[str] = []
    warned: list[str] = []
    chosen = PredictOptions(device="cpu", **options)
    predict.run([Path(p) for p in images], Path("student.onnx"), Path(out), chosen, logged.append, warned.append)
    return json.loads((Path(out) / "predictions.json").read_text()), logged, warned


def refusal(*images: str, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        run(*images, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def keypoints(annotation: dict[str, Any]) -> np.ndarray:
    """Float (17, 2) in COCO's order."""
    return np.array(annotation["keypoints"]).reshape(-1, 3)[::-1, :2]


def truth() -> dict[int, dict[str, Any]]:
    document = json.loads(Path("annotations/train.json").read_text())
    return {a["id"]: a for a in document["annotations"]}


def assert_found(annotation: dict[str, Any], expected: dict[str, Any], moved: tuple[float, float] = (0, 0)) -> None:
    at = np.array(expected["keypoints"]).reshape(-1, 3)[:, :2] + moved
    assert np.abs(keypoints(annotation) - at).max() < WITHIN
    assert annotation["bbox"] == pytest.approx(expected["bbox"])


def test_keypoints_are_where_they_are_and_named_as_the_file_says(folder: Path) -> None:
    document, logged, warned = run("pictures", boxes=Path("annotations/train.json"))
    assert [i["file_name"] for i in document["images"]] == ["00.png", "01.png", "02.png"]
    assert [i["id"] for i in document["images"]] == [0, 1, 2]  # the annotation file's own
    assert document["categories"][0]["keypoints"] == list(NAMES)
    assert len(document["annotations"]) == 6 and warned == []
    for annotation, expected in zip(document["annotations"], truth().values(), strict=True):
        assert annotation["image_id"] == expected["image_id"]
        assert_found(annotation, expected)
        assert annotation["num_keypoints"] == 17 and set(annotation["keypoints"][2::3]) == {2}
        assert min(annotation["keypoint_confidences"]) > 0.5  # a disc covers a map pixel nearly
    assert logged[0] == "student student.onnx on CPUExecutionProvider: 17 keypoints"
    assert logged[1] == "6 people in 3 images: out/predictions.json, drawn beside it"


def test_pycocotools_loads_it(folder: Path) -> None:
    run("pictures", boxes=Path("annotations/train.json"))
    coco = COCO("out/predictions.json")
    assert len(coco.getAnnIds(imgIds=[1])) == 2
    assert len(coco.loadRes(coco.dataset["annotations"]).anns) == 6
    category = coco.loadCats([1])[0]
    joined = {frozenset(category["keypoints"][i - 1] for i in limb) for limb in category["skeleton"]}
    assert frozenset(("left_knee", "left_ankle")) in joined and len(joined) == 16


def test_the_drawing_shows_the_pose_on_the_image(folder: Path) -> None:
    document, _, _ = run("pictures", boxes=Path("annotations/train.json"))
    plain, drawn = cv2.imread("pictures/01.png").astype(int), cv2.imread("out/01.jpg").astype(int)
    assert plain.shape == drawn.shape
    for annotation in document["annotations"][2:4]:
        for keypoint, color in ((13, LEFT), (14, RIGHT)):  # the knees
            x, y = np.rint(keypoints(annotation)[keypoint]).astype(int)
            # Discs of radius 2 after JPEG, which halves the colours' resolution.
            assert np.abs(drawn[y - 1 : y + 2, x - 1 : x + 2, ::-1].mean(axis=(0, 1)) - color).max() < 70
    assert np.abs(plain - drawn)[-8:].max() < 20


def test_without_boxes_the_image_is_one_person(folder: Path) -> None:
    (folder / "alone").mkdir()
    half = cv2.imread("pictures/00.png")[:, : PICTURE_WH[0]]
    cv2.imwrite("alone/a.png", half)
    document, _, warned = run("alone", whole=True)
    assert warned == [] and document["images"] == [
        {"id": 1, "file_name": "a.png", "width": 120, "height": 160, "drawn": "a.jpg"}
    ]
    [annotation] = document["annotations"]
    assert_found(annotation, {**truth()[0], "bbox": [0, 0, *PICTURE_WH]})
    assert document["info"]["boxes"] == "whole images"


def test_a_drawing_without_any_keypoint_is_explained(folder: Path) -> None:
    _, logged, _ = run("pictures", boxes=Path("annotations/train.json"), confidence=1.0)
    assert logged[-1].startswith(
        "no keypoint is drawn: the surest has a confidence of 1.00, and `--confidence` is 1.0: "
    )


@pytest.mark.parametrize("how", ["one at a time", "few images held"])
def test_batches_change_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    run("pictures", boxes=Path("annotations/train.json"))
    if how == "few images held":
        monkeypatch.setattr(predict, "MAX_WAITING_BYTES", 1)
    people: list[int] = []

    def counting(forward: Any, spec: Any, crops: np.ndarray, boxes: np.ndarray) -> Any:
        people.append(len(crops))
        return poses_of_crops(forward, spec, crops, boxes)

    monkeypatch.setattr(predict, "poses_of_crops", counting)
    run("pictures", boxes=Path("annotations/train.json"), out="again", batch=1 if how == "one at a time" else 64)
    assert people == [2, 2, 2]
    assert tree(folder / "again") == tree(folder / "out")


def test_a_detector_finds_the_boxes(folder: Path) -> None:
    """A blue rectangle is the detector's idea of a person; the least score decides whether it is one."""
    save_boxes(folder / "detector.onnx", 1.0)
    (folder / "rooms").mkdir()
    room = np.zeros((96, 128, 3), np.uint8)
    cv2.imwrite("rooms/empty.png", room)
    room[16:66, 40:70, 0] = 200
    cv2.imwrite("rooms/full.png", room)
    document, logged, _ = run("rooms", detector=Path("detector.onnx"), score=0.01)
    assert [a["bbox"] for a in document["annotations"]] == [[40, 16, 30, 50]]
    assert document["annotations"][0]["image_id"] == 2
    assert (folder / "out/empty.jpg").exists()
    assert logged[1] == "detector detector.onnx on CPUExecutionProvider: its input is that of rtmdet"
    nobody, logged, warned = run("rooms", detector=Path("detector.onnx"))
    assert nobody["annotations"] == []
    assert warned == [
        "detector.onnx: 2 boxes with labels 1, none of people (0): if one of these is its label of people, name it: `--person-label 1`"
    ]
    assert logged[-1] == "0 people in 2 images: out/predictions.json, drawn beside it"
    everything, logged, warned = run("rooms", detector=Path("detector.onnx"), person_label=1)
    assert len(everything["annotations"]) == 2 and warned == [] and everything["info"]["person_label"] == 1


def test_detections_without_names_and_their_least_score(folder: Path) -> None:
    entries = [
        {"image_id": 0, "category_id": 1, "bbox": truth()[0]["bbox"], "score": 0.8},
        {"image_id": 0, "category_id": 1, "bbox": truth()[1]["bbox"], "score": 0.2},
        {"image_id": 2, "category_id": 1, "bbox": truth()[4]["bbox"], "score": 0.5},
    ]
    Path("found.json").write_text(json.dumps(entries))
    document, _, warned = run("pictures", boxes=Path("found.json"), score=0.5)
    assert [(a["image_id"], a["bbox"][0]) for a in document["annotations"]] == [(0, 5), (2, 5)]
    confidence = np.array(document["annotations"][0]["keypoint_confidences"])
    assert document["annotations"][0]["score"] == pytest.approx(0.8 * confidence.mean(), abs=1e-4)  # four digits
    assert warned == ["found.json: does not mention 01.png"]


def test_its_own_predictions_are_boxes(folder: Path) -> None:
    first, _, _ = run("pictures", boxes=Path("annotations/train.json"))
    second, _, _ = run("pictures", boxes=Path("out/predictions.json"), out="again", score=0)
    assert [a["keypoints"] for a in second["annotations"]] == [a["keypoints"] for a in first["annotations"]]


def oriented(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF segment that says so (tag 0x0112)."""
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def make_odd_folder(place: Path, image: np.ndarray) -> None:
    """One of everything that people have in their folders; `image` is BGR."""
    (place / "sub").mkdir(parents=True)
    jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    broken = bytearray(cv2.imencode(".jpg", noise)[1].tobytes())
    broken[1500:1700] = b"\x55" * 200
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    turned = cv2.imencode(".jpg", cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE), [cv2.IMWRITE_JPEG_QUALITY, 98])[1]
    files = {
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "broken.jpg": bytes(broken),
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "notes.txt": b"hello",
        "video.mp4": b"hello",
        "turned.jpg": oriented(turned.tobytes(), 6),  # to be turned clockwise
        "same.jpg": jpeg,
        "sub/same.jpg": jpeg,
        "ä b'\"(%d)\n.jpg": jpeg,
    }
    for name, data in files.items():
        (place / name).write_bytes(data)
    for name, values in {
        "one.png": image[:1, :1],
        "grey.png": grey,
        "alpha.png": np.dstack([image, grey]),
        "deep.png": image.astype(np.uint16) * 257,
        "same.png": image,
        "room.png": np.zeros((40, 50, 3), np.uint8),
    }.items():
        assert cv2.imwrite(str(place / name), values)
    chunk = b"IHDR" + struct.pack(">IIBBBBB", 2, 2, 8, 4, 0, 0, 0)  # 2 x 2, grey with alpha

    def png(*chunks: bytes) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
        )

    rows = b"\0\x50\xff\x60\x80" + b"\0\x70\xff\x80\x00"
    (place / "greyalpha.png").write_bytes(png(chunk, b"IDAT" + zlib.compress(rows), b"IEND"))


def test_everything_that_a_folder_may_hold(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each file has a result or one line that names it, and the libraries' own lines are in it."""
    make_odd_folder(folder / "odd", cv2.imread("pictures/00.png")[:, : PICTURE_WH[0]])
    document, logged, warned = run("odd", "nobody.jpg", whole=True)
    names = {i["file_name"]: i for i in document["images"]}
    odd = folder / "odd"
    assert sorted(warned) == sorted(
        [
            "nobody.jpg: expected an image, a video or a folder, found none",
            f"{odd}/notes.txt: by its suffix neither an image nor a video: left out",
            f"{odd}/video.mp4: expected a video that FFmpeg reads, found none: left out",
            next(line for line in warned if line.startswith(f"{odd}/broken.jpg: Corrupt JPEG data")),
            next(line for line in warned if line.startswith(f"{odd}/cut.jpg: expected a complete image")),
            f"{odd}/empty.jpg: expected a file with content, found 0 bytes: left out",
            f"{odd}/text.jpg: expected an image, found 5 bytes of another kind: left out",
        ]
    )
    assert capfd.readouterr().err == ""
    whole = ["alpha.png", "deep.png", "same.jpg", "same.png", "sub/same.jpg", "turned.jpg", "ä b'\"(%d)\n.jpg"]
    assert sorted(names) == sorted([*whole, "broken.jpg", "grey.png", "greyalpha.png", "one.png", "room.png"])
    by_image = {a["image_id"]: a for a in document["annotations"]}
    for name in whole:
        assert_found(by_image[names[name]["id"]], {**truth()[0], "bbox": [0, 0, *PICTURE_WH]})
    sizes = {name: (names[name]["width"], names[name]["height"]) for name in ("one.png", "turned.jpg", "greyalpha.png")}
    assert sizes == {"one.png": (1, 1), "turned.jpg": PICTURE_WH, "greyalpha.png": (2, 2)}
    assert set(by_image[names["room.png"]["id"]]["keypoints"][2::3]) <= {0, 1}
    drawn = [i["drawn"] for i in document["images"]]
    assert len(set(drawn)) == 12 and {"same.jpg", "same-2.jpg", "sub/same.jpg"} <= set(drawn)
    for image in document["images"]:
        there = cv2.imdecode(np.fromfile(Path("out") / image["drawn"], np.uint8), cv2.IMREAD_COLOR)
        assert there.shape[:2] == (image["height"], image["width"])
    assert np.array_equal(cv2.imread("out/room.jpg"), np.zeros((40, 50, 3)))
    assert logged[-1].startswith("12 people in 12 images: ")


def test_boxes_that_are_no_use_are_named(folder: Path) -> None:
    document = json.loads(Path("annotations/train.json").read_text())
    document["annotations"][0]["bbox"] = [500, 0, 20, 20]
    document["annotations"][1]["bbox"] = [10, 10, 0, 20]
    document["annotations"][3]["bbox"][0] = -90  # a little of it is inside
    document["images"][2]["width"] = 77
    Path("boxes.json").write_text(json.dumps(document))
    found, _, warned = run("pictures", boxes=Path("boxes.json"))
    assert [(a["image_id"], a["bbox"][0]) for a in found["annotations"]] == [(1, 5), (1, -90)]
    assert warned[:2] == [
        "00.png: box [500.0, 0.0, 20.0, 20.0] is outside the 240 x 160 image and left out",
        "00.png: box [10.0, 10.0, 0.0, 20.0] is without an area and left out",
    ]
    assert warned[2].endswith("02.png: expected an image of 77 x 160 pixels, as annotated, found 240 x 160: left out")


def test_an_empty_file_of_boxes(folder: Path) -> None:
    Path("none.json").write_text("[]")
    document, _, warned = run("pictures", boxes=Path("none.json"))
    assert len(document["images"]) == 3 and document["annotations"] == []
    assert warned == ["none.json: has no boxes of people, so no pose is predicted"]
    assert (folder / "out/02.jpg").exists()


def test_two_images_for_one_entry(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "00.png").write_bytes(Path("pictures/00.png").read_bytes())
    document, _, warned = run("a", "b", boxes=Path("annotations/train.json"))
    assert [i["file_name"] for i in document["images"]] == ["a/00.png"]
    assert warned == [
        "b/00.png: expected one file for image 0 of annotations/train.json, found a/00.png as well: predict one of them alone: left out"
    ]


@pytest.fixture
def video(folder: Path) -> Path:
    """Five frames of the first image's left half, each with its content two pixels further right; and an image."""
    (folder / "films").mkdir()
    half = cv2.imread("pictures/00.png")[:, : PICTURE_WH[0], ::-1]
    writer = VideoWriter(folder / "films/clip.avi", PICTURE_WH, 10.0)
    for n in range(5):
        frame = np.full_like(half, 128)
        frame[:, 2 * n :] = half[:, : PICTURE_WH[0] - 2 * n]
        writer.write(frame)
    writer.close()
    cv2.imwrite(str(folder / "films/still.png"), half[:, :, ::-1])
    return folder / "films"


def test_a_video_has_an_entry_per_frame_and_is_drawn(folder: Path, video: Path) -> None:
    document, logged, warned = run("films", confidence=0.1, whole=True)
    assert document["videos"] == [{"id": 1, "name": "clip.avi", "fps": 10.0, "drawn": "clip.mp4"}]
    frames = document["images"][:5]
    assert [f["file_name"] for f in frames] == [f"clip.avi/{n:06d}" for n in range(5)]
    assert [(f["video_id"], f["frame_id"], f["id"]) for f in frames] == [(1, n, n + 1) for n in range(5)]
    assert document["images"][5]["file_name"] == "still.png" and warned == []
    # Compression wears off the fine colours, and with them some keypoints: those that are found move with the frames.
    first = keypoints(document["annotations"][0])
    seen = [np.array(a["keypoint_confidences"])[::-1] > 0.1 for a in document["annotations"][:5]]
    for n, annotation in enumerate(document["annotations"][:5]):
        both = seen[0] & seen[n]
        assert both.sum() >= 5
        assert np.abs(keypoints(annotation)[both] - first[both] - (2 * n, 0)).max() < WITHIN
    drawn = list(read_frames(Path("out/clip.mp4")))
    assert len(drawn) == 5 and drawn[0].shape == (160, 120, 3)
    plain = list(read_frames(video / "clip.avi"))
    x, y = np.rint(first[seen[0]][0]).astype(int)
    assert np.abs(drawn[0].astype(int) - plain[0])[y - 3 : y + 4, x - 3 : x + 4].max() > 40
    assert logged[-1].startswith("6 people in 6 images")


def test_boxes_of_frames_go_by_the_videos_name(folder: Path, video: Path) -> None:
    names = {11: "clip.avi/000001", 12: "clip.avi/000003", 13: "still.png"}
    document = {
        "images": [{"id": i, "file_name": name} for i, name in names.items()],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [5, 5, i, 150]} for i in names],
    }
    Path("boxes.json").write_text(json.dumps(document))
    found, _, warned = run("films", boxes=Path("boxes.json"))
    assert [(a["image_id"], a["bbox"][2]) for a in found["annotations"]] == [(11, 11), (12, 12), (13, 13)]
    assert [i["id"] for i in found["images"]] == [14, 11, 15, 12, 16, 13]
    assert warned == ["boxes.json: does not mention clip.avi/000000 and 2 more"]
    Path("list.json").write_text("[]")
    assert "a list of detections has no names, and so none of the frames of clip.avi" in refusal(
        "films", boxes=Path("list.json")
    )


def test_a_format_may_be_too_small(folder: Path) -> None:
    """JPEG ends at 65,500 pixels a side."""
    (folder / "wide").mkdir()
    cv2.imwrite("wide/a.png", np.zeros((2, 65501, 3), np.uint8))
    document, _, warned = run("wide", whole=True)
    assert warned == [f"{folder}/wide/a.png: not drawn: an image of 65501 x 2 pixels cannot be encoded as `.jpg`"]
    assert "drawn" not in document["images"][0] and tree(folder / "out").keys() == {"predictions.json"}


def test_an_interrupted_run_leaves_the_earlier_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("pictures", whole=True)
    before = tree(folder)

    def interrupted(*arguments: Any) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "write_atomically", interrupted)
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.chdir(folder)
        predict.run(
            [folder / "pictures"],
            folder / "student.onnx",
            folder / "out",
            PredictOptions(device="cpu", whole=True),
            print,
            print,
        )
    assert tree(folder) == before
    assert not list(folder.glob("*.partial"))


def test_a_second_run_replaces_the_first(folder: Path) -> None:
    (folder / "out.partial").mkdir()  # of a run that was killed
    (folder / "out.partial/x.jpg").write_text("half")
    run("pictures", whole=True)
    Path("pictures/02.png").unlink()
    run("pictures", whole=True)
    assert tree(folder / "out").keys() == {"00.jpg", "01.jpg", "predictions.json"}
    assert not (folder / "out.partial").exists() and not (folder / "out.previous").exists()


def test_files_of_somebody_else_are_never_replaced(folder: Path) -> None:
    run("pictures", whole=True)
    (folder / "out/holiday.jpg").write_text("mine")
    before = tree(folder)
    assert "out: would be replaced, and holds holiday.jpg, which `pipeline predict` has not written" in refusal(
        "pictures", whole=True
    )
    assert "pictures: would be replaced, and holds 00.png" in refusal("pictures", out="pictures")
    assert ".: would be replaced, and holds student.onnx" in refusal("pictures", out=".")
    assert "expected a folder to write to, found a file" in refusal("pictures", out="student.onnx")
    assert tree(folder) == before


def test_an_output_folder_among_the_images_is_not_an_input(folder: Path) -> None:
    first, _, _ = run("pictures", out="pictures/out", whole=True)
    second, _, _ = run("pictures", out="pictures/out", whole=True)
    assert [i["file_name"] for i in second["images"]] == [i["file_name"] for i in first["images"]]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (["nobody.jpg"], {"whole": True}, "nobody.jpg: expected an image or a video, found none"),
        (["student.onnx"], {"whole": True}, "expected readable images, found none among 1: nothing is written"),
        (["pictures"], {"boxes": Path("a.json"), "detector": Path("a.onnx")}, "give one of them"),
        (["pictures"], {"person_label": 1, "whole": True}, "leave it out, or `--whole`"),
        (["pictures"], {"detector": Path("a.onnx"), "whole": True}, "give one of them"),
        (
            ["pictures"],
            {},
            "no detector in data/detectors: run `pipeline detector fetch rtmdet-m`, or give `--detector`",
        ),
        (["pictures"], {"boxes": Path("a.json")}, "a.json: expected a readable file"),
        (["pictures"], {"detector": Path("student.onnx")}, "expected boxes with scores"),
    ],
)
def test_nothing_to_be_done(folder: Path, images: list[str], options: dict[str, Any], message: str) -> None:
    assert message in refusal(*images, **options)
    assert not (folder / "out").exists() and not (folder / "out.partial").exists()


def test_it_needs_no_torch(folder: Path) -> None:
    """In a process of its own, where importing torch fails."""
    save_boxes(folder / "detector.onnx", 1.0)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from stages.predict import run as predict\n"
        "options = predict.PredictOptions(detector=Path('detector.onnx'), score=0, device='cpu')\n"
        "predict.run([Path('pictures')], Path('student.onnx'), Path('out'), options)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].endswith("people in 3 images: out/predictions.json, drawn beside it")


def test_warnings_are_one_line_each(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a\nb.jpg").write_text("hello")
    options = PredictOptions(device="cpu", whole=True)
    predict.run([Path("a\nb.jpg"), Path("pictures")], Path("student.onnx"), Path("out"), options, print)
    err = capsys.readouterr().err
    assert err == f"warning: {folder}/a\\nb.jpg: expected an image, found 5 bytes of another kind: left out\n"


def test_colours_and_names_are_as_this_file_says(folder: Path) -> None:
    assert len({tuple(color) for color in COLORS.tolist()}) == 17
    assert exported_spec(Path("student.onnx")).skeleton.keypoints == NAMES


def test_real_people_score_what_they_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: Path) -> None:
    """AP of a published network on 46 images of COCO from the written file, by pycocotools itself: another implementation has 0.506."""
    monkeypatch.chdir(tmp_path)
    entry = {k: v for k, v in real_params(real)["teachers"]["coco"].items() if k not in ("onnx", "dataset")}
    carry(real / "models/simplepose_coco17_256x192.onnx", Path("student.onnx"), entry, COCO17.keypoints)
    annotations = real / "coco/person_keypoints.json"
    document, _, warned = run(str(real / "coco/images"), boxes=annotations)
    assert warned == [] and len(document["images"]) == 46
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO(str(annotations))
        evaluation = COCOeval(truths, truths.loadRes(document["annotations"]), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[[0, 1, 2, 5]] == pytest.approx([0.506, 0.792, 0.574, 0.543], abs=0.01)


def test_a_fetched_detector_is_found(folder: Path) -> None:
    """Of several the first of the list of published ones; a detector that is named, a file of boxes and `whole` go before it."""
    (folder / "data/detectors").mkdir(parents=True)
    save_boxes(folder / "data/detectors/yolox-m.onnx", 1.0)
    document, logged, _ = run("pictures", score=0.01)
    assert logged[1].startswith("detector data/detectors/yolox-m.onnx on CPUExecutionProvider")
    assert document["info"]["boxes"] == "data/detectors/yolox-m.onnx"
    save_boxes(folder / "data/detectors/rtmdet-m.onnx", 1.0)
    assert run("pictures")[0]["info"]["boxes"] == "data/detectors/rtmdet-m.onnx"
    assert run("pictures", whole=True)[0]["info"]["boxes"] == "whole images"
    boxes = Path("annotations/train.json")
    assert run("pictures", boxes=boxes)[0]["info"]["boxes"] == str(boxes)
