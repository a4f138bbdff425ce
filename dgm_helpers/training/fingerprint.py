"""What tells one run from another: digests of data, settings as plain text, and how two of them differ."""

import functools
import hashlib
import json
import math
import re

import torch

from dgm_helpers.arguments import tensors

CLOSE = 1e-4  # relative: processors round differently; the smallest change of a formula shifts a loss by far more


def digest(tensor):
    """Short hash of a tensor's values, shape and dtype, to tell one data set from another."""
    tensors(tensor=tensor)
    values = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{tuple(values.shape)} {values.dtype}".encode())
    found.update(values.numpy())  # without a copy, which is 200 MB for MNIST
    return found.hexdigest()[:16]


_digests = torch.utils.weak.WeakIdKeyDictionary()  # of data sets: 60 000 images take a moment


def digest_once(tensor):
    """``digest``, remembered until the tensor is changed in place."""
    version, known = _digests.get(tensor, (None, None))
    if version != tensor._version:
        known = digest(tensor)
        _digests[tensor] = (tensor._version, known)
    return known


def describe(value):
    """A setting as plain text or numbers: functions by name, partial ones with their arguments."""
    if isinstance(value, functools.partial):
        named = {"args": list(map(describe, value.args)), **{k: describe(v) for k, v in value.keywords.items()}}
        return {describe(value.func): {k: v for k, v in named.items() if v != []}}
    if isinstance(value, (list, tuple, range)):
        return list(map(describe, value))
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__name__", str(value))


def _flat(values, name):
    """{words: value} of nested settings."""
    if isinstance(values, dict):
        return {k: v for key, part in values.items() for k, v in _flat(part, f"{name} {key}".strip()).items()}
    return {name: values}


def _told(name, stored, this):
    """One difference in one line."""
    if all(re.fullmatch("[0-9a-f]{16}", str(v)) for v in (stored, this)):
        return f"{name}: not the stored one"  # two digests tell a reader nothing
    stored, this = (f"{v:.7g}" if isinstance(v, float) else repr(v) for v in (stored, this))
    short = (text if len(text) < 80 else f"{text[:77]} …" for text in (stored, this))
    return f"{name}: stored {next(short)}, this run {next(short)}"


def differences(stored, this):
    """What differs between two fingerprints, one line for each; "" if nothing. Measured numbers differ by rounding."""

    def same(a, b):
        measured = isinstance(a, float) and isinstance(b, float)
        return math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-6) if measured else a == b

    a, b = (_flat(f, "") for f in json.loads(json.dumps([stored, this])))  # as a file gives them back
    return "\n".join(_told(k, a.get(k), b.get(k)) for k in sorted(a.keys() | b.keys()) if not same(a.get(k), b.get(k)))


def expected_minutes(history, found, this):
    """How long this run should take, from the stored one's time and epochs, in words; "" if unknown."""
    if not history.seconds:
        return ""
    epochs = [f.get("settings", {}).get("epochs") for f in (found, this)]
    minutes = history.seconds / 60 * (epochs[1] / epochs[0] if all(epochs) else 1)
    about = f"about {minutes:.0f} min" if minutes > 1 else "a minute or less"
    return f" (the stored run's time, on {history.device}, lets expect {about})"


def _rounded(fingerprint):
    """Without the last digits of measured numbers, which differ from processor to processor."""
    return {
        p: {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in part.items()} for p, part in fingerprint.items()
    }


def key(fingerprint):
    """A short name for a fingerprint."""
    return hashlib.sha256(json.dumps(_rounded(fingerprint), sort_keys=True).encode()).hexdigest()[:12]
