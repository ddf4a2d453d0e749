"""Writes captured gradients of batches with their truth, for `npm run bench -- batch`; needs PyTorch and safetensors.

    python test/bench/make_batches.py FOLDER [--set untrained,trained,mixup,noise] [--seeds 10]
    python test/bench/make_batches.py test/fixtures/batches --set fixtures --seeds 1

Each dump is a folder of checkpoint.safetensors, gradient.safetensors and truth.json, as a user's capture would be.
The inputs are clusters, one per class, so that a network of two hidden layers learns 1000 classes in seconds and its
test accuracy can be measured on inputs it never saw.
"""

import argparse
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

INPUTS = 128
WIDTHS = (256, 512, 1024, 2048)


class Classifier(nn.Module):
    def __init__(self, features, classes, head_bias):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(INPUTS, 256), nn.ReLU(), nn.Linear(256, features), nn.ReLU())
        self.head = nn.Linear(features, classes, bias=head_bias)

    def forward(self, x):
        return self.head(self.body(x))


def clusters(classes, rng):
    return rng.normal(size=(classes, INPUTS)).astype(np.float32)


def draw(centres, labels, spread, rng):
    noise = rng.normal(size=(len(labels), INPUTS)).astype(np.float32)
    return torch.from_numpy(centres[labels] + spread * noise)


def soft(labels, classes, epsilon):
    return F.one_hot(torch.as_tensor(labels), classes).float() * (1 - epsilon) + epsilon / classes


def cross_entropy(logits, target):
    return -(target * F.log_softmax(logits, 1)).sum(1).mean()


def train(model, centres, spread, epsilon, rng):
    """Until the accuracy on fresh inputs exceeds 80 %, and a little further; returns that accuracy."""
    classes = len(centres)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    held_out = rng.integers(classes, size=2000)
    test = draw(centres, held_out, spread, rng)
    accuracy = 0.0
    good = 0
    for step in range(4000):
        labels = rng.integers(classes, size=256)
        optimiser.zero_grad()
        cross_entropy(model(draw(centres, labels, spread, rng)), soft(labels, classes, epsilon)).backward()
        optimiser.step()
        if step % 50 == 49:
            with torch.no_grad():
                accuracy = float((model(test).argmax(1) == torch.as_tensor(held_out)).float().mean())
            good += accuracy > 0.82
            if good >= 3:
                break
    return accuracy


def write(folder, model, inputs, labels, noise, rng, extra, only_head=False):
    features = model.body(inputs)
    logits = model.head(features)
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(cross_entropy(logits, labels), list(named.values()))
    out = {}
    for name, value in zip(named, gradients):
        deviation = noise * float(value.square().mean().sqrt())
        out[name] = (value + deviation * torch.from_numpy(rng.normal(size=value.shape).astype(np.float32))).contiguous()
    if only_head:
        named = {name: value for name, value in named.items() if name.startswith("head.")}
        out = {name: value for name, value in out.items() if name in named}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous() for name, value in named.items()}, folder / "checkpoint.safetensors")
    save_file(out, folder / "gradient.safetensors")
    error = (torch.softmax(logits, 1) - labels).detach()
    values = torch.linalg.svdvals(out["head.weight"].double())
    batch = len(labels)
    truth = {
        **extra,
        "batch": batch,
        "labels": labels.double().tolist(),
        "feature": features.detach().double().tolist(),
        "errorNorm": error.norm(dim=1).tolist(),
        "condition": float(values[batch - 1] / values[0]) if batch <= len(values) else 0.0,
    }
    (folder / "truth.json").write_text(json.dumps(truth))


