"""A training under watch: a loss that is not finite must not reach what is kept; what is shown meanwhile."""

import sys

import torch
from tqdm import tqdm

BLOCK = 20  # steps between two looks at the losses: a look waits for the GPU


class Watch:
    """Looks at the losses of every block of steps; puts back the last good parameters if one is not finite."""

    def __init__(self, model, bar):
        self.model, self.bar, self.losses, self.step = model, bar, [], 0
        self.good = self.candidate = self._copy()

    def _copy(self):
        return {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def see(self, loss):
        self.losses.append(loss)
        if len(self.losses) == BLOCK:
            self.look()

    def look(self):
        """Restore and raise FloatingPointError if a loss since the last look is not finite."""
        losses = torch.stack(self.losses) if self.losses else torch.zeros(0)
        bad = (~torch.isfinite(losses)).nonzero()
        if len(bad):
            worst = int(bad[0])
            # the candidate is the state that the block began with: good if the block's first loss was
            what = f"the loss became {float(losses[worst])} at step {self.step + worst + 1}"
            self.restore(what, self.candidate if worst > 0 else self.good)
        if self.losses:
            self.bar.advance(losses)
            self.good, self.candidate = self.candidate, self._copy()
        self.step, self.losses = self.step + len(losses), []

    def restore(self, what, state=None):
        self.model.load_state_dict(self.good if state is None else state)
        raise FloatingPointError(
            f"{what}; the model was put back to the last parameters known to give a finite loss (at most {2 * BLOCK} "
            "steps earlier). A smaller lr, or inputs without NaN and inf, usually cures it."
        )


class Progress:
    """A bar with the running mean of the loss; a line for each evaluation and one at the end, which stay.

    Plain text on stderr, so the same in notebooks and terminals.
    """

    def __init__(self, epochs, steps, shown):
        self.epochs, self.steps, self.shown, self.mean = epochs, steps, shown, None
        self.bar = tqdm(total=epochs * steps, unit="step", disable=not shown, leave=False, dynamic_ncols=True)

    def advance(self, losses):
        """losses: of the steps since the last call. Their mean enters a running one, over the last 200 steps or so."""
        share = 1.0 if self.mean is None else len(losses) / 200
        self.mean = float(losses.mean()) * share + (self.mean or 0.0) * (1 - share)
        self.bar.set_postfix_str(f"epoch {self.bar.n // self.steps + 1}, loss {self.mean:.4g}", refresh=False)
        self.bar.update(len(losses))

    def evaluate(self, n, evaluate, model):
        """``evaluate(model)``, announced before, and its values on a line of their own."""
        self.bar.set_postfix_str(f"evaluating after epoch {n} ...")
        values = evaluate(model)
        self._line(f"epoch {n}: {_listed(values)}")
        return values

    def close(self, history):
        self.bar.close()
        done = f"{len(history.loss)} of {self.epochs} epochs in {_duration(history.seconds)} on {history.device}"
        loss = f"; mean loss of the last one {history.loss[-1]:.4g}" if history.loss else ""
        self._line(done + loss + ", interrupted" * history.interrupted)

    def _line(self, text):
        if self.shown:
            self.bar.write(text, file=sys.stderr)


def _listed(values):
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, (int, float)) else f"{k} {v}" for k, v in values.items())


def _duration(seconds):
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
