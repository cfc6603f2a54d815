"""`teach`: the targets are the teacher's own, damage and mistakes are named, and a run can be killed at any moment."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto
from onnx.external_data_helper import set_external_data

from cache.reader import verify_store
from cache.targets import TargetLayout, open_targets
from pipeline.common.errors import UserError
from pipeline.common.locks import exclusive
from pipeline.people.table import write_people
from pipeline.pose.spec import parse_spec, spec_values
from stages import prepare
from stages.project.datasets import load_people, table_path
from stages.project.project import project_of
from stages.teach import run as teach
from tests.fixtures import (
    CROWD,
    IMAGE_WH,
    INPUT_WH,
    PARAMS,
    TARGET_WH,
    UNLABELLED,
    flip_bit,
    make_project,
    params,
    save_teacher,
    tree,
    write_image,
)

ROOT = Path(__file__).resolve().parents[3]
TRAIN, VALIDATION = Path("data/targets/tiny/coco-train.zarr"), Path("data/targets/tiny/coco-validation.zarr")
LAYOUT = TargetLayout(people=42, views=2, keypoints=17, height=TARGET_WH[1], width=TARGET_WH[0], people_per_shard=16)


def taught(changed: dict | None = None, **options) -> list[str]:
    """Run the stage on the CPU; what it said."""
    lines: list[str] = []
    teach.run(project_of(changed or params()), "tiny", **{"device": "cpu", **options}, log=lines.append)
    return lines


def refusal(changed: dict | None = None, **options) -> str:
    with pytest.raises(UserError) as error:
        taught(changed, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def data(store: Path) -> dict[str, str]:
    """The shards without the metadata that carries the teacher's digest."""
    return {file: digest for file, digest in tree(store).items() if not file.endswith(".json")}


def test_what_it_says(project):
    lines = taught()
    assert lines[0] == "teacher tiny: tiny.onnx on CPUExecutionProvider"
    assert lines[1].startswith("teacher tiny: 48 people x 2 views, 48 processed now, ")
    assert lines[1].endswith(" on coco validation") and len(lines) == 2
    again = taught()
    assert again[1:3] == [f"{TRAIN}: complete", f"{VALIDATION}: complete"]
    assert again[3].startswith("teacher tiny: 48 people x 2 views, 0 processed now, ")


def test_targets_are_what_the_session_gives_on_crops_made_by_hand(project):
    """Geometry, colours and levels are written out here once more, for the plain view under `udp`.

    Levels may differ by one: the affines agree to 1e-9 pixels, and a value may lie on a rounding border. Below half the peak, where
    they are coarse, by half of the largest step, (2 sqrt(1 / 2) + 1 / 24) / 24 of 255, and two roundings.
    """
    taught()
    session = ort.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
    people = load_people("coco", "train")
    block = open_targets(TRAIN, "again", people.person).read(slice(0, 40), view=0)
    boxes = {a["id"]: a["bbox"] for a in json.loads(Path("annotations/train.json").read_text())["annotations"]}
    levels, scores = [], []
    for row in range(40):
        x, y, width, height = boxes[people.person[row]]
        side = (
            1.25 * max(width, height * INPUT_WH[0] / INPUT_WH[1]),
            1.25 * max(height, width * INPUT_WH[1] / INPUT_WH[0]),
        )
        corner = x + width / 2 - side[0] / 2, y + height / 2 - side[1] / 2
        scale = (INPUT_WH[0] - 1) / side[0], (INPUT_WH[1] - 1) / side[1]
        affine = np.array([[scale[0], 0, -corner[0] * scale[0]], [0, scale[1], -corner[1] * scale[1]]])
        image = cv2.imread(f"pictures/{people.image[row]}")[:, :, ::-1]
        crop = cv2.warpAffine(np.ascontiguousarray(image), affine, INPUT_WH).astype(np.float32)
        normal = (crop - np.float32([120, 115, 100])) / np.float32([58, 57, 56])
        maps = np.maximum(session.run(None, {"crops": normal.transpose(2, 0, 1)[None]})[0][0], 0)
        peak = maps.max(axis=(1, 2))
        share = maps / np.maximum(peak, 1e-12)[:, None, None]
        levels.append(np.where(share < 0.02, 0, np.rint(share * 255)))
        scores.append(np.minimum(peak, 1))
        pixel = side[0] / (TARGET_WH[0] - 1), side[1] / (TARGET_WH[1] - 1)
        expected = [[pixel[0], 0, corner[0]], [0, pixel[1], corner[1]]]
        np.testing.assert_allclose(block.image_from_target[row, 0], expected, atol=1e-9)
    stored = block.levels["heatmaps"]
    expected = np.array(levels)
    assert (np.abs(stored[:, 0] - expected) <= np.where(expected > 128, 1, 17)).all()
    np.testing.assert_allclose(block.score[:, 0], np.array(scores), atol=5e-4, err_msg="float16 below 1")
    assert stored.std() > 50, "maps worth comparing"


