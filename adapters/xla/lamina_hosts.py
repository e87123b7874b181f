"""A host's own parameters and forward arguments for a Lamina layer in JAX, by the host's binding (layers/<layer>/hosts/<host>.json, or the same
inside a bundle's manifest.json).  docs/host-bindings.md explains the members.  Needs jax; knows no layer and no host.

    import lamina_hosts, lamina_jax
    layer = lamina_jax.load("triangle_multiplication-1.0.0-cpu_avx512.so")
    host = lamina_hosts.load("hosts/alphafold3.json")
    weights = host.arguments(haiku_params, prefix="trunk/pairformer/triangle_multiplication_outgoing", layer=3)
    outgoing = host.function(layer, "TriangleMultiplication_outgoing")
    update = outgoing(act, mask, parameters=weights)

    triangle_multiplication = lamina_hosts.load("hosts/tokamax.json").function(layer)      # tokamax's signature
"""
import ast
import inspect
import json
import math
import operator
import pathlib

import jax.numpy as jnp

_SCHEMA = "lamina/host/1"
_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul}


def load(path, host=None):
    """The binding in the file `path`, or binding `host` of a bundle's manifest.json."""
    document = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    if "hosts" in document:
        if host not in document["hosts"]:
            raise KeyError(f"{path} binds {', '.join(sorted(document['hosts']))}; name one of them, not {host!r}")
        document = document["hosts"][host]
    return Host(document)


def flatten(parameters, separator="/"):
    """Nested dictionaries, as haiku makes them, as one: {"a/b": {"w": x}} is {"a/b/w": x}."""
    flat = {}
    for name, value in parameters.items():
        if isinstance(value, dict):
            flat.update({f"{name}{separator}{inner}": leaf for inner, leaf in flatten(value, separator).items()})
        else:
            flat[name] = value
    return flat


