"""Makes gradients of batches larger than a classifier has classes, with networks as tutorials have them, and their truth.

    python test/bench/hidden/make_hidden.py FOLDER NETWORK DATA BATCH [SEED] [--steps N] [--soft] [--noise SHARE]

NETWORK: mlp (784-200-200-10), fedavg (the CNN of McMahan et al. 2017), flower (the Net of Flower's tutorial), vgg (a small one with
two hidden layers). DATA: digits of scikit-learn or patches of photographs of scikit-image, as `updates/make_clients.py` cuts them.
--steps trains by Adam first, --soft mixes labels, --noise adds Gaussian noise of that share of each gradient's norm.
"""

import argparse
import json
import os
import sys

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "updates"))
from make_clients import digits, photographs  # noqa: E402

CLASSES = 10
NORMALISATIONS = {"digits": ([0.1307], [0.3081]), "photographs": ([0.4914, 0.4822, 0.4465], [0.247, 0.2435, 0.2616])}


class Mlp(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.fc1 = nn.Linear(channels * size * size, 200)
        self.fc2 = nn.Linear(200, 200)
        self.fc3 = nn.Linear(200, CLASSES)

    def forward(self, images):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(images.flatten(1))))))


class FedAvg(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * (size // 4) ** 2, 512)
        self.fc2 = nn.Linear(512, CLASSES)

    def forward(self, images):
        hidden = functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        hidden = functional.max_pool2d(torch.relu(self.conv2(hidden)), 2)
        return self.fc2(torch.relu(self.fc1(hidden.flatten(1))))


class Flower(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * (((size - 4) // 2 - 4) // 2) ** 2, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, CLASSES)

    def forward(self, images):
        hidden = self.pool(torch.relu(self.conv1(images)))
        hidden = self.pool(torch.relu(self.conv2(hidden))).flatten(1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(hidden)))))


class Vgg(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        layers, last = [], channels
        for width in (32, 64, 128):
            layers += [nn.Conv2d(last, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            last = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(128 * (size // 8) ** 2, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, CLASSES)
        )

    def forward(self, images):
        return self.classifier(self.features(images).flatten(1))


NETWORKS = {"mlp": Mlp, "fedavg": FedAvg, "flower": Flower, "vgg": Vgg}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("data", choices=NORMALISATIONS)
    parser.add_argument("batch", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--soft", action="store_true")
    parser.add_argument("--noise", type=float, default=0)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    torch.set_num_threads(1)
    images, labels = digits() if given.data == "digits" else photographs()
    mean, std = NORMALISATIONS[given.data]
    images = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    order = torch.randperm(len(images))
    model = NETWORKS[given.network](images.shape[1], images.shape[2])
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    kept, rest = order[: given.batch], order[given.batch :]
    for _ in range(given.steps):
        batch = rest[torch.randint(len(rest), (64,))]
        optimiser.zero_grad()
        functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    model.zero_grad()
    wanted = functional.one_hot(labels[kept], CLASSES).float()
    if given.soft:
        share = torch.rand(len(wanted), 1)
        wanted = share * wanted + (1 - share) * wanted.roll(1, 0)
    functional.cross_entropy(model(images[kept]), wanted).backward()
    slopes = {name: own.grad.clone() for name, own in model.named_parameters()}
    if given.noise:
        slopes = {
            name: own + given.noise * own.norm() / own.numel() ** 0.5 * torch.randn_like(own)
            for name, own in slopes.items()
        }
    os.makedirs(given.folder, exist_ok=True)
    torch.save(model.state_dict(), f"{given.folder}/checkpoint.pt")
    torch.save(slopes, f"{given.folder}/gradient.pt")
    torch.save({"image": images[kept], "label": wanted}, f"{given.folder}/truth.pt")
    accuracy = (model(images[rest[:500]]).argmax(1) == labels[rest[:500]]).float().mean().item()
    with open(f"{given.folder}/made.json", "w", encoding="utf-8") as file:
        json.dump({**vars(given), "accuracy": accuracy}, file)


if __name__ == "__main__":
    main()
