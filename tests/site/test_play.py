"""The interactive pages: what their scripts compute, held against torch, and what a reader's hands do."""

import functools
import http.server
import json
import math
import re
import threading

import numpy as np
import play_assets
import play_codes
import pytest
import torch
from repo import SITE
from safetensors.numpy import save_file

from dgm_helpers.data.banana import BANANA_MEAN, BANANA_SIZE, BANANA_STD, banana_log_joint
from dgm_helpers.mcmc.hmc import leapfrog
from dgm_helpers.probability.quadrature import grid_2d, moments

pytestmark = pytest.mark.site
PAGES = {"latent_plane": "book/play/latent_plane.html", "banana_hmc": "book/play/banana_hmc.html"}
LOST = {"latent_plane": "decoder.js", "banana_hmc": "banana.js"}  # for want of which a page cannot start
SHARED = "_static"  # what every page of the site loads
LIMIT = 1_000_000  # bytes of a page with the files that are its own
TOUCH = 44  # px
CONTROLS = ".dgm-play :is(button, input, canvas[tabindex])"
START = (-0.9, 1.4)  # of the page's chain


@pytest.fixture
def play(visit):
    """``play(name) -> page`` that is open and ready, from disk, without a network."""

    def opened(name, mode="light"):
        page, complaints = visit(PAGES[name], mode)
        page.wait_for_function(f"window.dgm?.{name} !== undefined")
        assert complaints == []
        return page

    return opened


@pytest.fixture(scope="module")
def model():
    return play_codes.load_model()


@pytest.fixture(scope="module")
def codes(model):
    """The stored codes and labels, as tensors, and the limit."""
    codes, labels, limit = play_assets.read_codes(model[1])
    return torch.from_numpy(codes), torch.from_numpy(labels), limit


def test_nothing_is_said_to_have_failed(play):
    assert not play("latent_plane").get_by_text("did not start").is_visible()


def read(page, name):
    return page.locator(f'[data-part="{name}"]').inner_text()


def uniform(n, low, high, seed=0):
    draws = torch.rand(n, len(low), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.tensor(low) + draws * (torch.tensor(high) - torch.tensor(low))


# ---- the latent plane: numbers ----


def test_decoder_agrees_with_torch(play, model, codes):
    """Every pixel's probability, all over the plane that can be reached."""
    _, limit = model[0].decoder.double(), codes[2]
    z = torch.cat(
        [uniform(400, [-limit] * 2, [limit] * 2), torch.cartesian_prod(*[torch.tensor([-limit, 0.0, limit])] * 2)]
    )
    script = "z => z.map(one => [...dgm.latent_plane.decoder.forward(one)].map(dgm.sigmoid))"
    came = torch.tensor(play("latent_plane").evaluate(script, z.tolist()), dtype=torch.float64)
    wanted = model[0].decoder(z).sigmoid()
    assert came.shape == wanted.shape == (409, 784)
    assert (came - wanted).abs().max() < 1e-3
    assert wanted.std(0).max() > 0.1  # a decoder that ignores z would not pass unseen


def test_pixels_on_the_screen_are_the_decoders(play, model):
    page = play("latent_plane")
    z = [1.25, -0.5]
    page.evaluate("z => dgm.latent_plane.move_to(z)", z)
    page.wait_for_timeout(100)
    grey = page.evaluate("""() => {
        const {data} = document.querySelector('[data-part=digit]').getContext('2d').getImageData(0, 0, 28, 28);
        return Array.from({length: 784}, (_, d) => data[4 * d]);
    }""")
    probability = model[0].decoder.double()(torch.tensor(z, dtype=torch.float64)).sigmoid()
    paper, ink = 0xFF, 0x22  # red of play.css in light
    assert (torch.tensor(grey) - (paper + probability * (ink - paper))).abs().max() < 1


def test_codes_are_the_stored_ones(play, codes):
    codes, labels, limit = codes
    came = play("latent_plane").evaluate("Object.values(dgm.latent_plane.codes).map(a => Array.from(a))")
    z1, z2, label = (torch.tensor(values) for values in came)
    assert label.tolist() == labels.tolist()
    assert (torch.stack([z1, z2], -1) - codes * limit / play_assets.TOP).abs().max() < 1e-5
    assert len(codes) == 10_000
    assert (torch.stack([z1, z2], -1).mean(0).abs() < 0.5).all()  # q's means gather where the prior is


def test_readings(play, model, codes):
    """Density, entropy and the nearest digits, against the definitions."""
    page, z = play("latent_plane"), torch.tensor([0.86, -1.04], dtype=torch.float64)
    page.evaluate("z => dgm.latent_plane.move_to(z)", z.tolist())
    codes, labels, limit = codes
    distance, nearest = (codes.double() * limit / play_assets.TOP - z).norm(dim=-1).topk(25, largest=False)
    label, count = labels[nearest].mode().values.item(), int(labels[nearest].bincount().max())
    bernoulli = torch.distributions.Bernoulli(logits=model[0].decoder.double()(z))
    log_prior = torch.distributions.Normal(0, 1).log_prob(z).sum()
    assert read(page, "neighbours") == f"{label} ({count} of 25)"
    assert read(page, "radius") == f"within {distance[-1]:.2f}"
    assert read(page, "log_prior") == f"{log_prior:.2f} nats".replace("-", "−")
    assert abs(float(read(page, "entropy").split()[0]) - bernoulli.entropy().sum()) < 0.15  # shown to 0.1


def test_entropy_falls_outwards(model):
    """What the page says of a walk out of the circles, on average over directions."""
    angle = torch.linspace(0, 2 * math.pi, 73)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], -1).double()
    entropy = [
        torch.distributions.Bernoulli(logits=model[0].decoder.double()(r * ring)).entropy().sum(-1).mean()
        for r in (1, 2.45, 4, 5)
    ]
    assert entropy == sorted(entropy, reverse=True)


