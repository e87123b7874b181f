"""Runs the build of this machine on torch tensors.

Generated with the bundle; everything about the layer is read from manifest.json.  Importing this never fails because the machine cannot run
a build: the layers then call their host's own forward, after one warning.  LAMINA_STRICT=1 raises instead.

Two ways in.  Plain eager inference goes straight to the build.  torch.compile, torch.export, torch.func and dispatch modes see custom
operators, `torch.ops.<id>.forward` and `forward_in_place`, whose namespace is this bundle's id.  Both share one store of packed weights.
"""
from __future__ import annotations

import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor

from ._abi import Unsupported
from ._hosts import BINDINGS, INPUTS, MAIN, OUTPUT, REPLACEABLE, RESIDUAL, SHAPES, Binding, reach
from ._library import CONTRACT, METADATA, builds_for, device_problem, strict
from ._training import DIFFERENTIABLE, HAS_BACKWARD, forward_train_op, kept, saving, trainer_of  # noqa: F401: saving is public
from ._weights import ADD, NEW, PLAIN, REPLACE, Weights, choose, refresh, site_of, weights_of  # noqa: F401: refresh is public


_noted = set()


@torch.compiler.assume_constant_result
def _refused(key: str, reason: str) -> None:
    """The host's own forward runs instead of ours: said once for each reason, or raised with LAMINA_STRICT=1."""
    binding = BINDINGS[key]
    if strict():
        raise Unsupported(f"{binding.title}: {reason}")
    if (key, reason) not in _noted:
        _noted.add((key, reason))
        warnings.warn(f"{METADATA['name']}: the host's own forward runs for {binding.title}: {reason}", RuntimeWarning, stacklevel=4)


_TRACED = (FakeTensor, FunctionalTensor)


def _dispatching(tensor) -> bool:
    """Must this call be an operator: traced, transformed or watched?"""
    return (isinstance(tensor, _TRACED) or torch._C._len_torch_dispatch_stack() > 0 or torch._C._are_functorch_transforms_active()
            or torch.jit.is_tracing())


def call(binding: Binding, module, values):
    """What a layer's forward does; values are its parameters in order.  None: the host's own forward must run."""
    if torch.compiler.is_compiling() or _dispatching(values[binding.main.position]):
        return _as_operator(binding, module, values)
    try:
        return _eager(binding, module, values)
    except (Unsupported, ValueError) as refusal:
        _refused(binding.key, str(refusal))
        return None


def _mode(binding: Binding, values) -> str:
    if binding.in_place is None or not values[binding.in_place]:
        return NEW
    return ADD if binding.add_in_place is not None and values[binding.add_in_place] else REPLACE


def _needs_gradient(values, tensors) -> bool:
    if not torch.is_grad_enabled():
        return False
    for value in (*values, *tensors):
        if isinstance(value, torch.Tensor) and value.requires_grad:
            return True
    return False


_NO_BACKWARD = "gradients are wanted and this bundle has no backward; infer under torch.no_grad() or torch.inference_mode()"


def _computed_in(tensor: torch.Tensor) -> torch.dtype:
    """The dtype the host would compute in: autocast's where it is on."""
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind) and tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


