import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { addEvents, advanceTo, emptyNumbers, MINUTE, MINUTES, reconcile, total } from "../src/numbers/numbers";
import { event } from "./events";

const NOW = Date.UTC(2026, 0, 1, 12, 30, 20);
const raid = event({ event_type: "channel.raid" });
const start = (minutesAgo: number): string => new Date(emptyNumbers(NOW).minute - minutesAgo * MINUTE).toISOString();

describe("a channel's numbers", () => {
  test("move with what arrives", () => {
    const numbers = addEvents(addEvents(emptyNumbers(NOW), [raid], NOW), [raid, event()], NOW);
    expect(numbers.counts).toEqual({ "channel.raid": 2, "stream.online": 1 });
    expect(numbers.minutes.at(-1)).toBe(3);
    expect(total(numbers.counts)).toBe(3);
  });

  test("let minutes go by", () => {
    const numbers = addEvents(emptyNumbers(NOW), [raid], NOW);
    expect(advanceTo(numbers, NOW + 2 * MINUTE).minutes.slice(-3)).toEqual([1, 0, 0]);
    expect(advanceTo(numbers, NOW + 500 * MINUTE).minutes).toEqual(Array(MINUTES).fill(0));
    expect(advanceTo(numbers, NOW + 1_000)).toBe(numbers);
  });

  const days = [
    { date: "2025-12-31", counts: { "channel.raid": 4 } },
    { date: "2026-01-01", counts: { "channel.raid": 3 } },
  ];
  const recorded = { counts: { "channel.raid": 7 }, minutes: [{ start: start(1), counts: { "channel.raid": 2 } }], days };

  test("are the record's once nothing is on its way any more", () => {
    const numbers = reconcile(addEvents(emptyNumbers(NOW), [raid, event()], NOW), recorded, true, NOW);
    expect(numbers.counts).toEqual({ "channel.raid": 7 });
    expect(numbers.minutes.slice(-2)).toEqual([2, 0]);
  });

  test("never go down while something may be", () => {
    const numbers = reconcile(addEvents(emptyNumbers(NOW), [raid, event()], NOW), recorded, false, NOW);
    expect(numbers.counts).toEqual({ "channel.raid": 7, "stream.online": 1 });
    expect(numbers.minutes.slice(-2)).toEqual([2, 2]);
  });

  test("let days go by at midnight in UTC", () => {
    const numbers = reconcile(emptyNumbers(NOW), recorded, true, NOW);
    expect(advanceTo(numbers, NOW + MINUTE).days).toEqual(days);
    expect(advanceTo(numbers, Date.UTC(2026, 0, 2)).days).toEqual([days[1], { date: "2026-01-02", counts: {} }]);
    expect(advanceTo(numbers, Date.UTC(2026, 6, 2)).days?.map(({ counts }) => counts)).toEqual([{}, {}]);
  });

  test("keep their minutes and days when the clock is put back", () => {
    const numbers = addEvents(reconcile(emptyNumbers(NOW), recorded, true, NOW), [raid], NOW + 120 * MINUTE);
    const back = reconcile(numbers, recorded, false, NOW);
    expect(back.minute).toBe(emptyNumbers(NOW).minute);
    expect(back.minutes.slice(-2)).toEqual([2, 1]);
    expect(advanceTo(back, NOW + MINUTE).minutes.slice(-3)).toEqual([2, 1, 0]);
  });

  test("of the days and ever agree at all times, on a channel's first day and later, whatever is read when", () => {
    const types = ["channel.raid", "channel.follow"];
    const count = fc.record({ "channel.raid": fc.nat(9), "channel.follow": fc.nat(9) });
    const step = fc.oneof(
      fc.record({ arrives: fc.subarray(types, { minLength: 1 }) }),
      // A read knows what was recorded some events ago; the days and the counts are from different moments.
      fc.record({ countsBehind: fc.nat(3), daysBehind: fc.nat(3) }),
      fc.record({ hours: fc.integer({ min: 1, max: 30 }) }),
    );
    fc.assert(
      fc.property(count, fc.array(step, { maxLength: 20 }), (before, steps) => {
        let now = NOW;
        const happened: { type: string; at: number }[] = types.flatMap((type) =>
          Array.from({ length: before[type as keyof typeof before] }, () => ({ type, at: NOW })),
        );
        const tally = (events: typeof happened): Record<string, number> =>
          Object.fromEntries(types.map((type) => [type, events.filter((one) => one.type === type).length]));
        const dateOf = (at: number): string => new Date(at).toISOString().slice(0, 10);
        const read = (behind: number): typeof happened => happened.slice(0, happened.length - behind);
        const daily = (events: typeof happened) =>
          Array.from({ length: 30 }, (_, index) => {
            const date = dateOf(now - (29 - index) * 24 * 60 * MINUTE);
            return { date, counts: tally(events.filter(({ at }) => dateOf(at) === date)) };
          });
        let numbers = reconcile(
          emptyNumbers(now),
          { counts: tally(happened), minutes: [], days: daily(happened) },
          true,
          now,
        );
        for (const one of steps) {
          if ("arrives" in one) {
            happened.push(...one.arrives.map((type) => ({ type, at: now })));
            numbers = addEvents(numbers, one.arrives.map((event_type) => event({ event_type })), now);
          } else if ("hours" in one) {
            now += one.hours * 60 * MINUTE;
            numbers = advanceTo(numbers, now);
          } else {
            const [counts, days] = [tally(read(one.countsBehind)), daily(read(one.daysBehind))];
            numbers = reconcile(numbers, { counts, minutes: [], days }, false, now);
          }
          const inDays = (numbers.days ?? []).reduce((all, day) => all + total(day.counts), 0);
          expect(inDays).toBe(happened.filter(({ at }) => dateOf(at) >= dateOf(now - 29 * 24 * 60 * MINUTE)).length);
          expect(total(numbers.counts)).toBe(happened.length);
        }
      }),
    );
  });
});
