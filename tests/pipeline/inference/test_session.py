"""Opening teachers: any ONNX file that fits its spec gives its numbers; what does not fit is found now, in one line."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import set_external_data

from pipeline.common.errors import UserError
from pipeline.inference import session
from pipeline.inference.session import Teacher, open_teacher
from pipeline.pose.flip_averaging import unmirrored
from pipeline.pose.spec import spec_values
from tests.fixtures import flip_bit
from tests.pipeline.examples import spec
from tests.pipeline.inference.models import Form, by_hand, model_of, save

SPEC = spec(input_wh=(24, 32), kind="heatmap")
SIMCC = spec(input_wh=(24, 32), kind="simcc")
SQUARE = spec(input_wh=(32, 32), kind="simcc")
BINS = Form({"x": "x", "y": "y"})
CROPS = np.random.default_rng(0).integers(0, 256, (7, 32, 24, 3), dtype=np.uint8)


def opened(path: Path, form: Form, chosen=SPEC, **options) -> Teacher:
    return open_teacher("tiny", save(path / "tiny.onnx", form), chosen, "cpu", threads=1, **options)


def refusal(path: Path, form: Form | None = None, chosen=SPEC, **options) -> str:
    """What is wrong with the file of that form, or with the one that is there."""
    if form is not None:
        save(path / "tiny.onnx", form)
    with pytest.raises(UserError) as error:
        open_teacher("tiny", path / "tiny.onnx", chosen, "cpu", threads=1, **options)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{path}/", "")


def check_outputs(teacher: Teacher, form: Form, names: tuple[str, ...], tolerance: float = 1e-5) -> None:
    """The teacher gives what NumPy makes of the form's weights: 48 float32 products, and maps of up to 3."""
    assert teacher.outputs == names
    expected = by_hand(form, teacher.spec.normalised(CROPS))
    found = teacher.forward(batch=3)(CROPS)
    assert len(found) == len(names)
    for values, name in zip(found, names, strict=True):
        assert (values.dtype, values.shape) == (np.float32, expected[name].shape)
        assert np.abs(values - expected[name]).max() < tolerance


@pytest.mark.parametrize(
    "form",
    [
        Form(),
        Form({"heat/maps:0": "maps"}, inputs=("data:0",)),
        Form({"1294": "maps"}, inputs=("input.1",)),
        Form(batch=1),
        Form(batch=5),
        Form(batch=64),
        Form({"peaks": "peaks", "maps": "maps", "largest": "largest"}),
    ],
    ids=["plain", "names", "numbers", "one at a time", "five", "more than there are", "others beside it"],
)
def test_heatmap_files(tmp_path, form):
    teacher = opened(tmp_path, form)
    (name,) = (name for name, what in form.outputs.items() if what == "maps")
    check_outputs(teacher, form, (name,))
    assert teacher.batch == (form.batch if isinstance(form.batch, int) else None)
    assert teacher.target_wh == (6, 8)
    assert teacher.runtime.provider == "CPUExecutionProvider"


@pytest.mark.parametrize("form", [Form(), BINS], ids=["maps", "bins"])
@pytest.mark.parametrize("batch", ["batch", 1, 5])
def test_float16_files(tmp_path, form, batch):
    """Inputs of up to 3 are rounded by 2^-11 of themselves, as are outputs: 48 x 0.1 x 3 x 2^-11, were all of one sign, is 0.007."""
    half = replace(form, number=TensorProto.FLOAT16, batch=batch)
    teacher = opened(tmp_path, half, SPEC if form == Form() else SIMCC)
    check_outputs(teacher, half, tuple(form.outputs), tolerance=0.007)


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        ({"simcc_x": "x", "simcc_y": "y"}, ("simcc_x", "simcc_y")),
        ({"simcc_y": "y", "simcc_x": "x"}, ("simcc_x", "simcc_y")),
        ({"first": "y", "peaks": "peaks", "second": "x", "maps": "maps"}, ("second", "first")),
    ],
    ids=["x first", "y first", "among others"],
)
def test_bins_are_told_apart_by_their_count(tmp_path, outputs, names):
    """48 bins for 24 pixels of width, 64 for 32 of height."""
    form = Form(outputs)
    teacher = opened(tmp_path, form, SIMCC)
    check_outputs(teacher, form, names)
    assert teacher.target_wh == (48, 64)