def _eager(binding: Binding, module, values):
    main = values[binding.main.position]
    if type(main) not in PLAIN:
        raise Unsupported(f"{binding.main.name} is a {type(main).__name__}, not a plain tensor")
    why = binding.refusal(module, values)
    if why:
        raise Unsupported(why)
    site = site_of(binding, module)
    if torch.is_grad_enabled() and _needs_gradient(values, site.tensors):
        words, dtype = site.live_words(module), _computed_in(main)
        if HAS_BACKWARD:  # asked here, where what cannot be served still goes to the host
            tensors = {name: tensor for name, tensor in zip(binding.parameters, site.tensors) if tensor is not None}
            trainer_of(binding, tensors, words, dtype, main.device, kept())
        out, why = _trained(binding, values, site.tensors, "\n".join(words), dtype)
        if why:
            raise Unsupported(why)
        return out
    inputs, lead, why = _folded(binding, values)
    if why:
        raise ValueError(why)
    mode, dtype = _mode(binding, values), _computed_in(main)
    words = site.live_words(module)
    key = (words, dtype, main.device)
    weights = site.weights.get(key)
    if weights is None:
        weights = site.weights[key] = weights_of(binding, site.tensors, words, dtype, main.device)
    if mode is not NEW:
        return _in_place(weights, main, inputs, mode, dtype)
    if dtype is not main.dtype:
        if binding.adds_input is not None:  # the host adds its input as it is
            inputs[binding.adds_input] = None
            inputs[0] = inputs[0].to(dtype)
            return main + weights.run(inputs).reshape(main.shape)
        inputs[0] = inputs[0].to(dtype)
    out = weights.run(inputs)
    return out if lead is None else out.reshape(*lead, *out.shape[1:])


def _trained(binding: Binding, values, tensors, words: str, dtype: torch.dtype):
    """(result with its gradients to come, why there is none)."""
    if not HAS_BACKWARD:
        return None, _NO_BACKWARD
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return None, "torch.func transforms the call and gradients are wanted, which torch's operators do not take"
    if _mode(binding, values) is not NEW:
        return None, "the result is to be written over the input, and gradients are wanted"
    inputs, lead, why = binding.fold(values)
    if why:
        return None, why
    for name, tensor, has_one in zip(INPUTS, inputs, DIFFERENTIABLE):
        if tensor is not None and tensor.requires_grad and not has_one:
            return None, f"a gradient of {name} is wanted, which this layer does not give"
    main, added = inputs[0], None
    if dtype != main.dtype:
        inputs[0] = main.to(dtype)
        if binding.adds_input is not None:
            added, inputs[binding.adds_input] = main, None
    present = "".join(["0" if tensor is None else "1" for tensor in tensors])
    out = forward_train_op(*inputs, [tensor for tensor in tensors if tensor is not None], binding.key, words, present, kept())[0]
    out = out.reshape((*lead, *out.shape[1:]))
    return (out if added is None else added + out), ""


def _folded(binding: Binding, values):
    """binding.fold(), with the common case first: tensors already in the layer's shapes.  Then the leading axes are None."""
    main = values[binding.main.position]
    shape = main.shape
    if len(shape) == binding.main.full and binding.main.leads:
        inputs = [None] * len(INPUTS)
        inputs[0] = main
        for feed in binding.others:
            value = values[feed.position]
            if value is not None:
                if feed.prefix and value.shape == shape[: feed.full]:
                    inputs[feed.index] = value
                else:
                    break
        else:
            if binding.main.plain(shape):
                if binding.adds_input is not None:
                    inputs[binding.adds_input] = main
                return inputs, None, ""
    return binding.fold(values)


def _in_place(weights: Weights, main: torch.Tensor, inputs, mode: str, dtype: torch.dtype) -> torch.Tensor:
    """The OpenFold family's promise: the result is written over the input, or added to it, and the input is returned."""
    strides = inputs[0].stride()
    if (REPLACEABLE and (mode is REPLACE or RESIDUAL) and dtype is main.dtype and inputs[0].data_ptr() == main.data_ptr()
            and strides[-1] == 1 and 0 not in strides and (mode is REPLACE or inputs[INPUTS.index(RESIDUAL)] is None)):
        weights.run(inputs, mode)
        torch.autograd.graph.increment_version(main)
        return main
    out = weights.run([inputs[0].to(dtype), *inputs[1:]]).reshape(main.shape)
    return main.add_(out) if mode is ADD else main.copy_(out)


# ---- operators ------------------------------------------------------------------------------------------------------

NAMESPACE = METADATA["id"]
_OPTIONAL = {row["name"] for row in CONTRACT["arguments"] if row.get("optional")}
_tensors = ", ".join(("Tensor? " if name in _OPTIONAL else "Tensor ") + name for name in INPUTS[1:])
_tensors = (", " + _tensors if _tensors else "") + ", Tensor?[] parameters, str binding, str words"


