"""What a hidden fully connected layer's update tells of a client of one epoch: a prototype, no method of the product yet.

    python test/bench/updates/hidden_features.py CLIENT...      (folders of make_clients.py, ConvNet, one epoch)

In one epoch each of the N samples is seen once, so the update of `fc1` is -rate / size * sum_i d_i f_i^T, of rank N: its row space is
the span of the samples' inputs f_i, which ReLU and pooling leave non-negative and often zero. A mixture of several is zero at fewer
places, so f_i are extreme rays of the non-negative part of the span: linear programmes with random objectives end near them, and
the smallest singular vector over the places that are nearly zero is one of them. The slopes d_i that follow have zeros where units of
`fc1` were silent, which nothing before made use of. Their size and direction tell label and scale through `fc2`; images are then
searched whose features these are, at weights between the first and the last. The truth only measures.
"""

import json
import sys
import time

import numpy
import torch
from scipy.optimize import linprog
from torch.nn import functional

PROGRAMMES = 300
STEPS = 800
SMOOTHNESS = 1e-3
# A place is zero, or a slope, below this share of the largest.
ZERO, SILENT = 1e-3, 2e-3
# Labels and scales whose slopes differ by more are not used.
LEAST_FIT = 0.3


def span(update):
    sizes, rows = numpy.linalg.svd(update, full_matrices=False)[1:]
    sizes = sizes[sizes > 2e-8 * sizes[0]]
    gaps = sizes[:-1] / sizes[1:]
    rank = int(numpy.argmax(gaps[3:])) + 4
    return rank, gaps[rank - 1], rows[:rank].T, sizes


def near_rays(basis, sizes, random):
    total = basis.sum(0) / numpy.linalg.norm(basis.sum(0))
    for _ in range(PROGRAMMES):
        objective = random.standard_normal(basis.shape[1]) / sizes ** random.choice([0, 0.5, 1])
        found = linprog(
            objective / numpy.linalg.norm(objective), -basis, numpy.zeros(len(basis)), total[None], [1], (None, None), "highs"
        )
        if found.status == 0:
            yield found.x / numpy.linalg.norm(found.x)


def refined(basis, mixture):
    """Zero where it is nearly zero, in fewer and fewer places."""
    for step in range(30):
        values = basis @ mixture
        size = numpy.abs(values).max()
        count = max(basis.shape[1] + 4, int((numpy.abs(values) < (0.02 * 0.7**step + 2e-4) * size).sum()))
        places = numpy.argsort(numpy.abs(values))[:count]
        mixture = numpy.linalg.svd(basis[places], full_matrices=False)[2][-1]
        mixture *= numpy.sign((basis @ mixture).sum())
    return mixture


def features_of(update):
    rank, gap, basis, sizes = span(update)
    live = basis[numpy.abs(basis).max(1) > 1e-5]
    found = []
    for ray in near_rays(live, sizes[:rank], numpy.random.default_rng(0)):
        mixture = refined(live, ray)
        values = live @ mixture
        zeros = (numpy.abs(values) < ZERO * values.max()).sum()
        if -values.min() < 1e-2 * values.max() and zeros >= rank + 8 and all(abs(own @ mixture) < 1 - 1e-6 for own in found):
            found.append(mixture)
    features = numpy.array(found) @ basis.T
    while len(features) > rank:
        others = [numpy.delete(features, at, 0) for at in range(len(features))]
        features = max(others, key=lambda own: silent(slopes_of(update, own)).mean())
    return features, rank, gap


def slopes_of(update, features):
    return update @ numpy.linalg.pinv(features)


def silent(slopes):
    return numpy.abs(slopes) < SILENT * numpy.abs(slopes).max(0)


