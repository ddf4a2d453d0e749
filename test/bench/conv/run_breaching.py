"""The attacks of breaching 0.1.2 on dumps of a CIFAR-style ResNet-18, for the bench and for docs/benchmarks.md.

    pip install torch numpy breaching==0.1.2
    python run_breaching.py --iterations 1000 --threads 2 DUMP [DUMP ...]

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

from networks import STD, network

PRESETS = ("invertinggradients", "modern")


def attack(folder, preset, iterations):
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    head = next(name for name in ("linear.weight", "fc.weight") if name in state)
    net = network("resnet18", state["conv1.weight"].shape[0], state[head].shape[0])
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
