"""Writes what GradLeak audits: checkpoint, gradients, network and circumstances of one training step, in one folder.

    from gradleak_capture import capture
    capture(model, inputs, labels, loss, "captures/step-1")

Needs only torch. Then run "GradLeak: Audit Gradient File..." on gradient.pt, or `gradleak audit captures/step-1`.
"""

import json
import os
import warnings

import torch


def capture(model, inputs, labels, loss, path, *, normalisation=None, truth=False, onnx=True):
    """Computes the gradient of one batch and writes it with everything an audit needs.

    model: a torch.nn.Module; its mode (train or eval) and its parameters are left as they are.
    inputs: the batch, N x ...
    labels: class indices (N) or soft labels (N x K).
    loss: a callable loss(outputs, labels), such as torch.nn.functional.cross_entropy.
    path: a folder, made when missing; it must not hold a capture already.
    normalisation: {"mean": [...], "std": [...]} by which inputs were normalised, for drawing pictures.
    truth: also write inputs and labels, to compare an audit's results with. Never do this with data you must protect.
    onnx: also export the network; without it GradLeak recognises well-known ones, or takes a recipe.

    Returns the path.
    """
    os.makedirs(path, exist_ok=True)
    taken = [name for name in ("checkpoint.pt", "gradient.pt", "capture.json") if os.path.exists(os.path.join(path, name))]
    if taken:
        raise FileExistsError(f"{path} already holds {', '.join(taken)}: capture into another folder.")

    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    with torch.enable_grad():
        outputs = model(inputs)
        value = loss(outputs, labels)
        gradients = torch.autograd.grad(value, [parameter for _, parameter in named], allow_unused=True)
    # Batch normalisation has just updated its running statistics: put them back, a capture changes nothing.
    model.load_state_dict(state)

    torch.save(state, os.path.join(path, "checkpoint.pt"))
    torch.save(
        {name: gradient.detach().cpu() for (name, _), gradient in zip(named, gradients) if gradient is not None},
        os.path.join(path, "gradient.pt"),
    )
    notes = {
        "schema_version": 1,
        "torch": torch.__version__,
        "mode": "train" if model.training else "eval",
        "batch_size": int(inputs.shape[0]),
        "input_shape": list(inputs.shape[1:]),
        "reduction": getattr(loss, "reduction", "mean"),
        "loss": getattr(loss, "__name__", type(loss).__name__),
        "parameters": [name for name, _ in named],
        "normalisation": normalisation,
    }
    with open(os.path.join(path, "capture.json"), "w", encoding="utf-8") as file:
        json.dump(notes, file, indent=1)
    if truth:
        _write_truth(inputs, labels, outputs, path)
    if onnx:
        _export(model, inputs[:1], os.path.join(path, "model.onnx"))
    return path


def _write_truth(inputs, labels, outputs, path):
    soft = labels if labels.dtype.is_floating_point else torch.nn.functional.one_hot(labels, outputs.shape[1])
    with open(os.path.join(path, "truth.json"), "w", encoding="utf-8") as file:
        json.dump({"labels": soft.detach().double().cpu().tolist(), "image": "image.pt"}, file)
    torch.save({"image": inputs.detach().float().cpu()}, os.path.join(path, "image.pt"))


def _export(model, example, path):
    """Batch normalisation is kept apart: folded into convolutions, its gradients would not fit any more."""
    was_training = model.training
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model.eval(),
                (example.detach(),),
                path,
                opset_version=17,
                do_constant_folding=True,
                training=torch.onnx.TrainingMode.PRESERVE,
                dynamo=False,
            )
    except Exception as error:  # the rest of the capture is worth keeping
        print(f"gradleak_capture: the network was not exported ({error}); give GradLeak a recipe instead.")
    finally:
        model.train(was_training)
