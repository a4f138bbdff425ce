"""Where to compute: the best device that can do what the book's code asks for."""

import warnings

import torch


def lacking(device):
    """What a device cannot do of what the book's models and samplers use, in words; "" if it can do all of it."""
    try:
        generator = torch.Generator(device).manual_seed(0)
        x = torch.randn(4, 4, generator=generator, device=device)  # Apple's has no float64: not if that is the default
        torch.bernoulli(x.sigmoid(), generator=generator)
        torch.rand(4, generator=generator, device=device).sort()
        x[torch.randperm(4, generator=generator, device=device)].cumsum(0).logsumexp(1)
        weight = torch.ones(4, 4, device=device, requires_grad=True)
        torch.nn.functional.softplus(torch.addmm(x[0], x, weight)).sum().backward()
        torch.optim.Adam([weight], fused=True).step()
        torch.linalg.solve_triangular(torch.linalg.cholesky(x @ x.T + torch.eye(4, device=device)), x, upper=False)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
    return ""


def best_device():
    """The CUDA device if there is one, else Apple's (MPS) if it has the operations of this book, else the CPU.

    Warns if there is one of Apple's and it lacks an operation, such as float64 where that is torch's default dtype.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        if not (lack := lacking(torch.device("mps"))):
            return torch.device("mps")
        warnings.warn(f"computing on the CPU: Apple's device lacks an operation ({lack})", stacklevel=2)
    return torch.device("cpu")


def device_name(device):
    """As in a History: ``cpu``, the graphics card's name, or the device's type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
