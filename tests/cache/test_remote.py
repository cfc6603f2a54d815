"""Stores on object storage: the bytes of those on disk, whatever is killed or damaged, and one line where it cannot be reached."""

import collections
import datetime
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import yaml

from cache import remote
from cache.reader import verify_store
from cache.remote import Remote
from cache.targets import open_targets
from cache.writer import open_for_writing, write_shard
from pipeline.common.errors import UserError
from stages import show
from stages import store_info as inspect
from stages import store_stats as stats
from stages.distill import run as distill
from stages.project.datasets import load_people, load_views
from stages.project.project import project_of
from stages.stores.targets import open_target_store
from stages.teach import run as teach
from tests.cache.s3_server import BUCKET, PAGE, USER, Bucket, serving
from tests.cache.stores import IDS, LAYOUT, SEPARATE, content, fingerprint, write
from tests.closure import ROOT
from tests.fixtures import params, save_teacher, tree

pytest.importorskip("obstore")

ROOT_ADDRESS = f"s3://{BUCKET}/some/where"
HERE = Remote(f"{ROOT_ADDRESS}/a.zarr")
TRAIN, POINTER = Path("data/targets/tiny/coco-train.zarr"), Path("data/targets/tiny/coco-train.json")
FAR = Remote(f"{ROOT_ADDRESS}/tiny/coco-train.zarr")
REMOTE = params(targets=ROOT_ADDRESS)


@pytest.fixture
def bucket(monkeypatch):
    """An empty one that the environment leads to; what fails is tried once more, at once."""
    remote._client.cache_clear()
    soon = {"init_backoff": datetime.timedelta(milliseconds=1)}
    monkeypatch.setattr(remote, "RETRIES", {"max_retries": 1, "backoff": soon})
    with serving(Bucket()) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield there


def taught(changed: dict = REMOTE, **options) -> list[str]:
    lines: list[str] = []
    teach.run(project_of(changed), "tiny", **{"device": "cpu", **options}, log=lines.append)
    return lines


