"""rtmlib's form against rtmlib's steps in NumPy, and against its own class where POSE_FUSION_RTMLIB names a Python that has it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pipeline.common.errors import UserError
from pipeline.export.onnx_export import export_onnx
from pipeline.export.rtmlib import RTMLIB_TOLERANCE, RtmlibForm, bins_from_target, rtmlib_from_student, rtmlib_spec
from pipeline.inference.exported import open_exported
from pipeline.inference.predict import poses_of_crops
from pipeline.networks.run import forward_of
from pipeline.pose.crops import crop
from pipeline.pose.geometry import regions_of_boxes
from pipeline.pose.outputs import decode_keypoints, maps_and_scores
from pipeline.pose.skeletons import Skeleton
from tests.pipeline.examples import spec

COLOURS = {"nose": (255, 0, 0), "left_hip": (0, 0, 255), "right_hip": (0, 255, 0), "head_top": (255, 255, 255)}
SPEC = spec(skeleton=Skeleton("unified", tuple(COLOURS)))
RTMLIB = os.environ.get("POSE_FUSION_RTMLIB") or (sys.executable if importlib.util.find_spec("rtmlib") else None)


class Colours(nn.Module):
    """A student of SPEC without weights: its logits decrease with the difference of a pixel's colour from the keypoint's."""

    def __init__(self):
        super().__init__()
        self.colours = nn.Parameter(torch.tensor(list(COLOURS.values())).float().reshape(1, 4, 3, 1, 1))
        self.mean = torch.tensor(SPEC.mean).reshape(1, 3, 1, 1)
        self.std = torch.tensor(SPEC.std).reshape(1, 3, 1, 1)

    def forward(self, crops):
        pixels = crops * self.std + self.mean
        logits = -(pixels.unsqueeze(1) - self.colours).abs().sum(2) / 20
        smooth = nn.functional.avg_pool2d(logits, 5, 1, padding=2, count_include_pad=False)
        # first to first and last to last pixel: the `udp` frame of heatmaps
        return nn.functional.interpolate(smooth, size=(32, 24), mode="bilinear", align_corners=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("rtmlib") / "student-rtmlib.onnx"
    crops = np.random.default_rng(0).integers(0, 256, (1, 512, 384, 3), dtype=np.uint8)
    export_onnx(
        RtmlibForm(Colours(), SPEC),
        rtmlib_spec(SPEC),
        path,
        cv2.GaussianBlur(crops[0], (0, 0), 20)[None],
        RTMLIB_TOLERANCE,
    )
    return path


def with_blobs(image, points, size):
    """Return the RGB image with a soft blob of each keypoint's colour at the keypoint."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    painted = image.astype(np.float64)
    for (px, py), colour in zip(points, COLOURS.values(), strict=True):
        share = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (size / 25) ** 2))[:, :, None]
        painted = painted * (1 - share) + np.array(colour) * share
    return painted.round().astype(np.uint8)


def drawn(seed):
    """Return an image (480, 640, 3) of smooth noise with blobs, its box (4,) as x, y, width, height, and the blobs' centres (4, 2)."""
    random = np.random.default_rng(seed)
    noise = random.integers(60, 120, (12, 16, 3), dtype=np.uint8)
    size = random.uniform(100, 300)
    box = np.array([*random.uniform(20, 150, 2), size * random.uniform(0.4, 1.2), size])
    points = (
        box[:2] + box[2:] * np.array([[0.2, 0.2], [0.8, 0.3], [0.25, 0.8], [0.9, 0.9]]) + random.uniform(-3, 3, (4, 2))
    )
    return with_blobs(cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC), points, size), box, points


def ours(image, box):
    """Return keypoints and confidences of the student, decoded as by `predict`."""
    affine = SPEC.input_from_image(regions_of_boxes(box[None]))
    points, score = poses_of_crops(forward_of(Colours(), SPEC), SPEC, crop(image, affine, SPEC.input_wh), box[None])
    return points[0], score[0]


