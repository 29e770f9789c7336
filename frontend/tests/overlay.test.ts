import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { ChannelEvent } from "../src/api";
import type { Row } from "../src/feed/bursts";
import { AlertQueue } from "../src/overlay/alertQueue";
import { formatOptions, keyOf, overlayAddress, parseOptions, POSITIONS, SIZES, DEFAULT_FAMILIES } from "../src/overlay/overlayOptions";
import { event } from "./events";
import { FakeClock } from "./fakeEnvironment";

describe("the options in an overlay's address", () => {
  it("are as usual when there are none, or none that can be read", () => {
    const usual = parseOptions(new URLSearchParams());
    expect([...usual.families]).toEqual(expect.arrayContaining([...DEFAULT_FAMILIES]));
    expect(usual).toMatchObject({ position: "top", size: "medium", seconds: 6 });
    expect(parseOptions(new URLSearchParams("types=nonsense&position=moon&size=9&duration=soon"))).toEqual(usual);
  });

  it("keep an alert between 2 and 30 seconds", () => {
    expect(parseOptions(new URLSearchParams("duration=0")).seconds).toBe(2);
    expect(parseOptions(new URLSearchParams("duration=1e9")).seconds).toBe(30);
  });

  it("come back as they were written", () => {
    fc.assert(
      fc.property(
        fc.subarray([...DEFAULT_FAMILIES], { minLength: 1 }),
        fc.constantFrom(...POSITIONS),
        fc.constantFrom(...SIZES),
        fc.integer({ min: 2, max: 30 }),
        (families, position, size, seconds) => {
          const options = { families: new Set(families), position, size, seconds };
          const read = parseOptions(new URLSearchParams(formatOptions(options)));
          expect(read).toEqual({ ...options, families: read.families });
          expect([...read.families].sort()).toEqual([...families].sort());
        },
      ),
    );
  });

  it("leave the key to the fragment, which is never sent", () => {
    const address = new URL(
      overlayAddress("https://fanfare.example", "ada", parseOptions(new URLSearchParams()), "id.s+cret/="),
    );
    expect(address.search).not.toContain("cret");
    expect(keyOf(address.hash)).toBe("id.s+cret/=");
    expect(keyOf("")).toBeNull();
  });
});

let number = 0;

function happened(event_type: string, at = 0): ChannelEvent {
  number += 1;
  const occurred_at = new Date(Date.UTC(2026, 0, 1) + at).toISOString();
  return event({ id: `event-${number}`, event_type, occurred_at, payload: { user_name: `User${number}` } });
}

function queue(families = new Set(DEFAULT_FAMILIES), seconds = 5): { clock: FakeClock; alerts: AlertQueue; shown: (Row | null)[] } {
  const clock = new FakeClock();
  const shown: (Row | null)[] = [];
  return { clock, shown, alerts: new AlertQueue(clock, { families, seconds }, (alert) => shown.push(alert)) };
}

