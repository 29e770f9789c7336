import fc from "fast-check";
import { describe, expect, it } from "vitest";

import type { Row } from "../src/feed/bursts";
import type { Clock } from "../src/live/connection";
import type { ChannelEvent } from "../src/events/channelEvent";
import { AlertQueue } from "../src/overlay/alertQueue";
import { formatOptions, keyOf, overlayAddress, parseOptions, POSITIONS, SIZES, USUAL } from "../src/overlay/options";

describe("the options in an overlay's address", () => {
  it("are as usual when there are none, or none that can be read", () => {
    const usual = parseOptions(new URLSearchParams());
    expect([...usual.families]).toEqual(expect.arrayContaining([...USUAL]));
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
        fc.subarray([...USUAL], { minLength: 1 }),
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

/** A clock that a test moves. */
class TestClock implements Clock {
  #now = 0;
  #timers: { at: number; run: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const due = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#timers = this.#timers.filter((timer) => timer !== due);
      this.#now = due.at;
      due.run();
    }
    this.#now = until;
  }
}

let number = 0;

function event(event_type: string, at = 0): ChannelEvent {
  number += 1;
  const time = new Date(Date.UTC(2026, 0, 1) + at).toISOString();
  return {
    id: `event-${number}`,
    streamer_id: "1",
    streamer_name: "ada",
    event_type,
    occurred_at: time,
    created_at: time,
    payload: { user_name: `User${number}` },
  };
}

function queue(families = new Set(USUAL), seconds = 5): { clock: TestClock; alerts: AlertQueue; shown: (Row | null)[] } {
  const clock = new TestClock();
  const shown: (Row | null)[] = [];
  return { clock, shown, alerts: new AlertQueue(clock, { families, seconds }, (alert) => shown.push(alert)) };
}

describe("the queue of alerts", () => {
  it("shows one at a time, the oldest first, each for its seconds", () => {
    const { clock, alerts, shown } = queue();
    alerts.push([event("channel.raid", 2), event("channel.subscribe", 1)]);
    expect(shown.map((row) => row?.eventType)).toEqual(["channel.subscribe"]);
    clock.advance(4_999);
    expect(shown).toHaveLength(1);
    clock.advance(1_000);
    expect(shown.map((row) => row?.eventType)).toEqual(["channel.subscribe", undefined, "channel.raid"]);
    clock.advance(10_000);
    expect(shown.at(-1)).toBeNull();
  });

  it("shows a burst that waited as one alert", () => {
    const { clock, alerts, shown } = queue();
    alerts.push([event("channel.raid")]);
    for (let n = 0; n < 12; n += 1) alerts.push([event("channel.follow", n)]);
    clock.advance(60_000);
    expect(shown.flatMap((row) => (row ? [[row.eventType, row.count]] : []))).toEqual([
      ["channel.raid", 1],
      ["channel.follow", 12],
    ]);
  });

  it("announces nothing twice, however often it is told", () => {
    const { clock, alerts, shown } = queue();
    const one = event("channel.raid");
    alerts.push([one]);
    alerts.push([one]);
    clock.advance(60_000);
    alerts.push([one]);
    clock.advance(60_000);
    expect(shown.filter((row) => row !== null)).toHaveLength(1);
  });

  it("leaves out what was not asked for, and what happened before", () => {
    const { clock, alerts, shown } = queue(new Set(["raids"] as const));
    const old = event("channel.raid");
    alerts.ignore([old]);
    alerts.push([event("channel.follow"), old]);
    clock.advance(60_000);
    expect(shown).toEqual([]);
  });

  it("hurries while many wait, and shows every event exactly once", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("channel.raid", "channel.follow", "channel.cheer"), { maxLength: 60 }), (types) => {
        const { clock, alerts, shown } = queue();
        const events = types.map((type, n) => event(type, n * 1_000));
        for (const one of events) alerts.push([one]);
        clock.advance(60 * 6_000);
        const announced = shown.flatMap((row) => row?.events.map(({ id }) => id) ?? []);
        expect([...announced].sort()).toEqual(events.map(({ id }) => id).sort());
      }),
    );
  });
});