def theirs(path, image, box):
    """Return keypoints and scores by rtmlib's steps: crop, statistics in the wrong order, largest bins, back to the image."""
    opened = open_exported(path, "cpu", 1).runtime.session
    wh = np.array([384, 512])
    centre, sides = box[:2] + box[2:] / 2, box[2:] * 1.25
    sides = (
        np.array([sides[0], sides[0] * 4 / 3])
        if sides[0] > sides[1] * 3 / 4
        else np.array([sides[1] * 3 / 4, sides[1]])
    )
    zoom = 384 / sides[0]
    affine = np.array([[zoom, 0, 192 - zoom * centre[0]], [0, zoom, 256 - zoom * centre[1]]])
    bgr = cv2.warpAffine(np.ascontiguousarray(image[:, :, ::-1]), affine, (384, 512), flags=cv2.INTER_LINEAR)
    normalised = (bgr - np.array([123.675, 116.28, 103.53])) / np.array([58.395, 57.12, 57.375])
    x, y = opened.run(None, {"crops": normalised.transpose(2, 0, 1)[None].astype(np.float32)})
    largest = np.stack([x[0].argmax(-1), y[0].argmax(-1)], -1) / 2
    return largest / wh * sides + centre - sides / 2, (x[0].max(-1) + y[0].max(-1)) / 2


@pytest.mark.parametrize("seed", range(8))
def test_rtmlibs_steps_find_our_keypoints(file, seed):
    image, box, truth = drawn(seed)
    found, score = theirs(file, image, box)
    expected, confidence = ours(image, box)
    # half a bin is a quarter pixel of a crop that is no smaller than the person here; two ways of reading the image add some tenths
    assert np.abs(found - expected).max() < 0.5
    assert np.abs(score - confidence).max() < 0.02
    assert np.abs(found - truth).max() < 0.03 * box[2:].max()
    assert confidence.min() > 0.5


def test_the_form_is_a_network_of_ours_too(file):
    """Colour order, statistics and frame are in the form's own spec, so `predict` runs it like any other network."""
    opened = open_exported(file, "cpu", 1)
    image, box, _ = drawn(3)
    affine = opened.spec.input_from_image(regions_of_boxes(box[None]))
    points, score = poses_of_crops(opened.forward(1), opened.spec, crop(image, affine, opened.spec.input_wh), box[None])
    expected, same = theirs(file, image, box)
    assert points[0] == pytest.approx(expected, abs=1e-6)
    assert score[0] == pytest.approx(same, abs=1e-6)
    assert (opened.target_wh, opened.batch) == ((768, 1024), None)


def test_frames_by_hand():
    assert rtmlib_from_student(SPEC) == pytest.approx(np.array([[384 / 95, 0, 0], [0, 512 / 127, 0]]), abs=1e-9)
    # the last of 24 map columns is the crop's last pixel, there the padded box ends: at 384 of rtmlib's pixels, twice that in bins
    assert bins_from_target(SPEC, (24, 32)) == pytest.approx(np.array([[768 / 23, 0, 0], [0, 1024 / 31, 0]]), abs=1e-9)
    classic = spec(affine="classic")
    assert rtmlib_spec(classic).input_wh == (96, 128)
    assert rtmlib_from_student(classic) == pytest.approx(np.array([[1.0, 0, 0], [0, 1.0, 0]]), abs=1e-9)
    assert bins_from_target(classic, (24, 32)) == pytest.approx(np.array([[8.0, 0, 0], [0, 8.0, 0]]), abs=1e-9)


