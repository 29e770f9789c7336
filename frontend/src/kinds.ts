/** How a type of event looks, and what people call it. */
export interface Kind {
  /** Path data of a 24 × 24 line icon. */
  icon: string;
  /** A colour of the palette: `--tone-<tone>` in styles/base.css. */
  tone: "green" | "slate" | "blue" | "red" | "pink" | "violet" | "teal" | "orange" | "brass";
  label: string;
}

const ICONS = {
  broadcast:
    "M12 12h.01M8.5 8.5a5 5 0 0 0 0 7M15.5 8.5a5 5 0 0 1 0 7M5.6 5.6a9 9 0 0 0 0 12.8M18.4 5.6a9 9 0 0 1 0 12.8",
  moon: "M20 14.5A8.5 8.5 0 1 1 9.5 4 7 7 0 0 0 20 14.5z",
  pencil: "M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8.5 19zM14.5 6l3.5 3.5",
  banner: "M6 21V4M6 5c4.5-2.5 8.5 2.5 13 0v9c-4.5 2.5-8.5-2.5-13 0",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5",
  heart:
    "M12 20s-7.5-4.6-8.8-9.3C2.3 7.3 4.5 5 7 5c2.2 0 3.9 1.2 5 3 1.1-1.8 2.8-3 5-3 2.5 0 4.7 2.3 3.8 5.7C19.5 15.4 12 20 12 20z",
  star: "M12 3.5l2.6 5.5 6 .8-4.4 4.2 1.1 6L12 17.1 6.7 20l1.1-6-4.4-4.2 6-.8z",
  gift: "M4.5 11v9h15v-9M3 7.5h18V11H3zM12 7.5V20M12 7.5C9 7.5 7 6.5 7 5s1.5-2 2.5-1.5S12 5.5 12 7.5zm0 0c3 0 5-1 5-2.5s-1.5-2-2.5-1.5S12 5.5 12 7.5z",
  gem: "M12 3l6.5 9.5L12 21l-6.5-8.5zM5.5 12.5L12 15l6.5-2.5",
  flame:
    "M12 3c1 4 5.5 5.5 5.5 10.5a5.5 5.5 0 0 1-11 0C6.5 11 8 9.5 8.5 8c1 .8 1.5 2 1.5 3 1.5-1.5 2.5-4.5 2-8z",
  bars: "M5 20v-6M12 20V5M19 20v-9",
  trend: "M3.5 17l6-6 4 4 7-8M15.5 7h5v5",
  sparkle:
    "M12 3.5c.8 5 3 7.2 8 8.5-5 1.3-7.2 3.5-8 8.5-.8-5-3-7.2-8-8.5 5-1.3 7.2-3.5 8-8.5z",
  megaphone: "M4 10v4h3l8 4.5v-13L7 10zM18.5 9.5a4 4 0 0 1 0 5",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7.5V12l3 2",
  bell: "M12 4a5.5 5.5 0 0 0-5.5 5.5c0 5-2 6-2 7h15c0-1-2-2-2-7A5.5 5.5 0 0 0 12 4zM10 20h4",
};

const KINDS: Record<string, Kind> = {
  "stream.online": { icon: ICONS.broadcast, tone: "green", label: "Going live" },
  "stream.offline": { icon: ICONS.moon, tone: "slate", label: "Going offline" },
  "channel.update": { icon: ICONS.pencil, tone: "blue", label: "Title and category" },
  "channel.raid": { icon: ICONS.banner, tone: "red", label: "Raids" },
  "user.update": { icon: ICONS.person, tone: "slate", label: "Profile" },
  "channel.follow": { icon: ICONS.heart, tone: "pink", label: "Follows" },
  "channel.subscribe": { icon: ICONS.star, tone: "violet", label: "Subscriptions" },
  "channel.subscription.gift": { icon: ICONS.gift, tone: "violet", label: "Gifts" },
  "channel.subscription.message": { icon: ICONS.star, tone: "violet", label: "Resubscriptions" },
  "channel.cheer": { icon: ICONS.gem, tone: "teal", label: "Cheers" },
  "channel.hype_train.begin": { icon: ICONS.flame, tone: "orange", label: "Hype train begins" },
  "channel.hype_train.progress": { icon: ICONS.flame, tone: "orange", label: "Hype train progress" },
  "channel.hype_train.end": { icon: ICONS.flame, tone: "orange", label: "Hype train ends" },
  "channel.poll.begin": { icon: ICONS.bars, tone: "blue", label: "Poll begins" },
  "channel.poll.end": { icon: ICONS.bars, tone: "blue", label: "Poll ends" },
  "channel.prediction.begin": { icon: ICONS.trend, tone: "pink", label: "Prediction begins" },
  "channel.prediction.lock": { icon: ICONS.trend, tone: "pink", label: "Prediction locks" },
  "channel.prediction.end": { icon: ICONS.trend, tone: "pink", label: "Prediction ends" },
  "channel.channel_points_custom_reward_redemption.add": { icon: ICONS.sparkle, tone: "teal", label: "Rewards" },
  "channel.shoutout.create": { icon: ICONS.megaphone, tone: "brass", label: "Shoutouts given" },
  "channel.shoutout.receive": { icon: ICONS.megaphone, tone: "brass", label: "Shoutouts received" },
  "channel.ad_break.begin": { icon: ICONS.clock, tone: "slate", label: "Ad breaks" },
};

/** The look of an event type; a bell and the type's own name for one that is not known. */
export function kindOf(eventType: string): Kind {
  const kind = Object.hasOwn(KINDS, eventType) ? KINDS[eventType] : undefined;
  return kind ?? { icon: ICONS.bell, tone: "brass", label: eventType };
}
