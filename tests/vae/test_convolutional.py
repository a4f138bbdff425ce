"""The convolutional encoder and decoder: sizes by hand, pixels in their places, shapes, gradients."""

import pytest
import torch
import torch.nn.functional as F

from dgm_helpers.vae import VAE, ConvDecoder, ConvEncoder, Gaussian

LATENT = 3


def model(side):
    torch.manual_seed(0)
    return VAE(ConvEncoder(LATENT, side), ConvDecoder(LATENT, side), LATENT, log_likelihood=Gaussian(1.0)).double()


def images(*shape):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("side", [28, 32])
def test_the_number_of_parameters_counted_by_hand(side):
    encoder = (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (9 * 64 + 1) * 128 + (9 * 128 + 1) * 256 + (4096 + 1) * 32
    decoder = (16 + 1) * 2048 + (16 * 128 * 128 + 128) + (16 * 128 * 64 + 64) + (16 * 64 * 32 + 32) + (9 * 32 + 1) * 1
    assert (count(ConvEncoder(16, side)), count(ConvDecoder(16, side))) == (encoder, decoder) == (518_944, 461_313)


def test_the_layers_are_those_of_the_question():
    convolutions = [m for part in (ConvEncoder(16), ConvDecoder(16)) for m in part.body if hasattr(m, "kernel_size")]
    assert [(m.out_channels, m.kernel_size[0], m.stride[0], m.padding[0]) for m in convolutions] == [
        *[(32, 3, 1, 1), (64, 3, 2, 1), (128, 3, 2, 1), (256, 3, 2, 1)],
        *[(128, 4, 2, 1), (64, 4, 2, 1), (32, 4, 2, 1), (1, 3, 1, 1)],
    ]
    assert [isinstance(m, torch.nn.ReLU) for m in ConvEncoder(16).body].count(True) == 4
    assert [isinstance(m, torch.nn.ReLU) for m in ConvDecoder(16).body].count(True) == 4


@pytest.mark.parametrize("side", [28, 32])
@pytest.mark.parametrize("leading", [(), (1,), (5,), (2, 5), (0,)])
def test_any_leading_axes(side, leading):
    encoder, decoder = ConvEncoder(LATENT, side), ConvDecoder(LATENT, side)
    mu, log_var = encoder(torch.rand(*leading, side**2))
    assert mu.shape == log_var.shape == (*leading, LATENT)
    assert decoder(mu).shape == (*leading, side**2)


def test_the_encoder_written_out():
    """Against the functional form: images in row order, and the first half of the output is the mean."""
    encoder, x = model(32).encoder, images(2, 1024)
    conv = [m for m in encoder.body if isinstance(m, torch.nn.Conv2d)]
    h = x.view(2, 1, 32, 32)
    for layer, stride in zip(conv, (1, 2, 2, 2), strict=True):
        h = F.relu(F.conv2d(h, layer.weight, layer.bias, stride=stride, padding=1))
    out = h.reshape(2, -1) @ encoder.body[-1].weight.T + encoder.body[-1].bias
    torch.testing.assert_close(encoder(x)[0], out[:, :LATENT])
    torch.testing.assert_close(encoder(x)[1], out[:, LATENT:])


def test_side_28_is_side_32_with_a_border_of_two():
    small, large = model(28), model(32)
    large.load_state_dict(small.state_dict())
    x = images(4, 784)
    padded = F.pad(x.view(4, 28, 28), (2, 2, 2, 2)).flatten(1)
    torch.testing.assert_close(small.encoder(x)[0], large.encoder(padded)[0])
    z = images(4, LATENT)
    inside = large.decoder(z).view(4, 32, 32)[:, 2:-2, 2:-2].flatten(1)
    torch.testing.assert_close(small.decoder(z), inside)


@pytest.mark.parametrize("side", [28, 32])
def test_a_batch_of_five_is_five_singles(side):
    vae, x = model(side), images(5, side**2)
    mu, log_var = vae.encoder(x)
    for i in range(5):
        torch.testing.assert_close(vae.encoder(x[i])[0], mu[i])
        torch.testing.assert_close(vae.encoder(x[i])[1], log_var[i])
        torch.testing.assert_close(vae.decoder(mu[i]), vae.decoder(mu)[i])
    torch.testing.assert_close(vae.decoder(mu.expand(2, 5, LATENT))[1], vae.decoder(mu))


@pytest.mark.parametrize("side", [28, 32])
def test_it_serves_the_vae(side):
    vae, x = model(side), images(5, side**2)
    assert vae.log_weights(x, 4).shape == (4, 5)
    assert vae.elbo(x).shape == (5,)
    assert vae.mean(vae.sample_latent(6)).shape == vae.sample(6).shape == (6, side**2)


@pytest.mark.parametrize("side", [28, 32])
def test_every_parameter_gets_a_gradient(side):
    vae = model(side)
    vae.elbo(images(8, side**2), generator=torch.Generator().manual_seed(0)).sum().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_memory_order_does_not_change_the_values():
    vae, x = model(32), images(4, 1024)
    mu = vae.encoder(x)[0]
    mean = vae.decoder(mu)
    vae.to(memory_format=torch.channels_last)
    torch.testing.assert_close(vae.encoder(x)[0], mu)
    torch.testing.assert_close(vae.decoder(mu), mean)


def test_wrong_sizes_are_named():
    for part in (ConvEncoder, ConvDecoder):
        with pytest.raises(ValueError, match="expected side 28 or 32, got 30"):
            part(LATENT, 30)
    with pytest.raises(ValueError, match=r"expected images of shape \(\.\.\., 1024\), got \(3, 784\)"):
        ConvEncoder(LATENT, 32)(torch.zeros(3, 784))
    with pytest.raises(ValueError, match=r"expected images of shape \(\.\.\., 784\), got \(3, 28, 28\)"):
        ConvEncoder(LATENT, 28)(torch.zeros(3, 28, 28))
    with pytest.raises(ValueError, match=r"expected latent points of shape \(\.\.\., 3\), got \(7, 4\)"):
        ConvDecoder(LATENT)(torch.zeros(7, 4))
    with pytest.raises(ValueError, match=r"got \(\)"):
        ConvDecoder(LATENT)(torch.zeros(()))