def test_sampled_bits_have_the_right_probabilities(play):
    """Pixel by pixel, and their sum: its variance is that of independent pixels, and of independent tosses."""
    n = 400
    script = """n => {
        const {state, move_to} = dgm.latent_plane, tosses = [];
        move_to([1, 0.5]);
        document.querySelector('[data-part=sampled]').click();
        for (let i = 0; i < n; i++) {
            document.querySelector('[data-part=toss]').click();
            tosses.push(Array.from(state.image));
        }
        return [Array.from(state.probabilities), tosses];
    }"""
    probability, tosses = (torch.tensor(v, dtype=torch.float64) for v in play("latent_plane").evaluate(script, n))
    variance = probability * (1 - probability)
    error = tosses.mean(0) - probability
    assert abs(error.sum()) < 4.5 * (variance.sum() / n).sqrt()
    uncertain = variance > 0.04  # a normal sum of n tosses
    assert uncertain.sum() > 50
    assert (error.abs() / (variance / n).sqrt())[uncertain].max() < 5
    assert tosses.sum(1).var() == pytest.approx(float(variance.sum()), rel=4.5 * (2 / n) ** 0.5)


# ---- the latent plane: hands ----


def moved_by(page, act):
    """What z is, before and after; and whether the picture changed."""
    shot = "document.querySelector('[data-part=digit]').toDataURL()"
    before, picture = page.evaluate("dgm.latent_plane.state.z"), page.evaluate(shot)
    act()
    page.wait_for_timeout(100)
    return before, page.evaluate("dgm.latent_plane.state.z"), picture != page.evaluate(shot)


def spot(page, name, point):
    """Where on the screen a point of the plane is."""
    plane = page.locator("[data-part=plane]")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    pixel = page.evaluate("([name, q]) => (dgm[name].plot ?? dgm[name].plane).pixel(q)", [name, point])
    return box["x"] + pixel[0], box["y"] + pixel[1]


def finger(page, *points):
    """Put a finger down at the first of the points, draw it over the others, and lift it."""
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    touch("touchStart", points[0])
    for point in points[1:]:
        touch("touchMove", point)
    touch("touchEnd")
    session.send("Emulation.setTouchEmulationEnabled", {"enabled": False})
    session.detach()  # the window is used again


def test_mouse_drags_the_point(play):
    page = play("latent_plane")

    def drag():
        page.mouse.move(*spot(page, "latent_plane", [-1, 0]))
        page.mouse.down()
        page.mouse.move(*spot(page, "latent_plane", [2, 1]), steps=5)
        page.mouse.up()

    _, z, changed = moved_by(page, drag)
    assert z == pytest.approx([2, 1], abs=0.05)
    assert changed
    hover = functools.partial(page.mouse.move, *spot(page, "latent_plane", [0, 0]))
    assert moved_by(page, hover)[1] == z  # the button is up


