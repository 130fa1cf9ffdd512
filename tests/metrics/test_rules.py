"""Rules of boundaries and of ignored labels, for arrays of both libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segalias_jax.errors import InputError
from segalias_jax.metrics import BOUNDARY_RULES, IGNORE_RULES, ScoreRules
from segalias_jax.ops import morphology


def test_labels_are_renumbered_only_where_zero_is_reduced():
    """0 and 255 become 255, k becomes k - 1; without the rule ids stay, as does the library."""
    raw = np.asarray([0, 1, 150, 255], np.uint8)
    for ids, kind in ((raw, np.ndarray), (jnp.asarray(raw), jax.Array)):
        reduced = ScoreRules(reduce_zero_label=True).class_label(ids)
        assert reduced.tolist() == [255, 0, 149, 255] and reduced.dtype == np.int32
        assert isinstance(reduced, kind)
        assert ScoreRules().class_label(ids).tolist() == raw.tolist()


def test_boundaries_are_drawn_before_ids_are_lowered():
    """0 has become the ignored label by then, in the type that labels have where it fits."""
    raw = np.asarray([0, 1, 150, 255], np.uint8)
    for ids in (raw, jnp.asarray(raw), raw.astype(np.int16)):
        reduced = ScoreRules(reduce_zero_label=True).boundary_label(ids)
        assert reduced.tolist() == [255, 1, 150, 255]
        assert reduced.dtype == (np.uint8 if ids.dtype == np.uint8 else np.int32)
        assert ScoreRules().boundary_label(ids) is ids
    other = ScoreRules(reduce_zero_label=True, ignore_label=-1).boundary_label(raw)
    assert other.tolist() == [-1, 1, 150, 255]


def test_labels_are_renumbered_while_a_program_is_traced():
    rules = ScoreRules(reduce_zero_label=True)
    assert jax.jit(rules.class_label)(np.asarray([0, 1])).tolist() == [255, 0]


@pytest.mark.parametrize("ignored", [0, 7])
def test_an_ignored_label_that_is_a_class_once_zero_is_reduced(ignored):
    """Label 1 is class 0, and label 8 class 7: they would be ignored, too."""
    with pytest.raises(InputError, match=f"ignore_label: {ignored} does not go with reduce_zero"):
        ScoreRules(reduce_zero_label=True, ignore_label=ignored)


def test_rules_are_those_of_the_device():
    assert BOUNDARY_RULES == morphology.BOUNDARY_RULES
    for boundary in BOUNDARY_RULES:
        for ignore in IGNORE_RULES:
            assert ScoreRules(boundary, ignore).boundary == boundary
    with pytest.raises(InputError, match="ignore rule 'never' does not exist; choose reference"):
        ScoreRules(ignore="never")
    with pytest.raises(InputError, match="width: a band of 0 pixels"):
        ScoreRules(width=0)
