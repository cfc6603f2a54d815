"""The published person detectors that `detector fetch` offers: where they lie, what they were trained on."""

from dataclasses import dataclass

ONNX_URL = "https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/onnx_sdk/"
COCO_OBJECTS365, HUMAN_ART = "people of COCO and Objects365", "people of COCO and Human-Art"


@dataclass(frozen=True)
class PublishedDetector:
    """A detector as an ONNX file in an archive of its maker, the one that rtmlib downloads."""

    name: str
    """Name for `pipeline detector fetch`."""
    address: str
    input: tuple[int, int]
    """Height and width in pixels."""
    training: str
    """What it was trained on."""
    sha256: str = ""
    """Hex digest of the ONNX file; empty where none is known. The digits in an archive's name are those of the checkpoint that the file
    was exported from. A zip archive has a checksum of each of its files in any case."""

    @property
    def archive(self) -> str:
        """Name of the archive, from its address."""
        return self.address.rsplit("/", 1)[1]

    @property
    def file(self) -> str:
        """Name of the detector's file on disk; in the archive it is ONNX_FILE."""
        return f"{self.name}.onnx"

    @property
    def terms(self) -> str:
        """Terms of use of the weights and of the data they were trained on."""
        return f"weights by MMPose, Apache-2.0, trained on {self.training}; see their terms"


ONNX_FILE = "end2end.onnx"
"""Name of the detector in every archive."""


def _rtmdet(size: str, file: str, side: int, sha256: str = "") -> PublishedDetector:
    return PublishedDetector(f"rtmdet-{size}", ONNX_URL + file, (side, side), COCO_OBJECTS365, sha256)


def _yolox(size: str, digits: str, side: int) -> PublishedDetector:
    address = f"{ONNX_URL}yolox_{size}_8xb8-300e_humanart-{digits}.zip"
    return PublishedDetector(f"yolox-{size}", address, (side, side), HUMAN_ART)


DETECTORS = (
    _rtmdet("m", "rtmdet_m_8xb32-100e_coco-obj365-person-235e8209.zip", 640),
    _yolox("x", "a39d44ed", 640),
    _yolox("l", "ce1d7a62", 640),
    _yolox("m", "c2c7a14a", 640),
    _yolox("s", "3ef259a7", 640),
    _yolox("tiny", "6f3252f9", 416),
    _yolox("nano", "40f6f0d0", 416),
    _rtmdet(
        "nano",
        "rtmdet_nano_8xb32-100e_coco-obj365-person-05d8511e.zip",
        320,
        # as several projects have recorded it that use the file
        "8297e829ccc5590c8e2d32d5a211f322a0585fb7467eec85eb12c9525b0b95d6",
    ),
)
"""The one for most uses first; of several fetched ones `predict` takes the first."""
