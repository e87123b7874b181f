"""Host bindings at work: which argument a host's forward parameters and weights feed.

A Binding stands for one class (or function) of one host, as manifest.json describes it; everything here is read from there.
"""
from __future__ import annotations

import types

import torch

from ._abi import Unsupported
from ._library import CONTRACT, MANIFEST

_FORWARD = next(op for op in CONTRACT["ops"] if op["kind"] == "forward")
_ROWS = {row["name"]: row for row in CONTRACT["arguments"]}
INPUTS = tuple(name for name in _FORWARD["arguments"] if name in _ROWS and _ROWS[name].get("role", "input") == "input")
OUTPUT = next(name for name in _FORWARD["arguments"] if name in _ROWS and _ROWS[name].get("role") == "output")
MAIN = INPUTS[0]  # its dtype and device are the call's
RESIDUAL = "residual" if "residual" in INPUTS and "residual" in _ROWS[OUTPUT].get("may_alias", ()) else None
REPLACEABLE = MAIN in _ROWS[OUTPUT].get("may_alias", ())
SHAPES = {name: tuple(row["shape"].split()) for name, row in _ROWS.items()}  # argument -> its dims' letters


def reach(thing, path: str):
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def _number(formula: str, dims: dict) -> int:
    return eval(formula.replace("/", "//"), {"__builtins__": {}}, dims)  # whole numbers, dims, + - * / ( ): the schema says so


def _cut(source: dict, parameters: dict, dims: dict) -> torch.Tensor:
    """A part of one parameter, as a view."""
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


class Feed:
    """A forward parameter that feeds an argument."""

    def __init__(self, position: int, rule: dict):
        row = _ROWS[rule["feeds"]]
        words = rule["layout"].split()
        self.position, self.name, self.index = position, rule["name"], INPUTS.index(rule["feeds"])
        self.needed = "default" not in rule
        self.star, self.letters = words[0] == "*", tuple(word for word in words if word != "*")
        self.full = len(row["shape"].split())  # the argument's rank
        self.leads = self.star or len(self.letters) == self.full  # does it have leading axes, or a batch
        self.inner = self.letters if self.star or len(self.letters) < self.full else self.letters[1:]
        self.expands = row.get("strides") == "broadcast"
        words = SHAPES[rule["feeds"]]
        self.prefix = self.leads and words == SHAPES[MAIN][: len(words)]  # its shape begins as the main input's does
        self.equal = [(words.index(word), at) for at, word in enumerate(words) if words.index(word) != at]

    def plain(self, shape) -> bool:
        """Are the axes equal that share a letter?"""
        for one, other in self.equal:
            if shape[one] != shape[other]:
                return False
        return True


def _drops_nothing(module) -> bool:
    """Is there dropout inside, all of it torch's with p = 0?"""
    found = [one for one in module.modules() if "Dropout" in type(one).__name__]
    return bool(found) and all([isinstance(one, torch.nn.Dropout) and one.p == 0 for one in found])


