"""What a row in `job.rows()` costs over a bare loop, against tqdm and rich."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from itertools import count
from operator import itemgetter
from uuid import uuid4

from rich.console import Console
from rich.progress import track
from tqdm import tqdm

from django_import_progress import SyncProgressManager, create_sync_redis_client, track_import
from tests.kit.processes import RedisProcess, valkey_binary

from .report import Report, Target
from .rounds import measure, minima

ROWS = 1_000_000
ROUNDS = 7

Wrap = Callable[[Iterable[int]], AbstractContextManager[Iterable[int]]]


def run() -> Report:
    """Measure."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        server = stack.enter_context(RedisProcess(valkey_binary()))
        manager = SyncProgressManager(create_sync_redis_client(server.url))
        # Both draw as they do in a terminal, about as often as we write.
        console = Console(file=nowhere, force_terminal=True)
        wraps: dict[str, Wrap] = {
            "a bare loop": nullcontext,
            "itertools alone": lambda rows: nullcontext(_counted_by_itertools(rows)),
            "job.rows()": partial(_tracked, manager),
            "rich.progress.track": lambda rows: nullcontext(track(rows, console=console)),
            "tqdm": lambda rows: nullcontext(tqdm(rows, file=nowhere)),
        }
        loops = {name: partial(_loop, wrap) for name, wrap in wraps.items()}
        seconds = measure(loops, ROUNDS)
    best = minima(seconds)
    bare = best.pop("a bare loop")
    over = {name: (took - bare) / ROWS * 1e9 for name, took in best.items()}
    return Report(
        name="rows",
        title="what a row costs over a bare loop",
        how=f"{ROWS:,} rows, {ROUNDS} interleaved rounds, the best of each",
        columns=["who counts", "of tqdm", "of rich", "ns a row"],
        rows=[
            [
                name,
                f"{cost / over['tqdm']:.2f}",
                f"{cost / over['rich.progress.track']:.2f}",
                f"{cost:.0f}",
            ]
            for name, cost in over.items()
        ],
        targets=[
            Target(what="job.rows() of tqdm", found=over["job.rows()"] / over["tqdm"], most=0.5)
        ],
        raw={"rows": ROWS, "seconds": seconds},
    )


def _loop(wrap: Wrap) -> float:
    with wrap(range(ROWS)) as rows:
        began = time.perf_counter()
        for _ in rows:
            pass
        return time.perf_counter() - began


def _counted_by_itertools(rows: Iterable[int]) -> Iterator[int]:
    """Count, and do nothing else: no cancel, and no number that a thread could read."""
    return map(itemgetter(0), zip(rows, count(), strict=False))


@contextmanager
def _tracked(manager: SyncProgressManager, rows: Iterable[int]) -> Iterator[Iterable[int]]:
    with track_import(uuid4(), manager=manager) as job:
        yield job.rows(rows)
