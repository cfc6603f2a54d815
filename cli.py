"""The `pipeline` command: parses the arguments, runs one stage, and turns an error into one line and an exit code.

Heavy imports are made in the commands that need them, so that `--help` is fast.
"""

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from stages.project.project import Project

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Pose Fusion trains one 2-D human pose student from the teachers of several datasets. Each teacher runs on every image once.",
    epilog="`dvc repro` runs data sample, prepare, crops, teach, distill, evaluate, export and report. Settings are in params.yaml.",
)
data = typer.Typer(no_args_is_help=True, help="Draw the built-in sample, or fetch a published dataset.")
teacher = typer.Typer(
    no_args_is_help=True, help="Fetch and import teachers, and check them before the long run of `teach`."
)
detector = typer.Typer(no_args_is_help=True, help="Fetch a published person detector for `predict`.")
cache = typer.Typer(no_args_is_help=True, help="Inspect stores of targets and crops.")
experiment = typer.Typer(
    no_args_is_help=True,
    help="Run the comparison of experiments/arms.yaml: what distillation gains, and what it costs.",
)
app.add_typer(data, name="data")
app.add_typer(teacher, name="teacher")
app.add_typer(detector, name="detector")
app.add_typer(cache, name="cache")
app.add_typer(experiment, name="experiment")

INTERRUPTED = 130
"""Exit code of Typer after Ctrl-C."""

Device = Literal["auto", "cuda", "cpu"]
Split = Literal["train", "validation", "test"]
TeacherName = Annotated[str, typer.Option(help="Name of a teacher in params.yaml.", show_default=False)]
DeviceOption = Annotated[
    Device,
    typer.Option(help="Device of the networks. `auto` is CUDA if it works, and else the CPU; a line tells which."),
]
MirrorOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Another address to download from, with the same paths as the original. The files are checked against the same hashes.",
        show_default=False,
    ),
]
StorePath = Annotated[
    str,
    typer.Argument(
        help="Path of a store, like data/targets/coco/coco-train.zarr, data/crops/coco.zarr or s3://...",
        show_default=False,
    ),
]
ResumeOption = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue from the checkpoint even if settings, inputs or code have changed. Network, number of steps, learning rate "
        "and weight decay must be the same.",
    ),
]


def _project() -> "Project":
    """Read params.yaml."""
    from stages.project.project import load_project

    return load_project()


def _seeds(text: str | None) -> list[int]:
    """Return the numbers of a list such as 0,1,2; none without a text."""
    numbers = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(part.isdecimal() and int(part) < 2**63 for part in numbers):
        raise typer.BadParameter(f"expected whole numbers with commas between them, such as 0,1,2, found {text!r}")
    return [int(part) for part in numbers]


def _renamed(name: str) -> Any:
    """Return a hidden option that stands for an old name: whoever gives it gets an error with the new name."""

    def refuse(value: str | None) -> None:
        if value is not None:
            raise typer.BadParameter(f"this option is now called {name}")

    return typer.Option(hidden=True, callback=refuse, show_default=False)


@app.callback()
def main_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Set the options that all commands have."""
    if debug:
        os.environ["POSE_FUSION_DEBUG"] = "1"


@data.command("sample")
def data_sample() -> None:
    """Draw the built-in sample: small people in the file formats of COCO, MPII and Halpe."""
    from stages import sample

    settings = _project().section("sample", sample.SampleSettings)
    sample.run(settings)
    sample.record(settings)


@data.command("fetch")
def data_fetch(
    name: Annotated[Literal["coco", "mpii", "halpe"], typer.Argument(help="Name of the dataset.", show_default=False)],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the archives in data/downloads after unpacking.")] = False,
    mirror: MirrorOption = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="For coco: fetch only the images that this text file lists, a line like val2017/000000000139.jpg each, and the "
            "annotations.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Download and unpack a published dataset to the folders that params/coco-mpii.yaml expects. Resumes where it stopped.

    COCO is a download of 20 GB and MPII of 13 GB, and takes twice that while it is unpacked. Archives that you have downloaded
    manually belong into data/downloads. A folder of images that you have put in place yourself is treated as complete if an empty
    file FOLDER.fetched lies beside it. Halpe's annotations must be downloaded manually: the command prints where, and exits with 1.
    """
    from stages.fetch.datasets import fetch_dataset

    fetch_dataset(name, keep=keep, mirror=mirror, images=images)


