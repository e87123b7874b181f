"""Lamina builds as JAX functions.  Needs jax and liblamina_xla.so; nothing else.

    import lamina_jax
    layer = lamina_jax.load("triangle_multiplication-1.0.0-cpu_avx512.so")
    update = layer.forward(pair=pair, pair_mask=mask, **weights, direction="incoming")     # inside jit, vmap, grad-free code, ...
    packed = layer.pack(**weights, direction="incoming")                                   # once
    update = layer.forward(pair=pair, pair_mask=mask, **weights, packed=packed, direction="incoming")

The names are those of the layer's contract.  Shapes and dtypes are checked while tracing, by the plug-in itself and in its words; plans are made
when XLA initialises the program; workspace is a result that XLA allocates and this module drops.  A build runs on the platform that it was made
for ("cpu", "CUDA", "ROCM"); jax.lax.platform_dependent chooses between two.  vmap folds into the batch dimension where only batched arguments are
mapped, and goes one by one otherwise.  forward has gradients (once, in reverse) where the build has the ops forward_train and backward, for the
arguments that backward gives one; save="activations" keeps what backward would otherwise compute again.
"""
import ctypes
import functools
import json
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

_PLATFORMS = {1: "cpu", 2: "CUDA", 10: "ROCM"}
_CPU, _CAPTURE_SAFE = 1, 2
_PACKED, _SAVED, _OUTPUT, _INOUT = 3, 4, 5, 6
_FORWARD_KIND, _TRAIN_KIND, _BACKWARD_KIND, _PACK_KIND = 1, 2, 3, 4
_INT, _FLOAT, _STRING = 1, 2, 3


def _struct(name, *fields):
    return type(name, (ctypes.Structure,), {"_fields_": fields})


# The plug-in ABI, abi/lamina_abi.h.
_i32, _u32, _i64, _u64, _pointer, _text = (ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_char_p)
_Error = _struct("lamina_error", ("struct_size", _u32), ("arg", _i32), ("dim", _i32), ("native_code", _i32), ("message", ctypes.c_char * 240))
_Device = _struct("lamina_device", ("type", _i32), ("id", _i32))
_DType = _struct("lamina_dtype", ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))
_Tensor = _struct("lamina_tensor", ("data", _pointer), ("device", _Device), ("ndim", _i32), ("dtype", _DType),
                  ("shape", ctypes.POINTER(_i64)), ("strides", ctypes.POINTER(_i64)), ("byte_offset", _u64))
_Arg = _struct("lamina_arg", ("name", _text), ("shape", _text), ("role", _u32), ("flags", _u32), ("may_alias", _u64), ("dtypes", _u64),
               ("dtype_of", _i32), ("align", _u32))
_Value = type("lamina_value", (ctypes.Union,), {"_fields_": (("i", _i64), ("f", ctypes.c_double), ("s", _text))})
_Attr = _struct("lamina_attr", ("name", _text), ("kind", _u32), ("reserved", _u32), ("value", _Value))
_PlanDesc = _struct("lamina_plan_desc", ("struct_size", _u32), ("flags", _u32), ("device", _Device), ("host", _pointer),
                    ("attrs", ctypes.POINTER(_Attr)), ("attr_count", _u32), ("reserved", _u32), ("tuning", _pointer), ("tuning_size", _u64))
_Need = _struct("lamina_need", ("struct_size", _u32), ("flags", _u32), ("workspace_size", _u64), ("workspace_align", _u64),
                ("packed_size", _u64), ("packed_format", _text))
_Call = _struct("lamina_call", ("struct_size", _u32), ("tensor_count", _u32), ("tensors", _pointer), ("stream", _pointer),
                ("workspace", _pointer), ("workspace_size", _u64))
