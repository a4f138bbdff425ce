"""What is measured once of a trained model because it takes long: stored beside the weights, and theirs alone."""

import torch
from torch import nn

from dgm_helpers.training.fit import History
from dgm_helpers.training.run import digest, fit_or_load


class Values(nn.Module):
    """Numbers of every image, or of all together: a tensor for each name."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))


def measured(name, model, x, shapes, measure, **settings):
    """Values of a model on the bits x: loaded from ``weights/<name>`` if they are of this model, these bits and these
    settings, else measured and stored.

    shapes: {name: shape} of what ``measure() -> {name: tensor}`` gives. settings: plain values that fix the result.
    Returns Values on x's device. DGM_RETRAIN and errors are those of ``fit_or_load``; ValueError if x is not of bits.
    """
    if not ((x == 0) | (x == 1)).all():
        raise ValueError(f"expected bits, got values from {float(x.min()):g} to {float(x.max()):g}")
    values = Values(**shapes).to(x.device)

    def run():
        for key, value in measure().items():
            getattr(values, key).copy_(value)
        return History()

    parameters = torch.cat([p.flatten() for p in model.parameters()])
    fit_or_load(name, values, run, {"of": dict(model=digest(parameters), test=digest(x.bool()), **settings)})
    return values