@app.command()
def link(
    dataset: Annotated[str | None, typer.Option(help="Link only this dataset's files.", show_default=False)] = None,
) -> None:
    """Make data/annotations: links to the annotation files that params.yaml names, through which DVC tracks them."""
    from stages import link

    link.run(_project(), dataset)


@app.command()
def init(
    coco: Annotated[
        Path | None,
        typer.Option(
            help="Folder with COCO's annotation files, in it or in annotations/, and images.", show_default=False
        ),
    ] = None,
    mpii: Annotated[
        Path | None, typer.Option(help="The same of MPII: mpii_train.json, mpii_val.json, ...", show_default=False)
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE",
            help="A teacher's ONNX file, like coco=models/coco.onnx; NAME is its dataset's, or another. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a params.yaml that exists.")] = False,
) -> None:
    """Write params.yaml from folders of datasets and teachers' ONNX files. What a file does not tell is a comment in it.

    pipeline init --coco data/coco --mpii data/mpii --teacher coco=coco.onnx --teacher mpii=mpii.onnx
    """
    from stages import init

    teachers = dict(each.partition("=")[::2] for each in teacher or ())
    if not all(name and file for name, file in teachers.items()) or len(teachers) < len(teacher or ()):
        raise typer.BadParameter("--teacher is NAME=FILE, each name once")
    folders = {name: folder for name, folder in (("coco", coco), ("mpii", mpii)) if folder}
    init.run(folders, {name: Path(file) for name, file in teachers.items()}, force)


@app.command()
def prepare(
    dataset: Annotated[str | None, typer.Option(help="Prepare only this dataset.", show_default=False)] = None,
) -> None:
    """Read annotation files into tables of people and views, and write the split and the image manifest."""
    from stages import prepare

    prepare.run(_project(), dataset)


@app.command()
def crops() -> None:
    """Cut the region of each person's views out of the images, as a JPEG, so that distillation opens no image file. Resumes by itself."""
    from stages import crops

    crops.run(_project())


@app.command()
def fit(teacher: TeacherName, device: DeviceOption = "auto", resume: ResumeOption = False) -> None:
    """Train a teacher on its own dataset's labels and export it to ONNX: for the sample, or where you have no teacher yet."""
    from stages import fit

    fit.run(_project(), teacher, device, resume)


@app.command()
def teach(
    teacher: TeacherName,
    device: DeviceOption = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass, if the file accepts any number.")] = 64,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print how many crops, hours and gigabytes it takes.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            help="Score the teacher on some people of its own dataset first, and stop if the score is far too low."
        ),
    ] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Run on the workers of a dask.distributed cluster, tcp://HOST:PORT. --device is then that of the workers.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Stage one: run the teacher once on every person in every view, and store its heatmaps. Resumes by itself."""
    from stages.teach import run as teach

    teach.run(_project(), teacher, device, batch, dry_run, check, scheduler=scheduler)


@app.command()
def calibrate(
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Keypoints with a lower score do not count.")] = 0.2,
    floor: Annotated[str | None, _renamed("--min-score")] = None,
) -> None:
    """Measure each teacher's offset from each dataset's labels: the difference between the datasets' conventions."""
    from stages.distill import calibrate

    calibrate.run(_project(), min_score)


