"""D9: an EM iteration of a Gaussian mixture, and PPCA of all of MNIST, each beside scikit-learn in one run.

scikit-learn's iteration is the difference between runs of 1 and of 4 iterations from the same start, over 3.
"""

import json
import warnings
from pathlib import Path

import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as Peer

from benchmarks.timing import in_turn, machine, print_table
from dgm_helpers.data.mnist import load_mnist
from dgm_helpers.latent import em_step, fit_ppca, kmeans_plus_plus, spectrum, start_at

COMPONENTS, DIM, LATENT, STEPS = 20, 50, 50, 3
RECORD = Path(__file__).with_suffix(".json")


def ours(model, x):
    def run():
        new = model
        for _ in range(STEPS):
            new, _ = em_step(new, x)

    return run


def theirs(model, x, steps):
    peer = Peer(
        COMPONENTS, max_iter=steps, tol=0, weights_init=model.weights.numpy(), means_init=model.means.numpy(),
        precisions_init=torch.linalg.inv(model.covariances).numpy(), reg_covar=0, init_params="random_from_data",
    )  # fmt: skip
    data = x.numpy()

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer.fit(data)

    return run


def mixture_steps(images, record):
    mean, _, vectors = spectrum(images)
    projected = (images.double() - mean) @ vectors[:, :DIM]
    rows = [["", "seconds", "times as fast"]]
    for dtype in (torch.float32, torch.float64):
        x, name = projected.to(dtype), str(dtype)[6:]
        model = start_at(kmeans_plus_plus(x, COMPONENTS, generator=torch.Generator().manual_seed(0)), x)
        steps, one, more = in_turn(ours(model, x), theirs(model, x, 1), theirs(model, x, 1 + STEPS))
        took, peer = steps / STEPS, (more - one) / STEPS
        rows.append([f"scikit-learn, {name}", f"{peer:.2f}", "1.0"])
        rows.append([f"em_step, {name}", f"{took:.2f}", f"{peer / took:.1f}"])
        record[f"em_{name}"] = {"ours": took, "peer": peer}
    print_table(f"D9, one EM iteration: {COMPONENTS} components, {len(images)} x {DIM}, full covariances", rows)


def whole_ppca(images, record):
    data = images.numpy()
    took, peer = in_turn(lambda: fit_ppca(images, LATENT), lambda: PCA(LATENT, svd_solver="covariance_eigh").fit(data))
    rows = [["", "seconds", "times as fast"]]
    rows += [["scikit-learn, covariance_eigh", f"{peer:.2f}", "1.0"], ["fit_ppca", f"{took:.2f}", f"{peer / took:.1f}"]]
    record["ppca"] = {"ours": took, "peer": peer}
    print_table(f"D9, PPCA of {len(images)} x 784, float32; ours takes the eigenvectors in float64", rows)


def main():
    images = load_mnist().train_images
    record = {"where": machine()}
    mixture_steps(images, record)
    whole_ppca(images, record)
    RECORD.write_text(json.dumps(record, indent=2) + "\n")  # the notebooks quote it


if __name__ == "__main__":
    main()
