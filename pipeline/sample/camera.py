"""Projects a body's metres to image pixels. The centre of the first pixel is (0, 0). Draws nothing."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.sample.body import about_forward, about_left, about_up


@dataclass(frozen=True)
class View:
    """View of a body. Camera axes: x to the image's right, y up, z towards the viewer."""

    camera_from_body: np.ndarray
    """float64 (3, 3) rotation."""
    distance: float
    """Metres from the camera to the pelvis."""
    scale: float
    """Pixels per metre at the pelvis."""
    pelvis: np.ndarray
    """float64 (2,): position of the pelvis in the image."""

    def turned(self, points: np.ndarray) -> np.ndarray:
        """Return body points (N, 3) in camera axes, float (N, 3) in metres from the pelvis."""
        return np.asarray(points) @ self.camera_from_body.T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return pixels (N, 2), pixels per metre (N,) and nearness in metres (N,; larger is nearer) of body points (N, 3)."""
        seen = self.turned(points)
        scale = self.scale * self.distance / (self.distance - seen[:, 2])
        return self.pelvis + seen[:, :2] * (1, -1) * scale[:, None], scale, seen[:, 2]

    def moved(self, shift: np.ndarray) -> "View":
        """Return the same view with the body moved by `shift` pixels."""
        return replace(self, pelvis=self.pelvis + shift)


def look_at(yaw: float, pitch: float, roll: float, distance: float, scale: float) -> View:
    """Return a view with angles in degrees and the pelvis at (0, 0). Yaw 0 faces the camera, 90 the image's right; a positive pitch looks
    down, a positive roll turns the image counter-clockwise."""
    return View(about_forward(roll) @ about_left(pitch) @ about_up(yaw), distance, scale, np.zeros(2))


def image_from_level(roll: float, size: int, level_size: int) -> np.ndarray:
    """Return the affine (2, 3) from a level image's pixels to those of the image rolled by `roll` degrees about its centre."""
    rotation = about_forward(-roll)[:2, :2]
    image_centre, level_centre = np.full(2, (size - 1) / 2), np.full(2, (level_size - 1) / 2)
    return np.column_stack((rotation, image_centre - rotation @ level_centre))
