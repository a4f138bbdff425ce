"""One training loop for the whole book: minibatches of data that stays on the device, Adam unless told otherwise."""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch

from dgm_helpers.arguments import whole
from dgm_helpers.training.cuda_graphs import ReplayedStep
from dgm_helpers.training.device import device_name
from dgm_helpers.training.speed import compiled_parts, usable_precision
from dgm_helpers.training.watch import Progress, Watch


@dataclass
class History:
    """What a training left behind: mean loss of each epoch, evaluations, duration in seconds and where it ran."""

    loss: list = field(default_factory=list)
    records: list = field(default_factory=list)  # one dict for each evaluation, with its "epoch"
    seconds: float = 0.0
    interrupted: bool = False
    device: str = "cpu"  # or the graphics card's name

    def column(self, key):
        """One evaluated quantity against the epoch, as a list."""
        return [record[key] for record in self.records]

    as_dict = asdict


@dataclass(frozen=True)
class Draws:
    """In place of data: batches drawn afresh, ``draw(n, generator, like)``; ``steps`` of them are called an epoch.

    like: a parameter of the model, for its dtype and device.
    """

    draw: Callable
    steps: int


def batches(data, batch_size, generator, like):
    """The batches of one epoch: every row of the data once, in an order drawn afresh; or new draws."""
    if isinstance(data, Draws):
        for _ in range(data.steps):
            yield data.draw(batch_size, generator, like)
    else:
        order = torch.randperm(len(data), generator=generator, device=data.device)
        for rows in order.split(batch_size):
            yield data[rows]


def _one_cycle(peak, options, optimizer, total_steps):
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, peak, total_steps=total_steps, **options)


def one_cycle(peak, **options):
    """A schedule for ``fit``: the learning rate rises to ``peak``, then falls almost to 0 (Smith and Topin 2019).

    options: those of torch's ``OneCycleLR``, such as ``pct_start``, the part of the steps in which it rises (0.3).
    """
    return functools.partial(_one_cycle, peak, options)


adam = functools.partial(torch.optim.Adam, fused=True)  # fused: one kernel for all parameters (Kingma and Ba 2015)


def _gradient_step(model, loss, optimizer, batch_size, generator, precision, compile):
    """``step(batch) -> loss``; its gradient is left in the parameters. On a GPU it is recorded, where possible."""
    like = next(model.parameters())
    precision = usable_precision(precision, like.device)
    compiled = compiled_parts(model, like.device) if compile else contextlib.nullcontext

    def step(batch):
        optimizer.zero_grad(set_to_none=True)
        full = compiled() if len(batch) == batch_size else contextlib.nullcontext()
        with full, torch.autocast(like.device.type, dtype=precision, enabled=precision != torch.float32):
            value = loss(model, batch, generator)
        if not (isinstance(value, torch.Tensor) and value.ndim == 0 and value.requires_grad):
            came = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise TypeError(f"expected loss to return a scalar tensor with a gradient, got {came}")
        value.backward()
        return value.detach()

    return ReplayedStep(step, model.parameters(), batch_size, generator) if like.is_cuda else step


