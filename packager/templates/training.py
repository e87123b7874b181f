"""Training: the ops forward_train and backward of a build as operators with an autograd formula.

Nothing is packed, since weights change at every step: both ops read the host's own parameters, and backward writes each parameter's gradient in
the parameter's shape and dtype.  What lies between the two is the build's: nothing (the default: backward computes it again) or its activations.
"""
from __future__ import annotations

import threading
from contextlib import contextmanager

import torch
from torch.utils._python_dispatch import _disable_current_modes

from ._abi import DTYPES, Plan, Prepared, Tensor, Unsupported, saved_size
from ._gradients import Layout, cuts_of, described, joined
from ._hosts import BINDINGS, INPUTS, MAIN, OUTPUT, SHAPES, Binding
from ._library import CONTRACT, METADATA, any_build_has, builds_for, stream_of
from ._weights import PLAIN

_OPS = {op["kind"]: op["name"] for op in CONTRACT["ops"]}
HAS_BACKWARD = "forward_train" in _OPS and "backward" in _OPS
_NAMES = {row["name"] for row in CONTRACT["arguments"]}
DIFFERENTIABLE = tuple(HAS_BACKWARD and name + "_gradient" in _NAMES for name in INPUTS)  # which inputs have a gradient
TRAINS = HAS_BACKWARD and any_build_has({_OPS["forward_train"], _OPS["backward"]})  # what the layer classes say
NOTHING, ACTIVATIONS = "nothing", "activations"
_saving = NOTHING
_lock = threading.RLock()


@contextmanager
def saving(what: str):
    """What forward keeps for backward inside the `with`: "nothing" (least memory; the default) or "activations" (least time).

        with kernel.saving("activations"):
            loss = model(...)
        loss.backward()

    It holds for the whole process; under torch.compile, for what is traced inside."""
    global _saving
    if what not in (NOTHING, ACTIVATIONS):
        raise ValueError(f"saving({what!r}): it takes 'nothing' and 'activations'")
    before, _saving = _saving, what
    try:
        yield
    finally:
        _saving = before


def kept() -> str:
    return _saving