@app.command()
def distill(
    student: Annotated[
        str | None,
        typer.Option(
            help="Name of a student or baseline in params.yaml; by default the first student.", show_default=False
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Seeds to train it with, as 0,1,2; by default `distill.seeds` of params.yaml, or its `seed`. `evaluate` then tells "
            "mean and deviation.",
            show_default=False,
        ),
    ] = None,
    device: DeviceOption = "auto",
    resume: ResumeOption = False,
) -> None:
    """Stage two: train the student from the stores and the labels. Continues from its checkpoint after an interruption."""
    from stages.distill import run as distill

    distill.run(_project(), student, device, resume, seeds=_seeds(seeds))


@app.command()
def evaluate(
    student: Annotated[
        str | None, typer.Option(help="Score only this student, and the teachers.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Score only this model: an ONNX file, a student's folder, or the name of a student or teacher.",
            show_default=False,
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score a file of predictions: COCO results (a .json list of image_id, category_id, keypoints, score) "
            "or MPII preds (.mat, .h5).",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="With --model or --predictions: DATASET or DATASET:SPLIT to score on. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(help="With --model: another model to compare with, image by image.", show_default=False),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the output for the mirrored crop. Does not change results/.")
    ] = False,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="With --model or --predictions: JSON file to write the numbers to.", show_default=False),
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="CSV file to write every number to, a row each.", show_default=False)
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(help="LaTeX file to write the table to, with booktabs' rules.", show_default=False)
    ] = None,
) -> None:
    """Score students and teachers by COCO AP, MPII PCKh and Halpe AP, and write results/ and all poses.

    With --student it only prints the table. With --model or --predictions it scores any model or predictions file on any dataset;
    keypoints are matched by name.

        pipeline evaluate --model student.onnx --data coco --data mpii:validation --flip

        pipeline evaluate --predictions theirs.json --data coco
    """
    if sum(option is not None for option in (student, model, predictions)) > 1:
        raise typer.BadParameter("give one of --student, --model and --predictions")
    if predictions and len(data or []) != 1:
        raise typer.BadParameter("--predictions needs exactly one --data")
    if (data or out) and not (model or predictions):
        raise typer.BadParameter("--data and --out need --model or --predictions")
    if against and not model:
        raise typer.BadParameter("--against needs --model")

    if predictions and data:
        from stages.evaluate import score_predictions

        score_predictions.run(_project(), predictions, data[0], out, csv=csv, latex=latex)
    elif model:
        from stages.evaluate import score_model

        score_model.run(_project(), model, data or (), against, flip, device, out, csv=csv, latex=latex)
    else:
        from stages.evaluate import run as evaluate

        evaluate.run(_project(), student, device, flip=flip, csv=csv, latex=latex)


@app.command()
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two or more models: ONNX files, students' folders, names of students or teachers. The first is the reference.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="DATASET or DATASET:SPLIT; by default all test parts. Can be given several times.", show_default=False
        ),
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Average with the output for the mirrored crop.")] = False,
    device: DeviceOption = "auto",
    csv: Annotated[Path | None, typer.Option(help="CSV file to write the differences to.", show_default=False)] = None,
) -> None:
    """Compare models with the first one, by each score and by each keypoint, with intervals that are paired over the test images.

    pipeline compare unified joint coco-only --data mpii
    """
    from stages.evaluate import compare

    compare.run(_project(), models, data or (), flip, device, csv)


@app.command()
def report() -> None:
    """Write one HTML page with the scores, curves, best and worst people, teachers' maps, and what was run. It needs no network."""
    from stages.report import run as report

    report.run(_project())


@app.command()
def export(
    student: Annotated[
        str | None,
        typer.Option(
            help="Name of a trained student, or its folder; by default the first student.", show_default=False
        ),
    ] = None,
    target: Annotated[
        Literal["onnx", "rtmlib"], typer.Option("--for", help="`rtmlib` is the form that rtmlib's RTMPose class runs.")
    ] = "onnx",
    precision: Annotated[
        Literal["float32", "float16", "int8"],
        typer.Option(help="Number format of the network. int8 is calibrated on training people."),
    ] = "float32",
    out: Annotated[
        Path | None, typer.Option(help="ONNX file to write; by default data/exported/NAME.onnx.", show_default=False)
    ] = None,
) -> None:
    """Export a student as ONNX for any batch size, check it against torch on real crops, and write its model card beside it."""
    from stages.export import run as export

    export.run(_project(), student, out, target=target, precision=precision)


