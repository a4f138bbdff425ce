"""Files of results: found by their fingerprint, made where none fits.

A file holds tensors (safetensors) and, as text beside them, the fingerprint and the history of what made them. The
book's files lie in ``weights/``; only ``DGM_RETRAIN=always`` (`make retrain`) writes there. What was made with other
settings is kept in the user's cache. DGM_RETRAIN=never refuses to make what does not fit; ``auto``, the default, makes
it, with a warning.
"""

import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dgm_helpers.training.fingerprint import differences, expected_minutes, key
from dgm_helpers.training.fit import History

MODES = ("auto", "always", "never")


def weights_dir():
    """DGM_WEIGHTS_DIR if set, else ``weights/`` beside the package: the book's files."""
    return Path(os.environ.get("DGM_WEIGHTS_DIR") or Path(__file__).resolve().parents[2] / "weights")


def cache_dir():
    """DGM_CACHE_DIR if set, else a folder in the user's cache: results for other settings than the book's."""
    return Path(os.environ.get("DGM_CACHE_DIR") or Path.home() / ".cache" / "dgm_helpers" / "runs").expanduser()


def read_file(path):
    """One file: its tensors, fingerprint and history. Raises ValueError if it is damaged or holds a NaN."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            notes = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
        fingerprint, history = notes["fingerprint"], History(**notes["history"])
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is damaged or no file of this book ({error}); delete it to train again") from None
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path} holds values that are not finite, in {', '.join(broken)}; delete it to train again")
    _note(path)
    return tensors, fingerprint, history


def write_file(path, tensors, fingerprint, history):
    """Write beside the target, then rename: a file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    notes = {"fingerprint": json.dumps(fingerprint, sort_keys=True), "history": json.dumps(history.as_dict())}
    try:
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial, metadata=notes)
        os.replace(partial, path)
        _note(path)
    finally:
        partial.unlink(missing_ok=True)


def _note(path):
    """Tell tools/execute.py which files a notebook reads or writes."""
    if "DGM_LOADED" in os.environ:
        with open(os.environ["DGM_LOADED"], "a", encoding="utf8") as log:
            log.write(f"{path}\n")


def retrain_mode():
    mode = os.environ.get("DGM_RETRAIN", "auto")
    if mode not in MODES:
        raise ValueError(f"expected DGM_RETRAIN to be one of {MODES}, got {mode!r}")
    return mode


def fits(path, fingerprint, accept):
    """A file's tensors and history, and "" or how its fingerprint differs."""
    tensors, found, history = read_file(path)
    if not all(isinstance(part, dict) for part in found.values()):
        return tensors, history, "its fingerprint has another form"
    own = found.pop("stored", {})
    differ = differences(found, fingerprint) or differences({"stored": own}, {"stored": accept(tensors)})
    return tensors, history, differ


def stored(name, fingerprint, make, accept=lambda tensors: {}):
    """``(tensors, history)`` from the file ``name`` whose fingerprint is this one, else made and stored.

    make: ``make() -> (tensors, history)``. accept: from a file's tensors, the numbers that were stored beside them.
    Raises RuntimeError for DGM_RETRAIN=never and a file that does not fit.
    """
    mode = retrain_mode()
    book, own = weights_dir() / f"{name}.safetensors", cache_dir() / f"{name}-{key(fingerprint)}.safetensors"
    if mode != "always":
        why = f"{book} is missing"
        if not book.parent.is_dir():
            why += " (the book's files come with its repository; the variable DGM_WEIGHTS_DIR names their folder)"
        expected = ""
        for path in filter(Path.exists, (book, own)):
            tensors, history, differ = fits(path, fingerprint, accept)
            if not differ:
                return tensors, history
            if path == book:
                lines = "".join(f"\n    {line}" for line in differ.splitlines())
                why = f"{path} does not hold this run:{lines}"
                expected = expected_minutes(history, read_file(path)[1], fingerprint)
        if mode == "never":
            raise RuntimeError(
                f"{why}\nDGM_RETRAIN=auto trains it; `make retrain NOTEBOOKS=...` stores it in the book."
            )
        warnings.warn(f"computing {name} afresh{expected}: {why}", stacklevel=3)
    tensors, history = make()
    if not history.interrupted:
        write_file(book if mode == "always" else own, tensors, fingerprint | {"stored": accept(tensors)}, history)
    return tensors, history
