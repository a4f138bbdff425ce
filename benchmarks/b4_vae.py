"""B4: a training epoch against the usual course loop, and the exact log p(x) against L_1000."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.timing import (
    epoch_seconds,
    gpu_memory,
    in_turn,
    matmul_rate,
    print_table,
    seconds,
    write_record,
)
from dgm_helpers.data import data_dir, fixed_binarisation, load_mnist
from dgm_helpers.training import best_device, fit
from dgm_helpers.vae import iwae, vae_2d_loss, vae_2d_model, vae_2d_run

HIDDEN, LATENT, BATCH_SIZE = 512, 2, 1000  # of the course's model; ours is that of the book's run
GRID = {"half_width": 5.0, "spacing": 0.08}  # that is timed; its error is reported beside its time
FINE = {"half_width": 6.0, "spacing": 0.025}
ROUNDS = 3


class CourseVAE(nn.Module):
    """The model as course solutions write it."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc_mu, self.fc_logvar = (
            nn.Linear(784, HIDDEN),
            nn.Linear(HIDDEN, LATENT),
            nn.Linear(HIDDEN, LATENT),
        )
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, 784)

    def forward(self, x):
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def course_epoch(device):
    """One epoch of the usual loop: DataLoader with ToTensor, binary cross-entropy on probabilities."""
    model = CourseVAE().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(
        datasets.MNIST(data_dir(), train=True, download=True, transform=transforms.ToTensor()),
        batch_size=BATCH_SIZE,
        shuffle=True,
    )

    def epoch():
        for images, _ in loader:
            x = torch.bernoulli(images.view(-1, 784).to(device))
            probabilities, mu, logvar = model(x)
            cross_entropy = F.binary_cross_entropy(probabilities, x, reduction="sum")
            loss = (cross_entropy - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) / len(x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch


def our_epoch(device, images, precision=torch.float32):
    """Seconds of one epoch by ``fit``."""
    model, generator = vae_2d_model().to(device), torch.Generator(device).manual_seed(0)
    settings = {"batch_size": BATCH_SIZE, "precision": precision, "generator": generator, "progress": False}

    def train(**options):
        return fit(model, vae_2d_loss, images, **settings, **options)

    return epoch_seconds(train, epochs=10 if device.type == "cuda" else 1)


def epoch_flops(num_images):
    """Multiply-adds count twice; forward once, backward twice, except for the gradient of the pixels, never needed."""
    layers = 784 * HIDDEN + HIDDEN * 2 * LATENT + LATENT * HIDDEN + HIDDEN * 784
    return num_images * 2 * (3 * layers - 784 * HIDDEN)


def training(device, mnist):
    usual, images, rounds = course_epoch(device), mnist.train_images, []
    for _ in range(ROUNDS):  # in turn
        rounds.append((seconds(usual), our_epoch(device, images), our_epoch(device, images, torch.bfloat16)))
    course, ours, half = (sorted(column)[ROUNDS // 2] for column in zip(*rounds, strict=True))
    flops, peak = epoch_flops(len(mnist.train_images)), matmul_rate(device)
    rows = [["", "seconds", "times faster", "GFLOP/s", "share of this machine's float32 matmul rate"]]
    for name, took in (("usual course loop", course), ("fit", ours), ("fit, precision=torch.bfloat16", half)):
        rate = flops / took
        rows.append([name, f"{took:.3g}", f"{course / took:.1f}", f"{rate / 1e9:.0f}", f"{rate / peak:.0%}"])
    print_table(f"B4 model, one epoch over 60 000 images, batch 1000 (100 % = {peak / 1e9:.0f} GFLOP/s)", rows)
    return {"course": course, "float32": ours, "bfloat16": half}


def exact_likelihood(mnist):
    model = vae_2d_run(mnist.train_images).load().model
    x = fixed_binarisation(mnist.test_images)

    def exact(images=x, grid=GRID):
        return model.log_evidence(images, **grid)

    def importance():
        return torch.cat([iwae(model.log_weights(batch, 1000)) for batch in x[:1000].split(2)])

    (grid,) = in_turn(exact)
    sampled = 10 * seconds(importance)
    error = exact(x[:1000]) - exact(x[:1000], FINE)
    print_table(
        "B4 model, log-likelihood of all 10 000 test images",
        [
            ["", "seconds", "error (nats)"],
            ["L_1000 (1000 images timed, times 10)", f"{sampled:.3g}", "a lower bound"],
            [f"exact, by a grid of spacing {GRID['spacing']}", f"{grid:.3g}",
             f"mean {float(error.mean().abs()):.4f}, worst of 1000 images {float(error.abs().max()):.2f}"],
            ["ratio", f"{sampled / grid:.0f}", ""],
        ],
    )  # fmt: skip
    return {"exact": grid, "sampled": sampled, "exact_error": float(error.mean().abs())}


def main():
    device = best_device()
    mnist = load_mnist(device=device)
    record = training(device, mnist)
    record |= exact_likelihood(mnist)
    write_record(__file__, record | {"memory": gpu_memory()})
