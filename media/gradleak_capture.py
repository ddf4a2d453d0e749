"""Writes what GradLeak audits: checkpoint, gradients, network and circumstances of one training step, in one folder.

    from gradleak_capture import capture
    capture(model, inputs, labels, loss, "captures/step-1")

Needs only torch; capture_tape, for TensorFlow, only numpy. Then run "GradLeak: Audit Gradient File..." on gradient.pt, or `gradleak audit captures/step-1`.
"""

import inspect
import json
import os
import warnings

_captured = set()


def capture(model, inputs, labels, loss, path, *, normalisation=None, truth=False, onnx=True, once=False):
    """Computes the gradient of one batch and writes it with everything an audit needs.

    model: a torch.nn.Module; its mode (train or eval) and its parameters are left as they are.
    inputs: the batch, N x ...
    labels: class indices (N) or soft labels (N x K).
    loss: a callable loss(outputs, labels), such as torch.nn.functional.cross_entropy.
    path: a folder, made when missing; it must not hold a capture already.
    normalisation: {"mean": [...], "std": [...]} by which inputs were normalised, for drawing pictures.
    truth: also write inputs and labels, to compare an audit's results with. Never do this with data you must protect.
    onnx: also export the network; without it GradLeak recognises well-known ones, or takes a recipe.
    once: for calls in a loop: only the first call of a run captures, into path-1, the next run into path-2, ...

    Returns the path; None when `once` and this run has captured already.
    """
    import torch

    path = _folder(path, once)
    if path is None:
        return None

    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    # The training goes on with the random numbers that it would have had.
    with torch.random.fork_rng(), torch.enable_grad():
        outputs = model(inputs)
        value = loss(outputs, labels)
        gradients = torch.autograd.grad(value, [parameter for _, parameter in named], allow_unused=True)
    # Batch normalisation has just updated its running statistics: put them back, a capture changes nothing. By way of .data,
    # as a loss that was computed before may still be waiting for its backward().
    for buffer, before in buffers:
        buffer.data.copy_(before)

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
    _note(notes, path)
    if truth:
        _write_truth(inputs, labels, outputs, path)
    if onnx:
        _export(model, inputs[:1], os.path.join(path, "model.onnx"))
    return path


def capture_tape(model, gradients, path, *, once=False):
    """The same for TensorFlow: writes the model's trainable variables and what tape.gradient gave for them.

    model: has trainable_variables; gradients: one per variable, None for those without.
    Returns the path; None when `once` and this run has captured already.
    """
    import numpy

    path = _folder(path, once)
    if path is None:
        return None
    pairs = [
        (getattr(variable, "path", None) or variable.name, variable, gradient)
        for variable, gradient in zip(model.trainable_variables, gradients)
        if gradient is not None
    ]
    numpy.savez(os.path.join(path, "checkpoint.npz"), **{name: numpy.asarray(variable) for name, variable, _ in pairs})
    numpy.savez(
        os.path.join(path, "gradient.npz"), **{name: _dense(numpy, gradient, variable) for name, variable, gradient in pairs}
    )
    _note({"schema_version": 1, "mode": "train", "parameters": [name for name, _, _ in pairs]}, path)
    return path


def _dense(numpy, gradient, variable):
    """An embedding's gradient comes as rows with their indices."""
    if not hasattr(gradient, "indices"):
        return numpy.asarray(gradient)
    dense = numpy.zeros(variable.shape, dtype=numpy.asarray(gradient.values).dtype)
    numpy.add.at(dense, numpy.asarray(gradient.indices), numpy.asarray(gradient.values))
    return dense


def _folder(path, once):
    """Makes the folder of a capture; refuses one that holds a capture already."""
    if once:
        if path in _captured:
            return None
        _captured.add(path)
        number = 1
        while os.path.exists(f"{path}-{number}"):
            number += 1
        path = f"{path}-{number}"
    os.makedirs(path, exist_ok=True)
    taken = [name for name in os.listdir(path) if name.split(".")[0] in ("checkpoint", "gradient", "capture")]
    if taken:
        raise FileExistsError(f"{path} already holds {', '.join(sorted(taken))}: capture into another folder.")
    return path


def _note(notes, path):
    """capture.json, with the line of the script that asked for it, so that an editor can point there."""
    caller = next((frame for frame in inspect.stack() if frame.filename != __file__), None)
    if caller is not None:
        notes["script"] = os.path.abspath(caller.filename)
        notes["line"] = caller.lineno
    with open(os.path.join(path, "capture.json"), "w", encoding="utf-8") as file:
        json.dump(notes, file, indent=1)


def _write_truth(inputs, labels, outputs, path):
    import torch

    soft = labels if labels.dtype.is_floating_point else torch.nn.functional.one_hot(labels, outputs.shape[1])
    with open(os.path.join(path, "truth.json"), "w", encoding="utf-8") as file:
        json.dump({"labels": soft.detach().double().cpu().tolist(), "image": "image.pt"}, file)
    torch.save({"image": inputs.detach().float().cpu()}, os.path.join(path, "image.pt"))


def _export(model, example, path):
    """Batch normalisation is kept apart: folded into convolutions, its gradients would not fit any more."""
    import torch

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
