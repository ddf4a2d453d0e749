"""Inputs of convolutional networks, as docs/benchmarks.md lists them: dumps made, audited by the built command, beside their truth.

    python test/bench/conv/measure_conv.py WORK [ROW ...] [--count 10] [--limit 400]

One line of JSON for each dump goes to WORK/ROW.jsonl, with the commit that was measured; a row goes on where it was stopped. Run it in
the repository's root, after the build. Without ROW, every one. `--table` prints what there is; audits that were stopped at the limit count
with the images that they had, and not in the median of seconds.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
TRAINED = 300
# Seconds that an audit may take from being asked to stop to its report.
STOPS = 20
ROWS = {
    "resnet18": [],
    "resnet18-trained": ["--steps", TRAINED],
    "resnet18-trained-smooth": ["--steps", TRAINED, "--labels", "smooth"],
    "resnet18-trained-mixup": ["--steps", TRAINED, "--labels", "mixup"],
    "resnet18-w32": ["--width", 32],
    "resnet18-w32-trained": ["--width", 32, "--steps", TRAINED],
    "resnet18-w16": ["--width", 16],
    "resnet18-w16-trained": ["--width", 16, "--steps", TRAINED],
    "resnet18-train": ["--mode", "train"],
    "resnet18-train-trained": ["--mode", "train", "--steps", TRAINED],
    **{
        f"resnet18-b{batch}{'-train' if mode == 'train' else ''}{'-trained' if steps else ''}": [
            *("--batch", batch, "--mode", mode, "--steps", steps)
        ]
        for batch in (2, 3, 8, 16)
        for mode in ("eval", "train")
        for steps in (0, TRAINED)
    },
    **{
        f"{name}{'-trained' if steps else ''}": ["--network", name, "--steps", steps]
        for name in ("resnet34", "resnet50", "vgg11", "vgg11-bn", "fedavg", "flower")
        for steps in (0, TRAINED)
    },
    "resnet18-64": ["--size", 64],
    **{f"resnet18-trained-{noise}": ["--steps", TRAINED, "--noise", noise] for noise in ("1e-6", "1e-5", "1e-4", "1e-3")},
    **{f"resnet18-trained-{dtype}": ["--steps", TRAINED, "--dtype", dtype] for dtype in ("float16", "bfloat16")},
    **{
        f"torchvision-resnet18-{size}": ["--network", "torchvision-resnet18", "--size", size] for size in (64, 128, 224)
    },
}


def made(work, row, count):
    options = dict(zip(ROWS[row][::2], map(str, ROWS[row][1::2])))
    steps = options.setdefault("--steps", "0")
    if steps != "0":
        name = f"{options.get('--network', 'resnet18')}-{options.get('--width', '64')}"
        options["--weights"] = str(work / f"{name}.pt")
    folder = work / row
    if not (folder / f"dump-{count - 1}").exists():
        given = [word for pair in options.items() for word in pair]
        subprocess.run([sys.executable, HERE / "make_dumps.py", folder, "--count", str(count), "--seed", "5", *given], check=True)
    return [folder / f"dump-{at}" for at in range(count)]


def psnr(found, true):
    return round(float(-10 * np.log10(np.mean((found - true) ** 2))), 1)


def batch_images(dump, folder, is_unsized):
    """Inputs of a batch whose samples the head does not tell, each beside the true one that it is nearest to, the nearest pairs first."""
    truth = json.loads((dump / "truth.json").read_text())
    mean, std = (np.array(truth[name], float)[:, None, None] for name in ("mean", "std"))
    true = np.load(dump / "image.npy").astype(float)
    found = [np.load(path)[0].astype(float) for path in sorted(folder.glob("batch-input-*.npy"))]

    def fitted(own, other):
        gain, offset = np.polyfit(own.ravel(), other.ravel(), 1)
        return gain * own + offset

    beside = [[fitted(own, other) if is_unsized else own for other in true] for own in found]
    pairs = sorted(
        (np.mean((other - own) ** 2), at, to) for at, row in enumerate(beside) for to, (own, other) in enumerate(zip(row, true))
    )
    images, taken = {}, set()
    for _, at, to in pairs:
        if at not in images and to not in taken:
            taken.add(to)
            whole = psnr(beside[at][to] * std + mean, true[to] * std + mean) if is_unsized else None
            images[at] = {"verdict": "batch", "psnr": psnr(found[at] * std + mean, true[to] * std + mean), "fitted": whole}
    return [images[at] for at in sorted(images)]


def audited(dump, limit):
    with tempfile.TemporaryDirectory() as out:
        return audited_into(Path(out) / "audit", dump, limit)


def audited_into(folder, dump, limit):
    command = ["node", "dist/cli.js", "audit", dump, "--attack", "chain", "--truth", dump / "truth.json", "--format", "json"]
    command += ["--out", folder]
    started = time.time()
    ran = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    stopped = False
    try:
        out, err = ran.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        stopped = True
        ran.send_signal(signal.SIGINT)
        try:
            out, err = ran.communicate(timeout=STOPS)
        except subprocess.TimeoutExpired:
            os.killpg(ran.pid, signal.SIGKILL)
            ran.communicate()
            return {"dump": dump.name, "ended": f"no end in {limit} s, and none {STOPS} s after being asked to stop"}
    row = {"dump": dump.name, "seconds": round(time.time() - started, 1)} | ({"stopped": limit} if stopped else {})
    try:
        report = json.loads(out)
    except json.JSONDecodeError:
        return row | {"ended": err[-300:]}
    row["batch"] = (report["batch"] or {}).get("size")
    row["images"] = []
    for sample in report["samples"]:
        found = sample.get("reconstruction") or {}
        raw = found.get("psnr")
        fitted = found.get("psnrFitted")
        own = {"verdict": found.get("verdict"), "psnr": raw and round(raw, 1), "fitted": fitted and round(fitted, 1)}
        row["images"].append(own)
        if own["psnr"] is None:
            row["ended"] = (found.get("reason") or "")[:400]
    together = batch_images(dump, folder, report["network"] and report["network"].get("normMode") == "train")
    if together:
        row["head"], row["images"] = row["images"], together
        row["batch-verdicts"] = next(
            (own["certificate"]["verdict"] for own in report["leaks"] if own["noun"] == "Inputs"), None
        )
    maps = next((own for own in report["leaks"] if own["method"] in ("input", "feature-maps")), None)
    rows = [own["cells"] for detail in (maps or {}).get("details", []) if detail["type"] == "table" for own in detail["rows"]]
    if rows:
        row["deepest"] = rows[-1]
    row["input"] = next((own["detail"] for own in report["methods"] if own["id"] == "input"), "")[:400]
    return row


def table(work):
    for row in ROWS:
        path = work / f"{row}.jsonl"
        if not path.exists():
            continue
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        images = [image for line in lines for image in line.get("images", [])]
        best = sorted((image["fitted"] or image["psnr"] for image in images if image["psnr"] is not None), reverse=True)
        stopped = sum("stopped" in line or "seconds" not in line for line in lines)
        seconds = sorted(line["seconds"] for line in lines if "seconds" in line and "stopped" not in line)
        verdicts = {name: sum(own["verdict"] == name for own in images) for name in {own["verdict"] for own in images}}
        middle = seconds[len(seconds) // 2] if seconds else "-"
        print(f"{row}: {len(lines)} dumps, {middle} s (median), {stopped} stopped, {verdicts}, {best}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("rows", nargs="*")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--limit", type=int, default=400)
    parser.add_argument("--table", action="store_true")
    asked = parser.parse_intermixed_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    if asked.table:
        table(asked.work)
        return
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    for row in asked.rows or ROWS:
        path = asked.work / f"{row}.jsonl"
        done = {json.loads(line)["dump"] for line in path.read_text().splitlines()} if path.exists() else set()
        for dump in made(asked.work, row, asked.count):
            if dump.name not in done:
                line = json.dumps(audited(dump, asked.limit) | {"commit": commit})
                print(row, line, flush=True)
                with path.open("a") as file:
                    file.write(line + "\n")


if __name__ == "__main__":
    main()
