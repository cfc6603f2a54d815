"""Every reader of files from outside, each with valid files of its own: what is damaged in the tests here and in the fuzzer."""

import io
import json
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from tests.fixtures import PARAMS, coco_document, params

Form = Literal["json", "yaml", "bytes"]


@dataclass(frozen=True)
class Reader:
    """How a kind of file is read, and a valid one."""

    read: Callable[[Path], object]
    """From a path; UserError for what cannot be read."""
    valid: Callable[[], Any]
    """A document of JSON or YAML, or the bytes of a file."""
    form: Form = "json"
    suffix: str = ".json"

    def encoded(self, document: Any) -> bytes:
        """The file of a document, whatever it has become."""
        if self.form == "bytes":
            return bytes(document)
        text = json.dumps(document) if self.form == "json" else yaml.safe_dump(document, sort_keys=False)
        return text.encode("utf-8", "surrogatepass")


def coco() -> dict[str, Any]:
    """Two images with two people each, a crowd and somebody without labels."""
    return coco_document(2, 2)


def boxes() -> dict[str, Any]:
    """The same people without labels, with scores, one of them in a category of its own."""
    document = coco()
    for one in document["annotations"]:
        del one["keypoints"]
        one["score"] = 0.5
    return document


def detections() -> list[dict[str, Any]]:
    """Two boxes on the first image."""
    return [{"image_id": 0, "category_id": 1, "bbox": [5, 6, 30.5, 40], "score": score} for score in (0.25, 0.75)]


def fourteen(names: tuple[str, ...]) -> dict[str, Any]:
    """Two people of 14 named keypoints."""
    known = {"image_id": 7, "category_id": 1, "iscrowd": 0, "bbox": [1.5, 2, 30, 40], "keypoints": [10, 20, 2] * 14}
    return {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 64, "height": 48}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(names)}],
        "annotations": [{"id": 100, **known}, {"id": 101, **known}],
    }


def crowdpose() -> dict[str, Any]:
    """Two people of CrowdPose's keypoints."""
    from pipeline.pose.skeletons import CROWDPOSE14

    return fourteen(CROWDPOSE14.keypoints)


def halpe() -> dict[str, Any]:
    """A person with all 136 keypoints and one with the body's 26."""
    document = fourteen(())
    for one, count in zip(document["annotations"], (136, 26), strict=True):
        one["keypoints"] = [10, 20, 2] * count
    return document


def aic_release() -> list[dict[str, Any]]:
    """One image of two people."""
    people = {"human1": [5, 6, 45, 66], "human2": [1, 2, 30, 40]}
    keypoints = {name: [10, 20, 1] * 14 for name in people}
    return [{"image_id": "abc", "human_annotations": people, "keypoint_annotations": keypoints}]


def mpii() -> list[dict[str, Any]]:
    """Two people, 1-based as in the format."""
    joints = [[101.0 + 10 * k, 201.0 + 5 * k] for k in range(16)]
    one = {"image": "p.jpg", "joints": joints, "joints_vis": [1] * 16, "center": [180.0, 240.0], "scale": 1.5}
    return [one, {**one, "image": "q.jpg", "joints": [[x + 300, y] for x, y in joints]}]


def results() -> list[dict[str, Any]]:
    """Two poses of COCO's keypoints."""
    return [{"image_id": 0, "category_id": 1, "keypoints": [10, 20, 0.5] * 17, "score": score} for score in (0.2, 0.9)]


def saved(variables: dict[str, Any], packed: bool = False) -> bytes:
    """A MATLAB file."""
    from scipy.io import savemat

    stream = io.BytesIO()
    savemat(stream, variables, do_compression=packed)
    return stream.getvalue()


def structs(rows: list[dict[str, Any]]) -> np.ndarray:
    """A MATLAB struct array."""
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in rows[0]])
    for i, row in enumerate(rows):
        for name, value in row.items():
            array[0, i][name] = value
    return array


def release(packed: bool = False) -> bytes:
    """MPII's release of two images, the first with a person of three points."""
    points = structs([{"x": 5.5 + k, "y": 6, "id": k, "is_visible": "1"} for k in range(3)])
    person = {
        "annopoints": {"point": points},
        "scale": 2.0,
        "objpos": {"x": 101, "y": 201},
        "x1": 1,
        "y1": 2,
        "x2": 3,
        "y2": 4,
    }
    images = [{"image": {"name": "a.jpg"}, "annorect": structs([person])}]
    images.append({"image": {"name": "b.jpg"}, "annorect": np.zeros((0, 0))})
    return saved({"RELEASE": {"annolist": structs(images), "img_train": np.array([[1, 0]], np.uint8)}}, packed)


SHORT = [
    "rank",
    "rkne",
    "rhip",
    "lhip",
    "lkne",
    "lank",
    "pelv",
    "thor",
    "neck",
    "head",
    "rwri",
    "relb",
    "rsho",
    "lsho",
    "lelb",
    "lwri",
]
"""The official truth file's names of MPII's joints."""


