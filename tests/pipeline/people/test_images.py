import struct

import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.datasets.coco import read_coco
from pipeline.people.images import image_size, is_turned_by_exif, read_image, safe_path
from tests.fixtures import with_orientation


def encoded(image, kind=".png"):
    return cv2.imencode(kind, image)[1].tobytes()


@pytest.fixture
def put(tmp_path):
    def write(data, name="image"):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    return write


@pytest.fixture
def gradient():
    """Width 48, height 32, brighter to the right."""
    return np.repeat(np.linspace(0, 255, 48)[None], 32, axis=0).round().astype(np.uint8)


def test_colours_are_red_green_blue(put):
    blue = np.zeros((4, 6, 3), np.uint8)
    blue[..., 0] = 255  # OpenCV writes BGR
    image = read_image(put(encoded(blue)), (6, 4))
    assert image.dtype == np.uint8 and image.shape == (4, 6, 3)
    assert image[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("kind", ["grey", "alpha", "16-bit", "16-bit grey"])
def test_other_kinds_become_8_bit_rgb(put, gradient, kind):
    image = gradient if "grey" in kind else np.repeat(gradient[..., None], 4 if kind == "alpha" else 3, axis=2)
    image = image.astype(np.uint16) * 257 if "16" in kind else image
    got = read_image(put(encoded(image)), (48, 32))
    assert got.dtype == np.uint8 and got.shape == (32, 48, 3)
    assert np.abs(got.astype(int) - gradient[..., None]).max() <= 1


def test_the_annotated_size_decides_about_orientation(put, gradient):
    path = put(with_orientation(encoded(gradient, ".jpg"), 6))  # 6: turn clockwise to view
    stored = read_image(path, (48, 32))
    assert stored.shape == (32, 48, 3) and stored[16, 47].min() > 200 > 50 > stored[16, 0].max()
    turned = read_image(path, (32, 48))
    assert turned.shape == (48, 32, 3) and turned[47, 16].min() > 200 > 50 > turned[0, 16].max()
    for wh in (None, (0, 0), np.zeros(2, np.int32)):
        assert np.array_equal(read_image(path, wh), turned)
    with pytest.raises(UserError, match=r"image: expected an image of 40 x 32 pixels, as annotated, found 48 x 32"):
        read_image(path, (40, 32))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("wh", [(48, 32), (32, 32)])
def test_exif_decides_as_in_opencv_wherever_the_size_does_not(put, gradient, orientation, wh):
    """The size of the image as shown, as measured and none at all read it as `imread` does; another one as it is stored."""
    stored = np.minimum(gradient, np.linspace(100, 255, 32).astype(np.uint8)[:, None])[: wh[1], : wh[0]]
    path = put(with_orientation(encoded(stored, ".jpg"), orientation))
    shown = cv2.imread(str(path))[..., ::-1]
    for stated in (None, (0, 0), shown.shape[1::-1], image_size(path)):
        np.testing.assert_array_equal(read_image(path, stated), shown)
    assert is_turned_by_exif(path) == (orientation > 4)
    if orientation > 4 and wh[0] != wh[1]:
        np.testing.assert_array_equal(
            read_image(path, wh), cv2.imread(str(path), cv2.IMREAD_IGNORE_ORIENTATION | 1)[..., ::-1]
        )


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_size_from_the_header_is_that_of_the_image(put, gradient, kind):
    assert image_size(put(encoded(gradient, kind))) == (48, 32)
    assert image_size(put(encoded(gradient.T.copy(), ".bmp"))) == (32, 48)


def test_size_with_exif_is_the_turned_one(put, gradient):
    path = put(with_orientation(encoded(gradient, ".jpg"), 8))
    assert image_size(path) == (32, 48) == read_image(path).shape[1::-1]


def test_a_jpeg_cut_short_is_refused_whatever_end_its_thumbnail_has(put):
    noise = np.random.default_rng(0).integers(0, 256, (64, 96), dtype=np.uint8)
    thumbnail = with_orientation(encoded(noise, ".jpg"), 1, thumbnail=encoded(noise[:8, :8], ".jpg"))
    short = thumbnail[: len(thumbnail) * 3 // 4]
    with pytest.raises(UserError, match=r"image: expected a complete image, found \d+ bytes without its end"):
        read_image(put(short), (96, 64))
    assert read_image(put(thumbnail), (96, 64)).shape == (64, 96, 3)


def test_broken_files_are_errors_that_name_them(put, gradient, tmp_path):
    jpeg, png = encoded(gradient, ".jpg"), encoded(gradient)
    files = {
        "empty": b"",
        "text": b"hello",
        "short jpeg": jpeg[: len(jpeg) * 2 // 3],
        "jpeg header": jpeg[:20],
        "two bytes": jpeg[:2],
        "short png": png[: len(png) - 20],
        "png signature": png[:8],
    }
    for name, data in files.items():
        path = put(data, name)
        for read in (lambda p: read_image(p, (48, 32)), read_image):
            with pytest.raises(UserError, match=f"{name}: expected .* found"):
                read(path)
    assert read_image(put(jpeg + b"trailing garbage"), (48, 32)).shape == (32, 48, 3)
    with pytest.raises(UserError, match="none: expected a readable file"):
        read_image(tmp_path / "none")
    with pytest.raises(UserError, match="readable"):
        read_image(tmp_path)


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_size_of_any_prefix_is_known_or_refused(put, gradient, kind):
    data = encoded(gradient, kind)
    for length in range(0, len(data), 7):
        try:
            assert image_size(put(data[:length])) == (48, 32)
        except UserError as error:
            assert "image" in str(error)


def test_paths_stay_in_the_folder(tmp_path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    assert safe_path(folder, "sub/a.jpg") == folder / "sub" / "a.jpg"
    for name in ("/a.jpg", "../secret.jpg", "sub/../../secret.jpg", "", ".", "a\0"):
        with pytest.raises(UserError, match="images: expected"):
            safe_path(folder, name)
    (tmp_path / "short").symlink_to(folder)
    assert safe_path(tmp_path / "short", "a.jpg") == tmp_path / "short" / "a.jpg"


def test_the_real_images(real):
    people = read_coco(real / "coco" / "person_keypoints.json")
    for name, wh in dict(zip(people.image.tolist(), people.image_wh.tolist(), strict=True)).items():
        path = safe_path(real / "coco" / "images", name)
        assert read_image(path, wh).shape[1::-1] == tuple(wh) == image_size(path)


@pytest.mark.parametrize(("width", "height"), [(16_385, 16_384), (2**31 - 1, 1)])
def test_an_image_that_would_fill_the_memory_is_refused_unread(put, width, height):
    """The header alone is looked at: nothing that follows is an image."""
    ihdr = struct.pack(">I", 13) + b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0) + bytes(4)
    path = put(b"\x89PNG\r\n\x1a\n" + ihdr + bytes(4) + b"IEND" + bytes(4))
    for read in (read_image, image_size):
        with pytest.raises(
            UserError, match=f"expected an image of at most 268,435,456 pixels, found {width} x {height}"
        ):
            read(path)


def test_images_may_be_links_out_of_their_folder(tmp_path, gradient):
    """As `dvc add` makes them with links into its cache, as git-annex and the caches of model hubs do."""
    (tmp_path / "images").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/1f").write_bytes(encoded(gradient))
    (tmp_path / "images/a.png").symlink_to("../cache/1f")
    (tmp_path / "images/all").symlink_to(tmp_path / "cache")
    (tmp_path / "images/loop.png").symlink_to("loop.png")
    for name in ("a.png", "all/1f"):
        assert read_image(safe_path(tmp_path / "images", name), (48, 32)).shape == (32, 48, 3)
    with pytest.raises(
        UserError, match=r"loop\.png: expected a readable file, found Too many levels of symbolic links"
    ):
        read_image(safe_path(tmp_path / "images", "loop.png"))
