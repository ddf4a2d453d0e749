"""Writes the calibration set: captured gradients of several PyTorch networks with their truth.

    python make_cases.py FOLDER [--seed N] [--cases N]

Needs torch, numpy, safetensors and scikit-learn (requirements.txt beside this file). Images are made of scikit-learn's handwritten
digits, up to three side by side, so that 2 to 1000 classes can be trained in seconds. FOLDER gets nets/*.safetensors,
gradients/*.safetensors and cases.jsonl, one line per case.
"""

import argparse
import json
import os

import numpy
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

DIGITS = load_digits()
IMAGES = [DIGITS.images[DIGITS.target == digit] / 16 for digit in range(10)]


def draw_inputs(random, classes, count):
    """Images 3 x 32 x 32 of a number, and its class."""
    labels = random.integers(0, classes, count)
    images = numpy.zeros((count, 3, 32, 32), numpy.float32)
    for at, label in enumerate(labels):
        tint = random.uniform(0.5, 1, 3)
        for place, digit in enumerate(f"{label:03d}"):
            options = IMAGES[int(digit)]
            glyph = numpy.kron(options[random.integers(len(options))], numpy.ones((2, 1)))[:, :8]
            top, left = random.integers(4, 12), 2 + 10 * place + random.integers(0, 2)
            images[at, :, top : top + 16, left : left + 8] = glyph[None] * tint[:, None, None]
    images += random.normal(0, 0.02, images.shape)
    return torch.tensor((images - 0.2) / 0.35, dtype=torch.float32), torch.tensor(labels)


def lenet(classes, bias):
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(8, 8, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(8, 8, 5, 1, 2), nn.Sigmoid(),
        nn.Flatten(), nn.Linear(512, classes, bias=bias),
    )


def mlp(classes, bias):
    return nn.Sequential(
        nn.Flatten(), nn.AvgPool1d(8), nn.Linear(384, 128, bias=bias), nn.ReLU(), nn.Linear(128, 96, bias=bias), nn.ReLU(),
        nn.Linear(96, classes, bias=bias),
    )


def convnet(classes, bias):
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(12, 24, 3, 1, 1), nn.BatchNorm2d(24),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(384, classes, bias=bias),
    )


def gelu_norm(classes, bias):
    return nn.Sequential(
        nn.Flatten(), nn.AvgPool1d(8), nn.Linear(384, 128), nn.GELU(), nn.LayerNorm(128), nn.Linear(128, classes, bias=bias),
    )


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return functional.relu(x + self.norm(self.conv(x)))


def resnet(classes, bias):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16), nn.Conv2d(16, 64, 3, 2, 1, bias=False),
        nn.BatchNorm2d(64), nn.ReLU(), Residual(64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes, bias=bias),
    )


NETWORKS = {"lenet": lenet, "mlp": mlp, "convnet": convnet, "gelu-norm": gelu_norm, "resnet": resnet}
CLASSES = [2, 3, 5, 10, 20, 100, 1000]


