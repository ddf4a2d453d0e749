"""Images of torchvision's vision transformers from their gradients: dumps are made, audited by the built command and deleted.

    python test/bench/vit/measure_vit.py OUT DUMPS small|base [BATCH]

`small` is 32 x 32 in patches of 4 (d = 192), `base` vit_b_16 (224 x 224, d = 768). A photograph of scikit-image each, cut at random,
random weights, one label. A line of JSON for each dump goes to OUT. Run it in the repository's root, after the build.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy
import torch
from skimage import data
from torch.nn import functional
from torchvision.models.vision_transformer import VisionTransformer, vit_b_16

CLASSES = 10
MEAN, STD = torch.tensor([0.485, 0.456, 0.406])[:, None, None], torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def model_of(name):
    if name == "base":
        return vit_b_16(num_classes=CLASSES)
    return VisionTransformer(32, 4, 4, 3, 192, 768, num_classes=CLASSES)


def photograph(size, random):
    name = ("astronaut", "coffee", "chelsea", "rocket", "cat")[random.integers(5)]
    whole = numpy.asarray(getattr(data, name)())[..., :3]
    side = int(random.integers(size, min(whole.shape[:2]) + 1))
    top, left = (int(random.integers(0, length - side + 1)) for length in whole.shape[:2])
    cut = torch.tensor(whole[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float() / 255
    small = functional.interpolate(cut, size=size, mode="bilinear", antialias=True, align_corners=False)
    return (small[0] - MEAN) / STD


def main():
    out, dumps, name, *rest = sys.argv[1:]
    batch = int(rest[0]) if rest else 1
    size = 224 if name == "base" else 32
    found = []
    for seed in range(int(dumps)):
        torch.manual_seed(seed)
        random = numpy.random.default_rng(seed)
        model = model_of(name).eval()
        torch.nn.init.normal_(model.heads[-1].weight, std=0.05)
        images = torch.stack([photograph(size, random) for _ in range(batch)])
        functional.cross_entropy(model(images), torch.randint(CLASSES, (batch,))).backward()
        with tempfile.TemporaryDirectory() as folder:
            torch.save(model.state_dict(), f"{folder}/checkpoint.pt")
            torch.save({key: own.grad for key, own in model.named_parameters()}, f"{folder}/gradient.pt")
            started = time.time()
            command = ["node", "dist/cli.js", "audit", folder, "--out", f"{folder}/out", "--format", "json"]
            ran = subprocess.run(command, capture_output=True, text=True)
            seconds = time.time() - started
            report = json.loads(ran.stdout)
            row = {"row": f"{name} {batch}", "seed": seed, "seconds": seconds, "psnr": None}
            leak = next((own for own in report["leaks"] if own["method"] == "vit-patches"), None)
            paths = glob.glob(f"{folder}/out/reconstruction-0.npy") + glob.glob(f"{folder}/out/patches.npy")
            if leak and paths:
                image = numpy.load(paths[0]).astype(float).reshape(-1)
                wanted = images[0].double().numpy().reshape(-1)
                error = float(((image - wanted) ** 2).mean())
                span = float(wanted.max() - wanted.min())
                row |= {"psnr": 20 * numpy.log10(span) - 10 * numpy.log10(error), "measured": error**0.5}
                row |= {"expected": leak["certificate"]["expectedError"], "verdict": leak["certificate"]["verdict"]}
        found.append(row["psnr"])
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    shown = [own for own in found if own is not None]
    print(f"{name} {batch}: images {len(shown)} of {len(found)}", f"{min(shown):.1f} to {max(shown):.1f} dB" if shown else "")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    main()