def test_finger_drags_the_point_and_the_page_stays(play):
    page = play("latent_plane")
    page.set_viewport_size({"width": 360, "height": 740})

    def drag():
        first, last = spot(page, "latent_plane", [0, 2]), spot(page, "latent_plane", [1.5, -2])
        finger(page, *([a + (b - a) * i / 5 for a, b in zip(first, last, strict=True)] for i in range(6)))

    spot(page, "latent_plane", [0, 0])
    top = page.evaluate("scrollY")
    _, z, changed = moved_by(page, drag)
    assert z == pytest.approx([1.5, -2], abs=0.1)
    assert changed
    assert page.evaluate("scrollY") == top


@pytest.mark.parametrize(
    ("name", "part"),
    [("latent_plane", "digit"), ("latent_plane", "z1"), ("banana_hmc", "plane"), ("banana_hmc", "energy")],
)
def test_a_swipe_scrolls_past(browser, name, part):
    """Beside the plane that is dragged, and all over the page of the sampler; nothing is moved or launched."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, offline=True)
    page = context.new_page()
    page.goto((SITE / PAGES[name]).as_uri())
    page.wait_for_function(f"window.dgm?.{name} !== undefined")
    target = page.locator(f"[data-part={part}]")
    target.evaluate("e => e.scrollIntoView({block: 'center', behavior: 'instant'})")
    page.wait_for_timeout(200)
    box, top = target.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    finger(page, *((x, y - 20 * i) for i in range(11)))
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") > top + 100
    moved = {
        "latent_plane": "dgm.latent_plane.state.z.some(z => z)",
        "banana_hmc": "dgm.banana_hmc.state.samples.length > 0",
    }
    assert not page.evaluate(moved[name])
    context.close()


@pytest.mark.parametrize(
    ("key", "step"),
    [("ArrowLeft", (-0.1, 0)), ("ArrowRight", (0.1, 0)), ("ArrowUp", (0, 0.1)), ("Shift+ArrowDown", (0, -0.5))],
)
def test_keys_move_the_point(play, key, step):
    page = play("latent_plane")
    page.locator("[data-part=plane]").focus()
    before, z, changed = moved_by(page, lambda: page.keyboard.press(key))
    assert z == pytest.approx([a + b for a, b in zip(before, step, strict=True)])
    assert changed
    page.wait_for_timeout(600)
    assert page.evaluate("dgm.point(dgm.latent_plane.state.z)") in page.locator("[role=status]").inner_text()


def test_the_point_cannot_leave_the_plane(play):
    page = play("latent_plane")
    assert page.evaluate("() => { dgm.latent_plane.move_to([99, -99]); return dgm.latent_plane.state.z; }") == [5, -5]
    page.locator("[data-part=plane]").focus()
    assert moved_by(page, lambda: page.keyboard.press("Home"))[1] == [0, 0]


# ---- the sampler: numbers ----


def test_leapfrog_and_energy_agree_with_torch(play):
    """End points from everywhere in the picture, with steps that are stable there, and the energy at both ends."""
    start, momentum = uniform(50, [-2.0, -1.8], [1.5, 1.8]), uniform(50, [-2.0] * 2, [2.0] * 2, seed=1)
    script = """([start, momentum, step_size, num_steps]) => start.map((q, i) => {
        const {target} = dgm.banana_hmc, end = dgm.leapfrog(target.gradient, q, momentum[i], {step_size, num_steps});
        return [...end, [dgm.energy(target.log_density, q, momentum[i]), dgm.energy(target.log_density, ...end)]];
    })"""
    page = play("banana_hmc")
    for step_size, num_steps in ((0.05, 1), (0.04, 2), (0.04, 25)):
        came = page.evaluate(script, [start.tolist(), momentum.tolist(), step_size, num_steps])
        came = torch.tensor(came, dtype=torch.float64)
        q, p = leapfrog(banana_log_joint, start, momentum, step_size=step_size, num_steps=num_steps)
        before, after = (0.5 * (b**2).sum(-1) - banana_log_joint(a) for a, b in ((start, momentum), (q, p)))
        wanted = torch.stack([q, p, torch.stack([before, after], -1)], 1)
        assert (came - wanted).abs().max() < 1e-10, (step_size, num_steps)


TRANSITION = """([q, settings, seed, n]) => {
    const generator = dgm.generator(seed), {target} = dgm.banana_hmc, found = [];
    for (let i = 0; i < n; i++) {
        found.push({...dgm.transition(target, q, {...settings, generator}), from: q});
        q = found.at(-1).position;
    }
    return found;
}"""


def test_acceptance_rule_agrees_with_torch(play):
    """log u < H - H' at every transition; else the position is repeated."""
    step_size, num_steps = 0.14, 12
    settings = {"step_size": step_size, "num_steps": num_steps}
    found = play("banana_hmc").evaluate(TRANSITION, [START, settings, 3, 300])
    start, momentum = (torch.tensor([f[k] for f in found], dtype=torch.float64) for k in ("from", "start"))
    q, p = leapfrog(banana_log_joint, start, momentum, step_size=step_size, num_steps=num_steps)
    log_ratio = banana_log_joint(q) - banana_log_joint(start) + 0.5 * (momentum**2 - p**2).sum(-1)
    u = torch.tensor([f["u"] for f in found], dtype=torch.float64)
    accepted = log_ratio.isfinite() & (u.log() < log_ratio)
    error, probability = (
        torch.tensor([f[k] for f in found], dtype=torch.float64) for k in ("energy_error", "accept_prob")
    )
    calm = log_ratio.abs() < 50  # beyond, rounding errors have grown as the energy has
    assert calm.sum() > 100
    assert (error + log_ratio)[calm].abs().max() < 1e-6
    assert (probability - log_ratio.exp().clamp(max=1))[calm].abs().max() < 1e-6
    assert (probability[~calm & ~(log_ratio > 0)] < 1e-20).all()
    near = (u.log() - log_ratio).abs() < 1e-6  # whether rounding decides
    assert not near.any()
    assert [f["accepted"] for f in found] == accepted.tolist()
    assert 30 < accepted.sum() < 270
    repeated = torch.where(accepted.unsqueeze(-1), q, start)
    assert (torch.tensor([f["position"] for f in found], dtype=torch.float64) - repeated).abs().max() < 1e-8