def train(net, classes, random, steps):
    net.train()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    right = 0.0
    for _ in range(steps):
        x, y = draw_inputs(random, classes, 64)
        out = net(x)
        right = 0.9 * right + 0.1 * (out.argmax(1) == y).float().mean().item()
        loss = functional.cross_entropy(out, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return right


def soft_labels(random, kind, y, classes):
    """Label vectors of one batch: hard, smoothed, mixup or both; B x K."""
    labels = functional.one_hot(y, classes).double()
    weight, epsilon = 1.0, 0.0
    if kind.startswith("mixup"):
        weight = float(random.uniform(0.5, 0.95))
        shift = torch.tensor(random.integers(1, classes, len(y))) if classes > 1 else 0
        labels = weight * labels + (1 - weight) * functional.one_hot((y + shift) % classes, classes)
    if kind.endswith("smoothed"):
        epsilon = float(random.choice([0.05, 0.1, 0.2, 0.3, random.uniform(0.02, 0.4)]))
        labels = (1 - epsilon) * labels + epsilon / classes
    return labels.float(), weight, epsilon


def defend(random, gradients, how, level):
    out = {}
    for name, value in gradients.items():
        g = value.double()
        if how == "noise":
            noise = torch.tensor(random.normal(size=tuple(g.shape)))
            out[name] = (g + noise * (level * g.norm() / g.numel() ** 0.5)).float()
        elif how == "float16":
            out[name] = value.half()
        elif how == "bfloat16":
            out[name] = value.bfloat16()
        elif how == "int8":
            scale = g.abs().max() / 127
            out[name] = (torch.round(g / scale) * scale).float() if scale > 0 else value
        elif how == "top-k":
            kept = max(1, int(level * g.numel()))
            threshold = g.abs().flatten().kthvalue(g.numel() - kept + 1).values
            out[name] = torch.where(g.abs() >= threshold, g, 0).float()
        elif how == "sign":
            out[name] = torch.sign(value)
        elif how in ("scale", "dp"):
            out[name] = value * (level if how == "scale" else 1)
        else:
            out[name] = value
    if how == "dp":
        # Clipped to half of its norm over all tensors, then noise of a share of that clip, per tensor norm.
        for name, value in out.items():
            g = 0.5 * value.double()
            noise = torch.tensor(random.normal(size=tuple(g.shape)))
            out[name] = (g + noise * (level * g.norm() / g.numel() ** 0.5)).float()
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=2000)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(2)
    random = numpy.random.default_rng(options.seed)
    for sub in ("nets", "gradients"):
        os.makedirs(os.path.join(options.folder, sub), exist_ok=True)
    nets = []
    for name, make in NETWORKS.items():
        for classes in CLASSES:
            for state in ("default", "wide", "trained"):
                bias = bool(random.random() < 0.5)
                net = make(classes, bias)
                if state == "wide":
                    for parameter in net.parameters():
                        if parameter.dim() > 1:
                            nn.init.normal_(parameter, 0, 2 / parameter[0].numel() ** 0.5)
                if state == "trained":
                    train(net, classes, random, 120)
                elif any(isinstance(module, nn.BatchNorm2d) for module in net.modules()):
                    net.train()
                    net(draw_inputs(random, classes, 64)[0])
                net.eval()
                path = f"nets/{name}-{classes}-{state}.safetensors"
                save_file({key: value.contiguous() for key, value in net.state_dict().items()}, os.path.join(options.folder, path))
                nets.append({"net": net, "name": name, "classes": classes, "state": state, "bias": bias, "path": path})
    lines = []

    def write(entry, gradients):
        at = len(lines)
        path = f"gradients/{at:05d}.safetensors"
        save_file({key: value.contiguous() for key, value in gradients.items()}, os.path.join(options.folder, path))
        lines.append({"id": at, "gradients": path, **entry})

    def case(group):
        own = nets[random.integers(len(nets))]
        classes = own["classes"]
        kinds = ["hard", "smoothed", "mixup", "mixup-smoothed"] if classes > 2 else ["hard", "smoothed"]
        kind = kinds[random.integers(len(kinds))]
        batch = 1 if random.random() < 0.75 else int(random.choice([2, 4, 8, 16, 32]))
        x, y = draw_inputs(random, classes, batch)
        labels, weight, epsilon = soft_labels(random, kind, y, classes)
        loss = functional.cross_entropy(own["net"](x), labels)
        named = list(own["net"].named_parameters())
        raw = dict(zip([name for name, _ in named], torch.autograd.grad(loss, [p for _, p in named])))
        roll = random.random()
        how, level = "none", 0.0
        if group != "random" and roll > 0.3:
            how = str(random.choice(["noise"] * 10 + ["float16", "bfloat16", "int8", "top-k", "sign", "scale", "dp", "dp"]))
            level = {
                "noise": lambda: 10 ** random.uniform(-6, -1),
                "top-k": lambda: random.choice([0.01, 0.1, 0.5]),
                "scale": lambda: 10 ** random.uniform(-2, 0.5),
                "dp": lambda: random.uniform(0.06, 0.2),
            }.get(how, lambda: 0.0)()
        gradients = defend(random, raw, how, float(level))
        checkpoint = own
        if group == "wrong":
            twins = [net for net in nets if net["name"] == own["name"] and net["classes"] == classes and net["bias"] == own["bias"] and net is not own]
            if not twins:
                return case(group)
            checkpoint = twins[random.integers(len(twins))]
        if group == "random":
            gradients = {
                key: torch.tensor(random.normal(size=tuple(value.shape)) * float(value.norm()) / value.numel() ** 0.5).float()
                for key, value in raw.items()
            }
        write(
            {
                "group": group, "checkpoint": checkpoint["path"], "network": own["name"], "classes": classes, "state": own["state"],
                "bias": own["bias"], "batch": batch, "kind": kind, "weight": weight, "epsilon": epsilon, "how": how, "level": float(level),
                "labels": [
                    {"top": int(row.argmax()), "values": {str(k): float(row[k]) for k in row.topk(min(3, classes)).indices.tolist()}, "flat": float(row.min())}
                    for row in labels
                ],
                "lossGap": [
                    float(value) for value in (torch.softmax(own["net"](x), 1) - labels).norm(dim=1)
                ],
            },
            gradients,
        )

    for group, count in (("real", options.cases), ("wrong", options.cases // 10), ("random", options.cases // 10)):
        for _ in range(count):
            case(group)
    with open(os.path.join(options.folder, "cases.jsonl"), "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


main()
