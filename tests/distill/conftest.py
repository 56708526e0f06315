"""The world that the tests of distillation share."""

import pytest
from distill_world import bigram_table, cache_config, random_samples, save_bigram_teacher, write_shards

from axk1.distill.capture import build_cache


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Folder with ``tokenizer``, ``shards``, ``teacher`` (a bigram model) and ``knowledge``, its cache of the top 6."""
    folder = tmp_path_factory.mktemp("world")
    write_shards(folder / "shards", random_samples(60))
    save_bigram_teacher(folder / "teacher", bigram_table())
    build_cache(cache_config(folder))
    return folder
