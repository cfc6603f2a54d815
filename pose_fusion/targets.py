"""`Targets`: what a teacher gave for each person of a dataset, from a store that `pipeline teach` wrote. Needs no teacher's file."""

import os
from dataclasses import dataclass

import numpy as np

from cache.targets import open_targets
from pipeline.common.errors import UserError
from pipeline.pose.outputs import as_maps, decode_keypoints
from pipeline.pose.spec import NetworkSpec
from stages.stores.pointers import store_named
from stages.stores.stored_spec import stored_spec

REBUILD_COMMAND = "pipeline teach --teacher NAME"


@dataclass(frozen=True)
class PersonTargets:
    """What a teacher gave for one person in V views, for its K keypoints."""

    id: int
    """The person's id in its dataset."""
    keypoints: tuple[str, ...]
    """Names of the keypoints, in the order of the arrays."""
    taught: bool
    """False for a person that the teacher did not run on, as for crowds: all its values are 0."""
    maps: tuple[np.ndarray, ...]
    """Heatmaps, float32 (V, K, H, W), alone; or the distributions of SimCC over bins of x, (V, K, Wx), and of y, (V, K, Hy)."""
    scores: np.ndarray
    """Confidences in 0-1, float32 (V, K)."""
    image_from_target: np.ndarray
    """Affines from pixels of a map, or from bins, to pixels of the image, float64 (V, 2, 3). Centres of first pixels are (0, 0)."""
    positions: np.ndarray
    """The decoded keypoints, x and y in image pixels, float64 (V, K, 2); NaN where there is none."""

    def map(self, keypoint: str, view: int = 0) -> np.ndarray:
        """Return the heatmap of a keypoint in a view, float32 (H, W); of SimCC the product of both distributions. View 0 is plain.

        UserError for a keypoint that the teacher does not know, and for a view that is not stored.
        """
        if keypoint not in self.keypoints:
            raise UserError(f"keypoint {keypoint!r}: expected one of {', '.join(self.keypoints)}")
        if not 0 <= view < len(self.scores):
            raise UserError(f"view {view}: expected one from 0 to {len(self.scores) - 1}")
        k = self.keypoints.index(keypoint)
        return as_maps(tuple(values[view, k : k + 1] for values in self.maps))[0]


class Targets:
    """Open the targets of one teacher for one part of a dataset.

    `store` is a path like data/targets/coco/coco-train.zarr, or an address like s3://bucket/coco/coco-train.zarr. UserError where
    it is not complete.
    """

    def __init__(self, store: str | os.PathLike[str]) -> None:
        location = store_named(os.fspath(store), REBUILD_COMMAND)
        self._store = open_targets(location, REBUILD_COMMAND)
        self.spec: NetworkSpec = stored_spec(self._store)
        """What the teacher takes and gives."""
        self.people: np.ndarray = self._store.store.values("person")
        """Ids of all N people, int64 (N,), in the order of the store's rows and of the people table."""
        self._row = {person: row for row, person in enumerate(self.people.tolist())}

    @property
    def keypoints(self) -> tuple[str, ...]:
        """Names of the teacher's K keypoints, in the order of the arrays."""
        return self.spec.skeleton.keypoints

    @property
    def views(self) -> int:
        """Number of views of each person; view 0 is the plain box."""
        return self._store.layout.views

    def __len__(self) -> int:
        return len(self.people)

    def person(self, id: int) -> PersonTargets:
        """Return the targets of the person of that id; UserError where the store has none."""
        if id not in self._row:
            some = ", ".join(map(str, self.people[:5].tolist()))
            raise UserError(f"{self._store.path}: has no person {id}: some of its {len(self)} people are {some}")
        block = self._store.read(slice(self._row[id], self._row[id] + 1))
        maps = block.maps(0, slice(None))
        return PersonTargets(
            id=int(id),
            keypoints=self.keypoints,
            taught=bool((block.peak[0] > 0).any()),
            maps=maps,
            scores=block.score[0].astype(np.float32),
            image_from_target=block.image_from_target[0],
            positions=decode_keypoints(maps, block.image_from_target[0], self.spec),
        )