def test_energy_along_the_path_agrees_with_torch(play):
    """What the lower plot shows: H after each step, less H at the start."""
    page = play("banana_hmc")
    page.locator("[data-part=launch]").click()
    path, last = page.evaluate("[dgm.banana_hmc.state.path, dgm.banana_hmc.state.last]")
    start, momentum = (torch.tensor([x], dtype=torch.float64) for x in (path[0]["position"], last["start"]))
    energy = []
    for num_steps in range(1, len(path)):
        q, p = leapfrog(banana_log_joint, start, momentum, step_size=0.08, num_steps=num_steps)
        assert q[0].tolist() == pytest.approx(path[num_steps]["position"], abs=1e-9)
        energy.append(float(0.5 * (p**2).sum() - banana_log_joint(q)))
    before = float(0.5 * (momentum**2).sum() - banana_log_joint(start))
    assert [e - before for e in energy] == pytest.approx([point["energy_error"] for point in path[1:]], abs=1e-9)


def test_broken_trajectory_is_rejected(play):
    found = play("banana_hmc").evaluate(TRANSITION, [[-3, 2.5], {"step_size": 0.4, "num_steps": 200}, 0, 1])[0]
    assert not found["finite"]
    assert not found["accepted"]
    assert found["accept_prob"] == 0
    assert found["position"] == [-3, 2.5]


def test_random_numbers(play):
    """Moments of normals and uniforms, their independence in time; a seed repeats them, another does not."""
    normal, uniforms, again, other = (
        torch.tensor(values, dtype=torch.float64)
        for values in play("banana_hmc").evaluate("""() => [[0, 'normal'], [0, 'uniform'], [0, 'normal'], [1, 'normal']]
            .map(([seed, kind]) => Array.from({length: 40000}, dgm.generator(seed)[kind]))""")
    )
    n = len(normal)
    for values, wanted, sd in [
        (normal, 0, 1), (normal**2, 1, 2**0.5), (normal**4, 3, 96**0.5), (normal[1:] * normal[:-1], 0, 1),
        (normal[1:] ** 2 * normal[:-1] ** 2, 1, 8**0.5), (uniforms, 0.5, 12**-0.5),
        ((uniforms < 0.05).double(), 0.05, 0.05**0.5),
    ]:  # fmt: skip
        assert abs(values.mean() - wanted) < 4.5 * sd / n**0.5
    assert (uniforms > 0).all()
    assert (uniforms < 1).all()
    assert again.tolist() == normal.tolist() != other.tolist()


