"""Make the folder of a static Space: the demo page, and the model for a browser.

Everybody may create such a Space, and any host of files will do. The visitor's browser
loads the int8 model and answers; no text leaves it. The page is the app's own. Only the
script that gets the answers is another one, `browser_engine.js`.

Promise: every file that a browser gets from elsewhere is pinned by version and hash, in
`browser_runtime.json`; with `vendor` none comes from elsewhere.

Not here: the kinds with a server (`space`).

Guide: howto/space.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from typing import Any

import space_files
from space_files import ROOT

import distrinews
from distrinews.data.labels import list_classes
from distrinews.errors import ModelError, SetupError
from distrinews.inference import engines, golden, onnx_export
from distrinews.inference.bundle import CONFIG, TOKENIZER, TOKENIZER_CONFIG, Bundle
from distrinews.inference.classifier import LETTER, Classifier
from distrinews.system import files

__all__ = ["fill"]

HERE = pathlib.Path(__file__).parent
ENGINE = "onnx-int8"
RUNTIME = files.read_json(HERE / "browser_runtime.json")
CDN = "https://cdn.jsdelivr.net/npm"
NOTICE = """\
transformers.js is from @huggingface/transformers, Apache-2.0
(LICENSE-transformers.txt).
ort.mjs and ort.wasm are from onnxruntime-web, MIT, Copyright (c) Microsoft Corporation:
https://github.com/microsoft/onnxruntime/blob/main/LICENSE
"""
SCRIPT = '<script type="module" src="static/page.js"></script>'


def fill(draft: pathlib.Path, bundle: Bundle, *, vendor: bool) -> None:
    """Fill the folder of a static Space.

    Args:
        draft: An empty folder.
        bundle: The model, verified.
        vendor: Put the runtime into the folder, from npm; else browsers load it from
            a CDN.

    Raises:
        ModelError: The model has no golden rows, or its int8 form misses their scores.
        SetupError: npm is missing or cannot load the runtime, or a file of it is not
            the one that is pinned.
    """
    scores = _recorded_scores(bundle)
    space_files.copy_page(draft / "static")
    shutil.copyfile(HERE / "browser_engine.js", draft / "static/engine.js")
    shutil.copyfile(ROOT / "LICENSE", draft / "LICENSE")
    model_folder = _copy_model(draft, bundle)
    places = _places(vendor=vendor)
    if vendor:
        _load_runtime(draft / "vendor")
    model_files = [path for path in model_folder.rglob("*") if path.is_file()]
    model_bytes = sum(path.stat().st_size for path in model_files)
    runtime_bytes = sum(RUNTIME["files"][name]["bytes"] for name in places)
    browser = {
        "folder": model_folder.name,
        "model_file": ENGINE,
        "bytes": model_bytes + runtime_bytes,
        "max_length": bundle.max_length,
        "letter": LETTER.pattern,
        "golden": scores,
        "tolerance": engines.TOLERANCES[ENGINE],
        "runtime": {
            "mjs": places["ort.mjs"],
            "wasm": places["ort.wasm"],
            "wasm_integrity": _integrity("ort.wasm"),
            "bytes": runtime_bytes,
        },
    }
    about = _about(bundle) | {"browser": browser}
    files.write_json(draft / "static/model.json", about)
    page = (draft / "static/index.html").read_text(encoding="utf-8")
    (draft / "static/index.html").unlink()
    text = (HERE / "README-static.md").read_text(encoding="utf-8")
    text = text.format(
        num_classes=len(bundle.labels),
        class_list=list_classes(bundle.labels),
        megabytes=-(-browser["bytes"] // 10**6),
        runtime="lies in `vendor/`"
        if vendor
        else "comes from cdn.jsdelivr.net, pinned",
        version=distrinews.__version__,
        options=" --vendor" if vendor else "",
    )
    for name, content in (("index.html", _page(page, places)), ("README.md", text)):
        (draft / name).write_text(content, encoding="utf-8", newline="\n")


def _recorded_scores(bundle: Bundle) -> list[dict[str, Any]]:
    """The golden rows, once the int8 model has given their scores on this machine."""
    recorded = golden.read(bundle)
    reason: str | None = "it has no golden rows: it was exported before there were any"
    if recorded is not None:
        classifier = Classifier(bundle, engine=ENGINE)
        reason = golden.mismatch(
            bundle,
            lambda texts: [[*a.scores.values()] for a in classifier.predict(texts)],
            tolerance=classifier.tolerance,
        )
    if recorded is None or reason is not None:
        raise ModelError(
            f"{bundle.folder} cannot be checked in a browser: {reason}.",
            why="wrong answers in a browser would go unnoticed.",
            fix="export again; or --hardware cpu, whose server falls back to float32.",
            page="space",
        )
    rows = zip(recorded.texts, recorded.scores, strict=True)
    return [{"text": text, "scores": scores} for text, scores in rows]


def _copy_model(draft: pathlib.Path, bundle: Bundle) -> pathlib.Path:
    """Copy what a browser needs of the model; return its folder."""
    contents = {
        name: bundle.read(name) for name in (CONFIG, TOKENIZER, TOKENIZER_CONFIG)
    }
    # Transformers.js looks for the model in a folder of this name.
    contents[f"onnx/{onnx_export.file_name(ENGINE)}"] = onnx_export.read(bundle, ENGINE)
    digest = hashlib.sha256(b"".join(contents[name] for name in sorted(contents)))
    # WHY in its name: browsers keep these files by their address, for good.
    folder = draft / f"model-{digest.hexdigest()[:12]}"
    (folder / "onnx").mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def _about(bundle: Bundle) -> dict[str, Any]:
    """What the service would say of the model at /version."""
    facts = bundle.facts
    names = {"test_rows": "rows", "train_rows": "fitted_rows"}
    same = ("accuracy", "data", "licence", "num_ranks", "device", "train_s", "origin")
    names |= {name: name for name in (*same, "loss_curve")}
    identity = bundle.identity
    library = f"Transformers.js {RUNTIME['packages']['@huggingface/transformers']}"
    return {
        "distrinews": distrinews.__version__,
        "engine": f"{ENGINE}, in this browser ({library})",
        "labels": list(bundle.labels),
        "model": {
            "id": identity.id,
            "sha256": identity.sha256,
            "run_id": identity.run_id,
        },
        "facts": {name: facts.get(source) for name, source in names.items()},
    }


def _places(*, vendor: bool) -> dict[str, str]:
    """Where a browser finds each script and binary of the runtime."""
    return {
        name: f"vendor/{name}"
        if vendor
        else f"{CDN}/{file['package']}@{RUNTIME['packages'][file['package']]}/"
        f"{file['path']}"
        for name, file in RUNTIME["files"].items()
        if "sha384" in file
    }


def _integrity(name: str) -> str:
    """The hash of a file of the runtime, as browsers write it."""
    return f"sha384-{RUNTIME['files'][name]['sha384']}"


def _page(page: str, places: dict[str, str]) -> str:
    """Give the app's page what a server would send in headers, and an import map."""
    if page.count(SCRIPT) != 1:
        raise ModelError(
            "apps/page/index.html does not load its script as expected.",
            why="the policy and the import map must come before it.",
            fix=f"write it as {SCRIPT}",
            page="space",
        )
    local = {
        name: place if place.startswith("https:") else f"./{place}"
        for name, place in places.items()
    }
    imports = json.dumps({
        "imports": {"@huggingface/transformers": local["transformers.js"]},
        "integrity": {
            local[name]: _integrity(name) for name in ("transformers.js", "ort.mjs")
        },
    })
    digest = base64.b64encode(hashlib.sha256(imports.encode()).digest()).decode()
    remote = [place for place in places.values() if place.startswith("https:")]
    load = " ".join(["'self'", *remote])
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        f"form-action 'none'; connect-src {load}; "
        f"script-src {load} 'wasm-unsafe-eval' 'sha256-{digest}'"
    )
    head = (
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<script type="importmap">{imports}</script>\n'
    )
    return page.replace(SCRIPT, head + SCRIPT)


