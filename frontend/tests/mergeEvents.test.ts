import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { FEED_SIZE, merge, type FeedItem } from "../src/live/mergeEvents";
import { event } from "./events";

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString();
const ids = (feed: readonly FeedItem[]): string[] => feed.map((item) => item.event.id);

describe("the feed", () => {
  test("is newest first", () => {
    const feed = merge([], [event({ id: "a", occurred_at: at(1) }), event({ id: "b", occurred_at: at(2) })], "live");
    expect(ids(feed)).toEqual(["b", "a"]);
  });

  test("orders events of the same millisecond by their finer digits, then by id", () => {
    const events = [
      event({ id: "a", occurred_at: "2026-01-01T00:00:00.000100Z" }),
      event({ id: "b", occurred_at: "2026-01-01T00:00:00.000200Z" }),
      event({ id: "c", occurred_at: "2026-01-01T00:00:00.000200Z" }),
    ];
    expect(ids(merge([], events, "recorded"))).toEqual(["c", "b", "a"]);
  });

  test("lets the oldest leave when it is full", () => {
    const full = Array.from({ length: FEED_SIZE }, (_, n) => event({ id: `e${n}`, occurred_at: at(n) }));
    const feed = merge(merge([], full, "recorded"), [event({ id: "new", occurred_at: at(600) })], "live");
    expect(feed).toHaveLength(FEED_SIZE);
    expect(ids(feed)[0]).toBe("new");
    expect(ids(feed)).not.toContain("e0");
  });

  test("shows an event that came live and recorded once, as recorded", () => {
    const live = event({ created_at: at(1) });
    const recorded = event({ created_at: at(2) });
    expect(merge(merge([], [live], "live"), [recorded], "recorded")).toEqual([{ event: recorded, source: "recorded" }]);
    expect(merge(merge([], [recorded], "recorded"), [live], "live")).toEqual([{ event: recorded, source: "recorded" }]);
  });

  test("keeps what came live when the record does not have it yet", () => {
    const feed = merge([], [event({ id: "live", occurred_at: at(9) })], "live");
    expect(ids(merge(feed, [event({ id: "old", occurred_at: at(1) })], "recorded"))).toEqual(["live", "old"]);
  });

  const anEvent = fc.record({ id: fc.integer({ min: 0, max: 30 }), second: fc.integer({ min: 0, max: 20 }) });
  const batches = fc.array(
    fc.record({ events: fc.array(anEvent), source: fc.constantFrom("live" as const, "recorded" as const) }),
  );

  test("shows each id once, in order, no more than asked for, whatever comes twice or out of order", () => {
    fc.assert(
      fc.property(batches, (all) => {
        let feed: FeedItem[] = [];
        for (const { events, source } of all) {
          feed = merge(
            feed,
            events.map(({ id, second }) => event({ id: `e${id}`, occurred_at: at(second) })),
            source,
            10,
          );
          expect(feed.length).toBeLessThanOrEqual(10);
          expect(new Set(ids(feed)).size).toBe(feed.length);
          const times = feed.map((item) => item.event.occurred_at);
          expect(times).toEqual([...times].sort().reverse());
        }
      }),
    );
  });

  test("misses nothing: the ten newest of all are shown, however they arrived", () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 0, max: 1_000 }), { maxLength: 40 }),
        fc.array(fc.nat({ max: 4 }), { minLength: 40, maxLength: 40 }),
        (seconds, turns) => {
          const events = seconds.map((second) => event({ id: `e${second}`, occurred_at: at(second) }));
          const feed = [0, 1, 2, 3, 4].reduce<FeedItem[]>(
            (shown, turn) => merge(shown, events.filter((_, n) => turns[n] === turn), turn % 2 ? "live" : "recorded", 10),
            [],
          );
          const newest = [...seconds].sort((a, b) => b - a).slice(0, 10);
          expect(ids(feed)).toEqual(newest.map((second) => `e${second}`));
        },
      ),
    );
  });
});