def refusal(run, *arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        run(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("layout", [LAYOUT, SEPARATE], ids=["maps", "bins"])
def test_the_same_bytes_and_no_request_for_each_file(tmp_path, bucket, layout):
    write(tmp_path / "a.zarr", layout=layout)
    bucket.failures = [500]
    write(pickle.loads(pickle.dumps(HERE)), layout=layout)
    assert bucket.below("some/where/a.zarr/") == tree(tmp_path / "a.zarr")
    bucket.asked.clear()
    store = open_targets(HERE, "again", IDS)
    asked = collections.Counter((method, key.removeprefix("some/where/a.zarr/")) for method, key in bucket.asked)
    small = {f"{name}/zarr.json": 1 for name in layout.arrays()}  # hashed, and two of them then opened
    small |= {"manifest.json": 1, "zarr.json": 3, "done/zarr.json": 2, "person/zarr.json": 2}
    small |= {f"{name}/c/{shard}": 1 for name in ("done", "person") for shard in range(3)}
    listings = asked.pop(("GET", ""))
    assert asked == {("GET", key): count for key, count in small.items()}
    assert listings == 1 + -(-len(bucket.objects) // PAGE), "one page to see that it is there, then all of it"
    found, expected = store.read(slice(0, 41)), open_targets(tmp_path / "a.zarr", "again").read(slice(0, 41))
    for name, values in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], values)
    bucket.asked.clear()
    store.read(slice(16, 32), view=1)
    inside = [key for _, key in bucket.asked]
    assert len(inside) == 2 * len(layout.targets), "of each array a shard's index and one chunk; the rest is known"


def test_a_shard_is_done_once_all_of_it_is_there(bucket):
    """A writer that dies after any number of objects leaves a shard that is written again, and one that was good stays."""
    write(HERE, shards=[0, 1])
    before = dict(bucket.objects)

    def dies(method: str, key: str) -> bool:
        return method == "PUT" and [each for each, _ in bucket.asked].count("PUT") > 2

    bucket.asked.clear()
    bucket.before = dies
    with pytest.raises(UserError):
        write_shard(HERE, LAYOUT, 1, content(LAYOUT.rows(1)).arrays)
    bucket.before = Bucket.before
    assert bucket.objects.keys() == before.keys() - {"some/where/a.zarr/done/c/1"}
    plan = open_for_writing(HERE, LAYOUT, fingerprint())
    assert (plan.pending, plan.reason) == ([1, 2], "resumed: 1 of 3 shards were done")


def test_another_fingerprint_and_foreign_objects(tmp_path, bucket):
    write(HERE)
    bucket.objects["some/where/a.zarr/heatmaps/notes"] = b"mine"
    bucket.objects["some/where/a.zarr2/notes"] = b"somebody's"
    assert [str(each) for each in verify_store(HERE)] == ["heatmaps/notes: foreign: not part of this store"]
    assert write(HERE, teacher="c" * 64).startswith("rebuilt: teacher was ")
    write(tmp_path / "a.zarr", teacher="c" * 64)
    assert bucket.below("some/where/a.zarr/") == tree(tmp_path / "a.zarr")
    assert bucket.objects["some/where/a.zarr2/notes"] == b"somebody's"


def test_teach_killed_in_the_middle_and_run_again(project, bucket):
    """A real process, held at the third shard's `done` until it is killed."""
    taught(params())
    Path("data/targets").rename("undisturbed")
    Path("params.yaml").write_text(yaml.safe_dump(REMOTE))
    held, killed = threading.Event(), threading.Event()

    def hold(method: str, key: str) -> bool:
        last = method == "PUT" and key.endswith("coco-train.zarr/done/c/2") and not killed.is_set()
        if last:
            held.set()
            killed.wait(60)
        return last

    bucket.before = hold
    command = [sys.executable, str(ROOT / "cli.py"), "teach", "--teacher", "tiny", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        reached = held.wait(60)
        process.kill()
    killed.set()
    assert reached and not POINTER.exists()
    again = refusal(open_target_store, project_of(REMOTE), "tiny", "coco", "train", *shown())
    assert again.startswith(f"{POINTER} is missing") and "run `dvc pull` or `pipeline teach --teacher tiny`" in again
    assert taught()[1] == f"{FAR}: resumed: 2 of 3 shards were done"
    assert bucket.below("some/where/tiny/") == tree(Path("undisturbed/tiny"))
    manifest = json.loads(bucket.objects["some/where/tiny/coco-train.zarr/manifest.json"])
    assert json.loads(POINTER.read_text()) == {"address": str(FAR), "digest": manifest["digest"]}
    assert sorted(tree(Path("data/targets/tiny"))) == ["coco-train.json", "coco-validation.json"]


def shown():
    people = load_people("coco", "train")
    return people, load_views("coco", "train", people)


def student(**changed) -> dict:
    """Two steps of a tiny student of the teacher."""
    recipe = {"steps": 2, "batch": 4, "precision": "float32"}
    terms = {"truth": 0.5, "tiny": 0.5}
    chosen = {"width": 8, "input": [64, 32], "terms": terms, "min_score": 0.0, "images": "files"}
    of_one = {"one": {"datasets": ["coco"], "teachers": ["tiny"]}}
    return params(distill={**chosen, "training": recipe}, students=of_one, **changed)


def test_students_and_looks_are_those_of_targets_on_disk(project, bucket):
    """A store that was copied there by hand is as good as one that was written there."""

    def outcome(changed: dict, store: str) -> list:
        distill.run(project_of(changed), None, "cpu", log=lambda line: None)
        said: list[str] = []
        inspect.info(store, said.append)
        inspect.verify(store, said.append)
        stats.run(store, log=said.append)
        show.run(project_of(changed), int(shown()[0].person[0]), out=Path("one.png"), log=lambda line: None)
        files = [Path("data/students/one/student.safetensors").read_bytes(), Path("one.png").read_bytes()]
        return [*files, *(line.replace(store, "STORE") for line in said)]

    taught(params())
    on_disk = outcome(student(), str(TRAIN))
    for name in tree(Path("data/targets/tiny")):
        bucket.objects[f"some/where/tiny/{name}"] = Path("data/targets/tiny", name).read_bytes()
    lines = taught()
    assert lines[1] == f"{FAR}: complete" and ", 0 processed now, " in lines[-1]
    assert lines[2].startswith(f"{TRAIN}: no longer read, since params.yaml names {FAR} instead: delete it")
    TRAIN.rename("aside")
    Path("data/students").rename("students")
    assert outcome(student(targets=f"{ROOT_ADDRESS}/"), str(FAR)) == on_disk
    said: list[str] = []
    inspect.verify(TRAIN, said.append)
    assert said == [f"{FAR}: every file is what was written"], "the pointer in its place is followed"


def test_damage_is_named_and_repaired_where_it_is(project, bucket):
    taught()
    before = dict(bucket.objects)
    shard = "some/where/tiny/coco-train.zarr/heatmaps/c/1/0/0/0/0"
    bucket.objects[shard] = before[shard][:9] + b"!" + before[shard][10:]
    said: list[str] = []
    again = "run `pipeline teach --teacher NAME`, which rebuilds what is damaged and nothing else"
    assert refusal(inspect.verify, str(FAR), said.append) == f"{FAR}: 1 problem: {again}"
    assert said == [f"{FAR}: heatmaps/c/1/0/0/0/0: damaged"]
    assert f"{FAR}: heatmaps/c/1/0/0/0/0: damaged: " in refusal(
        distill.run, project_of(student(targets=ROOT_ADDRESS)), None, "cpu", log=lambda line: None
    )
    bucket.asked.clear()
    assert taught()[1] == f"{FAR}: repaired: heatmaps/c/1/0/0/0/0: damaged"
    assert bucket.objects == before
    put = {key.partition(".zarr/")[2] for method, key in bucket.asked if method == "PUT" and "/c/" in key}
    assert put == {file for file in before_files(before) if file.split("/c/")[1].split("/")[0] == "1"}


def before_files(objects: dict[str, bytes]) -> list[str]:
    """Data files of the training people's store."""
    return [key.partition("coco-train.zarr/")[2] for key in objects if "coco-train.zarr/" in key and "/c/" in key]


def test_a_pointer_that_does_not_fit_is_refused(project, bucket):
    taught()
    again = "`pipeline teach --teacher tiny`"

    def opened(changed: dict = REMOTE) -> str:
        return refusal(open_target_store, project_of(changed), "tiny", "coco", "train", *shown())

    kept = POINTER.read_text()
    assert opened(params()) == f"{TRAIN}: no such target store: run {again}"
    other = opened(params(targets="s3://another"))
    assert other.startswith(
        f"{POINTER}: expected s3://another/tiny/coco-train.zarr, as params.yaml says, found {FAR}: "
    )
    for text in ("", "[]", '{"address": "s3://x", "digest": 1}', kept.replace("s3://", "file:///")):
        POINTER.write_text(text)
        assert opened() == f"{POINTER}: expected address and digest of a store, found something else: run {again}"
    POINTER.write_text(kept)
    save_teacher(Path("tiny.onnx"), metadata={"made": "again"})
    assert opened().startswith(f"{FAR}: was made from another file of the teacher than there is now: ")
    taught()
    POINTER.write_text(kept)
    said = f"{FAR}: holds other targets than {POINTER} names: run `dvc pull`, or "
    assert opened() == f"{said}{again} to make them again"
    assert refusal(inspect.info, TRAIN) == f"{said}`pipeline teach --teacher NAME` to make them again"
    taught(params())
    assert not POINTER.exists(), "what says that targets are elsewhere goes where they are here"


def test_what_cannot_be_reached_or_used_is_one_line(project, bucket, monkeypatch):
    hint = r"are the bucket, the endpoint and the credentials in the environment right"
    assert hint in refusal(taught, params(targets="s3://no-such-bucket"))
    taught()
    store = open_targets(FAR, "again")
    bucket.failures = [403]
    assert refusal(store.read, slice(0, 16)).startswith(f"{FAR}: cannot be used (The operation lacked the necessary")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    remote._client.cache_clear()
    for run in (taught, lambda: inspect.verify(str(FAR)), lambda: inspect.info(str(FAR)), lambda: stats.run(str(FAR))):
        assert "AccessDenied" in (line := refusal(run)) and line.startswith(f"{ROOT_ADDRESS}/") and hint in line


def test_a_server_that_is_gone_is_one_line(project, monkeypatch):
    remote._client.cache_clear()
    monkeypatch.setattr(remote, "RETRIES", {"max_retries": 0})
    with serving(Bucket()) as there:
        monkeypatch.setenv("AWS_ENDPOINT_URL", there.address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", USER)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        taught()
        store = open_targets(FAR, "again")
    for run in (taught, lambda: store.read(slice(0, 16)), lambda: inspect.verify(str(FAR))):
        assert f"{FAR}: cannot be used (" in (line := refusal(run)) and "HTTP error: error sending request" in line
    assert refusal(distill.run, project_of(student(targets=ROOT_ADDRESS)), None, "cpu").startswith(
        f"{FAR}: cannot be used ("
    )


def test_a_dry_run_asks_for_no_disk_and_writes_nothing(project, bucket, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: collections.namedtuple("usage", "free")(0))
    assert taught(dry_run=True)[-1].endswith(f" GB to {ROOT_ADDRESS}")
    assert not bucket.objects and not Path("data/targets").exists()


def test_without_the_library_it_names_what_to_install(project, monkeypatch):
    remote._client.cache_clear()
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert "pip install 'pose-fusion[remote]'" in refusal(taught)


@pytest.mark.parametrize(
    "value",
    ["data/other", "S3://bucket/x", "s3://", "s3://b", "s3://bucket/../x", "s3://bucket/$(x)", "ftp://x/y", 3, [], ""],
)
def test_other_places_are_refused(project, value):
    """An address stands in commands that an error line suggests: nothing in it may mean something to a shell."""
    said = refusal(taught, params(targets=value))
    assert said == f"params.yaml: targets: expected data/targets or an address like s3://bucket/prefix, found {value!r}"
