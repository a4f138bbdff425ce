"""Run: a stored result is loaded if it is of this very run, and refused with a reason if it is not."""

import itertools
import json
import os

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dgm_helpers.autoregressive import MADE
from dgm_helpers.flows import AffineCoupling, Flow
from dgm_helpers.probability import log_bernoulli, log_normal
from dgm_helpers.training import Draws, Run, cache, fingerprint, one_cycle, stored
from dgm_helpers.training.run import DEFAULTS
from dgm_helpers.vae import VAE, MLPDecoder, MLPEncoder

BITS = torch.bernoulli(torch.full((60, 6), 0.4), generator=torch.Generator().manual_seed(0))
POINTS = torch.randn(60, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("DGM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("DGM_RETRAIN", raising=False)
    return tmp_path


def vae(log_likelihood=log_bernoulli, activation=nn.ReLU, bias=0.0):
    def build():
        encoder, decoder = (part(*sizes, activation=activation) for part, sizes in
                            ((MLPEncoder, (6, 5, 2)), (MLPDecoder, (2, 5, 6))))  # fmt: skip
        decoder.body[-1].bias.data.add_(bias)
        return VAE(encoder, decoder, 2, log_likelihood=log_likelihood)

    return build


def elbo_loss(model, x, generator):
    return -model.elbo(x, generator=generator).mean()


def nll(model, x, generator):
    return -model.log_prob(x).mean()


def unit_gaussian(x, output):
    return log_normal(x, output, torch.zeros_like(output))


def a_vae(**changes):
    settings = dict(model=vae(), loss=elbo_loss, data=BITS, seed=0, epochs=2, batch_size=20, lr=1e-2)
    return Run("toy", **(settings | changes))


def a_made(**options):
    return Run("toy", model=lambda: MADE(6, [8], **options), loss=nll, data=BITS, seed=0, epochs=2, batch_size=20)


def a_flow(flip=False):
    layers = lambda: Flow([AffineCoupling(2, hidden=(4,), flip=flip), AffineCoupling(2, hidden=(4,))], 2)  # noqa: E731
    return Run("toy", model=layers, loss=nll, data=POINTS, seed=0, epochs=2, batch_size=20)


@pytest.fixture
def store(monkeypatch):
    """``store(run)``: train it and put it into the book's folder; afterwards nothing may be trained."""

    def store(run):
        monkeypatch.setenv("DGM_RETRAIN", "always")
        trained = run.load(progress=False)
        monkeypatch.setenv("DGM_RETRAIN", "never")
        return trained

    return store


def equal(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_what_was_stored_is_loaded_with_its_history(store):
    model, history = store(a_vae(evaluate=lambda model: {"weight": 1.0}, evaluate_at=[0, 2]))
    run = a_vae(evaluate=lambda model: {"weight": 1.0}, evaluate_at=[0, 2])
    again, same = run.load()
    assert equal(again, model)
    assert same == history
    assert history.column("epoch") == [0, 2]
    assert run.changed == ""
    assert not any(p.requires_grad for p in again.parameters())


def weighted(model, x, generator):
    return 1.01 * elbo_loss(model, x, generator)


CHANGES = {
    "likelihood": (a_vae, lambda: a_vae(model=vae(unit_gaussian)), "fresh loss"),
    "activation": (a_vae, lambda: a_vae(model=vae(activation=nn.Tanh)), "fresh loss"),
    "initial bias": (a_vae, lambda: a_vae(model=vae(bias=0.01)), "fresh gradient norm"),
    "factor in the loss": (a_vae, lambda: a_vae(loss=weighted), "fresh loss"),
    "data order": (a_vae, lambda: a_vae(data=BITS.flip(0)), "settings data"),
    "data shape": (a_vae, lambda: a_vae(data=BITS[:59]), "settings data"),
    "seed": (a_vae, lambda: a_vae(seed=1), "settings seed: stored 0, this run 1"),
    "learning rate": (a_vae, lambda: a_vae(lr=2e-2), "settings lr: stored 0.01, this run 0.02"),
    "epochs": (a_vae, lambda: a_vae(epochs=3), "settings epochs: stored 2, this run 3"),
    "batch size": (a_vae, lambda: a_vae(batch_size=10), "settings batch_size"),
    "schedule": (a_vae, lambda: a_vae(schedule=one_cycle(1e-2)), "settings schedule"),
    "schedule's peak": (lambda: a_vae(schedule=one_cycle(1e-2)), lambda: a_vae(schedule=one_cycle(2e-2)), "schedule"),
    "precision": (a_vae, lambda: a_vae(precision=torch.bfloat16), "settings precision"),
    "stored precision": (a_vae, lambda: a_vae(store=torch.float16), "settings store"),
    "mask order": (a_made, lambda: a_made(order=[5, 4, 3, 2, 1, 0]), "loss"),
    "mask degrees": (a_made, lambda: a_made(degrees=[torch.arange(8) // 2 + 1]), "gradient norm"),
    "connections that skip": (a_made, lambda: a_made(direct=True), "loss"),
    "flip": (a_flow, lambda: a_flow(flip=True), "loss"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_run_is_refused_by_name(store, change):
    one, other, words = CHANGES[change]
    store(one())
    one().load()
    with pytest.raises(RuntimeError, match=rf"(?s)toy\.safetensors does not hold this run:\n.*{words}"):
        other().load()
    assert other().changed != ""


def test_only_the_gradient_changed(store):
    """A path derivative has the value of the bound and another gradient: the norm shows it."""

    def held(model, x, generator):
        z, log_q = model.draws(x, 1, held=True, generator=generator)
        return -(model.log_joint(x, z) - log_q).mean()

    def free(model, x, generator):
        z, log_q = model.draws(x, 1, generator=generator)
        return -(model.log_joint(x, z) - log_q).mean()

    store(a_vae(loss=free))
    with pytest.raises(RuntimeError, match="fresh gradient norm"):
        a_vae(loss=held).load()


def test_names_and_comments_change_nothing(store):
    model, _ = store(a_vae())

    def renamed(network, images, rng):
        """The negative bound."""
        bound = network.elbo(images, generator=rng)  # nats
        return -bound.mean()

    assert equal(a_vae(loss=renamed).load().model, model)


def test_rounding_changes_nothing(store):
    model, _ = store(a_vae())

    def reordered(model, x, generator):
        return (-model.elbo(x, generator=generator) / len(x)).sum() * (1 + 1e-6)

    assert equal(a_vae(loss=reordered).load().model, model)


def test_another_model_in_the_file_is_noticed(store, folders):
    """The same settings and the same fresh model, but weights of another training: the stored loss gives it away."""
    store(a_vae())
    path = folders / "weights" / "toy.safetensors"
    with stored.safe_open(path, "pt") as file:
        notes = file.metadata()
    save_file({k: v + 0.05 for k, v in load_file(path).items()}, path, metadata=notes)
    with pytest.raises(RuntimeError, match="stored loss"):
        a_vae().load()


def test_a_changed_setting_is_trained_once_and_kept_apart(store, folders, monkeypatch):
    model, _ = store(a_vae())
    book = (folders / "weights" / "toy.safetensors").read_bytes()
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    with pytest.warns(UserWarning, match=r"(?s)computing toy afresh .*lr: stored 0.01, this run 0.05"):
        mine, _ = a_vae(lr=5e-2).load(progress=False)
    assert equal(a_vae(lr=5e-2).load().model, mine)  # warnings are errors below: this one came from the cache
    assert equal(a_vae().load().model, model)
    assert (folders / "weights" / "toy.safetensors").read_bytes() == book
    assert len(list((folders / "cache").iterdir())) == 1


def test_a_warning_has_one_line_for_each_difference_and_says_how_long_it_takes(store, monkeypatch):
    store(a_vae())
    monkeypatch.setattr(stored, "read_file", lambda path, read=stored.read_file: tired(read(path)))
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    with pytest.warns(UserWarning, match="afresh") as caught:
        a_vae(epochs=1, seed=1, data=BITS.flip(0)).load(progress=False)
    first, *lines = str(caught[0].message).splitlines()
    assert first.startswith("computing toy afresh (the stored run's time, on cpu, lets expect about 30 min): ")
    assert [line.split(":")[0].strip() for line in lines] == [
        "fresh gradient norm", "fresh loss", "settings data", "settings epochs", "settings seed",
    ]  # fmt: skip
    assert lines[2].endswith("data: not the stored one")  # two digests tell a reader nothing
    assert lines[3].endswith("epochs: stored 2, this run 1")


def tired(found):
    tensors, fingerprint, history = found
    history.seconds = 3600.0
    return tensors, fingerprint, history


def test_long_settings_are_cut_and_nested_ones_named():
    one, two = ({"settings": {"schedule": {"cycle": {"peak": peak, "by": "x" * 200}}}} for peak in (1, 2))
    assert fingerprint.differences(one, two) == "settings schedule cycle peak: stored 1, this run 2"
    assert len(fingerprint.differences(one, {"settings": {"schedule": {"cycle": {"peak": 1, "by": "y\n" * 99}}}})) < 250
    assert "\n" not in fingerprint.differences({"a": {"b": "x\ny"}}, {"a": {"b": "z"}})


def test_the_cache_shows_its_size_and_is_cleared(store, folders, monkeypatch, capsys):
    store(a_vae())
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    with pytest.warns(UserWarning, match="afresh"):
        a_vae(lr=5e-2).load(progress=False)
    (path,) = (folders / "cache").iterdir()
    cache.main([])
    out = capsys.readouterr().out
    assert path.name in out
    assert f"{path.stat().st_size / 1e6:.1f} MB  in 1 files in {folders / 'cache'}" in out
    cache.main(["--clear"])
    assert list((folders / "cache").iterdir()) == []
    assert (folders / "weights" / "toy.safetensors").exists()
    cache.main([])
    assert "0.0 MB  in 0 files" in capsys.readouterr().out


def test_another_width_is_trained_too(store, monkeypatch):
    store(a_vae())
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    wide = lambda: VAE(MLPEncoder(6, 9, 2), MLPDecoder(2, 9, 6), 2)  # noqa: E731
    with pytest.warns(UserWarning, match="fresh loss"):
        assert a_vae(model=wide).load(progress=False).model.decoder.body[0].weight.shape == (9, 2)


def test_missing_files_are_said_to_be_missing(monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "never")
    with pytest.raises(RuntimeError, match=r"toy\.safetensors is missing .*DGM_WEIGHTS_DIR names their folder"):
        a_vae().load()


def test_start_is_the_beginning_of_the_run(store):
    cycle = dict(schedule=one_cycle(1e-2), epochs=4)
    history = store(a_vae(**cycle)).history
    again = a_vae(**cycle).start(epochs=2).history
    assert again.loss == history.loss[:2]
    assert a_vae(**cycle, seed=3).start(epochs=2).history.loss != again.loss


def test_train_here_trains_and_stores_nothing(store, folders, monkeypatch):
    store(a_vae())
    monkeypatch.setenv("DGM_RETRAIN", "auto")
    before = (folders / "weights" / "toy.safetensors").stat().st_mtime_ns
    history = a_vae().load(train=True, progress=False).history
    assert history.seconds > 0
    assert not (folders / "cache").exists()
    assert (folders / "weights" / "toy.safetensors").stat().st_mtime_ns == before


def test_half_precision_is_what_is_loaded_and_measured(store):
    model, _ = store(a_vae(store=torch.float16))
    value = next(model.parameters())
    assert value.dtype == torch.float32
    assert torch.equal(value, value.half().float())
    assert equal(a_vae(store=torch.float16).load().model, model)


def test_frozen_parts_are_built_and_not_stored(store, folders):
    def frozen():
        model = vae()()
        model.decoder.requires_grad_(False)
        return model

    before = frozen_decoder = a_vae(model=frozen).new_model().decoder
    model, _ = store(a_vae(model=frozen))
    assert all(name.startswith("encoder.") for name in load_file(folders / "weights" / "toy.safetensors"))
    assert equal(model.decoder, before)
    assert frozen_decoder is before


def with_dropout():
    encoder = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 6))

    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = encoder

        def forward(self, x):
            return self.body(x).chunk(2, -1)

    return VAE(Halves(), decoder, 2)


def test_dropout_follows_the_seed_and_a_loaded_model_has_none(store):
    torch.manual_seed(7)
    state = torch.get_rng_state()
    history = store(a_vae(model=with_dropout)).history
    torch.manual_seed(8)  # whatever the caller has drawn
    model, same = a_vae(model=with_dropout).load()
    assert same == history
    assert a_vae(model=with_dropout).start(epochs=1).history.loss == history.loss[:1]
    assert not any(part.training for part in model.modules())
    assert torch.equal(model.encoder(BITS)[0], model.encoder(BITS)[0])
    torch.manual_seed(7)
    a_vae(model=with_dropout).start()
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers go on


def test_a_history_alone(store, folders):
    _, history = store(a_vae(store=None))
    assert load_file(folders / "weights" / "toy.safetensors") == {}
    assert a_vae(store=None).load().history == history


def test_batches_drawn_afresh(store):
    def run(scale=1.0):
        draws = Draws(lambda n, generator, like: scale * torch.randn(n, 2, generator=generator, dtype=like.dtype), 5)
        flow = lambda: Flow([AffineCoupling(2, hidden=(4,))], 2)  # noqa: E731
        return Run("toy", model=flow, loss=nll, data=draws, seed=0, epochs=3, batch_size=8)

    history = store(run()).history
    assert len(history.loss) == 3
    assert run().start(epochs=1).history.loss == history.loss[:1]
    with pytest.raises(RuntimeError, match="fresh loss"):
        run(1.1).load()


# ---- what is measured once of a stored model ----


def norms(model, x, generator):
    return {"mean": model.encoder(x)[0].norm(dim=-1), "noise": torch.rand(len(x), generator=generator)}


def test_values_are_those_of_the_stored_model(store, folders):
    run = a_vae()
    model, _ = store(run)
    with pytest.raises(RuntimeError, match=r"toy_norms\.safetensors is missing"):
        run.measure("norms", norms, BITS)
    os.environ["DGM_RETRAIN"] = "always"
    values = run.measure("norms", norms, BITS, seed=4)
    os.environ["DGM_RETRAIN"] = "never"
    again = a_vae().measure("norms", norms, BITS, seed=4)
    assert torch.equal(again["mean"], model.encoder(BITS)[0].norm(dim=-1))
    assert torch.equal(again["noise"], values["noise"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(seed=5), "of seed: stored 4, this run 5"),
        (dict(spacing=0.1), "of spacing"),
        (dict(function=lambda m, x, g: {k: 1.01 * v for k, v in norms(m, x, g).items()}), "part mean"),
        (dict(x=BITS.flip(0)), "of x"),
    ],
)
def test_other_values_are_refused_by_name(store, change, words):
    run, asked = a_vae(), dict(label="norms", function=norms, x=BITS, seed=4)
    store(run)
    os.environ["DGM_RETRAIN"] = "always"
    run.measure(**asked)
    os.environ["DGM_RETRAIN"] = "never"
    with pytest.raises(RuntimeError, match=words):
        run.measure(**(asked | change))


# ---- files ----


def test_a_damaged_file_is_refused(store, folders):
    store(a_vae())
    path = folders / "weights" / "toy.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"is damaged or no file of this book"):
        a_vae().load()


def test_a_file_with_a_nan_is_refused(store, folders):
    store(a_vae())
    path = folders / "weights" / "toy.safetensors"
    with stored.safe_open(path, "pt") as file:
        notes = file.metadata()
    tensors = load_file(path)
    next(iter(tensors.values()))[0] = float("nan")
    save_file(tensors, path, metadata=notes)
    with pytest.raises(ValueError, match=r"not finite, in"):
        a_vae().load()


def test_a_write_that_fails_leaves_the_old_file(store, folders, monkeypatch):
    store(a_vae())
    before = (folders / "weights" / "toy.safetensors").read_bytes()

    def broken(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(stored, "save_file", broken)
    monkeypatch.setenv("DGM_RETRAIN", "always")
    with pytest.raises(OSError, match="disk full"):
        a_vae(lr=0.5).load(progress=False)
    assert [p.read_bytes() for p in (folders / "weights").iterdir()] == [before]


def test_an_interrupted_run_is_not_stored(folders, monkeypatch):
    calls = itertools.count()

    def interrupted(model, x, generator):
        if next(calls) > 3:
            raise KeyboardInterrupt
        return elbo_loss(model, x, generator)

    with pytest.warns(UserWarning, match="afresh"):
        assert a_vae(loss=interrupted).load(progress=False).history.interrupted
    assert list(folders.rglob("*.safetensors")) == []


def test_the_mode_is_checked(monkeypatch):
    monkeypatch.setenv("DGM_RETRAIN", "sometimes")
    with pytest.raises(ValueError, match=r"expected DGM_RETRAIN to be one of .*, got 'sometimes'"):
        a_vae().load()


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="expected arguments of fit, got learning_rate"):
        a_vae(learning_rate=1)


def test_a_default_written_out_is_the_default(store):
    store(a_vae())
    a_vae(optimizer=DEFAULTS["optimizer"], matmul="highest", compile=False).load()


@pytest.mark.parametrize("written", [False, True])
def test_files_that_are_read_or_written_are_logged(store, folders, monkeypatch, written):
    if not written:
        store(a_vae())
    monkeypatch.setenv("DGM_LOADED", str(folders / "log"))
    if written:
        store(a_vae())
    else:
        a_vae().load()
    assert set((folders / "log").read_text().split()) == {str(folders / "weights" / "toy.safetensors")}


def test_a_fingerprint_is_plain_text(store, folders):
    store(a_vae())
    with stored.safe_open(folders / "weights" / "toy.safetensors", "pt") as file:
        fingerprint = json.loads(file.metadata()["fingerprint"])
    assert fingerprint["settings"]["lr"] == 1e-2
    assert fingerprint["settings"]["optimizer"] == {"Adam": {"fused": True}}
    assert fingerprint["fresh"].keys() == {"loss", "gradient norm"}
    assert fingerprint["stored"].keys() == {"loss"}


def test_a_digest_tells_shapes_and_dtypes_apart():
    x = torch.zeros(2, 3)
    assert len({fingerprint.digest(y) for y in (x, x.reshape(3, 2), x.to(torch.int32), x + 1)}) == 4
    assert fingerprint.digest(x) == fingerprint.digest(torch.zeros(2, 3))
