"""`Dataset` gives what `distill` trains on, to worker processes too, and a loop of one's own learns from it."""

import io
import pickle
import runpy
from contextlib import redirect_stdout
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

import pose_fusion
from pipeline.pose.skeletons import COCO17
from stages import crops
from stages.distill.inputs import build_inputs
from stages.project.project import load_project
from stages.training.loader import epoch_order
from tests.closure import ROOT
from tests.stages.training.tiny_student import student_params

STILL = {"scale": 0.0, "shift": 0.0, "flip": 0.0, "color": 0.0, "cut_out": 0.0}


@pytest.fixture
def dataset(taught) -> pose_fusion.Dataset:
    """The tiny student's, without anything random."""
    return open_dataset(taught, **STILL)


def open_dataset(folder, views: str = "replayed", **training: Any) -> pose_fusion.Dataset:
    values = student_params(**training)
    values["students"]["both"]["views"] = views
    values["distill"]["images"] = "crops"
    (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    crops.run(load_project(), log=lambda line: None)
    return pose_fusion.Dataset("both")


def test_a_sample_is_a_person_in_a_view_in_the_students_frame(dataset) -> None:
    source = dataset._inputs.sources[0]
    people = int(source.people.use.sum())
    assert len(dataset) == 2 * people and dataset.keypoints == COCO17.keypoints and dataset.teachers == ("tiny",)
    assert dataset.target_wh == (8, 16)
    sample = dataset[5]
    row = int(np.flatnonzero(source.people.use)[2])
    assert sample.person == f"coco person {source.people.person[row]}"
    assert sample.image.shape == (3, 64, 32) and sample.image.dtype == torch.float32
    to_target = dataset.spec.target_from_input((8, 16))
    affine = dataset.spec.input_from_image(source.views.regions(row, np.array([1])))[0]
    for k in torch.nonzero(sample.labelled).flatten().tolist():
        in_input = affine @ [*source.people.keypoints[row, k], 1]
        x, y = to_target @ [*in_input, 1]
        peak = np.unravel_index(int(sample.labels[k].argmax()), (16, 8))
        assert np.abs(np.array(peak[::-1]) - [x, y]).max() <= 0.5 + 1e-6
    sums = sample.labels.sum((1, 2))
    assert torch.allclose(sums[sample.labelled], torch.ones(()), atol=1e-5) and not sums[~sample.labelled].any()
    assert sample.targets["tiny"].shape == (17, 16, 8) and sample.taught["tiny"].any()
    assert torch.allclose(sample.targets["tiny"].sum((1, 2)), sample.taught["tiny"].float(), atol=1e-5)


def test_samples_are_those_of_distill(taught) -> None:
    """An epoch's order, and in it, without jitter, the batches of `distill`."""
    dataset = open_dataset(taught, **STILL)
    inputs = build_inputs(load_project(), "both", load_project().student("both")[1], 0, "cpu")
    order = dataset.order(3)
    expected = epoch_order(inputs.sources, 3, ("plain", "strong"), 0)
    assert [dataset[n].person for n in order[:5]] == [
        f"coco person {inputs.sources[0].people.person[row]}" for _, row, _ in expected[:5]
    ]
    assert sorted({n // 2 for n in order}) == list(range(len(dataset) // 2)) and len(order) == len(dataset) // 2
    first = dataset._loader.load(0)
    views = dataset.order(0)[: len(first.people)]
    assert [dataset[n].person for n in views] == first.people
    whole = torch.from_numpy(dataset.spec.normalised(first.crops))
    assert torch.allclose(torch.stack([dataset[n].image for n in views]), whole, atol=1e-5)


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_samples(dataset, start: str, workers: int) -> None:
    order = dataset.order(0)
    here = [dataset[n] for n in order]
    batches = list(DataLoader(dataset, 8, sampler=order, num_workers=workers, multiprocessing_context=start))
    assert torch.equal(torch.cat([batch.image for batch in batches]), torch.stack([sample.image for sample in here]))
    assert torch.equal(
        torch.cat([batch.targets["tiny"] for batch in batches]), torch.stack([each.targets["tiny"] for each in here])
    )
    assert [person for batch in batches for person in batch.person] == [sample.person for sample in here]


def test_it_is_pickled_without_what_it_has_in_memory(dataset) -> None:
    before = len(pickle.dumps(dataset))
    expected = dataset[0]
    assert len(pickle.dumps(dataset)) <= before + 1000 and dataset._inputs.sources[0].crops is not None
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[0].image, expected.image) and again.order(1) == dataset.order(1)


def test_torchs_seed_decides_on_the_jitter(taught) -> None:
    dataset = open_dataset(taught, scale=0.3, shift=0.1, flip=0.5)
    torch.manual_seed(1)
    one, other = dataset[0].image, dataset[0].image
    torch.manual_seed(1)
    assert torch.equal(dataset[0].image, one) and not torch.equal(one, other)


def test_views_that_are_not_stored_are_refused(taught) -> None:
    with pytest.raises(pose_fusion.UserError, match=r"students\.both\.views: expected `replayed`"):
        open_dataset(taught, views="online")


def test_the_example_learns(taught) -> None:
    open_dataset(taught, **STILL)
    loop = runpy.run_path(str(ROOT / "examples/train_loop.py"))
    printed = io.StringIO()
    with redirect_stdout(printed):
        losses = loop["main"]("both", epochs=6, batch=8, workers=0)
    assert len(losses) == 6 and losses[-1] < 0.9 * losses[0]
    assert printed.getvalue().startswith("epoch 0: ")
