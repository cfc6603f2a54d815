"""The spec of the teacher that wrote a store, from what the store says alone."""

from dataclasses import replace

from cache.targets import TargetStore
from pipeline.pose.own_skeletons import skeleton_from
from pipeline.pose.spec import NetworkSpec, parse_spec


def stored_spec(store: TargetStore) -> NetworkSpec:
    """Return what the teacher took and gave, with the partners of its skeleton; UserError where the store does not say it."""
    values, where = store.fingerprint["spec"], f"{store.path}: spec"
    skeleton = skeleton_from(values["skeleton"], store.fingerprint["keypoints"], where)
    partners = store.fingerprint.get("mirror") or {}
    return parse_spec(values, where, replace(skeleton, own_mirror=tuple(partners.items())))