@pytest.mark.parametrize("affine", ["udp", "classic"])
def test_bins_peak_where_the_maps_are_decoded_to(affine):
    """For Gaussians anywhere, flat maps, two equal peaks and noise: keypoints to half a bin, confidences to float32's rounding."""
    wanted = spec(affine=affine)
    random = np.random.default_rng(0)
    y, x = np.mgrid[:32, :24]
    at, width = random.uniform(0.5, [22.5, 30.5], (60, 2)), random.uniform(0.6, 4, (60, 1, 1))
    bells = -((x - at[:, :1, None]) ** 2 + (y - at[:, 1:, None]) ** 2) / (2 * width**2)
    slanted = bells - 0.3 * (x - at[:, :1, None]) * (y - at[:, 1:, None]) / width**2
    noise = random.normal(0, 3, (40, 32, 24))
    twice = np.zeros((1, 32, 24))
    twice[0, 7, 5] = twice[0, 20, 9] = 9.0
    logits = np.concatenate([bells, slanted, noise, twice]).astype(np.float32)[None]
    maps, confidence = maps_and_scores((logits,), wanted)
    one = wanted.target_from_input((24, 32))
    target_to_bins = bins_from_target(wanted, (24, 32))
    decoded = decode_keypoints(maps, target_to_bins, wanted)[0]
    wh = np.array(rtmlib_spec(wanted).input_wh)
    with torch.inference_mode():
        rows = RtmlibForm(nn.Identity(), wanted).bins(torch.from_numpy(logits))
    largest = np.stack([row[0].argmax(-1).numpy() for row in rows], -1)
    assert [row.shape[2] for row in rows] == (2 * wh).tolist()
    assert np.abs(largest - decoded.clip(0, 2 * wh - 1)).max() < 0.51
    for row in rows:
        assert row[0].max(-1).values.numpy() == pytest.approx(confidence[0], abs=1e-5)
    assert one[0, 0] == pytest.approx(23 / 95 if affine == "udp" else 0.25)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("affine", ["udp", "classic"])
def test_the_student_sees_its_own_channels_and_statistics(color, affine):
    wanted = spec(color=color, affine=affine)
    theirs = rtmlib_spec(wanted)
    plain = np.broadcast_to(np.array([250, 100, 30], np.uint8), (1, theirs.input_wh[1], theirs.input_wh[0], 3))
    with torch.inference_mode():
        seen = RtmlibForm(nn.Identity(), wanted).crop(torch.from_numpy(theirs.normalised(plain)))
    assert seen.shape == (1, 3, 128, 96)
    red, green, blue = (250 - 120) / 60, (100 - 115) / 50, (30 - 100) / 40
    if color == "bgr":
        red, green, blue = (30 - 120) / 60, (100 - 115) / 50, (250 - 100) / 40
    # float32, sums of some hundred terms
    assert np.abs(seen.numpy() - np.array([red, green, blue]).reshape(1, 3, 1, 1)).max() < 1e-4


def test_a_udp_student_gets_the_image_in_its_own_frame():
    """On a ramp of grey cubic convolution is exact, except in the last column, which has no neighbour beyond."""
    ramp = np.broadcast_to(np.arange(384.0), (1, 3, 512, 384)).astype(np.float32).copy()
    with torch.inference_mode():
        form = RtmlibForm(nn.Identity(), spec(color="bgr", mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)))
        seen = form.crop(torch.from_numpy(ramp)).numpy()
    assert np.abs(seen[:, :, :, :95] - np.arange(95) * 384 / 95).max() < 1e-3
    assert np.abs(seen[:, :, :, 95] - 383).max() < 1e-3


def test_bins_of_a_classic_student_are_left_alone():
    rows = (torch.randn(2, 3, 192), torch.randn(2, 3, 256))
    wanted = spec(kind="simcc", affine="classic")
    form = RtmlibForm(nn.Identity(), wanted)
    assert all(a is b for a, b in zip(form.bins(rows), rows, strict=True))
    crops = np.random.default_rng(0).integers(0, 256, (1, 128, 96, 3), dtype=np.uint8)
    seen = form.crop(torch.from_numpy(rtmlib_spec(wanted).normalised(crops)))
    assert np.abs(seen.numpy() - wanted.normalised(crops)).max() < 1e-5


