"""A plug-in's C interface: the structures of lamina_abi.h, version 1, its ops, plans and calls that stand ready.

Nothing here knows a layer or where builds lie, and importing it touches no GPU.
"""
from __future__ import annotations

import ctypes

import torch

OK, INVALID_ARGUMENT, UNSUPPORTED, WRONG_DEVICE = range(4)
_INT, _FLOAT, _STRING = 1, 2, 3

# torch dtype -> DLPack code, bits, the ABI's bit in a set of dtypes.
DTYPES = {
    torch.float64: (2, 64, 1 << 0), torch.float32: (2, 32, 1 << 1), torch.float16: (2, 16, 1 << 2), torch.bfloat16: (4, 16, 1 << 3),
    torch.bool: (6, 8, 1 << 4), torch.int8: (0, 8, 1 << 5), torch.uint8: (1, 8, 1 << 6), torch.int32: (0, 32, 1 << 7),
    torch.int64: (0, 64, 1 << 8),
}


class Unsupported(RuntimeError):
    """This bundle, machine or call cannot be served; a host's own forward can."""


class Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]

    @classmethod
    def of(cls, device: torch.device) -> "Device":
        return cls(1, 0) if device.type == "cpu" else cls(10 if torch.version.hip else 2, device.index or 0)


class Tensor(ctypes.Structure):
    """One row of a call.  Pointers are plain numbers: rows are kept and only their `data` changes from call to call."""

    _fields_ = [("data", ctypes.c_void_p), ("device", Device), ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p), ("byte_offset", ctypes.c_uint64)]

    @classmethod
    def describe(cls, shape, strides, dtype: torch.dtype, device: torch.device, data: int = 0) -> "Tensor":
        if dtype not in DTYPES:
            raise Unsupported(f"{dtype} is no dtype that a plug-in knows")
        code, bits, _ = DTYPES[dtype]
        extents = (ctypes.c_int64 * (2 * len(shape)))(*shape, *strides)
        at = ctypes.addressof(extents)
        row = cls(data, Device.of(device), len(shape), code, bits, 1, at, at + 8 * len(shape), 0)
        row.extents = extents  # lives as long as the row
        return row

    def extents_of(self) -> tuple:
        return tuple(self.extents[: self.ndim])

    def torch_dtype(self) -> torch.dtype:
        return next(dtype for dtype, (code, bits, _) in DTYPES.items() if (code, bits) == (self.code, self.bits))

    @classmethod
    def view(cls, tensor: torch.Tensor) -> "Tensor":
        return cls.describe(tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.data_ptr())


class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("arg", ctypes.c_int32), ("dim", ctypes.c_int32), ("native_code", ctypes.c_int32),
                ("message", ctypes.c_char * 240)]


class _Value(ctypes.Union):
    _fields_ = [("i", ctypes.c_int64), ("f", ctypes.c_double), ("s", ctypes.c_char_p)]


