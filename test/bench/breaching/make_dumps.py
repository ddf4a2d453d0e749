"""Captured gradients of a CIFAR-style ResNet-18 on crops of photographs, for the bench beside breaching.

    pip install torch numpy scikit-image scikit-learn
    python make_dumps.py OUT [--width 64] [--steps 300] [--mode eval] [--batch 1] [--count 3] [--seed 0]

Trains on crops of photographs (the class is the photograph), then writes OUT/dump-N with checkpoint.pt, gradient.pt,
image.npy (normalised as CIFAR-10's) and truth.json, with hard labels.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from networks import MEAN, STD, ResNet18

warnings.filterwarnings("ignore")
CLASSES = 10


def photographs():
    from skimage import data
    from sklearn.datasets import load_sample_images

    own = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.cat()[:, ::-1]]
    return own + list(load_sample_images().images) + [data.retina(), data.immunohistochemistry(), data.colorwheel()]


def crops(images, count, random):
    labels = torch.randint(0, CLASSES, (count,), generator=random)
    out = []
    for label in labels.tolist():
        image = torch.tensor(np.ascontiguousarray(images[label][..., :3])).permute(2, 0, 1).float() / 255
        side = int(torch.randint(64, min(image.shape[1:]) + 1, (1,), generator=random))
        top = int(torch.randint(0, image.shape[1] - side + 1, (1,), generator=random))
        left = int(torch.randint(0, image.shape[2] - side + 1, (1,), generator=random))
        crop = image[None, :, top : top + side, left : left + side]
        small = functional.interpolate(crop, (32, 32), mode="area")
        out.append(torch.round(small * 255) / 255)
    return (torch.cat(out) - MEAN) / STD, labels


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--mode", choices=("eval", "train"), default="eval")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    random = torch.Generator().manual_seed(asked.seed)
    images = photographs()
    net = ResNet18(asked.width, CLASSES)
    optimiser = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    net.train()
    for step in range(asked.steps):
        x, y = crops(images, 32, random)
        loss = functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 49:
            print(step + 1, float(loss), flush=True)
    for at in range(asked.count):
        net.train(asked.mode == "train")
        folder = asked.out / f"dump-{at}"
        folder.mkdir(parents=True, exist_ok=True)
        x, y = crops(images, asked.batch, random)
        state = {name: value.clone() for name, value in net.state_dict().items()}
        net.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        torch.save(state, folder / "checkpoint.pt")
        torch.save({name: own.grad.clone() for name, own in net.named_parameters()}, folder / "gradient.pt")
        net.load_state_dict(state)
        np.save(folder / "image.npy", x.numpy())
        labels = functional.one_hot(y, CLASSES).tolist()
        truth = {"labels": labels, "image": "image.npy", "mean": MEAN.flatten().tolist(), "std": STD.flatten().tolist()}
        (folder / "truth.json").write_text(json.dumps(truth))


if __name__ == "__main__":
    main()