def truth(packed: bool = False, **changes: Any) -> bytes:
    """MPII's truth of the two people of `mpii`."""
    cells = np.empty((1, 16), dtype=object)
    cells[0, :] = SHORT
    variables = {
        "dataset_joints": cells,
        "pos_gt_src": np.transpose([person["joints"] for person in mpii()], (1, 2, 0)),
        "jnt_missing": np.zeros((16, 2), np.uint8),
        "headboxes_src": np.ones((2, 2, 2)),
    }
    return saved({name: value for name, value in {**variables, **changes}.items() if value is not None}, packed)


def packed_images(kind: str) -> bytes:
    """A zip or tar archive of two files in a folder."""
    stream = io.BytesIO()
    files = {"images/1.jpg": b"image" * 9, "images/deep/2.jpg": b""}
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name), content)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz" if kind == "tar.gz" else "w") as archive:
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def written(write: Callable[[Path], object]) -> bytes:
    """The bytes of a file that is written to a path."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file.onnx"
        write(path)
        return path.read_bytes()


def people_table() -> bytes:
    """Three people."""
    from pipeline.people.table import write_people
    from tests.pipeline.examples import people

    return written(lambda path: write_people(people(3), path))


def views_table() -> bytes:
    """Two views of three people."""
    from pipeline.people.views import draw_views, write_views
    from tests.pipeline.examples import people

    return written(lambda path: write_views(draw_views(people(3), 2, 0), path))


def manifest() -> bytes:
    """A manifest of three images."""
    from pipeline.people.image_manifest import ImageManifest, write_image_manifest

    names = np.array(["a.jpg", "b.jpg", "c.jpg"])
    return written(
        lambda path: write_image_manifest(ImageManifest(names, np.arange(3), np.array(["0" * 64] * 3)), path)
    )


def checkpoint(older: bool = False) -> bytes:
    """Two weights, as torch saves them in a zip file or in the older format."""
    import torch

    stream = io.BytesIO()
    weights = {"backbone.conv.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.tensor([7.0])}
    torch.save({"state_dict": weights, "meta": {"epoch": 3}}, stream, _use_new_zipfile_serialization=not older)
    return stream.getvalue()


def network() -> bytes:
    """A teacher of one convolution."""
    from tests.fixtures import save_teacher

    return written(save_teacher)


def spec_values() -> dict[str, Any]:
    """What a network's spec says, with everything that it can say."""
    known = {key: value for key, value in PARAMS["teachers"]["tiny"].items() if key not in ("onnx", "dataset")}
    return {**known, "pixels": "0-255", "factor": 10, "outputs": ["maps"], "flip": True, "decode": "dark", "blur": 11}


def all_params() -> dict[str, Any]:
    """The tiny project's params.yaml with every section."""
    return params(
        students={"one": {"datasets": ["coco"], "teachers": ["tiny"], "view_count": 2, "distill": {"width": 16}}},
        baselines={"alone": {"datasets": ["coco"], "views": "fresh"}},
        distill={"terms": {"truth": 0.6, "tiny": 0.4}, "input": [64, 32], "training": {"steps": 5, "clip": None}},
        fit={"teachers": ["tiny"], "training": {"steps": 5}},
        teachers__tiny__onnx="data/teachers/tiny.onnx",
        skeletons={"own": {"keypoints": ["LEye", "REye", "a"], "sigmas": [0.1, 0.1, 0.2], "aliases": {"a": "nose"}}},
        evaluate={"resamples": 10},
        report={"people": 1},
        sample={"folder": "data/sample", "seed": 1},
        data=["sample"],
    )


def read_params(path: Path) -> None:
    """params.yaml and everything that stages make of it before they open another file."""
    from stages.evaluate.results import EvaluateSettings
    from stages.fit import FitSettings
    from stages.project.datasets import PrepareSettings
    from stages.project.project import load_project
    from stages.report.run import ReportSettings
    from stages.sample import SampleSettings
    from stages.students.settings import settings_of, student_spec
    from stages.teach.run import TeachSettings

    project = load_project(path)
    sections = {"prepare": PrepareSettings, "teach": TeachSettings, "fit": FitSettings, "evaluate": EvaluateSettings}
    for section, cls in {**sections, "report": ReportSettings, "sample": SampleSettings}.items():
        project.section(section, cls)
    project.check()
    for name, student in project.students.items():
        student_spec(project, settings_of(project, name, student))


def read_spec(path: Path) -> None:
    """A spec that stands in a JSON file."""
    from pipeline.people.validation import read_json
    from pipeline.pose.spec import parse_spec

    document = read_json(path)
    if isinstance(document, dict):
        parse_spec(document, str(path))


