"""The `pipeline` command: parses, calls one stage, turns an error into one line and an exit code. Heavy imports wait for their command."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Pose Fusion: one 2-D human pose student from several datasets' teachers, each of which looks at every picture once.",
    epilog="The whole line: `dvc repro`. One part of it: the commands below, in this order. Settings: params.yaml.",
)
data = typer.Typer(no_args_is_help=True, help="The built-in sample.")
cache = typer.Typer(no_args_is_help=True, help="Look into target stores.")
app.add_typer(data, name="data")
app.add_typer(cache, name="cache")

INTERRUPTED = 130
"""Exit code of Typer after Ctrl-C."""

Device = Literal["auto", "cuda", "cpu"]
Split = Literal["train", "validation", "test"]
TeacherName = Annotated[str, typer.Option(help="A teacher that params.yaml lists.", show_default=False)]
DeviceOption = Annotated[Device, typer.Option(help="Where networks run; `auto` takes CUDA where it works and says so.")]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Go on from the checkpoint even if settings, inputs or code have changed since."),
]


@app.callback()
def main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command."""
    if debug:
        os.environ["POSE_FUSION_DEBUG"] = "1"


@data.command("sample")
def data_sample() -> None:
    """Draw the built-in sample: little people in the files COCO, MPII and Halpe come in."""
    from stages import sample
    from stages.params import load_params, settings

    sample.run(settings(load_params(), "sample", sample.SampleSettings))


@app.command()
def prepare(dataset: Annotated[str | None, typer.Option(help="Only this dataset.", show_default=False)] = None) -> None:
    """Annotation files to tables of people and views, with the split and the picture manifest."""
    from stages import prepare
    from stages.params import load_params

    prepare.run(load_params(), dataset)


@app.command()
def fit(teacher: TeacherName, device: DeviceOption = "auto", resume: ResumeOption = False) -> None:
    """Train a teacher on its own dataset's labels and export it to ONNX: for the sample, or where there is no teacher yet."""
    from stages import fit
    from stages.params import load_params

    fit.run(load_params(), teacher, device, resume)


@app.command()
def teach(
    teacher: TeacherName,
    device: DeviceOption = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass, where the file takes any.")] = 64,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many crops, hours and gigabytes.")] = False,
) -> None:
    """Stage one: the teacher looks once at every person in every view; its heatmaps go into stores. Resumes by itself."""
    from stages import teach
    from stages.params import load_params

    teach.run(load_params(), teacher, device, batch, dry_run)


@app.command()
def distill(
    student: Annotated[
        str | None, typer.Option(help="A student or baseline of params.yaml; by default the first.", show_default=False)
    ] = None,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
) -> None:
    """Stage two: train the student from the stores and the labels. Goes on from its checkpoint after an interruption."""
    from stages import distill
    from stages.params import load_params

    distill.run(load_params(), student, device, resume)


@app.command()
def evaluate(
    student: Annotated[
        str | None, typer.Option(help="Only this student, and the teachers.", show_default=False)
    ] = None,
    device: DeviceOption = "auto",
) -> None:
    """COCO AP, MPII PCKh and Halpe AP of students and teachers: a table, results/, overlay pictures. With --student, the table only."""
    from stages import evaluate
    from stages.params import load_params

    evaluate.run(load_params(), student, device)


@app.command()
def export(
    student: Annotated[
        str | None, typer.Option(help="A trained student; by default the first.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to; by default data/students/NAME.onnx.", show_default=False)
    ] = None,
) -> None:
    """A student as ONNX, any batch size, checked against torch."""
    from stages import export
    from stages.params import load_params

    export.run(load_params(), student, out)


@app.command()
def show(
    person: Annotated[int, typer.Argument(help="A person's id in its dataset.")],
    dataset: Annotated[
        str | None, typer.Option(help="The dataset the person is in, where several have that id.", show_default=False)
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="The split, where several have that id.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Picture to write; by default show-DATASET-PERSON.png.", show_default=False)
    ] = None,
) -> None:
    """One person's views, the truth and the teachers' maps in one picture."""
    from stages import show
    from stages.params import load_params

    show.run(load_params(), person, dataset, out, split=split)


@cache.command("info")
def cache_info(path: Path) -> None:
    """What a target store holds and what it was made from."""
    from stages import inspect

    inspect.info(path)


@cache.command("verify")
def cache_verify(path: Path) -> None:
    """Check every file of a target store against its manifest; exit 1 if anything is damaged, missing, swapped or foreign."""
    from stages import inspect

    inspect.verify(path)


def main() -> None:
    """Entry point of the console command."""
    from pipeline.errors import UserError

    try:
        app()
    except UserError as error:
        if os.environ.get("POSE_FUSION_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if os.environ.get("POSE_FUSION_DEBUG"):
            raise
        print(
            f"error: {error.filename or 'a file'}: {error.strerror or error}: free some disk or mend its permissions",
            file=sys.stderr,
        )
        sys.exit(1)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            print("interrupted: run the same command again to go on", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
