"""YAML as DVC reads it: version 1.2, by ruamel.yaml. A duplicate key is refused, as one of its values would be lost."""

import io
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, DuplicateKeyError, SafeConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, SequenceNode

from pipeline.common.errors import UserError, one_line

MOST_VALUES = 100_000
"""Values of one file at most, counting those that aliases (`*name`) repeat."""


class Constructor(SafeConstructor):
    """A constructor of plain values. Aliases that would unfold to an enormous value are neither merged nor printed."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            raise DuplicateKeyError(None, None, f'found duplicate key "{key}"', key_node.start_mark)
        return True

    def flatten_mapping(self, node: Any) -> Any:
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            merged = value.value if isinstance(value, SequenceNode) else [value]
            mappings = [node for node in merged if isinstance(node, MappingNode)]
            for mapping in mappings:
                self.flatten_mapping(mapping)
            if sum(len(mapping.value) for mapping in mappings) > MOST_VALUES:
                raise ConstructorError(None, None, f"found more than {MOST_VALUES:,} values to merge", key.start_mark)
        return super().flatten_mapping(node)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the mapping in a file; UserError if it is not readable, not a mapping, or enormous by aliases."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not readable as YAML: expected UTF-8, found other bytes: save it as UTF-8") from error
    except OSError as error:
        raise UserError(
            f"{path}: not readable as YAML: {one_line(error)}: correct it, or copy one from params/"
        ) from error
    return read_yaml_text(text, path)


def read_yaml_text(text: str, path: Path) -> dict[str, Any]:
    """Return the mapping in the text of the file `path`; UserError as `read_yaml`."""
    reader = YAML(typ="safe", pure=True)
    reader.Constructor = Constructor
    try:
        values = reader.load(text)
    except (YAMLError, ValueError, TypeError, LookupError, AssertionError, RecursionError) as error:
        raise UserError(
            f"{path}: not readable as YAML: {one_line(error)}: correct it, or copy one from params/"
        ) from error
    if not isinstance(values, dict):
        raise UserError(
            f"{path}: expected a mapping, found {type(values).__name__}: correct it, or copy one from params/"
        )
    if _count(values, {}) > MOST_VALUES:
        raise UserError(
            f"{path}: expected at most {MOST_VALUES:,} values, found more by aliases (`*name`): write them out, or leave them out"
        )
    return values


def yaml_text(value: object, flow: bool | None = None) -> str:
    """Return a value as YAML, keys in their order. `flow` puts everything on one line, None only innermost lists and mappings."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = flow
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.allow_unicode = True
    writer.width = 100_000
    text = io.StringIO()
    writer.dump(value, text)
    return text.getvalue().removesuffix("...\n")


def _count(value: object, known: dict[int, int]) -> int:
    """Count the values inside, each as often as it would be printed; more than MOST_VALUES if a value contains itself."""
    if id(value) not in known:
        known[id(value)] = MOST_VALUES + 1
        inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
        known[id(value)] = 1 + sum(_count(item, known) for item in inside)
    return known[id(value)]