def test_bins_of_square_inputs_are_told_apart_by_their_names_or_by_params(tmp_path):
    crops = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    for outputs, chosen, names in (
        ({"simcc_x": "x", "simcc_y": "y"}, SQUARE, ("simcc_x", "simcc_y")),
        ({"y": "y", "x": "x"}, SQUARE, ("x", "y")),
        ({"b": "y", "a": "x"}, replace(SQUARE, outputs=("a", "b")), ("a", "b")),
    ):
        form = Form(outputs, input_wh=(32, 32))
        teacher = opened(tmp_path, form, chosen)
        assert (teacher.outputs, teacher.target_wh) == (names, (64, 64))
        expected = by_hand(form, chosen.normalised(crops))
        for values, name in zip(teacher.forward()(crops), names, strict=True):
            assert np.abs(values - expected[name]).max() < 1e-5


def test_bins_of_square_inputs_that_nothing_tells_apart_are_asked_about(tmp_path):
    found = refusal(tmp_path, Form({"a": "x", "b": "y"}, input_wh=(32, 32)), SQUARE)
    assert "x and y have equally many bins, a [2, 17, 64], b [2, 17, 64]: name them in teachers.tiny.outputs" in found


TWO_MAPS = Form({"early": "more maps", "late": "maps"})


@pytest.mark.parametrize("name", ["early", "late"])
def test_an_output_can_be_chosen(tmp_path, name):
    check_outputs(opened(tmp_path, TWO_MAPS, replace(SPEC, outputs=(name,))), TWO_MAPS, (name,))


MAPS_WANTED = "kind heatmap needs an output [batch, keypoints, height, width]"
BINS_WANTED = "kind simcc needs two outputs [batch, keypoints, bins]"
RATIO = "expected as many bins per pixel in x as in y of a [32, 24] input"
ASKED = "teachers.tiny.input says [batch, 3, 32, 24]"
IN_17 = "expected outputs of the 17 keypoints of coco17"


