"""Convolutional encoder and decoder for square images of one channel: the reference architecture of question A4.

They take and give flattened images, as the MLPs of ``networks`` do, with any leading axes, so they fit into ``VAE``.
"""

from torch import nn

from dgm_helpers.arguments import rows, whole

BODY = 32  # the convolutions see 32 x 32 pixels: three strides of 2 leave 4 x 4


def _margin(side):
    """Pixels of border on each side between an image and the convolutions' 32 x 32."""
    if side not in (28, BODY):
        raise ValueError(f"expected side 28 or {BODY}, got {side}")
    return (BODY - side) // 2


def _rows(x, size, what, network):
    rows(x, size, next(network.parameters()), what)
    return x.reshape(x.shape[:-1].numel(), size)


class ConvEncoder(nn.Module):
    """From an image to the mean and log-variance of q(z | x): (..., side * side) -> two of (..., L).

    Four convolutions with ReLU, 32, 64, 128 and 256 channels, the last three of stride 2, and a linear layer. side: 32,
    or 28, which gets a border of 2 zeros. Raises ValueError for another side or last axis.
    """

    def __init__(self, latent_dim, side=BODY):
        super().__init__()
        self.latent_dim, self.side = whole("latent_dim", latent_dim, 1), side
        self.body = nn.Sequential(
            nn.ZeroPad2d(_margin(side)),
            nn.Conv2d(1, 32, 3, stride=1, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(128, 256, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256 * 4 * 4, 2 * latent_dim),
        )

    def forward(self, x):
        images = _rows(x, self.side**2, "images", self).unflatten(-1, (1, self.side, self.side))
        return self.body(images).reshape(*x.shape[:-1], 2 * self.latent_dim).chunk(2, dim=-1)


class ConvDecoder(nn.Module):
    """From a latent point to one parameter for each pixel: (..., L) -> (..., side * side).

    A linear layer to 4 x 4 x 128, three transposed convolutions of stride 2 to 32 x 32, each followed by a ReLU, and a
    last convolution. side: 32, or 28, which loses a border of 2. Raises ValueError for another side or last axis.
    """

    def __init__(self, latent_dim, side=BODY):
        super().__init__()
        self.latent_dim, self.side = whole("latent_dim", latent_dim, 1), side
        self.body = nn.Sequential(
            nn.Linear(latent_dim, 128 * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(-1, (128, 4, 4)),
            nn.ConvTranspose2d(128, 128, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 3, stride=1, padding=1),
            nn.ZeroPad2d(-_margin(side)),  # a negative pad crops
            nn.Flatten(),
        )

    def forward(self, z):
        images = self.body(_rows(z, self.latent_dim, "latent points", self))
        return images.reshape(*z.shape[:-1], self.side**2)
