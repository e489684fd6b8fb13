"""Packing and balancing lose nothing, double nothing and hold the budget, whatever the lengths."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recall_train.batch import Sample, balance, pack

LENGTHS = st.lists(st.integers(1, 60), min_size=0, max_size=40)


def samples_of(lengths, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for number, n in enumerate(lengths):
        sampled = rng.random(n) < 0.5
        sampled[0] = False
        logprobs = np.where(sampled, -rng.random(n), 0).astype(np.float32)
        advantage = np.where(sampled, float(number + 1), 0).astype(np.float32)
        out.append(Sample(rng.integers(0, 1000, n), sampled, logprobs, advantage))
    return out


@given(LENGTHS, st.integers(1, 100))
def test_packing_returns_every_sample_once_and_unchanged(lengths, budget):
    samples = samples_of(lengths)
    seen = []
    for micro in pack(samples, budget):
        for s, index in enumerate(micro.samples):
            part = slice(micro.cu_seqlens[s], micro.cu_seqlens[s + 1])
            for name in ("ids", "sampled", "logprobs", "advantage"):
                np.testing.assert_array_equal(getattr(micro, name)[part], getattr(samples[index], name))
            np.testing.assert_array_equal(micro.position_ids[part], np.arange(lengths[index]))
            assert (micro.sequence[part] == s).all()
            seen.append(index)
        assert micro.max_seqlen == np.diff(micro.cu_seqlens).max()
    assert sorted(seen) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 100))
def test_the_budget_is_broken_only_by_a_sample_longer_than_it(lengths, budget):
    for micro in pack(samples_of(lengths), budget):
        assert len(micro.ids) <= budget or len(micro.samples) == 1


@given(LENGTHS, st.integers(60, 200))
def test_packing_needs_at_most_twice_the_micro_batches_of_a_perfect_cut(lengths, budget):
    assert len(pack(samples_of(lengths), budget)) <= max(1, -(-2 * sum(lengths) // budget))


@given(LENGTHS, st.integers(1, 100))
def test_packing_the_same_samples_twice_gives_the_same_micro_batches(lengths, budget):
    first, second = (pack(samples_of(lengths), budget) for _ in range(2))
    assert [m.samples.tolist() for m in first] == [m.samples.tolist() for m in second]


@given(LENGTHS, st.integers(1, 100))
def test_the_weight_of_a_sample_reaches_its_trained_tokens_alone(lengths, budget):
    weights = np.arange(1, len(lengths) + 1) / 8
    for micro in pack(samples_of(lengths), budget, weights):
        expected = np.where(micro.sampled, weights[micro.samples][micro.sequence], 0)
        np.testing.assert_array_equal(micro.weight, expected.astype(np.float32))


@given(LENGTHS, st.integers(1, 8))
def test_balancing_deals_every_sequence_to_one_rank_and_no_rank_far_above_the_mean(lengths, ranks):
    dealt = balance(lengths, ranks)
    assert len(dealt) == ranks and sorted(i for part in dealt for i in part) == list(range(len(lengths)))
    cost = [n * (1 + n / (12 * 1024)) for n in lengths]
    load = [sum(cost[i] for i in part) for part in dealt]
    assert max(load) <= sum(cost) / ranks + max(cost, default=0)


def test_the_quadratic_part_of_the_cost_counts():
    one_long, rest = 4000, [1000] * 4  # as many tokens, but attention over 4000 costs more
    dealt = balance([one_long, *rest, 1000], 2, hidden_size=64)
    assert dealt == [[0], [1, 2, 3, 4, 5]]