@pytest.mark.parametrize(
    ("form", "chosen", "what", "found", "remedy"),
    [
        (
            TWO_MAPS,
            SPEC,
            "several outputs fit, ",
            "early [2, 17, 8, 6], late [2, 17, 8, 6]",
            ": name the right ones in teachers.tiny.outputs (heatmaps)",
        ),
        (
            Form({"a": "x", "b": "y", "c": "more x"}),
            SIMCC,
            "several outputs fit, ",
            "a [2, 17, 48], b [2, 17, 64], c [2, 17, 48]",
            ": name the right ones in teachers.tiny.outputs (x, y)",
        ),
        (
            Form({"maps": "maps", "peaks": "peaks"}),
            replace(SPEC, outputs=("peaks",)),
            f"{MAPS_WANTED}, found ",
            "maps [2, 17, 8, 6], peaks [2, 17]",
            ": correct teachers.tiny.outputs in params.yaml",
        ),
        (
            BINS,
            replace(SIMCC, outputs=("y", "x")),
            f"{RATIO}, found ",
            "x [2, 17, 48], y [2, 17, 64]",
            ": correct teachers.tiny.input or outputs in params.yaml",
        ),
        (
            replace(BINS, bins=1.5),
            SIMCC,
            f"{RATIO}, found ",
            "x [2, 17, 48], y [2, 17, 48]",
            ": correct teachers.tiny.input or outputs in params.yaml",
        ),
        (
            BINS,
            SPEC,
            f"{MAPS_WANTED}, found ",
            "x [2, 17, 48], y [2, 17, 64]",
            ": correct teachers.tiny.kind in params.yaml",
        ),
        (
            Form(),
            SIMCC,
            f"{BINS_WANTED}, found ",
            "maps [2, 17, 8, 6]",
            ": correct teachers.tiny.kind in params.yaml",
        ),
        (
            Form({"x": "x"}),
            SIMCC,
            f"{BINS_WANTED}, found ",
            "x [2, 17, 48]",
            ": correct teachers.tiny.kind in params.yaml",
        ),
        (
            Form(keypoints=16),
            SPEC,
            f"{IN_17}, found ",
            "maps [2, 16, 8, 6]",
            ": correct teachers.tiny.skeleton in params.yaml",
        ),
        (
            replace(BINS, keypoints=16),
            SIMCC,
            f"{IN_17}, found ",
            "x [2, 16, 48], y [2, 16, 64]",
            ": correct teachers.tiny.skeleton in params.yaml",
        ),
        (Form(input_wh=(32, 32)), SPEC, "its input is ", "['batch', 3, 32, 32]", f", {ASKED}: correct params.yaml"),
        (Form(input_wh=(32, 24)), SPEC, "its input is ", "['batch', 3, 24, 32]", f", {ASKED}: correct params.yaml"),
        (
            Form(inputs=("crops", "scale")),
            SPEC,
            "expected one input of crops, found 2: ",
            "crops ['batch', 3, 32, 24], scale ['batch', 3, 32, 24]",
            ": export it without the others",
        ),
        (
            Form(number=TensorProto.DOUBLE),
            SPEC,
            "expected a float32 or float16 input, found ",
            "tensor(double)",
            ": export it again",
        ),
        (
            Form(offset=float("nan")),
            SPEC,
            "teacher tiny gives ",
            "NaN or infinite values",
            " for a grey crop: export it again",
        ),
        (
            replace(BINS, offset=float("inf")),
            SIMCC,
            "teacher tiny gives ",
            "NaN or infinite values",
            " for a grey crop: export it again",
        ),
    ],
)
def test_files_that_do_not_fit_their_spec(tmp_path, form, chosen, what, found, remedy):
    assert refusal(tmp_path, form, chosen) == f"tiny.onnx: {what}{found}{remedy}"


def test_an_output_that_the_file_does_not_have(tmp_path):
    assert refusal(tmp_path, TWO_MAPS, replace(SPEC, outputs=("maps",))) == (
        "teachers.tiny.outputs: tiny.onnx has no maps: expected some of early [2, 17, 8, 6], late [2, 17, 8, 6]"
    )


def test_nan_in_an_output_that_is_not_used_does_not_matter(tmp_path):
    """A head that this network's export left half done."""
    model = model_of(Form({"maps": "maps"}))
    model.graph.node.append(helper.make_node("Log", ["minus"], ["junk"]))
    model.graph.initializer.append(helper.make_tensor("minus", TensorProto.FLOAT, [2], [-1.0, -2.0]))
    model.graph.output.append(helper.make_tensor_value_info("junk", TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "tiny.onnx")
    teacher = open_teacher("tiny", tmp_path / "tiny.onnx", SPEC, "cpu", threads=1)
    check_outputs(teacher, Form(), ("maps",))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 0.999])
def test_truncated_files(tmp_path, share):
    save(tmp_path / "tiny.onnx", Form())
    data = (tmp_path / "tiny.onnx").read_bytes()
    (tmp_path / "tiny.onnx").write_bytes(data[: int(share * len(data))])
    assert refusal(tmp_path).startswith(
        "tiny.onnx: not a readable ONNX file (truncated, or another format): put it there again"
    )


@pytest.mark.parametrize(
    "data", [b"", b"<html>404</html>", b"PK\x03\x04" + bytes(200), b"\x80\x02}q\x00.", bytes(1000)]
)
def test_files_that_are_no_onnx(tmp_path, data):
    (tmp_path / "tiny.onnx").write_bytes(data)
    assert refusal(tmp_path).startswith(
        ("tiny.onnx: not a readable ONNX file", "tiny.onnx: not an ONNX network, it has no nodes")
    )