def test_the_batch_changes_no_byte(project):
    taught(batch=64)
    before = tree(Path("data/targets"))
    for batch in (1, 2, 7):
        TRAIN.rename(project / f"other-{batch}")
        taught(batch=batch)
        assert tree(Path("data/targets")) == before


def test_a_file_of_one_crop_per_pass_gives_the_same_targets(project):
    taught()
    before = data(TRAIN)
    save_teacher(Path("tiny.onnx"), batch=1)
    assert taught()[1].startswith(f"{TRAIN}: rebuilt: teacher was ")
    assert data(TRAIN) == before
    save_teacher(Path("tiny.onnx"), batch=5)
    taught()
    assert data(TRAIN) == before


def test_people_not_in_use_are_zero_and_their_image_is_not_read(project):
    (project / "pictures/unused.jpg").unlink()
    taught()
    people = load_people("coco", "train")
    block = open_targets(TRAIN, "again", people.person).read(slice(0, 42))
    assert people.person[-2:].tolist() == [CROWD, UNLABELLED]
    for values in (block.levels["heatmaps"], block.peak, block.score):
        assert not values[-2:].any() and values[:-2].any(axis=tuple(range(1, values.ndim))).all()


def test_a_shard_and_a_split_without_anybody_in_use(unprepared):
    """People 0-15 are the first shard of training, 16-19 and 24-27 all of validation."""
    document = json.loads(Path("annotations/train.json").read_text())
    for person in (*range(20), *range(24, 28)):
        document["annotations"][person]["keypoints"] = [0] * 51
    Path("annotations/train.json").write_text(json.dumps(document))
    prepare.run(project_of(params()), log=lambda line: None)
    assert "teacher tiny: 24 people x 2 views, 24 processed now" in taught()[1]
    block = open_targets(TRAIN, "again").read(slice(0, 32))
    assert not block.levels["heatmaps"][:16].any() and block.levels["heatmaps"][16:].any()
    assert verify_store(TRAIN) == verify_store(VALIDATION) == []


def test_every_view_has_its_own_targets(project):
    taught()
    block = open_targets(TRAIN, "again").read(slice(0, 40))
    levels = block.levels["heatmaps"]
    assert (levels[:, 0] != levels[:, 1]).any(axis=(1, 2, 3)).all()
    assert (block.image_from_target[:, 0, 0, 1] == 0).all() and (block.image_from_target[:, 1, 0, 1] != 0).any()


def test_dry_run_writes_nothing(project):
    before = tree(project)
    lines = taught(dry_run=True)
    assert lines[1].startswith("teacher tiny: 96 crops, about 0.00 hours on CPUExecutionProvider (")
    assert tree(project) == before and not Path("data/targets").exists()


def test_dry_run_refuses_a_disk_that_is_too_small(project, monkeypatch):
    full = shutil_usage(free=1000)
    monkeypatch.setattr(teach.shutil, "disk_usage", lambda folder: full)
    assert refusal(dry_run=True).endswith("found 0.0 GB: lower prepare.views or free some")


def shutil_usage(free: int):
    return type("Usage", (), {"free": free})()


@pytest.mark.parametrize(
    ("output", "what"),
    [
        ("constant", "a constant for every keypoint"),
        ("flat", "a constant for every keypoint"),
    ],
)
def test_nonsense_names_teacher_person_and_image(project, output, what):
    save_teacher(Path("tiny.onnx"), output=output)
    assert refusal().startswith(
        f"teacher tiny (tiny.onnx): expected heatmap output, found {what} for person 0 in 00.jpg: "
        "check the file and its mean and std"
    )
    with pytest.raises(UserError, match="it is not finished"):
        open_targets(TRAIN, "again")
    assert not VALIDATION.exists()


def test_nonsense_on_one_image_names_its_first_person_and_keeps_the_shard_before(unprepared):
    """Only a white crop makes this teacher's output negative, and its root NaN; 05.jpg is the fifth training image."""
    save_teacher(Path("tiny.onnx"), output="nan on white")
    white = np.full((IMAGE_WH[1], IMAGE_WH[0], 3), 255, np.uint8)
    cv2.imwrite("pictures/05.jpg", white)
    prepare.run(project_of(params()), log=lambda line: None)
    assert "found NaN or infinite values for person 20 in 05.jpg" in refusal()
    assert [(TRAIN / f"done/c/{b}").exists() for b in range(3)] == [True, False, False]
    write_image(Path("pictures/05.jpg"), "05.jpg")
    prepare.run(project_of(params()), log=lambda line: None)
    assert taught()[1].startswith(f"{TRAIN}: rebuilt: pictures was ")


