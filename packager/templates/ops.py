"""Loads the build of this machine and runs it on torch tensors.

Generated with the bundle; everything about the layer is read from manifest.json.  Importing this never fails because the machine cannot run
a build: the layers then call their host's own forward, after one warning.  LAMINA_STRICT=1 raises instead.
"""
from __future__ import annotations

import ctypes
import json
import os
import platform
import warnings
import weakref
from pathlib import Path

import torch

_HERE = Path(__file__).parent  # never resolved: in the Hugging Face cache these files are links into blobs/
_MANIFEST = json.loads((_HERE / "manifest.json").read_text())
_CONTRACT = _MANIFEST["contract"]
_ARGUMENTS = {row["name"]: row for row in _CONTRACT["arguments"]}
_STRICT = os.environ.get("LAMINA_STRICT") == "1"


class Unsupported(RuntimeError):
    """This build, machine or call cannot be served; the host's own forward can."""


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device", _Device), ("ndim", ctypes.c_int32), ("dtype", _DType),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64)]


class _Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("arg", ctypes.c_int32), ("dim", ctypes.c_int32), ("native_code", ctypes.c_int32),
                ("message", ctypes.c_char * 240)]


class _Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int64), ("f", ctypes.c_double), ("s", ctypes.c_char_p)]


class _Attr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("value", _Value)]


