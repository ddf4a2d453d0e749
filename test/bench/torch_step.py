"""PyTorch's side of the matching benchmark: reads `network width threads steps` a line, prints milliseconds per step."""

import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def lenet():
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, 2, 2), nn.Sigmoid(), nn.Conv2d(12, 12, 5, 2, 2), nn.Sigmoid(),
        nn.Conv2d(12, 12, 5, 1, 2), nn.Sigmoid(), nn.Flatten(), nn.Linear(768, 10),
    )


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


def resnet18(width):
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    blocks = []
    for stage in range(1, 5):
        blocks += [Block(widths[stage - 1], widths[stage], 1 if stage == 1 else 2), Block(widths[stage], widths[stage], 1)]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10),
    )


MODELS = {}


def prepared(name, width):
    if (name, width) not in MODELS:
        torch.manual_seed(0)
        model = (lenet() if name == "lenet" else resnet18(width)).eval()
        parameters = list(model.parameters())
        label = torch.full((1, 10), 0.1)
        target = torch.autograd.grad(F.cross_entropy(model(torch.randn(1, 3, 32, 32)), label), parameters)
        MODELS[name, width] = model, parameters, label, [slope.detach() for slope in target]
    return MODELS[name, width]


def step(model, parameters, label, target, x, cosine):
    slopes = torch.autograd.grad(F.cross_entropy(model(x), label), parameters, create_graph=True)
    if cosine:
        product = sum((a * b).sum() for a, b in zip(slopes, target))
        own = sum((a * a).sum() for a in slopes)
        other = sum((b * b).sum() for b in target)
        loss = 1 - product / (own * other).sqrt()
    else:
        loss = sum(((a - b) ** 2).sum() for a, b in zip(slopes, target))
    return torch.autograd.grad(loss, x)[0]


print(torch.__version__, flush=True)
for line in sys.stdin:
    name, width, threads, steps = line.split()
    torch.set_num_threads(int(threads))
    model, parameters, label, target = prepared(name, int(width))
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    step(model, parameters, label, target, x, name != "lenet")
    times = []
    for _ in range(int(steps)):
        start = time.perf_counter()
        step(model, parameters, label, target, x, name != "lenet")
        times.append(time.perf_counter() - start)
    print(1000 * sorted(times)[len(times) // 2], flush=True)
