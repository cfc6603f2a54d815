"""`python -m endurance.kills`: kills stage commands at random moments, runs them again, and compares every file.

It runs the stages of dvc.yaml on a sample of some seconds. A command is killed with its whole process group. Every tenth time, a
`dvc repro` is killed alone, while its child continues, and is run again at once. After each, data/ and results/ must be those of an
undisturbed run, byte for byte.
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

from endurance.commands import MAX_SECONDS, CommandResult, Commands, commands

PATIENCE = 120.0
"""Seconds for which a second `dvc repro` may be refused because the first one's child still runs."""
REPORTED = re.compile(
    r"(resumed: \d+ of \d+ shards|repaired: |rebuilt: |: complete|resuming from \S+ step \d+|not readable)"
)
"""What a run logs about the files of the one before it."""
REFUSED = re.compile(r"is being written by process|Unable to acquire lock|error: .*")
"""Why a second `dvc repro` ends while the first one's child runs."""


SECONDS = re.compile(rb"(?<=>)\d+ s(?=</td>)")
"""Seconds of trainings, in the report."""


@dataclass(frozen=True)
class Stage:
    """A command to kill, and the work that it is given."""

    arguments: tuple[str, ...]
    weight: int = 1
    """Relative frequency of being drawn."""
    clear: Callable[[Path, random.Random], str] | None = None
    """Removes or damages some of its output, so that there is work; returns a description. None: it always does all its work."""
    dvc: str | None = None
    """Its name in dvc.yaml."""

    @property
    def name(self) -> str:
        return " ".join(each.removeprefix("--") for each in self.arguments)


@dataclass
class Kill:
    """A killed command."""

    stage: str
    share: float
    """When it was killed, as a share of its undisturbed time."""
    before: str
    """What was removed or damaged before."""
    left: str
    """What the killed process left beside complete files."""
    messages: list[str] = field(default_factory=list)
    """What the next run logged about that."""


def snapshot(folder: Path) -> dict[str, str]:
    """Return the digest of every file of data/ and results/, without times of trainings and their live metrics."""
    digests = {}
    for top in ("data", "results"):
        for path in sorted(each for each in (folder / top).rglob("*") if each.is_file()):
            file = path.relative_to(folder).as_posix()
            if file.startswith("data/live/") or path.suffix == ".lock":
                continue
            content = path.read_bytes()
            if path.name == "student.json":
                content = json.dumps({k: v for k, v in json.loads(content).items() if k != "seconds"}).encode()
            if path.name == "report.html":
                content = SECONDS.sub(b"", content)
            digests[file] = hashlib.sha256(content).hexdigest()
    return digests


