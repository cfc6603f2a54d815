"""`python -m tests.endurance.kills`: stage commands killed at random moments, each run again, and every file compared at the end.

The line of dvc.yaml on a sample of some seconds. A command is killed with its whole process group; every tenth time it is a
`dvc repro` that is killed alone, while its child goes on, and at once run again. After each, data/ and results/ must be those
of an undisturbed run, byte for byte.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.endurance.commands import LONGEST, Commands, Ended, commands

PATIENCE = 120.0
"""Seconds for which a second `dvc repro` may be refused because the first one's child is still at work."""
TOLD = re.compile(
    r"(resumed: \d+ of \d+ boundaries|repaired: |rebuilt: |: complete|going on from \S+ step \d+|not readable)"
)
"""What a run says about what the one before it left."""
REFUSED = re.compile(r"is being written by process|Unable to acquire lock|error: .*")
"""Why a second `dvc repro` ends while the first one's child is at work."""


SECONDS = re.compile(rb"(?<=>)\d+ s(?=</td>)")
"""How long trainings took, in the report."""


@dataclass(frozen=True)
class Stage:
    """A command that is killed, and what it is given to do."""

    arguments: tuple[str, ...]
    weight: int = 1
    """How often it is drawn."""
    clear: Callable[[Path, random.Random], str] | None = None
    """Takes some of its outcome away, so that there is work, and says what. None: it does its work anew each time."""
    dvc: str | None = None
    """Its name in dvc.yaml."""

    @property
    def name(self) -> str:
        return " ".join(each.removeprefix("--") for each in self.arguments)


@dataclass
class Kill:
    """One of them."""

    stage: str
    share: float
    """Of the time it takes undisturbed."""
    before: str
    """What was taken away before."""
    left: str
    """What the killed process left behind, beside whole files."""
    told: list[str] = field(default_factory=list)
    """What the next run said about that."""


def snapshot(folder: Path) -> dict[str, str]:
    """Digest of every file of data/ and results/, without the time a training took and what it showed meanwhile."""
    found = {}
    for room in ("data", "results"):
        for path in sorted(each for each in (folder / room).rglob("*") if each.is_file()):
            file = path.relative_to(folder).as_posix()
            if file.startswith("data/live/") or path.suffix == ".lock":
                continue
            content = path.read_bytes()
            if path.name == "student.json":
                content = json.dumps({k: v for k, v in json.loads(content).items() if k != "seconds"}).encode()
            if path.name == "report.html":
                content = SECONDS.sub(b"", content)
            found[file] = hashlib.sha256(content).hexdigest()
    return found