def _run_operator(inputs, parameters, key: str, words: str, mode: str) -> torch.Tensor:
    binding = BINDINGS[key]
    weights = weights_of(binding, parameters, tuple(words.split("\n")) if words else (), inputs[0].dtype, inputs[0].device)
    return weights.run(inputs, mode)


def _operator(*arguments):
    *inputs, parameters, key, words = arguments
    return _run_operator(inputs, parameters, key, words, NEW)


def _operator_in_place(*arguments):
    *inputs, parameters, key, words, add = arguments
    _run_operator(inputs, parameters, key, words, ADD if add else REPLACE)


def _fake(*arguments):
    *inputs, parameters, key, words = arguments
    binding = BINDINGS[key]
    dims = {}
    for name, tensor in zip(INPUTS, inputs):
        if tensor is not None:
            dims.update(zip(SHAPES[name], tensor.shape))
    named = {name: tensor for name, tensor in zip(binding.parameters, parameters) if tensor is not None}
    if any(word not in dims for word in SHAPES[OUTPUT]):
        dims.update(binding.arguments(named)[1])
    return inputs[0].new_empty([dims[word] for word in SHAPES[OUTPUT]])


_forward_op = torch.library.custom_op(f"{NAMESPACE}::forward", _operator, mutates_args=(), schema=f"(Tensor {MAIN}{_tensors}) -> Tensor")
_forward_op.register_fake(_fake)


@_forward_op.register_vmap
def _one_by_one(info, in_dims, *arguments):
    def at(value, dim, index):
        if isinstance(value, (list, tuple)):
            return [at(one, where, index) for one, where in zip(value, dim)] if isinstance(dim, (list, tuple)) else value
        return value if dim is None else value.select(dim, index)

    return torch.stack([_forward_op(*[at(value, dim, index) for value, dim in zip(arguments, in_dims)]) for index in range(info.batch_size)]), 0


if REPLACEABLE and RESIDUAL:
    _in_place_op = torch.library.custom_op(f"{NAMESPACE}::forward_in_place", _operator_in_place, mutates_args=(MAIN,),
                                           schema=f"(Tensor(a!) {MAIN}{_tensors}, bool add) -> ()")
    _in_place_op.register_fake(lambda *arguments: None)


@torch.compiler.assume_constant_result
def _servable(key: str, words: str, dtype: str, device: str, parameters: str, keeps: str) -> str:
    """While tracing: why no build would take this; empty when one does.  Parameters as "256x128:torch.float32;..." and "-" for absent; keeps
    is what training saves, empty in inference."""
    binding = BINDINGS[key]
    try:
        tensors = {}
        for name, text in zip(binding.parameters, parameters.split(";")):
            if text != "-":
                shape, kind = text.split(":")
                if not shape.replace("x", "").isdigit():
                    return ""  # a symbolic extent: the call itself will tell
                tensors[name] = torch.empty([int(extent) for extent in shape.split("x")], dtype=reach(torch, kind.split(".")[1]), device="meta")
        split, dtype, device = tuple(words.split("\n")) if words else (), reach(torch, dtype.split(".")[1]), torch.device(device)
        if keeps:
            trainer_of(binding, tensors, split, dtype, device, keeps)
        else:
            views, dims = binding.arguments(tensors)
            choose(binding, views, dims, binding.attributes(split), dtype, device)
    except (Unsupported, ValueError) as refusal:
        return str(refusal)
    return ""


def _text(tensor) -> str:
    return "-" if tensor is None else "x".join([f"{extent}" for extent in tensor.shape]) + ":" + str(tensor.dtype)


def _parameter(module, name: str):
    for part in name.split("."):
        module = getattr(module, part, None)
        if module is None:
            return None
    return module


