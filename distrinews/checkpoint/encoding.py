"""Turn a tree of plain values and tensors into JSON and safetensors, and back.

Decoding gives back what was encoded, including types, infinite numbers, keys that are
not strings, and tensors that two names share. Values that could not come back equal are
refused, and the error names them.

Each value that JSON cannot express becomes a table with one key that begins with "~":
`{"~tuple": [1, 2]}`, `{"~float": "inf"}`, `{"~tensor": ["bias", "float32", [4]]}`.

Not here: which objects a checkpoint holds (`distrinews.checkpoint.state`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import base64
import collections
import math
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn

from distrinews.errors import CheckpointError

__all__ = ["decode", "difference", "encode", "on_cpu"]

Tensors = dict[str, torch.Tensor]
# The name of the whole tree, then the keys that lead to a value in it.
Path = tuple[str, ...]
# Only these exact types, not subclasses: a DTensor is one part of a tensor whose other
# parts are on other ranks, and an IntEnum would come back as a number.
TENSORS = (torch.Tensor, nn.Parameter)
SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "Size": torch.Size,
}
TABLES: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict,
    "OrderedDict": collections.OrderedDict,
    "Counter": lambda pairs: collections.Counter(dict(pairs)),
}


def encode(value: Any, *, name: str) -> tuple[Any, Tensors]:
    """Split a tree into a part that JSON can hold and its tensors.

    Args:
        value: Numbers, strings, None, tensors, numpy values, and lists, tuples, sets
            and dicts of them.
        name: Its name in errors.

    Returns:
        The tree for JSON, in which tensors are replaced by names, and the tensors by
        these names. A tensor that occurs twice is returned once. Nothing is copied yet.

    Raises:
        CheckpointError: A value could not come back equal. On this rank only.

    Examples:
        >>> encode({1: float("inf"), 2: torch.ones(1)}, name="scheduler")[0]
        {'~dict': [[1, {'~float': 'inf'}], [2, {'~tensor': ['2', 'float32', [1]]}]]}
    """
    tensors: Tensors = {}
    names: dict[tuple[Any, ...], str] = {}

    def store(tensor: torch.Tensor, path: Path) -> str:
        # The same memory, read in the same way: a tied weight.
        memory = (tensor.device, tensor.data_ptr(), tensor.dtype)
        key = (*memory, tensor.shape, tensor.stride())
        if tensor.numel() and key in names:
            return names[key]
        unique = ".".join(path[1:]) or "tensor"
        while unique in tensors:  # {"a.b": one, "a": {"b": another}}
            unique += "~"
        names[key], tensors[unique] = unique, tensor
        return unique

    try:
        return _part(value, (name,), store), tensors
    except RecursionError:
        _refuse((name,), "contains itself, or is nested too deep")


def decode(tree: Any, tensors: Tensors) -> Any:
    """Put a tree together again.

    Args:
        tree: The tree that `encode` returned, as JSON gives it back.
        tensors: The tensors that it names.

    Returns:
        The tree. A tensor that was in it twice is the same object twice.

    Raises:
        ValueError: It is not such a tree, or a tensor is left over. On this rank only.
        LookupError: It names a tensor that is missing. On this rank only.

    Examples:
        >>> decode(*encode({"a": (1, float("-inf"))}, name="x"))
        {'a': (1, -inf)}
    """
    used = set()

    def take(name: str) -> torch.Tensor:
        used.add(name)
        return tensors[name]

    value = _build(tree, take)
    if left := sorted(tensors.keys() - used):
        raise ValueError(f"it has tensors that nothing names: {left[:5]}")
    return value


def difference(
    wanted: Any, found: Any, *, name: str, ignores_new_keys: bool = False
) -> str | None:
    """Name the first place in which two trees differ, types and bits included.

    Args:
        wanted: A tree that `encode` takes.
        found: Another one.
        name: Its name in the result.
        ignores_new_keys: `found` may have more keys in its dicts, because a newer torch
            adds some.

    Returns:
        None if they are equal, otherwise both values in words. Tensors on any device
        are compared byte by byte, on the CPU.

    Examples:
        >>> difference({"a": 1}, {"a": 1.0}, name="x")
        'x.a was int 1, is float 1.0'
    """
    is_tensor = isinstance(wanted, torch.Tensor) and isinstance(found, torch.Tensor)
    if not is_tensor and type(wanted) is not type(found):
        return f"{name} was {_described(wanted)}, is {_described(found)}"
    if is_tensor:
        words = f"{name} was {_shown(wanted)}, is another {_shown(found)}"
        return None if _same_tensor(wanted, found) else words
    if isinstance(wanted, dict):
        pairs = _common(wanted, found)
        keys = {key for key in wanted if key not in found}
        if not ignores_new_keys:
            keys |= found.keys() - wanted.keys()
        if keys:
            return f"only one {name} has {sorted(map(repr, keys))}"
    elif isinstance(wanted, (list, tuple, collections.deque)):
        if len(wanted) != len(found):
            return f"{name} had {len(wanted)} entries, has {len(found)}"
        pairs = (
            (str(i), *both) for i, both in enumerate(zip(wanted, found, strict=True))
        )
    elif isinstance(wanted, np.ndarray):
        equal = wanted.dtype == found.dtype and wanted.tobytes() == found.tobytes()
        equal = equal and wanted.shape == found.shape
        return None if equal else f"{name} is another array"
    else:
        # repr, because NaN does not equal itself and -0.0 equals 0.0.
        is_number = isinstance(wanted, (float, complex, np.generic))
        equal = repr(wanted) == repr(found) if is_number else wanted == found
        words = f"{name} was {_described(wanted)}, is {_described(found)}"
        return None if equal else words
    for key, before, now in pairs:
        found_here = difference(
            before, now, name=f"{name}.{key}", ignores_new_keys=ignores_new_keys
        )
        if found_here:
            return found_here
    return None


def on_cpu(tensors: Tensors) -> Tensors:
    """Copy tensors into memory from which safetensors can write them.

    Args:
        tensors: On any device, in any memory layout.

    Returns:
        Tensors on the CPU, each contiguous in separate memory; those that already are,
        unchanged.
    """
    seen: set[int] = set()
    copies: Tensors = {}
    for name, tensor in tensors.items():
        copy = tensor.detach().cpu().contiguous()
        storage = copy.untyped_storage()
        # safetensors refuses two tensors that share memory, such as two views.
        if storage.nbytes() != copy.nbytes or storage.data_ptr() in seen:
            copy = copy.clone()
        seen.add(copy.untyped_storage().data_ptr())
        copies[name] = copy
    return copies


# WHY these two are not nested in `encode` and `decode`: a nested function that calls
# itself is a reference cycle. It keeps the tensors that it saw until the garbage
# collector runs, and Windows can neither rename nor remove the files that they map.


def _part(value: Any, path: Path, store: Callable[[torch.Tensor, Path], str]) -> Any:
    """Turn a value into one that JSON can hold; `store` keeps its tensors."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"~float": repr(value)}
    if kind is list:
        return [_part(entry, (*path, str(i)), store) for i, entry in enumerate(value)]
    if kind is dict and _is_json_table(value):
        return {key: _part(entry, (*path, key), store) for key, entry in value.items()}
    if kind is collections.deque:
        return {"~deque": [value.maxlen, _part(list(value), path, store)]}
    if kind is complex:
        return {"~complex": _part([value.real, value.imag], path, store)}
    if kind is bytes:
        return {"~bytes": _as_text(value)}
    if kind in (torch.dtype, torch.device):
        return {f"~{kind.__name__}": str(value).removeprefix("torch.")}
    tag = kind.__name__
    if SEQUENCES.get(tag) is kind:
        # Sets in an order that is the same on every rank.
        is_set = kind in (set, frozenset)
        entries = sorted(value, key=repr) if is_set else list(value)
        return {f"~{tag}": _part(entries, path, store)}
    if kind in (dict, collections.OrderedDict, collections.Counter):
        pairs = [
            [
                _part(key, (*path, "key"), store),
                _part(entry, (*path, str(key)), store),
            ]
            for key, entry in value.items()
        ]
        return {f"~{tag}": pairs}
    if kind in TENSORS:
        _check_tensor(value, path)
        dtype = str(value.dtype).removeprefix("torch.")
        return {"~tensor": [store(value, path), dtype, list(value.shape)]}
    if isinstance(value, np.generic) and value.dtype.kind in "biufcSUMm":
        return {"~number": [value.dtype.str, _as_text(value.tobytes())]}
    if kind is np.ndarray and value.dtype.kind in "biufcSUMm":
        content = np.frombuffer(value.tobytes(), dtype=np.uint8).copy()
        stored = store(torch.from_numpy(content), path)
        return {"~array": [stored, value.dtype.str, list(value.shape)]}
    _refuse(path, f"is {_described(value)}")


