"""Makes updates as clients send them, with what they really are, for `updates.ts`.

    python test/bench/updates/make_updates.py FOLDER [NETWORK ...]

Each case is a folder: before.pt, after.pt, difference.pt (either sign), list.npz, gradient.pt of the first batch, and
truth.json with optimiser, steps, learning rate, sign and labels.
"""

import copy
import json
import os
import sys

import numpy
import torch
from torch import nn
from torch.nn import functional


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(12, 12, 5, 2, 2), nn.Sigmoid(), nn.Flatten()
        )
        self.fc = nn.Linear(12 * 7 * 7, 10)

    def forward(self, images):
        return self.fc(self.body(images))


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(32)
        self.fc = nn.Linear(32 * 7 * 7, 10)

    def forward(self, images):
        hidden = functional.relu(self.bn1(self.conv1(images)))
        return self.fc(functional.relu(self.bn2(self.conv2(hidden))).flatten(1))


class FCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )

    def forward(self, images):
        return self.layers(images)


def resnet18():
    import torchvision

    return torchvision.models.resnet18(num_classes=100)


NETWORKS = {
    "lenet": (LeNet, (1, 28, 28), 10),
    "convnet": (ConvNet, (1, 28, 28), 10),
    "fcn": (FCN, (1, 28, 28), 10),
    "resnet18": (resnet18, (3, 64, 64), 100),
}
OPTIMISERS = {
    "sgd": lambda own, rate: torch.optim.SGD(own, rate),
    "momentum-decay": lambda own, rate: torch.optim.SGD(own, rate, momentum=0.9, weight_decay=5e-4),
    "nesterov": lambda own, rate: torch.optim.SGD(own, rate, momentum=0.9, nesterov=True),
    "adam": lambda own, rate: torch.optim.Adam(own, rate),
    "adamw": lambda own, rate: torch.optim.AdamW(own, rate),
}


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def smooth(generator, count, shape):
    """Images with structure: noise, blurred."""
    noise = torch.rand(count, *shape, generator=generator)
    return functional.interpolate(functional.avg_pool2d(noise, 4), size=shape[1:], mode="bilinear").clamp(0, 1)


def made(folder, network, optimiser, rate, steps, batch, dtype=torch.float32, repeat=False, mode="train"):
    make, shape, classes = NETWORKS[network]
    name = "-".join(
        str(part)
        for part in [network, optimiser, f"{rate:g}", f"E{steps}{'same' if repeat else ''}", f"B{batch}", str(dtype)[6:], mode]
    )
    seed = sum(name.encode())
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = make()
    # A few steps, so that neither weights nor statistics are as initialised.
    warm = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(3):
        warm.zero_grad()
        functional.cross_entropy(
            model(smooth(generator, 8, shape)), torch.randint(0, classes, (8,), generator=generator)
        ).backward()
        warm.step()
    model = model.to(dtype)
    model.train(mode == "train")
    before = state(model)
    count = batch if repeat else batch * steps
    images = smooth(generator, count, shape).to(dtype)
    labels = torch.randint(0, classes, (count,), generator=generator)
    reference = copy.deepcopy(model)
    functional.cross_entropy(reference(images[:batch]), labels[:batch]).backward()
    gradient = {name: value.grad for name, value in reference.named_parameters()}
    own = OPTIMISERS[optimiser](model.parameters(), rate)
    for step in range(steps):
        at = slice(0, batch) if repeat else slice(step * batch, (step + 1) * batch)
        own.zero_grad()
        functional.cross_entropy(model(images[at]), labels[at]).backward()
        own.step()
    after = state(model)
    if all(torch.equal(before[key], after[key]) for key in before):
        print("nothing changed:", name)
        return
    path = os.path.join(folder, name)
    os.makedirs(path, exist_ok=True)
    sign = 1 if seed % 2 == 0 else -1
    difference = {key: sign * (after[key] - before[key]) for key in before if key in gradient}
    torch.save(before, f"{path}/before.pt")
    torch.save(after, f"{path}/after.pt")
    torch.save(difference, f"{path}/difference.pt")
    torch.save(gradient, f"{path}/gradient.pt")
    if dtype != torch.bfloat16:
        numpy.savez(f"{path}/list.npz", *[value.numpy() for value in after.values()])
    torch.save({"image": images}, f"{path}/image.pt")
    with open(f"{path}/truth.json", "w") as file:
        json.dump(
            {
                "network": network, "optimiser": optimiser, "rate": rate, "steps": steps, "batch": batch, "repeat": repeat,
                "dtype": str(dtype)[6:], "mode": mode, "sign": sign, "labels": labels.tolist(), "classes": classes,
            },
            file,
        )


def main(folder, networks):
    for network in networks or NETWORKS:
        is_large = network == "resnet18"
        for rate in (1e-1, 1e-2, 1e-3, 1e-4):
            for batch in (1, 8):
                modes = ["eval"] if is_large and batch == 1 else ["train"]
                for mode in modes:
                    made(folder, network, "sgd", rate, 1, batch, mode=mode)
        for dtype in (torch.float16, torch.bfloat16):
            for rate in (1e-1, 1e-2):
                for batch in (1, 8):
                    if not is_large:
                        made(folder, network, "sgd", rate, 1, batch, dtype)
        for optimiser in OPTIMISERS:
            rate = 1e-3 if optimiser.startswith("adam") else 1e-2
            for steps in (1, 2, 5, 10):
                for batch in (1, 8):
                    if is_large and (steps > 2 or batch == 1):
                        continue
                    made(folder, network, optimiser, rate, steps, batch)
        if not is_large:
            for rate in (1e-2, 1e-3, 1e-4):
                made(folder, network, "sgd", rate, 5, 1, repeat=True)


main(sys.argv[1], sys.argv[2:])