describe("the queue of alerts", () => {
  it("shows one at a time, the oldest first, each for its seconds", async () => {
    const { clock, alerts, shown } = queue();
    alerts.push([happened("channel.raid", 2), happened("channel.subscribe", 1)]);
    expect(shown.map((row) => row?.eventType)).toEqual(["channel.subscribe"]);
    await clock.pass(4_999);
    expect(shown).toHaveLength(1);
    await clock.pass(1_000);
    expect(shown.map((row) => row?.eventType)).toEqual(["channel.subscribe", undefined, "channel.raid"]);
    await clock.pass(10_000);
    expect(shown.at(-1)).toBeNull();
  });

  it("shows a burst that waited as one alert", async () => {
    const { clock, alerts, shown } = queue();
    alerts.push([happened("channel.raid")]);
    for (let n = 0; n < 12; n += 1) alerts.push([happened("channel.follow", n)]);
    await clock.pass(60_000);
    expect(shown.flatMap((row) => (row ? [[row.eventType, row.count]] : []))).toEqual([
      ["channel.raid", 1],
      ["channel.follow", 12],
    ]);
  });

  it("announces nothing twice, however often it is told", async () => {
    const { clock, alerts, shown } = queue();
    const one = happened("channel.raid");
    alerts.push([one]);
    alerts.push([one]);
    await clock.pass(60_000);
    alerts.push([one]);
    await clock.pass(60_000);
    expect(shown.filter((row) => row !== null)).toHaveLength(1);
  });

  it("announces a gift, not its recipients, whichever comes first", async () => {
    const { clock, alerts, shown } = queue();
    const recipient = { ...happened("channel.subscribe", 1), payload: { user_name: "Wren", is_gift: true } };
    const gift = happened("channel.subscription.gift", 2);
    alerts.push([recipient]);
    alerts.push([gift, recipient]);
    await clock.pass(60_000);
    expect(shown.flatMap((row) => row?.eventType ?? [])).toEqual(["channel.subscription.gift"]);
  });

  it.each(["channel.poll.end", "channel.prediction.end", "channel.hype_train.end"])("announces %s once, whatever its statuses", async (type) => {
    const { clock, alerts, shown } = queue(new Set(["polls", "hype"] as const));
    const ended = (status: string, at: number) => ({ ...happened(type, at), payload: { id: "the-one", status } });
    const [first, later] = [ended("terminated", 1), ended("archived", 90_000)];
    alerts.push([first]);
    await clock.pass(60_000);
    alerts.push([later, first]);
    alerts.push([later]);
    await clock.pass(60_000);
    expect(shown.filter((row) => row !== null)).toHaveLength(1);
  });

  it("announces no update that changes nothing, and what another one changed", async () => {
    const { clock, alerts, shown } = queue(new Set(["updates"] as const));
    const updated = (at: number, title: string) => ({ ...happened("channel.update", at), payload: { title, category_name: "Go" } });
    const [one, same, other] = [updated(1, "Hi"), updated(2, "Hi"), updated(3, "Bye")];
    alerts.ignore([one]);
    alerts.push([same, one]);
    alerts.push([other, same, one]);
    await clock.pass(60_000);
    expect(shown.flatMap((row) => row?.events ?? [])).toMatchObject([{ id: other.id, changed: "title" }]);
  });

  it("leaves out what was not asked for, and what happened before", async () => {
    const { clock, alerts, shown } = queue(new Set(["raids"] as const));
    const old = happened("channel.raid");
    alerts.ignore([old]);
    alerts.push([happened("channel.follow"), old]);
    await clock.pass(60_000);
    expect(shown).toEqual([]);
  });

  it("hurries while many wait, and shows every event exactly once", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.constantFrom("channel.raid", "channel.follow", "channel.cheer"), { maxLength: 60 }), async (types) => {
        const { clock, alerts, shown } = queue();
        const events = types.map((type, n) => happened(type, n * 1_000));
        for (const one of events) alerts.push([one]);
        await clock.pass(60 * 6_000);
        const announced = shown.flatMap((row) => row?.events.map(({ id }) => id) ?? []);
        expect([...announced].sort()).toEqual(events.map(({ id }) => id).sort());
      }),
    );
  });

  it("announces nothing that happened more than a minute ago", async () => {
    const { clock, alerts, shown } = queue();
    const [old, recent] = [happened("channel.raid", -61_000), happened("channel.cheer", -59_000)];
    alerts.push([recent, old, ...Array.from({ length: 12 }, (_, n) => happened("channel.follow", -n * 3_600_000 - 60_001))]);
    await clock.pass(60_000);
    expect(shown.flatMap((row) => row?.events ?? [])).toEqual([recent]);
  });

  it("does not go on with what waited when the computer slept for hours", async () => {
    const { clock, alerts, shown } = queue();
    alerts.push([happened("channel.raid"), happened("channel.cheer")]);
    expect(shown).toHaveLength(1);
    clock.sleep(8 * 3_600_000);
    await clock.pass(60_000);
    expect(shown.filter((row) => row !== null)).toHaveLength(1);
  });
});
