import json

import numpy as np
import pytest
import torch

from pipeline.common.errors import UserError
from pipeline.networks.build import Student, build_network, load_student, save_student
from pipeline.networks.run import as_tuple, forward_of, torch_device
from pipeline.pose.options import NetworkSettings
from pipeline.pose.skeletons import COCO17, MPII16, Skeleton, union
from tests.pipeline.examples import spec
from tests.pipeline.networks.golden import TOLERANCE, differences, filled, golden, golden_batch

SKELETON = Skeleton("unified", ("nose", "left_hip", "right_hip"))
SPEC = spec(skeleton=SKELETON, input_wh=(32, 64))


def student(seed=0):
    torch.manual_seed(seed)
    settings = NetworkSettings(width=8, depth=1)
    network = build_network(settings, SPEC)
    network(torch.randn(4, 3, 64, 32))  # moves the norms' running statistics off their defaults
    return Student(network.eval(), settings, SPEC)


@pytest.mark.parametrize(("width", "depth", "keypoints", "height", "span"), [(8, 1, 3, 64, 32), (16, 2, 21, 96, 128)])
def test_maps_are_a_quarter_of_the_crop(width, depth, keypoints, height, span):
    skeleton = Skeleton("some", tuple(f"keypoint {n}" for n in range(keypoints)))
    settings = NetworkSettings(width=width, depth=depth)
    network = build_network(settings, spec(skeleton=skeleton, input_wh=(span, height))).eval()
    assert network(torch.zeros(2, 3, height, span)).shape == (2, keypoints, height // 4, span // 4)


def test_weights_follow_from_torchs_seed():
    one, same, other = student(0), student(0), student(1)
    crop = torch.randn(1, 3, 64, 32)
    assert torch.equal(one.network(crop), same.network(crop))
    assert not torch.equal(one.network(crop), other.network(crop))


def test_every_parameter_takes_part():
    network = build_network(NetworkSettings(width=8), SPEC)
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


SIMCC = spec(skeleton=SKELETON, input_wh=(32, 64), kind="simcc", affine="classic")


@pytest.mark.parametrize("name", ["rtmpose-t", "rtmpose-s"])
def test_the_papers_students_are_mmposes_networks_after_a_round_trip(tmp_path, name):
    """A student with the golden weights, saved and loaded, gives the outputs of MMPose 1.3.2."""
    numbers = golden(name)
    height, width = numbers.input
    wanted = spec(skeleton=union([COCO17, MPII16]), input_wh=(width, height), kind="simcc", affine="classic")
    settings = NetworkSettings(network=name)
    network = build_network(settings, wanted)
    network.load_state_dict(filled(network.state_dict(), numbers.gain))
    save_student(Student(network, settings, wanted), tmp_path, {})
    loaded = load_student(tmp_path)
    with torch.inference_mode():
        outputs = loaded.network(golden_batch(height, width))
    assert max(differences(name, [output.numpy() for output in outputs])) < TOLERANCE
    assert (loaded.settings.network, loaded.spec) == (name, wanted)


@pytest.mark.parametrize(
    ("settings", "wanted", "features"),
    [
        (NetworkSettings(width=16), SPEC, (16, 16, 8)),
        (NetworkSettings(network="rtmpose-t"), SIMCC, (384, 2, 1)),
        (NetworkSettings(network="rtmpose-s"), SIMCC, (512, 2, 1)),
        (NetworkSettings(network="rtmpose-m"), SIMCC, (768, 2, 1)),
    ],
    ids=lambda value: value.network if isinstance(value, NetworkSettings) else "",
)
def test_every_network_is_outputs_of_features(settings, wanted, features):
    network = build_network(settings, wanted).eval()
    crops = torch.randn(2, 3, 64, 32)
    with torch.inference_mode():
        between = network.features(crops)
        assert between.shape == (2, *features)
        assert network.channels == features[0]
        whole, parts = as_tuple(network(crops)), as_tuple(network.outputs(between))
    assert all(torch.equal(a, b) for a, b in zip(whole, parts, strict=True))
    assert len(whole) == (1 if settings.output_kind == "heatmap_logits" else 2)
    assert wanted.kind == settings.output_kind


def test_an_input_that_rtmpose_cannot_have():
    with pytest.raises(UserError, match=r"rtmpose-t: expected an input whose .* multiples of 32, found 60x32"):
        build_network(NetworkSettings(network="rtmpose-t"), spec(input_wh=(32, 60), kind="simcc"))


def test_only_rtmpose_has_a_published_start(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint is published for a pyramid"):
        build_network(NetworkSettings(), SPEC, tmp_path / "cspnext.pth")


def test_a_students_file_from_before_networks_had_names(tmp_path):
    ours = student()
    save_student(ours, tmp_path, {})
    rewrite(lambda d: d["network"].pop("network"))(tmp_path)
    assert json.loads((tmp_path / "student.json").read_text())["network"] == {"width": 8, "depth": 1}
    crop = torch.randn(2, 3, 64, 32)
    assert torch.equal(load_student(tmp_path).network(crop), ours.network(crop))


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
    "a network of other weights": rewrite(
        lambda d: (d["network"].update(network="rtmpose-t"), d["spec"].update(kind="simcc"))
    ),
    "a network that is none": rewrite(lambda d: d["network"].update(network="rtmpose-xl")),
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


def test_a_description_of_an_enormous_network_is_refused_before_it_is_built(tmp_path):
    save_student(student(), tmp_path, {})
    document = json.loads((tmp_path / "student.json").read_text())
    document["network"]["depth"] = 10**9
    (tmp_path / "student.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"width 8 and depth 1000000000, at most 1024 and 32"):
        load_student(tmp_path)


def test_a_kind_that_the_network_does_not_give_is_refused(tmp_path):
    save_student(student(), tmp_path, {})
    rewrite(lambda d: d["spec"].update(kind="simcc"))(tmp_path)
    with pytest.raises(
        UserError, match=r"not a readable student \(pyramid gives heatmap_logits, its spec has simcc\): run "
    ):
        load_student(tmp_path)


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