def _load_runtime(folder: pathlib.Path) -> None:
    """Load the pinned packages from npm, and take the files that browsers need."""
    npm = shutil.which("npm")
    if npm is None:
        raise SetupError(
            "--vendor: npm was not found.",
            why="the runtime comes from npm's registry.",
            fix="leave --vendor out: browsers then load it from a CDN. Or install "
            "Node.js.",
            page="space",
        )
    folder.mkdir()
    (folder / "NOTICE.txt").write_text(NOTICE, encoding="utf-8", newline="\n")
    for package, version in RUNTIME["packages"].items():
        with tempfile.TemporaryDirectory() as work:
            done = subprocess.run(
                (npm, "pack", "--silent", f"{package}@{version}"),
                cwd=work,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            archives = list(pathlib.Path(work).glob("*.tgz"))
            if done.returncode or len(archives) != 1:
                errors = done.stderr.strip().splitlines() or ["npm said nothing"]
                raise SetupError(
                    f"--vendor: npm could not load {package}: {errors[-1]}",
                    why="browsers need it to run the model.",
                    fix=f"npm pack {package}@{version} shows the cause; or leave "
                    "--vendor out.",
                    page="space",
                )
            with tarfile.open(archives[0]) as archive:
                for name, file in RUNTIME["files"].items():
                    if file["package"] == package:
                        _extract(archive, file, folder / name)


def _extract(
    archive: tarfile.TarFile, file: dict[str, Any], path: pathlib.Path
) -> None:
    """Take one file out of a package, if it is the one that is pinned."""
    member = archive.extractfile(f"package/{file['path']}")
    content = member.read() if member is not None else b""
    digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
    if digest != file.get("sha384", digest):
        raise SetupError(
            f"--vendor: {file['path']} of {file['package']} is not the pinned file.",
            why="its answers and its behaviour were not tested.",
            fix="leave --vendor out: browsers compare the CDN's file, too.",
            page="space",
        )
    path.write_bytes(content)
