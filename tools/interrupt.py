"""Kill an execution with a small retraining at random moments: what it writes must be whole, either old or new.

    python tools/interrupt.py [times] [seed]        twenty times unless told otherwise; a few seconds each

It works in a copy of the repository, on a notebook of its own, and is no part of ``make test``: it takes minutes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = Path("notebooks/vae/interrupted.ipynb")
CELL = """import torch
from dgm_helpers.training import Run
from dgm_helpers.vae import VAE

def loss(model, x, generator):
    return -model.elbo(x, generator=generator).mean()

bits = torch.bernoulli(torch.full((2000, 64), 0.5), generator=torch.manual_seed(0))
run = Run("interrupted", model=lambda: VAE.mlp(64, 512, 2), loss=loss, data=bits, seed={seed}, epochs=20,
          batch_size=100)
model, history = run.load(progress=False)
print({seed}, history.loss[-1])"""
SIGNALS = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


def notebook(seed):
    first = {"cell_type": "markdown", "metadata": {}, "source": "# Interrupted"}
    cell = {
        "cell_type": "code",
        "metadata": {},
        "source": CELL.format(seed=seed),
        "outputs": [],
        "execution_count": None,
    }
    return {"cells": [first, cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def start(root):
    command = [sys.executable, "tools/execute.py", str(NOTEBOOK)]
    environment = os.environ | {"DGM_RETRAIN": "always", "PYTHONPATH": str(root), "DGM_CACHE_DIR": str(root / "cache")}
    return subprocess.Popen(command, cwd=root, env=environment, start_new_session=True)


def changed(root):
    """The files that git calls changed or new."""
    done = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


def faults(root, files, seeds):
    """What is not whole after an interruption: a list, empty if nothing."""
    from dgm_helpers.training import read_file

    found = []
    try:
        cell = json.loads((root / NOTEBOOK).read_text(encoding="utf8"))["cells"][1]
        if cell["outputs"] and not any(str(seed) in "".join(cell["outputs"][0]["text"]) for seed in seeds):
            found.append(f"{NOTEBOOK} holds other outputs")
        for name in ("status", "digests"):
            entries = json.loads((root / "notebooks" / f"{name}.json").read_text(encoding="utf8"))
            if len(entries) < files[name]:
                found.append(f"{name}.json has lost entries")
        read_file(root / "weights" / "interrupted.safetensors")
    except (OSError, ValueError, KeyError, IndexError) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found + sorted(changed(root) - files["changed"])


def main(times=20, seed=0):
    rng, failed = random.Random(seed), []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "book"
        subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(root)], check=True)
        for name in ("dgm_helpers", "tools"):  # as they are, committed or not
            shutil.copytree(ROOT / name, root / name, dirs_exist_ok=True)
        (root / NOTEBOOK).write_text(json.dumps(notebook(seed=100)), encoding="utf8")
        began = time.monotonic()
        if start(root).wait() != 0:
            sys.exit("the execution fails without an interruption")
        whole = time.monotonic() - began
        files = {n: len(json.loads((root / "notebooks" / f"{n}.json").read_text())) for n in ("status", "digests")}
        files["changed"] = changed(root)
        for i in range(times):
            executed = json.loads((root / NOTEBOOK).read_text(encoding="utf8"))
            executed["cells"][1]["source"] = CELL.format(seed=101 + i)
            (root / NOTEBOOK).write_text(json.dumps(executed), encoding="utf8")
            process, how, moment = start(root), SIGNALS[i % len(SIGNALS)], rng.uniform(0, 1.1 * whole)
            time.sleep(moment)
            if process.poll() is None:
                os.killpg(process.pid, how)
            process.wait()
            found = faults(root, files, range(100, 102 + i))
            print(f"{i + 1}: {how.name} after {moment:.1f} of {whole:.1f} s: {found or 'whole'}", flush=True)
            failed += found
        if start(root).wait() != 0 or (found := faults(root, files, [100 + times])):
            failed.append(f"the next execution does not succeed: {found}")
    sys.exit(f"{len(failed)} faults" if failed else 0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
