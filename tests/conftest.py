"""One thread for each of the two test workers (two would fight over the cores), and the long files first."""

import json

import torch

torch.set_num_threads(1)
LONGEST = (  # then notebooks
    "test_site.py", "test_launch.py", "test_play.py", "test_quality.py", "test_metadata.py", "test_practice.py",
)  # fmt: skip


def pytest_collection_modifyitems(config, items):
    """The longest files first, so that no worker is left alone with one of them at the end."""
    status = json.loads((config.rootpath / "notebooks" / "status.json").read_text(encoding="utf8"))

    def rank(item):
        if item.path.name in LONGEST:
            return LONGEST.index(item.path.name), 0
        entry = status.get(item.path.relative_to(config.rootpath).as_posix())
        return (len(LONGEST), -entry["processor_seconds"]) if entry else (len(LONGEST) + 1, 0)

    items.sort(key=rank)
