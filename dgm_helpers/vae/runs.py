"""The stored trainings of this chapter that several notebooks use, each defined once."""

import functools

import torch
from torch import nn

from dgm_helpers.data.mnist import binarise, fixed_binarisation, threshold
from dgm_helpers.probability.quadrature import grid_2d
from dgm_helpers.training.fit import adam, one_cycle
from dgm_helpers.training.run import Run
from dgm_helpers.training.soap import SOAP
from dgm_helpers.vae.bound_training import log_weights_in_parts, pixel_log_odds
from dgm_helpers.vae.bounds import elbo, iwae
from dgm_helpers.vae.model import VAE
from dgm_helpers.vae.multisample import doubly_reparameterised_bound, path_derivative_elbo
from dgm_helpers.vae.networks import MLPDecoder, MLPEncoder
from dgm_helpers.vae.tiles import posterior_sums
from dgm_helpers.vae.two_layers import TwoLayerVAE

IWAE_OBJECTIVES = {  # objective and number of draws; at K = 1 the two objectives are one
    "K = 1": ("VAE", 1), "VAE, K = 5": ("VAE", 5), "IWAE, K = 5": ("IWAE", 5), "VAE, K = 50": ("VAE", 50),
    "IWAE, K = 50": ("IWAE", 50),
}  # fmt: skip
IWAE_PUBLISHED = {  # test NLL, nats, by the number of layers: Burda et al. (2016), table 1
    1: dict(zip(IWAE_OBJECTIVES, (86.76, 86.47, 85.54, 86.35, 84.78), strict=True)),
    2: dict(zip(IWAE_OBJECTIVES, (85.33, 85.01, 83.89, 84.78, 82.90), strict=True)),
}
IWAE_PAIRS = (  # one objective and what it is compared with
    ("IWAE, K = 5", "K = 1"), ("IWAE, K = 50", "IWAE, K = 5"), ("VAE, K = 5", "K = 1"), ("VAE, K = 50", "VAE, K = 5"),
    ("IWAE, K = 5", "VAE, K = 5"), ("IWAE, K = 50", "VAE, K = 50"),
)  # fmt: skip


def iwae_run(mnist, layers, objective, num_samples, seed, *, optimizer=SOAP, peak=3e-3):
    """A training of question E1: an architecture of Burda et al. (2016), a tenth of their epochs in batches of 200.

    mnist: of ``load_mnist``; pixels are drawn afresh at every access. layers: 1 (784-200-200-50) or 2 (784-200-200-100
    and 100-100-100-50), tanh. objective: "IWAE", L_K doubly reparameterised, or "VAE", the mean of K one-draw ELBOs
    along the path; at K = 1 they are one. The learning rate rises to ``peak`` in a hundredth of the steps, then falls.
    """
    grey, tanh = mnist.train_images, {"activation": nn.Tanh}
    bound = {"VAE": path_derivative_elbo, "IWAE": doubly_reparameterised_bound}[objective]

    def model():
        if layers == 1:
            model = VAE.mlp(784, [200, 200], 50, **tanh)
        else:
            encoder, upper_encoder = MLPEncoder(784, [200, 200], 100, **tanh), MLPEncoder(100, [100, 100], 50, **tanh)
            prior, decoder = MLPEncoder(50, [100, 100], 100, **tanh), MLPDecoder(100, [200, 200], 784, **tanh)
            model = TwoLayerVAE(encoder, upper_encoder, prior, decoder, (100, 50))
        with torch.no_grad():  # before training, z says nothing and p(x) is the pixels' mean
            model.decoder.body[-1].bias.copy_(pixel_log_odds(grey))
        return model

    def loss(model, grey, generator):
        return -bound(model, binarise(grey, generator), num_samples, generator=generator).mean()

    def evaluate(model):  # the ELBO and -L_500 of 500 images of each split, by the same draws at every epoch
        sets = {"train": fixed_binarisation(grey[:500], seed=1), "test": fixed_binarisation(mnist.test_images)[:500]}
        record, generator = {}, torch.Generator(grey.device).manual_seed(0)
        for name, x in sets.items():
            log_w = log_weights_in_parts(model, x, 500, generator=generator)
            record |= {f"{name}_elbo": float(log_w.mean()), f"{name}_nll": -float(iwae(log_w).mean())}
        return record

    kind = "adam" if optimizer is adam else f"seed_{seed}"
    return Run(
        f"iwae{'_layers' * (layers - 1)}_{objective.lower()}_{num_samples}_{kind}",
        model=model, loss=loss, data=grey, seed=seed, epochs=328, batch_size=200, optimizer=optimizer,
        schedule=one_cycle(peak, pct_start=0.01, anneal_strategy="linear", cycle_momentum=False),
        evaluate=evaluate, evaluate_at=[1, 2, 5, 10, 20, 40, 80, 120, 160, 200, 260, 328],
        matmul="high", store=torch.float16,
    )  # fmt: skip


