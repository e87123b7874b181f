"""Parts of parameters: which elements of a host's parameters each argument is made of, and how the arguments' gradients become the parameters'."""
from __future__ import annotations

from typing import NamedTuple

import torch

from ._abi import Tensor
from ._hosts import Binding
from ._library import CONTRACT

_ROWS = {row["name"]: row for row in CONTRACT["arguments"]}


class Cut(NamedTuple):
    """A part of a parameter: in elements from the parameter's first."""
    parameter: str
    offset: int
    shape: tuple
    strides: tuple

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.as_strided(self.shape, self.strides, tensor.storage_offset() + self.offset)


def cuts_of(binding: Binding, parameters: dict) -> tuple:
    """({argument: (axis its parts are joined along or None, [Cut])}, dims)"""
    parts, dims = binding.parts(parameters)
    return {argument: (axis, [Cut(name, view.storage_offset() - parameters[name].storage_offset(), tuple(view.shape), view.stride())
                              for name, view in found]) for argument, (axis, found) in parts.items()}, dims


def joined(axis, cuts) -> tuple:
    shape = list(cuts[0].shape)
    if axis is not None:
        shape[axis] = sum(cut.shape[axis] for cut in cuts)
    return tuple(shape)


def _dense(shape) -> list:
    strides, below = [], 1
    for extent in reversed(shape):
        strides.append(below)
        below *= extent
    return strides[::-1]


def described(shape, dtype, device, strides=None) -> Tensor:
    return Tensor.describe(shape, _dense(shape) if strides is None else strides, dtype, device)


class Layout:
    """Where gradients of parameters come to lie: straight in the parameter's gradient, unless the argument is made of several parameters, has
    strides that the build does not write, or shares elements with another argument.  Then they are computed apart and put together."""

    def __init__(self, binding: Binding, tensors: dict):
        marks = {name: torch.zeros(tensor.shape, dtype=torch.int8) for name, tensor in tensors.items()}
        self.cuts, _ = cuts_of(binding, marks)
        for _, cuts in self.cuts.values():
            for cut in cuts:
                cut.of(marks[cut.parameter]).add_(1)
        shared = {name for name, mark in marks.items() if mark.numel() and int(mark.max()) > 1}
        holes = {name for name, mark in marks.items() if mark.numel() and int(mark.min()) == 0}
        self.shared, self.cleared = shared, shared | holes  # the latter begin as zeros
        self.direct = set()
        for argument, (axis, cuts) in self.cuts.items():
            writes_any = _ROWS[argument + "_gradient"].get("strides", "any") == "any"
            if axis is None and cuts[0].parameter not in shared and (writes_any or list(cuts[0].strides) == _dense(cuts[0].shape)):
                self.direct.add(argument)

    def arguments(self, wanted) -> list:
        return [argument for argument, (_, cuts) in self.cuts.items() if any(cut.parameter in wanted for cut in cuts)]

    def rows(self, arguments, tensors: dict, device) -> dict:
        found = {}
        for argument in arguments:
            axis, cuts = self.cuts[argument]
            strides = cuts[0].strides if argument in self.direct else None
            found[argument + "_gradient"] = described(joined(axis, cuts), tensors[cuts[0].parameter].dtype, device, strides)
        return found

    def room(self, arguments, tensors: dict, rows: dict):
        """({parameter: its gradient}, {argument: what is computed apart}); the rows then point into them."""
        made, apart = {}, {}
        for argument in arguments:
            axis, cuts = self.cuts[argument]
            for cut in cuts:
                if cut.parameter not in made:
                    like = tensors[cut.parameter]
                    new = torch.zeros if cut.parameter in self.cleared else torch.empty
                    made[cut.parameter] = new(like.shape, dtype=like.dtype, device=like.device)
            home = made[cuts[0].parameter]
            if argument in self.direct:
                rows[argument + "_gradient"].data = home.data_ptr() + cuts[0].offset * home.element_size()
            else:
                apart[argument] = torch.empty(joined(axis, cuts), dtype=home.dtype, device=home.device)
                rows[argument + "_gradient"].data = apart[argument].data_ptr()
        return made, apart

    def gather(self, made: dict, apart: dict) -> None:
        for argument, tensor in apart.items():
            axis, cuts = self.cuts[argument]
            pieces = [tensor] if axis is None else tensor.split([cut.shape[axis] for cut in cuts], axis)
            for cut, piece in zip(cuts, pieces):
                target = cut.of(made[cut.parameter])
                target.add_(piece) if cut.parameter in self.shared else target.copy_(piece)
