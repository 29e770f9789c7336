import type { ChannelEvent } from "../api";
import type { Family } from "../events/eventTypes";

const USER = { user_id: "1", user_login: "ada_l", user_name: "Ada_L" };

/** What a test alert of a family says, as Twitch would send it. */
const SAMPLES: Partial<Record<Family, readonly [eventType: string, payload: Record<string, unknown>]>> = {
  raids: ["channel.raid", { from_broadcaster_user_name: "Grace_H", from_broadcaster_user_id: "2", viewers: 120 }],
  followers: ["channel.follow", USER],
  subs: [
    "channel.subscription.message",
    { ...USER, tier: "1000", cumulative_months: 14, message: { text: "Still my favourite place to be!" } },
  ],
  bits: ["channel.cheer", { ...USER, is_anonymous: false, bits: 500, message: "What a run!" }],
  hype: ["channel.hype_train.begin", { level: 2 }],
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

/** An event of the family that never happened, now. */
export function sample(family: Family): ChannelEvent {
  const [event_type, payload] = SAMPLES[family] ?? ["channel.follow", USER];
  const now = new Date().toISOString();
  return {
    id: crypto.randomUUID(),
    streamer_id: "0",
    streamer_name: "test",
    event_type,
    occurred_at: now,
    created_at: now,
    payload,
  };
}
