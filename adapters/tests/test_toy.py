"""The adapters on a plug-in that is no layer of this tree (toy_plugin.c): what the layers' tables do not have yet.

    python test_toy.py TOY.so TOY-tvm_ffi.so
"""
import pathlib
import sys
import unittest

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "xla"))

import jax
import jax.numpy as jnp
import tvm_ffi

import lamina_jax


class Toy(unittest.TestCase):
    plugin, tvm = None, None

    def setUp(self):
        self.x = np.random.default_rng(1).standard_normal((5, 7)).astype(np.float32)
        self.y = np.ones((5, 7), np.float32)

    def test_jax_read_and_written(self):
        toy = lamina_jax.load(self.plugin)
        y = jnp.asarray(self.y)
        found = jax.jit(lambda x, y: toy.accumulate(x=x, y=y, repeat=3, factor=0.5))(self.x, y)
        np.testing.assert_allclose(found, self.y + 1.5 * self.x, rtol=1e-6)
        np.testing.assert_array_equal(y, self.y)  # the array that was given is as it was
        text = jax.jit(lambda x, y: toy.accumulate(x=x, y=y)).lower(self.x, y).as_text()
        self.assertIn("output_operand_alias", text)
        self.assertIn("repeat = 4 : i64", jax.jit(lambda x: toy.accumulate(x=x, y=y, repeat=4)).lower(self.x).as_text())

    def test_jax_several_results_and_no_batch(self):
        toy = lamina_jax.load(self.plugin)
        self.assertIsNone(toy.batch)
        total, largest, count = jax.jit(lambda x: toy.rows(x=x))(self.x)
        np.testing.assert_allclose(total, self.x.sum(1), rtol=1e-5)
        np.testing.assert_array_equal(largest, self.x.max(1))
        np.testing.assert_array_equal(count, np.full(5, 7))
        # Without a batch in its contract nothing is folded: a leading axis of a table is not a batch for that.
        many = np.stack([self.x, 2 * self.x, -self.x])
        lowered = jax.jit(jax.vmap(lambda x: toy.rows(x=x))).lower(many).as_text()
        self.assertIn("while", lowered)
        for found, x in zip(jax.vmap(lambda x: toy.rows(x=x))(many)[1], many):
            np.testing.assert_array_equal(found, x.max(1))
        # On CPUs nothing is recorded; what is not safe to record has a target of its own elsewhere.
        self.assertIn("@lamina(", jax.jit(lambda x: toy.rows(x=x)).lower(self.x).as_text())

    def test_jax_refusals(self):
        toy = lamina_jax.load(self.plugin)
        for kind, sentence, call in ((ValueError, "toy: repeat is negative", lambda: toy.accumulate(x=self.x, y=self.y, repeat=-1)),
                                     (ValueError, "toy: x is missing", lambda: toy.rows()),
                                     (TypeError, "'repeat' is float, expected an integer", lambda: toy.accumulate(x=self.x, y=self.y, repeat=1.5))):
            with self.assertRaisesRegex(kind, sentence):
                call()
        with self.assertRaisesRegex(NotImplementedError, "no op backward"):
            jax.grad(lambda x: toy.rows(x=x)[0].sum())(self.x)

    def test_tvm_ffi(self):
        toy = tvm_ffi.load_module(self.tvm)
        y = self.y.copy()
        toy.accumulate(self.x, y, "repeat", 3, "factor", 1)  # a whole number where a float is meant
        np.testing.assert_allclose(y, self.y + 3 * self.x, rtol=1e-6)
        total, largest, count = (np.empty(5, np.float32) for _ in range(3))
        toy.rows(self.x, total, largest, count)
        np.testing.assert_array_equal(largest, self.x.max(1))
        # One of the three may be left out and comes back.
        np.testing.assert_array_equal(np.from_dlpack(toy.rows(self.x, total, "count", count)), largest)
        with self.assertRaisesRegex(TypeError, "'sum' and 'largest' are missing; at most one result can be returned"):
            toy.rows(self.x)
        with self.assertRaisesRegex(ValueError, "toy: repeat is negative"):
            toy.accumulate(self.x, y, "repeat", -1)
        with self.assertRaisesRegex(TypeError, "attribute 'repeat' is a float, expected an integer"):
            toy.accumulate(self.x, y, "repeat", 1.0)


if __name__ == "__main__":
    Toy.plugin, Toy.tvm = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1], verbosity=2)
