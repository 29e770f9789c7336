import { expect, test } from "vitest";

import { displayOf, EVENT_TYPES, FAMILIES } from "../src/events/eventTypes";
import { ICONS } from "../src/events/icons";
import { SUBSCRIPTION_TYPES } from "../src/events/subscriptionTypes";
import tokens from "../src/styles/tokens.css?raw";

test("every event type in the table says once how it looks", () => {
  const types = SUBSCRIPTION_TYPES.filter(({ display }) => display).map(({ event_type }) => event_type);
  expect(types).toEqual([...new Set(SUBSCRIPTION_TYPES.map(({ event_type }) => event_type))]);
});

test.each(EVENT_TYPES)("%s has a family, an icon and a tone that exist", (eventType) => {
  const { family, icon, tone, label, noun } = displayOf(eventType);
  expect(Object.keys(FAMILIES)).toContain(family);
  expect(Object.keys(ICONS)).toContain(icon);
  expect(tokens).toContain(`.tone-${tone} {`);
  expect([label, ...noun].every((text) => text !== "")).toBe(true);
  expect(noun).toHaveLength(2);
});

test("an event type that is not in the table is called by its own name", () => {
  expect(displayOf("channel.new")).toMatchObject({ family: "other", label: "channel.new" });
  expect(displayOf("constructor").label).toBe("constructor");
});