class _Arg(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("shape", ctypes.c_char_p), ("role", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("may_alias", ctypes.c_uint64), ("dtypes", ctypes.c_uint64), ("dtype_of", ctypes.c_int32), ("align", ctypes.c_uint32)]


class _PlanDesc(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("device", _Device), ("host", ctypes.c_void_p),
                ("attrs", ctypes.POINTER(_Attr)), ("attr_count", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("tuning", ctypes.c_void_p), ("tuning_size", ctypes.c_uint64)]


class _Need(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("workspace_size", ctypes.c_uint64),
                ("workspace_align", ctypes.c_uint64), ("packed_size", ctypes.c_uint64), ("packed_format", ctypes.c_char_p)]


class _Call(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("tensor_count", ctypes.c_uint32), ("tensors", ctypes.POINTER(ctypes.POINTER(_Tensor))),
                ("stream", ctypes.c_void_p), ("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_uint64)]


_CREATE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(_PlanDesc), ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(_Error))
_DESTROY = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_NEED = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(_Call), ctypes.POINTER(_Need), ctypes.POINTER(_Error))
_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.POINTER(_Call), ctypes.POINTER(_Error))


class _Op(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("name", ctypes.c_char_p), ("args", ctypes.POINTER(_Arg)),
                ("attrs", ctypes.POINTER(_Attr)), ("arg_count", ctypes.c_uint32), ("attr_count", ctypes.c_uint32), ("plan_create", _CREATE),
                ("plan_destroy", _DESTROY), ("plan_need", _NEED), ("run", _RUN), ("infer", ctypes.c_void_p)]


class _Library(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("abi_minor", ctypes.c_uint32), ("name", ctypes.c_char_p), ("version", ctypes.c_char_p),
                ("target", ctypes.c_char_p), ("build_id", ctypes.c_char_p), ("contract", ctypes.c_void_p), ("contract_size", ctypes.c_uint64),
                ("ops", ctypes.POINTER(ctypes.POINTER(_Op))), ("op_count", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("extension", ctypes.c_void_p)]


_DTYPES = {torch.float64: (2, 64), torch.float32: (2, 32), torch.float16: (2, 16), torch.bfloat16: (4, 16), torch.bool: (6, 8),
           torch.int8: (0, 8), torch.uint8: (1, 8), torch.int32: (0, 32), torch.int64: (0, 64)}
_NAMES = {torch.float64: "float64", torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def _cpu_features() -> set:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                words = set(line.split(":", 1)[1].split())
                return words | {word.replace("avx512_", "avx512") for word in words}
    except OSError:
        pass
    return set()


def _can_run(needs: dict) -> str:
    """Why this machine cannot run a build with these requirements; empty when it can."""
    if needs.get("cpu", platform.machine()) != platform.machine():
        return f"is for {needs['cpu']}, this is {platform.machine()}"
    missing = [word for word in needs.get("cpu_features", []) if word not in _cpu_features()]
    if missing:
        return "needs " + ", ".join(missing)
    if "cuda" in needs:
        if not torch.cuda.is_available():
            return "needs a CUDA device"
        major, minor = torch.cuda.get_device_capability()
        for word in needs["cuda"]["capabilities"]:
            base = word.removesuffix("+PTX")
            exact = base.endswith(("a", "f"))
            have = tuple(int(part) for part in base.rstrip("af").split("."))
            if (major, minor) == have or (not exact and major == have[0] and minor >= have[1]) or (word.endswith("+PTX") and (major, minor) >= have):
                return ""
        return f"has no code for compute capability {major}.{minor}"
    return ""


def _load():
    reasons = []
    for build in sorted(_MANIFEST["builds"], key=lambda build: build["rank"]):
        why = _can_run(build["requires"])
        if not why:
            try:
                file = ctypes.CDLL(str(_HERE / build["file"]))
                file.lamina_library_v1.restype = ctypes.POINTER(_Library)
                return file.lamina_library_v1().contents, ""
            except (OSError, AttributeError) as error:
                why = f"did not load: {error}"
        reasons.append(f"{build['file']} {why}")
    return None, "; ".join(reasons)


_library, _reason = _load()
if _library is None:
    _text = f"{_CONTRACT['layer']}: no build of this bundle runs on this machine, so the host's own forward is used ({_reason})"
    if _STRICT:
        raise Unsupported(_text)
    warnings.warn(_text, RuntimeWarning, stacklevel=2)


class Op:
    """One op of the library with its argument names."""

    def __init__(self, pointer):
        self.pointer = ctypes.cast(pointer, ctypes.c_void_p)
        self.table = pointer.contents
        self.arguments = [self.table.args[i].name.decode() for i in range(self.table.arg_count)]
        self.attributes = {self.table.attrs[i].name.decode(): self.table.attrs[i].kind for i in range(self.table.attr_count)}


_OPS = {} if _library is None else {
    _library.ops[i].contents.name.decode(): Op(_library.ops[i]) for i in range(_library.op_count)}


def _check(status: int, error: _Error) -> None:
    if status == 0:
        return
    message = error.message.decode("utf-8", "replace")
    if status == 2:
        raise Unsupported(message)
    raise (ValueError if status in (1, 3) else RuntimeError)(message)


class Plan:
    """An op with its attributes and device fixed."""

    def __init__(self, op: Op, device: _Device, attributes: dict):
        rows = []
        for name, value in attributes.items():
            kind = op.attributes.get(name)
            if kind is None:
                continue
            rows.append(_Attr(name.encode(), kind, 0, _Value(s=value.encode()) if kind == 3 else _Value(f=value) if kind == 2 else _Value(i=value)))
        table = (_Attr * max(1, len(rows)))(*rows)
        desc = _PlanDesc(ctypes.sizeof(_PlanDesc), 0, device, None, table, len(rows), 0, None, 0)
        error = _Error(ctypes.sizeof(_Error))
        self.op, self.handle = op, ctypes.c_void_p()
        _check(op.table.plan_create(op.pointer, ctypes.byref(desc), ctypes.byref(self.handle), ctypes.byref(error)), error)
        weakref.finalize(self, op.table.plan_destroy, self.handle)

    def call(self, tensors: dict, stream, run: bool = True) -> _Need:
        """Runs on named torch tensors; with run=False only asks what they need."""
        keep, rows = [], (ctypes.POINTER(_Tensor) * len(self.op.arguments))()
        device = None
        for index, name in enumerate(self.op.arguments):
            tensor = tensors.get(name)
            if tensor is None:
                continue
            device = tensor.device
            code, bits = _DTYPES[tensor.dtype]
            shape, strides = (ctypes.c_int64 * tensor.dim())(*tensor.shape), (ctypes.c_int64 * tensor.dim())(*tensor.stride())
            row = _Tensor(tensor.data_ptr(), _device(tensor.device), tensor.dim(), _DType(code, bits, 1), shape, strides, 0)
            keep += [row, shape, strides]
            rows[index] = ctypes.pointer(row)
        call = _Call(ctypes.sizeof(_Call), len(self.op.arguments), rows, stream, None, 0)
        need, error = _Need(ctypes.sizeof(_Need)), _Error(ctypes.sizeof(_Error))
        _check(self.op.table.plan_need(self.handle, ctypes.byref(call), ctypes.byref(need), ctypes.byref(error)), error)
        if run:
            workspace = torch.empty(need.workspace_size + need.workspace_align, dtype=torch.uint8, device=device)
            call.workspace = -(-workspace.data_ptr() // max(1, need.workspace_align)) * max(1, need.workspace_align)
            call.workspace_size = need.workspace_size
            _check(self.op.table.run(self.handle, ctypes.byref(call), ctypes.byref(error)), error)
        return need


def _device(device: torch.device) -> _Device:
    return _Device(1, 0) if device.type == "cpu" else _Device(10 if torch.version.hip else 2, device.index or 0)


def _stream(device: torch.device):
    return None if device.type == "cpu" else torch.cuda.current_stream(device).cuda_stream


def _number(formula: str, dims: dict) -> int:
    return eval(formula.replace("/", "//"), {"__builtins__": {}}, dims)  # whole numbers, dims, + - * / ( ): the schema says so


def _cut(source: dict, parameters: dict, dims: dict) -> torch.Tensor:
    """One argument out of one parameter, as a view; only a concatenation copies."""
    if "concatenate" in source:
        return torch.cat([_cut(part, parameters, dims) for part in source["concatenate"]], dim=source.get("axis", 0))
    tensor = parameters[source["parameter"]]
    if "select" in source:
        tensor = tensor.select(source["select"]["axis"], _number(source["select"]["at"], dims))
    if "interleave" in source:
        rule = source["interleave"]
        index = [slice(None)] * tensor.dim()
        index[rule["axis"]] = slice(_number(rule["offset"], dims), None, _number(rule["step"], dims))
        tensor = tensor[tuple(index)]
    if "slice" in source:
        rule = source["slice"]
        start = _number(rule["start"], dims)
        tensor = tensor.narrow(rule["axis"], start, _number(rule["stop"], dims) - start)
    return tensor.permute(*reversed(range(tensor.dim()))) if source.get("transpose") else tensor


def _reach(module, path: str):
    for name in path.split("."):
        module = getattr(module, name)
    return module


def _attributes(module, host: dict, fixed: dict) -> dict:
    found = {}
    for name, rule in {**host.get("attributes", {}), **fixed}.items():
        value = rule
        if isinstance(rule, dict):
            value = _reach(module, rule["module"]) if "module" in rule else rule["value"]
            value = rule.get("words", {}).get(str(value), value)
        found[name] = value
    return found


class _Bound:
    """The weights of one live module: views, packed bytes, and what they were made from."""

    def __init__(self, module, host: dict, fixed: dict, dtype: torch.dtype, device: torch.device):
        # No gradient, no copy: the plug-in reads the module's own memory once, here.
        live = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        parameters = {name: live[name].detach() for name in host["parameters"] if name in live}
        dims = {}
        for letter, rule in host["dims"].items():
            dims[letter] = (_number(rule, dims) if isinstance(rule, str)
                            else parameters[rule["parameter"]].shape[rule["axis"]] // rule.get("divide", 1))
        self.arguments = {name: _cut(source, parameters, dims) for name, source in host["arguments"].items()
                          if all(part["parameter"] in parameters for part in source.get("concatenate", [source]))}
        self.attributes = _attributes(module, host, fixed)
        self.plan = Plan(_OPS["forward"], _device(device), self.attributes)
        if "pack" in _OPS:
            plan = Plan(_OPS["pack"], _device(device), {**self.attributes, "dtype": _NAMES[dtype]})
            need = plan.call(self.arguments, _stream(device), run=False)
            room = torch.empty(need.packed_size + 64, dtype=torch.uint8, device=device)
            start = -room.data_ptr() % 64
            packed = room[start:start + need.packed_size]
            plan.call({**self.arguments, "packed": packed}, _stream(device))
            self.arguments["packed"] = packed


_bound: "weakref.WeakKeyDictionary" = weakref.WeakKeyDictionary()


def _stamp(module) -> tuple:
    return tuple((tensor.data_ptr(), tensor._version) for tensor in module.parameters())


def _weights(module, host: dict, fixed: dict, dtype: torch.dtype, device: torch.device) -> _Bound:
    """Packed once for each module, dtype and device; again when a parameter changed."""
    entries, key, stamp = _bound.setdefault(module, {}), (dtype, device), _stamp(module)
    if key not in entries or entries[key][0] != stamp:
        entries[key] = (stamp, _Bound(module, host, fixed, dtype, device))
    return entries[key][1]


def _class_of(module, host: dict, name: str) -> dict:
    for entry in host["classes"]:
        if entry.get("class", entry["name"]) != name:
            continue
        when = entry.get("when")
        if when is None or str(_reach(module, when["module"])) == when["equals"]:
            return entry
    raise Unsupported(f"no class {name} of this host fits the module")


def forward(module, host_name: str, class_name: str, values: dict) -> torch.Tensor:
    """What a layer's forward does: `values` are its parameters by name.  Raises Unsupported where the host's own forward must run."""
    if _library is None:
        raise Unsupported(_reason)
    host = _MANIFEST["hosts"][host_name]
    inputs = {}
    for rule in host["forward"]["parameters"]:
        value = values[rule["name"]]
        if "feeds" in rule and value is not None:
            inputs[rule["feeds"]] = _folded(value, rule["layout"])
        elif (rule.get("in_place") or rule.get("add_in_place")) and value:
            raise Unsupported(f"{rule['name']}={value!r}: this bundle does not write into its input")
        elif "must_equal" in rule and repr(value) != rule["must_equal"]:
            raise Unsupported(f"{rule['name']}={value!r}: {rule['why']}")
    pair_rule = host["forward"]["parameters"][0]
    source = values[pair_rule["name"]]
    pair = inputs[pair_rule["feeds"]]
    if torch.is_grad_enabled() and (source.requires_grad or any(p.requires_grad for p in module.parameters())):
        raise Unsupported("this bundle has no backward")
    if pair.dtype not in _NAMES or pair.device.type not in ("cpu", "cuda"):
        raise Unsupported(f"{pair.dtype} on {pair.device}")
    if pair.stride(-1) != 1:
        inputs[pair_rule["feeds"]] = pair = pair.contiguous()
    weights = _weights(module, host, _class_of(module, host, class_name).get("attributes", {}), pair.dtype, pair.device)
    out = torch.empty_like(pair, memory_format=torch.contiguous_format)
    weights.plan.call({**weights.arguments, **inputs, "out": out}, _stream(pair.device))
    return out.reshape(source.shape)


def _folded(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """'* N N C': any leading axes become the batch."""
    rank = len(layout.split()) - layout.startswith("*")
    return tensor.reshape(-1, *tensor.shape[tensor.dim() - rank:])


def strict() -> bool:
    return _STRICT
