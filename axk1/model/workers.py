"""Runs independent pieces of one operation on as many threads as PyTorch may use, each piece on one thread.

PyTorch spreads every single operation over all threads and waits for them at its end. For many small products, such
as those of experts, the waiting costs more than the work: 44 against 124 GFLOP/s for 128 products of 64 x 256 x 256
on two cores. Here a thread takes a whole piece, whose data stay in that core's cache.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

_pools: dict[int, ThreadPoolExecutor] = {}
_lock = threading.Lock()


def for_each(function: Callable[[T], None], items: Iterable[T]) -> None:
    """Calls ``function`` on every item, on ``torch.get_num_threads()`` threads, without gradients.

    Put the largest items first. The calls must write to places of their own. An exception in one is raised here.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        for item in items:
            function(item)
        return
    queue = iter(list(items))  # a list iterator hands out each item once, whichever thread asks

    inference = torch.is_inference_mode_enabled()  # of this thread; the others must write into its tensors

    def work() -> None:
        with torch.inference_mode(inference), torch.no_grad():
            for item in queue:
                function(item)

    futures = [_pool(threads).submit(work) for _ in range(threads - 1)]
    try:
        torch.set_num_threads(1)
        work()
    finally:
        torch.set_num_threads(threads)
        for future in futures:
            future.result()


def _pool(threads: int) -> ThreadPoolExecutor:
    with _lock:
        if threads not in _pools:
            _pools[threads] = ThreadPoolExecutor(threads - 1, "axk1-worker", initializer=use_one_thread)
        return _pools[threads]


def use_one_thread() -> None:
    """Lets PyTorch use one thread in the calling thread only.

    A thread takes the process's number of threads at its first parallel operation. That must come first: it would
    undo the setting, and every product of this thread would be spread over others that are busy themselves.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
