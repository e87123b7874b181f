"""Weights of hosts as the builds want them: chosen, packed, kept, and made again when a parameter changed."""
from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import torch

from ._abi import DTYPES, Plan, Prepared, Tensor, Unsupported
from ._hosts import INPUTS, MAIN, OUTPUT, RESIDUAL, SHAPES, Binding
from ._library import CONTRACT, builds_for, packed_room, stream_of

_NAMES = {torch.float64: "float64", torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}
PLAIN = (torch.Tensor, torch.nn.Parameter)
NEW, REPLACE, ADD = "new", "replace", "add"  # where the result goes: a new tensor, over the input, or added to the input in place
_MODES = {NEW: (), REPLACE: (OUTPUT,), ADD: (OUTPUT, RESIDUAL)}  # arguments that are the input's own memory
_lock = threading.RLock()


def _stamp(tensor: torch.Tensor):
    """Changes when the tensor's memory or content does.  Tensors made in inference mode count no versions."""
    return tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version


def _described(tensor: torch.Tensor, device: torch.device) -> Tensor:
    return Tensor.describe(tensor.shape, tensor.stride(), tensor.dtype, device, 0 if tensor.device.type == "meta" else tensor.data_ptr())


def choose(binding: Binding, views: dict, dims: dict, attributes: dict, dtype: torch.dtype, device: torch.device):
    """(library, forward plan, pack plan or None, bytes of packed weights) of the best build that takes these weights."""
    libraries, reasons = builds_for(device)
    reasons = [reasons] if reasons else []
    letters = {letter: dims.get(letter, 1) for letter in CONTRACT["dims"]}
    main = [letters[word] for word in SHAPES[MAIN]]
    out = [letters[word] for word in SHAPES[OUTPUT]]
    for library in libraries:
        try:
            if dtype not in DTYPES or not library.ops["forward"].dtypes[MAIN] & DTYPES[dtype][2]:
                raise Unsupported(f"does not take {dtype}")
            forward = Plan(library.ops["forward"], device, attributes)
            rows = {name: _described(view, device) for name, view in views.items()}
            pack, size = None, 0
            if "pack" in library.ops:
                pack = Plan(library.ops["pack"], device, {**attributes, "dtype": _NAMES[dtype]})
                size = Prepared(pack, rows).need.packed_size
                rows["packed"] = Tensor.describe((size,), (1,), torch.uint8, device)
            strides = lambda shape: [_product(shape[at + 1:]) for at in range(len(shape))]
            rows[MAIN] = Tensor.describe(main, strides(main), dtype, device)
            rows[OUTPUT] = Tensor.describe(out, strides(out), dtype, device)
            Prepared(forward, rows)
            return library, forward, pack, size
        except (Unsupported, ValueError) as refusal:
            reasons.append(f"{library.name}: {refusal}")
    raise Unsupported("; ".join(reasons))


def _product(numbers) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


