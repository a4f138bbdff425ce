"""Tables of what was recorded: which notebook ran when, for how long, on what; its stored trainings; the benchmarks."""

import json
from pathlib import Path

from safetensors import safe_open

STATUS, DIGESTS = Path("notebooks") / "status.json", Path("notebooks") / "digests.json"


def minutes(seconds):
    """A duration in the unit in which it is easiest to read."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def missing_entries(entries, names, file=STATUS):
    missing = [name for name in names if f"{name}.ipynb" not in entries]
    if missing:
        raise LookupError(f"not in {file}: {', '.join(missing)}; run `make execute` on them")


def status_rows(status, titles):
    """Markdown table rows, one for each notebook ordered as ``titles``. Raises LookupError for one without entry."""
    missing_entries(status, titles)
    rows = ["| Notebook | Executed | Elapsed | CPU | GPU |", "|---|---|---:|---:|---:|"]
    for name, title in titles.items():
        entry = status[f"{name}.ipynb"]
        elapsed, used = minutes(entry["seconds"]), minutes(entry["processor_seconds"])
        title += ", with training" if entry["trained"] else ""
        gpu = minutes(entry["gpu"]["seconds"]) if "gpu" in entry else ""
        rows.append(f"| [{title}](/{name}.ipynb) | {entry['date']} | {elapsed} | {used} | {gpu} |")
    return rows


def machine_lines(status, titles):
    """One sentence for each machine and set of versions that executed the notebooks, with the number of notebooks."""
    groups = {}
    for name in titles:
        entry = status[f"{name}.ipynb"]
        versions = ", ".join(f"{package} {version}" for package, version in entry["versions"].items())
        groups.setdefault(f"{entry['device']}; {versions}", []).append(entry["processor_seconds"])
    return [
        f"- {len(taken)} notebook{'s' * (len(taken) > 1)}, {minutes(sum(taken))} of processor time in all, on {what}."
        for what, taken in groups.items()
    ]


def training_seconds(folder, digests, names):
    """Seconds of the stored trainings of each notebook that has some, by where they ran: {notebook: {place: seconds}},
    the place a CPU or a GPU. A file belongs to the first notebook, in the order of ``names``, that loaded it.

    Raises LookupError for a file that no notebook loaded.
    """
    missing_entries(digests, names, DIGESTS)
    owner = {file: name for name in reversed(names) for file in digests[f"{name}.ipynb"]["weights"]}
    total = {}
    for path in sorted(folder.glob("*.safetensors")):
        if path.name not in owner:
            raise LookupError(f"no notebook loads {path.name}")
        with safe_open(path, "np") as stored:
            history = json.loads(stored.metadata()["history"])
        places = total.setdefault(owner[path.name], {})
        place = "CPU" if history.get("device", "cpu") == "cpu" else "GPU"
        places[place] = places.get(place, 0) + history["seconds"]
    return total


def places(trained):
    """The durations of trainings in words; where they ran only if that was a GPU."""
    return ", ".join(minutes(trained[p]) + " (GPU)" * (p == "GPU") for p in sorted(trained) if trained[p] > 0)


SLOWER = 10  # times: a data-centre card's memory bandwidth to a laptop card's, for the estimate


def duration_rows(status, titles, trainings):
    """Markdown table rows: how long each notebook takes on one core, how long its stored trainings took, how long it
    took on a graphics card with all its trainings, if it was ever run there, and a laptop's card might."""
    missing_entries(status, titles)
    gpu = {name: status[f"{name}.ipynb"].get("gpu") for name in titles}
    heads = ["Notebook", "To run", "Stored trainings", "On a GPU", "of it training", "Laptop's GPU, estimated"]
    rows = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for name, title in titles.items():
        there = ["", "", ""]
        if gpu[name]:
            mark = "\\*" * (gpu[name]["failed"] > 0)
            measured, training = gpu[name]["seconds"], gpu[name]["training_seconds"]
            there = [minutes(measured) + mark, "", ""]
            if training is not None:  # else it is in the measured time, and how much of it is not known
                most = minutes(measured + (SLOWER - 1) * training)
                there[1:] = minutes(training), most if training == 0 else f"{minutes(measured)} to {most}"
        run = minutes(status[f"{name}.ipynb"]["processor_seconds"])
        rows.append(f"| [{title}](/{name}.ipynb) | {run} | {places(trainings.get(name, {}))} | {' | '.join(there)} |")
    run = sum(status[f"{name}.ipynb"]["processor_seconds"] for name in titles)
    total = {place: sum(by.get(place, 0) for by in trainings.values()) for place in ("CPU", "GPU")}
    return [*rows, f"| All | {minutes(run)} | {places(total)} | | | |"]