def difference(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Files that are not as they should be."""
    names = sorted(found.keys() | expected.keys())
    return [
        f"{name}: {'missing' if name not in found else 'left over' if name not in expected else 'other bytes'}"
        for name in names
        if found.get(name) != expected.get(name)
    ]


def some_of_a_store(place: str) -> Callable[[Path, random.Random], str]:
    """Takes away the stores that lie there, or a shard of them, or spoils one."""

    def clear(folder: Path, random_: random.Random) -> str:
        stores = folder / place
        shards = sorted(path for path in stores.rglob("*") if path.is_file() and "c" in path.parts)
        choice = random_.choice(["stores", "stores", "file", "bit"]) if shards else "stores"
        if choice == "stores":
            shutil.rmtree(stores, ignore_errors=True)
            return "no stores"
        shard = random_.choice(shards)
        if choice == "file":
            shard.unlink()
            return "a shard missing"
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
        return "a shard damaged"

    return clear


def left_behind(folder: Path, expected: dict[str, str]) -> str:
    """What tells how far a killed process was: boundaries that are done, a checkpoint, files written aside."""
    there = snapshot_names(folder)
    parts = []
    for store in sorted(folder.glob("data/targets/*/*.zarr")):
        shards = store.relative_to(folder).as_posix() + "/done/c/"
        whole, done = (sum(name.startswith(shards) for name in names) for names in (expected, there))
        if not (store / "manifest.json").is_file():
            parts.append(f"{store.parent.name}/{store.stem}: {done} of {whole} boundaries")
    parts += [f"checkpoint {path.stem}" for path in sorted(folder.glob("data/checkpoints/*.pt"))]
    aside = sum(".partial" in name or ".previous" in name for name in there)
    if aside:
        parts.append(f"{aside} files not yet renamed")
    return ", ".join(parts) or "nothing but whole files"


def snapshot_names(folder: Path) -> set[str]:
    """Every file of data/ and results/."""
    return {
        path.relative_to(folder).as_posix()
        for room in ("data", "results")
        for path in (folder / room).rglob("*")
        if path.is_file()
    }


@dataclass
class Trial:
    """Stages of a project that is whole, which `kill` disturbs and compares."""

    folder: Path
    commands: Commands
    stages: list[Stage]
    random: random.Random
    seconds: dict[str, float] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    ended_first: int = 0

    def undisturbed(self) -> float:
        """Run every stage, remember its time and all files; the seconds in sum."""
        for stage in self.stages:
            self.seconds[stage.name] = self._run(stage).seconds
        self.expected = snapshot(self.folder)
        return sum(self.seconds.values())

    def kill(self) -> list[str]:
        """Kill some stage at some moment, in one of four cases its second run as well; what is not as it was."""
        stage = self.random.choices(self.stages, [each.weight for each in self.stages])[0]
        before = stage.clear(self.folder, self.random) if stage.clear else "nothing"
        for _ in range(2 if self.random.random() < 0.25 else 1):
            share = self.random.random()
            ended = self.commands.killed_after(share * self.seconds[stage.name], *stage.arguments)
            if ended.code != -signal.SIGKILL:
                if ended.code:
                    return [f"{stage.name}: exit code {ended.code}: {ended.said[-500:]}"]
                self.ended_first += 1
                break
            left = left_behind(self.folder, self.expected)
            self.kills.append(Kill(stage.name, round(share, 2), before, left))
        again = self._run(stage)
        if ended.code:
            self.kills[-1].told = TOLD.findall(again.said)
        return difference(snapshot(self.folder), self.expected)

    def kill_dvc(self, tools: Path) -> list[str]:
        """Kill `dvc repro` alone while its child works, run it again at once until it is through; what is not as it was."""
        stages = [each for each in self.stages if each.dvc]
        stage = self.random.choices(stages, [each.weight for each in stages])[0]
        before = stage.clear(self.folder, self.random) if stage.clear else "nothing"
        dvc = Dvc(self.folder, tools, ("repro", "--force", "--single-item", str(stage.dvc)))
        _wait_for_command(dvc.process)
        share = self.random.random()
        time.sleep(share * (self.commands.start_seconds + self.seconds[stage.name]))
        orphans = _descendants(dvc.process.pid)
        dvc.process.kill()
        code, said = dvc.ended()
        if code == -signal.SIGKILL:
            left = left_behind(self.folder, self.expected)
            self.kills.append(Kill(f"dvc repro {stage.dvc}", round(share, 2), before, left))
        elif code:
            return [f"dvc repro {stage.dvc}: exit code {code}: {said[-500:]}"]
        else:
            self.ended_first += 1
        refusals, deadline = [], time.monotonic() + PATIENCE
        while (outcome := Dvc(self.folder, tools, ("repro", str(stage.dvc))).ended())[0]:
            refusals.append((REFUSED.findall(outcome[1]) or [outcome[1][-300:]])[0])
            if time.monotonic() > deadline:
                return [f"dvc repro {stage.dvc}: still refused after {PATIENCE:.0f} s: {outcome[1][-500:]}"]
        if code:
            self.kills[-1].told = refusals
        while any(_alive(orphan) for orphan in orphans) and time.monotonic() < deadline:
            time.sleep(0.05)
        code, said = Dvc(self.folder, tools, ("repro",)).ended()
        if code:
            return [f"dvc repro: exit code {code}: {said[-500:]}"]
        return difference(snapshot(self.folder), self.expected)

    def _run(self, stage: Stage) -> Ended:
        ended = self.commands.run(*stage.arguments)
        if ended.code:
            raise RuntimeError(f"{stage.name}: exit code {ended.code}: {ended.said[-2000:]}")
        return ended


@dataclass
class Dvc:
    """A running `dvc` in a project, whose `pipeline` is the one in `tools`. It writes to a file, which outlives it."""

    folder: Path
    tools: Path
    arguments: tuple[str, ...]

    def __post_init__(self) -> None:
        path = os.pathsep.join([str(self.tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "DVC_NO_ANALYTICS": "1"}
        self._log = self.folder / ".dvc-log"
        self._log.unlink(missing_ok=True)
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                ["dvc", *self.arguments],
                cwd=self.folder,
                env={**os.environ, **own},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ended(self) -> tuple[int, str]:
        """Exit code and what was said, once it has ended."""
        code = self.process.wait(timeout=LONGEST)
        return code, self._log.read_text()


def _descendants(process: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _wait_for_command(process: subprocess.Popen) -> None:
    """Until the stage's own process is there, or DVC has ended without one."""
    while process.poll() is None:
        for below in _descendants(process.pid):
            with contextlib.suppress(OSError):
                if b"cli.py" in (Path("/proc") / str(below) / "cmdline").read_bytes():
                    return
        time.sleep(0.01)


def _alive(process: int) -> bool:
    try:
        return (Path("/proc") / str(process) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


LINE = [
    Stage(("data", "sample"), dvc="data@sample"),
    *(Stage(("prepare", "--dataset", name), dvc=f"prepare@{name}") for name in ("coco", "mpii", "halpe")),
    *(Stage(("fit", "--teacher", name), 2, dvc=f"fit@{name}") for name in ("coco", "mpii")),
    Stage(("crops",), 2, some_of_a_store("data/crops"), "crops"),
    *(
        Stage(("teach", "--teacher", name), 6, some_of_a_store(f"data/targets/{name}"), f"teach@{name}")
        for name in ("coco", "mpii")
    ),
    Stage(("distill",), 6, dvc="distill@unified"),
    Stage(("distill", "--student", "joint"), 2, dvc="baseline@joint"),
    Stage(("evaluate",), 2, dvc="evaluate"),
    Stage(("export",), 1, dvc="export@unified"),
    Stage(("report",), 1, dvc="report"),
]
"""Stage one and two are drawn most."""


def make_sample_project(folder: Path) -> None:
    """A copy of the project whose line takes some seconds, with boundaries and checkpoints to be killed between."""
    from tests.test_end_to_end import copy_of_the_project, run

    copy_of_the_project(folder)
    place = folder / "params.yaml"
    params = yaml.safe_load(place.read_text())
    params["sample"] |= {"train": 30, "workers": 1}
    params["teach"] |= {"boundary": 16, "check": 0}
    for teacher in params["teachers"].values():
        teacher["input"] = [64, 32]
    params["distill"]["input"] = [64, 32]
    for arm in (*params["students"].values(), *params["baselines"].values()):
        arm.pop("view_count", None)
    recipe = {"steps": 20, "batch": 4, "checkpoint_seconds": 0, "precision": "float32"}
    params["fit"] |= {"training": recipe, "teachers": ["coco", "mpii"]}
    params["distill"]["training"] = recipe
    params["evaluate"] = {"resamples": 10}
    params["report"] = {"people": 1}
    place.write_text(yaml.safe_dump(params))
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "all")


def table(kills: list[Kill]) -> str:
    """Per stage: how often, at which shares of its time, what was left and what the next run said."""
    lines = [
        "| killed | times | earliest and latest, of its time | left behind | the next run said |",
        "|---|--:|---|---|---|",
    ]
    for stage in dict.fromkeys(kill.stage for kill in kills):
        own = [kill for kill in kills if kill.stage == stage]
        shares = [kill.share for kill in own]
        left = Counter(re.sub(r"\d+ of \d+|\d+", "n", kill.left) for kill in own)
        told = Counter(re.sub(r"\d+", "n", each) for kill in own for each in kill.told)
        cells = [
            "; ".join(f"{count} x {what}" for what, count in counted.most_common(6)) or "-" for counted in (left, told)
        ]
        lines.append(f"| `{stage}` | {len(own)} | {min(shares):.2f} - {max(shares):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the project, disturb it, print what was killed and what was lost; exit code 1 for the latter."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument(
        "--dvc-every", type=int, default=10, help="kill `dvc repro` alone every so manieth time; 0 for never"
    )
    parser.add_argument("--minutes", type=float, default=120, help="stop after so many, whatever was killed by then")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="a file for every kill, as JSON lines")
    asked = parser.parse_args()
    start, lost = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        folder = Path(place)
        make_sample_project(folder)
        with commands(folder, folder) as served:
            trial = Trial(folder, served, LINE, random.Random(asked.seed))
            print(f"undisturbed: {trial.undisturbed():.1f} s", flush=True)
            if asked.dvc_every:
                code, said = Dvc(folder, folder / "bin", ("commit", "--force")).ended()
                if code:
                    sys.exit(said)
            while len(trial.kills) < asked.kills and time.monotonic() - start < 60 * asked.minutes and not lost:
                number = len(trial.kills) + 1
                by_dvc = asked.dvc_every and number % asked.dvc_every == 0
                lost = trial.kill_dvc(folder / "bin") if by_dvc else trial.kill()
                if lost:
                    print(f"LOST after kill {len(trial.kills)}: {trial.kills[-1:]}", *lost, sep="\n  ", flush=True)
    if asked.record:
        asked.record.write_text("".join(json.dumps(vars(kill)) + "\n" for kill in trial.kills))
    print(table(trial.kills))
    minutes = (time.monotonic() - start) / 60
    print(
        f"\n{len(trial.kills)} killed, {trial.ended_first} had ended before, seed {asked.seed}, {minutes:.1f} minutes, "
        f"{len(trial.expected)} files as they were: {'no' if lost else 'yes'}"
    )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
