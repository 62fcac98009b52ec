"""Keys and values in memory that grows, against transformers' own layer."""

import torch
from transformers import DynamicCache

from espnet_audiollm.infer.cache import plain_cache


def read(caches, positions, rows=2):
    """The same new keys and values into each cache."""
    new = torch.randn(2, rows, 3, positions, 4)
    return [torch.stack(cache.update(*new, 0)) for cache in caches]


def test_positions_are_those_of_transformers_whatever_is_done_to_them():
    torch.manual_seed(0)
    caches = plain_cache(), DynamicCache()
    rows = torch.tensor([1, 0, 1])
    for change in (
        None,
        lambda cache: cache.batch_select_indices(rows),
        lambda cache: cache.crop(-3),
    ):
        for cache in caches if change else ():
            change(cache)
        for positions in (5, *[1] * 30):
            count = len(caches[0].layers[0].keys) if caches[0].layers else 2
            ours, theirs = read(caches, positions, count)
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
            assert caches[0].get_seq_length() == caches[1].get_seq_length()


def test_a_position_does_not_copy_the_others():
    cache = plain_cache()
    read([cache], 8)
    places = set()
    for _ in range(100):
        places.add(cache.update(torch.zeros(2, 3, 1, 4), torch.zeros(2, 3, 1, 4), 0)[0].data_ptr())
    assert len(places) <= 6


def test_a_prompt_takes_the_memory_of_its_positions():
    cache = plain_cache()
    read([cache], 8)
    assert cache.layers[0].keys.untyped_storage().nbytes() == 2 * 3 * 8 * 4 * 4