def _build(tree: Any, take: Callable[[str], torch.Tensor]) -> Any:
    """Turn a value from JSON back; `take` returns its tensors."""
    if isinstance(tree, list):
        return [_build(entry, take) for entry in tree]
    if not isinstance(tree, dict):
        return tree
    if not any(key.startswith("~") for key in tree):
        return {key: _build(entry, take) for key, entry in tree.items()}
    [(key, content)] = tree.items()
    tag = key[1:]
    if tag == "tensor":
        name, dtype, shape = content
        tensor = take(name)
        if tensor.dtype is not _dtype(dtype) or list(tensor.shape) != shape:
            raise ValueError(f"{name} is {_shown(tensor)}, not {dtype} {shape}")
        return tensor
    if tag == "array":
        name, dtype, shape = content
        stored = take(name).numpy().tobytes()
        return np.frombuffer(stored, np.dtype(dtype)).reshape(shape).copy()
    if tag == "number":
        dtype, text = content
        return np.frombuffer(base64.b64decode(text), np.dtype(dtype))[0]
    if tag == "float":
        return float(content)
    if tag == "complex":
        return complex(*_build(content, take))
    if tag == "bytes":
        return base64.b64decode(content)
    if tag == "deque":
        return collections.deque(_build(content[1], take), maxlen=content[0])
    if tag == "dtype":
        return _dtype(content)
    if tag == "device":
        return torch.device(content)
    if tag in SEQUENCES:
        return SEQUENCES[tag](_build(content, take))
    if tag in TABLES:
        pairs = [(_build(key, take), _build(entry, take)) for key, entry in content]
        return TABLES[tag](pairs)
    raise ValueError(f"it has a value of kind {key!r}")