def label_and_scale(feature, slope, weights, factor):
    mask, best = ~silent(slope), (numpy.inf, 0, 0)
    inner = weights["fc1.weight"] @ feature
    for scale in numpy.geomspace(0.05, 500, 400):
        logits = weights["fc2.weight"] @ numpy.maximum(scale * inner + weights["fc1.bias"], 0) + weights["fc2.bias"]
        shares = numpy.exp(logits - logits.max())
        shares /= shares.sum()
        for label in range(len(shares)):
            pull = shares - (numpy.arange(len(shares)) == label)
            wanted = -factor * scale * mask * (weights["fc2.weight"].T @ pull)
            best = min(best, (numpy.linalg.norm(wanted - slope) / numpy.linalg.norm(slope), label, scale))
    return best


def forward(images, weights):
    hidden = images
    for name in ("conv1", "conv2"):
        hidden = functional.conv2d(hidden, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)
        hidden = functional.max_pool2d(torch.relu(hidden), 2)
    return hidden.flatten(1)


def images_of(features, are_scaled, before, after, batches, shape):
    wanted = torch.tensor(features).float()
    sizes = wanted.norm(dim=1, keepdim=True)
    best, left = torch.zeros(len(wanted), *shape), torch.full((len(wanted),), torch.inf)
    for batch in range(batches):
        weights = {name: before[name] + batch / batches * (after[name] - before[name]) for name in before}
        torch.manual_seed(1)
        images = (0.4 + 0.1 * torch.randn(len(wanted), *shape)).requires_grad_()
        optimiser = torch.optim.Adam([images], 0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for step in range(STEPS):
            own = forward(images, weights)
            own = torch.where(are_scaled[:, None], own, own / own.norm(dim=1, keepdim=True) * sizes)
            misfit = ((own - wanted) ** 2).sum(1) / sizes[:, 0] ** 2
            rough = images.diff(dim=-1).abs().mean((1, 2, 3)) + images.diff(dim=-2).abs().mean((1, 2, 3))
            optimiser.zero_grad()
            (misfit + SMOOTHNESS * (1 - step / STEPS) * rough).sum().backward()
            optimiser.step()
            schedule.step()
            with torch.no_grad():
                images.clamp_(0, 1)
        better = misfit.detach() < left
        best[better], left[better] = images.detach()[better], misfit.detach()[better]
    return best, left.sqrt()


def main(folder):
    started = time.time()
    before, after = (torch.load(f"{folder}/{name}.pt", weights_only=True) for name in ("checkpoint", "after"))
    with open(f"{folder}/client.json", encoding="utf-8") as file:
        client = json.load(file)
    truth = torch.load(f"{folder}/image.pt", weights_only=True)["image"].float()
    update = (after["fc1.weight"].double() - before["fc1.weight"].double()).numpy()
    features, rank, gap = features_of(update)
    slopes = slopes_of(update, features)
    middle = {name: ((before[name].double() + after[name].double()) / 2).numpy() for name in before}
    factor = client["rate"] / client["size"]
    told = [label_and_scale(own, slopes[:, at], middle, factor) for at, own in enumerate(features)]
    are_scaled = torch.tensor([fit < LEAST_FIT for fit, _, _ in told])
    scaled = features * numpy.array([scale if fit < LEAST_FIT else 1 for fit, _, scale in told])[:, None]
    images, _ = images_of(scaled, are_scaled, before, after, client["batches"], truth.shape[1:])
    psnr = -10 * torch.log10((images[:, None] - truth[None]).square().flatten(2).mean(2).min(0).values)
    wanted = sorted(client["labels"])
    right = sum(min(wanted.count(own), [label for _, label, _ in told].count(own)) for own in set(wanted))
    print(
        f"{folder.split('/')[-1]}: rank {rank} of {len(wanted)} (gap {gap:.0f}), {len(features)} features, silent units"
        f" {silent(slopes).mean():.2f}, labels right {right}, above 19 dB {int((psnr > 19).sum())}, median"
        f" {psnr.median():.1f} dB, {time.time() - started:.0f} s",
        flush=True,
    )


torch.set_num_threads(1)
for own in sys.argv[1:]:
    main(own)
