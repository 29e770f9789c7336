"""``make costs``: what a stage costs a month, idle and under load, with the arithmetic shown.

The fixed costs come from the synthesised templates, the prices from ``prices.json``, and what a workload
asks of each service from the model below, which follows a request through the stack.
"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PRICES = json.loads(Path(__file__).with_name("prices.json").read_text())
PAGE = ROOT / "docs" / "scaling.md"
BEGIN, END = "<!-- costs: made by `make costs` -->", "<!-- end of costs -->"
HOURS = 730  # a month's
DAYS = HOURS / 24

# -- the model: what an average day's requests are, and what each of them costs the stack --------------------

# Of 100 incoming requests: what they are.
DELIVERIES, READS, WATCHES, PINGS = 0.40, 0.30, 0.05, 0.25
READS_THAT_MISS_THE_CACHE = 0.25
VIEWERS_PER_DELIVERY = 5
SESSION_MINUTES = 20
SESSIONS_PER_VIEWER_AND_MONTH = 10
EVENT_KB, FRAME_KB, READ_KB, PAGE_KB = 1.5, 1.5, 8, 400
LOG_KB = 0.4
ROW_KB = 2.0  # a row of events with its indexes
RETENTION_DAYS = 90
EVENTS_PER_SECOND_AND_ACU = 500
# Milliseconds of each function for what it handles.
MILLISECONDS = {"webhook": 15, "recorder": 60, "broadcaster": 30, "query": 15, "watch": 150, "authorizer": 10}
MILLISECONDS |= {"connection": 10, "reconciler": 1000, "archiver": 3000}
# What the schedules publish when nothing else happens; other metrics cost only in the hours that have events.
IDLE_METRICS = 12
RECONCILER_RUNS_A_DAY = 288


@dataclasses.dataclass(frozen=True)
class Workload:
    """``requests`` a day from outside; ``batch`` events that a queue hands to a function at once."""

    name: str
    requests: float
    batch: float


WORKLOADS = (
    Workload("idle", 0, 1),
    Workload("100 a day", 100, 1),
    Workload("1 million a day", 1e6, 2),
    Workload("900 million a day", 9e8, 200),
)


@dataclasses.dataclass(frozen=True)
class Line:
    """``quantity`` of what ``price`` in ``prices.json`` is for."""

    what: str
    price: str
    quantity: float

    @property
    def dollars(self) -> float:
        """What it costs a month, beyond what every account has for free."""
        price = PRICES["prices"][self.price]
        return max(self.quantity - float(price["free"]), 0) * float(price["price"])

    @property
    def arithmetic(self) -> str:
        """The calculation, as a person would write it down."""
        price = PRICES["prices"][self.price]
        free = f" - {price['free']:,} free" if price["free"] else ""
        return f"{self.quantity:,.2f}{free} at ${price['price']} per {price['per']}"


class Template:
    """A stage's synthesised templates, in a folder of its name: what costs money by standing there."""

    def __init__(self, stage: str, assembly: Path) -> None:
        files = sorted(assembly.glob(f"{stage}/Fanfare-{stage}-*.template.json"))
        if not files:
            raise FileNotFoundError(
                f"{assembly} holds no template of {stage!r}: run make synth STAGE={stage}"
            )
        self._resources: list[dict[str, Any]] = [
            resource for file in files for resource in json.loads(file.read_text())["Resources"].values()
        ]

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        """The properties of every resource of the type."""
        return [found.get("Properties", {}) for found in self._resources if found["Type"] == type_]

    def memory_gb(self, job: str) -> float:
        """Memory of the function that does ``job``."""
        (memory,) = (
            function["MemorySize"]
            for function in self.of_type("AWS::Lambda::Function")
            if str(function.get("FunctionName", "")).endswith(f"-{job}")
        )
        return float(memory) / 1024


def lines(template: Template, load: Workload) -> Iterator[Line]:
    """Everything that a month costs."""
    yield from _standing(template)
    yield from _database(template, load)
    yield from _requests(template, load)


def _standing(template: Template) -> Iterator[Line]:
    yield Line("alarms", "alarm", len(template.of_type("AWS::CloudWatch::Alarm")))
    yield Line("dashboards", "dashboard", len(template.of_type("AWS::CloudWatch::Dashboard")))
    yield Line("metrics of the schedules", "custom_metric", IDLE_METRICS)
    # One more than in the template: the Twitch application's, which stands before the stage does.
    yield Line("secrets", "secret", len(template.of_type("AWS::SecretsManager::Secret")) + 1)
    yield Line("encryption keys", "kms_key", len(template.of_type("AWS::KMS::Key")))
    acls = template.of_type("AWS::WAFv2::WebACL")
    yield Line("web ACLs", "web_acl", len(acls))
    yield Line("web ACL rules", "waf_rule", sum(len(acl["Rules"]) for acl in acls))


