"""Stage `evaluate`: students and teachers on every dataset's test people; metrics, tables, their poses and PCK curves."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pipeline.common.documents import json_bytes
from pipeline.common.errors import UserError
from pipeline.common.files import replace_folder, write_atomically
from pipeline.common.locks import exclusive
from pipeline.common.progress import progress
from pipeline.metrics.accuracy import accuracy
from pipeline.metrics.bootstrap import draw_resamples
from pipeline.metrics.model_scores import ModelScores, detection_scores, scores_of_model
from pipeline.networks.run import torch_device
from pipeline.people.people import People
from pipeline.people.poses import Poses
from pipeline.pose.options import Device
from pipeline.pose.skeletons import Skeleton
from stages.evaluate.curves import CURVES_FILE, write_curves
from stages.evaluate.inference import DetectedPeople, detected_people, poses_in_boxes, poses_in_detections
from stages.evaluate.models import Model, models_by_seed, models_of, trained_seed
from stages.evaluate.paper import write_paper
from stages.evaluate.parts import DatasetPart
from stages.evaluate.poses import POSES_FOLDER, poses_path, write_poses
from stages.evaluate.results import EvaluateSettings, Results, metrics_document, refuse_nobody, summary_document
from stages.evaluate.seeds import SEEDS_NOTE, SeedScores, seeds_document, seeds_table
from stages.evaluate.tables import difference_table, joint_table, results_table, table_notes
from stages.project.datasets import TEST, VALIDATION, DatasetSettings, load_people
from stages.project.project import Project

RESULTS_FOLDER = Path("results")


def run(
    project: Project,
    student: str | None = None,
    device: Device = "auto",
    log: Callable[[str], None] = print,
    flip: bool = False,
    csv: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Score all trained students and the teachers whose files exist, and write results and poses.

    With `student` only that student and the teachers are scored. Then, and where `flip` differs from params.yaml, nothing is
    written: the results are those of all models under the settings of params.yaml. `csv` and `latex` are files for the tables.
    """
    everything = project.datasets
    datasets = {name: dataset for name, dataset in everything.items() if dataset.test}
    if not datasets:
        raise UserError(
            "params.yaml: datasets: expected one with a `test` part, found none: add one, or score a part of another split with "
            "`pipeline evaluate --model NAME --data DATASET:validation`"
        )
    settings = project.section("evaluate", EvaluateSettings)
    log(f"evaluating on {torch_device(device)}")
    models = models_of(project, student, device, settings.flip or flip, log)
    tests = {name: DatasetPart(name, dataset, TEST, load_people(name, TEST)) for name, dataset in datasets.items()}
    truths = {name: part.truth for name, part in tests.items()}
    detected = {name: detected_people(dataset, truths[name], log) for name, dataset in datasets.items()}
    labelled = [name for name, dataset in everything.items() if dataset.labels_train]
    held_out = {name: load_people(name, VALIDATION) for name in labelled}
    held_out = {name: people for name, people in held_out.items() if people.use.any()}
    seed, count, skeleton = project.seed, settings.resamples, project.skeleton
    results: dict[str, dict[str, ModelScores]] = {model.name: {} for model in models}
    validation: dict[str, dict[str, float]] = {}
    predicted: dict[str, dict[str, Poses]] = {name: {} for name in datasets}
    used = sum(int(people.use.sum()) for people in (*truths.values(), *held_out.values()))
    tested = sum(int(people.use.sum()) for people in truths.values())
    boxes = sum(len(detections.people) for detections in detected.values() if detections)
    other_seeds = models_by_seed(project, student, device, settings.flip or flip)
    by_seed: dict[str, dict[int, dict[str, ModelScores]]] = {}
    total = (used + boxes) * len(models) + tested * sum(map(len, other_seeds.values()))
    with progress(total, "evaluating", "people") as bar:
        for model in models:
            for name, part in tests.items():
                scores, poses = score_part(model, part, detected[name], skeleton, count, seed, bar.update)
                results[model.name][name], predicted[name][model.name] = scores, poses
            validation[model.name] = {
                name: accuracy(
                    everything[name].score,
                    people,
                    poses_in_boxes(model, people, everything[name].images(VALIDATION), bar.update),
                )[1]
                for name, people in held_out.items()
            }
        for name, of_student in other_seeds.items():
            by_seed[name] = {trained_seed(name): results[name]}
            for number, model in of_student.items():
                by_seed[name][number] = {
                    dataset: score_part(model, part, None, skeleton, count, seed, bar.update)[0]
                    for dataset, part in tests.items()
                }
    text = _tables(results, by_seed, datasets, truths, count)
    write_paper(results, datasets, csv, latex, log, by_seed)
    if student or flip > settings.flip:
        log(text)
        return
    metrics = metrics_document(results, datasets, validation)
    document = {model.name: {"sha256": model.sha256, **metrics[model.name]} for model in models}
    for name, scores_by_seed in by_seed.items():
        document[name]["seeds"] = seeds_document(scores_by_seed, datasets)
    own = [model.name for model in models if model.name in project.main_students] or [models[0].name]
    with exclusive(POSES_FOLDER, remove_lock_file=True):
        write_atomically(RESULTS_FOLDER / "metrics.json", json_bytes(document))
        summary = summary_document(document, own, list(datasets))
        write_atomically(
            RESULTS_FOLDER / "summary.json", json_bytes({settings.name: summary} if settings.name else summary)
        )
        write_atomically(RESULTS_FOLDER / "table.md", text.encode())
        aside = POSES_FOLDER.with_name(POSES_FOLDER.name + ".partial")
        shutil.rmtree(aside, ignore_errors=True)
        for name, poses_of_models in predicted.items():
            write_poses(aside / poses_path(name).name, poses_of_models)
        replace_folder(aside, POSES_FOLDER)
        write_curves(truths, predicted)
    log(text)
    log(
        f"numbers: {RESULTS_FOLDER / 'metrics.json'}; poses: {POSES_FOLDER}/; curves: {CURVES_FILE}; a page of it all: `pipeline report`"
    )