def read_carried(path: Path) -> None:
    """An ONNX file that carries that text as its spec: as a proposal, and as a student's."""
    from pipeline.common.errors import UserError
    from pipeline.inference.exported import exported_spec
    from pipeline.teachers.spec_proposal import propose_spec
    from tests.fixtures import save_teacher

    text, onnx = path.read_bytes().decode("utf-8", "replace"), path.with_suffix(".onnx")
    save_teacher(
        onnx, metadata={"pose_fusion.spec": text, "pose_fusion.keypoints": text if text[:1] == "[" else '["a"]'}
    )
    refused = None
    for read in (propose_spec, exported_spec):
        try:
            read(onnx)
        except UserError as error:
            refused = error
    if refused:
        raise refused


def read_archive(path: Path) -> None:
    """List an archive's files, then unpack them beside it."""
    import shutil

    from stages.fetch.archives import list_files, unpack

    aside = path.with_suffix(".unpacked")
    sizes = list_files(path, 1 << 20)
    try:
        unpack(path, {inside: aside / inside for inside in sizes})
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def read_truth(path: Path) -> None:
    """MPII's truth file together with the people it is about."""
    from pipeline.datasets.mpii import read_mpii_json

    people = path.with_suffix(".people")
    people.write_text(json.dumps(mpii()))
    read_mpii_json(people, path)


def read_detected(path: Path) -> None:
    """A list of detections beside a file that says which images there are."""
    from pipeline.datasets.boxes import read_boxes

    images = path.with_suffix(".images")
    images.write_text(json.dumps(coco()))
    read_boxes(images, path)


def readers() -> dict[str, Reader]:
    """By name. Imports happen here, so that the fuzzer can instrument them."""
    from pipeline.datasets.aic import read_aic, read_aic_release
    from pipeline.datasets.boxes import read_boxes
    from pipeline.datasets.coco import read_coco, read_detections, read_listing
    from pipeline.datasets.crowdpose import read_crowdpose
    from pipeline.datasets.halpe import read_halpe
    from pipeline.datasets.mpii import read_mpii_json
    from pipeline.datasets.mpii_release import read_mpii_release
    from pipeline.detection.boxes import read_box_file
    from pipeline.metrics.prediction_files import read_coco_results, read_mpii_predictions
    from pipeline.networks.checkpoint_reader import read_state_dict
    from pipeline.people.image_manifest import read_image_manifest
    from pipeline.people.table import read_people
    from pipeline.people.views import read_views
    from pipeline.pose.skeletons import AIC14
    from pipeline.teachers.spec_proposal import propose_spec

    warnings.simplefilter("ignore")
    return {
        "coco": Reader(read_coco, coco),
        "coco images": Reader(read_listing, coco),
        "coco detections": Reader(read_detections, detections),
        "halpe": Reader(read_halpe, halpe),
        "aic": Reader(read_aic, lambda: fourteen(AIC14.keypoints)),
        "aic release": Reader(read_aic_release, aic_release),
        "crowdpose": Reader(read_crowdpose, crowdpose),
        "boxes": Reader(read_boxes, boxes),
        "boxes detected": Reader(read_detected, detections),
        "box file": Reader(read_box_file, boxes),
        "box file of detections": Reader(read_box_file, detections),
        "results": Reader(read_coco_results, results),
        "mpii": Reader(read_mpii_json, mpii),
        "mpii truth": Reader(read_truth, truth, "bytes", ".mat"),
        "mpii truth packed": Reader(read_truth, lambda: truth(True), "bytes", ".mat"),
        "mpii release": Reader(read_mpii_release, release, "bytes", ".mat"),
        "mpii release packed": Reader(read_mpii_release, lambda: release(True), "bytes", ".mat"),
        "mpii predictions": Reader(
            read_mpii_predictions, lambda: saved({"preds": np.ones((2, 16, 2))}), "bytes", ".mat"
        ),
        "params": Reader(read_params, all_params, "yaml", ".yaml"),
        "spec": Reader(read_spec, spec_values),
        "carried spec": Reader(read_carried, spec_values),
        "onnx": Reader(propose_spec, network, "bytes", ".onnx"),
        "people": Reader(read_people, people_table, "bytes", ".parquet"),
        "views": Reader(read_views, views_table, "bytes", ".parquet"),
        "images": Reader(read_image_manifest, manifest, "bytes", ".parquet"),
        "checkpoint": Reader(read_state_dict, checkpoint, "bytes", ".pth"),
        "older checkpoint": Reader(read_state_dict, lambda: checkpoint(True), "bytes", ".pth"),
        "zip": Reader(read_archive, lambda: packed_images("zip"), "bytes", ".zip"),
        "tar": Reader(read_archive, lambda: packed_images("tar"), "bytes", ".tar"),
        "tar.gz": Reader(read_archive, lambda: packed_images("tar.gz"), "bytes", ".tar.gz"),
    }
