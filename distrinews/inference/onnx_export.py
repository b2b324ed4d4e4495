"""Make ONNX models from an export, float32 or int8, and keep them beside it.

Promise: a kept model is tied to the weights it was made from by their SHA-256 and to
the way it was made; one that is damaged or of other weights is made again. It exists
completely or not at all.

Not here: the graph (`distrinews.inference.onnx_graph`), running it
(`distrinews.inference.engines`).

Guide: understand/training-and-inference.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import pathlib
import tempfile
from typing import Any

from distrinews.errors import CheckpointError, ModelError, OutputError
from distrinews.inference import onnx_graph
from distrinews.inference.bundle import CONFIG, WEIGHTS, Bundle
from distrinews.system import files, machine, manifest

__all__ = ["check_installed", "ensure", "file_name", "make", "read"]

ORIGIN = "origin.json"
# Raise it with any change of what is made: older models are made again.
RECIPE_VERSION = 1
# A draft that no process has written to for this long was left by a start that was
# killed; making a model takes seconds.
ABANDONED_S = 300.0


def file_name(engine: str) -> str:
    """Say what an engine's model is called.

    Args:
        engine: "onnx-float32" or "onnx-int8".

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
    bundle: Bundle, engine: str, *, cache: pathlib.Path | str | None = None
) -> pathlib.Path:
    """Find an engine's model: in the export, in the cache, or make it now.

    Args:
        bundle: The export.
        engine: "onnx-float32" or "onnx-int8".
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
    if name in bundle.digests:
        return bundle.folder / name
    folders = [folder / engine for folder in _cache_folders(bundle, cache)]
    for folder in folders:
        if _is_intact(folder, bundle, engine):
            return folder / name
    for folder in folders[:-1]:
        try:
            return _make_in(folder, bundle, engine)
        except OutputError as error:
            logging.getLogger(__name__).info("%s; trying the next place", error.what)
    return _make_in(folders[-1], bundle, engine)


def read(
    bundle: Bundle, engine: str, *, cache: pathlib.Path | str | None = None
) -> bytes:
    """Find or make an engine's model, and read it into memory.

    Args:
        bundle: The export.
        engine: "onnx-float32" or "onnx-int8".
        cache: As for `ensure`.

    Returns:
        The ONNX model, verified.

    Raises:
        ModelError: As for `ensure`, or it was replaced at this moment.
        OutputError: As for `ensure`.
    """
    path = ensure(bundle, engine, cache=cache)
    if path.name in bundle.digests:
        return bundle.read(path.name)
    listed = files.read_json(path.with_name(manifest.MANIFEST))["files"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != listed[path.name]["sha256"]:
        raise ModelError(
            f"{path} was replaced while it was read.",
            why="its answers would differ from the answers of the export.",
            fix="start again.",
            page="engines",
        )
    return content


def _cache_folders(
    bundle: Bundle, cache: pathlib.Path | str | None
) -> list[pathlib.Path]:
    """Folders for made models, first choice first."""
    if cache is not None:
        return [pathlib.Path(cache)]
    user_cache = machine.cache_folder() / "engines" / bundle.identity.sha256[:32]
    # WHY not in the Hub's cache: its own tools would call our folder corrupt.
    if bundle.folder.parent.name == "snapshots":
        return [user_cache]
    return [bundle.folder.with_name(f"{bundle.folder.name}-engines"), user_cache]


def _origin(bundle: Bundle, engine: str) -> dict[str, Any]:
    """What a made model depends on."""
    return {
        "engine": engine,
        "weights_sha256": bundle.identity.sha256,
        "config_sha256": bundle.digests[CONFIG],
        "recipe": RECIPE_VERSION,
    }


def _is_intact(folder: pathlib.Path, bundle: Bundle, engine: str) -> bool:
    """Whether a kept model is there, undamaged, and of these weights."""
    try:
        listed = manifest.verify(folder)["files"]
        origin = files.read_json(folder / ORIGIN)
    except (CheckpointError, OSError, ValueError):
        return False
    return file_name(engine) in listed and origin == _origin(bundle, engine)


def _make_in(folder: pathlib.Path, bundle: Bundle, engine: str) -> pathlib.Path:
    """Make a model in a folder, atomically."""
    files.remove_drafts(folder.parent, min_age_s=ABANDONED_S)
    try:
        with files.atomic_folder(folder) as draft:
            make(bundle, engine, path=draft / file_name(engine))
            files.write_json(draft / ORIGIN, _origin(bundle, engine))
            manifest.write_manifest(draft)
    except OutputError:
        # Another process may have been faster, and taken the place.
        if not _is_intact(folder, bundle, engine):
            raise
    return folder / file_name(engine)


def make(bundle: Bundle, engine: str, *, path: pathlib.Path) -> None:
    """Write an engine's model.

    Args:
        bundle: The export.
        engine: "onnx-float32" or "onnx-int8".
        path: The file to write.

    Raises:
        ModelError: A package is missing, or the model is of another architecture.
        OutputError: The int8 model could not be written.
    """
    check_installed("onnx", "onnxruntime")
    import onnx
    from safetensors.numpy import load

    config = files.parse_json(bundle.read(CONFIG))
    is_known = config.get("model_type") == "distilbert"
    if not is_known or config.get("activation", "gelu") != "gelu":
        raise ModelError(
            f"{bundle.folder} is a {config.get('model_type')}, not a DistilBERT.",
            why="the ONNX graph is written for DistilBERT only.",
            fix="use the engine torch-float32.",
            page="engines",
        )
    graph = onnx_graph.build(load(bundle.read(WEIGHTS)), config)
    if engine == "onnx-float32":
        onnx.save(graph, path)
        return
    try:
        _save_int8(graph, path)
    # WHY everything: a disk that fills up makes ONNX Runtime read half of its own
    # temporary file, and the error (DecodeError) is protobuf's.
    except Exception as error:
        raise OutputError(
            f"{path.parent} could not be filled: {type(error).__name__}: "
            f"{str(error)[:200]}.",
            why="the int8 model was not completed; the export is intact.",
            fix=f"free some space on the disk of {path.parent.parent}.",
            page="engines",
        ) from error


def _save_int8(graph: Any, path: pathlib.Path) -> None:
    """Store matrices as int8, one scale a column, and the word vectors as int8.

    Activations get their scale while the model runs, one for each matrix product.
    """
    import onnx
    from onnxruntime import quantization

    # WHY: it advises, on every call, a clean-up that this graph does not need.
    root_logger = logging.getLogger()
    level = root_logger.level
    root_logger.setLevel(logging.ERROR)
    directory = tempfile.tempdir
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            # WHY: ONNX Runtime writes its own files, 90 MB each. They belong on the
            # disk that gets the model, not on a small one for temporary files.
            tempfile.tempdir = folder
            float32_path = pathlib.Path(folder) / "float32.onnx"
            onnx.save(graph, float32_path)
            quantization.quantize_dynamic(
                float32_path,
                path,
                weight_type=quantization.QuantType.QInt8,
                op_types_to_quantize=["MatMul", "Attention", "Gather"],
                per_channel=True,
                # Without it, types behind ONNX Runtime's own operators are unknown.
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
    finally:
        tempfile.tempdir = directory
        root_logger.setLevel(level)