def _is_json_table(table: dict[Any, Any]) -> bool:
    """Whether JSON keeps this table: its keys are strings without our "~"."""
    return all(type(key) is str and not key.startswith("~") for key in table)


def _check_tensor(tensor: torch.Tensor, path: Path) -> None:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        _refuse(path, f"is a tensor of layout {tensor.layout} on {tensor.device}")
    if tensor.dtype in (torch.complex128, torch.complex32):
        _refuse(path, f"is a tensor of {tensor.dtype}")
    if tensor.requires_grad:  # it would come back without that
        _refuse(path, "is a tensor that requires a gradient")


def _same_tensor(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    # Bytes, because NaN does not equal itself.
    return torch.equal(_bytes(one), _bytes(other))


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8)


def _common(
    one: dict[Any, Any], other: dict[Any, Any]
) -> Iterable[tuple[Any, Any, Any]]:
    return ((key, one[key], other[key]) for key in one if key in other)


def _as_text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"it has a type {name!r}")
    return dtype


def _shown(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"


def _described(value: Any) -> str:
    return f"{type(value).__name__} {repr(value)[:80]}"


def _refuse(path: Path, what: str) -> NoReturn:
    raise CheckpointError(
        f"{'.'.join(path)} {what}.",
        why="a checkpoint holds plain values and tensors, and no pickle; this value "
        "would not come back equal.",
        fix="keep it out of the state, or turn it into numbers, strings, lists, dicts, "
        "tensors or numpy arrays.",
        page="checkpoint",
    )
