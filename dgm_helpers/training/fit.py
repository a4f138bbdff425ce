"""One training loop for the whole book: Adam over shuffled minibatches of data that stays on the device."""

import contextlib
import functools
import time
from dataclasses import asdict, dataclass, field

import torch
from tqdm import tqdm

from dgm_helpers.training.cuda_graphs import ReplayedStep, give_memory_back
from dgm_helpers.training.speed import compiled_parts, usable_precision

BLOCK = 20  # steps between two looks at the loss: a look waits for the GPU


def best_device():
    """The CUDA device if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device):
    """As in a History: ``cpu``, or the graphics card's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


@dataclass
class History:
    """What a run left behind: mean training loss of each epoch, evaluations, duration in seconds and where it ran."""

    loss: list = field(default_factory=list)
    records: list = field(default_factory=list)  # one dict for each evaluation, with its "epoch"
    seconds: float = 0.0
    interrupted: bool = False
    device: str = "cpu"  # or the graphics card's name

    def column(self, key):
        """One evaluated quantity against the epoch, as a list."""
        return [record[key] for record in self.records]

    as_dict = asdict


class _LastGood:
    """Remembers the parameters of the last block of steps that began with a finite loss."""

    def __init__(self, model):
        self.model = model
        self.good = self.candidate = self._copy()

    def _copy(self):
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def verify(self, losses, first_step):
        """Look at a block's losses, (n,); restore and raise FloatingPointError if one is not finite."""
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            worst = int(bad[0])
            # the candidate is the state that the block began with: good if the block's first loss was
            self.restore(
                f"the loss became {float(losses[worst])} at step {first_step + worst}", use_candidate=worst > 0
            )
        self.good, self.candidate = self.candidate, self._copy()

    def restore(self, what, use_candidate=False):
        self.model.load_state_dict(self.candidate if use_candidate else self.good)
        raise FloatingPointError(
            f"{what}; the model was put back to the last parameters known to give a finite loss (at most {2 * BLOCK} "
            "steps earlier). A smaller lr, or inputs without NaN and inf, usually cures it."
        )


def one_cycle(peak, **options):
    """A schedule for ``fit``: the learning rate rises to ``peak``, then falls almost to 0 (Smith and Topin 2019).

    options: those of torch's ``OneCycleLR``, such as ``pct_start``, the part of the steps in which it rises (0.3).
    """
    cycle = functools.partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=peak, **options)
    return lambda optimizer, total_steps: cycle(optimizer, total_steps=total_steps)


adam = functools.partial(torch.optim.Adam, fused=True)  # fused: one kernel for all parameters


def fit(
    model,
    loss,
    data,
    *,
    epochs,
    batch_size,
    lr=1e-3,
    optimizer=adam,
    schedule=None,
    precision=torch.float32,
    compile=False,
    generator=None,
    evaluate=None,
    evaluate_at=(),
    progress=True,
):
    """Minimise a loss, by Adam (Kingma and Ba 2015) unless told otherwise, and return the run's History.

    loss: ``loss(model, batch, generator) -> scalar``, averaged over the batch. data: ``(N, ...)``, shuffled every
    epoch; it is on the model's device and never leaves it. generator: of that device, for shuffling and for the loss.
    optimizer: ``optimizer(parameters, lr=lr)`` gives a torch optimizer, such as ``soap.SOAP``.
    schedule: ``schedule(optimizer, total_steps)`` gives a torch learning-rate scheduler, stepped after every step;
    without one lr stays. precision: ``torch.bfloat16`` evaluates the loss under autocast (the parameters stay float32);
    a processor that can only emulate it trains in float32 instead, with a warning.
    compile: run the model's parts through torch.compile, for full batches in training only; that takes up to a minute
    at the first step and pays off in long runs. The model, its names and its state stay as they are.
    On a GPU the step is recorded as a CUDA graph where that is possible, else run as it stands, with the same result:
    the loss may then depend on its arguments only, as its Python code runs a few times and its kernels ever after; at
    the end the parameters are left without gradients there.
    evaluate: ``evaluate(model) -> dict of numbers``, called without gradients after each epoch in ``evaluate_at`` (0 is
    before training). Ctrl-C stops early and keeps the history, with ``interrupted`` set.
    Raises FloatingPointError, which names the step, at a loss that is not finite; the model keeps its last good
    parameters. Raises ValueError for empty data, impossible settings, or data on another device.
    """
    device = next(model.parameters()).device
    if data.device != device:
        raise ValueError(f"expected data on the model's device {device}, got data on {data.device}")
    if len(data) == 0 or batch_size < 1 or epochs < 0:
        raise ValueError(f"expected data, batch_size >= 1 and epochs >= 0, got {len(data)=}, {batch_size=}, {epochs=}")

    precision = usable_precision(precision, device)
    compiled = compiled_parts(model, device) if compile else contextlib.nullcontext
    optimizer = optimizer(model.parameters(), lr=lr)
    history, last_good, started = History(device=device_name(device)), _LastGood(model), time.perf_counter()
    steps = -(-len(data) // batch_size)
    scheduler = schedule(optimizer, max(1, epochs * steps)) if schedule is not None else None

    def step(batch):
        """The loss of a batch; its gradient is left in the parameters."""
        optimizer.zero_grad(set_to_none=True)
        full = compiled() if len(batch) == batch_size else contextlib.nullcontext()
        with full, torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32):
            value = loss(model, batch, generator)
        value.backward()
        return value.detach()

    if device.type == "cuda":
        step = ReplayedStep(step, model.parameters(), batch_size, generator)
    bar = tqdm(total=epochs * steps, unit="step", disable=not progress, leave=False, dynamic_ncols=True)

    def record(epoch):
        if evaluate is not None and epoch in evaluate_at:
            with torch.no_grad():
                history.records.append({"epoch": epoch, **evaluate(model)})

    try:
        record(0)
        for epoch in range(1, epochs + 1):
            order = torch.randperm(len(data), generator=generator, device=device)
            losses, sizes, seen = [], [], 0
            for rows in order.split(batch_size):
                value = step(data[rows])
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
                losses.append(value)
                sizes.append(len(rows))
                if len(losses) - seen == BLOCK or len(losses) == steps:
                    last_good.verify(torch.stack(losses[seen:]), (epoch - 1) * steps + seen + 1)
                    bar.set_postfix(epoch=epoch, loss=f"{float(value):.3f}", refresh=False)
                    bar.update(len(losses) - seen)
                    seen = len(losses)
            weights = torch.tensor(sizes, dtype=torch.float32, device=device)
            history.loss.append(float((torch.stack(losses) * weights).sum() / weights.sum()))
            record(epoch)
        if not all(torch.isfinite(p).all() for p in model.parameters()):
            last_good.restore("the last step left a parameter that is not finite")
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        bar.close()
        history.seconds = time.perf_counter() - started
        if device.type == "cuda":
            step = None
            give_memory_back(model.parameters())
    return history
