import fc from "fast-check";
import { describe, expect, test } from "vitest";

import type { ChannelEvent } from "../src/api";
import { sentence } from "../src/events/sentences";
import { worthTelling } from "../src/events/told";
import { event, plainText } from "./events";

/** An event of that second; its id is the second and its type's last word. */
function happened(second: number, event_type: string, payload: Record<string, unknown> = {}): ChannelEvent {
  const occurred_at = new Date(Date.UTC(2026, 0, 1) + second * 1_000).toISOString();
  return event({ id: `${second}-${event_type.split(".").at(-1) ?? ""}`, event_type, occurred_at, payload });
}

/** What is told of events, the oldest first, with their ids. */
function told(...events: ChannelEvent[]): [string, string][] {
  const newestFirst = [...events].sort((a, b) => Date.parse(b.occurred_at) - Date.parse(a.occurred_at));
  return worthTelling(newestFirst).map((one): [string, string] => [one.id, plainText(sentence(one))]).reverse();
}

describe("one thing is told once", () => {
  test.each([
    ["channel.poll.end", "terminated", "archived"],
    ["channel.poll.end", "completed", "moderated"],
    ["channel.prediction.end", "resolved", "canceled"],
    ["channel.hype_train.end", undefined, undefined],
    ["stream.online", undefined, undefined],
    ["channel.of_tomorrow.end", "a", "b"],
  ])("%s: where it was first, as it was last", (type, first, last) => {
    const one = happened(1, type, { id: "p", title: "Tea?", status: first });
    const two = happened(90, type, { id: "p", title: "Tea?", status: last });
    const expected = plainText(sentence(two));
    expect(told(one, two)).toEqual([[one.id, expected]]);
    expect(told(two, one, happened(95, type, { id: "q" }))).toHaveLength(2);
  });

  test("the beginning and the end of a poll are two", () => {
    expect(told(happened(1, "channel.poll.begin", { id: "p" }), happened(2, "channel.poll.end", { id: "p" }))).toHaveLength(2);
  });

  test("steps of progress have the same id and are told each", () => {
    expect(told(...[1, 2, 3].map((second) => happened(second, "channel.hype_train.progress", { id: "t" })))).toHaveLength(3);
  });

  test.each([undefined, null, "", 7, {}])("events without an id (%j) are told each", (id) => {
    expect(told(happened(1, "channel.poll.end", { id }), happened(2, "channel.poll.end", { id }))).toHaveLength(2);
  });
});

describe("an update of the channel", () => {
  const name = { broadcaster_user_name: "Marlowe", broadcaster_user_id: "1" };
  const before = { ...name, title: "Hi", category_id: "1", category_name: "Chess", language: "en", content_classification_labels: ["A", "B"] };
  const after = (change: Record<string, unknown>): string[] =>
    told(happened(1, "channel.update", before), happened(2, "channel.update", { ...before, ...change }))
      .slice(1)
      .map(([, words]) => words);

  test.each([
    [{ title: "Bye" }, "Marlowe changed the title to “Bye”"],
    [{ title: " " }, "Marlowe removed the title"],
    [{ category_name: "Go", category_id: "2" }, "Marlowe is now playing Go"],
    [{ category_name: "", category_id: "" }, "Marlowe removed the category"],
    [{ title: "Bye", category_name: "Go" }, "Marlowe set the title to “Bye”, playing Go"],
    [{ title: "Bye", category_name: "" }, "Marlowe set the title to “Bye”"],
    [{ title: "", category_name: "Go" }, "Marlowe removed the title, playing Go"],
    [{ language: "de" }, "Marlowe changed the language of the stream"],
    [{ content_classification_labels: [] }, "Marlowe changed the content labels"],
    [{ language: "de", content_classification_labels: ["A"] }, "Marlowe changed the language and the content labels"],
    [{ title: "Bye", language: "de" }, "Marlowe changed the title to “Bye”"],
  ])("tells what it changed: %j", (change, expected) => {
    expect(after(change)).toEqual([expected]);
  });

  test.each([
    {},
    { category_id: "2" },
    { broadcaster_user_name: "MARLOWE" },
    { content_classification_labels: ["B", "A"] },
    { title: null, category_name: undefined, language: 7, content_classification_labels: null },
  ])("without a change is not told: %j", (change) => {
    expect(after(change)).toEqual([]);
  });

  test("tells what is there if the one before is not known", () => {
    expect(told(happened(1, "channel.update", before))).toEqual([["1-update", "Marlowe updated the channel: “Hi”, playing Chess"]]);
  });
});

describe("a gift", () => {
  const gift = (second: number) => happened(second, "channel.subscription.gift", { user_name: "Ada", total: 1, tier: "1000" });
  const recipient = (second: number) => happened(second, "channel.subscribe", { user_name: "Wren", tier: "1000", is_gift: true });

  test("tells of its recipients, whichever comes first", () => {
    expect(told(gift(10), recipient(12)).map(([id]) => id)).toEqual(["10-gift"]);
    expect(told(recipient(8), gift(10), recipient(12)).map(([id]) => id)).toEqual(["10-gift"]);
  });

  test("leaves alone who subscribes otherwise", () => {
    expect(told(gift(10), happened(11, "channel.subscribe", { user_name: "Wren", is_gift: false }))).toHaveLength(2);
    expect(told(gift(10), recipient(100))).toHaveLength(2);
    expect(told(recipient(1))).toHaveLength(1);
  });
});

test("a cheer is told once, other uses of bits, too", () => {
  const bits = (second: number, type: string) => happened(second, "channel.bits.use", { user_name: "Ada", bits: 5, type });
  const events = [happened(1, "channel.cheer", { user_name: "Ada", bits: 5 }), bits(2, "cheer"), bits(3, "power_up"), bits(4, "combo")];
  expect(told(...events).map(([id]) => id)).toEqual(["1-cheer", "3-use", "4-use"]);
});

test("nothing but that is left out, in any order, and the rest stays in order", () => {
  const types = ["channel.follow", "channel.raid", "channel.cheer", "channel.poll.end"];
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom(...types), fc.nat(100))), (some) => {
      const events = some
        .map(([type, second], n) => ({ ...happened(second, type), id: `e${n}` }))
        .sort((a, b) => Date.parse(b.occurred_at) - Date.parse(a.occurred_at));
      expect(worthTelling(events)).toEqual(events);
    }),
  );
});
