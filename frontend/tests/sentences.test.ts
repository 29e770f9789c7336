import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { EVENT_TYPES } from "../src/events/eventTypes";
import { sentence } from "../src/events/sentences";
import { event, plainText } from "./events";

const broadcaster = { broadcaster_user_id: "1", broadcaster_user_login: "marlowe", broadcaster_user_name: "Marlowe" };
const user = { user_id: "2", user_login: "wren", user_name: "Wren" };

function said(event_type: string, payload: Record<string, unknown>): string {
  return plainText(sentence(event({ event_type, payload: { ...broadcaster, ...payload } })));
}

const incoming = { from_broadcaster_user_id: "9", from_broadcaster_user_name: "Ottoline", to_broadcaster_user_id: "1" };
const incoming_channel = { broadcaster_user_id: "9", broadcaster_user_name: "Ottoline" };
const outgoing = {
  from_broadcaster_user_id: "1",
  from_broadcaster_user_name: "Marlowe",
  to_broadcaster_user_id: "9",
  to_broadcaster_user_name: "Ottoline",
};
const choices = (...votes: number[]) => votes.map((n, index) => ({ id: `c${index}`, title: `Choice ${index}`, votes: n }));

const EXAMPLES: [string, Record<string, unknown>, string][] = [
  ["stream.online", { type: "live" }, "Marlowe went live"],
  ["stream.online", { type: "rerun" }, "Marlowe started a rerun"],
  ["stream.offline", {}, "Marlowe ended the stream"],
  ["channel.update", { title: "Hi", category_name: "Chess" }, "Marlowe updated the channel: “Hi”, playing Chess"],
  ["channel.update", { title: "Hi", category_name: "" }, "Marlowe updated the channel: “Hi”"],
  ["channel.update", { title: "", category_name: "Chess" }, "Marlowe updated the channel, playing Chess"],
  ["channel.raid", { ...incoming, viewers: 120 }, "Ottoline raided with 120 viewers"],
  ["channel.raid", { ...incoming, viewers: 1 }, "Ottoline raided with 1 viewer"],
  ["channel.raid", { ...outgoing, viewers: 12345 }, "Marlowe raided Ottoline with 12,345 viewers"],
  ["user.update", { ...user, description: "" }, "Wren updated their profile"],
  ["user.update", { ...user, description: "Quiet games." }, "Wren updated their profile: “Quiet games.”"],
  ["channel.follow", user, "Wren followed"],
  ["channel.follow", { user_login: "wren", user_name: "" }, "wren followed"],
  ["channel.subscribe", { ...user, tier: "2000", is_gift: false }, "Wren subscribed at Tier 2"],
  ["channel.subscribe", { ...user, tier: "1000", is_gift: true }, "Wren got a Tier 1 subscription as a gift"],
  [
    "channel.subscription.gift",
    { ...user, total: 5, tier: "1000", cumulative_total: 52, is_anonymous: false },
    "Wren gifted 5 Tier 1 subscriptions, 52 so far",
  ],
  [
    "channel.subscription.gift",
    { user_name: null, total: 1, tier: "3000", cumulative_total: null, is_anonymous: true },
    "Somebody gifted 1 Tier 3 subscription",
  ],
  [
    "channel.subscription.message",
    { ...user, tier: "1000", cumulative_months: 12, streak_months: 3, message: { text: "One year!", emotes: [] } },
    "Wren subscribed for 12 months at Tier 1, 3 months in a row: “One year!”",
  ],
  [
    "channel.subscription.message",
    { ...user, tier: "1000", cumulative_months: 1, streak_months: null, message: { text: "", emotes: null } },
    "Wren subscribed for 1 month at Tier 1",
  ],
  ["channel.cheer", { ...user, bits: 1000, message: "Cheer1000 wow" }, "Wren cheered 1,000 bits: “Cheer1000 wow”"],
  ["channel.cheer", { user_name: null, is_anonymous: true, bits: 1, message: "" }, "Somebody cheered 1 bit"],
  [
    "channel.bits.use",
    { ...user, bits: 20, type: "power_up", power_up: { type: "message_effect" }, message: { text: "wow" } },
    "Wren sent a message with an effect for 20 bits: “wow”",
  ],
  ["channel.bits.use", { ...user, bits: 50, type: "power_up", power_up: { type: "gigantify_an_emote" } }, "Wren sent a gigantic emote for 50 bits"],
  ["channel.bits.use", { ...user, bits: 1, type: "power_up", power_up: { type: "of_tomorrow" } }, "Wren used a Power-up for 1 bit"],
  [
    "channel.bits.use",
    { ...user, bits: 300, type: "custom_power_up", power_up: null, custom_power_up: { title: "Do a dance" } },
    "Wren used a Power-up, “Do a dance”, for 300 bits",
  ],
  ["channel.bits.use", { ...user, bits: 5, type: "combo", message: null }, "Wren sent a combo of 5 bits"],
  ["channel.bits.use", { ...user, bits: 5, type: "cheer" }, "Wren cheered 5 bits"],
  ["channel.bits.use", { ...user, bits: 5, type: "of_tomorrow" }, "Wren used 5 bits"],
  [
    "channel.charity_campaign.start",
    { charity_name: "Example Aid", target_amount: { value: 1_500_000, decimal_places: 2, currency: "USD" } },
    "A charity campaign for Example Aid began, to raise $15,000.00",
  ],
  [
    "channel.charity_campaign.donate",
    { ...user, charity_name: "Example Aid", amount: { value: 500, decimal_places: 0, currency: "JPY" } },
    "Wren donated ¥500 to Example Aid",
  ],
  ["channel.charity_campaign.donate", { ...user, amount: { value: 5, decimal_places: 200, currency: "moon" } }, "Wren donated"],
  [
    "channel.charity_campaign.stop",
    { current_amount: { value: 999, decimal_places: 2, currency: "EUR" }, target_amount: null },
    "The charity campaign ended with €9.99",
  ],
  ["channel.goal.begin", { type: "follow", target_amount: 400, description: "" }, "A goal of 400 followers was set"],
  [
    "channel.goal.end",
    { type: "new_cheerer", target_amount: 10, is_achieved: true, description: "Ten!" },
    "The goal of 10 cheerers was reached: “Ten!”",
  ],
  ["channel.goal.end", { type: "of_tomorrow", target_amount: 10 }, "The goal of 10 points ended before it was reached"],
  ["channel.hype_train.begin", { level: 1 }, "A hype train set off at level 1"],
  ["channel.hype_train.begin", { level: 1, type: "golden_kappa" }, "A Golden Kappa hype train set off at level 1"],
  [
    "channel.hype_train.begin",
    { level: 1, type: "regular", is_shared_train: true, shared_train_participants: [broadcaster, incoming_channel, { broadcaster_user_login: "otto" }, {}] },
    "A shared hype train set off at level 1, with Ottoline, otto",
  ],
  ["channel.hype_train.progress", { level: 2 }, "The hype train goes on at level 2"],
  ["channel.hype_train.progress", { level: 2, type: "treasure" }, "The Treasure hype train goes on at level 2"],
  [
    "channel.hype_train.end",
    { level: 4, type: "golden_kappa", is_shared_train: true },
    "The shared Golden Kappa hype train ended at level 4",
  ],
  ["channel.hype_train.end", { level: 4 }, "The hype train ended at level 4"],
  ["channel.poll.begin", { title: "Tea?" }, "A poll began: “Tea?”"],
  [
    "channel.poll.end",
    { title: "Tea?", status: "completed", choices: choices(3, 8) },
    "The poll “Tea?” ended: “Choice 1” won with 8 votes",
  ],
  [
    "channel.poll.end",
    { title: "Tea?", status: "completed", choices: choices(2, 2, 1) },
    "The poll “Tea?” ended in a tie at 2 votes",
  ],
  ["channel.poll.end", { title: "Tea?", status: "completed", choices: choices(0, 0) }, "The poll “Tea?” ended without votes"],
  ["channel.poll.end", { title: "Tea?", status: "terminated", choices: [] }, "The poll “Tea?” was ended early, without a winner"],
  [
    "channel.poll.end",
    { title: "Tea?", status: "archived", choices: choices(3, 8) },
    "The poll “Tea?” was archived; “Choice 1” had most votes, 8",
  ],
  ["channel.poll.end", { title: "Tea?", status: "archived", choices: choices(3, 3) }, "The poll “Tea?” was archived"],
  ["channel.poll.end", { title: "Tea?", status: "moderated", choices: choices(8) }, "The poll “Tea?” was removed, without a winner"],
  ["channel.poll.end", { title: "Tea?", status: "invalid", choices: choices(8) }, "The poll “Tea?” ended without a valid result"],
  ["channel.poll.end", { title: "Tea?", status: "of tomorrow", choices: choices(8) }, "The poll “Tea?” ended"],
  ["channel.poll.end", { title: "Tea?", choices: choices(8) }, "The poll “Tea?” ended"],
  ["channel.prediction.begin", { title: "Win?" }, "A prediction began: “Win?”"],
  ["channel.prediction.lock", { title: "Win?" }, "The prediction “Win?” takes no more points"],
  [
    "channel.prediction.end",
    { title: "Win?", status: "resolved", winning_outcome_id: "b", outcomes: [{ id: "a", title: "No" }, { id: "b", title: "Yes" }] },
    "The prediction “Win?” ended: it was “Yes”",
  ],
  ["channel.prediction.end", { title: "Win?", status: "canceled", outcomes: [] }, "The prediction “Win?” was cancelled"],
  ["channel.prediction.end", { title: "Win?", status: "of tomorrow", outcomes: [] }, "The prediction “Win?” ended without a winner"],
  [
    "channel.channel_points_custom_reward_redemption.add",
    { ...user, user_input: "now please", reward: { title: "Hydrate" } },
    "Wren redeemed Hydrate: “now please”",
  ],
  [
    "channel.channel_points_automatic_reward_redemption.add",
    { ...user, reward: { type: "send_highlighted_message", emote: null }, message: { text: "hello" } },
    "Wren sent a highlighted message: “hello”",
  ],
  [
    "channel.channel_points_automatic_reward_redemption.add",
    { ...user, reward: { type: "random_sub_emote_unlock", emote: { id: "1", name: "adaLove" } }, message: null },
    "Wren unlocked a random emote, adaLove",
  ],
  ["channel.channel_points_automatic_reward_redemption.add", { ...user, reward: {} }, "Wren redeemed a reward"],
  ["channel.shoutout.create", { to_broadcaster_user_name: "Ottoline" }, "Marlowe gave a shoutout to Ottoline"],
  ["channel.shoutout.receive", { from_broadcaster_user_name: "Ottoline" }, "Ottoline gave this channel a shoutout"],
  ["channel.ad_break.begin", { duration_seconds: 90 }, "An ad break of 90 seconds began"],
  ["channel.ad_break.begin", {}, "An ad break began"],
  ["channel.raid", { ...outgoing, to_broadcaster_user_name: null, viewers: 0 }, "Marlowe raided somebody"],
  ["channel.poll.end", { status: "completed", choices: choices(1) }, "The poll ended: “Choice 0” won with 1 vote"],
];

