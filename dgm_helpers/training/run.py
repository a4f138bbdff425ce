"""Trained parameters of the long runs: loaded if they are exactly this run's, trained otherwise.

A file holds the parameters (safetensors) and, as text beside them, the run's fingerprint and history. The variable
DGM_RETRAIN says what to do: ``auto`` (load if the fingerprint fits, else train), ``always`` train, or ``never``.
"""

import copy
import hashlib
import json
import os
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dgm_helpers.training.fit import History

MODES = ("auto", "always", "never")


def digest(tensor):
    """Short hash of a tensor's values, to tell one data set from another."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def weights_dir():
    """DGM_WEIGHTS_DIR if set, else ``weights/`` beside the package."""
    return Path(os.environ.get("DGM_WEIGHTS_DIR") or Path(__file__).resolve().parents[2] / "weights")


def read_weights(path):
    """Read one file: its tensors and its fingerprint and history. Raises ValueError if it is damaged or holds a NaN."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            notes = {key: json.loads(text) for key, text in (file.metadata() or {}).items()}
        notes["fingerprint"], notes["history"]  # both must be there
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is damaged or no weights file of this book ({error}); delete it to train again"
        ) from None
    broken = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"{path} holds values that are not finite, in {', '.join(broken)}; delete it to train again")
    return tensors, notes


def _load(path, model, fingerprint):
    """Put a file's parameters into the model and return its history; or say why it is not this run's."""
    tensors, notes = read_weights(path)
    stored = notes["fingerprint"]
    differ = sorted(k for k in stored.keys() | fingerprint.keys() if stored.get(k) != fingerprint.get(k))
    if differ:
        return None, "; ".join(f"{k}: stored {stored.get(k)!r}, this run {fingerprint.get(k)!r}" for k in differ)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    came = {name: tuple(value.shape) for name, value in tensors.items()}
    if came != expected:  # before anything is copied: nothing half-loaded
        raise ValueError(f"{path} is of another model: expected {expected}, got {came}")
    model.load_state_dict(tensors)
    return History(**notes["history"]), None


def _save(path, model, fingerprint, history):
    """Write beside the target, then rename: a file is whole or absent."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    notes = {"fingerprint": json.dumps(fingerprint, sort_keys=True), "history": json.dumps(history.as_dict())}
    try:
        save_file(tensors, partial, metadata=notes)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def fit_or_load(name, model, train, fingerprint):
    """Load ``weights/<name>.safetensors`` if its fingerprint equals this run's, otherwise train and store.

    model: changed in place. train: ``train() -> History``. fingerprint: dict of plain values that fixes the run
    (hyperparameters, data digest, seed); the model's architecture is added here. Returns the run's History.
    Raises ValueError for a damaged file or one of another model, RuntimeError if DGM_RETRAIN=never and the file is
    missing or stale. An interrupted run is not stored.
    """
    mode = os.environ.get("DGM_RETRAIN", "auto")
    if mode not in MODES:
        raise ValueError(f"expected DGM_RETRAIN to be one of {MODES}, got {mode!r}")
    path = weights_dir() / f"{name}.safetensors"
    fingerprint = json.loads(json.dumps({**fingerprint, "model": repr(model)}))  # as JSON will give it back
    if mode != "always":
        history, why = _load(path, model, fingerprint) if path.exists() else (None, "there is no such file")
        if history is not None:
            return history
        if mode == "never":
            raise RuntimeError(
                f"{path} does not hold this run ({why}). `make execute NOTEBOOKS=...`, with the path of its notebook, "
                "trains and stores it; so does the notebook itself with DGM_RETRAIN=auto."
            )
        warnings.warn(f"training {name} afresh: {why}", stacklevel=2)
    history = train()
    if not history.interrupted:
        _save(path, model, fingerprint, history)
    return history


def fit_or_load_half(name, model, train, fingerprint):
    """``fit_or_load`` with the parameters stored in half precision: half the size.

    The model ends with what the file holds, rounded to float16 also right after training, and without gradients, so
    that a number measured once is a number of the stored model. Returns the run's History.
    """
    half = copy.deepcopy(model).half()

    def train_and_round():
        history = train()
        half.load_state_dict(model.state_dict())
        return history

    history = fit_or_load(name, half, train_and_round, fingerprint)
    model.load_state_dict(half.state_dict())
    model.requires_grad_(False)
    return history