def iwae_runs(mnist, layers, seeds, objectives=tuple(IWAE_OBJECTIVES)):
    """``iwae_run`` of these objectives and seeds: {(objective, seed): Run}."""
    return {(of, seed): iwae_run(mnist, layers, *IWAE_OBJECTIVES[of], seed) for of in objectives for seed in seeds}


def vae_2d_model():
    """The model of question B4: 784-512-2 and back, ReLU."""
    return VAE.mlp(784, 512, 2)


def vae_2d_loss(model, grey, generator):
    """The negative one-draw ELBO of pixels that are drawn afresh at every access."""
    return -model.elbo(binarise(grey, generator), generator=generator).mean()


def vae_2d_run(grey, name="vae_2d", **changes):
    """The training of question B4 in bfloat16, on grey values (N, 784); changes: other arguments of Run."""
    own = dict(
        model=vae_2d_model, loss=vae_2d_loss, seed=0, epochs=100, batch_size=1000, lr=1e-3, precision=torch.bfloat16,
        evaluate_at=[1, 2, 5, *range(10, 21, 5), *range(30, 101, 10)],
    )  # fmt: skip
    return Run(name, data=grey, **own | changes)


def svi_run(name, data, epochs, **changes):
    """A training of questions C2 and C3: 784-500-2 and 2-500-784, tanh, batches of 100, Adam with 1e-3; a Run.

    Its loss is minus the bound with one draw of z for each image, without a KL in closed form. data: (N, 784), bits.
    changes: other arguments of ``Run``.
    """

    def loss(model, x, generator):
        return -elbo(model.log_weights(x, 1, generator=generator)).mean()

    model = functools.partial(VAE.mlp, 784, 500, 2, activation=nn.Tanh)
    settings = {"model": model, "loss": loss, "seed": 0, "batch_size": 100, "lr": 1e-3, "store": torch.float16}
    return Run(name, data=data, epochs=epochs, **(settings | changes))


def svi_base(mnist, **changes):
    """``svi_run`` on the first 10 000 thresholded digits, 200 epochs.

    Its records hold, of 1000 images of each split, means of the ELBO (also of 1000 validation images) and of the exact
    log p(x), and medians of two lengths in the latent plane: ``miss``, from the encoder's mean to the posterior's (root
    mean square over the axes), and ``sd``, the posterior's standard deviation (geometric mean over the axes).
    """
    train, test = threshold(mnist.train_images[:10_000]), threshold(mnist.test_images[:1000])
    valid = threshold(mnist.train_images[50_000:51_000])

    def evaluate(model):
        points, generator = grid_2d(-5, 5, 0.05, device=train.device), torch.Generator(train.device).manual_seed(0)

        def bound(x):
            return float(elbo(log_weights_in_parts(model, x, 20, generator=generator)).mean())

        record = {"valid_elbo": bound(valid)}
        for split, x in (("train", train[:1000]), ("test", test)):
            log_p, mean, sd, _ = posterior_sums(model, x, points)
            miss = (model.encoder(x)[0] - mean).square().mean(1).sqrt()
            values = {"elbo": bound(x), "log_p": log_p.mean(), "miss": miss.median(), "sd": sd.prod(1).sqrt().median()}
            record |= {f"{split}_{key}": float(value) for key, value in values.items()}
        return record

    epochs = [1, 2, 5, 10, 15, 20, 30, 50, 80, 120, 160, 200]
    return svi_run("svi_base", train, 200, **({"evaluate": evaluate, "evaluate_at": epochs} | changes))