def missing_file():
    Path("tiny.onnx").unlink()


def cut_short():
    Path("tiny.onnx").write_bytes(Path("tiny.onnx").read_bytes()[:-200])


def not_onnx():
    Path("tiny.onnx").write_text("<html>404</html>")


def empty_file():
    Path("tiny.onnx").write_bytes(b"")


def other_skeleton():
    save_teacher(Path("tiny.onnx"), keypoints=16)


def other_input():
    save_teacher(Path("tiny.onnx"), input_wh=(32, 32))


def two_outputs():
    model = onnx.load("tiny.onnx")
    model.graph.output.append(onnx.helper.make_tensor_value_info("raw", TensorProto.FLOAT, None))
    onnx.save(model, "tiny.onnx")


def other_spec():
    values = {**spec_values(parse_spec(PARAMS["teachers"]["tiny"], "")), "padding": 1.0}
    save_teacher(Path("tiny.onnx"), metadata={"pose_fusion.spec": json.dumps(values)})


def broken_spec():
    save_teacher(Path("tiny.onnx"), metadata={"pose_fusion.spec": "{"})


def one_map_for_all():
    save_teacher(Path("tiny.onnx"), output="mean")


def breaks_inside():
    save_teacher(Path("tiny.onnx"), output="reshape")


def nan_everywhere():
    save_teacher(Path("tiny.onnx"), output="nan")


def double_input():
    model = onnx.load("tiny.onnx")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.node[0].input[0] = "single"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["crops"], ["single"], to=TensorProto.FLOAT))
    onnx.save(model, "tiny.onnx")


def external(location: str) -> None:
    """The weights of tiny.onnx in a file beside it."""
    model = onnx.load("tiny.onnx")
    weights = model.graph.initializer[0]
    Path(location).write_bytes(weights.raw_data)
    set_external_data(weights, location)
    weights.ClearField("raw_data")
    Path("tiny.onnx").write_bytes(model.SerializeToString())


def external_outside():
    external("../outside.bin")


def external_missing():
    external("weights.bin")
    Path("weights.bin").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing_file, "teachers.tiny.onnx: tiny.onnx does not exist: put the file there, "),
        (cut_short, "tiny.onnx: not a readable ONNX file (truncated, or another format): put it there again"),
        (not_onnx, "tiny.onnx: not a readable ONNX file (truncated, or another format): put it there again"),
        (empty_file, "tiny.onnx: not an ONNX network, it has no nodes"),
        (other_skeleton, "tiny.onnx: expected outputs of the 17 keypoints of coco17, found maps [2, 16, 8, 6]: correct teachers.tiny"),
        (other_input, "tiny.onnx: its input is ['batch', 3, 32, 32], teachers.tiny.input says [batch, 3, 32, 24]: correct params.yaml"),
        (two_outputs, "tiny.onnx: several outputs fit, maps [2, 17, 8, 6], raw [2, 17, 8, 6]: name the right ones in"),
        (other_spec, "tiny.onnx: was made for padding 1.0, teachers.tiny.padding says 1.25: correct params.yaml"),
        (broken_spec, "tiny.onnx: the spec it carries is not readable: export it again"),
        (one_map_for_all, "tiny.onnx: expected one output for each of 2 crops, found shape [1, 17, 8, 6]: export it again"),
        (breaks_inside, "tiny.onnx: teacher tiny fails on [2, 32, 24, 3] crops: "),
        (nan_everywhere, "tiny.onnx: teacher tiny gives NaN or infinite values for a grey crop: export it again"),
        (double_input, "tiny.onnx: expected a float32 or float16 input, found tensor(double): export it again"),
        (external_outside, "tiny.onnx: its external data '../outside.bin' lies outside its folder: export it"),
        (external_missing, "tiny.onnx: its external data 'weights.bin' is missing: put it there"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(project, spoil, message):
    spoil()
    assert refusal().startswith(message)
    assert not Path("data/targets").exists()


def test_external_data_is_part_of_the_fingerprint(project):
    external("weights.bin")
    taught()
    flip_bit(Path("weights.bin"))
    assert taught()[1].startswith(f"{TRAIN}: rebuilt: teacher was ")


def test_a_spec_in_the_file_that_agrees_is_taken(project):
    values = spec_values(parse_spec(PARAMS["teachers"]["tiny"], ""))
    save_teacher(Path("tiny.onnx"), metadata={"pose_fusion.spec": json.dumps(values)})
    assert "48 processed now" in taught()[-1]


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_error_and_auto_says_what_it_took(project):
    message = refusal(device="cuda")
    assert message.startswith("teacher tiny: device cuda was requested, ONNX Runtime got CPUExecutionProvider: ")
    assert message.endswith("or use `--device cpu`")
    assert taught(device="auto")[0].startswith("teacher tiny: tiny.onnx on CPUExecutionProvider (no CUDA: ")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "found No such file or directory"),
        (lambda path: path.write_bytes(path.read_bytes()[:-300]), "bytes without its end"),
        (lambda path: path.write_bytes(b"GIF89a"), "found 6 bytes of another kind"),
        (
            lambda path: cv2.imwrite(str(path), np.zeros((9, 9, 3), np.uint8)),
            "an image of 96 x 80 pixels, as annotated, found 9 x 9",
        ),
    ],
    ids=["missing", "cut short", "no image", "another size"],
)
def test_images_that_cannot_be_used(project, spoil, words):
    spoil(project / "pictures/02.jpg")
    message = refusal()
    assert message.startswith("pictures/02.jpg: ") and words in message