def evaluate(formula, dims):
    """A formula of the binding: whole numbers, dims, + - * / and parentheses; division must come out even."""
    def value(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id in dims:
            return dims[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            return _OPERATORS[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            quotient, rest = divmod(value(node.left), value(node.right))
            if rest:
                raise ValueError(f"formula {formula!r} does not come out even")
            return quotient
        raise ValueError(f"formula {formula!r} is not made of whole numbers, {', '.join(dims)}, + - * / and parentheses")
    return value(ast.parse(str(formula), mode="eval").body)


class Host:
    def __init__(self, document):
        if document.get("schema") != _SCHEMA:
            raise ValueError(f"a host binding has schema {_SCHEMA!r}, this has {document.get('schema')!r}")
        self.document, self.name = document, document["host"]
        self.classes = {entry["name"]: entry for entry in document["classes"]}

    # ---- parameters ----

    def arguments(self, parameters, prefix="", layer=None):
        """The layer's arguments of role param: {contract's name: array}.  `parameters`: arrays by the host's names below `prefix`, nested or
        flat.  `layer`: which of a stack, where every parameter has a leading axis of layers."""
        separator = self.document.get("separator", ".")
        flat = flatten(parameters, separator)
        if prefix:
            start = prefix.rstrip(separator) + separator
            flat = {name[len(start):]: array for name, array in flat.items() if name.startswith(start)}
        own = {}
        for name, rule in self.document["parameters"].items():
            if name in flat:
                own[name] = self._of_layer(name, jnp.asarray(flat.pop(name)), len(rule["shape"]), layer)
            elif not rule.get("optional"):
                raise KeyError(f"{self.name}: parameter '{name}' is missing below '{prefix}'")
        if flat:
            raise KeyError(f"{self.name}: parameters that the binding does not know: {', '.join(sorted(flat)[:5])}")
        dims = self._dims(own)
        for name, array in own.items():
            expected = tuple(evaluate(formula, dims) for formula in self.document["parameters"][name]["shape"])
            if array.shape != expected:
                raise ValueError(f"{self.name}: parameter '{name}' has shape {array.shape}, expected {expected}")
        bound = {name: self._source(source, own, dims) for name, source in self.document["arguments"].items()}
        return {name: array for name, array in bound.items() if array is not None}

    def _of_layer(self, name, array, rank, layer):
        if array.ndim == rank:
            return array
        if array.ndim != rank + 1 or not self.document.get("stacked_layers"):
            raise ValueError(f"{self.name}: parameter '{name}' has {array.ndim} axes, expected {rank}")
        if layer is None:
            raise ValueError(f"{self.name}: parameter '{name}' holds {array.shape[0]} layers; say which by layer=")
        return array[layer]

    def _dims(self, own):
        dims, waiting = {}, dict(self.document["dims"])
        while waiting:
            known = len(dims)
            for letter, rule in list(waiting.items()):
                if isinstance(rule, dict):
                    dims[letter], rest = divmod(own[rule["parameter"]].shape[rule["axis"]], rule.get("divide", 1))
                    if rest:
                        raise ValueError(f"{self.name}: axis {rule['axis']} of '{rule['parameter']}' is no multiple of {rule['divide']}")
                elif {node.id for node in ast.walk(ast.parse(str(rule))) if isinstance(node, ast.Name)} <= dims.keys():
                    dims[letter] = evaluate(rule, dims)
                else:
                    continue
                del waiting[letter]
            if len(dims) == known:
                raise ValueError(f"{self.name}: the dims {', '.join(waiting)} depend on each other")
        return dims

    def _source(self, source, own, dims):
        if "concatenate" in source:
            parts = [self._source(part, own, dims) for part in source["concatenate"]]
            return None if None in [part if part is None else 0 for part in parts] else jnp.concatenate(parts, source.get("axis", 0))
        array = own.get(source["parameter"])
        if array is None:
            return None
        number = lambda rule, key: evaluate(rule[key], dims)
        if rule := source.get("select"):
            array = jnp.take(array, number(rule, "at"), axis=rule["axis"])
        if rule := source.get("interleave"):
            array = self._cut(array, rule["axis"], slice(number(rule, "offset"), None, number(rule, "step")))
        if rule := source.get("slice"):
            array = self._cut(array, rule["axis"], slice(number(rule, "start"), number(rule, "stop")))
        return array.T if source.get("transpose") else array

    @staticmethod
    def _cut(array, axis, piece):
        return array[(slice(None),) * axis + (piece,)]

    # ---- the call ----

    def attributes(self, given=None, class_name=None):
        """The attributes of one class.  `given`: {attribute: the host's value} of a call; chooses the class where no name is given."""
        given = given or {}
        fitting = [self.classes[class_name]] if class_name else [entry for entry in self.classes.values() if self._fits(entry, given)]
        if len(fitting) != 1:
            raise ValueError(f"{self.name}: {given or 'no class name'} fits {len(fitting)} classes of {', '.join(self.classes)}")
        merged = {**self.document.get("attributes", {}), **fitting[0].get("attributes", {})}
        return {name: self._value(rule, given.get(name)) for name, rule in merged.items()}

    @staticmethod
    def _value(rule, given):
        if not isinstance(rule, dict):
            return rule
        return rule["value"] if given is None else rule.get("words", {}).get(str(given), given)

    def _fits(self, entry, given):
        rules = {name: rule for name, rule in entry.get("attributes", {}).items() if isinstance(rule, dict) and "forward" in rule}
        return all(given.get(name) is None or self._value(rule, given[name]) == rule["value"] for name, rule in rules.items())

    def function(self, build, class_name=None, op="forward"):
        """A function with the forward signature of the host.  Where the host is a module, `parameters=` takes what arguments() returned or the
        host's own parameters; `packed=` takes packed weights."""
        if class_name is not None and class_name not in self.classes:
            raise ValueError(f"{self.name}: no class '{class_name}'; there are {', '.join(self.classes)}")
        rows = self.document["forward"]["parameters"]
        kinds = {"keyword_only": inspect.Parameter.KEYWORD_ONLY}
        signature = inspect.Signature([
            inspect.Parameter(row["name"], kinds.get(row.get("kind"), inspect.Parameter.POSITIONAL_OR_KEYWORD),
                              default=ast.literal_eval(row["default"]) if "default" in row else inspect.Parameter.empty) for row in rows])
        ranks = {name: len(shape) for name, shape, _ in build.ops[op].arguments}

        def forward(*values, parameters=None, packed=None, **named):
            call = signature.bind(*values, **named)
            call.apply_defaults()
            fed, own, attributes = {}, {}, {}
            for row in rows:
                self._take(row, call.arguments[row["name"]], fed, own, attributes)
            own = parameters if parameters is not None else own
            bound = own if own and set(own) <= set(ranks) else self.arguments(own)
            leading = self._leading(rows, fed, ranks)
            folded = {row["feeds"]: self._fold(fed[row["feeds"]], row["layout"], ranks[row["feeds"]], leading)
                      for row in rows if row.get("feeds") in fed}
            result = build.ops[op](**folded, **bound, packed=packed, **self.attributes(attributes, class_name))
            return result.reshape(leading + result.shape[1:])

        forward.__name__, forward.__signature__ = self.name, signature
        forward.__doc__ = f"{self.document['title']}: {self.document['module']}, by {build!r}"
        return forward

    def _take(self, row, value, fed, own, attributes):
        if "feeds" in row:
            if value is not None:
                fed[row["feeds"]] = jnp.asarray(value)
        elif "attribute" in row:
            attributes[row["attribute"]] = value
        elif "parameter" in row:
            own[row["parameter"]] = value
        elif row.get("parameters"):
            own.update(value)
        elif "must_equal" in row and repr(value) != row["must_equal"]:
            raise NotImplementedError(f"{self.name}: {row['name']}={value!r} is the host's own affair ({row['why']}); only {row['must_equal']} is taken")
        elif (row.get("in_place") or row.get("add_in_place")) and value:
            raise NotImplementedError(f"{self.name}: {row['name']}={value!r}: arrays of JAX are not written in place")

    @staticmethod
    def _leading(rows, fed, ranks):
        """The axes that the layer's batch dimension stands for: those of `*` in the first argument, its own batch, or none."""
        first = next(row for row in rows if row.get("feeds") in fed)
        words, shape = first["layout"].split(), fed[first["feeds"]].shape
        if "*" in words:
            return shape[: len(shape) - len(words) + 1]
        return shape[: len(words) - ranks[first["feeds"]] + 1]

    @staticmethod
    def _fold(array, layout, rank, leading):
        inner = array.shape[array.ndim - rank + 1:]
        if len(inner) != rank - 1:
            raise ValueError(f"an argument of shape {array.shape} does not fit the layout [{layout}]")
        return jnp.broadcast_to(array, leading + inner).reshape((math.prod(leading),) + inner)
