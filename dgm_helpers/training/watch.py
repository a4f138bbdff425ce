"""The losses of a training under watch: one that is not finite must not reach what is kept."""

import torch

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
            self.bar.set_postfix(loss=f"{float(losses[-1]):.3f}", refresh=False)
            self.bar.update(len(losses))
            self.good, self.candidate = self.candidate, self._copy()
        self.step, self.losses = self.step + len(losses), []

    def restore(self, what, state=None):
        self.model.load_state_dict(self.good if state is None else state)
        raise FloatingPointError(
            f"{what}; the model was put back to the last parameters known to give a finite loss (at most {2 * BLOCK} "
            "steps earlier). A smaller lr, or inputs without NaN and inf, usually cures it."
        )