def test_an_image_that_has_changed_since_it_was_prepared(project):
    path = project / "pictures/02.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    size = path.stat().st_size
    expected = f"pictures/02.jpg: expected the {size - 1} bytes that it had when it was prepared, found {size}: correct it, then run"
    assert refusal().startswith(expected)


def test_a_table_whose_image_leaves_the_folder(project):
    people = load_people("coco", "train")
    names = people.image.astype("<U20")
    names[0] = "../tiny.onnx"
    write_people(dataclasses.replace(people, image=names), table_path("coco", "train", "people"))
    assert "expected a file name inside the image folder, found '../tiny.onnx'" in refusal()


def test_unknown_names(project):
    with pytest.raises(UserError, match=r"unknown teacher `huge`: expected one of those under `teachers` \(tiny\)"):
        teach.run(project_of(params()), "huge", "cpu")
    assert "unknown dataset `mpii`: expected one of coco" in refusal(params(teachers__tiny__dataset="mpii"))


def test_without_tables_it_names_prepare(unprepared):
    assert refusal().endswith("found no file: run `pipeline prepare`")


def test_without_a_training_part_there_is_nothing_to_teach_on(project):
    part = {"file": "train.json", "images": "pictures"}
    message = refusal(params(datasets__coco__train=None, datasets__coco__test=part))
    assert message == "params.yaml: datasets: expected one with a `train` part to teach on, found none"


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"seed": 1, "prepare__validation": 0.2}, "layout.people was 42, now "),
        ({"prepare__rotation": 10}, "people was"),
    ],
    ids=["another split", "other views"],
)
def test_stores_of_other_people_or_views_are_rebuilt(project, changes, key):
    taught()
    before = tree(TRAIN)
    prepare.run(project_of(params(**changes)), log=lambda line: None)
    line = taught(params(**changes))[1]
    assert line.startswith(f"{TRAIN}: rebuilt: ") and key in line
    assert tree(TRAIN) != before and verify_store(TRAIN) == []


def test_damage_is_repaired_where_it_is(project):
    taught()
    before = tree(TRAIN)
    shards = [LAYOUT.shard_files(b)[0] for b in range(3)]
    times = {shard: (TRAIN / shard).stat().st_mtime_ns for shard in shards}
    flip_bit(TRAIN / shards[1])
    lines = taught()
    assert lines[1] == f"{TRAIN}: repaired: {shards[1]}: damaged"
    assert ", 16 processed now, " in lines[-1]
    assert tree(TRAIN) == before
    assert [(TRAIN / shard).stat().st_mtime_ns == times[shard] for shard in shards] == [True, False, True]


def test_a_second_teach_names_the_first(project):
    with exclusive(Path("data/targets/tiny")):
        assert refusal().startswith("data/targets/tiny is being written by process ")


def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path, monkeypatch):
    """A real process, killed twice: after the first of 16 shards, and somewhere later."""
    make_project(tmp_path, people=24)
    monkeypatch.chdir(tmp_path)
    prepare.run(project_of(params()), log=lambda line: None)
    taught()
    undisturbed = tree(Path("data/targets/tiny"))
    Path("data/targets").rename("undisturbed")
    command = [sys.executable, str(ROOT / "cli.py"), "teach", "--teacher", "tiny", "--device", "cpu"]
    seed = time.time_ns()
    moments = random.Random(seed)
    for done in (1, moments.randrange(3, 9)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list((TRAIN / "done/c").glob("*"))) < done:
                time.sleep(0.001)
            time.sleep(moments.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
        assert any((TRAIN / "done/c").glob("*")) and (done > 1 or not (TRAIN / "manifest.json").exists())
    taught()
    assert tree(Path("data/targets/tiny")) == undisturbed, f"the moments came from seed {seed}"
