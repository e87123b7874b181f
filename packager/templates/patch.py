"""Hosts that no kernel mapping reaches: finds their modules in a model and swaps their forward, and back."""
from __future__ import annotations

import inspect
import types

import torch

from . import layers
from ._abi import Unsupported
from ._hosts import BINDINGS, Binding
from ._library import strict
from ._weights import refresh

_MARK = "_lamina_layer"  # on the function that stands in a patched module's `forward`


class Patched:
    """What patch() did.  `swapped`: (path in the model, binding) of each module that now runs the bundle's build; `skipped`: (path, why)
    of each that looks like a host's but stays as it is.  A context manager: leaving it restores the model."""

    def __init__(self, model: torch.nn.Module):
        self.model, self.swapped, self.skipped = model, [], []

    def __enter__(self) -> "Patched":
        return self

    def __exit__(self, *_) -> None:
        unpatch(self.model)

    def __repr__(self) -> str:
        rows = [f"  {path}: {key}" for path, key in self.swapped] + [f"  {path}: skipped: {why}" for path, why in self.skipped]
        return "\n".join([f"{len(self.swapped)} swapped, {len(self.skipped)} skipped", *rows])


def patch(model: torch.nn.Module, hosts=None) -> Patched:
    """Swaps the forward of every module in the model that a host binding describes.

    hosts: names of hosts ("boltz", "openfold3"); None: all.  Without names a module counts when its class lies in the host's own module;
    with names the class's name alone is compared, for forks and copies.  Either way its forward must take what the binding says and its
    parameters must be those of the binding, names and shapes.  A call that cannot be served runs the host's own forward, as everywhere.
    Patch before torch.compile.  LAMINA_STRICT=1 raises where a module would be skipped."""
    known = sorted({binding.host_name for binding in BINDINGS.values()})
    for host in hosts or ():
        if host not in known:
            raise ValueError(f"no host {host!r} in this bundle; it has {', '.join(known)}")
    report = Patched(model)
    for path, module in model.named_modules():
        found = _bindings_of(module, hosts)
        if not found:
            continue
        reasons = []
        for binding in found:
            why = _why_not(binding, module)
            if not why:
                _swap(module, binding)
                report.swapped.append((path, binding.key))
                break
            reasons.append(why)
        else:
            report.skipped.append((path, "; ".join(dict.fromkeys(reasons))))
    if report.skipped and strict():
        unpatch(model)
        raise Unsupported(f"patch: {report!r}")
    return report


def unpatch(model: torch.nn.Module) -> int:
    """Restores every module that patch() swapped; returns how many."""
    count = 0
    for module in model.modules():
        own = vars(module).get("forward")
        if isinstance(own, types.MethodType) and hasattr(own.__func__, _MARK):
            del module.forward
            count += 1
    refresh(model)
    return count


def _bindings_of(module: torch.nn.Module, hosts) -> list[Binding]:
    """By class; a subclass counts while it keeps the host's forward."""
    kind = type(module)
    found = []
    for binding in BINDINGS.values():
        if binding.is_function or (hosts is not None and binding.host_name not in hosts):
            continue
        for base in kind.__mro__:
            if (base.__name__ == binding.name and (hosts is not None or base.__module__ == binding.host["module"])
                    and kind.forward is base.forward):
                found.append(binding)
                break
    return found


def _why_not(binding: Binding, module: torch.nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "is a TorchScript module"
    own = vars(module).get("forward")
    if own is not None:
        return "is patched already" if hasattr(getattr(own, "__func__", own), _MARK) else "its forward was replaced by someone else"
    names = tuple(inspect.signature(type(module).forward).parameters)[1:]
    if names != binding.signature:
        return f"its forward takes ({', '.join(names)}), that of {binding.title} takes ({', '.join(binding.signature)})"
    return binding.misfit(module)


def _swap(module: torch.nn.Module, binding: Binding) -> None:
    original = layers.BY_BINDING[binding.key].forward
    # A copy, so that the mark is on patched modules alone.
    forward = types.FunctionType(original.__code__, original.__globals__, original.__name__, original.__defaults__, original.__closure__)
    forward.__kwdefaults__, forward.__doc__ = original.__kwdefaults__, original.__doc__
    setattr(forward, _MARK, binding.key)
    module.forward = types.MethodType(forward, module)