_function = functools.partial(ctypes.CFUNCTYPE, _i32, _pointer, _pointer, _pointer, ctypes.POINTER(_Error))
_Op = _struct("lamina_op", ("struct_size", _u32), ("kind", _u32), ("name", _text), ("args", ctypes.POINTER(_Arg)),
              ("attrs", ctypes.POINTER(_Attr)), ("arg_count", _u32), ("attr_count", _u32), ("plan_create", _function()),
              ("plan_destroy", ctypes.CFUNCTYPE(None, _pointer)), ("plan_need", _function()),
              ("run", ctypes.CFUNCTYPE(_i32, _pointer, _pointer, ctypes.POINTER(_Error))), ("infer", _function()))
_Library = _struct("lamina_library", ("struct_size", _u32), ("abi_minor", _u32), ("name", _text), ("version", _text), ("target", _text),
                   ("build_id", _text), ("contract", _pointer), ("contract_size", _u64), ("ops", ctypes.POINTER(ctypes.POINTER(_Op))),
                   ("op_count", _u32), ("flags", _u32))

_DTYPES = {"bool": (6, 8), "int8": (0, 8), "uint8": (1, 8), "int32": (0, 32), "int64": (0, 64), "float16": (2, 16), "bfloat16": (4, 16),
           "float32": (2, 32), "float64": (2, 64)}
_DTYPE_NAMES = {code: name for name, code in _DTYPES.items()}


def _raise_unless_ok(status, error):
    if status != 0:
        kind = {1: ValueError, 2: NotImplementedError, 3: ValueError, 5: MemoryError}.get(status, RuntimeError)
        raise kind(error.message.decode())


@functools.cache
def _adapter(path):
    """Loads liblamina_xla.so and registers its handlers with JAX under every platform."""
    beside = pathlib.Path(__file__).resolve().parent
    name = "liblamina_xla.so"  # beside this file, installed (lib/lamina/python), or in the tree that built it
    candidates = [path] if path else [beside / name, beside.parents[1] / name, beside.parents[1] / "build" / "lib" / name]
    found = next((candidate for candidate in candidates if os.path.exists(candidate)), None)
    if found is None:
        raise FileNotFoundError(f"liblamina_xla.so is not at {' or '.join(map(str, candidates))}; set LAMINA_XLA to its path")
    library = ctypes.CDLL(str(found))
    capsule = lambda stage: jax.ffi.pycapsule(getattr(library, f"lamina_xla_{stage}"))
    for target, execute in (("lamina", "execute"), ("lamina_uncaptured", "execute_uncaptured")):
        for platform in _PLATFORMS.values():
            stages = {"instantiate": capsule("instantiate"), "initialize": capsule("initialize"), "execute": capsule(execute)}
            jax.ffi.register_ffi_target(target, stages, platform=platform)
    return library


def load(path, adapter=None):
    """The Lamina build at `path`.  `adapter`: liblamina_xla.so; otherwise LAMINA_XLA names it, or it lies where `make` or `make install` puts it."""
    _adapter(adapter or os.environ.get("LAMINA_XLA"))
    return _load(str(pathlib.Path(path).resolve()))


@functools.cache
def _load(path):
    return Build(path)


class Build:
    """One plug-in.  Its ops are methods: arrays and attributes by the contract's names, None for what is absent."""

    def __init__(self, path):
        self.path = path
        try:
            entry = ctypes.CDLL(path).lamina_library_v1
        except (OSError, AttributeError) as error:
            raise ValueError(f"{path} cannot be loaded as a Lamina build: {error}") from None
        entry.restype = ctypes.POINTER(_Library)
        library = entry().contents
        self.name, self.version, self.target, self.build_id = (getattr(library, field).decode() for field in ("name", "version", "target", "build_id"))
        self.contract = json.loads(ctypes.string_at(library.contract, library.contract_size) or "{}")
        # The dimension that the contract calls the batch: problems along it are independent.
        self.batch = next((letter for letter, text in self.contract.get("dims", {}).items() if text.startswith("batch")), None)
        self.ops = {op.name: op for op in (Op(self, library.ops[i]) for i in range(library.op_count))}

    def __getattr__(self, name):
        if name in self.__dict__.get("ops", {}):
            return self.ops[name]
        raise AttributeError(f"{self.__dict__.get('name', 'the build')} has no op '{name}'")

    def __repr__(self):
        return f"<Lamina build {self.name} {self.version} {self.target}>"


