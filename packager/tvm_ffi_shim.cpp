#include "packager/tvm_ffi_shim.h"

#include <string_view>

namespace lamina::packager {
namespace {

constexpr std::string_view ops_file =
    R"PYTHON("""The ops of this bundle through tvm-ffi: no torch is needed, and no other library of Lamina's.

    forward(pair, mask, direction="incoming", a_projection_weight=w, ...)

Positional values in the order of the contract's arguments, keywords by its names; arrays of any library with DLPack.  A result that is left
out is returned.  `module(device_type, device_id)` is the build itself, for those who call it often.  The same for every layer.
"""
import ctypes
import functools
import json
from pathlib import Path

import tvm_ffi

_here = Path(__file__).parent  # never resolved: in the hub's cache this file is a link, and its neighbours are not its target's
_manifest = json.loads((_here / "manifest.json").read_text(encoding="utf-8"))
_u32, _i32, _pointer = ctypes.c_uint32, ctypes.c_int32, ctypes.c_void_p


class _Error(ctypes.Structure):
    _fields_ = [("struct_size", _u32), ("place", _i32 * 3), ("message", ctypes.c_char * 240)]


class _Desc(ctypes.Structure):
    _fields_ = [("struct_size", _u32), ("flags", _u32), ("device", _i32 * 2), ("host", _pointer), ("attrs", _pointer), ("counts", _u32 * 2),
                ("tuning", _pointer), ("tuning_size", ctypes.c_uint64)]


class _Op(ctypes.Structure):
    _fields_ = [("sizes", _u32 * 2), ("name", ctypes.c_char_p), ("args", _pointer), ("attrs", _pointer), ("counts", _u32 * 2),
                ("plan_create", ctypes.CFUNCTYPE(_i32, _pointer, _pointer, _pointer, _pointer)),
                ("plan_destroy", ctypes.CFUNCTYPE(None, _pointer))]


class _Library(ctypes.Structure):
    _fields_ = [("sizes", _u32 * 2), ("texts", _pointer * 4), ("contract", _pointer), ("contract_size", ctypes.c_uint64),
                ("ops", ctypes.POINTER(ctypes.POINTER(_Op)))]


def _refusal(path, device):
    """Why this build does not run on this device of this machine, in its own words; None if it does."""
    try:
        entry = ctypes.CDLL(str(path)).lamina_library_v1
    except OSError as error:
        return str(error)
    entry.restype = ctypes.POINTER(_Library)
    op = entry().contents.ops[0]
    desc, error, plan = _Desc(ctypes.sizeof(_Desc), 0, device), _Error(ctypes.sizeof(_Error)), _pointer()
    if op.contents.plan_create(ctypes.cast(op, _pointer), ctypes.addressof(desc), ctypes.addressof(plan), ctypes.addressof(error)):
        return error.message.decode()
    op.contents.plan_destroy(plan)
    return None


@functools.cache
def module(device_type=1, device_id=0):
    """The best build for this device (DLPack's numbers; 1 is the CPU) as a module of tvm-ffi."""
    reasons = []
    for build in sorted(_manifest["builds"], key=lambda build: build["rank"]):
        reason = _refusal(_here / build["file"], (device_type, device_id))
        if reason is None:
            return tvm_ffi.load_module(str(_here / build["file"]))
        reasons.append(f"{build['file']}: {reason}")
    raise RuntimeError(f"no build of {_manifest['layer']} runs on device {device_type}:{device_id}: " + "; ".join(reasons))


def _function(name):
    def call(*values, **named):
        pairs = [word for pair in named.items() if pair[1] is not None for word in pair]
        device = next((tuple(map(int, value.__dlpack_device__())) for value in (*values, *pairs) if hasattr(value, "__dlpack_device__")), (1, 0))
        return getattr(module(*device), name)(*values, *pairs)
    call.__name__ = call.__qualname__ = name
    return call


_ops = {op["name"]: _function(op["name"]) for op in _manifest["contract"]["ops"]}
globals().update(_ops)
__all__ = ["module", *_ops]
)PYTHON";

}  // namespace

std::map<std::string, std::string> tvm_ffi_shim(const manifest::Contract &contract, const manifest::Bundle &bundle) {
  return {
      {"_ops.py", std::string(ops_file)},
      {"__init__.py", "\"\"\"" + contract.layer + " " + contract.version + " of " + bundle.repo +
                          " through tvm-ffi.\"\"\"\nfrom ._ops import *  # noqa: F401, F403: one function for each op of the contract\n"}};
}

}  // namespace lamina::packager