CHAINS = """([settings, chains, num_samples, start]) => Array.from({length: chains}, (_, seed) => {
    const r = dgm.sample_hmc(dgm.banana_hmc.target, start, {...settings, num_samples, generator: dgm.generator(seed)});
    const mean = f => r.samples.slice(100).reduce((sum, q) => sum + f(q), 0) / (num_samples - 100);
    return [mean(q => q[0]), mean(q => q[1]), r.accept_rate, mean(q => q[0] ** 2), mean(q => q[1] ** 2)];
})"""


@pytest.mark.parametrize("step_size", [0.06, 0.12])  # hardly any rejection, and many
def test_chain_moments_are_the_exact_ones(play, step_size):
    """First and second moments, by quadrature here; the page's own exact mean among them."""
    page = play("banana_hmc")
    points = grid_2d(-5, 5, 0.01, dtype=torch.float64).flatten(0, 1)
    weights = banana_log_joint(points).softmax(0)
    exact = weights @ torch.cat([points, points**2], -1)
    assert page.evaluate("dgm.assets.banana.exact_mean") == pytest.approx(exact[:2].tolist(), abs=1e-9)
    settings = {"step_size": step_size, "num_steps": round(1.5 / step_size)}
    found = torch.tensor(page.evaluate(CHAINS, [settings, 60, 1100, START]), dtype=torch.float64)
    means = found[:, [0, 1, 3, 4]]
    error = means.std(0) / len(means) ** 0.5
    assert ((means.mean(0) - exact).abs() < 4.5 * error).all()
    assert error.max() < 0.02


def test_what_the_page_says_to_try_happens(play):
    page = play("banana_hmc")

    def chain(step_size, num_steps, start=START, chains=200, num_samples=101):
        found = page.evaluate(CHAINS, [{"step_size": step_size, "num_steps": num_steps}, chains, num_samples, start])
        return torch.tensor(found, dtype=torch.float64)

    errors = [
        page.evaluate(TRANSITION, [START, {"step_size": e, "num_steps": round(1.6 / e)}, 0, 1])[0]["energy_error"]
        for e in (0.04, 0.02, 0.01, 0.005)
    ]
    assert abs(errors[0]) > abs(errors[1]) > abs(errors[2])
    assert 3.5 < abs(errors[2] / errors[3]) < 4.5  # a quarter at each halving, in the end
    first = [page.evaluate(TRANSITION, [q, {"step_size": 0.2, "num_steps": 8}, s, 1])[0]["accepted"]
             for q in ((1.07, 0), (-2, 1.75)) for s in range(100)]  # fmt: skip
    assert sum(first[:100]) > 50
    assert sum(first[100:]) == 0
    corners = page.evaluate("({x, y}) => y.map(low => [x[1], low])", page.evaluate("dgm.banana_hmc.plane"))
    for corner in corners:
        stuck, moving = (page.evaluate(TRANSITION, [corner, {"step_size": e, "num_steps": round(1.6 / e)}, 0, 100])
                         for e in (0.08, 0.04))  # fmt: skip
        assert not any(one["accepted"] for one in stuck)
        assert sum(one["accepted"] for one in moving) > 50
    one, twenty = (chain(0.08, steps, chains=40, num_samples=600) for steps in (1, 20))
    assert one[:, 2].mean() > 0.8
    assert one[:, 1].std() > 3 * twenty[:, 1].std()


def test_contours_enclose_their_mass(play):
    """On contours the log-density is the level, by torch; the region above it holds the mass, on torch's own grid."""
    page = play("banana_hmc")
    levels, masses, ends = page.evaluate("""() => {
        const {grid, contours, MASSES} = dgm.banana_hmc;
        return [dgm.contour_levels(grid, MASSES), MASSES, contours.map(c => c.flat())];
    }""")
    points = grid_2d(-5, 5, 0.01, dtype=torch.float64)
    log_f = banana_log_joint(points).flatten()
    weights = log_f.softmax(0)
    for level, mass, end in zip(levels, masses, ends, strict=True):
        assert weights[log_f >= level].sum() == pytest.approx(mass, abs=0.005)
        assert (banana_log_joint(torch.tensor(end, dtype=torch.float64)) - level).abs().median() < 0.02
        assert len(end) > 200


