import cv2
import numpy as np
import pytest

from pipeline.common.errors import UserError
from pipeline.inference.predict import predict
from pipeline.pose.decode import decode_heatmaps
from tests.pipeline.examples import people, spec

SPEC = spec(input_wh=(48, 64), kind="heatmap_logits", padding=1.5)
EVERYONE = people(9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Black images with a white disc of radius 3 in the middle of each person's box, the last one's above the others'."""
    path = tmp_path_factory.mktemp("pictures")
    for name in set(EVERYONE.image.tolist()):
        image = np.zeros((200, 300, 3), np.uint8)
        for row in np.flatnonzero(EVERYONE.image == name):
            x, y, w, h = EVERYONE.box[row]
            cv2.circle(
                image, (round((x + w / 2) * 16), round((y + h / 2) * 16)), 3 * 16, (255,) * 3, -1, cv2.LINE_AA, 4
            )
        assert cv2.imwrite(str(path / name), image)
    return path


def brightness(crops):
    """A network whose maps show bright places, blurred, near the crop's middle."""
    maps = []
    for image in crops:
        blurred = cv2.GaussianBlur(image[:, :, 0].astype(np.float32) / 255, (0, 0), 3)
        y, x = np.mgrid[:64, :48]
        near = np.exp(-((x - 23.5) ** 2 + (y - 31.5) ** 2) / (2 * 8.0**2))
        maps.append(np.log(blurred * near + 1e-6))
    return (np.repeat(np.stack(maps)[:, None], 17, axis=1).astype(np.float32),)


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_bright_discs_are_found(folder, batch):
    counted = []
    points, scores = predict(brightness, SPEC, EVERYONE, folder, batch, counted.append)
    middle = EVERYONE.box[:, :2] + EVERYONE.box[:, 2:] / 2
    # The disc is drawn at 1/16 of a pixel, the crop interpolates at 1/32, and Newton's parabola is a disc's, not a Gaussian's.
    assert np.abs(points - middle[:, None]).max() < 0.3
    assert ((scores > 0) & (scores <= 1)).all()
    assert (sum(counted), max(counted)) == (9, min(batch, 9))


def test_discs_are_found_by_bins(folder):
    """A SimCC network with Gaussians over bins where the other network's maps have their peaks."""
    simcc = spec(input_wh=(48, 64), kind="simcc", padding=1.5)

    def by_bins(crops):
        points, _ = decode_heatmaps(np.exp(brightness(crops)[0]), "newton")
        distance = [np.arange(count) - 2 * points[..., axis, None] for axis, count in enumerate((96, 128))]
        return tuple(np.exp(-((d / 5) ** 2) / 2).astype(np.float32) for d in distance)

    points, scores = predict(by_bins, simcc, EVERYONE, folder, 4, lambda _: None)
    middle = EVERYONE.box[:, :2] + EVERYONE.box[:, 2:] / 2
    # Half a bin is a quarter of an input pixel, and an input pixel is at most 1.5 x 90 / 47 = 2.9 of the image's.
    assert np.abs(points - middle[:, None]).max() < 0.3 + 2.9 / 4
    assert (scores > 0.99).all()


def test_order_is_the_peoples(folder):
    expected, _ = predict(brightness, SPEC, EVERYONE, folder, 4, lambda _: None)
    order = np.array([8, 0, 5, 3])
    points, _ = predict(brightness, SPEC, EVERYONE.rows(order), folder, 3, lambda _: None)
    assert np.allclose(points, expected[order], atol=1e-9)


def test_nobody(folder):
    points, scores = predict(brightness, SPEC, EVERYONE.rows(np.arange(0)), folder, 4, lambda _: None)
    assert (points.shape, scores.shape) == ((0, 17, 2), (0, 17))


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(UserError, match=r"000\.png"):
        predict(brightness, SPEC, EVERYONE, tmp_path, 4, lambda _: None)