def make(root, name, *, classes, batch, labels, head, seed, noise=0.0, head_bias=False, features=None, twins=False):
    folder = root / f"{name}-s{seed}"
    if (folder / "truth.json").exists():
        return
    rng = np.random.default_rng([seed, classes, batch, len(labels), head == "trained", int(head_bias)])
    torch.manual_seed(int(rng.integers(2**31)))
    small = features is not None
    features = features or WIDTHS[seed % len(WIDTHS)]
    epsilon = float(rng.uniform(0.05, 0.4)) if "smoothed" in labels else 0.0
    centres = clusters(classes, rng)
    spread = 0.9
    model = Classifier(features, classes, head_bias)
    accuracy = train(model, centres, spread, epsilon, rng) if head == "trained" else None
    truth = rng.integers(classes, size=batch)
    inputs = draw(centres, truth, spread, rng)
    if twins:
        # two inputs that differ by a thousandth: one class, nearly one feature
        truth[1] = truth[0]
        inputs[1] = inputs[0] + 1e-3 * torch.from_numpy(rng.normal(size=INPUTS).astype(np.float32))
    given = truth
    if head == "trained":
        wrong = (truth + rng.integers(1, classes, size=batch)) % classes
        given = np.where(rng.random(batch) < 0.4, wrong, truth)
    target = soft(given, classes, epsilon)
    weight = None
    if "mixup" in labels:
        # as timm and torchvision do it: one weight for the batch, partners are a permutation of it
        weight = float(rng.uniform(0.15, 0.85))
        partner = torch.from_numpy(rng.permutation(batch))
        inputs = weight * inputs + (1 - weight) * inputs[partner]
        target = weight * target + (1 - weight) * target[partner]
    write(folder, model, inputs, target, noise, rng,
          {"head": head, "kind": labels, "epsilon": epsilon, "weight": weight, "accuracy": accuracy, "noise": noise,
           "given": given.tolist(), "features": features, "classes": classes}, small)  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--set", default="untrained,trained,mixup,noise")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    root = given.folder
    for seed in range(given.seeds):
        bias = seed % 2 == 1
        common = {"seed": seed, "head_bias": bias}
        if given.set == "fixtures":
            small = {"classes": 40, "features": 48, "seed": seed}
            for bias in (False, True):
                name = "bias" if bias else "nobias"
                for head, labels in [("untrained", "hard"), ("untrained", "smoothed"), ("untrained", "mixup"),
                                     ("trained", "hard"), ("trained", "smoothed")]:  # fmt: skip
                    make(root, f"{head}-{labels}-{name}", batch=8, labels=labels, head=head, head_bias=bias, **small)
            make(root, "untrained-twins", batch=6, labels="hard", head="untrained", head_bias=True, twins=True, **small)
            make(root, "untrained-noise", batch=6, labels="hard", head="untrained", noise=1e-3, **small)
            make(root, "untrained-crowded", batch=30, labels="hard", head="untrained", head_bias=True, **small)
            continue
        if "untrained" in given.set:
            sizes = [(100, b) for b in (2, 4, 8, 16, 32)] + [(200, 64), (1000, 128)]
            for classes, batch in sizes:
                for labels in ("hard", "smoothed"):
                    make(root, f"untrained-{labels}-k{classes}-b{batch}", classes=classes, batch=batch, labels=labels,
                         head="untrained", **common)  # fmt: skip
        if "trained" in given.set.split(","):
            for classes, batch in [(100, b) for b in (2, 4, 8, 16, 32)] + [(200, 32), (1000, 32)]:
                for labels in ("hard", "smoothed"):
                    make(root, f"trained-{labels}-k{classes}-b{batch}", classes=classes, batch=batch, labels=labels,
                         head="trained", **common)  # fmt: skip
        if "mixup" in given.set:
            for batch in (4, 8, 16):
                for labels in ("mixup", "mixup-smoothed"):
                    make(root, f"{labels}-k100-b{batch}", classes=100, batch=batch, labels=labels, head="untrained",
                         **common)  # fmt: skip
        if "noise" in given.set:
            for noise in (1e-3, 1e-2):
                for head in ("untrained", "trained"):
                    make(root, f"noise{noise:g}-{head}-hard-k100-b8", classes=100, batch=8, labels="hard", head=head,
                         noise=noise, **common)  # fmt: skip


main()