@app.command()
def show(
    person: Annotated[int, typer.Argument(help="Id of the person in its dataset.")],
    dataset: Annotated[
        str | None, typer.Option(help="Dataset of the person, if several have that id.", show_default=False)
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="Split of the person, if several have that id.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Image file to write; by default show-DATASET-PERSON.png.", show_default=False)
    ] = None,
) -> None:
    """Draw one person's views with the labels and the teachers' maps in one image."""
    from stages import show

    show.run(_project(), person, dataset, out, split=split)


@app.command()
def predict(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Images, videos, or folders of them, with all folders inside.", show_default=False),
    ],
    student: Annotated[Path, typer.Option(help="ONNX file that `pipeline export` wrote.", show_default=False)],
    out: Annotated[
        Path, typer.Option(help="Folder to write. That of an earlier run is replaced, any other is refused.")
    ] = Path("predictions"),
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Boxes of the people: COCO annotations, matched by the end of the path, or COCO detections, matched by the number "
            "at the end of the name.",
            show_default=False,
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            help="Detector that finds the people instead: an RTMDet or YOLOX ONNX file, as rtmlib uses; by default the one that "
            "`pipeline detector fetch` has brought.",
            show_default=False,
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Take each image as the box of one person: for images cut around people.")
    ] = False,
    detector_kind: Annotated[
        Literal["auto", "rtmdet", "yolox"],
        typer.Option(
            help="Family of the detector, which decides its input statistics. `auto` finds out; a line tells which."
        ),
    ] = "auto",
    person_label: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The detector's label of people, by default 0; with --boxes their category, by default the one that the file states.",
            show_default=False,
        ),
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Boxes with a lower score are left out.")] = 0.3,
    confidence: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Keypoints with a higher confidence are drawn and have v = 2; others have v = 1."
        ),
    ] = 0.2,
    device: DeviceOption = "auto",
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass.")] = 64,
) -> None:
    """Predict the poses in your own images and videos, draw them, and write them as COCO JSON with all keypoints of the student.

    People are found by the detector of `pipeline detector fetch`, unless --detector, --boxes or --whole says otherwise. A file that
    cannot be used is a warning on stderr, and the others are predicted. The output folder appears at the end, complete.

        pipeline predict holiday/ --student student.onnx

    predictions.json has a score per person and, beside x, y and v, the `keypoint_confidences`. A video is drawn as .mp4, and
    its frames are images with names like clip.mp4/000012.
    """
    from stages.predict import run as predict

    options = predict.PredictOptions(
        boxes, detector, detector_kind, score, confidence, device, batch, person_label, whole
    )
    predict.run(paths, student, out, options)


@app.command()
def label(
    dataset: Annotated[str, typer.Option(help="Name of a dataset in params.yaml.", show_default=False)],
    split: Annotated[Literal["train", "validation"], typer.Option(help="Split that teachers have run on.")] = "train",
    student: Annotated[
        str | None, typer.Option(help="Name of a trained student that predicts as well.", show_default=False)
    ] = None,
    confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Keypoints of networks with a higher confidence count.")
    ] = 0.4,
    worst: Annotated[int, typer.Option(min=0, max=200, help="Number of people with suspicious labels to draw.")] = 24,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write to; by default data/labels/DATASET-SPLIT.", show_default=False),
    ] = None,
) -> None:
    """Write a dataset in the full skeleton as COCO JSON, filled from the teachers' stores, and a list of labels that look wrong."""
    from stages import label

    label.run(_project(), dataset, split, label.LabelOptions(out, student, confidence, worst, device))


@app.command()
def validate() -> None:
    """Refuse a params.yaml with unknown sections, names that a shell or a path would read as something else, and links that DVC refuses.

    `dvc repro` runs it before every stage whose command contains such a name. The values of a section are checked by its stage.
    """

    from stages.project.linked_folders import refuse_links_out_of_git

    refuse_links_out_of_git()
    _project().check()