def test_bins_of_a_udp_student_are_moved_to_rtmlibs_crop():
    x, y = torch.zeros(1, 1, 192), torch.zeros(1, 1, 256)
    x[0, 0, 150], y[0, 0, 40] = 0.8, 0.6
    with torch.inference_mode():
        moved_x, moved_y = RtmlibForm(nn.Identity(), spec(kind="simcc")).bins((x, y))
    assert (moved_x.shape[2], moved_y.shape[2]) == (768, 1024)
    assert (int(moved_x.argmax()), int(moved_y.argmax())) == (round(150 * 384 / 95), round(40 * 512 / 127))
    # a bin of theirs is an eighth of a bin of ours from the peak at most
    assert 0.8 * 7 / 8 < float(moved_x.max()) <= 0.8
    assert 0.6 * 7 / 8 < float(moved_y.max()) <= 0.6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"padding": 1.1}, r"rtmlib pads every box by 1\.25, the student by 1\.1"),
        ({"kind": "heatmap"}, "a student of kind heatmap_logits or simcc, found heatmap"),
    ],
)
def test_what_rtmlib_cannot_feed_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        RtmlibForm(nn.Identity(), spec(**changes))


PROGRAM = """
import sys
import cv2
import numpy as np
from rtmlib import RTMPose
model, images, answer = sys.argv[1:]
given = np.load(images)
pose = RTMPose(model, model_input_size=(384, 512))
found = [pose(cv2.imread(str(path)), bboxes=[box]) for path, box in zip(given["path"], given["box"])]
np.savez(answer, points=np.array([p[0] for p, _ in found]), score=np.array([s[0] for _, s in found]))
"""


def by_rtmlib(file, folder, images, boxes):
    """Return keypoints and scores of rtmlib's class, run in another Python."""
    if RTMLIB is None:
        pytest.skip("rtmlib is not installed: POSE_FUSION_RTMLIB=PYTHON names a Python that has it")
    paths = [folder / f"{n}.png" for n in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        assert cv2.imwrite(str(path), np.ascontiguousarray(image[:, :, ::-1]))
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    np.savez(folder / "given.npz", path=np.array([str(path) for path in paths]), box=corners)
    program = [RTMLIB, "-c", PROGRAM, str(file), str(folder / "given.npz"), str(folder / "answer.npz")]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = np.load(folder / "answer.npz")
    return answer["points"], answer["score"]


def test_rtmlibs_class_finds_our_keypoints(file, tmp_path):
    images, boxes, _ = zip(*(drawn(seed) for seed in range(8)), strict=True)
    points, score = by_rtmlib(file, tmp_path, images, np.array(boxes))
    for n, (image, box) in enumerate(zip(images, boxes, strict=True)):
        expected, confidence = ours(image, box)
        assert np.abs(points[n] - expected).max() < 0.5
        assert np.abs(score[n] - confidence).max() < 0.02
        assert points[n] == pytest.approx(theirs(file, image, box)[0], abs=0.2)  # the steps in `theirs` are rtmlib's


def test_rtmlibs_class_gives_the_same_keypoints_on_real_images(file, tmp_path, real):
    """On ten photographs with the student's blobs, in a box that exceeds two edges of the image."""
    images, boxes = [], []
    for path in sorted(Path(real, "coco/images").iterdir())[:10]:
        photograph = cv2.imread(str(path))[:, :, ::-1] // 3 + 60
        height, width = photograph.shape[:2]
        box = np.array([-20.5, -10.25, 240.3, 300.7])
        points = box[:2] + box[2:] * np.array([[0.2, 0.2], [0.8, 0.3], [0.25, 0.7], [0.7, 0.6]])
        assert width > 200 and height > 220
        images.append(with_blobs(photograph, points, 300))
        boxes.append(box)
    points, score = by_rtmlib(file, tmp_path, images, np.array(boxes))
    for n, (image, box) in enumerate(zip(images, boxes, strict=True)):
        expected, confidence = ours(image, box)
        assert np.abs(points[n] - expected).max() < 0.5
        assert np.abs(score[n] - confidence).max() < 0.02