class Trainer:
    """Both ops for one binding, its attributes, dtype, device, and what its parameters look like.  Thread-safe."""

    def __init__(self, binding: Binding, tensors: dict, attributes: dict, dtype: torch.dtype, device: torch.device, keeps: str):
        for name, tensor in tensors.items():
            if type(tensor) not in PLAIN:
                raise Unsupported(f"{name} is a {type(tensor).__name__}, not a plain tensor")
            if tensor.device != device and tensor.device.type != "meta":  # meta: only asked, never run
                raise Unsupported(f"{name} is on {tensor.device}, {binding.main.name} on {device}: move the module with .to()")
        self.binding, self.dtype, self.device, self.keeps = binding, dtype, device, keeps
        self.cuts, self.dims = cuts_of(binding, tensors)
        self.layout = Layout(binding, tensors)
        attributes = {**attributes, "save": keeps, "gradient_dtype": "parameter"}
        libraries, reasons = builds_for(device)
        reasons = [reasons] if reasons else []
        for library in libraries:
            try:
                self._take(library, attributes, tensors)
                break
            except (Unsupported, ValueError) as refusal:
                reasons.append(f"{library.name}: {refusal}")
        else:
            raise Unsupported("no build takes this in training: " + "; ".join(reasons))
        self.pools, self.sizes = {}, {}

    def _take(self, library, attributes: dict, tensors: dict) -> None:
        for kind in ("forward_train", "backward"):
            if _OPS.get(kind) not in library.ops:
                raise Unsupported(f"has no op {kind}")
        if self.dtype not in DTYPES or not library.ops[_OPS["forward_train"]].dtypes[MAIN] & DTYPES[self.dtype][2]:
            raise Unsupported(f"does not take {self.dtype}")
        self.library = library
        self.forward_plan, self.backward_plan = (Plan(library.ops[_OPS[kind]], self.device, attributes) for kind in ("forward_train", "backward"))
        shape = [self.dims.get(letter, 1) for letter in SHAPES[MAIN]]
        main = torch.empty(shape, dtype=self.dtype, device="meta")
        rows = self._rows([main, *[None] * (len(INPUTS) - 1)], tensors)
        Prepared(self.forward_plan, rows)
        out = rows.pop(OUTPUT)
        wanted = self.layout.arguments(set(tensors))
        Prepared(self.backward_plan, self._backward_rows(rows, out.extents_of(), None, [0], wanted, tensors))

    def _rows(self, inputs, tensors: dict) -> dict:
        rows, extents = {}, dict(self.dims)
        for name, tensor in zip(INPUTS, inputs):
            if tensor is not None:
                extents.update(zip(SHAPES[name], tensor.shape))
                rows[name] = described(tuple(tensor.shape), tensor.dtype, self.device, tensor.stride())
        for argument, (axis, cuts) in self.cuts.items():
            strides = cuts[0].strides if axis is None else None
            rows[argument] = described(joined(axis, cuts), tensors[cuts[0].parameter].dtype, self.device, strides)
        rows[OUTPUT] = described(tuple([extents[word] for word in SHAPES[OUTPUT]]), self.dtype, self.device)
        return rows

    def _backward_rows(self, rows, out_shape, gradient_strides, wanted_inputs, wanted, tensors):
        known = self.backward_plan.op.arguments
        found = {name: row for name, row in rows.items() if name in known}
        found[f"{OUTPUT}_gradient"] = described(out_shape, self.dtype, self.device, gradient_strides)
        for at in wanted_inputs:
            row = rows[INPUTS[at]]
            found[f"{INPUTS[at]}_gradient"] = described(row.extents_of(), row.torch_dtype(), self.device)
        found.update(self.layout.rows(wanted, tensors, self.device))
        return found

    def _point(self, rows: dict, inputs, tensors: dict) -> list:
        """Sets the rows' addresses; returns what must live until the call."""
        keep = []
        for name, tensor in zip(INPUTS, inputs):
            if tensor is not None and name in rows:
                if tensor.device != self.device:
                    raise ValueError(f"{name} is on {tensor.device}, {self.binding.main.name} on {self.device}")
                rows[name].data = tensor.data_ptr()
        for argument, (axis, cuts) in self.cuts.items():
            if argument not in rows:
                continue
            if axis is None:
                tensor = tensors[cuts[0].parameter]
                rows[argument].data = tensor.data_ptr() + cuts[0].offset * tensor.element_size()
            else:
                keep.append(torch.cat([cut.of(tensors[cut.parameter]) for cut in cuts], axis))
                rows[argument].data = keep[-1].data_ptr()
        return keep

    def _ready(self, key, make) -> tuple:
        """(pool to put it back into, a call that nobody else uses)"""
        pool = self.pools.get(key)
        if pool is None:
            if len(self.pools) >= 256:
                self.pools.clear()
            pool = self.pools.setdefault(key, [])
        try:
            ready = pool.pop()  # may be the last one for another thread, too
        except IndexError:
            ready = None
        return pool, ready or make()

    @staticmethod
    def _looks(inputs) -> tuple:
        return tuple([None if tensor is None else (tensor.shape, tensor.stride(), tensor.dtype) for tensor in inputs])

    def shapes(self, inputs, tensors: dict) -> tuple:
        """(shape of the result, bytes of what is saved): pure."""
        key = tuple([None if tensor is None else (tuple(int(extent) for extent in tensor.shape), tensor.dtype) for tensor in inputs])
        found = self.sizes.get(key)
        if found is None:
            like = [None if one is None else torch.empty(one[0], dtype=one[1], device="meta") for one in key]
            rows = self._rows(like, tensors)
            shape = rows.pop(OUTPUT).extents_of()
            found = self.sizes[key] = shape, 0 if self.keeps == NOTHING else saved_size(self.forward_plan, rows)
        return found

    def forward(self, inputs, tensors: dict) -> tuple:
        """(result, saved)"""
        def make():
            rows = self._rows(inputs, tensors)
            if size:
                rows["saved"] = described((size,), torch.uint8, self.device)
            return Prepared(self.forward_plan, rows)

        shape, size = self.shapes(inputs, tensors)
        pool, prepared = self._ready(("forward", self._looks(inputs)), make)
        out = torch.empty(shape, dtype=self.dtype, device=self.device)
        saved = _room(size, self.device)
        keep = self._point(prepared.rows, inputs, tensors)
        prepared.rows[OUTPUT].data = out.data_ptr()
        if size:
            prepared.rows["saved"].data = saved.data_ptr()
        prepared.launch(stream_of(self.device), self.device)
        del keep
        pool.append(prepared)
        return out, saved

    def backward(self, gradient, inputs, tensors: dict, saved, wanted_inputs, wanted) -> list:
        """Gradients of the wanted inputs (by their place) and parameters (by name), in this order."""
        def make():
            rows = self._rows(inputs, tensors)
            out = rows.pop(OUTPUT)
            rows = self._backward_rows(rows, out.extents_of(), gradient.stride(), wanted_inputs, arguments, tensors)
            if saved.numel():
                rows["saved"] = described((saved.numel(),), torch.uint8, self.device)
            return Prepared(self.backward_plan, rows)

        arguments = self.layout.arguments(wanted)
        strides = gradient.stride()
        if gradient.dtype != self.dtype or strides[-1] != 1 or 0 in strides:
            gradient = gradient.to(self.dtype).clone(memory_format=torch.contiguous_format)  # contiguous() leaves strides of empty tensors
        pool, prepared = self._ready(("backward", self._looks(inputs), gradient.stride(), saved.numel(), tuple(wanted_inputs), tuple(wanted)), make)
        rows = prepared.rows
        keep = self._point(rows, inputs, tensors)
        rows[f"{OUTPUT}_gradient"].data = gradient.data_ptr()
        if saved.numel():
            rows["saved"].data = saved.data_ptr()
        found = []
        for at in wanted_inputs:
            found.append(torch.empty(inputs[at].shape, dtype=inputs[at].dtype, device=self.device))
            rows[f"{INPUTS[at]}_gradient"].data = found[-1].data_ptr()
        made, apart = self.layout.room(arguments, tensors, rows)
        prepared.launch(stream_of(self.device), self.device)
        self.layout.gather(made, apart)
        del keep
        pool.append(prepared)
        return found + [made[name] if name in made else torch.zeros_like(tensors[name]) for name in wanted]