class Op:
    def __init__(self, build, pointer):
        self.build, self._pointer, self._op = build, pointer, pointer.contents
        op = self._op
        self.name, self.kind = op.name.decode(), op.kind
        self.arguments = [(op.args[i].name.decode(), op.args[i].shape.decode().split(), op.args[i].role) for i in range(op.arg_count)]
        self.attributes = {op.attrs[i].name.decode(): op.attrs[i].kind for i in range(op.attr_count)}
        self.results = [i for i, (_, _, role) in enumerate(self.arguments)
                        if role in (_OUTPUT, _INOUT) or (role, self.kind) in ((_PACKED, _PACK_KIND), (_SAVED, _TRAIN_KIND))]
        self._plans = {}

    @property
    def training(self):
        """(the op forward_train, the op backward) that differentiate this one; None without them."""
        found = [next((op for op in self.build.ops.values() if op.kind == kind), None) for kind in (_TRAIN_KIND, _BACKWARD_KIND)]
        return found if self.kind == _FORWARD_KIND and all(found) else None

    def __call__(self, **values):
        arrays, attributes = {}, {}
        names = {name: i for i, (name, _, _) in enumerate(self.arguments)}
        known = {**{name: kind for op in self.training or () for name, kind in op.attributes.items()}, **self.attributes}
        for name, value in values.items():
            if name in known:
                if value is not None:
                    attributes[name] = self._attribute(name, known[name], value)
            elif name not in names:
                raise TypeError(f"{self.name}: '{name}' is neither an argument nor an attribute of {self.build.name}")
            elif value is not None:
                index = names[name]
                if index in self.results and self.arguments[index][2] != _INOUT:
                    raise TypeError(f"{self.name}: '{name}' is a result; it is returned, not given")
                arrays[index] = jnp.asarray(value)
        order = tuple(sorted(arrays))
        results = _traced(self, order, tuple(sorted(attributes.items())), tuple(self.results))(*(arrays[i] for i in order))
        return results[0] if len(results) == 1 else results

    def _attribute(self, name, kind, value):
        if kind == _STRING and isinstance(value, str):
            return value
        if kind == _FLOAT and isinstance(value, (int, float, np.floating)):
            return float(value)
        if kind == _INT and isinstance(value, (int, np.integer)):
            return int(value)
        expected = {_INT: "an integer", _FLOAT: "a number", _STRING: "a string"}[kind]
        raise TypeError(f"{self.name}: attribute '{name}' is {type(value).__name__}, expected {expected} known when tracing")

    def _plan(self, attributes):
        """(plan, device type): on the first device of the build's own kind, for questions alone; plans that run are the adapter's."""
        if attributes not in self._plans:
            rows = (_Attr * len(attributes))()
            for row, (name, value) in zip(rows, attributes):
                row.name, row.kind = name.encode(), self.attributes[name]
                if row.kind == _STRING:
                    row.value.s = value.encode()
                else:
                    setattr(row.value, "f" if row.kind == _FLOAT else "i", value)
            error, plan = _Error(struct_size=ctypes.sizeof(_Error)), _pointer()
            for device in _PLATFORMS:
                desc = _PlanDesc(struct_size=ctypes.sizeof(_PlanDesc), device=_Device(device, 0), attrs=rows, attr_count=len(attributes))
                status = self._op.plan_create(ctypes.cast(self._pointer, _pointer), ctypes.addressof(desc), ctypes.addressof(plan), error)
                if status != 3:  # LAMINA_WRONG_DEVICE
                    break
            _raise_unless_ok(status, error)
            self._plans[attributes] = plan.value, device
        return self._plans[attributes]

    def produced(self, order, wanted):
        """Those of the wanted results that a call with these arguments has: an argument that is read and written is one where it is given."""
        return [i for i in self.results if i in wanted and (self.arguments[i][2] != _INOUT or i in order)]

    def ask(self, order, arrays, attributes, wanted):
        """What the plug-in says to these shapes: (results as ShapeDtypeStruct, lamina_need, device type).  Raises its refusals."""
        plan, device = self._plan(attributes)
        count = len(self.arguments)
        tensors, pointers, inferred = (_Tensor * count)(), (_pointer * count)(), (_Tensor * count)()
        extents = [(_i64 * 8)() for _ in range(count)]
        for index, array in zip(order, arrays):
            code = _DTYPES.get(str(array.dtype))
            if code is None:
                raise NotImplementedError(f"{self.name}: argument '{self.arguments[index][0]}' has dtype {array.dtype}, which no build takes")
            shape = (_i64 * max(array.ndim, 1))(*array.shape)
            tensors[index] = _Tensor(None, _Device(device, 0), array.ndim, _DType(*code, 1), shape, None, 0)
            pointers[index] = ctypes.addressof(tensors) + index * ctypes.sizeof(_Tensor)
        for index in range(count):
            inferred[index].shape = extents[index]
        call = _Call(struct_size=ctypes.sizeof(_Call), tensor_count=count, tensors=ctypes.addressof(pointers))
        error, need = _Error(struct_size=ctypes.sizeof(_Error)), _Need(struct_size=ctypes.sizeof(_Need))
        _raise_unless_ok(self._op.infer(plan, ctypes.addressof(call), ctypes.addressof(inferred), error), error)
        given, produced = dict(zip(order, arrays)), self.produced(order, wanted)
        for index in produced:
            if index not in given:
                pointers[index] = ctypes.addressof(inferred) + index * ctypes.sizeof(_Tensor)
        _raise_unless_ok(self._op.plan_need(plan, ctypes.addressof(call), ctypes.addressof(need), error), error)
        dtype = lambda row: _DTYPE_NAMES[row.code, row.bits]
        results = [jax.ShapeDtypeStruct(given[i].shape, given[i].dtype) if i in given else
                   jax.ShapeDtypeStruct(tuple(extents[i][: inferred[i].ndim]), dtype(inferred[i].dtype)) for i in produced]
        return results, need, device

    def bind(self, order, attributes, wanted, arrays):
        """One call in the program that is being traced."""
        attributes = tuple((name, value) for name, value in attributes if name in self.attributes)
        results, need, device = self.ask(order, arrays, attributes, wanted)
        align = need.workspace_align if need.workspace_size else 0
        workspace = [jax.ShapeDtypeStruct((need.workspace_size + align,), "uint8")] if align else []
        widened = {name: {_STRING: str, _FLOAT: np.float64, _INT: np.int64}[self.attributes[name]](value) for name, value in attributes}
        produced = self.produced(order, wanted)
        aliases = {order.index(index): at for at, index in enumerate(produced) if index in order}
        target = "lamina" if device == _CPU or need.flags & _CAPTURE_SAFE else "lamina_uncaptured"
        call = jax.ffi.ffi_call(target, results + workspace, vmap_method="sequential", input_output_aliases=aliases)
        outputs = call(*arrays, lamina_build=self.build.path, lamina_build_id=self.build.build_id, lamina_op=self.name,
                       lamina_device=np.int64(device), lamina_arguments=np.array(order, np.int64),
                       lamina_results=np.array(produced, np.int64), lamina_workspace=np.int64(align), **widened)
        return tuple(outputs[: len(results)])