@contextlib.contextmanager
def evaluating(model):
    """Dropout off, batch statistics fixed; afterwards every part of the model is in the mode that it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def train_loop(num_epochs, epoch, step, update, watch, history, record):
    """Every batch of every epoch: its gradient, then the optimizer's step; the mean loss of each epoch is kept.

    epoch: ``epoch()`` gives an epoch's batches. step: ``step(batch) -> loss``, which leaves the gradient in the
    parameters; update: moves them along it. record: ``record(n)`` evaluates after epoch n; 0 is before training.
    """
    record(0)
    for n in range(1, num_epochs + 1):
        losses, sizes = [], []
        for batch in epoch():
            losses.append(step(batch))
            update()
            watch.see(losses[-1])
            sizes.append(len(batch))
        watch.look()
        weights = torch.tensor(sizes, dtype=torch.float32, device=losses[0].device)  # the last batch may be short
        history.loss.append(float((torch.stack(losses) * weights).sum() / weights.sum()))
        record(n)


def fit(
    model, loss, data, *, epochs, batch_size, lr=1e-3, optimizer=adam, schedule=None, precision=torch.float32,
    matmul="highest", compile=False, generator=None, evaluate=None, evaluate_at=(), stop_after=None, progress=True,
):  # fmt: skip
    """Minimise a loss, by Adam (Kingma and Ba 2015) unless told otherwise, and return the History.

    loss: ``loss(model, batch, generator) -> scalar``, averaged over the batch. data: ``(N, ...)``, on the model's
    device, shuffled every epoch; or ``Draws``. generator: of that device, for shuffling and for the loss.
    optimizer: ``optimizer(parameters, lr=lr)`` gives a torch optimizer, such as ``SOAP``.
    schedule: ``schedule(optimizer, total_steps)`` gives a torch learning-rate scheduler, stepped after every step.
    precision: ``torch.bfloat16`` evaluates the loss under autocast (the parameters stay float32); a processor that can
    only emulate it trains in float32 instead, with a warning. matmul: torch's ``float32_matmul_precision`` meanwhile.
    compile: run the model's parts through torch.compile, for full batches; it takes up to a minute at the first step.
    On a GPU the step is recorded as a CUDA graph where that is possible, with the same result: the loss may then depend
    on its arguments only, as its Python code runs a few times; at the end the parameters are left without gradients.
    evaluate: ``evaluate(model) -> dict of numbers``, called without gradients and in eval mode after each epoch in
    ``evaluate_at`` (0 is before training). progress: a bar with the running mean of the loss, a line for each
    evaluation, one at the end. stop_after: end after so many of the epochs, on the whole run's schedule. Ctrl-C stops
    early and keeps the history, with ``interrupted`` set.
    Raises FloatingPointError, which names the step, at a loss that is not finite; the model keeps its last good
    parameters. Raises ValueError for empty data, impossible settings, or data on another device.
    """
    like = next((p for p in model.parameters() if p.requires_grad), None)
    if like is None:
        raise ValueError("expected a model with parameters that require a gradient, got none")
    epochs, batch_size = whole("epochs", epochs, 0), whole("batch_size", batch_size, 1)
    steps = _steps(data, batch_size, generator, like.device)
    last = epochs if stop_after is None else min(stop_after, epochs)
    optimizer = optimizer([p for p in model.parameters() if p.requires_grad], lr=lr)
    scheduler = schedule(optimizer, max(1, epochs * steps)) if schedule is not None else None
    step = _gradient_step(model, loss, optimizer, batch_size, generator, precision, compile)
    history, started = History(device=device_name(like.device)), time.perf_counter()
    bar, ordinary = Progress(last, steps, progress), torch.get_float32_matmul_precision()
    watch = Watch(model, bar)

    def epoch():
        return batches(data, batch_size, generator, like)

    def update():
        optimizer.step()
        if scheduler is not None:
            scheduler.step()

    def record(n):
        if evaluate is not None and n in evaluate_at:
            with torch.no_grad(), evaluating(model):
                history.records.append({"epoch": n, **bar.evaluate(n, evaluate, model)})

    try:
        torch.set_float32_matmul_precision(matmul)
        train_loop(last, epoch, step, update, watch, history, record)
        if not all(torch.isfinite(p).all() for p in model.parameters()):
            watch.restore("the last step left a parameter that is not finite")
    except KeyboardInterrupt:
        history.interrupted = True
    finally:
        torch.set_float32_matmul_precision(ordinary)
        history.seconds = time.perf_counter() - started
        bar.close(history)
        if like.is_cuda:
            step.give_memory_back()
    return history


def _steps(data, batch_size, generator, device):
    """Batches in an epoch. Raises ValueError or TypeError for what cannot be trained on."""
    if generator is not None and generator.device.type != device.type:
        raise ValueError(f"expected a generator of the model's device {device}, got one of {generator.device}")
    if isinstance(data, Draws):
        return whole("steps", data.steps, 1)
    if not isinstance(data, torch.Tensor):
        raise TypeError(f"expected data as a tensor or Draws, got {type(data).__module__}.{type(data).__name__}")
    if data.ndim == 0 or len(data) == 0:
        raise ValueError(f"expected data of shape (N, ...) with N >= 1, got {tuple(data.shape)}")
    if data.device != device:
        raise ValueError(f"expected data on the model's device {device}, got data on {data.device}")
    return math.ceil(len(data) / batch_size)
