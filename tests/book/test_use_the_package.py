"""The examples of the page "Use the package": each runs, alone, and prints what the page says."""

import math
import os
import re
import subprocess
import sys

import pytest
import torch
from repo import ROOT

PAGE = (ROOT / "book" / "use-the-package.md").read_text(encoding="utf8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NAMES = ("vae", "bound", "flow", "hmc", "em", "ppca")


def example(name):
    """An example's names after it ran under a seed."""
    code = EXAMPLES[NAMES.index(name)]
    torch.manual_seed(0)
    found = {}
    exec(compile(code, f"<{name}>", "exec"), found)
    return found


def test_every_example_has_its_test():
    assert len(EXAMPLES) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short(name):
    code = [line for line in EXAMPLES[NAMES.index(name)].splitlines() if line and not re.match("import|from", line)]
    assert len(code) <= 10, code
    assert max(map(len, code)) <= 110


def test_a_vae_with_its_exact_likelihood(capsys):
    found = example("vae")
    exact, bound = map(float, re.findall(r"tensor\((-[\d.]+)", capsys.readouterr().out))
    assert found["bits"].shape == (500, 64)
    assert bound < exact < -60 * math.log(2) / 2  # of noise no model knows half the bits
    assert found["history"].loss[-1] < found["history"].loss[0]


def test_a_bound_where_there_is_no_grid(capsys):
    example("bound")
    assert -80 < float(re.search(r"-[\d.]+", capsys.readouterr().out)[0]) < -30


def test_a_flow_finds_the_integral(capsys):
    found = example("flow")
    bound, integral = map(float, re.findall(r"tensor\((-?[\d.]+)", capsys.readouterr().out))
    assert bound < math.log(2 * math.pi)
    error = float((found["log_w"] - math.log(2 * math.pi)).exp().std()) / 100
    assert abs(math.expm1(integral - math.log(2 * math.pi))) < 5 * error
    assert found["points"].shape == (1000, 2)


def test_hmc_finds_the_mean(capsys):
    result = example("hmc")["result"]
    means = result.samples.mean(1)  # of each chain
    error = means.std(0) / len(means) ** 0.5
    assert ((means.mean(0) - torch.tensor([0.0, 1.0])).abs() < 5 * error).all()
    assert "accepted" in capsys.readouterr().out


def test_em_finds_the_centres(capsys):
    centres = example("em")["model"].means.sort(0).values
    assert ((centres - torch.tensor([[-3.0], [3.0]])).abs() < 5 / 200**0.5).all()
    assert "components" in capsys.readouterr().out


def test_ppca_finds_the_dimensions(capsys):
    found = example("ppca")
    assert found["codes"].shape == (100, 3)
    assert re.search(r"best number of dimensions: (\d+)", capsys.readouterr().out)[1] == "3"


def test_the_command_for_the_cache_is_there(tmp_path):
    command = re.search(r"`python (-m [\w.]+)` shows what your results take", PAGE)[1].split()
    own = os.environ | {"DGM_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, env=own)
    assert done.stdout.strip() == f"0.0 MB  in 0 files in {tmp_path}"
    assert done.stderr == ""