# ---- the sampler: hands ----


def state(page):
    return page.evaluate("""() => {
        const {state: s} = dgm.banana_hmc, {last} = s;
        return {position: s.position, draws: s.samples.length, accepted: s.accepted, visits: s.visits, last,
                rejected: s.rejected.length, path: s.path.length, shown: s.shown};
    }""")


def put(page, name, value):
    page.locator(f'[data-part="{name}"]').fill(str(value))


def test_click_launches_from_there(play):
    page = play("banana_hmc")
    page.mouse.click(*spot(page, "banana_hmc", [1.0, 0.3]))
    page.wait_for_timeout(1200)
    now = state(page)
    assert now["draws"] == 1
    assert now["path"] == now["shown"] == 21
    assert page.evaluate("dgm.banana_hmc.state.path[0].position") == pytest.approx([1.0, 0.3], abs=0.05)
    assert read(page, "verdict").startswith("accepted" if now["last"]["accepted"] else "rejected")
    error = f"{now['last']['energy_error']:.3f} nats".replace("-", "−")
    assert read(page, "energy_error") in (error, error.replace("−0.000", "0.000"))


def test_tap_launches(play):
    page = play("banana_hmc")
    page.set_viewport_size({"width": 360, "height": 740})
    finger(page, spot(page, "banana_hmc", [1.0, 0.3]))
    page.wait_for_function("dgm.banana_hmc.state.samples.length === 1")


def test_keys_move_and_launch(play):
    page = play("banana_hmc")
    page.locator("[data-part=plane]").focus()
    page.keyboard.press("Shift+ArrowRight")
    assert state(page)["position"] == pytest.approx([-0.4, 1.4])
    for key in ("Enter", "Space"):
        page.keyboard.press(key)
    assert state(page)["draws"] == 2
    page.wait_for_timeout(600)
    assert "acceptance rate" in page.locator("[role=status]").inner_text()


def test_rejections_are_counted_as_repeats(play):
    page = play("banana_hmc")
    put(page, "step_size", 0.14)
    page.locator("[data-part=run]").click()
    page.wait_for_function("dgm.banana_hmc.state.samples.length === 500", timeout=30_000)
    now = state(page)
    assert 20 < now["rejected"] == 500 - now["accepted"]
    assert sum(place["count"] for place in now["visits"]) == 500
    assert len(now["visits"]) == 1 + now["accepted"]
    assert max(place["count"] for place in now["visits"]) > 1
    assert read(page, "accept_rate") == f"{now['accepted'] / 500:.3f}"
    assert int(read(page, "places")) == sum(place["count"] > 0 for place in now["visits"])
    samples = page.evaluate("dgm.banana_hmc.state.samples")
    assert float(read(page, "mean_1").split(" ± ")[0].replace("−", "-")) == pytest.approx(
        sum(q[0] for q in samples) / 500, abs=6e-4
    )
    batches = torch.tensor(samples, dtype=torch.float64).view(20, 25, 2).mean(1)  # as the page says
    for i in (0, 1):
        shown = float(read(page, f"mean_{i + 1}").split(" ± ")[1])
        assert shown == pytest.approx(float(batches[:, i].std()) / 20**0.5, abs=6e-4)


def test_sliders_set_steps_and_path_length(play):
    page = play("banana_hmc")
    for step_size, wanted, num_steps in ((0.08, 1.6, 20), (0.04, 1.6, 40), (0.4, 0.05, 1), (0.3, 1.0, 3)):
        put(page, "step_size", step_size)
        put(page, "path_length", wanted)
        assert page.evaluate("dgm.banana_hmc.settings()") == {"step_size": step_size, "num_steps": num_steps}
        assert read(page, "path_length_text") == f"{step_size * num_steps:.2f}"
        page.locator("[data-part=launch]").click()
        assert state(page)["path"] == num_steps + 1