def _room(size: int, device: torch.device) -> torch.Tensor:
    """torch's allocators align to 64 bytes at least."""
    return torch.empty(size, dtype=torch.uint8, device=device)


_trainers = {}


def trainer_of(binding: Binding, tensors: dict, words: tuple, dtype: torch.dtype, device: torch.device, keeps: str) -> Trainer:
    looks = tuple([(name, tensor.shape, tensor.stride(), tensor.dtype, tensor.device) for name, tensor in tensors.items()])
    key = (binding.key, words, dtype, device, keeps, looks)
    found = _trainers.get(key)
    if found is None:
        with _lock:
            if len(_trainers) >= 256:
                _trainers.clear()
            found = _trainers[key] = Trainer(binding, tensors, binding.attributes(words), dtype, device, keeps)
    return found


# ---- operators ------------------------------------------------------------------------------------------------------
# `present` says by a 1 which parameters of the binding are in the list: autograd takes lists without gaps alone.

def _present(binding: Binding, parameters, present: str):
    return [name for name, mark in zip(binding.parameters, present) if mark == "1"], parameters


def _named(binding: Binding, parameters, present: str) -> dict:
    return {name: tensor.detach() for name, tensor in zip(*_present(binding, parameters, present))}


def _split(words: str) -> tuple:
    return tuple(words.split("\n")) if words else ()


def _trainer(inputs, parameters, key: str, words: str, present: str, keeps: str):
    binding = BINDINGS[key]
    tensors = _named(binding, parameters, present)
    return trainer_of(binding, tensors, _split(words), inputs[0].dtype, inputs[0].device, keeps), tensors


