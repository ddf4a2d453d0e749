"""Makes what federated clients send after several local steps, with the truth, for `clients.ts`.

    python test/bench/updates/make_clients.py FOLDER [SEEDS] [--larger]

FEMNIST and CIFAR-10 cannot be fetched here; handwritten digits of scikit-learn (8 x 8, enlarged to 28 x 28) and patches of
photographs of scikit-image with made-up labels stand in for them. Every client has two classes in most of its samples, as
federated clients have. Samples are shuffled anew in each epoch.
"""

import json
import os
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../media"))
from gradleak_capture import capture_update  # noqa: E402

CLASSES = 10
# Local epochs, batches in each, samples in each batch: the settings of Dimitrov et al. (2022) and smaller ones.
SETTINGS = [(1, 4, 4), (5, 4, 4), (10, 10, 5)]
RATES = (0.01, 0.1)
# Of the larger network.
SMALL_RATES = (0.004,)


class LeNet(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 12, 5, 2, 2)
        self.conv2 = nn.Conv2d(12, 12, 5, 2, 2)
        self.conv3 = nn.Conv2d(12, 12, 5, 1, 2)
        self.fc = nn.Linear(12 * ((size + 3) // 4) ** 2, CLASSES)

    def forward(self, images):
        hidden = torch.sigmoid(self.conv1(images))
        hidden = torch.sigmoid(self.conv2(hidden))
        return self.fc(torch.sigmoid(self.conv3(hidden)).flatten(1))


class ConvNet(nn.Module):
    def __init__(self, channels, size):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, 1, 1)
        self.fc1 = nn.Linear(32 * (size // 4) ** 2, 64)
        self.fc2 = nn.Linear(64, CLASSES)

    def forward(self, images):
        hidden = functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        hidden = functional.max_pool2d(torch.relu(self.conv2(hidden)), 2)
        return self.fc2(torch.relu(self.fc1(hidden.flatten(1))))


class FedAvgNet(nn.Module):
    """The convolutional network of McMahan et al. (2017)."""

    def __init__(self, channels, size):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 5, 1, 2)
        self.conv2 = nn.Conv2d(32, 64, 5, 1, 2)
        self.fc1 = nn.Linear(64 * (size // 4) ** 2, 512)
        self.fc2 = nn.Linear(512, CLASSES)

    def forward(self, images):
        hidden = functional.max_pool2d(torch.relu(self.conv1(images)), 2)
        hidden = functional.max_pool2d(torch.relu(self.conv2(hidden)), 2)
        return self.fc2(torch.relu(self.fc1(hidden.flatten(1))))


NETWORKS = {"lenet": LeNet, "convnet": ConvNet}
# Only with `--larger`.
LARGER = {"fedavg": FedAvgNet}


def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    enlarged = functional.interpolate(images, size=28, mode="bilinear", align_corners=False)
    return enlarged, torch.tensor(data.target)


def photographs():
    from skimage import data as photos

    patches = []
    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        picture = torch.tensor(numpy.asarray(getattr(photos, name)()), dtype=torch.float32) / 255
        small = functional.interpolate(picture[..., :3].permute(2, 0, 1)[None], scale_factor=0.5, mode="area")
        cut = functional.unfold(small, 32, stride=16)[0].T.reshape(-1, 3, 32, 32)
        patches.append(cut[cut.flatten(1).std(1) > 0.08])
    images = torch.cat(patches)
    # A rule and not chance, so that the network can learn something: by the mean colour.
    order = images.flatten(1).mean(1).argsort().argsort()
    return images, order * CLASSES // len(images)


def of_client(labels, count, generator):
    """Indices of a client's samples: mostly two classes."""
    own = torch.randperm(CLASSES, generator=generator)[:2]
    usual = torch.isin(labels, own).nonzero().flatten()
    several = round(0.7 * count)
    chosen = usual[torch.randperm(len(usual), generator=generator)[:several]]
    left = torch.tensor(sorted(set(range(len(labels))) - set(chosen.tolist())))
    return torch.cat([chosen, left[torch.randperm(len(left), generator=generator)[: count - len(chosen)]]])


def made(folder, network, data, images, labels, setting, rate, trained, seed):
    epochs, batches, size = setting
    name = f"{network}-{data}-{epochs}x{batches}x{size}-{rate:g}-{'trained' if trained else 'new'}-{seed}"
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = (NETWORKS | LARGER)[network](*images.shape[1:3])
    if network == "lenet" and not trained:
        for own in model.parameters():
            nn.init.uniform_(own, -0.5, 0.5)
    if trained:
        warm = torch.optim.Adam(model.parameters(), 1e-3)
        for _ in range(200):
            at = torch.randint(0, len(labels), (64,), generator=generator)
            warm.zero_grad()
            functional.cross_entropy(model(images[at]), labels[at]).backward()
            warm.step()
    own = of_client(labels, batches * size, generator)
    x, y = images[own], labels[own]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    step = torch.optim.SGD(model.parameters(), rate)
    for _ in range(epochs):
        for at in torch.randperm(len(y), generator=generator).split(size):
            step.zero_grad()
            functional.cross_entropy(model(x[at]), y[at]).backward()
            step.step()
    path = os.path.join(folder, name)
    capture_update(
        before, model.state_dict(), path, model=model, inputs=x[:1], optimiser=step,
        local_steps=epochs * batches, local_epochs=epochs, batch_size=size, samples=len(y),
    )
    torch.save({"image": x}, os.path.join(path, "image.pt"))
    with open(os.path.join(path, "client.json"), "w") as file:
        json.dump(
            {
                "network": network, "data": data, "epochs": epochs, "batches": batches, "size": size, "rate": rate,
                "trained": trained, "labels": y.tolist(), "classes": CLASSES,
            },
            file,
        )


def main(folder, seeds=5, larger=False):
    torch.set_num_threads(1)
    for data, load in (("digits", digits), ("photographs", photographs)):
        images, labels = load()
        for network in LARGER if larger else NETWORKS:
            for setting in SETTINGS:
                for rate in SMALL_RATES if larger else RATES:
                    for trained in (False, True):
                        for seed in range(seeds):
                            made(folder, network, data, images, labels, setting, rate, trained, seed)


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--larger"]
    main(words[0], *map(int, words[1:]), larger="--larger" in sys.argv)
