import { describe, expect, test } from "vitest";

import type { ChannelEvent } from "../src/api";
import { sentence } from "../src/events/sentences";
import { SUBSCRIPTION_TYPES } from "../src/events/subscriptionTypes";
import { worthTelling, type ToldEvent } from "../src/events/told";
import { rowsOf, sortIntoBursts } from "../src/feed/bursts";
import { burstNames, burstTitle } from "../src/feed/burstText";
import { event, plainText } from "./events";

type Fields = Record<string, unknown>;

/** What Twitch could send in place of any field. */
const ODD: readonly unknown[] = [
  undefined, null, "", " ", "\n\t", "\u200B", 0, -1, 7, 1e300, Number.NaN, true, false, [], [null], ["x"], {}, { a: 1 },
  { value: -1, currency: "moon", decimal_places: 300 }, { text: null }, "x".repeat(10_000), "é 🎉".repeat(2_500), "\u202E<b>\u0000",
];

const money = { value: 12_300, currency: "USD", decimal_places: 2 };
const person = (prefix: string, name: string): Fields => ({
  [`${prefix}user_id`]: name, [`${prefix}user_login`]: name.toLowerCase(), [`${prefix}user_name`]: name,
});

/** An event with every field that a sentence reads. */
const WHOLE: Fields = {
  ...person("", "Wren"), ...person("broadcaster_", "Marlowe"), ...person("from_broadcaster_", "Ottoline"),
  ...person("to_broadcaster_", "Kay"), is_anonymous: false, is_gift: false, title: "Hi", category_name: "Chess", type: "regular",
  viewers: 3, description: "Games", tier: "2000", total: 5, cumulative_total: 9, cumulative_months: 4, streak_months: 2,
  message: { text: "Hello" }, bits: 10, level: 2, is_shared_train: true, shared_train_participants: [person("broadcaster_", "Otto")],
  choices: [{ id: "a", title: "Tea", votes: 3 }, { id: "b", title: "Milk", votes: 1 }], winning_outcome_id: "a",
  outcomes: [{ id: "a", title: "Yes" }, { id: "b", title: "No" }], status: "completed", reward: { type: "x", title: "Hydrate", emote: { name: "E" } },
  user_input: "now", duration_seconds: 30, power_up: { type: "celebration" }, custom_power_up: { title: "Dance" },
  charity_name: "Aid", amount: money, current_amount: money, target_amount: 400, is_achieved: true, language: "en",
  content_classification_labels: ["A"],
};

/** The values that a `when` of the type asks for, so that each of its texts is used. */
const whens = (type: (typeof SUBSCRIPTION_TYPES)[number]): Fields[] => type.sentence.map(({ when }) => when ?? {});

/** What is read to say what is in no field of its own. */
const READ = ["is_anonymous", "choices", "outcomes", "winning_outcome_id", "shared_train_participants", "amount", "current_amount"];

/** The fields that the sentence of the type reads. */
function fieldsOf(type: (typeof SUBSCRIPTION_TYPES)[number]): string[] {
  const words = new Set(JSON.stringify(type.sentence).match(/\w+/g));
  return [...Object.keys(WHOLE).filter((field) => words.has(field)), ...READ];
}

/** One line that reads like a sentence: it starts and ends with a word or a mark, and has no gap. */
function expectReadable(text: string): void {
  expect(text).not.toMatch(/undefined|\bnull\b|\bNaN\b|\[object/);
  expect(text).not.toMatch(/“\s*”|\s{2}|^\s|\s$|\s[,:;]|[,:;]$|[,:;] *[,:;]/);
  expect(text).not.toMatch(/ (?:to|with|for|of|at|a|the|playing|gifted)$/);
  expect(text).toMatch(/\S+ \S+/);
}

test("what is too long is cut, so that the rest can be read", () => {
  const payload = { user_name: "🎉".repeat(10_000), bits: 5, message: "x".repeat(10_000) };
  const words = plainText(sentence(event({ event_type: "channel.cheer", payload })));
  expect(words).toBe(`${"🎉".repeat(36)}… cheered 5 bits: “${"x".repeat(500)}…”`);
});

/** A sentence in which everything that people wrote is one letter: that may be anything, and is isolated. */
function ours(one: ToldEvent): string {
  return plainText(sentence(one).map((part) => (typeof part === "string" ? part : { ...part, written: "X" })));
}

describe.each(SUBSCRIPTION_TYPES.map((type) => [type.event_type, type] as const))("%s", (event_type, type) => {
  test("is one readable sentence, whatever one of its fields is", () => {
    for (const when of whens(type)) {
      const { changed, ...chosen } = when as { changed?: string };
      for (const field of fieldsOf(type)) {
        for (const odd of ODD) {
          const one = event({ event_type, payload: { ...WHOLE, ...chosen, [field]: odd } });
          expectReadable(ours(changed === undefined ? one : { ...one, changed }));
        }
      }
    }
  });

  test.each(ODD.map((odd, n) => [n, odd] as const))("is one readable sentence if all its fields are odd: %i", (_, odd) => {
    const payload = Object.fromEntries(Object.keys(WHOLE).map((field) => [field, odd]));
    expectReadable(ours(event({ event_type, payload })));
    expectReadable(ours(event({ event_type, payload: {} })));
  });

  test("can be told in a burst, whatever the fields are", () => {
    const events = ODD.map((odd, n) =>
      event({ id: `e${n}`, event_type, payload: Object.fromEntries(Object.keys(WHOLE).map((field) => [field, odd])) }),
    );
    for (const row of rowsOf(sortIntoBursts(worthTelling(events)))) {
      expect(burstTitle(row)).not.toMatch(/undefined|null|NaN|\[object/);
      expect(plainText(burstNames(row))).not.toMatch(/undefined|null|NaN|\[object|, ,|and $/);
    }
  });
});

/** A JSON file with events of the record: `tests/integration/history/test_odd_fields.py` runs this test with one. */
const STORED = import.meta.env.VITE_STORED_EVENTS as string | undefined;

test.runIf(STORED)("stored events are one readable sentence each", async () => {
  const { default: stored } = (await import(/* @vite-ignore */ STORED ?? "")) as { default: ChannelEvent[] };
  for (const one of stored) {
    expectReadable(ours(one));
    for (const part of sentence(one)) {
      if (typeof part !== "string") expect(part.written).toMatch(/^\S.{0,500}$/su);
    }
  }
  expect(stored.length).toBeGreaterThan(0);
});