def _forward_train(*arguments):
    *inputs, parameters, key, words, present, keeps = arguments
    trainer, tensors = _trainer(inputs, parameters, key, words, present, keeps)
    return trainer.forward(inputs, tensors)


def _fake_forward_train(*arguments):
    *inputs, parameters, key, words, present, keeps = arguments
    binding = BINDINGS[key]
    extents = {}
    for name, tensor in zip(INPUTS, inputs):
        if tensor is not None:
            extents.update(zip(SHAPES[name], tensor.shape))
    if any(word not in extents for word in SHAPES[OUTPUT]):
        extents.update(binding.arguments(_named(binding, parameters, present))[1])
    size = 0
    if keeps != NOTHING:
        with _disable_current_modes():  # true tensors without memory, for the build to see; symbols become numbers here
            like = {name: torch.empty_strided([int(extent) for extent in tensor.shape], [int(stride) for stride in tensor.stride()],
                                              dtype=tensor.dtype, device="meta")
                    for name, tensor in zip(*_present(binding, parameters, present))}
            size = trainer_of(binding, like, _split(words), inputs[0].dtype, inputs[0].device, keeps).shapes(inputs, like)[1]
    out = inputs[0].new_empty([extents[word] for word in SHAPES[OUTPUT]])
    return out, inputs[0].new_empty([size], dtype=torch.uint8)


def _backward(*arguments):
    gradient, *inputs, parameters, saved, key, words, present, keeps, wanted = arguments
    trainer, tensors = _trainer(inputs, parameters, key, words, present, keeps)
    places, names = _wanted(tensors, wanted)
    return trainer.backward(gradient, inputs, tensors, saved, places, names)


def _wanted(tensors: dict, wanted: str):
    """Places of inputs and names of parameters that have a 1."""
    places = [at for at in range(len(INPUTS)) if wanted[at] == "1"]
    return places, [name for name, mark in zip(tensors, wanted[len(INPUTS):]) if mark == "1"]


def _fake_backward(*arguments):
    gradient, *inputs, parameters, saved, key, words, present, keeps, wanted = arguments
    tensors = _named(BINDINGS[key], parameters, present)
    places, names = _wanted(tensors, wanted)
    like = [inputs[at] for at in places] + [tensors[name] for name in names]
    return [torch.empty(one.shape, dtype=one.dtype, device=one.device) for one in like]


def _remember(ctx, inputs, output):
    *given, parameters, key, words, present, keeps = inputs
    ctx.save_for_backward(*given, *parameters, output[1])
    ctx.words = (key, words, present, keeps)
    ctx.count = len(given)


def _differentiate(ctx, gradient, _):
    *needs, needs_parameters = ctx.needs_input_grad[: ctx.count + 1]
    *tensors, saved = ctx.saved_tensors
    given, parameters = tensors[: ctx.count], tensors[ctx.count:]
    wanted = "".join(["01"[bool(need)] for need in (*needs, *needs_parameters)])
    found = iter(backward_op(gradient, *given, list(parameters), saved, *ctx.words, wanted))
    take = lambda need: next(found) if need else None
    return (*[take(need) for need in needs], [take(need) for need in needs_parameters], None, None, None, None)


def _schema() -> str:
    optional = {row["name"] for row in CONTRACT["arguments"] if row.get("optional")}
    return ", ".join([("Tensor? " if name in optional else "Tensor ") + name for name in INPUTS]) + ", Tensor[] parameters"


forward_train_op = backward_op = None
if HAS_BACKWARD:
    _texts = "str binding, str words, str present, str saving"
    forward_train_op = torch.library.custom_op(f"{METADATA['id']}::forward_train", _forward_train, mutates_args=(),
                                               schema=f"({_schema()}, {_texts}) -> (Tensor, Tensor)")
    forward_train_op.register_fake(_fake_forward_train)
    backward_op = torch.library.custom_op(f"{METADATA['id']}::backward", _backward, mutates_args=(),
                                          schema=f"(Tensor gradient, {_schema()}, Tensor saved, {_texts}, str wanted) -> Tensor[]")
    backward_op.register_fake(_fake_backward)
    forward_train_op.register_autograd(_differentiate, setup_context=_remember)