def test_a_seed_repeats_the_run(play):
    page, runs = play("banana_hmc"), []
    for seed in (0, 0, 7):
        put(page, "seed", seed)
        page.locator("[data-part=reset]").click()
        assert state(page)["draws"] == 0
        for _ in range(5):
            page.locator("[data-part=launch]").click()
        runs.append(page.evaluate("dgm.banana_hmc.state.samples"))
    assert runs[0] == runs[1] != runs[2]


def test_reduced_motion_shows_the_whole_path_at_once(play):
    page = play("banana_hmc")
    page.emulate_media(reduced_motion="reduce")
    page.locator("[data-part=launch]").click()
    now = state(page)
    assert now["path"] == now["shown"] == 21


# ---- both pages ----


@pytest.mark.parametrize("name", PAGES)
def test_own_files_are_light(play, name):
    page = play(name)
    urls = page.evaluate("[...document.querySelectorAll('[src], link[rel=stylesheet]')].map(e => e.src || e.href)")
    own = {url for url in urls if f"/{SHARED}/" not in url and url.startswith("file:")}
    sizes = {url: (SITE / "book" / "play" / url.rsplit("/", 1)[1]).stat().st_size for url in own}
    assert len(own) >= 6
    assert sum(sizes.values()) + (SITE / PAGES[name]).stat().st_size < LIMIT


