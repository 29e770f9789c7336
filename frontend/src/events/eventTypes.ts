/** What belongs together when the feed is filtered, in the order of the filter. */
export const FAMILIES = {
  stream: "Stream",
  updates: "Title & category",
  raids: "Raids",
  followers: "Followers",
  subs: "Subscriptions",
  bits: "Bits",
  hype: "Hype trains",
  polls: "Polls & predictions",
  rewards: "Rewards",
  shoutouts: "Shoutouts",
  ads: "Ad breaks",
  profile: "Profile",
  other: "Other",
} as const;

export type Family = keyof typeof FAMILIES;

/** How a type of event looks, and what people call it. */
export interface Kind {
  /** Path data of a 24 × 24 line icon. */
  icon: string;
  /** A colour of the palette: `.tone-<tone>` in styles/tokens.css. */
  tone: "green" | "slate" | "blue" | "red" | "pink" | "violet" | "teal" | "orange" | "brass";
  label: string;
  family: Family;
  /** One of it and several of it, in a running text. */
  noun: readonly [one: string, many: string];
  /** Comes in bursts, where how many says more than each: the feed shows those together. */
  bursts: boolean;
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

function kind(
  family: Family,
  icon: keyof typeof ICONS,
  tone: Kind["tone"],
  label: string,
  noun: Kind["noun"],
  bursts = false,
): Kind {
  return { icon: ICONS[icon], tone, label, family, noun, bursts };
}

const KINDS: Record<string, Kind> = {
  "stream.online": kind("stream", "broadcast", "green", "Going live", ["start of a stream", "starts of a stream"]),
  "stream.offline": kind("stream", "moon", "slate", "Going offline", ["end of a stream", "ends of a stream"]),
  "channel.update": kind("updates", "pencil", "blue", "Title and category", ["channel update", "channel updates"]),
  "channel.raid": kind("raids", "banner", "red", "Raids", ["raid", "raids"]),
  "user.update": kind("profile", "person", "slate", "Profile", ["profile update", "profile updates"]),
  "channel.follow": kind("followers", "heart", "pink", "Follows", ["new follower", "new followers"], true),
  "channel.subscribe": kind("subs", "star", "violet", "Subscriptions", ["new subscriber", "new subscribers"], true),
  "channel.subscription.gift": kind("subs", "gift", "violet", "Gifts", ["round of gifts", "rounds of gifts"], true),
  "channel.subscription.message": kind(
    "subs",
    "star",
    "violet",
    "Resubscriptions",
    ["resubscription", "resubscriptions"],
    true,
  ),
  "channel.cheer": kind("bits", "gem", "teal", "Cheers", ["cheer", "cheers"], true),
  "channel.hype_train.begin": kind("hype", "flame", "orange", "Hype train begins", ["hype train", "hype trains"]),
  "channel.hype_train.progress": kind(
    "hype",
    "flame",
    "orange",
    "Hype train progress",
    ["step of the hype train", "steps of the hype train"],
    true,
  ),
  "channel.hype_train.end": kind("hype", "flame", "orange", "Hype train ends", [
    "end of a hype train",
    "ends of a hype train",
  ]),
  "channel.poll.begin": kind("polls", "bars", "blue", "Poll begins", ["new poll", "new polls"]),
  "channel.poll.end": kind("polls", "bars", "blue", "Poll ends", ["poll result", "poll results"]),
  "channel.prediction.begin": kind("polls", "trend", "pink", "Prediction begins", [
    "new prediction",
    "new predictions",
  ]),
  "channel.prediction.lock": kind("polls", "trend", "pink", "Prediction locks", [
    "locked prediction",
    "locked predictions",
  ]),
  "channel.prediction.end": kind("polls", "trend", "pink", "Prediction ends", [
    "prediction result",
    "prediction results",
  ]),
  "channel.channel_points_custom_reward_redemption.add": kind(
    "rewards",
    "sparkle",
    "teal",
    "Rewards",
    ["redeemed reward", "redeemed rewards"],
    true,
  ),
  "channel.shoutout.create": kind("shoutouts", "megaphone", "brass", "Shoutouts given", [
    "shoutout given",
    "shoutouts given",
  ]),
  "channel.shoutout.receive": kind("shoutouts", "megaphone", "brass", "Shoutouts received", [
    "shoutout received",
    "shoutouts received",
  ]),
  "channel.ad_break.begin": kind("ads", "clock", "slate", "Ad breaks", ["ad break", "ad breaks"]),
};

/** The event types that have a look of their own. */
export const KNOWN_KINDS = Object.keys(KINDS);

/** The look of an event type; a bell and the type's own name for one that is not known. */
export function kindOf(eventType: string): Kind {
  const known = Object.hasOwn(KINDS, eventType) ? KINDS[eventType] : undefined;
  return known ?? kind("other", "bell", "brass", eventType, ["other event", "other events"]);
}

/** The event types of some families, as the events route takes them. */
export function typesOf(families: ReadonlySet<Family>): string[] {
  return KNOWN_KINDS.filter((eventType) => families.has(kindOf(eventType).family));
}

const count = new Intl.NumberFormat("en");

/** "12 new followers". */
export function tally(n: number, eventType: string): string {
  const [one, many] = kindOf(eventType).noun;
  return `${count.format(n)} ${n === 1 ? one : many}`;
}
