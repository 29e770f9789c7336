"""The scenarios, and what each must show.

Each takes a seed and, for the short form, a part of its viewers and a shorter time. What AWS allows stays.
"""

import gc
import math
import time
from collections.abc import Callable, Sequence

from benchmarks.scale import constants, subscriptions
from benchmarks.scale.model import Model
from benchmarks.scale.rows import Row, percentile
from benchmarks.scale.viewers import Channel, Page
from lambdas.common.observability import logger

SECONDS = 60.0
# After the last event, until nothing is under way any more.
AFTERWARDS = 40.0
# What part of the posts may be in vain: a 429 is how each invocation finds out what it may post.
MOST_429 = 0.2
# How much later the last third's events may be than the first third's when the lag is flat.
FLAT, FLAT_SECONDS = 1.25, 0.5


def ten_thousand(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """10,000 viewers, 20 events a second."""
    row = Row(f"{10_000 * size:,.0f} viewers, 20 events/s")
    model, channel = _one_channel(seed, 10_000 * size, 20.0, seconds)
    model.run(seconds + AFTERWARDS)
    _judge(row, model, [channel], p99=2.5, end=seconds)
    return row


def hundred_thousand(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """100,000 viewers, 5 events a second."""
    row = Row(f"{100_000 * size:,.0f} viewers, 5 events/s")
    model, channel = _one_channel(seed, 100_000 * size, 5.0, seconds)
    model.run(seconds + AFTERWARDS)
    _judge(row, model, [channel], p99=13.0, end=seconds)
    row.must_be_at_most("pings refused", model.refused_pings, 0)
    return row


def raised_quota(seed: int = 1, size: float = 1.0, seconds: float = SECONDS / 3) -> Row:
    """100,000 viewers, 5 events a second for 20 s, and a quota of 100,000 requests a second."""
    row = Row(f"{100_000 * size:,.0f} viewers, 5 events/s, 100,000 requests/s allowed")
    model, channel = _one_channel(seed, 100_000 * size, 5.0, seconds, quota=10.0)
    model.run(seconds + AFTERWARDS)
    # Here the key's reads give way first.
    _judge(row, model, [channel], p99=4.0, end=seconds, reads=math.inf)
    return row


def small_beside_large(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """1,000 channels of 5 viewers with an event a second each, beside one of 10,000 viewers with 20.

    For the small ones the first quarter is not judged, as in ``many_channels``.
    """
    row = Row(f"{1_000 * size:,.0f} channels x 5 viewers x 1 event/s beside {10_000 * size:,.0f} x 20")
    model, large = _one_channel(seed, 10_000 * size, 20.0, seconds)
    small = [model.channel(f"small-{number}", 5) for number in range(round(1_000 * size))]
    for channel in small:
        model.events(channel, 1.0, 0.0, seconds)
    model.run(seconds + AFTERWARDS)
    _judge(row, model, [large], p99=5.0, read_back=0.05, refused=0.03, end=seconds)
    row.note("small channels' p99 of the first quarter", percentile(_lateness(small, 0.0, seconds / 4), 0.99))
    row.must_be_at_most("small channels' p99", percentile(_lateness(small, seconds / 4), 0.99), 1.0)
    small_ones = Row("")
    _must_have_everything(small_ones, small, until=seconds)
    row.problems += small_ones.problems
    return row


def many_channels(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """100,000 channels of one viewer, 3,000 events a second in all.

    They begin at once, and Lambda begins with five batches at once: the first quarter is not judged.
    """
    row = Row(f"{100_000 * size:,.0f} channels of one viewer, {3_000 * size:,.0f} events/s in all")
    model = Model(seed=seed)
    channels = [model.channel(f"{number}", 1) for number in range(round(100_000 * size))]
    for number in range(round(3_000 * size * seconds)):
        at = (number + model.rng.random()) / (3_000 * size)
        model.event(model.rng.choice(channels), at)
    model.run(seconds + AFTERWARDS)
    row.note("p99 of the first quarter", percentile(_lateness(channels, 0.0, seconds / 4), 0.99))
    _judge(row, model, channels, p99=1.0, end=seconds, since=seconds / 4)
    row.note("functions at once", model.account.most)
    return row


def some_never_read(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """10,000 viewers, 20 events a second, and one of a hundred viewers never reads."""
    row = Row(f"{10_000 * size:,.0f} viewers, 20 events/s, 1 % never read")
    model, channel = _one_channel(seed, 10_000 * size, 20.0, seconds)
    stuck = channel.pages[::100]
    for page in stuck:
        page.full_from = 0.0
    model.run(30.0)
    row.must_be_at_most("still there after 30 s", sum(math.isinf(page.closed_at) for page in stuck), 0)
    model.run(seconds + AFTERWARDS)
    _judge(row, model, [channel], p99=2.5, end=seconds, without=stuck)
    row.note("posts to who does not read", model.api.to_full)
    return row


def one_never_reads(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """51 viewers, an event a second, and one of them never reads; against the same without that one.

    Its size is always the same.
    """
    row = Row("51 viewers, 1 event/s, one never reads")
    busy: list[float] = []
    for stuck in (0, 1):
        model = Model(seed=seed)
        channel = model.channel("1", 50 + stuck)
        model.events(channel, 1.0, 0.0, seconds)
        for page in channel.pages[50:]:
            page.full_from = 0.0
        model.run(seconds + AFTERWARDS)
        busy.append(model.broadcaster.seconds)
    row.must_be_at_most("seconds of the function for it", busy[1] - busy[0], 1.0)
    row.must_be_at_most("it is still there after", channel.pages[50].closed_at, 30.0)
    _judge(row, model, [channel], p99=1.0, end=seconds, without=channel.pages[50:])
    return row


def half_leave(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """10,000 viewers, 20 events a second; half leave within five seconds, every second of these unnoticed."""
    row = Row(f"{10_000 * size:,.0f} viewers, 20 events/s, half leave at once")
    model, channel = _one_channel(seed, 10_000 * size, 20.0, seconds)
    leaving = channel.pages[::2]
    for number, page in enumerate(leaving):
        at = seconds / 3 + model.rng.uniform(0.0, 5.0)
        model.leave(page, at, says_so=number % 2 == 0)
    model.run(seconds + AFTERWARDS)
    # When the audience is divided into fewer parts, the former parts are still served for a moment.
    _judge(row, model, [channel], p99=2.5, refused=0.01, end=seconds, without=leaving)
    registered = len(model.tables["connections"])
    row.must_be_at_most("registered but not there", registered - len(model.api.pages), 0)
    return row


def join_at_once(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """100,000 viewers join within a minute, while there is an event every 20 seconds."""
    row = Row(f"{100_000 * size:,.0f} viewers join within a minute, an event every 20 s")
    model = Model(seed=seed)
    channel = model.channel("1", 0)
    viewers = round(100_000 * size)
    pages = [model.join(channel, model.rng.uniform(0.0, seconds)) for _ in range(viewers)]
    # API Gateway takes 500 new connections a second; whoever is refused comes back within 80 seconds.
    least = viewers / constants.NEW_CONNECTIONS
    end = seconds + 2 * least + 80.0
    model.events(channel, 1 / 20, 0.0, end)
    model.run(end + AFTERWARDS)
    row.note("refused watches", model.refused_watches)
    row.note("refused connections", model.refused_connections)
    row.note("failed attempts", model.failed_attempts)
    row.must_be_at_most("not in", sum(page.connection_id not in model.api.pages for page in pages), 0)
    row.must_be_at_most("all in after (s)", max(model.joined, default=math.inf), seconds + least + 80.0)
    # As long as two frames to everybody take; those who come use a part of the same budget.
    _judge(row, model, [channel], p99=22.0, refused=0.05, end=end, grows=True)
    return row


def invocations_die(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """3,000 viewers and ten channels of 50, and every 20th invocation dies at any point."""
    row = Row("every 20th invocation dies")
    model = Model(seed=seed, deaths_every=20)
    channels = _large_and_small(model, size)
    for channel in channels:
        model.events(channel, 5.0, 0.0, seconds)
    # Until every message has come again.
    model.run(seconds + 300.0)
    assert model.deaths
    row.note("died", model.deaths.died)
    lateness = _lateness(channels)
    row.note("p99", percentile(lateness, 0.99))
    # So long after an invocation died all is right again.
    row.must_be_at_most("latest", max(lateness), 30.0)
    _must_have_everything(row, channels, until=seconds)
    _nothing_is_left(row, model)
    return row


def answers_lost(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """One of a hundred answers is lost of what DynamoDB and SQS did: channels as in ``invocations_die``."""
    row = Row("one of 100 answers of DynamoDB and SQS is lost")
    model = Model(seed=seed)
    model.services.lost_every = 100
    channels = _large_and_small(model, size)
    for channel in channels:
        model.events(channel, 5.0, 0.0, seconds)
    model.run(seconds + AFTERWARDS)
    _judge(row, model, channels, p99=5.0, end=seconds)
    return row


def dynamodb_silent(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """DynamoDB is silent for 20 s: a channel of 3,000 viewers and ten of 50, 5 events a second each."""
    return _outage("DynamoDB silent for 20 s", Model.silence_dynamodb, seed, size, seconds)


def posts_forbidden(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """The broadcaster may not post for 20 s: channels and events as in ``dynamodb_silent``."""
    return _outage("no permission to post for 20 s", Model.forbid_posts, seed, size, seconds)


def _outage(
    name: str, fail: Callable[[Model, float, float], None], seed: int, size: float, seconds: float
) -> Row:
    row = Row(name)
    model = Model(seed=seed)
    channels = _large_and_small(model, size)
    begin, end = seconds / 6, seconds / 6 + 20.0
    for channel in channels:
        model.events(channel, 5.0, 0.0, seconds)
    fail(model, begin, end)
    model.run(seconds + AFTERWARDS)
    before = percentile(_lateness(channels, 0.0, begin - 1), 0.99)
    after = percentile(_lateness(channels, end + 10, seconds), 0.99)
    row.note("p99", percentile(_lateness(channels), 0.99))
    row.note("p99 before", before)
    row.must_be_at_most("p99 from 10 s after it on", after, before * FLAT + FLAT_SECONDS)
    _must_have_everything(row, channels, until=seconds)
    _nothing_is_left(row, model)
    return row


def bursts(seed: int = 1, size: float = 1.0, seconds: float = SECONDS) -> Row:
    """80 channels of 120 viewers, two events within 1.5 seconds now and then, and a slow DynamoDB.

    Events come while leases are released, and nothing wakes whoever was overlooked for seconds. The first ten
    seconds, in which Lambda adds pollers, are not judged.
    """
    row = Row(f"{80 * size:,.0f} channels x 120 viewers, events now and then, a slow DynamoDB")
    model = Model(seed=seed)
    model.services.dynamodb_seconds, model.services.dynamodb_spread = 0.08, 1.0
    channels = [model.channel(f"{number}", 120) for number in range(round(80 * size))]
    for channel in channels:
        for burst in range(round(seconds / 10.0)):
            begin = 10.0 * burst + model.rng.uniform(0.0, 4.0)
            model.event(channel, begin)
            # About when the lease is released that was taken for the one before.
            model.event(channel, begin + model.rng.uniform(0.5, 1.5))
    model.run(seconds + AFTERWARDS)
    _judge(row, model, channels, p99=6.0, read_back=0.0, end=seconds, since=10.0)
    # An event that was overlooked waits for the next one: at least 4.5 s more.
    row.must_be_at_most("latest", row.figures["latest"], 7.5)
    return row


SCENARIOS = (
    ten_thousand,
    hundred_thousand,
    raised_quota,
    small_beside_large,
    many_channels,
    some_never_read,
    one_never_reads,
    half_leave,
    join_at_once,
    invocations_die,
    answers_lost,
    dynamodb_silent,
    posts_forbidden,
    bursts,
    *subscriptions.SCENARIOS,
)
BY_NAME = {scenario.__name__: scenario for scenario in SCENARIOS}


def run(name: str) -> Row:
    """Run the named scenario in a process of its own, and say so."""
    logger.setLevel("CRITICAL")
    # Nearly everything that is made stays until the end.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    started = time.perf_counter()
    row = BY_NAME[name]()
    row.note("seconds to compute", time.perf_counter() - started)
    print(
        f"{name} took {time.perf_counter() - started:.0f} s: {'ok' if row.ok else row.problems}", flush=True
    )
    return row


def _one_channel(
    seed: int, viewers: float, per_second: float, seconds: float, *, quota: float = 1.0
) -> tuple[Model, Channel]:
    """A channel with events."""
    model = Model(seed=seed, quota=quota)
    channel = model.channel("1", round(viewers))
    model.events(channel, per_second, 0.0, seconds)
    model.pings(channel.pages, seconds)
    return model, channel


def _large_and_small(model: Model, size: float) -> list[Channel]:
    """A channel of 3,000 viewers, and ten of 50."""
    small = [model.channel(f"small-{number}", 50) for number in range(max(2, round(10 * size)))]
    return [model.channel("large", round(3_000 * size)), *small]


def _lateness(channels: Sequence[Channel], since: float = 0.0, until: float = math.inf) -> list[float]:
    return [seconds for channel in channels for seconds in channel.lateness(since, until)]


def _judge(
    row: Row,
    model: Model,
    channels: Sequence[Channel],
    *,
    p99: float,
    end: float,
    since: float = 0.0,
    read_back: float = 0.01,
    refused: float = 0.0,
    reads: float = constants.KEY_READS,
    without: Sequence[Page] = (),
    grows: bool = False,
) -> None:
    """What every scenario must show: events in time, a flat lag, the budget kept, nothing lost or left."""
    lateness = _lateness(channels, since)
    row.note("p50", percentile(lateness, 0.5))
    row.must_be_at_most("p99", percentile(lateness, 0.99), p99)
    row.note("latest", max(lateness, default=math.inf))
    first = percentile(_lateness(channels, 0.0, end / 3), 0.5)
    last = percentile(_lateness(channels, end * 2 / 3, end), 0.5)
    row.note("p50 of the first third", first)
    # Where the audience grows, so does the time that a frame to everybody takes.
    row.must_be_at_most("p50 of the last third", last, math.inf if grows else first * FLAT + FLAT_SECONDS)
    wanted = max(1, sum(len(channel.times) * len(channel.pages) for channel in channels))
    posts, throttled = sum(model.api.posts.values()), sum(model.api.throttled.values())
    row.note("posts a second", sum(n for second, n in model.api.posts.items() if second < end) / end)
    row.must_be_at_most("429", throttled / max(posts + throttled, 1), MOST_429)
    others_refused = sum(model.api.refused.values())
    others = max(1, sum(model.api.requests.values()) + others_refused)
    row.must_be_at_most("other requests refused", others_refused / others, refused)
    units = [table.read_units for table in model.tables.values()]
    row.must_be_at_most(
        "reads a second of a key", max(max(each.values(), default=0) for each in units), reads
    )
    row.note("throttled by DynamoDB", sum(table.throttled for table in model.tables.values()))
    row.must_be_at_most("part read back", sum(channel.read_back for channel in channels) / wanted, read_back)
    _must_have_everything(row, channels, until=end, without=without)
    _nothing_is_left(row, model)


def _must_have_everything(
    row: Row, channels: Sequence[Channel], *, until: float, without: Sequence[Page] = ()
) -> None:
    """Every connected viewer has every event, by a frame or by the record, and three times at most."""
    left_out = set(without)
    pages = [page for channel in channels for page in channel.pages if page not in left_out]
    row.must_be_at_most("viewers who miss events", sum(bool(page.missing(until)) for page in pages), 0)
    row.must_be_at_most(
        "viewers who got an event more than 3 times", sum(bool(page.more) for page in pages), 0
    )
    row.note("viewers who got an event twice", sum(bool(page.twice) for page in pages))
    row.note("marks", sum(page.marks for page in pages))


def _nothing_is_left(row: Row, model: Model) -> None:
    """No message waits, none is dead, and nothing was cut off."""
    row.must_be_at_most("messages left", sum(map(len, model.queues.values())), 0)
    row.must_be_at_most("dead letters", sum(len(queue.dead_letters) for queue in model.queues.values()), 0)
    row.must_be_at_most("cut off by the timeout", model.broadcaster.cut_off, 0)
    row.must_be_at_most("failed invocations", model.broadcaster.failed, 0)
    row.note("most messages in a queue", max(queue.most for queue in model.queues.values()))
    row.note("invocations", model.broadcaster.invocations)
    row.note("seconds of the function", model.broadcaster.seconds)
