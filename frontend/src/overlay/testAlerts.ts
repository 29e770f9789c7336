import type { ChannelEvent } from "../api";
import type { Family } from "../events/eventTypes";
import { sampleEvent } from "../events/sampleEvent";

const USER = { user_id: "1", user_login: "ada_l", user_name: "Ada_L" };

/** The event of each family's test alert, as Twitch would send it. */
const SAMPLES: Partial<Record<Family, readonly [eventType: string, payload: Record<string, unknown>]>> = {
  raids: ["channel.raid", { from_broadcaster_user_name: "Grace_H", from_broadcaster_user_id: "2", viewers: 120 }],
  followers: ["channel.follow", USER],
  subs: [
    "channel.subscription.message",
    { ...USER, tier: "1000", cumulative_months: 14, message: { text: "Still my favourite place to be!" } },
  ],
  bits: ["channel.cheer", { ...USER, is_anonymous: false, bits: 500, message: "What a run!" }],
  hype: ["channel.hype_train.begin", { level: 2 }],
  charity: [
    "channel.charity_campaign.donate",
    { ...USER, charity_name: "Example Aid", amount: { value: 2_500, decimal_places: 2, currency: "USD" } },
  ],
  goals: ["channel.goal.begin", { type: "follow", target_amount: 400, description: "" }],
  stream: ["stream.online", { broadcaster_user_name: "Grace_H", type: "live" }],
  updates: ["channel.update", { broadcaster_user_name: "Grace_H", title: "One more level", category_name: "Art" }],
  polls: ["channel.poll.begin", { title: "Left or right?" }],
  rewards: [
    "channel.channel_points_custom_reward_redemption.add",
    { ...USER, reward: { title: "Hydrate" }, user_input: "" },
  ],
  shoutouts: ["channel.shoutout.receive", { from_broadcaster_user_name: "Grace_H" }],
  ads: ["channel.ad_break.begin", { duration_seconds: 60 }],
};

/** The families that a test alert can be shown of. */
export const SAMPLED = Object.keys(SAMPLES) as Family[];

/** A test event of the family. */
export function sampleOf(family: Family): ChannelEvent {
  const [eventType, payload] = SAMPLES[family] ?? ["channel.follow", USER];
  return sampleEvent(eventType, payload);
}
