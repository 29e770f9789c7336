import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { ChannelEvent } from "../src/api";
import { rowsOf, sortIntoBursts, summarise, type Burst } from "../src/feed/bursts";
import { burstNames, burstTitle } from "../src/feed/burstText";
import { event, plainText } from "./events";

const at = (second: number): string => new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString();

/** An event named after its type's first letter and its second: `f3`. */
function happened(eventType: string, second: number, payload = {}): ChannelEvent {
  return event({ id: `${eventType.slice(8, 9)}${second}`, event_type: eventType, occurred_at: at(second), payload });
}

const follows = (...seconds: number[]) => seconds.map((second) => happened("channel.follow", second));
const newestFirst = (events: ChannelEvent[]) => [...events].sort((a, b) => b.occurred_at.localeCompare(a.occurred_at) || b.id.localeCompare(a.id));
const bursts = (events: ChannelEvent[], before?: Burst[]) => sortIntoBursts(newestFirst(events), before);
const told = (of: Burst[]) => rowsOf(of).map((row) => `${row.key}×${row.count}`);

describe("bursts", () => {
  test("three of a kind within a minute are one row, where the first of them began", () => {
    const raid = happened("channel.raid", 5);
    expect(told(bursts([...follows(1, 2, 9), raid]))).toEqual(["r5×1", "f1×3"]);
  });

  test("two are two rows", () => {
    expect(told(bursts(follows(1, 2)))).toEqual(["f2×1", "f1×1"]);
  });

  test("what comes more than a minute after the first begins anew", () => {
    expect(told(bursts(follows(1, 2, 3, 61, 62, 63)))).toEqual(["f61×3", "f1×3"]);
  });

  test("types of which each matters stay apart", () => {
    expect(told(bursts([1, 2, 3].map((second) => happened("channel.raid", second))))).toEqual(["r3×1", "r2×1", "r1×1"]);
  });

  test("keep their name and their number when the oldest are no longer held", () => {
    const before = bursts(follows(1, 2, 3, 4));
    expect(told(bursts(follows(3, 4, 5, 6), before))).toEqual(["f1×6"]);
  });

  test("are the same in whatever order the events come", () => {
    const gifts = [1, 2, 3, 4, 5].map((second) => happened("channel.subscription.gift", second));
    for (const last of [4, 0, 2]) {
      const early = gifts.filter((_, index) => index === last);
      expect(told(bursts(gifts, bursts(early)))).toEqual(["s1×5"]);
    }
  });

  test("lose nothing and count nothing twice, however events arrive", () => {
    const types = fc.constantFrom("channel.follow", "channel.cheer", "channel.raid");
    const some = fc.uniqueArray(fc.record({ type: types, second: fc.nat(200) }), {
      selector: ({ type, second }) => `${type}${second}`,
    });
    fc.assert(
      fc.property(some, fc.array(fc.nat(4)), (all, turns) => {
        const events = all.map(({ type, second }) => happened(type, second));
        let known: ChannelEvent[] = [];
        let so_far: Burst[] = [];
        for (const turn of [0, 1, 2, 3, 4]) {
          known = [...known, ...events.filter((_, index) => (turns[index] ?? 4) === turn)];
          so_far = bursts(known, so_far);
        }
        const rows = rowsOf(so_far);
        expect(so_far).toEqual(bursts(events));
        expect(rows.flatMap((row) => row.events.map(({ id }) => id)).sort()).toEqual(events.map(({ id }) => id).sort());
        expect(rows.every((row) => row.count === row.events.length)).toBe(true);
        expect(new Set(rows.map(({ key }) => key)).size).toBe(rows.length);
      }),
    );
  });
});

describe("a burst in words", () => {
  const row = (events: ChannelEvent[]) => {
    const [first] = rowsOf(bursts(events));
    if (!first) throw new Error("no row");
    return first;
  };
  const cheer = (second: number, bits: number, user_name: string, is_anonymous = false) =>
    happened("channel.cheer", second, { bits, user_name, is_anonymous });

  test("tells how many, what they came to, and who", () => {
    const cheers = row([cheer(1, 100, "Ada"), cheer(2, 1_000, "Ben"), cheer(3, 50, "Ada")]);
    expect(burstTitle(cheers)).toBe("3 cheers, 1,150 bits");
    expect(plainText(burstNames(cheers))).toBe("Ada and Ben");
  });

  test("names nobody who wants to be anonymous", () => {
    expect(burstNames(row([1, 2, 3].map((second) => cheer(second, 1, "Ada", true))))).toEqual([]);
  });

  test.each([
    [["Wren", "Ben", ""], "Wren, Ben and somebody"],
    [["", "Wren", null], "Wren and somebody"],
    [["Ada", "", "Ben", "Cleo"], "Ada, Ben, Cleo and 1 more"],
    [["", undefined, {}], ""],
  ])("calls those without a name somebody: %j", (names, expected) => {
    const follows = names.map((user_name, index) => happened("channel.follow", 9 - index, { user_name }));
    expect(plainText(burstNames(row(follows)))).toBe(expected);
  });

  test("takes the login in place of an empty name", () => {
    const follow = (second: number, user_name: string) => happened("channel.follow", second, { user_name, user_login: `login${second}` });
    expect(plainText(burstNames(row([follow(3, "Wren"), follow(2, ""), follow(1, " ")])))).toBe("Wren, login2 and login1");
  });

  test("is summarised for those who listen", () => {
    expect(summarise(new Map([["channel.follow", 2], ["channel.raid", 1]]))).toBe("2 new followers, 1 raid");
  });
});
