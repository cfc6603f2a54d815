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
    epilog="`dvc repro` runs data sample, prepare, crops, fit, teach, distill, evaluate, export and report. Settings: params.yaml.",
)
data = typer.Typer(no_args_is_help=True, help="The built-in sample, and the published datasets.")
teacher = typer.Typer(
    no_args_is_help=True, help="Get teachers, and find out whether they are right before the long run."
)
cache = typer.Typer(no_args_is_help=True, help="Look into stores of targets and crops.")
experiment = typer.Typer(
    no_args_is_help=True, help="The comparison of experiments/arms.yaml: what distilling gives, and what it costs."
)
app.add_typer(data, name="data")
app.add_typer(teacher, name="teacher")
app.add_typer(cache, name="cache")
app.add_typer(experiment, name="experiment")

INTERRUPTED = 130
"""Exit code of Typer after Ctrl-C."""

Device = Literal["auto", "cuda", "cpu"]
Split = Literal["train", "validation", "test"]
TeacherName = Annotated[str, typer.Option(help="A teacher that params.yaml lists.", show_default=False)]
DeviceOption = Annotated[Device, typer.Option(help="Where networks run; `auto` takes CUDA where it works and says so.")]
MirrorOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where the maker's host is blocked: an address with the same paths below it. What comes is checked alike.",
        show_default=False,
    ),
]
StorePath = Annotated[
    str,
    typer.Argument(help="Like data/targets/coco/coco-train.zarr, data/crops/coco.zarr or s3://...", show_default=False),
]
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


@data.command("fetch")
def data_fetch(
    name: Annotated[Literal["coco", "mpii", "halpe"], typer.Argument(help="The dataset.", show_default=False)],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives in data/downloads once unpacked.")] = False,
    mirror: MirrorOption = None,
) -> None:
    """A published dataset, downloaded and unpacked to where params/coco-mpii.yaml expects it. Run again, it goes on where it stopped.

    COCO is 20 GB and MPII 13 GB to download, twice that while they are unpacked. An archive fetched by hand is found in
    data/downloads; pictures of your own, put in place, are taken for whole where an empty FOLDER.fetched lies beside their folder.
    Halpe's annotations are only to be had by hand: the command says where and ends with 1.
    """
    from stages import fetch

    fetch.data(name, keep=keep, mirror=mirror)


@app.command()
def prepare(dataset: Annotated[str | None, typer.Option(help="Only this dataset.", show_default=False)] = None) -> None:
    """Annotation files to tables of people and views, with the split and the picture manifest."""
    from stages import prepare
    from stages.params import load_params

    prepare.run(load_params(), dataset)


@app.command()
def crops() -> None:
    """The part of each picture that a person's views show, as a JPEG of its own, so that distilling opens no picture. Resumes."""
    from stages import crops
    from stages.params import load_params

    crops.run(load_params())


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
    check: Annotated[
        bool, typer.Option(help="Score the teacher on some people of its own dataset first, and stop on nonsense.")
    ] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Have a dask.distributed cluster do the work: tcp://HOST:PORT. --device is then the workers'.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Stage one: the teacher looks once at every person in every view; its heatmaps go into stores. Resumes by itself."""
    from stages import teach
    from stages.params import load_params

    teach.run(load_params(), teacher, device, batch, dry_run, check, scheduler=scheduler)


@app.command()
def calibrate(
    floor: Annotated[float, typer.Option(min=0, max=1, help="Keypoints of a lower score do not count.")] = 0.2,
) -> None:
    """How far each teacher's keypoints lie from each dataset's labels: the difference between two datasets' conventions."""
    from stages import calibrate
    from stages.params import load_params

    calibrate.run(load_params(), floor)


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
    model: Annotated[
        str | None,
        typer.Option(
            help="Only this: an ONNX file, a student's folder, or a student or teacher by name.", show_default=False
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Somebody else's file: COCO results (a .json list of image_id, category_id, keypoints, score), MPII preds (.mat, .h5).",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(help="With --model or --predictions: DATASET or DATASET:SPLIT; repeatable.", show_default=False),
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="With --model: compare with this one, picture by picture.", show_default=False)
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirrored crop; results/ is left alone.")
    ] = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(help="With --model or --predictions: the numbers as JSON.", show_default=False)
    ] = None,
) -> None:
    """COCO AP, MPII PCKh and Halpe AP of students and teachers: a table, results/, everybody's poses. With --student, the table only.

    With --model or --predictions: anything that gives poses, on any dataset, keypoints matched by name.

        pipeline evaluate --model student.onnx --data coco --data mpii:validation --flip

        pipeline evaluate --predictions theirs.json --data coco
    """
    if sum(each is not None for each in (student, model, predictions)) > 1:
        raise typer.BadParameter("give one of --student, --model and --predictions")
    if predictions and len(data or []) != 1:
        raise typer.BadParameter("--predictions wants one --data")
    if (data or out) and not (model or predictions):
        raise typer.BadParameter("--data and --out go with --model or --predictions")
    if against and not model:
        raise typer.BadParameter("--against goes with --model")
    from stages.params import load_params

    if predictions and data:
        from stages.evaluation import score_predictions

        score_predictions.run(load_params(), predictions, data[0], out)
    elif model:
        from stages.evaluation import score_model

        score_model.run(load_params(), model, data or (), against, flip, device, out)
    else:
        from stages import evaluate

        evaluate.run(load_params(), student, device, flip=flip)


