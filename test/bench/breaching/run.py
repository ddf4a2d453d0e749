"""The attacks of breaching 0.1.2 on dumps of a CIFAR-style ResNet-18, for the bench and for docs/benchmarks.md.

    pip install torch numpy breaching==0.1.2
    python run.py --iterations 1000 --threads 2 DUMP [DUMP ...]

A dump is a folder with checkpoint.pt, gradient.pt, image.npy and truth.json (one hard label), in evaluation mode, and
images are normalised as CIFAR-10's. Prints one JSON object a line: dump, preset, iterations, seconds, psnr.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import breaching
import numpy as np
import torch
from torch import nn
from torch.nn import functional

PRESETS = ("invertinggradients", "modern")
MEAN = torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1)
STD = torch.tensor([0.247, 0.243, 0.261]).view(1, 3, 1, 1)


class Block(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.shortcut(x))


class ResNet18(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        before = width
        for stage in range(4):
            own = width * 2**stage
            blocks = [Block(before, own, 1 if stage == 0 else 2), Block(own, own, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            before = own
        self.linear = nn.Linear(before, classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(4):
            x = getattr(self, f"layer{stage + 1}")(x)
        return self.linear(x.mean((2, 3)))


def attack(folder, preset, iterations):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    head = next(name for name in ("linear.weight", "fc.weight") if name in state)
    net = ResNet18(state["conv1.weight"].shape[0], state[head].shape[0])
    net.load_state_dict(state)
    net.eval()
    captured = torch.load(folder / "gradient.pt", weights_only=True)
    labels = torch.tensor(json.loads((folder / "truth.json").read_text())["labels"]).argmax(1)
    truth = torch.tensor(np.load(folder / "image.npy")).float()
    cfg = breaching.get_config(overrides=["case=1_single_image_small", f"attack={preset}"])
    cfg.attack.optim.max_iterations = iterations
    cfg.attack.optim.callback = max(1, iterations // 5)
    setup = {"dtype": torch.float, "device": torch.device("cpu")}
    attacker = breaching.attacks.prepare_attack(net, nn.CrossEntropyLoss(), cfg.attack, setup)
    metadata = cfg.case.data
    payload = [
        {
            "parameters": list(net.parameters()),
            "buffers": list(net.buffers()),
            "metadata": metadata,
        }
    ]
    shared = [
        {
            "gradients": [captured[name] for name, _ in net.named_parameters()],
            "buffers": None,
            "metadata": {"num_data_points": 1, "labels": labels, "local_hyperparams": None},
        }
    ]
    started = time.time()
    found, _ = attacker.reconstruct(payload, shared, {}, dryrun=False)
    seconds = time.time() - started
    off = (found["data"].detach() - truth) * STD
    return {
        "dump": folder.name,
        "preset": preset,
        "iterations": iterations,
        "seconds": round(seconds, 1),
        "psnr": round(-10 * float(torch.log10((off**2).mean())), 2),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dumps", nargs="+", type=Path)
    parser.add_argument("--iterations", type=int, default=24000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--presets", default=",".join(PRESETS))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for folder in asked.dumps:
        for preset in asked.presets.split(","):
            print(json.dumps(attack(folder, preset, asked.iterations)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
