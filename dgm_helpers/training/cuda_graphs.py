"""On a GPU: calls recorded as CUDA graphs and replayed, with the same result. For ``fit`` and ``sample_hmc``."""

import contextlib
import functools
import warnings

import torch

from dgm_helpers.training.speed import reason, took

ORDINARY = 3  # calls before one is recorded: in them the libraries choose their ways and make room


@functools.cache
def _stream_of(device):
    return torch.cuda.Stream(device)


def side_stream():
    """The one stream of the current card in which everything is recorded: the libraries keep working memory for every
    stream that they meet."""
    return _stream_of(torch.cuda.current_device())


class Recording:
    """A CUDA graph of ``function(*inputs)``, tensors to one tensor or several: one launch where there were dozens.

    Calling it with other inputs of the same shapes replays the kernels; the function's Python code no longer runs.
    Raises RuntimeError for a function that cannot be recorded.
    """

    def __init__(self, function, inputs, stream, generator=None):
        self.inputs, self.graph = [x.clone() for x in inputs], torch.cuda.CUDAGraph()
        if generator is not None:
            self.graph.register_generator_state(generator)  # else every replay would draw the same numbers
        try:
            with torch.cuda.graph(self.graph, stream=stream):
                self.outputs = function(*self.inputs)
        except RuntimeError:
            _end_recording(stream, generator)
            raise

    def __call__(self, *inputs):
        for own, came in zip(self.inputs, inputs, strict=True):
            own.copy_(came)
        self.graph.replay()
        if isinstance(self.outputs, torch.Tensor):
            return self.outputs.clone()  # the next replay writes over it
        return tuple(output.clone() for output in self.outputs)


def _end_recording(stream, generator):
    """After one that failed the generators still believe in it, and refuse to draw: record something that cannot."""
    graph = torch.cuda.CUDAGraph()
    if generator is not None:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph, stream=stream):
        torch.zeros(1, device="cuda")


@contextlib.contextmanager
def _on(stream):
    """Work on a stream of its own: after what the card was given before, and before what it is given afterwards."""
    here = torch.cuda.current_stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        yield
    here.wait_stream(stream)


@contextlib.contextmanager
def _warnings_of_waits():
    """Torch warns at every wait for the card meanwhile. Yields the list in which all warnings are caught."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode(before)


def watched(function, inputs, stream):
    """One call in a stream of its own: its result, and whether it made Python wait for the GPU."""
    with _on(stream), _warnings_of_waits() as caught:
        result = function(*inputs)
    waits = [w for w in caught if "synchronizing CUDA operation" in str(w.message)]
    for w in caught:  # the function's own; torch also says, once, that its debug mode is a prototype
        if w not in waits and "Synchronization debug mode" not in str(w.message):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    return result, bool(waits)


class Replayed:
    """``function(*inputs)`` on a GPU, replayed from a recording after a few ordinary calls.

    Small models and densities are dozens of short kernels, and launching them takes longer than running them. A
    function that cannot be recorded, for one because it reads a number back from the GPU, stays as it is, with a
    warning; ``speed.ways()["CUDA graph"]`` says which.
    """

    def __init__(self, function, generator=None):
        self.function, self.generator = function, generator
        self.stream, self.done = side_stream(), 0
        self.recording, self.possible = None, True

    def __call__(self, *inputs):
        if not self.possible:
            return self.function(*inputs)
        if self.done < ORDINARY:
            self.done += 1
            result, waits = watched(self.function, inputs, self.stream)
            if waits and self.done == ORDINARY:  # the first ones may wait for a library to get ready
                self._stays("it makes Python wait for the GPU")
            return result
        if self.recording is None:
            try:
                self.recording = Recording(self.function, inputs, self.stream, self.generator)
                took("CUDA graph")
            except RuntimeError as error:
                self._stays(reason(error))
                return self.function(*inputs)
        return self.recording(*inputs)

    def _stays(self, why_not):
        self.possible = False
        took("CUDA graph", why_not, instead="not recorded as a CUDA graph, so slower")


class ReplayedStep:
    """``step(batch) -> loss``, which leaves gradients in the parameters: replayed for full batches, else as it is."""

    def __init__(self, step, parameters, batch_size, generator):
        self.step, self.full, self.batch_size = step, Replayed(step, generator), batch_size
        self.parameters, self.gradients = [p for p in parameters if p.requires_grad], None

    def __call__(self, batch):
        if len(batch) != self.batch_size:
            return self.step(batch)
        loss = self.full(batch)
        if self.full.recording is not None:
            if self.gradients is None:
                self.gradients = [p.grad for p in self.parameters]
            for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = gradient  # a batch of another size has left its own
        return loss

    def give_memory_back(self):
        """At the end: drop the recording and the gradients, which lie in its memory, and return that to the card.

        Each recording has memory of its own, which no other tensor may use. It is free once the recording is gone and
        nothing lies in it any more; PyTorch then still holds it until its cache is emptied.
        """
        self.full = self.gradients = None
        for parameter in self.parameters:
            parameter.grad = None
        torch.cuda.empty_cache()
