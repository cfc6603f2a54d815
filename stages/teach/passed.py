"""The check that a teacher has passed, remembered beside its stores, so that a resumed or second `teach` does not run it again."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from cache.fingerprint import array_digest
from pipeline.common.files import write_atomically
from pipeline.inference.session import Teacher
from pipeline.people.image_manifest import read_image_manifest
from pipeline.pose.spec import spec_values
from stages.project.datasets import table_path
from stages.project.project import Project
from stages.project.teachers import TARGETS, TeacherSettings
from stages.teach.check import CLEAR_GAIN, CONFIDENT, MIN_CONFIDENT_SHARE, MIN_PEOPLE, MIN_SCORE, checked_people


def check_inputs(project: Project, settings: TeacherSettings, teacher: Teacher, people: int) -> dict[str, Any]:
    """Return all that the result of a check follows from: file, spec, people with their labels and images, and the limits."""
    split, truth = checked_people(project, settings, people)
    manifest = read_image_manifest(table_path(settings.dataset, split, "pictures"))
    skeleton = settings.spec.skeleton
    return {
        "teacher": teacher.sha256,
        "provider": teacher.runtime.provider,
        "precision": teacher.precision,
        "spec": {**spec_values(settings.spec), "skeleton": skeleton.name},
        "keypoints": list(skeleton.keypoints),
        **({"mirror": dict(skeleton.own_mirror)} if skeleton.own_mirror else {}),
        "data": [settings.dataset, split, project.dataset(settings.dataset).score],
        "people": array_digest(*(getattr(truth, f.name) for f in fields(truth) if f.name != "skeleton")),
        "images": array_digest(manifest.name, manifest.sha256),
        "limits": [MIN_SCORE, CLEAR_GAIN, MIN_PEOPLE, CONFIDENT, MIN_CONFIDENT_SHARE],
    }


def passed_before(teacher: str, inputs: dict[str, Any]) -> str | None:
    """Return the result of the check with the same inputs that the teacher has passed, None if there is none."""
    try:
        record = json.loads(check_file(teacher).read_bytes())
        return str(record["result"]) if record["inputs"] == json.loads(json.dumps(inputs)) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def remember(teacher: str, inputs: dict[str, Any], result: str) -> None:
    """Write that the teacher has passed the check of these inputs with a result in words."""
    file = check_file(teacher)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (json.dumps({"result": result, "inputs": inputs}, indent=1) + "\n").encode())


def check_file(teacher: str) -> Path:
    """Return where a passed check is remembered: beside the folder of the teacher's stores, which DVC tracks."""
    return TARGETS / f"{teacher}.check.json"