@functools.lru_cache(maxsize=512)
def _traced(op, order, attributes, wanted):
    """The function of arrays for one set of arguments, attributes and results, with what vmap and grad do to it."""
    shapes = [op.arguments[i][1] for i in order]
    batch = op.build.batch
    # The batch can take more where it leads every result and every argument that has it.
    foldable = all(op.arguments[i][1][:1] == [batch] for i in op.produced(order, wanted)) and not any(batch in shape[1:] for shape in shapes)

    @jax.custom_batching.custom_vmap
    def call(*arrays):
        return op.bind(order, attributes, wanted, arrays)

    @call.def_vmap
    def batched(size, mapped, *arrays):
        every = tuple(True for _ in op.produced(order, wanted))
        if not foldable or not all(shape[:1] == [batch] for shape, is_mapped in zip(shapes, mapped) if is_mapped):
            rest = [array for array, is_mapped in zip(arrays, mapped) if is_mapped]

            def one(chosen):
                chosen = iter(chosen)
                return call(*(next(chosen) if is_mapped else array for array, is_mapped in zip(arrays, mapped)))
            return jax.lax.map(one, rest), every
        folded = []
        for array, shape, is_mapped in zip(arrays, shapes, mapped):
            if shape[:1] == [batch]:
                array = array if is_mapped else jnp.broadcast_to(array, (size,) + array.shape)
                array = array.reshape((size * array.shape[1],) + array.shape[2:])
            folded.append(array)
        return tuple(out.reshape((size, -1) + out.shape[1:]) for out in call(*folded)), every

    @jax.custom_vjp
    def differentiable(*arrays):
        return call(*arrays)

    differentiable.defvjp(*_gradients(op, order, attributes, wanted), symbolic_zeros=True)
    return jax.jit(differentiable, inline=True)  # outside of any jit, too, a call is traced once