describe("a sentence", () => {
  test.each(EXAMPLES)("about %s", (type, payload, expected) => {
    expect(said(type, payload)).toBe(expected);
  });

  test("has an example here for every event type", () => {
    expect(new Set(EXAMPLES.map(([type]) => type))).toEqual(new Set(EVENT_TYPES));
  });

  test.each([
    ["channel.guest_star_session.begin", "Guest star session begin"],
    ["drop.entitlement_grant", "Drop entitlement grant"],
    ["constructor", "Constructor"],
    ["", "Something happened"],
  ])("reads sensibly for the unknown type %j", (type, expected) => {
    expect(said(type, {})).toBe(expected);
  });

  test("keeps what people wrote apart from our words", () => {
    const name = "<b>\u202Egnirts</b>";
    expect(sentence(event({ event_type: "channel.follow", payload: { user_name: name } }))).toEqual([
      { written: name, as: "name" },
      " followed",
    ]);
  });

  test("can be made of any payload, whatever Twitch leaves out or changes", () => {
    fc.assert(
      fc.property(fc.constantFrom(...EVENT_TYPES), fc.dictionary(fc.string(), fc.jsonValue()), (event_type, payload) => {
        expect(plainText(sentence(event({ event_type, payload })))).not.toMatch(/undefined|null|NaN|\[object/);
      }),
    );
    for (const event_type of EVENT_TYPES) {
      const fields = ["title", "choices", "outcomes", "reward", "message", "viewers", "tier", "user_name", "bits"];
      fc.assert(
        fc.property(fc.record(Object.fromEntries(fields.map((field) => [field, fc.jsonValue()]))), (payload) => {
          plainText(sentence(event({ event_type, payload })));
        }),
        { numRuns: 20 },
      );
    }
  });
});