def _tables(
    results: Results,
    by_seed: SeedScores,
    datasets: Mapping[str, DatasetSettings],
    truths: Mapping[str, People],
    count: int,
) -> str:
    """Return all tables and their notes as Markdown; `count` is the number of resamples."""
    tables = [results_table(results, datasets)]
    if len(results) > 1 and count:
        tables.append(difference_table(results, datasets))
    if by_seed:
        tables.append(seeds_table(by_seed, datasets))
    tables += [joint_table(results, name) for name, dataset in datasets.items() if dataset.score == "pckh"]
    notes = [*table_notes(results, datasets, truths, count), *([SEEDS_NOTE] if by_seed else [])]
    return "\n".join([*tables, *(f"{note}\n" for note in notes)])


def part_stream(seed: int, part: DatasetPart) -> list[int]:
    """Return the seed of a part's resamples."""
    return [seed, *part.title.encode()]


def score_part(
    model: Model,
    part: DatasetPart,
    detected: DetectedPeople | None,
    skeleton: Skeleton,
    count: int,
    seed: int,
    advance: Callable[[int], object],
) -> tuple[ModelScores, Poses]:
    """Return a model's scores on a part, with those on detected boxes where there are any, and its poses in the annotated boxes.

    `skeleton` is the unified one. There are `count` resamples, the same for every model. `advance` is called with the number of
    people done.
    """
    folder = part.dataset.images(part.split)
    stream = part_stream(seed, part)
    poses = poses_in_boxes(model, part.truth, folder, advance)
    scores = scores_of_model(
        part.dataset.score,
        part.dataset.labels_train,
        part.truth,
        poses,
        skeleton,
        draw_resamples(part.truth.image_id, count, stream),
    )
    refuse_nobody(scores, part.title, part.dataset.score)
    if detected is None:
        return scores, poses
    in_detections = poses_in_detections(model, detected, folder, advance)
    shared = (
        None
        if part.dataset.labels_train
        else tuple(k for k in part.truth.skeleton.keypoints if k in skeleton.keypoints)
    )
    boxes, images = detected.people.image_id, detected.image_id
    on_detections = detection_scores(part.truth, in_detections, boxes, images, count, stream, shared)
    return replace(scores, scores={**scores.scores, **on_detections}), poses
