"""What a notebook needs on Colab beyond what is there: called by the set-up cells, where the package was not found."""

import importlib.util
import subprocess
import sys

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "matplotlib", "tqdm", "safetensors", "arviz", "networkx")


def install_missing(packages=PACKAGES):
    """Install the packages that cannot be imported, and none that can: a torch that is there stays as it is.

    Returns the names that were missing. Raises SystemExit, with pip's words, if they cannot be installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Installing {', '.join(missing)} ...")
        command = [sys.executable, "-m", "pip", "install", "--quiet", *missing]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"could not install {', '.join(missing)}: {done.stderr.strip()[-500:]}")
        importlib.invalidate_caches()
    return missing
