import json

import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.networks.build import PyramidSettings, Student, build, load_student, save_student
from pipeline.networks.run import forward_of, torch_device
from pipeline.skeletons import Skeleton
from tests.pipeline.examples import spec

SKELETON = Skeleton("unified", ("nose", "left_hip", "right_hip"))
SPEC = spec(skeleton=SKELETON, input_wh=(32, 64))


def student(seed=0):
    torch.manual_seed(seed)
    settings = PyramidSettings(width=8, depth=1)
    network = build(settings, 3)
    network(torch.randn(4, 3, 64, 32))  # moves the norms' running statistics off their defaults
    return Student(network.eval(), settings, SPEC)


@pytest.mark.parametrize(("width", "depth", "keypoints", "height", "span"), [(8, 1, 3, 64, 32), (16, 2, 21, 96, 128)])
def test_maps_are_a_quarter_of_the_crop(width, depth, keypoints, height, span):
    network = build(PyramidSettings(width, depth), keypoints).eval()
    assert network(torch.zeros(2, 3, height, span)).shape == (2, keypoints, height // 4, span // 4)


def test_weights_follow_from_torchs_seed():
    one, same, other = student(0), student(0), student(1)
    crop = torch.randn(1, 3, 64, 32)
    assert torch.equal(one.network(crop), same.network(crop))
    assert not torch.equal(one.network(crop), other.network(crop))


def test_every_parameter_takes_part():
    network = build(PyramidSettings(8, 1), 3)
    network(torch.randn(2, 3, 64, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_round_trip(tmp_path):
    ours = student()
    save_student(ours, tmp_path, {"seed": 7})
    back = load_student(tmp_path)
    crop = torch.randn(2, 3, 64, 32)
    assert torch.equal(back.network(crop), ours.network(crop))
    assert (back.spec, back.settings) == (SPEC, ours.settings)
    assert not back.network.training
    document = json.loads((tmp_path / "student.json").read_text())
    assert (document["seed"], document["keypoints"]) == (7, ["nose", "left_hip", "right_hip"])


def rewrite(change):
    def damage(folder):
        path = folder / "student.json"
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return damage


def shorten(name, count):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:count])

    return damage


DAMAGES = {
    "no description": lambda folder: (folder / "student.json").unlink(),
    "no weights": lambda folder: (folder / "student.safetensors").unlink(),
    "half a description": shorten("student.json", 60),
    "weights without their end": shorten("student.safetensors", 3000),
    "weights without a header": shorten("student.safetensors", 5),
    "a pickle": lambda folder: torch.save({"a": torch.zeros(1)}, folder / "student.safetensors"),
    "a list": lambda folder: (folder / "student.json").write_text("[1, 2]"),
    "another width": rewrite(lambda d: d["network"].update(width=16)),
    "another network": rewrite(lambda d: d["network"].update(heads=4)),
    "another skeleton": rewrite(lambda d: d["keypoints"].append("pelvis")),
    "no spec": rewrite(lambda d: d.pop("spec")),
    "a spec without input": rewrite(lambda d: d["spec"].pop("input")),
    "a spec with a wrong value": rewrite(lambda d: d["spec"].update(kind="hologram")),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_student_is_refused(tmp_path, damage):
    save_student(student(), tmp_path, {})
    damage(tmp_path)
    with pytest.raises(UserError) as error:
        load_student(tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_folder_names_the_command(tmp_path):
    with pytest.raises(UserError, match="run `pipeline distill --student joint`"):
        load_student(tmp_path / "joint")


def test_forward_is_the_network_on_normalised_crops():
    ours = student()
    crops = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)
    (maps,) = forward_of(ours.network, SPEC)(crops)
    expected = ours.network(torch.from_numpy(SPEC.normalised(crops))).detach().numpy()
    assert maps.dtype == np.float32
    assert np.array_equal(maps, expected)


def test_devices(monkeypatch):
    assert torch_device("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device("auto").type == "cpu"
    with pytest.raises(UserError, match="device cuda was asked for, torch finds none"):
        torch_device("cuda")