def _gradients(op, order, attributes, wanted):
    """The two rules of custom_vjp: by the build's ops forward_train and backward, of which the latter computes the wanted gradients alone."""
    names = [op.arguments[i][0] for i in order]
    kept = dict(attributes).get("save", "nothing") != "nothing"

    def forward_rule(*primals):
        if op.training is None:
            missing = [f"no op {name}" for name in ("forward_train", "backward") if name not in op.build.ops]
            raise NotImplementedError(f"{op.build!r} cannot be differentiated: " + (f"it has {' and '.join(missing)}; call the host's own function where gradients "
                                      "are needed, or jax.lax.stop_gradient" if missing else f"its op {op.name} has no gradient"))
        train, backward = op.training
        given = {name: primal.value for name, primal in zip(names, primals)}
        places = {name: i for i, (name, _, _) in enumerate(train.arguments)}
        for name, primal in zip(names, primals):
            if primal.perturbed and f"{name}_gradient" not in (backward.arguments[i][0] for i in backward.results):
                raise NotImplementedError(f"{op.build!r} gives no gradient of '{name}'; jax.lax.stop_gradient makes it a constant")
        results = [i for i in train.results if train.arguments[i][2] != _SAVED or kept]
        indices = tuple(sorted(places[name] for name in names))
        arrays = [given[train.arguments[i][0]] for i in indices]
        found = _traced(train, indices, attributes, tuple(results))(*arrays)
        saved = [out for i, out in zip(results, found) if train.arguments[i][2] == _SAVED]
        outputs = tuple(out for i, out in zip(results, found) if train.arguments[i][2] != _SAVED)
        # Which are wanted is part of the structure: () and None are empty trees of two kinds.
        return outputs, (given, saved, tuple(() if primal.perturbed else None for primal in primals))

    def backward_rule(kept_values, cotangents):
        given, saved, perturbed = kept_values
        _, backward = op.training
        places = {name: i for i, (name, _, _) in enumerate(backward.arguments)}
        values = {places[name]: value for name, value in given.items() if name in places}
        for i, cotangent in zip(op.produced(order, wanted), cotangents):
            if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
                cotangent = jnp.zeros(cotangent.shape, cotangent.dtype)
            values[places[f"{op.arguments[i][0]}_gradient"]] = cotangent
        values.update({i: value for value in saved for i, (_, _, role) in enumerate(backward.arguments) if role == _SAVED})
        results = {name: places[f"{name}_gradient"] for name, mark in zip(names, perturbed) if mark is not None}
        indices, chosen = tuple(sorted(values)), tuple(sorted(results.values()))
        found = dict(zip(chosen, _traced(backward, indices, attributes, chosen)(*(values[i] for i in indices))))
        return tuple(found[results[name]] if name in results else None for name in names)

    return forward_rule, backward_rule