@app.command()
def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(help="DVC stages to run, and no others; by default all of dvc.yaml.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Stages at a time; by default one per core.", show_default=False),
    ] = None,
) -> None:
    """Run what `dvc repro` runs, stages that do not need each other side by side, and tell what is done and how long the rest takes.

    Each stage's output goes to a file in data/logs.

        pipeline repro

        pipeline repro baseline@joint distill@unified --jobs 2
    """
    from stages.repro import run as repro

    _project()  # so that an error in params.yaml is told as other commands tell it: DVC knows its keys alone
    repro.run(targets or (), jobs)


@app.command()
def doctor() -> None:
    """Report versions, devices that really work, free disk space, and which data, teachers and students of params.yaml exist."""
    from stages.doctor import run as doctor

    doctor.run()


@teacher.command("fetch")
def teacher_fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a checkpoint, like `rtmpose-m-mpii`. Without it the command lists all.", show_default=False
        ),
    ] = None,
    mirror: MirrorOption = None,
) -> None:
    """Fetch a published checkpoint into data/published, check its hash, and print the next command or the settings for it."""
    from stages.fetch.checkpoints import fetch_checkpoint, list_checkpoints

    if name is None:
        print(list_checkpoints())
    else:
        fetch_checkpoint(name, mirror=mirror)


