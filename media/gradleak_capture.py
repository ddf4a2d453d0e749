"""Writes what GradLeak audits: checkpoint, gradients, network and circumstances of one training step, in one folder.

    from gradleak_capture import capture, capture_update
    capture(model, inputs, labels, loss, "captures/step-1")
    capture_update(weights_before, weights_after, "captures/round-1")

Needs only torch; capture_tape, for TensorFlow, and capture_update of lists of arrays only numpy. Then run
"GradLeak: Audit Gradient File..." on gradient.pt or on after.*, or `gradleak audit captures/step-1`.
"""

import copy
import inspect
import io
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

    state = weights_of(model)
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
        soft = labels if labels.dtype.is_floating_point else torch.nn.functional.one_hot(labels, outputs.shape[1])
        _write_truth(inputs, soft, path)
    if onnx:
        _export(model, inputs[:1], os.path.join(path, "model.onnx"))
    return path


def weights_of(weights):
    """A copy for capture_update, since training writes into weights: of a torch.nn.Module, or of what capture_update takes."""
    weights = _arrays(weights)
    copies = [value.detach().cpu().clone() if hasattr(value, "detach") else value.copy() for value in _values(weights)]
    return dict(zip(weights, copies)) if isinstance(weights, dict) else copies


def capture_update(
    before,
    after,
    path,
    *,
    model=None,
    inputs=None,
    optimiser=None,
    learning_rate=None,
    momentum=None,
    local_steps=None,
    local_epochs=None,
    batch_size=None,
    samples=None,
    round=None,
    normalisation=None,
    truth=None,
    once=False,
):
    """Writes what a federated client sends: its weights after local training, and those it began with.

    before, after: both as state dicts or as lists of arrays in one order, such as Flower's parameters and what get_parameters
        gives; Flower's ArrayRecord and Parameters, and a torch.nn.Module too. Copy those before with weights_of where the training
        may write into them.
    path: a folder, made when missing; it must not hold a capture already.
    model: the torch.nn.Module, which gives lists their names; it is left as it is.
    inputs: a batch as the model takes it. Only its shape is written, and the network is exported with it.
    optimiser (its name or itself), learning_rate, momentum (0 for plain SGD), local_steps, local_epochs, batch_size (of one
        step), samples (of this client), round: whatever is known, as statements; an audit shows them and believes the numbers.
    normalisation: as in capture.
    truth: (inputs, labels) with labels N x K, to compare an audit's results with. Never do this with data you must protect.
    once: as in capture.

    Returns the path; None when `once` and this run has captured already.
    """
    if once and path in _captured:
        return None
    before, after = _arrays(before), _arrays(after)
    _check_same(before, after)
    names = _names(before, after, model)
    rates = {group["lr"] for group in getattr(optimiser, "param_groups", [])}
    if learning_rate is None and len(rates) == 1:
        learning_rate = rates.pop()
    momenta = {group.get("momentum") for group in getattr(optimiser, "param_groups", [])}
    if momentum is None and len(momenta) == 1:
        momentum = momenta.pop()
    notes = {
        "schema_version": 2,
        "kind": "weights",
        "optimiser": optimiser if optimiser is None or isinstance(optimiser, str) else type(optimiser).__name__,
        "learning_rate": None if learning_rate is None else float(learning_rate),
        "momentum": None if momentum is None else float(momentum),
        **{
            name: None if value is None else int(value)
            for name, value in {
                "local_steps": local_steps,
                "local_epochs": local_epochs,
                "batch_size": batch_size,
                "samples": samples,
                "round": round,
            }.items()
        },
        "input_shape": None if inputs is None else list(inputs.shape[1:]),
        "normalisation": normalisation,
    }
    path = _folder(path, once)
    _save(before, names, os.path.join(path, "checkpoint"))
    _save(after, names, os.path.join(path, "after"))
    _note(notes, path)
    if truth is not None:
        _write_truth(*truth, path)
    if model is not None and inputs is not None:
        # The network is that of the weights before; the caller's model holds those after.
        own = copy.deepcopy(model)
        if names is not None:
            import torch

            state = {name: torch.as_tensor(value) for name, value in zip(names, _values(before))}
            own.load_state_dict(state, strict=False)
        _export(own, inputs[:1], os.path.join(path, "model.onnx"))
    return path


def _arrays(weights):
    """A dict of arrays, or a list of them."""
    if hasattr(weights, "state_dict"):
        weights = weights.state_dict()
    if hasattr(weights, "to_torch_state_dict"):  # Flower's ArrayRecord
        weights = weights.to_torch_state_dict()
    if hasattr(weights, "tensors"):  # Flower's Parameters: each in the format of .npy
        import numpy

        weights = [numpy.load(io.BytesIO(own), allow_pickle=False) for own in weights.tensors]
    return dict(weights) if hasattr(weights, "keys") else list(weights)


def _values(weights):
    return list(weights.values()) if isinstance(weights, dict) else weights


def _check_same(before, after):
    if isinstance(before, dict) and isinstance(after, dict) and list(before) != list(after):
        raise ValueError("The weights before and after have different names, or another order: give those of one model.")
    shapes = [[tuple(value.shape) for value in _values(weights)] for weights in (before, after)]
    if shapes[0] != shapes[1]:
        raise ValueError("The weights before and after have different shapes: give those of one model.")


def _names(before, after, model):
    """Names of the arrays; None where only their order is known."""
    for weights in (before, after):
        if isinstance(weights, dict):
            return list(weights)
    if model is None:
        return None
    shapes = [tuple(value.shape) for value in before]
    for known in (model.state_dict(), dict(model.named_parameters())):
        if [tuple(value.shape) for value in known.values()] == shapes:
            return list(known)
    return None


def _save(weights, names, path):
    """Tensors as .pt, arrays as .npz."""
    values = _values(weights)
    if all(hasattr(value, "detach") for value in values):
        import torch

        values = [value.detach().cpu().clone() for value in values]
        torch.save(values if names is None else dict(zip(names, values)), f"{path}.pt")
        return
    import numpy

    values = [value.detach().cpu().numpy() if hasattr(value, "detach") else numpy.asarray(value) for value in values]
    numpy.savez(f"{path}.npz", *(values if names is None else ()), **({} if names is None else dict(zip(names, values))))


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
        path = _numbered(path)
    os.makedirs(path, exist_ok=True)
    taken = [name for name in os.listdir(path) if name.split(".")[0] in ("checkpoint", "gradient", "after", "capture")]
    if taken:
        raise FileExistsError(f"{path} already holds {', '.join(sorted(taken))}: capture into another folder.")
    return path


def _numbered(path):
    """Makes the first of path-1, path-2, ... that is not there; clients of a simulation do so at the same time."""
    number = 1
    while True:
        try:
            os.makedirs(f"{path}-{number}")
            return f"{path}-{number}"
        except FileExistsError:
            number += 1


def _note(notes, path):
    """capture.json, with the line of the script that asked for it, so that an editor can point there."""
    caller = next((frame for frame in inspect.stack() if frame.filename != __file__), None)
    if caller is not None:
        notes["script"] = os.path.abspath(caller.filename)
        notes["line"] = caller.lineno
    with open(os.path.join(path, "capture.json"), "w", encoding="utf-8") as file:
        json.dump(notes, file, indent=1)


def _write_truth(inputs, labels, path):
    """labels: N x K"""
    import torch

    with open(os.path.join(path, "truth.json"), "w", encoding="utf-8") as file:
        json.dump({"labels": labels.detach().double().cpu().tolist(), "image": "image.pt"}, file)
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
