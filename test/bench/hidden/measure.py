"""Batches told apart in a hidden layer: dumps are made, audited by the built command, compared with their truth and deleted.

    python test/bench/hidden/measure.py OUT DUMPS NETWORK DATA BATCH [--attack none] [OPTIONS OF make_hidden.py]

One line of JSON for each dump goes to OUT, the row's sums to the screen. Run it in the repository's root, after the build.
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

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import make_hidden  # noqa: E402

# Relative errors below this are right.
RIGHT = 0.01


def first_layer(model):
    return model.classifier[0] if hasattr(model, "classifier") else model.fc1


def true_features(folder, network, images):
    model = make_hidden.NETWORKS[network](images.shape[1], images.shape[2])
    model.load_state_dict(torch.load(f"{folder}/checkpoint.pt", weights_only=True))
    seen = []
    first_layer(model).register_forward_pre_hook(lambda _, given: seen.append(given[0].detach().double().numpy()))
    model(images)
    return seen[0]


def nearest(found, wanted):
    """Relative error of each found one to the nearest true one, and which that is."""
    errors = numpy.linalg.norm(found[:, None] - wanted[None], axis=2) / numpy.linalg.norm(wanted, axis=1)
    return errors.min(1), errors.argmin(1)


def measured(folder, network, options):
    started = time.time()
    ran = subprocess.run(
        ["node", "dist/cli.js", "audit", folder, "--out", f"{folder}/out", "--format", "json", *options],
        capture_output=True,
        text=True,
    )
    seconds = time.time() - started
    report = json.loads(ran.stdout)
    truth = torch.load(f"{folder}/truth.pt", weights_only=True)
    images = truth["image"]
    leak = next((own for own in report["leaks"] if own["method"] == "hidden-layer"), None)
    row = {"seconds": seconds, "samples": len(images), "found": 0, "right": 0, "wrong": 0}
    if leak:
        wanted = true_features(folder, network, images)
        found = numpy.load(f"{folder}/out/hidden-inputs.npy").astype(float)
        if found.shape[1] == wanted.shape[1]:
            errors, which = nearest(found, wanted)
            row |= {"found": len(found), "right": len(set(which[errors < RIGHT])), "wrong": int((errors >= RIGHT).sum())}
            row |= {"median": float(numpy.median(errors)), "worst": float(errors.max())}
        else:
            row |= {"deeper": len(found)}
        row |= {"verdict": leak["certificate"]["verdict"], "expected": leak["certificate"]["expectedError"]}
    paths = glob.glob(f"{folder}/out/batch-input-*.npy")
    if paths:
        batch = next(own for own in report["leaks"] if any(f["id"] == "batch-inputs-reconstructed" for f in own["findings"]))
        found = numpy.array([numpy.load(path).astype(float).reshape(images.shape[1:]) for path in paths])
        span = float(images.max() - images.min())
        errors = ((found[:, None] - images.double().numpy()[None]) ** 2).mean((2, 3, 4)).min(0)
        row |= {"psnr": sorted(round(float(own), 1) for own in 20 * numpy.log10(span) - 10 * numpy.log10(errors))}
        row |= {"images": batch["certificate"]["verdict"], "gradient": batch["certificate"]["error"]}
    return row


def main():
    out, dumps, network, data, batch, *options = sys.argv[1:]
    attack = ["--attack", options.pop(options.index("--attack") + 1)] if "--attack" in options else []
    options = [own for own in options if own != "--attack"]
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_hidden.py")
    rows = []
    for seed in range(int(dumps)):
        with tempfile.TemporaryDirectory() as folder:
            given = [folder, network, data, batch, str(seed), *options]
            subprocess.run([sys.executable, script, *given], check=True)
            row = measured(folder, network, attack)
        rows.append(row)
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps({"row": " ".join([network, data, batch, *options]), "seed": seed, **row}) + "\n")
    psnr = [own for row in rows for own in row.get("psnr", [])]
    print(
        f"{network} {data} {batch} {' '.join(options)}: right {sum(row['right'] for row in rows)} of"
        f" {sum(row['samples'] for row in rows)}, wrong {sum(row['wrong'] for row in rows)}, dumps whole"
        f" {sum(row['right'] == row['samples'] for row in rows)} of {len(rows)}, worst error"
        f" {max((row.get('worst', 0) for row in rows)):.0e}, {min(row['seconds'] for row in rows):.0f} to"
        f" {max(row['seconds'] for row in rows):.0f} s; images {len(psnr)}"
        + (f", {min(psnr)} to {max(psnr)} dB, median {numpy.median(psnr):.1f}" if psnr else ""),
        flush=True,
    )


if __name__ == "__main__":
    main()
