"""Builds inside JAX by liblamina_xla.so: values, transformations, refusals, and the hosts' own parameters and arguments.

    python test_jax.py BUILD.so [--reference REFERENCE.so] [--platform cuda]

The reference serves the golden outputs of the real host modules, which are float64; without it those are not run.
"""
import argparse
import os
import pathlib
import sys
import unittest

import numpy as np

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "xla"))

import jax
import jax.export
import jax.numpy as jnp
import jax.test_util
from jax.sharding import PartitionSpec

import lamina_hosts
import lamina_jax
import problem

N, C, H = 24, 64, 48
HOSTS = problem.LAYER / "hosts"


class Jax(unittest.TestCase):
    path, reference, with_tokamax = None, None, True

    @classmethod
    def setUpClass(cls):
        cls.layer = lamina_jax.load(cls.path)
        cls.weights = {name: jnp.asarray(array) for name, array in problem.weights(C, H).items()}
        cls.pair, cls.mask = map(jnp.asarray, problem.pair_and_mask(2, N, C))

    def forward(self, pair, mask=None, weights=None, **more):
        return self.layer.forward(pair=pair, pair_mask=mask, **(weights or self.weights), **more)

    def test_results_in_every_dtype_and_direction(self):
        for dtype in ("float32", "bfloat16", "float16"):
            pair, mask = self.pair.astype(dtype), self.mask.astype(dtype)
            weights = {name: array.astype(dtype) for name, array in self.weights.items()}
            for direction in ("outgoing", "incoming"):
                with self.subTest(dtype=dtype, direction=direction):
                    found = jax.jit(lambda *a: self.forward(*a, direction=direction))(pair, mask, weights)
                    self.assertEqual(found.dtype, pair.dtype)
                    self.assertLess(problem.error(found, problem.truth(pair, mask, weights, direction)), problem.TOLERANCES[dtype])

    def test_packed_weights_and_masks(self):
        packed = self.layer.pack(**self.weights, direction="incoming")
        expected = self.forward(self.pair, self.mask, direction="incoming")
        self.assertTrue(jnp.array_equal(self.forward(self.pair, self.mask, packed=packed, direction="incoming"), expected))
        tokens = self.mask[:, 0] > 0
        by_token = self.layer.forward(pair=self.pair, token_mask=tokens, **self.weights)
        by_pair = self.forward(self.pair, tokens[:, :, None] & tokens[:, None, :])
        self.assertLess(problem.error(by_token, np.asarray(by_pair, np.float64)), 1e-6)
        self.assertFalse(jnp.array_equal(by_token, self.forward(self.pair)))

    def test_vmap(self):
        # Mapped activations become a larger batch: one call.  Mapped weights go one by one.
        pairs = jnp.stack([self.pair, self.pair * 2, self.pair + 1])
        mapped = jax.vmap(lambda pair: self.forward(pair, self.mask))
        for found, pair in zip(mapped(pairs), pairs):
            self.assertTrue(jnp.allclose(found, self.forward(pair, self.mask), rtol=0, atol=1e-6))
        text = jax.jit(mapped).lower(pairs).as_text()
        self.assertEqual(text.count("@lamina("), 1)
        self.assertIn(f"6x{N}x{N}x{C}", text)
        self.assertNotIn("while", text)
        ensemble = jax.tree.map(lambda array: jnp.stack([array, 0.5 * array]), self.weights)
        by_weights = jax.vmap(lambda weights: self.forward(self.pair, self.mask, weights))(ensemble)
        for i, found in enumerate(by_weights):
            self.assertTrue(jnp.array_equal(found, self.forward(self.pair, self.mask, {k: v[i] for k, v in ensemble.items()})))
        packs = jax.vmap(lambda weights: self.layer.pack(**weights))(ensemble)
        self.assertTrue(jnp.array_equal(packs[0], self.layer.pack(**self.weights)))
        twice = jax.vmap(jax.vmap(lambda pair, mask: self.forward(pair, mask), in_axes=(1, None)), in_axes=(0, 0))
        found = twice(jnp.stack([pairs] * 2).swapaxes(1, 2), jnp.stack([self.mask, 1 - self.mask]))
        self.assertTrue(jnp.allclose(found[1, 2], self.forward(pairs[2], 1 - self.mask), rtol=0, atol=1e-6))

    def losses(self, layer, pair, mask):
        """sum(out * weight) as a function of pair and parameters, by the layer and by the formula in jax.numpy."""
        weight = jnp.asarray(np.random.default_rng(9).standard_normal(pair.shape))
        ours = lambda pair, weights, **more: (layer.forward(pair=pair, pair_mask=mask, **weights, **more) * weight.astype(pair.dtype)).sum()
        formula = lambda pair, weights, direction="outgoing": (problem.formula(jnp, pair, mask, weights, direction) * weight).sum()
        return ours, formula

    def test_gradients_in_float64(self):
        """The reference build beside JAX's own derivative of the formula, and beside finite differences."""
        if not self.reference:
            self.skipTest("needs --reference: no other build computes float64")
        layer = lamina_jax.load(self.reference)
        with jax.enable_x64(True):
            small = (slice(None), slice(7), slice(7))
            pair, mask = jnp.asarray(self.pair, jnp.float64)[small], jnp.asarray(self.mask, jnp.float64)[small]
            ours, formula = self.losses(layer, pair, mask)
            weights = {name: jnp.asarray(array, jnp.float64) for name, array in self.weights.items()}
            for direction in ("outgoing", "incoming"):
                expected = jax.grad(formula, argnums=(0, 1))(pair, weights, direction)
                for save in ("nothing", "activations"):
                    found = jax.jit(jax.grad(lambda *a: ours(*a, direction=direction, save=save), argnums=(0, 1)))(pair, weights)
                    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
                        self.assertLess(problem.error(one, np.asarray(other)), 1e-12)
            jax.test_util.check_grads(ours, (pair, weights), order=1, modes=["rev"])
            # One parameter alone, packed weights beside, a batch of problems: by one call, and one after the other for a parameter's gradients.
            packed = layer.pack(**weights, dtype="float64")
            alone = jax.grad(lambda array: ours(pair, {**weights, "out_gate_weight": array}, packed=packed))(weights["out_gate_weight"])
            expected = jax.grad(formula, argnums=(0, 1))(pair, weights)
            self.assertLess(problem.error(alone, np.asarray(expected[1]["out_gate_weight"])), 1e-12)
            pairs = jnp.stack([pair, 2 * pair, pair + 1])
            for place in (0, 1):
                found = jax.vmap(jax.grad(ours, argnums=place), in_axes=(0, None))(pairs, weights)
                for i, one in enumerate(pairs):
                    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(jax.grad(formula, argnums=place)(one, weights))):
                        self.assertLess(problem.error(a[i], np.asarray(b)), 1e-12)
            text = jax.jit(jax.vmap(jax.grad(ours), in_axes=(0, None))).lower(pairs, weights).as_text()
            self.assertNotIn("while", text)

    def test_gradients_of_this_build(self):
        ours, formula = self.losses(self.layer, self.pair, self.mask)
        expected = jax.grad(formula, argnums=(0, 1))(self.pair, self.weights)
        for dtype in ("float32", "bfloat16", "float16"):
            given = jax.tree.map(lambda array: array.astype(dtype), (self.pair, self.weights))
            for save in ("nothing", "activations"):
                found = jax.jit(jax.grad(lambda *a: ours(*a, save=save), argnums=(0, 1)))(*given)
                for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
                    self.assertEqual(one.dtype, dtype)
                    # The truth is of the unrounded problem: the inputs' rounding is allowed once more.
                    self.assertLess(problem.error(one, np.asarray(other, np.float64)), 2 * problem.GRADIENT_TOLERANCES[dtype])

    def test_a_step_of_training(self):
        """Gradient descent inside one program with a loop: the loss goes down as by the formula."""
        target = jnp.tanh(self.pair[:1, ::-1])
        mean = lambda forward: lambda weights: ((forward(weights) - target) ** 2).mean()
        ours = mean(lambda weights: self.layer.forward(pair=self.pair[:1], pair_mask=self.mask[:1], **weights))
        formula = mean(lambda weights: problem.formula(jnp, self.pair[:1], self.mask[:1], weights, "outgoing"))

        def descend(loss):
            def step(i, state):
                weights, losses = state
                value, gradients = jax.value_and_grad(loss)(weights)
                return jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradients), losses.at[i].set(value)
            return jax.jit(lambda: jax.lax.fori_loop(0, 5, step, (self.weights, jnp.zeros(5))))()[1]
        found, expected = descend(ours), descend(formula)
        self.assertLess(float(jnp.abs(found - expected).max()), 1e-4 * float(expected[0]))
        self.assertLess(float(found[-1]), float(found[0]))

    def test_gradients_that_are_not_there(self):
        ours, _ = self.losses(self.layer, self.pair, self.mask)
        with self.assertRaisesRegex(NotImplementedError, "gives no gradient of 'pair_mask'"):
            jax.grad(lambda mask: self.forward(self.pair, mask).sum())(self.mask)
        with self.assertRaisesRegex(NotImplementedError, "its op forward_train has no gradient"):
            jax.grad(lambda pair: jax.grad(ours)(pair, self.weights).sum())(self.pair)
        stopped = jax.grad(lambda pair: ours(jax.lax.stop_gradient(pair), self.weights) + pair.sum())(self.pair)
        self.assertTrue(jnp.array_equal(stopped, jnp.ones_like(self.pair)))

    def test_refusals_come_while_tracing(self):
        for kind, sentence, call in (
                (ValueError, "argument 7 'a_projection_weight': is missing", lambda: self.layer.forward(pair=self.pair)),
                (ValueError, "dimension 1 is 23, expected N = 24", lambda: self.forward(self.pair, self.mask[:, 1:])),
                (ValueError, "given beside pair_mask", lambda: self.forward(self.pair, self.mask, token_mask=self.mask[:, 0])),
                (ValueError, "'eps' is -1.*expected 0 to 1", lambda: self.forward(self.pair, eps=-1)),
                (NotImplementedError, "unknown value 'up'; it takes outgoing, incoming", lambda: self.forward(self.pair, direction="up")),
                (NotImplementedError, "does not take int32 here", lambda: self.forward(self.pair.astype(jnp.int32))),
                (NotImplementedError, "has dtype complex64, which no build takes", lambda: self.forward(self.pair.astype(jnp.complex64))),
                (TypeError, "'colour' is neither an argument nor an attribute", lambda: self.forward(self.pair, colour=1)),
                (TypeError, "attribute 'eps' is .*, expected a number known when tracing", lambda: self.forward(self.pair, eps=jnp.ones(()))),
                (TypeError, "'out' is a result; it is returned, not given", lambda: self.forward(self.pair, out=self.pair)),
                (AttributeError, "has no op 'sideways'", lambda: self.layer.sideways(pair=self.pair)),
                (ValueError, "cannot be loaded as a Lamina build", lambda: lamina_jax.load(__file__))):
            with self.subTest(sentence=sentence):
                with self.assertRaisesRegex(kind, sentence):
                    call()
                with self.assertRaisesRegex(kind, sentence):
                    jax.eval_shape(call)

    def test_inside_a_program(self):
        """Beside other work, in a loop, exported and read back, and split over devices by hand."""
        packed = self.layer.pack(**self.weights)

        @jax.jit
        def blocks(pair, mask):
            step = lambda i, pair: pair + jax.nn.tanh(self.forward(pair, mask, packed=packed)) * (1 + i)
            return jax.lax.fori_loop(0, 4, step, pair)
        expected = self.pair
        for i in range(4):
            expected = expected + jax.nn.tanh(self.forward(expected, self.mask)) * (1 + i)
        self.assertTrue(jnp.allclose(blocks(self.pair, self.mask), expected, rtol=1e-5, atol=1e-5))
        for scale in range(3):  # the same program again with other values: what XLA records must not keep the old ones
            self.assertTrue(jnp.array_equal(jax.jit(self.forward)(self.pair * scale, self.mask), self.forward(self.pair * scale, self.mask)))

        allowed = [jax.export.DisabledSafetyCheck.custom_call("lamina")]
        exported = jax.export.export(jax.jit(self.forward), disabled_checks=allowed)(self.pair, self.mask)
        again = jax.export.deserialize(exported.serialize())
        self.assertTrue(jnp.array_equal(again.call(self.pair, self.mask), self.forward(self.pair, self.mask)))

        devices = jax.devices()
        if len(devices) > 1:
            mesh = jax.sharding.Mesh(np.array(devices[:2]), ("batch",))
            split = jax.shard_map(lambda pair, mask: self.forward(pair, mask), mesh=mesh, in_specs=PartitionSpec("batch"),
                                  out_specs=PartitionSpec("batch"), check_vma=False)
            found = jax.jit(split)(np.asarray(self.pair), np.asarray(self.mask))
            self.assertEqual(len(found.sharding.device_set), 2)
            self.assertTrue(np.array_equal(found, self.forward(self.pair, self.mask)))

    @staticmethod
    def tokamax_arguments(dtype):
        generator = np.random.default_rng(5)
        draw = lambda *shape: jnp.asarray(generator.standard_normal(shape) / 8, dtype)
        return {"projection_in_weights": draw(C, 2, H), "gate_in_weights": draw(C, 2, H), "projection_out_weights": draw(H, C),
                "gate_out_weights": draw(C, C), "layernorm_in_scale": 1 + draw(C), "layernorm_in_offset": draw(C),
                "layernorm_out_scale": 1 + draw(H), "layernorm_out_offset": draw(H)}

    def test_tokamax(self):
        """The real function beside ours with its own signature."""
        if not self.with_tokamax:
            self.skipTest("--without-tokamax")
        import tokamax
        arguments = self.tokamax_arguments(jnp.float32)
        ours = lamina_hosts.load(HOSTS / "tokamax.json").function(self.layer)
        for flow in ("outgoing", "incoming"):
            for more in ({}, {"epsilon": 1e-3}):
                expected = tokamax.triangle_multiplication(self.pair[0], self.mask[0] > 0, *arguments.values(), flow, implementation="xla", **more)
                found = jax.jit(lambda x, mask: ours(x, mask, *arguments.values(), flow, **more))(self.pair[0], self.mask[0] > 0)
                self.assertEqual(found.shape, expected.shape)
                self.assertLess(problem.error(found, np.asarray(expected, np.float64)), 2 * problem.TOLERANCES["float32"])
        with self.assertRaisesRegex(NotImplementedError, "precision='highest' is the host's own affair"):
            ours(self.pair[0], self.mask[0] > 0, *arguments.values(), "outgoing", precision="highest")
        with self.assertRaises(TypeError):
            ours(self.pair[0])

    def test_tokamax_in_float64(self):
        """The real function and its own derivatives in float64: the binding's layout to the last digits, where float32 would hide a slip."""
        if not self.with_tokamax or not self.reference:
            self.skipTest("needs tokamax and --reference")
        import tokamax
        layer = lamina_jax.load(self.reference)
        with jax.enable_x64(True):
            given = (jnp.asarray(self.pair[0], jnp.float64), *self.tokamax_arguments(jnp.float64).values())
            mask, weight = self.mask[0] > 0, jnp.asarray(np.random.default_rng(6).standard_normal(self.pair[0].shape))
            theirs = lambda flow: lambda x, *p: tokamax.triangle_multiplication(x, mask, *p, flow, implementation="xla")
            ours = lambda flow: lambda x, *p: lamina_hosts.load(HOSTS / "tokamax.json").function(layer)(x, mask, *p, flow)
            for flow in ("outgoing", "incoming"):
                self.assertLess(problem.error(ours(flow)(*given), np.asarray(theirs(flow)(*given))), problem.TOLERANCES["float64"])
                gradients = [jax.grad(lambda *a: (of(flow)(*a) * weight).sum(), argnums=tuple(range(len(given))))(*given) for of in (ours, theirs)]
                for found, expected in zip(*gradients):
                    self.assertLess(problem.error(found, np.asarray(expected)), problem.GRADIENT_TOLERANCES["float64"])

    def test_haiku_parameters(self):
        """AlphaFold 3's nested and stacked parameters by prefix and layer."""
        host = lamina_hosts.load(HOSTS / "alphafold3.json")
        golden = next(row for row in problem.goldens() if row[0] == "alphafold3")
        flat = {name: jnp.asarray(array, jnp.float32) for name, array in golden[2].items()}
        nested = {}
        for name, array in flat.items():
            scope, leaf = name.rsplit("/", 1)
            nested.setdefault(f"trunk/pairformer/block/{scope}", {})[leaf] = jnp.stack([0 * array, array])
        nested["trunk/other"] = {"weights": jnp.ones(3)}
        bound = host.arguments(nested, prefix="trunk/pairformer/block", layer=1)
        self.assertTrue(all(jnp.array_equal(bound[name], array) for name, array in host.arguments(flat).items()))
        forward = {name: jnp.asarray(array, jnp.float32) for name, array in golden[3].items()}
        found = host.function(self.layer, golden[1])(**forward, parameters=bound)
        self.assertLess(problem.error(found, golden[4]), 2 * problem.TOLERANCES["float32"])
        for sentence, call in (("say which by layer=", lambda: host.arguments(nested, prefix="trunk/pairformer/block")),
                               ("'left_norm_input/scale' is missing below 'trunk'", lambda: host.arguments(nested, prefix="trunk")),
                               ("parameters that the binding does not know: extra", lambda: host.arguments({**flat, "extra": jnp.ones(1)})),
                               ("'gate/weights' has shape .* expected", lambda: host.arguments({**flat, "gate/weights": jnp.ones((16, 4))})),
                               ("no class 'Triangle'", lambda: host.function(self.layer, "Triangle"))):
            with self.assertRaisesRegex((KeyError, ValueError), sentence):
                call()

    def test_every_golden_of_every_host(self):
        """The real modules' own outputs in float64, through every binding."""
        if not self.reference:
            self.skipTest("needs --reference: no other build computes float64")
        layer, count = lamina_jax.load(self.reference), 0
        with jax.enable_x64(True):
            for name, class_name, parameters, forward, output in problem.goldens():
                with self.subTest(host=name, class_name=class_name):
                    function = lamina_hosts.load(HOSTS / f"{name}.json").function(layer, class_name)
                    self.assertLess(problem.error(function(**forward, parameters=parameters), output), problem.TOLERANCES["float64"])
                    count += 1
        self.assertGreaterEqual(count, 21)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--reference")
    parser.add_argument("--platform", default="cpu")
    parser.add_argument("--without-tokamax", action="store_true", help="where the package is not installed")
    options = parser.parse_args()
    jax.config.update("jax_platforms", options.platform)
    Jax.path, Jax.reference, Jax.with_tokamax = options.build, options.reference, not options.without_tokamax
    del sys.argv[1:]  # tokamax reads the command line too
    unittest.main(argv=sys.argv[:1], verbosity=2)
