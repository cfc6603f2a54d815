"""ONNX files without a session: the digest of a network's bytes, and its conversion to half precision."""

import hashlib
import shutil
import tempfile
from pathlib import Path

import onnx

from pipeline.common.errors import UserError, one_line


def onnx_digest(path: Path) -> str:
    """Return the sha256 of an ONNX file and of the external data files that it names; UserError if one is missing or malformed."""
    total = hashlib.sha256(path.read_bytes())
    for file in _external_files(path).values():
        total.update(file.read_bytes())
    return total.hexdigest()


def place_to_open(path: Path) -> Path:
    """Return where ONNX Runtime finds the file's external data: at `path`, or where its link leads if the data lie only there."""
    return path if all((path.parent / name).is_file() for name in _external(path)) else path.resolve()


def half_precision(path: Path) -> bytes:
    """Return the network with float16 weights and arithmetic, and with its float32 input and outputs."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        # `onnx` reads no external data through links, of which caches of hubs consist.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "model.onnx"
            shutil.copy(path, copy)
            for name, file in _external_files(path).items():
                (copy.parent / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, copy.parent / name)
            model = onnx.load(copy)
        _own_constants(model)
        return bytes(convert_float_to_float16(model, keep_io_types=True).SerializeToString())
    except Exception as error:
        raise UserError(
            f"{path}: cannot be converted to float16: {one_line(error)}: set its precision to float32"
        ) from error


def _external_files(path: Path) -> dict[str, Path]:
    """Return the real place of each external data file by the name that the ONNX file has for it; UserError if one is not usable.

    As in ONNX Runtime, it lies below the folder of the ONNX file, or below the one where the file's link leads.
    """
    files = {}
    for name in sorted(_external(path)):
        places = dict.fromkeys((path.parent / name, path.resolve().parent / name))
        folders = (path.parent.resolve(), path.resolve().parent)
        try:
            found = next((place.resolve() for place in places if place.is_file()), (path.parent / name).resolve())
            inside = any(found.is_relative_to(folder) for folder in folders)
            exists = found.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = exists = False
        if not inside:
            raise UserError(
                f"{path}: its external data {name!r} lies outside its folder: export it with the weights inside, "
                "or copy both files into one folder"
            )
        if not exists:
            raise UserError(f"{path}: its external data {name!r} is missing: put it there")
        files[name] = found
    return files


def _own_constants(model: onnx.ModelProto) -> None:
    """Give each Resize its own constants: the converter names a cast after its constant, so shared constants would collide."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Resize":
            for position, name in enumerate(node.input):
                if name in constants:
                    copy = model.graph.initializer.add()
                    copy.CopyFrom(constants[name])
                    copy.name = node.input[position] = f"{name}_{number}"


def _external(path: Path) -> set[str]:
    """Return the names of the external data files of the main graph, of graphs inside its nodes, and of its functions."""
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise UserError(
            f"{path}: not a readable ONNX file (truncated, or another format): put it there again"
        ) from error
    if not model.graph.node:
        raise UserError(f"{path}: not an ONNX network, it has no nodes: put it there again")
    tensors, sparse, graphs = [], [], [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        for graph in graphs:
            tensors += graph.initializer
            sparse += graph.sparse_initializer
            nodes += graph.node
        attributes = [attribute for node in nodes for attribute in node.attribute]
        tensors += [tensor for attribute in attributes for tensor in (attribute.t, *attribute.tensors)]
        sparse += [
            tensor for attribute in attributes for tensor in (attribute.sparse_tensor, *attribute.sparse_tensors)
        ]
        graphs = [inner for attribute in attributes for inner in (attribute.g, *attribute.graphs)]
        nodes = []
    tensors += [part for tensor in sparse for part in (tensor.values, tensor.indices)]
    return {
        entry.value
        for tensor in tensors
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