@app.command()
def report() -> None:
    """One HTML page: the numbers, curves, best and worst people, teachers' maps, what was run. Opens from disk, needs no network."""
    from stages import report
    from stages.params import load_params

    report.run(load_params())


@app.command()
def export(
    student: Annotated[
        str | None, typer.Option(help="A trained student; by default the first.", show_default=False)
    ] = None,
    target: Annotated[
        Literal["onnx", "rtmlib"], typer.Option("--for", help="`rtmlib`: the form that its RTMPose class runs.")
    ] = "onnx",
    precision: Annotated[
        Literal["float32", "float16", "int8"], typer.Option(help="int8 is calibrated on training people.")
    ] = "float32",
    out: Annotated[
        Path | None, typer.Option(help="Where to; by default data/exported/NAME.onnx.", show_default=False)
    ] = None,
) -> None:
    """A student as ONNX, any batch size, checked against torch on real crops, with its model card beside it."""
    from stages import export
    from stages.params import load_params

    export.run(load_params(), student, out, target=target, precision=precision)


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


@app.command()
def predict(
    pictures: Annotated[
        list[Path],
        typer.Argument(help="Pictures, videos, or folders of them (searched to the bottom).", show_default=False),
    ],
    student: Annotated[Path, typer.Option(help="An ONNX file that `pipeline export` wrote.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder to write. One of an earlier run is replaced, any other refused.")
    ] = Path("predictions"),
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Where the people are: COCO annotations, matched by the end of the path, or COCO detections, matched by "
            "the number that the name ends with.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="Or what finds them: an RTMDet or YOLOX ONNX file, as for rtmlib.", show_default=False),
    ] = None,
    detector_kind: Annotated[
        Literal["auto", "rtmdet", "yolox"],
        typer.Option(help="Whose input statistics the detector wants; `auto` finds out and says so."),
    ] = "auto",
    score: Annotated[float, typer.Option(min=0, max=1, help="Boxes with a lower score are left out.")] = 0.3,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Keypoints above it are drawn and have v = 2; others have v = 1.")
    ] = 0.2,
    device: DeviceOption = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass.")] = 64,
) -> None:
    """Poses of the people in your own pictures and videos: drawn, and as COCO JSON with every keypoint of the student.

    With neither --boxes nor --detector each picture is taken for one person's box, which suits pictures of one person.
    A file that cannot be used gets one line on stderr and the rest goes on. Everything appears at the end, at once.

        pipeline predict holiday/ --student student.onnx --detector rtmdet-m.onnx

    predictions.json has a score per person and, beside x, y and v, the `keypoint_confidences`. A video is drawn as .mp4, and
    its frames are pictures named like clip.mp4/000012.
    """
    from stages import predict

    options = predict.Options(boxes, detector, detector_kind, score, confidence, device, batch)
    predict.run(pictures, student, out, options)


@app.command()
def label(
    dataset: Annotated[str, typer.Option(help="A dataset of params.yaml.", show_default=False)],
    split: Annotated[
        Literal["train", "validation"], typer.Option(help="The split that teachers have looked at.")
    ] = "train",
    student: Annotated[str | None, typer.Option(help="A trained student to ask as well.", show_default=False)] = None,
    confidence: Annotated[float, typer.Option(min=0, max=1, help="Keypoints of networks count above it.")] = 0.4,
    worst: Annotated[int, typer.Option(min=0, max=200, help="People drawn among those with suspicious labels.")] = 24,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; by default data/labels/DATASET-SPLIT.", show_default=False),
    ] = None,
) -> None:
    """A dataset in the full skeleton as COCO JSON, filled from the teachers' stores, and a list of labels that look wrong."""
    from stages import label
    from stages.params import load_params

    label.run(load_params(), dataset, split, label.Options(out, student, confidence, worst, device))