class Weights:
    """The weights of one call site for one dtype on one device: plan, packed bytes, and calls that stand ready.  Thread-safe."""

    def __init__(self, binding: Binding, tensors, attributes: dict, dtype: torch.dtype, device: torch.device, gone):
        """gone(reference) is called when one of the tensors dies."""
        named = {name: tensor.detach() for name, tensor in zip(binding.parameters, tensors) if tensor is not None}
        for name, tensor in named.items():
            if tensor.device != device:
                raise Unsupported(f"{name} is on {tensor.device}, {binding.main.name} on {device}: move the module with .to()")
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(f"{binding.title}: weights cannot be packed while a CUDA graph is captured; call it once before the capture")
        self.binding, self.dtype, self.device = binding, dtype, device
        self.stamps = [(weakref.ref(tensor, gone), *_stamp(tensor)) for tensor in tensors if tensor is not None]
        with torch.no_grad():
            views, self.dims = binding.arguments(named)
            self.library, self.plan, pack, size = choose(binding, views, self.dims, attributes, dtype, device)
            self.rows = {name: Tensor.view(view) for name, view in views.items()}
            owned = {tensor.untyped_storage().data_ptr() for tensor in named.values()}
            self.keep = [view for view in views.values() if view.untyped_storage().data_ptr() not in owned]  # concatenations: copies
            if pack is not None:
                self._pack(pack, size)
        self.calls = {}

    def _pack(self, pack: Plan, size: int):
        def work():
            packed = packed_room(size, self.device)
            self.rows["packed"] = Tensor.view(packed)
            Prepared(pack, self.rows).launch(stream_of(self.device), self.device)
            return packed

        if self.device.type == "cpu":
            self.keep.append(work())
            return
        # A thread of its own: what this one allocates may belong to the pool of a CUDA graph, and these bytes outlive it.  Then all work of
        # the device is waited for, since later calls may come on other streams and older bytes may still be read.
        stream = torch.cuda.current_stream(self.device)

        def elsewhere():
            with torch.no_grad(), torch.cuda.stream(stream):
                packed = work()
                torch.cuda.synchronize(self.device)
                return packed

        with ThreadPoolExecutor(1) as thread:
            self.keep.append(thread.submit(elsewhere).result())

    def fresh(self, tensors) -> bool:
        at = 0
        for tensor in tensors:
            if tensor is not None:
                reference, pointer, version = self.stamps[at]
                at += 1
                if reference() is not tensor or (pointer, version) != _stamp(tensor):
                    return False
        return True

    def _prepare(self, inputs, mode: str, key) -> Prepared:
        for name, tensor in zip(INPUTS, inputs):
            if tensor is not None and tensor.device != self.device:
                raise ValueError(f"{name} is on {tensor.device}, {self.binding.main.name} on {self.device}")
        rows = dict(self.rows)
        for name, tensor in zip(INPUTS, inputs):
            if tensor is not None:
                rows[name] = Tensor.view(tensor)
        main = inputs[0]
        shape = main.shape
        if mode is NEW:
            extents = dict(self.dims)
            for name, tensor in zip(INPUTS, inputs):
                if tensor is not None:
                    extents.update(zip(SHAPES[name], tensor.shape))
            shape = torch.Size([extents[word] for word in SHAPES[OUTPUT]])
            rows[OUTPUT] = Tensor.describe(shape, [_product(shape[at + 1:]) for at in range(len(shape))], self.dtype, self.device)
        else:
            for name in _MODES[mode]:
                rows[name] = Tensor.view(main)
        prepared = Prepared(self.plan, rows)
        changing = [(rows[name], at) for at, name in enumerate(INPUTS) if inputs[at] is not None]
        prepared.facts = (changing, [rows[name] for name in _MODES[mode]], rows[OUTPUT], shape)
        return prepared

    def run(self, inputs, mode: str = NEW) -> torch.Tensor:
        """inputs: in the layer's order and shapes, None where absent.  Enqueued on the current stream."""
        main = inputs[0]
        strides = main.stride()
        if mode is NEW and (strides[-1] != 1 or 0 in strides):
            inputs = [main.clone(memory_format=torch.contiguous_format), *inputs[1:]]
            main = inputs[0]
            strides = main.stride()
        key = [mode, main.shape, strides]
        for tensor in inputs:
            if tensor is None:
                key.append(None)
            elif tensor is not main:
                key += (tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        key = tuple(key)
        ready = self.calls.get(key)
        if ready is None:
            if len(self.calls) >= 256:  # sequences of every length come by: tables are cheap to make again
                self.calls.clear()
            ready = self.calls.setdefault(key, [])
        try:
            prepared = ready.pop()
        except IndexError:
            prepared = self._prepare(inputs, mode, key)
        changing, same, out_row, shape = prepared.facts
        for row, at in changing:
            row.data = inputs[at].data_ptr()
        if mode is NEW:
            out = torch.empty(shape, dtype=self.dtype, device=self.device)
            out_row.data = out.data_ptr()
        else:
            out = main
            for row in same:
                row.data = main.data_ptr()
        prepared.launch(stream_of(self.device), self.device)
        ready.append(prepared)
        return out


_store = {}  # (binding, attribute words, dtype, device, parameters by id) -> Weights


def weights_of(binding: Binding, tensors, words: tuple, dtype: torch.dtype, device: torch.device) -> Weights:
    """Packed once for the same parameters, dtype and device; again when one of them changed."""
    key = (binding.key, words, dtype, device, *map(id, tensors))
    found = _store.get(key)
    if found is not None and found.fresh(tensors):
        return found
    with _lock:
        found = _store.get(key)
        if found is None or not found.fresh(tensors):
            for tensor in tensors:
                if tensor is not None and type(tensor) not in PLAIN:
                    raise Unsupported(f"a weight is a {type(tensor).__name__}, not a plain tensor")
            _store.pop(key, None)
            found = _store[key] = Weights(binding, tensors, binding.attributes(words), dtype, device, lambda _: _store.pop(key, None))
    return found


class _Site:
    """A live module seen by eager inference: where its parameters hang, so that a new one, or new content, is seen in a few microseconds."""

    def __init__(self, binding: Binding, module):
        why = binding.misfit(module)
        if why:
            raise Unsupported(why)
        own = id(module)
        self.binding, self.module = binding, weakref.ref(module, lambda _: _sites.pop(own, None))
        self.path, self.tensors = [], []
        for name in binding.parameters:
            holder = module
            *children, last = name.split(".")
            try:
                for child in children:
                    self.path.append((holder._modules, child, holder._modules[child]))
                    holder = holder._modules[child]
                home = holder._parameters if last in holder._parameters else holder._buffers
                tensor = home[last]
            except KeyError:
                tensor = None
            else:
                self.path.append((home, last, tensor))
            self.tensors.append(tensor)
        self.live = []
        for path in binding.live:
            *children, last = path.split(".")
            holder = module
            for child in children:
                if child in holder._modules:
                    self.path.append((holder._modules, child, holder._modules[child]))
                holder = getattr(holder, child)
            self.live.append((None if holder is module else holder, last))  # a site must not keep its module alive
        holders = {id(home): home for home, _, _ in self.path}
        self.path += [(home, key, None) for home in holders.values() for key, thing in home.items() if thing is None]
        self.sizes = [(home, len(home)) for home in holders.values()]  # nothing joins them unseen
        self.seen, self.words = None, None
        self.path = list({(id(home), key): (home, key, thing) for home, key, thing in self.path}.values())
        self.stamps = [(tensor, *_stamp(tensor)) for tensor in self.tensors if tensor is not None and not tensor.is_inference()]
        self.unversioned = [(tensor, tensor.data_ptr()) for tensor in self.tensors if tensor is not None and tensor.is_inference()]
        self.weights = {}

    def live_words(self, module) -> tuple:
        """As the binding's: what the module's attributes say now."""
        seen = [getattr(module if holder is None else holder, name) for holder, name in self.live]
        if seen != self.seen:
            self.seen, self.words = seen, tuple([self.binding.word(path, value) for path, value in zip(self.binding.live, seen)])
        return self.words

    def current(self) -> bool:
        for home, key, thing in self.path:
            if home.get(key) is not thing:
                return False
        for home, size in self.sizes:
            if len(home) != size:
                return False
        for tensor, pointer, version in self.stamps:
            if tensor.data_ptr() != pointer or tensor._version != version:
                return False
        for tensor, pointer in self.unversioned:
            if tensor.data_ptr() != pointer:
                return False
        return True


_sites = {}  # id of a module -> _Site


def site_of(binding: Binding, module) -> _Site:
    site = _sites.get(id(module))
    if site is not None and site.module() is module and site.binding is binding and site.current():
        return site
    site = _sites[id(module)] = _Site(binding, module)
    return site


def refresh(model: torch.nn.Module | None = None) -> None:
    """Packs weights again at the next call: after changes that torch does not count, such as writes through `parameter.data` or from
    another process.  Without a model: all of them."""
    with _lock:
        if model is None:
            _sites.clear()
            _store.clear()
            return
        for module in model.modules():
            _sites.pop(id(module), None)
        own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
        for key in [key for key in _store if not own.isdisjoint(key[4:])]:
            _store.pop(key, None)