def _database(template: Template, load: Workload) -> Iterator[Line]:
    events = load.requests * DELIVERIES
    needed = events / 86400 / EVENTS_PER_SECOND_AND_ACU
    for cluster in template.of_type("AWS::RDS::DBCluster"):
        scaling = cluster["ServerlessV2ScalingConfiguration"]
        least = float(scaling["MinCapacity"])
        instances = len(template.of_type("AWS::RDS::DBInstance"))
        awake = 1.0
        if least == 0:
            # Whoever asks wakes it for the time until it pauses again.
            misses = load.requests * READS * READS_THAT_MISS_THE_CACHE
            asked = archiver_runs_a_day(template) + events + misses
            awake = min(asked * (scaling["SecondsUntilAutoPause"] + 60) / 86400, 1)
        capacity = max(least, 0.5, needed)
        yield Line("database", "acu_hour", capacity * awake * HOURS * instances)
    for _ in template.of_type("AWS::RDS::DBProxy"):
        yield Line("database proxy", "proxy_acu_hour", max(8, needed) * HOURS)
    yield Line("database storage", "database_gb", 1 + events * RETENTION_DAYS * ROW_KB / 1024**2)
    yield Line("database requests", "database_million_io", events * DAYS * 0.5 / 1e6)
    yield Line("archives of a year", "s3_gb", 0.1 + events * 365 * EVENT_KB / 10 / 1024**2)


def _requests(template: Template, load: Workload) -> Iterator[Line]:
    month = load.requests * DAYS
    events, reads, watches, pings = (month * share for share in (DELIVERIES, READS, WATCHES, PINGS))
    misses, batches = reads * READS_THAT_MISS_THE_CACHE, events / load.batch
    frames = events * VIEWERS_PER_DELIVERY / max(load.batch / 50, 1)
    calls = {
        "webhook": events,
        "recorder": batches,
        "broadcaster": batches,
        "query": misses,
        "watch": watches,
        "authorizer": watches,
        "connection": 2 * watches + pings,
        "reconciler": RECONCILER_RUNS_A_DAY * DAYS,
        "archiver": archiver_runs_a_day(template) * DAYS,
    }
    seconds = {job: count * MILLISECONDS[job] / 1000 for job, count in calls.items()}
    # One frame to one viewer takes the broadcaster 0.05 ms beyond what a batch takes.
    seconds["broadcaster"] += frames * 0.00005
    yield Line("functions: requests", "lambda_million", sum(calls.values()) / 1e6)
    gb_seconds = sum(spent * template.memory_gb(job) for job, spent in seconds.items())
    yield Line("functions: time", "lambda_gb_second", gb_seconds)
    yield Line("HTTP API", "http_million", (events + misses + watches) / 1e6)
    yield Line("WebSocket API: messages", "websocket_million", (frames + 2 * pings) / 1e6)
    yield Line("WebSocket API: time", "connection_million_minutes", watches * SESSION_MINUTES / 1e6)
    yield Line("topic", "sns_million", events / 1e6)
    # Two queues, each: one send an event, one receive and one delete ten events.
    yield Line("queues", "sqs_million", 2 * (events + 2 * events / min(load.batch, 10)) / 1e6)
    yield Line("tables: writes", "dynamodb_million_writes", (5 * watches + pings) / 1e6)
    yield Line("tables: reads", "dynamodb_million_reads", (watches + batches * VIEWERS_PER_DELIVERY) / 1e6)
    yield Line("site: requests", "cloudfront_million", (reads + 6 * watches) / 1e6)
    megabytes = (reads * READ_KB + watches * PAGE_KB / 5) / 1024
    yield Line("site: transfer", "cloudfront_gb", megabytes / 1024)
    yield Line("frames: transfer", "transfer_gb", frames * FRAME_KB / 1024**2)
    yield Line("sign-ins", "federated_user", watches / SESSIONS_PER_VIEWER_AND_MONTH)
    yield Line("logs", "log_gb", (sum(calls.values()) + 2 * events) * LOG_KB / 1024**2)


def archiver_runs_a_day(template: Template) -> float:
    """How often the archiver's schedule runs it."""
    for rule in template.of_type("AWS::Events::Rule"):
        if "Archiver" in json.dumps(rule["Targets"]):
            amount, unit = rule["ScheduleExpression"].removeprefix("rate(").removesuffix(")").split()
            return 1440 / (float(amount) * {"m": 1, "h": 60, "d": 1440}[unit[0]])
    raise LookupError("no rule runs the archiver")


def total(costs: Iterable[Line]) -> float:
    """Dollars a month."""
    return sum(line.dollars for line in costs)


def report(assembly: Path) -> str:
    """The tables of ``docs/scaling.md``, in Markdown: the totals, and every line of what they are made of."""
    templates = {stage: Template(stage, assembly) for stage in ("dev", "prod")}
    rows = ["| a month, in US dollars | " + " | ".join(load.name for load in WORKLOADS) + " |"]
    rows.append("|---|" + "---:|" * len(WORKLOADS))
    for stage, template in templates.items():
        totals = (f"{total(lines(template, load)):,.2f}" for load in WORKLOADS)
        rows.append(f"| `{stage}` | " + " | ".join(totals) + " |")
    for stage, load in (("dev", WORKLOADS[0]), ("prod", WORKLOADS[0]), *(("prod", w) for w in WORKLOADS[2:])):
        rows += ["", f"`{stage}`, {load.name}:", "", "| what | arithmetic | $ |", "|---|---|---:|"]
        rows += [
            f"| {line.what} | {line.arithmetic} | {line.dollars:,.2f} |"
            for line in lines(templates[stage], load)
            if line.quantity
        ]
    return "\n".join(rows) + "\n"


def updated(page: str, tables: str) -> str:
    """The page with the tables between its two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n{END}{rest.split(END)[1]}"


def main(arguments: list[str]) -> int:
    """Write the costs of the templates in a folder into ``docs/scaling.md``, and print the totals."""
    tables = report(Path(arguments[0]))
    PAGE.write_text(updated(PAGE.read_text(), tables))
    print(tables.split("\n\n")[0], f"\nEvery line of it: {PAGE.relative_to(ROOT)}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