@app.command()
def validate() -> None:
    """Refuse a params.yaml with unknown sections, or with names that a shell or a path would read as something else.

    `dvc repro` does so before every stage whose command holds such a name. What stands in a section is checked by its stage.
    """
    from stages.params import load_params

    load_params()


@app.command()
def doctor() -> None:
    """Versions, devices that really work, free disk, and which data, teachers and results of params.yaml are there."""
    from stages import doctor

    doctor.run()


@teacher.command("fetch")
def teacher_fetch(
    name: Annotated[
        str | None, typer.Argument(help="Like `rtmpose-m-mpii`; without it, the list of all.", show_default=False)
    ] = None,
    mirror: MirrorOption = None,
) -> None:
    """A published checkpoint into data/published, checked against its hash; then prints the next command or settings for it."""
    from stages import fetch

    if name is None:
        print(fetch.listing())
    else:
        fetch.teacher(name, mirror=mirror)


@teacher.command("import")
def teacher_import(
    checkpoint: Annotated[Path, typer.Argument(help="An MMPose .pth file.", show_default=False)],
    arch: Annotated[
        Literal[
            "rtmpose-t", "rtmpose-s", "rtmpose-m", "rtmpose-l", "hrnet-w32", "hrnet-w48", "resnet-50", "resnet-101"
        ],
        typer.Option(help="What the checkpoint is of.", show_default=False),
    ],
    skeleton: Annotated[
        str, typer.Option(help="Whose keypoints: coco17, mpii16, halpe26, aic14 or crowdpose14.", show_default=False)
    ],
    input_size: Annotated[str, typer.Option("--input", help="Height x width, like 256x192.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The ONNX file to write; its spec goes beside it.", show_default=False)],
    color: Annotated[Literal["rgb", "bgr"], typer.Option(help="Channel order it was trained with.")] = "rgb",
    padding: Annotated[float, typer.Option(help="Of the person's box, as it was trained.")] = 1.25,
    affine: Annotated[Literal["classic", "udp"], typer.Option(help="Of its crops, as it was trained.")] = "classic",
) -> None:
    """A published checkpoint as a teacher: ONNX of any batch size, checked against torch. Needs no package of its makers.

    Colour, padding and affine are MMPose's published ones unless you say otherwise; `pipeline teacher check` tries the others.
    """
    from stages import import_teacher

    training = import_teacher.Training(color, padding, affine)
    import_teacher.run(checkpoint, arch, skeleton, import_teacher.parse_input(input_size), out, training)


@teacher.command("check")
def teacher_check(
    teacher: TeacherName,
    device: DeviceOption = "auto",
    people: Annotated[int, typer.Option(min=1, help="On about so many annotated people of its own dataset.")] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass, where the file takes any.")] = 64,
) -> None:
    """What the file is, how well it does, and whether another reading of it (colours, scale, left and right) does better."""
    from stages import check
    from stages.params import load_params

    check.run(load_params(), teacher, device, people, batch)


@teacher.command("spec")
def teacher_spec(path: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)]) -> None:
    """The entry for params.yaml that an ONNX file suggests, and what its maker has to be asked."""
    from stages import propose

    propose.run(path)


@cache.command("info")
def cache_info(path: StorePath) -> None:
    """What a store holds and what it was made from."""
    from stages import inspect

    inspect.info(path)


@cache.command("verify")
def cache_verify(path: StorePath) -> None:
    """Check every file of a store against its manifest; exit 1 if anything is damaged, missing, swapped or foreign."""
    from stages import inspect

    inspect.verify(path)


@cache.command("stats")
def cache_stats(
    path: StorePath,
    as_json: Annotated[bool, typer.Option("--json", help="All numbers and ids as JSON.")] = False,
) -> None:
    """Confidence, error against the labels and against other teachers per keypoint; people whose labels both teachers contradict."""
    from stages import stats

    stats.run(path, as_json)


@experiment.command("run")
def experiment_run(
    arm: Annotated[str, typer.Argument(help="An arm of experiments/arms.yaml.", show_default=False)],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Only this seed; by default all of the file's.", show_default=False)
    ] = None,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
) -> None:
    """Train one arm and score it: data/experiment/ARM-SEED."""
    from stages.experiment import run
    from stages.params import load_params

    run.run(load_params(), arm, seed, device, resume)


@experiment.command("table")
def experiment_table() -> None:
    """All runs as tables (Markdown, CSV) and plots in results/experiment, with mean and spread over the seeds."""
    from stages.experiment import table
    from stages.params import load_params

    table.run(load_params())


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