def test_a_file_that_is_not_there(tmp_path):
    assert refusal(tmp_path).startswith("teachers.tiny.onnx: tiny.onnx does not exist: put the file there")


def externally(path: Path, location: str, form: Form = Form()) -> bytes:  # noqa: B008
    """tiny.onnx with its weights in a file of that name (which is not written); its content."""
    model = model_of(form)
    weights = model.graph.initializer[0]
    data = weights.raw_data
    set_external_data(weights, location)
    weights.ClearField("raw_data")
    (path / "tiny.onnx").write_bytes(model.SerializeToString())
    return data


def test_external_data_inside_the_folder_is_part_of_the_teacher(tmp_path):
    data = externally(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data)
    teacher = open_teacher("tiny", tmp_path / "tiny.onnx", SPEC, "cpu", threads=1)
    check_outputs(teacher, Form(), ("maps",))
    flip_bit(tmp_path / "weights.bin")
    again = open_teacher("tiny", tmp_path / "tiny.onnx", SPEC, "cpu", threads=1)
    assert again.sha256 != teacher.sha256
    assert re.fullmatch("[0-9a-f]{64}", again.sha256)


def test_external_data_in_a_folder_below(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/weights.bin").write_bytes(externally(tmp_path, "deep/weights.bin"))
    check_outputs(open_teacher("tiny", tmp_path / "tiny.onnx", SPEC, "cpu", threads=1), Form(), ("maps",))


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("linked", [("tiny.onnx", "weights.bin"), ("tiny.onnx",)], ids=["a hub's cache", "one link"])
def test_external_data_beside_the_real_place_of_a_linked_file(tmp_path, linked, precision):
    """As in the cache of a hub, where both are links; ONNX Runtime allows the folders of the link and of the file."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    folder.mkdir()
    (blobs / "weights.bin").write_bytes(externally(blobs, "weights.bin"))
    for name in linked:
        (folder / name).symlink_to(f"../blobs/{name}")
    plain, teacher = (open_teacher("tiny", at / "tiny.onnx", SPEC, "cpu", 1, precision) for at in (blobs, folder))
    assert teacher.sha256 == plain.sha256
    check_outputs(open_teacher("tiny", folder / "tiny.onnx", SPEC, "cpu", threads=1), Form(), ("maps",))


@pytest.fixture
def runtime_untouched(monkeypatch):
    """Whoever calls the runtime has trusted the file too early."""
    monkeypatch.setattr(session, "open_session", lambda *_: pytest.fail("ONNX Runtime has opened the file"))


def outside_above(folder):
    data = externally(folder, "../outside.bin")
    (folder.parent / "outside.bin").write_bytes(data)
    return "'../outside.bin'"


def outside_in_a_roundabout_way(folder):
    (folder / "deep").mkdir()
    data = externally(folder, "deep/../../outside.bin")
    (folder.parent / "outside.bin").write_bytes(data)
    return "'deep/../../outside.bin'"


def outside_absolutely(folder):
    (folder.parent / "outside.bin").write_bytes(externally(folder, str(folder.parent / "outside.bin")))
    return f"'{folder.parent}/outside.bin'"


def outside_by_a_link(folder):
    (folder.parent / "outside.bin").write_bytes(externally(folder, "weights.bin"))
    (folder / "weights.bin").symlink_to(folder.parent / "outside.bin")
    return "'weights.bin'"


def outside_by_a_linked_folder(folder):
    (folder.parent / "outside").mkdir()
    (folder / "deep").symlink_to(folder.parent / "outside")
    (folder.parent / "outside/weights.bin").write_bytes(externally(folder, "deep/weights.bin"))
    return "'deep/weights.bin'"


def a_name_that_is_none(folder):
    externally(folder, "weights\0.bin")
    return r"'weights\x00.bin'"


def in_a_constant(folder):
    """Not an initializer but the value of a node."""
    model = model_of(Form())
    weights = model.graph.initializer[0]
    model.graph.node.insert(0, helper.make_node("Constant", [], ["weights"], value=weights))
    del model.graph.initializer[0]
    return from_a_node(folder, model, model.graph.node[0])


def in_a_subgraph(folder):
    """In a branch of an If."""
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["w"], value=model_of(Form()).graph.initializer[0])],
        "branch",
        [],
        [helper.make_tensor_value_info("w", TensorProto.FLOAT, None)],
    )
    model = model_of(Form())
    model.graph.node.append(helper.make_node("If", ["yes"], ["w"], then_branch=branch, else_branch=branch))
    inner = model.graph.node[-1].attribute[0].g.node[0]
    return from_a_node(folder, model, inner)


def in_a_function(folder):
    model = model_of(Form())
    node = helper.make_node("Constant", [], ["w"], value=model.graph.initializer[0])
    model.functions.append(helper.make_function("ours", "Weights", [], ["w"], [node], [helper.make_opsetid("", 17)]))
    return from_a_node(folder, model, model.functions[0].node[0])


def from_a_node(folder, model, node):
    tensor = node.attribute[0].t
    (folder.parent / "outside.bin").write_bytes(tensor.raw_data)
    set_external_data(tensor, "../outside.bin")
    tensor.ClearField("raw_data")
    (folder / "tiny.onnx").write_bytes(model.SerializeToString())
    return "'../outside.bin'"


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    "spoil",
    [
        outside_above,
        outside_in_a_roundabout_way,
        outside_absolutely,
        outside_by_a_link,
        outside_by_a_linked_folder,
        a_name_that_is_none,
        in_a_constant,
        in_a_subgraph,
        in_a_function,
    ],
)
def test_external_data_outside_the_folder_is_refused_unread(tmp_path, runtime_untouched, spoil, precision):
    folder = tmp_path / "teacher"
    folder.mkdir()
    name = spoil(folder)
    assert refusal(folder, precision=precision) == (
        f"tiny.onnx: its external data {name} lies outside its folder: "
        "export it with the weights inside, or copy both files into one folder"
    )


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["absent", "a folder"])
def test_external_data_that_is_missing(tmp_path, runtime_untouched, make):
    externally(tmp_path, "weights.bin")
    make(tmp_path / "weights.bin")
    assert refusal(tmp_path) == "tiny.onnx: its external data 'weights.bin' is missing: put it there"


def test_external_data_cut_short(tmp_path):
    data = externally(tmp_path, "weights.bin")
    (tmp_path / "weights.bin").write_bytes(data[:100])
    assert refusal(tmp_path).startswith("tiny.onnx: ONNX Runtime cannot open teacher tiny: ")


@pytest.mark.parametrize(("form", "chosen"), [(Form(), SPEC), (BINS, SIMCC), (Form(batch=5), SPEC)])
def test_half_precision_is_close_and_another(tmp_path, form, chosen):
    """Products, sums and outputs of up to 3 are rounded by 2^-11: 48 x 0.1 x 3 x 2^-11 x 2, were all of one sign, is 0.014."""
    teacher = opened(tmp_path, form, chosen, precision="float16")
    whole = opened(tmp_path, form, chosen)
    check_outputs(teacher, form, tuple(form.outputs), tolerance=0.014)
    found, exact = teacher.forward()(CROPS), whole.forward()(CROPS)
    assert np.abs(found[0] - exact[0]).max() > 1e-5
    assert (teacher.precision, whole.precision) == ("float16", "float32")
    assert teacher.sha256 == whole.sha256  # of the file; stores tell the two apart by their precision


def test_half_precision_of_a_file_that_has_it_already(tmp_path):
    half = Form(number=TensorProto.FLOAT16)
    check_outputs(opened(tmp_path, half, precision="float16"), half, ("maps",), tolerance=0.014)


def test_half_precision_with_external_data(tmp_path):
    (tmp_path / "weights.bin").write_bytes(externally(tmp_path, "weights.bin"))
    teacher = open_teacher("tiny", tmp_path / "tiny.onnx", SPEC, "cpu", threads=1, precision="float16")
    check_outputs(teacher, Form(), ("maps",), tolerance=0.014)


@pytest.mark.parametrize(
    ("chosen", "form", "key", "inside", "asked"),
    [
        (SPEC, Form(), "padding", 1.0, 1.25),
        (SPEC, Form(), "color", "bgr", "rgb"),
        (SPEC, Form(), "mean", [0.0, 0.0, 0.0], [120.0, 115.0, 100.0]),
        (SPEC, Form(), "kind", None, "heatmap"),
        (SIMCC, BINS, "factor", 8.0, 10.0),
    ],
)
def test_a_spec_in_the_file_that_says_otherwise(tmp_path, chosen, form, key, inside, asked):
    save(tmp_path / "tiny.onnx", form, {"pose_fusion.spec": json.dumps({**spec_values(chosen), key: inside})})
    again = f", or import it again with --{key}" if key in ("padding", "color") else ""
    assert refusal(tmp_path, chosen=chosen) == (
        f"tiny.onnx: was made for {key} {inside!r}, teachers.tiny.{key} says {asked!r}: correct params.yaml{again}"
    )


@pytest.mark.parametrize("text", ["{", "7", '["a"]', "", "[" * 100_000], ids=["cut", "number", "list", "empty", "deep"])
def test_a_spec_in_the_file_that_is_none(tmp_path, text):
    save(tmp_path / "tiny.onnx", Form(), {"pose_fusion.spec": text})
    assert refusal(tmp_path) == "tiny.onnx: the spec it carries is not readable: export it again"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_spec_in_the_file_that_agrees(tmp_path, precision):
    """How it is run, with flip or by which outputs, is not the file's to say."""
    asked = replace(SPEC, flip=True, outputs=("maps",))
    save(tmp_path / "tiny.onnx", Form(), {"pose_fusion.spec": json.dumps(spec_values(SPEC))})
    assert open_teacher("tiny", tmp_path / "tiny.onnx", asked, "cpu", threads=1, precision=precision).spec == asked


def test_half_precision_keeps_the_spec_in_the_file(tmp_path):
    save(tmp_path / "tiny.onnx", Form(), {"pose_fusion.spec": json.dumps({**spec_values(SPEC), "padding": 1.0})})
    assert "was made for padding 1.0" in refusal(tmp_path, precision="float16")


@pytest.mark.parametrize(
    ("form", "chosen"),
    [(Form(), SPEC), (BINS, SIMCC), (Form(batch=5), SPEC), (Form(), replace(SPEC, affine="classic"))],
)
def test_flip_is_the_mean_with_the_mirrored_crops(tmp_path, form, chosen):
    teacher = opened(tmp_path, form, replace(chosen, flip=True))
    plain = opened(tmp_path, form, chosen).forward()
    mirrored = unmirrored(plain(CROPS[:, :, ::-1]), chosen)
    for ours, one, other in zip(teacher.forward(batch=3)(CROPS), plain(CROPS), mirrored, strict=True):
        assert np.abs(ours - (one + other) / 2).max() < 1e-6
        assert np.abs(ours - one).max() > 0.01


def test_crops_are_given_in_the_specs_colors(tmp_path):
    """The first crop alone is red; the network is the same."""
    form = Form()
    bgr = replace(SPEC, color="bgr")
    check_outputs(opened(tmp_path, form, bgr), form, ("maps",))
    assert not np.allclose(opened(tmp_path, form).forward()(CROPS)[0], opened(tmp_path, form, bgr).forward()(CROPS)[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_what_it_runs_on_is_said(tmp_path, threads):
    note = open_teacher("tiny", save(tmp_path / "tiny.onnx", Form()), SPEC, "cpu", threads).runtime.note
    assert note.startswith("CPUExecutionProvider")
