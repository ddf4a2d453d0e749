"""Clients of one epoch, told sample by sample: audited by the built command and compared with their truth.

    python test/bench/updates/measure_samples.py OUT CLIENT... [--attack none]      (folders of make_clients.py)

One line of JSON for each client goes to OUT and the screen. Images are counted by the nearest found one of each true one. Run it in
the repository's root, after the build.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter

import numpy
import torch

# Decibels, of values from 0 to 1: what Dimitrov et al. (2022) count as reconstructed.
RECONSTRUCTED = 19


def measured(folder, options):
    with open(f"{folder}/client.json", encoding="utf-8") as file:
        client = json.load(file)
    truth = torch.load(f"{folder}/image.pt", weights_only=True)["image"].double().numpy()
    with tempfile.TemporaryDirectory() as work:
        started = time.time()
        ran = subprocess.run(
            ["node", "dist/cli.js", "audit", folder, "--out", f"{work}/out", "--format", "json", *options],
            capture_output=True,
            text=True,
        )
        row = {"client": os.path.basename(folder), "seconds": round(time.time() - started, 1), "samples": len(truth)}
        report = json.loads(ran.stdout)
        leak = next((own for own in report["leaks"] if own["method"] == "client-samples"), None)
        if not leak:
            row["why"] = next((own["detail"] for own in report["methods"] if own["id"] == "client-samples"), "")
            return row | {"told": 0, "labels": 0, "images": 0}
        cells = [own["cells"] for detail in leak["details"] if detail["type"] == "table" for own in detail["rows"]]
        told = Counter(own[1] for own in cells)
        wanted = Counter(f"class {own}" for own in client["labels"])
        right = sum(min(count, wanted[name]) for name, count in told.items())
        paths = glob.glob(f"{work}/out/client-image-*.npy")
        found = numpy.array([numpy.load(path).astype(float).reshape(truth.shape[1:]) for path in paths])
        row |= {"told": len(cells), "labels": right, "wrong labels": len(cells) - told["?"] - right, "images": len(found)}
        if len(found):
            psnr = -10 * numpy.log10(((found[:, None] - truth[None]) ** 2).mean((2, 3, 4)).min(0))
            row |= {"above": int((psnr > RECONSTRUCTED).sum()), "median": round(float(numpy.median(psnr)), 1)}
            row |= {"psnr": sorted(round(float(own), 1) for own in psnr)}
        return row


def main():
    out, *rest = sys.argv[1:]
    options = rest[rest.index("--attack") :] if "--attack" in rest else []
    for folder in rest[: len(rest) - len(options)]:
        row = measured(folder.rstrip("/"), options)
        print(json.dumps(row), flush=True)
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
