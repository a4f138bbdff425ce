"""A training with everything that fixes it: its stored result is loaded if it is of this very run."""

import contextlib
import copy
import functools
import inspect
from typing import NamedTuple

import torch

from dgm_helpers.training.fingerprint import describe, digest, digest_once
from dgm_helpers.training.fit import Draws, History, fit
from dgm_helpers.training.stored import fits, retrain_mode, stored, weights_dir

PART = 4  # rows on which values that were measured once are computed again at every load
DEFAULTS = {
    name: p.default
    for name, p in inspect.signature(fit).parameters.items()
    if p.kind is p.KEYWORD_ONLY and name not in ("generator", "evaluate", "stop_after", "progress")
}


class Trained(NamedTuple):
    """A model and the history of its training."""

    model: torch.nn.Module
    history: History


class Run:
    """One training, with everything that fixes it: ``load`` gives the stored result if it is of this very run.

    name: of its file in ``weights/``. model: ``model()`` builds it on the CPU; it is called under the seed. loss, data,
    evaluate and all further arguments are those of ``fit``. store: the dtype of the file's numbers; what is loaded are
    the stored numbers. ``None`` stores the history alone. device: where to train and to load, that of the data if it is
    not given. Only parameters that require a gradient and buffers are stored.

    The fingerprint holds the arguments, a digest of the data, and the run's behaviour: the loss and the norm of its
    gradient for the fresh model, and the loss of the stored one, each on the first minibatch with the seed's random
    numbers, on the CPU in float32. Every load computes the behaviour again.
    """

    def __init__(self, name, *, model, loss, data, seed, store=torch.float32, device=None, evaluate=None, **options):
        if unknown := sorted(options.keys() - DEFAULTS.keys()):
            raise TypeError(f"expected arguments of fit, got {', '.join(unknown)}")
        self.name, self.build, self.loss, self.data, self.seed = name, model, loss, data, seed
        self.store, self.evaluate, self.options = store, evaluate, options
        self.device = torch.device(device or getattr(data, "device", "cpu"))

    @contextlib.contextmanager
    def _seeded(self, device="cpu"):
        """The seed for what takes no generator, such as dropout; afterwards the caller's random numbers go on."""
        card = torch.device(device).type == "cuda"
        with torch.random.fork_rng(devices=[device] if card else []):
            (torch if card else torch.default_generator).manual_seed(self.seed)
            yield

    def new_model(self):
        """The model before training, on the CPU."""
        with self._seeded():
            return self.build()

    def start(self, epochs=None, *, evaluate=None, progress=False):
        """Train afresh from the seed, the first ``epochs`` of the run's or all of them. Nothing is stored. Trained."""
        model = self.new_model().to(self.device)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        options = self.options | {"stop_after": epochs, "evaluate": evaluate, "progress": progress}
        with self._seeded(self.device):
            return Trained(model, fit(model, self.loss, self.data, generator=generator, **options))

    def load(self, *, train=False, progress=True):
        """The trained model, without gradients and in eval mode, and its history: Trained.

        train: train here, whatever is stored; nothing is stored then. Raises as ``stored``, and ValueError for a file
        that is damaged or of another model.
        """
        if train and retrain_mode() != "always":
            trained = self.start(evaluate=self.evaluate, progress=progress)
            self._trained = Trained(self._with(self._tensors(trained.model)), trained.history)
        else:
            tensors, history = stored(
                self.name, self.fingerprint(), functools.partial(self._make, progress), self._accept
            )
            self._trained = Trained(self._with(tensors), history)
        return self._trained

    def measure(self, label, function, x, *, seed=0, probe=None, **settings):
        """What takes minutes to compute of the loaded model: stored in ``weights/<name>_<label>``, {name: tensor}.

        function: ``function(model, x, generator) -> {name: tensor}``; ``probe``, or else it itself, is computed on the
        first rows of x at every load, on the CPU. settings: plain values that fix the result besides.
        """
        model = self._trained.model if hasattr(self, "_trained") else self.load().model

        def make():
            return function(model, x, torch.Generator(x.device).manual_seed(seed)), History()

        few, small = x[:PART].cpu(), copy.deepcopy(model).cpu()
        with torch.no_grad():
            part = (probe or function)(small, few, torch.Generator().manual_seed(seed))
            parameters = torch.cat([p.flatten() for p in small.parameters()])
            fingerprint = {
                "of": {"model": digest(parameters), "x": digest_once(x), "seed": seed} | describe(settings),
                "part": {k: float(v.double().mean()) for k, v in part.items()},
            }
            tensors, _ = stored(f"{self.name}_{label}", fingerprint, make)
        return {k: v.to(x.device) for k, v in tensors.items()}

    @functools.cached_property
    def changed(self):
        """How this run differs from the book's, in words; "" if the book's file holds it."""
        path = weights_dir() / f"{self.name}.safetensors"
        if not path.exists():
            return f"{path} is missing"
        return fits(path, self.fingerprint(), self._accept)[2]

    def fingerprint(self):
        """What fixes the run, without the stored model's loss: {"settings": ..., "fresh": ...}."""
        settings = {k: describe(v) for k, v in (DEFAULTS | self.options).items()}
        if isinstance(self.data, Draws):
            settings |= {"steps": self.data.steps}
        else:
            settings |= {"data": digest_once(self.data)}
        model = self.new_model()
        with self._seeded():
            loss = self._first_loss(model)
        loss.backward()
        squares = [p.grad.double().square().sum() for p in model.parameters() if p.grad is not None]
        fresh = {"loss": float(loss.detach()), "gradient norm": float(sum(squares)) ** 0.5}
        return {"settings": settings | {"seed": self.seed, "store": describe(self.store)}, "fresh": fresh}

    def _first_loss(self, model):
        """The loss on the first minibatch, with the random numbers of a CPU."""
        generator = torch.Generator().manual_seed(self.seed)
        like, size = next(model.parameters()), self.options["batch_size"]
        if isinstance(self.data, Draws):
            return self.loss(model, self.data.draw(size, generator, like), generator)
        order = torch.randperm(len(self.data), generator=generator)[:size]
        return self.loss(model, self.data[order.to(self.data.device)].to(like.device), generator)

    def _accept(self, tensors):
        """The stored model's loss, which must be the one stored beside it."""
        if self.store is None:
            return {}
        with torch.no_grad():
            return {"loss": float(self._first_loss(self._with(tensors, "cpu")))}

    def _make(self, progress):
        model, history = self.start(evaluate=self.evaluate, progress=progress)
        return self._tensors(model), history

    def _tensors(self, model):
        """What is stored of a model, in the dtype of the file."""
        frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
        kept = {name: value for name, value in model.state_dict().items() if name not in frozen}
        if self.store is None:
            return {}
        return {
            k: v.to(self.store) if v.is_floating_point() and self.store != torch.float32 else v for k, v in kept.items()
        }

    def _with(self, tensors, device=None):
        """A new model with the file's numbers. Raises ValueError if they are of another one."""
        model = self.new_model()
        expected = {name: tuple(value.shape) for name, value in self._tensors(model).items()}
        came = {name: tuple(value.shape) for name, value in tensors.items()}
        if came != expected:  # before anything is copied: nothing half-loaded
            raise ValueError(f"{self.name} is stored for another model: expected {expected}, got {came}")
        model.load_state_dict(tensors, strict=False)
        return model.requires_grad_(False).eval().to(device or self.device)