@teacher.command("import")
def teacher_import(
    checkpoint: Annotated[Path, typer.Argument(help="MMPose .pth file.", show_default=False)],
    arch: Annotated[
        Literal[
            "rtmpose-t", "rtmpose-s", "rtmpose-m", "rtmpose-l", "hrnet-w32", "hrnet-w48", "resnet-50", "resnet-101"
        ],
        typer.Option(help="Architecture of the checkpoint.", show_default=False),
    ],
    skeleton: Annotated[
        str,
        typer.Option(
            help="Skeleton it predicts: coco17, mpii16, halpe26, aic14, crowdpose14, or one of params.yaml.",
            show_default=False,
        ),
    ],
    input_size: Annotated[
        str, typer.Option("--input", help="Height and width of its input, like 256x192.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="ONNX file to write. The spec is written beside it.", show_default=False)],
    color: Annotated[Literal["rgb", "bgr"], typer.Option(help="Channel order that it was trained with.")] = "rgb",
    padding: Annotated[
        float, typer.Option(help="Side of its crops in sides of the person's box, as it was trained.")
    ] = 1.25,
    affine: Annotated[
        Literal["classic", "udp"], typer.Option(help="Geometry of its crops, as it was trained.")
    ] = "classic",
) -> None:
    """Convert a published checkpoint to a teacher: ONNX for any batch size, checked against torch. MMPose need not be installed.

    Without options, colour, padding and affine are those that MMPose published. `pipeline teacher check` tries the others.
    """
    from stages import teacher_import as import_teacher

    training = import_teacher.InputSettings(color, padding, affine)
    import_teacher.run(checkpoint, arch, skeleton, import_teacher.parse_input(input_size), out, training)


@teacher.command("check")
def teacher_check(
    teacher: TeacherName,
    device: DeviceOption = "auto",
    people: Annotated[
        int, typer.Option(min=1, help="About how many annotated people of its own dataset to score it on.")
    ] = 200,
    batch: Annotated[int, typer.Option(min=1, help="Crops per forward pass, if the file accepts any number.")] = 64,
) -> None:
    """Describe the file, score it, and test whether another spec (colours, scale, left and right) scores better."""
    from stages.teach import check

    check.run(_project(), teacher, device, people, batch)


@teacher.command("spec")
def teacher_spec(
    path: Annotated[Path, typer.Argument(help="ONNX file of a network.", show_default=False)],
    write: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Write the entry into params.yaml as the teacher NAME; what is uncertain gets a comment.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Propose an entry for params.yaml from an ONNX file, and list what only its authors know."""
    from stages import teacher_spec as spec

    if write is None:
        spec.run(path)
    else:
        spec.write(path, write)


@detector.command("fetch")
def detector_fetch(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Name of a detector, like `rtmdet-m`. Without it the command lists all.", show_default=False
        ),
    ] = None,
    mirror: MirrorOption = None,
) -> None:
    """Fetch a person detector into data/detectors, where `predict` finds it. Resumes where it stopped.

    An archive that you have downloaded manually belongs into data/detectors under its own name.
    """
    from stages.fetch.detectors import fetch_detector, list_detectors

    if name is None:
        print(list_detectors())
    else:
        fetch_detector(name, mirror=mirror)


@cache.command("info")
def cache_info(path: StorePath) -> None:
    """Print what a store holds and what it was made from."""
    from stages import store_info

    store_info.info(path)


@cache.command("verify")
def cache_verify(path: StorePath) -> None:
    """Check every file of a store against its manifest; exit with 1 if a file is damaged, missing, exchanged or foreign."""
    from stages import store_info

    store_info.verify(path)


@cache.command("stats")
def cache_stats(
    path: StorePath,
    as_json: Annotated[bool, typer.Option("--json", help="Print all numbers and ids as JSON.")] = False,
) -> None:
    """Print confidence and error of each keypoint against labels and other teachers, and the people whose labels both contradict."""
    from stages import store_stats

    store_stats.run(path, as_json)


ArmName = Annotated[str, typer.Argument(help="Name of an arm in experiments/arms.yaml.", show_default=False)]
SeedOption = Annotated[
    int | None, typer.Option(min=0, help="Run only this seed; by default all seeds of the arm.", show_default=False)
]


@experiment.command("list")
def experiment_list() -> None:
    """Print the arms whose datasets, teachers and views params.yaml has, a line each."""
    from stages.experiment.arms import load_experiment

    print("\n".join(load_experiment().possible(_project())))


@experiment.command("train")
def experiment_train(
    arm: ArmName, seed: SeedOption = None, device: DeviceOption = "auto", resume: ResumeOption = False
) -> None:
    """Train one arm into data/experiment/students/ARM/SEED. What is trained already stays as it is."""
    from stages.experiment import train

    train.run(_project(), arm, seed, device, resume)


@experiment.command("score")
def experiment_score(
    arm: Annotated[str | None, typer.Argument(help="Score only this arm; by default all.", show_default=False)] = None,
    seed: SeedOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Score the trained arms and the teachers into results/experiment, in a folder for each profile. Trains nothing."""
    from stages.experiment.scoring import run as score

    score.run(_project(), arm, seed, device)


@experiment.command("run")
def experiment_run(
    arm: ArmName, seed: SeedOption = None, device: DeviceOption = "auto", resume: ResumeOption = False
) -> None:
    """Train one arm and score it: `experiment train` and `experiment score` in one command."""
    from stages.experiment import train
    from stages.experiment.scoring import run as score

    project = _project()
    train.run(project, arm, seed, device, resume)
    score.run(project, arm, seed, device)


@experiment.command("table")
def experiment_table() -> None:
    """Write all runs as tables (Markdown, CSV) and plots beside their scores, with mean and spread over the seeds."""
    from stages.experiment.tables import run as tables

    tables.run(_project())


def main() -> None:
    """Run the console command."""
    from pipeline.common.errors import UserError
    from pipeline.common.extras import missing_package

    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character shows a question mark; a log file has each line at once.
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    try:
        try:
            app()
        except ModuleNotFoundError as error:
            raise missing_package(error, "this command") from error
    except UserError as error:
        if os.environ.get("POSE_FUSION_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if os.environ.get("POSE_FUSION_DEBUG"):
            raise
        print(
            f"error: {error.filename or 'a file'}: {error.strerror or error}: free some disk space or correct its permissions",
            file=sys.stderr,
        )
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted: run the same command again to continue", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
