"""Captured gradients of convolutional networks on crops of photographs, for the bench and docs/benchmarks.md.

    pip install torch torchvision numpy scikit-image scikit-learn
    python make_dumps.py OUT [--network resnet18] [--width 64] [--steps 300] [--mode eval] [--batch 1] [--count 3] [--seed 0]
        [--size 32] [--labels hard|smooth|mixup] [--noise 1e-5] [--dtype float16] [--weights FILE]

Trains on crops of photographs (the class is the photograph), then writes OUT/dump-N with checkpoint.pt, gradient.pt, image.npy
(normalised as CIFAR-10's) and truth.json. Untrained networks (--steps 0) are drawn anew for each dump. --noise is relative to each
tensor's norm. --weights keeps what was trained, and reads it where it is there.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from networks import MEAN, STD, network

warnings.filterwarnings("ignore")
CLASSES = 10
# Networks without normalisation diverge at the others' 0.02.
RATES = {"vgg11": 0.01, "fedavg": 0.01, "flower": 0.01}


def photographs():
    from skimage import data
    from sklearn.datasets import load_sample_images

    own = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.cat()[:, ::-1]]
    return own + list(load_sample_images().images) + [data.retina(), data.immunohistochemistry(), data.colorwheel()]


def crops(images, count, random, size):
    labels = torch.randint(0, CLASSES, (count,), generator=random)
    out = []
    for label in labels.tolist():
        image = torch.tensor(np.ascontiguousarray(images[label][..., :3])).permute(2, 0, 1).float() / 255
        side = int(torch.randint(max(64, size), min(image.shape[1:]) + 1, (1,), generator=random))
        top = int(torch.randint(0, image.shape[1] - side + 1, (1,), generator=random))
        left = int(torch.randint(0, image.shape[2] - side + 1, (1,), generator=random))
        crop = image[None, :, top : top + side, left : left + side]
        small = functional.interpolate(crop, (size, size), mode="area")
        out.append(torch.round(small * 255) / 255)
    return (torch.cat(out) - MEAN) / STD, labels


def sample(images, batch, random, size, kind):
    """A batch and its labels as probabilities."""
    x, y = crops(images, batch, random, size)
    labels = functional.one_hot(y, CLASSES).float()
    if kind == "smooth":
        labels = 0.9 * labels + 0.1 / CLASSES
    if kind == "mixup":
        other, classes = crops(images, batch, random, size)
        share = 0.5 + 0.5 * torch.rand(batch, generator=random)
        x = share.view(-1, 1, 1, 1) * x + (1 - share).view(-1, 1, 1, 1) * other
        labels = share.view(-1, 1) * labels + (1 - share).view(-1, 1) * functional.one_hot(classes, CLASSES)
    return x, labels


def trained(asked, images, random):
    net = network(asked.network, asked.width, CLASSES)
    if asked.steps == 0:
        return net
    if asked.weights and asked.weights.exists():
        net.load_state_dict(torch.load(asked.weights, weights_only=True))
        return net
    optimiser = torch.optim.SGD(net.parameters(), RATES.get(asked.network, 0.02), momentum=0.9)
    net.train()
    right = []
    for step in range(asked.steps):
        x, y = crops(images, 32, random, asked.size)
        logits = net(x)
        loss = functional.cross_entropy(logits, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        right.append(float((logits.argmax(1) == y).float().mean()))
        if step % 50 == 49:
            print(step + 1, float(loss.detach()), "accuracy", round(sum(right[-50:]) / 50, 3), flush=True)
    if asked.weights:
        torch.save(net.state_dict(), asked.weights)
    return net


def captured(gradient, asked, random):
    noise = torch.randn(gradient.shape, generator=random) * gradient.norm() / gradient.numel() ** 0.5
    return (gradient + asked.noise * noise).to(getattr(torch, asked.dtype))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mode", choices=("eval", "train"), default="eval")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--labels", choices=("hard", "smooth", "mixup"), default="hard")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--weights", type=Path)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    random = torch.Generator().manual_seed(asked.seed)
    images = photographs()
    net = trained(asked, images, random)
    for at in range(asked.count):
        if asked.steps == 0:
            net = network(asked.network, asked.width, CLASSES)
        net.train(asked.mode == "train")
        folder = asked.out / f"dump-{at}"
        folder.mkdir(parents=True, exist_ok=True)
        x, labels = sample(images, asked.batch, random, asked.size, asked.labels)
        state = {name: value.clone() for name, value in net.state_dict().items()}
        net.zero_grad()
        functional.cross_entropy(net(x), labels).backward()
        torch.save(state, folder / "checkpoint.pt")
        gradients = {name: captured(own.grad, asked, random) for name, own in net.named_parameters()}
        torch.save(gradients, folder / "gradient.pt")
        net.load_state_dict(state)
        np.save(folder / "image.npy", x.numpy())
        truth = {
            "labels": labels.tolist(),
            "image": "image.npy",
            "mean": MEAN.flatten().tolist(),
            "std": STD.flatten().tolist(),
        }
        (folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