def _as_operator(binding: Binding, module, values):
    """What call() does, in words that torch.compile can trace."""
    main = values[binding.main.position]
    tensors = [_parameter(module, name) for name in binding.parameters]
    why = binding.refusal(module, values)
    if why:
        _refused(binding.key, why)
        return None
    out, why = _operate(binding, values, tensors, "\n".join(binding.live_words(module)))
    if why:
        _refused(binding.key, why)
        return None
    return out


def _operate(binding: Binding, values, tensors, words: str):
    """(result, why there is none), by the operators."""
    main = values[binding.main.position]
    mode, dtype = _mode(binding, values), _computed_in(main)
    trains = _needs_gradient(values, tensors)
    if trains and not HAS_BACKWARD:
        return None, _NO_BACKWARD
    why = _servable(binding.key, words, str(dtype), str(main.device), ";".join([_text(tensor) for tensor in tensors]), kept() if trains else "")
    if why:
        return None, why
    if trains:
        return _trained(binding, values, tensors, words, dtype)
    inputs, lead, why = binding.fold(values)
    if why:
        return None, why
    if mode is NEW or dtype != main.dtype or inputs[0] is not main or not (REPLACEABLE and RESIDUAL):
        added = None
        if dtype != main.dtype:
            inputs[0] = inputs[0].to(dtype)
            if binding.adds_input is not None:
                added, inputs[binding.adds_input] = main, None
        out = _forward_op(*inputs, tensors, binding.key, words)
        if added is not None:
            return added + out.reshape(added.shape), ""
        if mode is NEW:
            return out.reshape((*lead, *out.shape[1:])), ""
        out = out.reshape(main.shape)
        return (main.add_(out) if mode is ADD else main.copy_(out)), ""
    _in_place_op(*inputs, tensors, binding.key, words, mode is ADD)
    return main, ""


def call_function(binding: Binding, values) -> torch.Tensor:
    """What a public function does: weights and attributes are among its values, and there is no host to fall back on."""
    main = values[binding.main.position]
    if not isinstance(main, torch.Tensor):
        raise TypeError(f"{binding.name}: {binding.main.name} is a {type(main).__name__}, expected a torch.Tensor")
    given = values[binding.weights_at] if binding.weights_at is not None else None
    tensors = [given.get(name) if given is not None else values[binding.weight_at[name]] for name in binding.parameters]
    words = (*binding.live, *binding.given_words(values))
    why = binding.refusal(None, values)
    if why:
        raise Unsupported(f"{binding.name}: {why}")
    try:
        if torch.compiler.is_compiling() or _dispatching(main) or _needs_gradient(values, tensors):
            out, why = _operate(binding, values, tensors, "\n".join(words))
            if why:
                raise Unsupported(why)
            return out
        inputs, lead, why = binding.fold(values)
        if why:
            raise ValueError(why)
        dtype = _computed_in(main)
        inputs[0] = inputs[0].to(dtype)
        out = weights_of(binding, tensors, words, dtype, main.device).run(inputs)
        return out.reshape(*lead, *out.shape[1:])
    except Unsupported as refusal:
        raise Unsupported(f"{binding.name}: {refusal}") from None
    except ValueError as refusal:
        raise ValueError(f"{binding.name}: {refusal}") from None


def info(device: torch.device | str = "cpu") -> dict:
    """What this bundle is, and which of its builds the device would take: for bug reports."""
    usable, reasons = builds_for(torch.device(device))
    return {"layer": CONTRACT["layer"], "version": CONTRACT["version"], "id": NAMESPACE, "builds": [library.name for library in usable],
            "refused": reasons}


def _warn_at_import() -> None:
    """Only what can be told without touching a GPU."""
    kind = "cpu" if METADATA["backend"]["type"] == "cpu" else "cuda"
    why = device_problem(kind) if kind == "cuda" else "" if builds_for(torch.device("cpu"))[0] else builds_for(torch.device("cpu"))[1]
    if why:
        text = f"{METADATA['name']}: no build of this bundle runs here, so the host's own forward is used ({why})"
        if strict():
            raise Unsupported(text)
        warnings.warn(text, RuntimeWarning, stacklevel=2)


_warn_at_import()
