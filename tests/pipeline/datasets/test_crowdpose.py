import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.common.errors import UserError
from pipeline.datasets.crowdpose import read_crowdpose
from pipeline.pose.skeletons import AIC14, CROWDPOSE14


def test_labels_are_what_v_says_and_the_area_is_a_share_of_the_box(fourteen_document, write_json):
    people = read_crowdpose(write_json(fourteen_document(CROWDPOSE14)))
    assert people.skeleton == CROWDPOSE14 and people.person.tolist() == [100, 101]
    assert np.flatnonzero(people.labelled[0]).tolist() == [0, 1, 13]  # `num_keypoints` says 1, of v = 2 alone
    assert people.keypoints[0, CROWDPOSE14.index("upper_neck")].tolist() == [15, 5]
    assert people.area == pytest.approx([0.53 * 1200, 0.53 * 72])
    assert people.use.tolist() == [True, False]


def test_another_order_is_read_by_name(fourteen_document, write_json):
    people = read_crowdpose(write_json(fourteen_document(AIC14)))
    assert people.keypoints[0, CROWDPOSE14.index("right_elbow")].tolist() == [30.5, 40.25]


def test_another_skeleton_is_refused(coco_document, write_json):
    with pytest.raises(UserError, match=r"file.json: categories 0: expected the 14 keypoints of crowdpose14, found 17"):
        read_crowdpose(write_json(coco_document))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_annotations_are_read_or_refused(fourteen_document, write_json, damage, data):
    path = write_json(data.draw(damage(fourteen_document(CROWDPOSE14))))
    try:
        people = read_crowdpose(path)
    except UserError as error:
        assert "file.json" in str(error) and "\n" not in str(error)
    else:
        assert np.isfinite(people.keypoints).all() and np.isfinite(people.area).all()
        assert len(set(people.person.tolist())) == len(people)


def test_the_real_sample(real):
    people = read_crowdpose(real / "crowdpose" / "test_crowdpose.json")
    assert (len(people), people.use.sum(), len(np.unique(people.image))) == (5, 4, 2)
    assert people.labelled.sum(axis=1).tolist() == [7, 0, 12, 14, 14]  # v > 0 in the file, counted by hand
    assert people.area[0] == pytest.approx(0.53 * 273.15 * 352.42)
    assert people.keypoints[0, CROWDPOSE14.index("head_top")].tolist() == [256, 27]
