"""What a notebook needs where nothing of the book is installed, on Colab say: called by the set-up cells.

They run this file by itself: the package around it imports what may still be missing.
"""

import importlib.util
import subprocess
import sys
from importlib.metadata import version

PACKAGES = {  # with the versions that the book works with
    "torch": ">=2.11,<3",
    "numpy": ">=2,<3",
    "scipy": ">=1.11,<2",
    "matplotlib": ">=3.9,<4",
    "tqdm": ">=4.60,<5",
    "safetensors": ">=0.4,<1",
    "arviz": ">=0.20,<1",
    "networkx": ">=3,<4",
}


def install_missing(packages=PACKAGES):
    """Install the packages that cannot be imported, and none that can: a torch that is there stays as it is.

    Returns the names that were missing. Raises SystemExit, with pip's words, if they cannot be installed.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Installing {', '.join(missing)} ...")
        asked = [name + packages[name] for name in missing]
        if "torch" not in missing:
            asked.append(f"torch=={version('torch')}")  # so that nothing replaces it
        command = [sys.executable, "-m", "pip", "install", "--quiet", *asked]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"could not install {', '.join(missing)}: {done.stderr.strip()[-500:]}")
        importlib.invalidate_caches()
    return missing