def gpu_lines(status, titles):
    """A sentence on the graphics card that the times of ``duration_rows`` are of."""
    entries = [status[f"{name}.ipynb"]["gpu"] for name in titles if "gpu" in status[f"{name}.ipynb"]]
    if not entries:
        return []
    cards = " and ".join(sorted({f"{e['device']}, torch {e['versions']['torch']}" for e in entries}))
    memory = max(e["memory"] for e in entries)
    lines = [f"The card: {cards}. The most memory that a notebook reserved there is {memory:.1f} GiB."]
    taken = [e["allocated"] for e in entries if "allocated" in e]
    if taken:
        lines[0] = lines[0][:-1] + f", PyTorch's cache included; its tensors took {max(taken):.1f} GiB at most."
    if any(e["failed"] for e in entries):
        lines.append(
            "\\* In this run a few cells failed: a library's newer version, or a check that held for the numbers of a "
            "processor and not for the card's. They were repaired, and not timed again."
        )
    return lines


def quantity(value):
    """A number with two or three digits and, from a million on, its name."""
    if value >= 1e6:
        return next(
            f"{value / size:.3g} {name}" for size, name in ((1e9, "billion"), (1e6, "million")) if value >= size
        )
    return f"{value:,.0f}"


def seconds_or_ms(seconds):
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def gpu_benchmark_lines(folder):
    """Markdown lines: what ``make bench`` last measured on a graphics card, the usual way beside the book's."""
    b4, hmc, conv = (json.loads((folder / f"{name}.gpu.json").read_text()) for name in ("b4_vae", "hmc", "conv_vae"))
    rates, epoch = hmc["leapfrog_steps_per_second"], conv["epoch"]
    fast = "channels-last, bfloat16, compiled"
    memory = max(record["memory"] for record in (b4, hmc, conv))
    cards = " and ".join(sorted({record["where"] for record in (b4, hmc, conv)}))
    numpy, chains = rates["numpy, one chain, sufficient statistics"], rates["sample_hmc compiled, 10,000 chains"]
    return [
        "| On a graphics card | Another way | This book's |",
        "|---|---:|---:|",
        f"| B4, an epoch | usual loop: {seconds_or_ms(b4['course'])} | {seconds_or_ms(b4['float32'])} |",
        f"| the same, bfloat16 | | {seconds_or_ms(b4['bfloat16'])} |",
        f"| B4, log p(x) of the test set | $L_{{1000}}$: {seconds_or_ms(b4['sampled'])} "
        f"| exact: {seconds_or_ms(b4['exact'])} |",
        f"| A4, an epoch | float32: {seconds_or_ms(epoch['plain float32'])} | {fast}: {seconds_or_ms(epoch[fast])} |",
        f"| B3, leapfrog steps a second | numpy, one chain: {quantity(numpy)} | 10 000 chains: {quantity(chains)} |",
        "",
        f"Measured side by side by `make bench` on {cards}; at most {memory:.1f} GiB of its memory were reserved.",
    ]


def read(root, name):
    return json.loads((root / name).read_text(encoding="utf8"))


def read_titles(root, names):
    """{notebook: its title}, the first line of its first cell."""
    first = {name: "".join(read(root, f"{name}.ipynb")["cells"][0]["source"]).splitlines()[0] for name in names}
    return {name: title.removeprefix("# ") for name, title in first.items()}


def notebook_status(root, names):
    """Markdown lines: which notebook ran when, for how long, on what."""
    status, titles = read(root, STATUS), read_titles(root, names)
    return [*status_rows(status, titles), "", *machine_lines(status, titles)]


def notebook_durations(root, names):
    """Markdown lines: how long each notebook takes, and its stored trainings took."""
    status, titles = read(root, STATUS), read_titles(root, names)
    trainings = training_seconds(root / "weights", read(root, DIGESTS), names)
    return [*duration_rows(status, titles, trainings), "", *gpu_lines(status, titles)]


def gpu_benchmarks(root, names):
    """Markdown lines: what the benchmarks measured on a graphics card."""
    return gpu_benchmark_lines(root / "benchmarks")