def difference(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Return the files that are missing, left over, or have other bytes than expected."""
    names = sorted(found.keys() | expected.keys())
    return [
        f"{name}: {'missing' if name not in found else 'left over' if name not in expected else 'other bytes'}"
        for name in names
        if found.get(name) != expected.get(name)
    ]


def damage_store(folder_of_stores: str) -> Callable[[Path, random.Random], str]:
    """Return a function that removes the stores in a folder, or removes or damages one shard of them."""

    def clear(folder: Path, random_: random.Random) -> str:
        stores = folder / folder_of_stores
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


def leftovers(folder: Path, expected: dict[str, str]) -> str:
    """Describe how far a killed process was: shards that are done, checkpoints, files that were not yet renamed."""
    present = file_names(folder)
    parts = []
    for store in sorted(folder.glob("data/targets/*/*.zarr")):
        shards = store.relative_to(folder).as_posix() + "/done/c/"
        total, done = (sum(name.startswith(shards) for name in names) for names in (expected, present))
        if not (store / "manifest.json").is_file():
            parts.append(f"{store.parent.name}/{store.stem}: {done} of {total} shards")
    parts += [f"checkpoint {path.stem}" for path in sorted(folder.glob("data/checkpoints/*.pt"))]
    aside = sum(".partial" in name or ".previous" in name for name in present)
    if aside:
        parts.append(f"{aside} files not yet renamed")
    return ", ".join(parts) or "only complete files"


def file_names(folder: Path) -> set[str]:
    """Return the names of all files of data/ and results/."""
    return {
        path.relative_to(folder).as_posix()
        for top in ("data", "results")
        for path in (folder / top).rglob("*")
        if path.is_file()
    }


@dataclass
class Trial:
    """A complete project, whose stages are killed and whose files are then compared."""

    folder: Path
    commands: Commands
    stages: list[Stage]
    random: random.Random
    seconds: dict[str, float] = field(default_factory=dict)
    expected: dict[str, str] = field(default_factory=dict)
    kills: list[Kill] = field(default_factory=list)
    ended_first: int = 0

    def undisturbed(self) -> float:
        """Run every stage, store its time and all files; return the total seconds."""
        for stage in self.stages:
            self.seconds[stage.name] = self._run(stage).seconds
        self.expected = snapshot(self.folder)
        return sum(self.seconds.values())

    def kill(self) -> list[str]:
        """Kill a random stage at a random moment, in one of four cases its second run too; return the files that differ."""
        stage = self.random.choices(self.stages, [each.weight for each in self.stages])[0]
        before = stage.clear(self.folder, self.random) if stage.clear else "nothing"
        for _ in range(2 if self.random.random() < 0.25 else 1):
            share = self.random.random()
            ended = self.commands.killed_after(share * self.seconds[stage.name], *stage.arguments)
            if ended.code != -signal.SIGKILL:
                if ended.code:
                    return [f"{stage.name}: exit code {ended.code}: {ended.output[-500:]}"]
                self.ended_first += 1
                break
            left = leftovers(self.folder, self.expected)
            self.kills.append(Kill(stage.name, round(share, 2), before, left))
        rerun = self._run(stage)
        if ended.code:
            self.kills[-1].messages = REPORTED.findall(rerun.output)
        return difference(snapshot(self.folder), self.expected)

    def kill_dvc(self, tools: Path) -> list[str]:
        """Kill `dvc repro` alone while its child runs, run it again at once until it succeeds; return the files that differ."""
        stages = [each for each in self.stages if each.dvc]
        stage = self.random.choices(stages, [each.weight for each in stages])[0]
        before = stage.clear(self.folder, self.random) if stage.clear else "nothing"
        dvc = Dvc(self.folder, tools, ("repro", "--force", "--single-item", str(stage.dvc)))
        _wait_for_command(dvc.process)
        share = self.random.random()
        time.sleep(share * (self.commands.start_seconds + self.seconds[stage.name]))
        orphans = _descendants(dvc.process.pid)
        dvc.process.kill()
        code, output = dvc.ended()
        if code == -signal.SIGKILL:
            left = leftovers(self.folder, self.expected)
            self.kills.append(Kill(f"dvc repro {stage.dvc}", round(share, 2), before, left))
        elif code:
            return [f"dvc repro {stage.dvc}: exit code {code}: {output[-500:]}"]
        else:
            self.ended_first += 1
        refusals, deadline = [], time.monotonic() + PATIENCE
        while (outcome := Dvc(self.folder, tools, ("repro", str(stage.dvc))).ended())[0]:
            refusals.append((REFUSED.findall(outcome[1]) or [outcome[1][-300:]])[0])
            if time.monotonic() > deadline:
                return [f"dvc repro {stage.dvc}: still refused after {PATIENCE:.0f} s: {outcome[1][-500:]}"]
        if code:
            self.kills[-1].messages = refusals
        while any(_alive(orphan) for orphan in orphans) and time.monotonic() < deadline:
            time.sleep(0.05)
        code, output = Dvc(self.folder, tools, ("repro",)).ended()
        if code:
            return [f"dvc repro: exit code {code}: {output[-500:]}"]
        return difference(snapshot(self.folder), self.expected)

    def _run(self, stage: Stage) -> CommandResult:
        ended = self.commands.run(*stage.arguments)
        if ended.code:
            raise RuntimeError(f"{stage.name}: exit code {ended.code}: {ended.output[-2000:]}")
        return ended


@dataclass
class Dvc:
    """A running `dvc` in a project, whose `pipeline` command is in `tools`. Its output goes to a file."""

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
        """Wait for the end; return exit code and output."""
        code = self.process.wait(timeout=MAX_SECONDS)
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
    """Wait until the stage's own process runs, or DVC has ended without one."""
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


STAGES = [
    Stage(("data", "sample"), dvc="data@sample"),
    *(Stage(("prepare", "--dataset", name), dvc=f"prepare@{name}") for name in ("coco", "mpii", "halpe")),
    *(Stage(("fit", "--teacher", name), 2, dvc=f"fit@{name}") for name in ("coco", "mpii")),
    Stage(("crops",), 2, damage_store("data/crops"), "crops"),
    *(
        Stage(("teach", "--teacher", name), 6, damage_store(f"data/targets/{name}"), f"teach@{name}")
        for name in ("coco", "mpii")
    ),
    Stage(("distill",), 6, dvc="distill@unified"),
    Stage(("distill", "--student", "joint"), 2, dvc="baseline@joint"),
    Stage(("evaluate",), 2, dvc="evaluate"),
    Stage(("export",), 1, dvc="export@unified"),
    Stage(("report",), 1, dvc="report"),
]
"""The stages to kill; `teach` and `distill` are drawn most."""


def make_sample_project(folder: Path) -> None:
    """Make a copy of the project whose stages take some seconds, with several shards and checkpoints to kill between."""
    from tests.test_end_to_end import copy_of_the_project, run

    copy_of_the_project(folder)
    file = folder / "params.yaml"
    params = yaml.safe_load(file.read_text())
    params["sample"] |= {"train": 30, "workers": 1}
    params["teach"] |= {"shard": 16, "check": 0}
    for teacher in params["teachers"].values():
        teacher["input"] = [64, 32]
    params["distill"]["input"] = [64, 32]
    for student in (*params["students"].values(), *params["baselines"].values()):
        student.pop("view_count", None)
    recipe = {"steps": 20, "batch": 4, "checkpoint_seconds": 0, "precision": "float32"}
    params["fit"] |= {"training": recipe, "teachers": ["coco", "mpii"]}
    params["distill"]["training"] = recipe
    params["evaluate"] = {"resamples": 10}
    params["report"] = {"people": 1}
    file.write_text(yaml.safe_dump(params))
    run(folder, "git", "add", "--all")
    run(folder, "git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "all")


def table(kills: list[Kill]) -> str:
    """Return a table of the kills by stage: how many, at which shares of its time, what was left, what the next run logged."""
    lines = [
        "| killed | times | earliest and latest, of its time | left behind | the next run logged |",
        "|---|--:|---|---|---|",
    ]
    for stage in dict.fromkeys(kill.stage for kill in kills):
        own = [kill for kill in kills if kill.stage == stage]
        shares = [kill.share for kill in own]
        left = Counter(re.sub(r"\d+ of \d+|\d+", "n", kill.left) for kill in own)
        messages = Counter(re.sub(r"\d+", "n", message) for kill in own for message in kill.messages)
        cells = [
            "; ".join(f"{count} x {what}" for what, count in counted.most_common(6)) or "-"
            for counted in (left, messages)
        ]
        lines.append(f"| `{stage}` | {len(own)} | {min(shares):.2f} - {max(shares):.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Make the project, kill its stages, print what was killed and what was lost; exit code 1 if something was lost."""
    parser = argparse.ArgumentParser(prog="python -m endurance.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--dvc-every", type=int, default=10, help="kill `dvc repro` alone every nth time; 0 for never")
    parser.add_argument("--minutes", type=float, default=120, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="a file for all kills, as JSON lines")
    options = parser.parse_args()
    start, lost = time.monotonic(), list[str]()
    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        folder = Path(temporary)
        make_sample_project(folder)
        with commands(folder, folder) as server:
            trial = Trial(folder, server, STAGES, random.Random(options.seed))
            print(f"undisturbed: {trial.undisturbed():.1f} s", flush=True)
            if options.dvc_every:
                code, output = Dvc(folder, folder / "bin", ("commit", "--force")).ended()
                if code:
                    sys.exit(output)
            while len(trial.kills) < options.kills and time.monotonic() - start < 60 * options.minutes and not lost:
                number = len(trial.kills) + 1
                by_dvc = options.dvc_every and number % options.dvc_every == 0
                lost = trial.kill_dvc(folder / "bin") if by_dvc else trial.kill()
                if lost:
                    print(f"LOST after kill {len(trial.kills)}: {trial.kills[-1:]}", *lost, sep="\n  ", flush=True)
    if options.record:
        options.record.write_text("".join(json.dumps(vars(kill)) + "\n" for kill in trial.kills))
    print(table(trial.kills))
    minutes = (time.monotonic() - start) / 60
    print(
        f"\n{len(trial.kills)} killed, {trial.ended_first} had ended before, seed {options.seed}, {minutes:.1f} minutes, "
        f"{len(trial.expected)} files as they were: {'no' if lost else 'yes'}"
    )
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
