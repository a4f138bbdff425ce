"""Store the figure that the README shows, from the executed notebook: ``make execute`` does it by itself."""

import base64
import json
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK, FIGURE = ROOT / "notebooks" / "vae" / "vae_2d.ipynb", "fig-ceiling"
PICTURE = ROOT / "book" / "images" / "ceiling.png"


def picture():
    """The figure's PNG as the notebook stores it. Raises LookupError if the notebook holds no such output."""
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf8"))["cells"]:
        if cell["metadata"].get("mystnb", {}).get("figure", {}).get("name") == FIGURE:
            for output in cell["outputs"]:
                if "image/png" in output.get("data", {}):
                    return base64.b64decode("".join(output["data"]["image/png"]))
    raise LookupError(f"{NOTEBOOK} stores no image of {FIGURE}; execute it")


if __name__ == "__main__":
    partial = PICTURE.with_suffix(".partial")
    partial.write_bytes(picture())
    os.replace(partial, PICTURE)  # whole or not at all
