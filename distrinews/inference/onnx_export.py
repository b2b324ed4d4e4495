"""Make ONNX models from an export, float32 or int8, and keep them beside it.

Promise: a kept model is tied to the weights it was made from by their SHA-256 and to
the way it was made; one that is damaged or of other weights is made again. It exists
completely or not at all.

Not here: the graph (`distrinews.inference.onnx_graph`), running it
(`distrinews.inference.engines`).

Guide: understand/training-and-inference.
"""

from __future__ import annotations

import importlib.util
import logging
import pathlib
import tempfile
from typing import Any

from distrinews.errors import CheckpointError, ModelError, OutputError
from distrinews.inference import bundle, onnx_graph
from distrinews.inference.bundle import Bundle
from distrinews.system import files, machine, manifest

__all__ = ["ENGINES", "check_installed", "ensure", "file_name", "make"]

ENGINES = ("onnx-float32", "onnx-int8")
ORIGIN = "origin.json"
RECIPE = 1  # raise it with any change of what is made: older models are made again


def file_name(engine: str) -> str:
    """Say what an engine's model is called.

    Args:
        engine: A name in `ENGINES`.

    Returns:
        The file's name, in an export as in the cache.

    Examples:
        >>> file_name("onnx-int8")
        'onnx-int8.onnx'
    """
    return f"{engine}.onnx"


def check_installed(*packages: str) -> None:
    """Make sure that optional packages are there.

    Args:
        packages: Their import names.

    Raises:
        ModelError: One is missing.

    Examples:
        >>> check_installed("json")
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"the ONNX engines need {' and '.join(missing)}.",
            why="only torch-float32 works with the base installation.",
            fix='pip install -c constraints.txt -e ".[serve]", in the repository',
            page="engines",
        )


def ensure(
    export: Bundle, engine: str, *, cache: pathlib.Path | str | None = None
) -> pathlib.Path:
    """Find an engine's model: in the export, in the cache, or make it now.

    Args:
        export: The export.
        engine: A name in `ENGINES`.
        cache: Where made models are kept; None: beside the export or, where that
            cannot be written, in the user's cache.

    Returns:
        The ONNX file, verified.

    Raises:
        ModelError: It must be made, and a package is missing or the model is of
            another architecture.
        OutputError: It must be made and cannot be written anywhere.

    Note:
        Cost: making int8 of 23M parameters takes some seconds, once.
    """
    name = file_name(engine)
    if name in export.digests:
        return export.folder / name
    folders = [folder / engine for folder in _caches(export, cache)]
    for folder in folders:
        if _is_intact(folder, export, engine):
            return folder / name
    for folder in folders[:-1]:
        try:
            return _keep(folder, export, engine)
        except OutputError as error:
            logging.getLogger(__name__).info("%s; trying the next place", error.what)
    return _keep(folders[-1], export, engine)


def _caches(export: Bundle, given: pathlib.Path | str | None) -> list[pathlib.Path]:
    """Where made models may lie, first choice first."""
    if given is not None:
        return [pathlib.Path(given)]
    own = machine.cache_folder() / "engines" / export.identity.sha256[:32]
    # WHY not in the Hub's cache: its own tools would call our folder corrupt.
    if export.folder.parent.name == "snapshots":
        return [own]
    return [export.folder.with_name(f"{export.folder.name}-engines"), own]


def _origin(export: Bundle, engine: str) -> dict[str, Any]:
    """What a made model depends on."""
    return {
        "engine": engine,
        "weights_sha256": export.identity.sha256,
        "config_sha256": export.digests[bundle.CONFIG],
        "recipe": RECIPE,
    }


def _is_intact(folder: pathlib.Path, export: Bundle, engine: str) -> bool:
    """Whether a kept model is there, undamaged, and of these weights."""
    try:
        listed = manifest.verify(folder)["files"]
        told = files.read_json(folder / ORIGIN)
    except (CheckpointError, OSError, ValueError):
        return False
    return file_name(engine) in listed and told == _origin(export, engine)


def _keep(folder: pathlib.Path, export: Bundle, engine: str) -> pathlib.Path:
    """Make a model and give it its place."""
    try:
        with files.atomic_folder(folder) as draft:
            make(export, engine, path=draft / file_name(engine))
            files.write_json(draft / ORIGIN, _origin(export, engine))
            manifest.write_manifest(draft)
    except OutputError:
        # Another process may have been faster, and taken the place.
        if not _is_intact(folder, export, engine):
            raise
    return folder / file_name(engine)


def make(export: Bundle, engine: str, *, path: pathlib.Path) -> None:
    """Write an engine's model.

    Args:
        export: The export.
        engine: A name in `ENGINES`.
        path: The file to write.

    Raises:
        ModelError: A package is missing, or the model is of another architecture.
    """
    check_installed("onnx", "onnxruntime")
    import onnx
    from safetensors.numpy import load_file

    config = files.read_json(export.folder / bundle.CONFIG)
    is_known = config.get("model_type") == "distilbert"
    if not is_known or config.get("activation", "gelu") != "gelu":
        raise ModelError(
            f"{export.folder} is a {config.get('model_type')}, not a DistilBERT.",
            why="the ONNX graph is written for DistilBERT only.",
            fix="use the engine torch-float32.",
            page="engines",
        )
    graph = onnx_graph.build(load_file(export.folder / bundle.WEIGHTS), config)
    if engine == "onnx-float32":
        onnx.save(graph, path)
    else:
        _save_int8(graph, path)


def _save_int8(graph: Any, path: pathlib.Path) -> None:
    """Store matrices as int8, one scale a column, and the word vectors as int8.

    Activations get their scale while the model runs, one for each matrix product.
    """
    import onnx
    from onnxruntime import quantization

    # WHY: it advises, on every call, a clean-up that this graph does not need.
    noisy = logging.getLogger()
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = pathlib.Path(folder) / "float32.onnx"
            onnx.save(graph, whole)
            quantization.quantize_dynamic(
                whole,
                path,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Attention", "Gather"],
                per_channel=True,
                # Without it, types behind ONNX Runtime's own operators are unknown.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    finally:
        noisy.setLevel(level)