class _Attribute(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("kind", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("value", _Value)]


class _Argument(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("shape", ctypes.c_char_p), ("role", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("may_alias", ctypes.c_uint64), ("dtypes", ctypes.c_uint64), ("dtype_of", ctypes.c_int32), ("align", ctypes.c_uint32)]


class _PlanDescription(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("device", Device), ("host", ctypes.c_void_p),
                ("attrs", ctypes.c_void_p), ("attr_count", ctypes.c_uint32), ("reserved", ctypes.c_uint32),
                ("tuning", ctypes.c_void_p), ("tuning_size", ctypes.c_uint64)]


class Need(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("workspace_size", ctypes.c_uint64),
                ("workspace_align", ctypes.c_uint64), ("packed_size", ctypes.c_uint64), ("packed_format", ctypes.c_char_p)]


class Call(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("tensor_count", ctypes.c_uint32), ("tensors", ctypes.c_void_p),
                ("stream", ctypes.c_void_p), ("workspace", ctypes.c_void_p), ("workspace_size", ctypes.c_uint64)]


_pointer = ctypes.c_void_p
_Create = ctypes.CFUNCTYPE(ctypes.c_int32, _pointer, _pointer, _pointer, _pointer)
_Destroy = ctypes.CFUNCTYPE(None, _pointer)
_Function = ctypes.CFUNCTYPE(ctypes.c_int32, _pointer, _pointer, _pointer)  # run
_NeedFunction = ctypes.CFUNCTYPE(ctypes.c_int32, _pointer, _pointer, _pointer, _pointer)


class _OpTable(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("name", ctypes.c_char_p),
                ("args", ctypes.POINTER(_Argument)), ("attrs", ctypes.POINTER(_Attribute)), ("arg_count", ctypes.c_uint32),
                ("attr_count", ctypes.c_uint32), ("plan_create", _pointer), ("plan_destroy", _pointer), ("plan_need", _pointer),
                ("run", _pointer), ("infer", _pointer)]


class LibraryTable(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("abi_minor", ctypes.c_uint32), ("name", ctypes.c_char_p), ("version", ctypes.c_char_p),
                ("target", ctypes.c_char_p), ("build_id", ctypes.c_char_p), ("contract", _pointer), ("contract_size", ctypes.c_uint64),
                ("ops", ctypes.POINTER(ctypes.POINTER(_OpTable))), ("op_count", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("extension", _pointer)]


def check(status: int, error: Error) -> None:
    if status == OK:
        return
    message = error.message.decode("utf-8", "replace")
    if status == UNSUPPORTED:
        raise Unsupported(message)
    raise (ValueError if status in (INVALID_ARGUMENT, WRONG_DEVICE) else RuntimeError)(message)


class Op:
    """One op of one build with the names of its arguments."""

    def __init__(self, table):
        self.address = ctypes.cast(table, _pointer).value
        table = table.contents
        rows = [table.args[i] for i in range(table.arg_count)]
        self.arguments = {row.name.decode(): index for index, row in enumerate(rows)}
        self.dtypes = {row.name.decode(): row.dtypes for row in rows}
        self.optional = {row.name.decode() for row in rows if row.flags & 1}
        self.attributes = {table.attrs[i].name.decode(): table.attrs[i].kind for i in range(table.attr_count)}
        self.create, self.destroy = _Create(table.plan_create), _Destroy(table.plan_destroy)
        self.need, self.run, self.infer = _NeedFunction(table.plan_need), _Function(table.run), _NeedFunction(table.infer)


class Plan:
    """An op with its attributes and device fixed."""

    def __init__(self, op: Op, device: torch.device, attributes: dict):
        rows = []
        for name, value in attributes.items():
            kind = op.attributes.get(name)
            if kind is not None:
                held = {_INT: lambda: _Value(i=int(value)), _FLOAT: lambda: _Value(f=float(value)), _STRING: lambda: _Value(s=str(value).encode())}
                rows.append(_Attribute(name.encode(), kind, 0, held[kind]()))
        table = (_Attribute * max(1, len(rows)))(*rows)
        description = _PlanDescription(ctypes.sizeof(_PlanDescription), 0, Device.of(device), None, ctypes.addressof(table), len(rows), 0, None, 0)
        error, handle = Error(ctypes.sizeof(Error)), _pointer()
        self.op, self.handle = op, None
        check(op.create(op.address, ctypes.addressof(description), ctypes.addressof(handle), ctypes.addressof(error)), error)
        self.handle = handle.value

    def __del__(self):
        if self.handle:
            self.op.destroy(self.handle)


class Prepared:
    """A call whose tables stand: per call only `data` of some rows, stream and workspace change.  One thread at a time."""

    __slots__ = ("plan", "rows", "pointers", "call", "need", "error", "where", "run", "handle", "error_at", "facts")

    def __init__(self, plan: Plan, rows: dict):
        """rows: argument name -> Tensor.  Raises what plan_need says to these shapes."""
        self.plan, self.rows = plan, rows
        self.pointers = (_pointer * len(plan.op.arguments))()
        for name, row in rows.items():
            self.pointers[plan.op.arguments[name]] = ctypes.addressof(row)
        self.call = Call(ctypes.sizeof(Call), len(self.pointers), ctypes.addressof(self.pointers), None, None, 0)
        self.need, self.error = Need(ctypes.sizeof(Need)), Error(ctypes.sizeof(Error))
        self.where, self.error_at = ctypes.addressof(self.call), ctypes.addressof(self.error)
        check(plan.op.need(plan.handle, self.where, ctypes.addressof(self.need), self.error_at), self.error)
        self.call.workspace_size = self.need.workspace_size
        self.run, self.handle = plan.op.run, plan.handle

    def launch(self, stream, device: torch.device):
        """Enqueues on the stream, with a workspace of torch's allocator; that is free again for work behind this on the same stream."""
        call, size = self.call, self.call.workspace_size
        call.stream = stream
        if size:
            align = self.need.workspace_align
            workspace = torch.empty(size if align <= 64 else size + align, dtype=torch.uint8, device=device)
            call.workspace = -(-workspace.data_ptr() // align) * align if align > 64 else workspace.data_ptr()
        status = self.run(self.handle, self.where, self.error_at)
        if status:
            check(status, self.error)


def saved_size(plan: Plan, rows: dict) -> int:
    """Bytes of what op forward_train saves for these shapes.  Pure."""
    count = len(plan.op.arguments)
    pointers, found, error = (_pointer * count)(), (Tensor * count)(), Error(ctypes.sizeof(Error))
    extents = [(ctypes.c_int64 * 8)() for _ in range(count)]
    for row, room in zip(found, extents):
        row.shape = ctypes.addressof(room)
    for name, row in rows.items():
        pointers[plan.op.arguments[name]] = ctypes.addressof(row)
    call = Call(ctypes.sizeof(Call), count, ctypes.addressof(pointers), None, None, 0)
    check(plan.op.infer(plan.handle, ctypes.addressof(call), ctypes.addressof(found), ctypes.addressof(error)), error)
    return extents[plan.op.arguments["saved"]][0]
