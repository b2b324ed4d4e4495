"""Tables of where torch's and Python's documentation explain a name.

mkdocstrings links a type to its documentation if an inventory names it. The real
inventories would have to be fetched at every build; ours are made here from the names
that our signatures use, by the rules of how those sites build their addresses.

WHY only names from a rule that was looked up in torch's own sources (`docs/source/*.md`
in its repository): a wrong address is found by nobody's build. A name without a rule
stays without a link.
"""

from __future__ import annotations

import functools
import pathlib
from typing import Any

from records import SITE

__all__ = ["PYTHON", "TORCH", "files", "torch_address"]

FOLDER = SITE / "inventories"
GENERATED = "generated/{0}.html#{0}"  # what torch lists by autosummary
# Names with a page of their own.
TORCH_PAGES = (
    "torch.Generator",
    "torch.nn.Embedding",
    "torch.nn.Linear",
    "torch.nn.Module",
    "torch.nn.Sequential",
    "torch.nn.parallel.DistributedDataParallel",
    "torch.optim.AdamW",
    "torch.optim.SGD",
    "torch.optim.lr_scheduler.LambdaLR",
    "torch.optim.lr_scheduler.LRScheduler",
)
# Names on a page that holds many.
TORCH_SHARED = {
    "distributed.html": (
        "torch.distributed.all_reduce",
        "torch.distributed.all_gather",
        "torch.distributed.barrier",
        "torch.distributed.batch_isend_irecv",
        "torch.distributed.broadcast",
        "torch.distributed.destroy_process_group",
        "torch.distributed.FileStore",
        "torch.distributed.get_rank",
        "torch.distributed.get_world_size",
        "torch.distributed.init_process_group",
        "torch.distributed.is_initialized",
        "torch.distributed.monitored_barrier",
        "torch.distributed.new_group",
        "torch.distributed.reduce_scatter",
        "torch.distributed.TCPStore",
        "torch.distributed.Work",
    ),
    "tensors.html": ("torch.Tensor",),
    "tensor_attributes.html": ("torch.device", "torch.dtype"),
    "optim.html": ("torch.optim.Optimizer",),
    "data.html": (
        "torch.utils.data.DataLoader",
        "torch.utils.data.Sampler",
        "torch.utils.data.distributed.DistributedSampler",
    ),
}
# Where one name is documented under another.
TORCH_ALIASES = {
    "torch.nn.Parameter": "torch.nn.parameter.Parameter",
    "torch.utils.data.DistributedSampler": (
        "torch.utils.data.distributed.DistributedSampler"
    ),
}
PYTHON = {
    "library/functions.html": ("bool", "float", "int", "object", "type"),
    "library/stdtypes.html": (
        *("bytearray", "bytes", "dict", "frozenset", "list", "set", "str", "tuple"),
    ),
    "library/exceptions.html": (
        *("ConnectionError", "Exception", "FileNotFoundError", "KeyError"),
        *("KeyboardInterrupt", "ModuleNotFoundError", "OSError", "RuntimeError"),
        *("SystemExit", "TimeoutError", "ValueError"),
    ),
    "library/argparse.html": ("argparse.ArgumentParser", "argparse.Namespace"),
    "library/collections.abc.html": (
        *("collections.abc.Callable", "collections.abc.Generator"),
        *("collections.abc.Iterable", "collections.abc.Iterator"),
        *("collections.abc.Mapping", "collections.abc.Sequence"),
    ),
    "library/contextlib.html": ("contextlib.AbstractContextManager",),
    "library/datetime.html": ("datetime.timedelta",),
    "library/pathlib.html": ("pathlib.Path",),
    "library/typing.html": (
        *("typing.Any", "typing.Literal", "typing.NamedTuple", "typing.NoReturn"),
        *("typing.Protocol", "typing.Self"),
    ),
}


def torch_address(name: str) -> str | None:
    """Where torch's documentation explains a name.

    Args:
        name: As it is imported, such as `torch.nn.Module`.

    Returns:
        The address below the documentation's root; None if no rule covers the name.
    """
    name = TORCH_ALIASES.get(name, name)
    if name in TORCH_PAGES or name == "torch.nn.parameter.Parameter":
        return GENERATED.format(name)
    pages = (page for page, names in TORCH_SHARED.items() if name in names)
    page = next(pages, None)
    return page and f"{page}#{name}"


TORCH = tuple(
    sorted({
        *TORCH_PAGES,
        *TORCH_ALIASES,
        *(n for ns in TORCH_SHARED.values() for n in ns),
    })
)


@functools.cache
def files() -> dict[pathlib.Path, bytes]:
    """Both inventories.

    Returns:
        Content by path.
    """
    torch = {name: torch_address(name) for name in TORCH}
    python = {
        name: f"{page}#{name}" for page, names in PYTHON.items() for name in names
    }
    return {
        FOLDER / "torch.inv": _inventory("torch", torch),
        FOLDER / "python.inv": _inventory("Python", python),
    }


def _inventory(project: str, addresses: dict[str, Any]) -> bytes:
    """The form that Sphinx and mkdocstrings read."""
    from mkdocstrings import Inventory

    inventory = Inventory(project=project, version="stable")
    for name, address in sorted(addresses.items()):
        inventory.register(name=name, domain="py", role="class", uri=address)
    return bytes(inventory.format_sphinx())