class Binding:
    """One class or function of a host.  `live` are the paths of module attributes that decide class and attributes."""

    def __init__(self, host: dict, name: str):
        self.host_name, self.name, self.key = host["host"], name, f"{host['host']}/{name}"
        self.host = host
        self.is_function = host["kind"] == "function"
        self.entries = [entry for entry in host["classes"] if entry.get("class", entry["name"]) == name]
        source = host["source"]
        self.title = f"{host['module']}.{name} of {source['package']} {source.get('version', source.get('commit', ''))}".rstrip()
        rules = host["forward"]["parameters"]
        self.signature = tuple(rule["name"] for rule in rules)
        feeds = [Feed(at, rule) for at, rule in enumerate(rules) if "feeds" in rule]
        self.main = next(feed for feed in feeds if feed.index == 0)
        self.others = tuple(feed for feed in feeds if feed.index != 0)
        self.must_equal = tuple((at, rule["name"], rule["must_equal"], rule["why"]) for at, rule in enumerate(rules) if "must_equal" in rule)
        place = {use: at for at, rule in enumerate(rules) for use in ("in_place", "add_in_place", "parameters") if rule.get(use)}
        self.in_place, self.add_in_place = place.get("in_place"), place.get("add_in_place")
        self.weights_at = place.get("parameters")
        self.parameters = tuple(host["parameters"])
        self.weight_at = {rule["parameter"]: at for at, rule in enumerate(rules) if "parameter" in rule}
        self.given_at = tuple((rule["name"], at) for at, rule in enumerate(rules) if "attribute" in rule)
        self.drops_inside = host["forward"]["dropout"] == "inside"
        # A host that adds its own input to the result: the layer's residual is then the main input.
        at = INPUTS.index("residual") if "residual" in INPUTS else None
        adds = host["forward"]["residual"] == "inside" and at is not None and all(feed.index != at for feed in feeds)
        self.adds_input = at if adds else None
        read = [rule for holder in (host, *self.entries) for rule in holder.get("attributes", {}).values() if isinstance(rule, dict) and "module" in rule]
        self.live = tuple(dict.fromkeys([entry["when"]["module"] for entry in self.entries if "when" in entry] + [rule["module"] for rule in read]))
        self.usual = {rule["module"]: (rule["value"], str(rule["value"])) for rule in read if isinstance(rule["value"], float)}
        self._resolved = {}

    # Traced by torch.compile: plain loops over tuples, no exceptions.
    def refusal(self, module, values) -> str:
        """Why a call with these values is the host's own affair; empty when it is ours."""
        for at, name, text, why in self.must_equal:
            value = values[at]
            if (value is not None) if text == "None" else repr(value) != text:
                return f"{name} is given: {why}"
        if self.drops_inside and module is not None and module.training and not _drops_nothing(module):
            return "in training this host drops out inside the layer"
        if values[self.main.position] is None:
            return f"{self.main.name} is None"
        for feed in self.others:
            if feed.needed and values[feed.position] is None and not self.is_function:
                return f"{feed.name} is None, which this host does not take"
        return ""

    def fold(self, values):
        """(inputs in the layer's order and shapes, the host's leading axes, sentence of what does not fit).  The leading axes are one axis of
        the layer: its batch, or its rows."""
        main = values[self.main.position]
        rank = len(self.main.inner)
        if main.dim() < rank or (not self.main.star and main.dim() != len(self.main.letters)):
            return None, None, f"{self.main.name} has {main.dim()} axes, expected {self.host_layout(self.main)}"
        lead = main.shape[: main.dim() - rank]
        batch = 1
        for extent in lead:
            batch = batch * extent
        dims = {}
        for letter, extent in zip(self.main.inner, main.shape[main.dim() - rank:]):
            if letter in dims and dims[letter] != extent:
                return None, None, f"{self.main.name} is {tuple(main.shape)}, expected {self.host_layout(self.main)}"
            dims[letter] = extent
        inputs = [None] * len(INPUTS)
        inputs[0] = main if main.dim() == self.main.full else main.reshape(batch, *main.shape[main.dim() - rank:])
        for feed in self.others:
            value = values[feed.position]
            if value is None:
                continue
            shape = tuple(value.shape)
            for back, letter in enumerate(reversed(feed.inner), 1):
                if letter not in dims and back <= len(shape):
                    dims[letter] = shape[-back]  # an extent that the main input does not have: the weights will tell
            inner = tuple([dims.get(letter, -1) for letter in feed.inner])
            expected = (*lead, *inner) if feed.leads else inner
            if shape != expected:
                missing = len(expected) - len(shape)
                fits = feed.expands and missing >= 0 and all([a == b or a == 1 for a, b in zip(shape, expected[missing:])])
                if fits:
                    value = value.expand(expected)
                elif value.numel() == _product(expected):
                    value = value.reshape(expected)
                else:
                    return None, None, f"{feed.name} is {shape}, expected {expected}"
            inputs[feed.index] = value if value.dim() == feed.full and len(lead) == 1 else value.reshape(batch, *inner)
        if self.adds_input is not None:
            inputs[self.adds_input] = inputs[0]
        return inputs, lead, ""

    @staticmethod
    def host_layout(feed: Feed) -> str:
        return "[" + ", ".join(("...",) * feed.star + feed.letters) + "]"

    def live_words(self, module) -> tuple:
        return tuple([self.word(path, reach(module, path)) for path in self.live])

    def word(self, path: str, value) -> str:
        usual = self.usual.get(path)  # compared, since torch.compile may hold a number as a symbol and cannot write one
        if usual is not None and value == usual[0]:
            return usual[1]
        if isinstance(value, torch.nn.Module):  # an activation, say
            return type(value).__name__
        return value.__name__ if isinstance(value, types.FunctionType) else str(value)

    def given_words(self, values) -> tuple:
        return tuple([str(values[at]) for _, at in self.given_at])

    def attributes(self, words: tuple) -> dict:
        """Attribute -> value, from what live_words() or given_words() found.  Raises Unsupported when no class of the binding fits."""
        found = self._resolved.get(words)
        if found is None:
            found = self._resolved[words] = self._resolve(words)
        return found

    def _resolve(self, words: tuple) -> dict:
        live = dict(zip(self.live, words))
        given = dict(zip((name for name, _ in self.given_at), words[len(self.live):]))

        def value_of(rule):
            if not isinstance(rule, dict):
                return rule
            if "module" in rule:
                value = live[rule["module"]]
            elif "forward" in rule:
                value = given[rule["forward"]]
            else:
                value = rule["value"]
            return rule.get("words", {}).get(str(value), value)

        for entry in self.entries:
            when = entry.get("when")
            if when is not None and live[when["module"]] != when["equals"]:
                continue
            own = entry.get("attributes", {})
            if any(isinstance(rule, dict) and "forward" in rule and value_of(rule) != rule["value"] for rule in own.values()):
                continue
            return {name: value_of(rule) for name, rule in {**self.host.get("attributes", {}), **own}.items()}
        described = ", ".join(f"{path}={word!r}" for path, word in [*live.items(), *given.items()])
        raise Unsupported(f"no class of this binding fits {described or self.name}")

    def arguments(self, parameters: dict):
        """(argument -> tensor, dims) out of the parameters that are there; views but for concatenations.  Raises Unsupported for shapes
        that are not the binding's."""
        parts, dims = self.parts(parameters)
        return {name: found[0][1] if axis is None else torch.cat([view for _, view in found], dim=axis) for name, (axis, found) in parts.items()}, dims

    def parts(self, parameters: dict):
        """(argument -> (axis that its parts are joined along or None, [(parameter, part as a view)]), dims); as arguments()."""
        missing = [name for name in self.parameters if name not in parameters and not self.host["parameters"][name].get("optional")]
        required = {name for name, row in _ROWS.items() if row.get("role") == "param" and not row.get("optional")}
        needed = {part["parameter"] for name, source in self.host["arguments"].items() if name in required
                  for part in source.get("concatenate", [source])}
        missing = [name for name in missing if name in needed or not self.is_function]
        if missing:
            raise Unsupported(f"{', '.join(missing)} not found")
        dims = {}
        pending = dict(self.host["dims"])
        while pending:  # formulas may stand before what they are made of
            for letter, rule in list(pending.items()):
                try:
                    dims[letter] = (_number(rule, dims) if isinstance(rule, str)
                                    else parameters[rule["parameter"]].shape[rule["axis"]] // rule.get("divide", 1))
                except NameError:
                    continue
                del pending[letter]
        for name, tensor in parameters.items():
            expected = tuple(_number(formula, dims) for formula in self.host["parameters"][name]["shape"])
            if tuple(tensor.shape) != expected:
                raise Unsupported(f"{name} is {tuple(tensor.shape)}, expected {expected}")
        cuts = {}
        for name, source in self.host["arguments"].items():
            parts = source.get("concatenate", [source])
            if all(part["parameter"] in parameters for part in parts):
                axis = source.get("axis", 0) if "concatenate" in source else None
                cuts[name] = axis, [(part["parameter"], _cut(part, parameters, dims)) for part in parts]
        return cuts, dims

    def misfit(self, module) -> str:
        """Why a live module is not what this binding describes; empty when it fits."""
        try:
            live = {**dict(module.named_parameters()), **dict(module.named_buffers())}
            unknown = sorted(set(live) - set(self.parameters))
            if unknown:
                return f"has {', '.join(unknown)}, which this binding does not know"
            self.attributes(self.live_words(module))
            self.arguments(live)
        except AttributeError as error:
            return str(error)
        except Unsupported as refusal:
            return str(refusal)
        return ""


def _product(numbers) -> int:
    result = 1
    for number in numbers:
        result = result * number
    return result


BINDINGS = {binding.key: binding for host in MANIFEST["hosts"].values() if host["kind"] != "jax_module"
            for binding in (Binding(host, name) for name in dict.fromkeys(entry.get("class", entry["name"]) for entry in host["classes"]))}