@pytest.mark.parametrize("name", PAGES)
def test_touch_targets_names_and_focus(play, name):
    page = play(name)
    page.set_viewport_size({"width": 360, "height": 740})
    boxes = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].map(e => {
        const target = e.type === 'checkbox' ? e.closest('label') : e, box = target.getBoundingClientRect();
        return [e.dataset.part, box.width, box.height, e.labels?.[0]?.innerText || e.ariaLabel || e.innerText];
    })""",
        CONTROLS,
    )
    assert len(boxes) >= 6
    assert [box for box in boxes if box[1] < TOUCH or box[2] < TOUCH or not box[3].strip()] == []
    for element in page.locator(f"{CONTROLS}:not(:disabled)").all():
        element.focus()
        page.keyboard.press("Shift")  # from now on the focus is the keyboard's
        style = element.evaluate(
            "e => [getComputedStyle(e).outlineStyle, parseFloat(getComputedStyle(e).outlineWidth)]"
        )
        assert style == ["solid", 3]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "share"), [(1280, 0.6), (1440, 0.6), (390, 0.99), (360, 0.99)])
def test_the_plane_has_the_width(play, name, width, share):
    """Of the article; on a desk, the controls stand beside it, within its height but for a little."""
    page = play(name)
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_timeout(200)
    plane, controls, article = (
        page.locator(what).bounding_box() for what in ("[data-part=plane]", ".dgm-play .controls", ".bd-article h1")
    )
    assert plane["width"] > share * article["width"]
    if width > 1000:
        assert controls["x"] > plane["x"] + plane["width"]
        assert controls["y"] + controls["height"] < plane["y"] + 1.1 * plane["height"]
    else:
        assert controls["y"] > plane["y"] + plane["height"]


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_set_with_the_page(browser, name):
    """Not written by a script, nor as letters with signs and small digits: also in labels, axes and readings."""
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((SITE / PAGES[name]).as_uri())
    text = page.evaluate("""() => {
        const article = document.querySelector('.bd-article').cloneNode(true);
        article.querySelectorAll('.math, script, style').forEach(e => e.remove());
        return article.textContent;
    }""")
    assert not re.findall(r"[₀-₉θεπ½²]|\blog p", text)
    labels = page.locator(".dgm-play :is(label, dt, .plot > p) .math")
    assert labels.count() == {"latent_plane": 6, "banana_hmc": 9}[name]
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_colours_follow_the_page(play, name):
    """The plane is painted anew when the reader switches between light and dark."""
    page = play(name)
    shot = "document.querySelector('[data-part=plane]').toDataURL()"
    light = page.evaluate(shot)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(300)
    assert page.evaluate(shot) != light


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_the_page_says_so(browser, name):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((SITE / PAGES[name]).as_uri())
    assert page.get_by_text("needs JavaScript, which is off").is_visible()
    assert not page.locator(".dgm-play").is_visible()
    context.close()


@pytest.mark.parametrize(("name", "lost"), [(n, f) for n in PAGES for f in (LOST[n], f"{n}.js")])
def test_a_file_that_does_not_load_is_said(browser, name, lost):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.route(f"**/{lost}", lambda route: route.abort())
    page.goto((SITE / PAGES[name]).as_uri())
    assert page.get_by_role("alert").filter(has_text="did not start").is_visible()
    assert not page.locator(".dgm-play").is_visible()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_over_http_too(browser, name):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = browser.new_context()
        page, complaints = context.new_page(), []
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("requestfailed", lambda r: complaints.append(r.url))
        page.goto(f"http://127.0.0.1:{server.server_port}/{PAGES[name]}")
        page.wait_for_function(f"window.dgm?.{name} !== undefined")
        context.close()
        server.shutdown()
    assert complaints == []


# ---- the assets ----


@pytest.fixture(scope="module")
def arrays():
    return play_assets.read(play_assets.WEIGHTS)[0]


def test_assets_are_computed_as_with_torch(model, arrays):
    """The site is built without torch: hash, decoder and banana are those of the package."""
    assert play_assets.digest(arrays) == model[1]
    z = uniform(400, [-5.0] * 2, [5.0] * 2)
    wanted = model[0].decoder.double()(z).sigmoid().numpy()
    assert abs(play_assets.Decoder(arrays).probabilities(z.numpy()) - wanted).max() < 1e-14
    wanted = {"SIZE": BANANA_SIZE, "MEAN": BANANA_MEAN, "STD": BANANA_STD}
    assert wanted == play_assets.BANANA
    constant = banana_log_joint(z).numpy() - play_assets.banana_log_density(z.numpy())
    assert abs(constant - constant[0]).max() < 1e-10
    points = grid_2d(-5, 5, 0.01, dtype=torch.float64)
    exact = moments(banana_log_joint(points), points)[0].tolist()
    assert play_assets.banana_asset()["exact_mean"] == pytest.approx(exact, abs=1e-11)


def test_rounding_is_refused_when_it_is_too_coarse(arrays, monkeypatch):
    monkeypatch.setattr(play_assets, "TOP", 63)
    with pytest.raises(ValueError, match="probability is off by"):
        play_assets.decoder_asset(play_assets.Decoder(arrays), 5)


def retrained(folder):
    """Weights of another VAE, by a thousandth in each bias of the output."""
    arrays, notes = play_assets.read(play_assets.WEIGHTS)
    (name,) = (name for name, array in arrays.items() if array.shape == (784,))
    save_file(arrays | {name: arrays[name] + np.float32(1e-3)}, folder / "vae_2d.safetensors", notes)
    return folder / "vae_2d.safetensors"


def test_a_site_is_not_built_with_stale_codes(tmp_path):
    """After a retraining, until the test digits are encoded afresh. The decoder's weights are read at each build."""
    play_assets.write_assets(tmp_path / "good")
    with pytest.raises(ValueError, match=r"run `python tools/play_codes\.py`"):
        play_assets.write_assets(tmp_path / "stale", retrained(tmp_path))
    assert not (tmp_path / "stale").exists()


def test_the_site_holds_the_assets_of_these_weights(tmp_path):
    """Byte by byte what a build would write now: a site from before a retraining is found out."""
    play_assets.write_assets(tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (SITE / "book" / "play" / path.name).read_bytes(), path.name


def test_stored_codes_are_the_encoders(codes):
    """The scatter is that of the notebook: means of the binarised test digits, to the rounding."""
    codes, labels, limit = codes
    wanted, digits, widest = play_codes.encode(play_codes.load_model()[0])
    assert (widest, digits.tolist()) == (limit, labels.tolist())
    assert (wanted.int() - codes.int()).abs().max() <= 1  # another processor may round otherwise


def test_codes_of_another_encoder_are_refused():
    with pytest.raises(ValueError, match="encoded with other weights"):
        play_assets.read_codes("0" * 64)


def test_scatter_holds_codes_and_labels_only():
    """No image of the data set is in the page's files: four bytes for each test digit."""
    script = (SITE / "book" / "play" / "codes.js").read_text()
    asset = json.loads(script[script.index(" = ") + 3 :].rstrip(";\n"))
    assert set(asset) == {"limit", "step", "packed"}
    assert len(asset["packed"]) == math.ceil(4 * 10_000 / 3) * 4
