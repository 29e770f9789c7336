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

  const recorded = { counts: { "channel.raid": 7 }, minutes: [{ start: start(1), counts: { "channel.raid": 2 } }] };

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
});
