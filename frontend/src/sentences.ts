import type { ChannelEvent } from "./live/events";

/**
 * A piece of a sentence: our own words as they are; what people wrote on Twitch (names, titles, messages) apart, so
 * that it can be isolated from ours. Its direction, its markup and its length are theirs.
 */
export type Part = string | { written: string; as: "name" | "quote" };
export type Sentence = readonly Part[];

type Fields = Record<string, unknown>;

const count = new Intl.NumberFormat("en");

function plural(n: number, one: string, many = `${one}s`): string {
  return `${count.format(n)} ${n === 1 ? one : many}`;
}

function string(fields: Fields, key: string): string {
  const value = fields[key];
  return typeof value === "string" ? value.trim() : "";
}

function number(fields: Fields, key: string): number {
  const value = fields[key];
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

function object(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function list(fields: Fields, key: string): Fields[] {
  const value = fields[key];
  return Array.isArray(value) ? value.map(object) : [];
}

/** Who did it: `prefix` is the field family (`user`, `broadcaster_user`, ...). Anonymous people have no name. */
function who(fields: Fields, prefix: string): Part {
  const name = string(fields, `${prefix}_name`) || string(fields, `${prefix}_login`);
  return name === "" || fields.is_anonymous === true ? "Someone" : named(name);
}

function named(text: string): Part {
  return { written: text, as: "name" };
}

function quote(text: string): Part {
  return { written: text, as: "quote" };
}

/** `before` and the quoted text, or nothing if there is no text. */
function quoted(before: string, text: string): Part[] {
  return text === "" ? [] : [before, quote(text)];
}

/** Twitch's tiers are `1000`, `2000` and `3000`; Prime counts as the first. */
function tier(fields: Fields): string {
  return `Tier ${{ "2000": "2", "3000": "3" }[string(fields, "tier")] ?? "1"}`;
}

const STREAMS: Record<string, string> = {
  playlist: " started a playlist",
  watch_party: " started a watch party",
  premiere: " started a premiere",
  rerun: " started a rerun",
};

function raid(fields: Fields, event: ChannelEvent): Sentence {
  const viewers = ` with ${plural(number(fields, "viewers"), "viewer")}`;
  return event.streamer_id === string(fields, "from_broadcaster_user_id")
    ? [who(fields, "from_broadcaster_user"), " raided ", who(fields, "to_broadcaster_user"), viewers]
    : [who(fields, "from_broadcaster_user"), " raided", viewers];
}

/** One update tells title and category together; what changed can only be told beside the update before it. */
function update(fields: Fields, _event: ChannelEvent, before?: ChannelEvent): Sentence {
  const title = string(fields, "title");
  const category = string(fields, "category_name");
  const channel = who(fields, "broadcaster_user");
  if (before) {
    const sameTitle = string(before.payload, "title") === title;
    const sameCategory = string(before.payload, "category_name") === category;
    if (sameTitle && !sameCategory && category !== "") return [channel, " is now playing ", named(category)];
    if (sameCategory && !sameTitle && title !== "") return [channel, " changed the title to ", quote(title)];
  }
  const playing: Part[] = category === "" ? [] : [", playing ", named(category)];
  if (title === "") return [channel, " updated the channel", ...playing];
  return [channel, " set the title to ", quote(title), ...playing];
}

function resubscribed(fields: Fields): Sentence {
  const streak = number(fields, "streak_months");
  return [
    who(fields, "user"),
    ` subscribed for ${plural(number(fields, "cumulative_months"), "month")} at ${tier(fields)}`,
    streak > 1 ? `, ${count.format(streak)} in a row` : "",
    ...quoted(": ", string(object(fields.message), "text")),
  ];
}

function gifted(fields: Fields): Sentence {
  const total = number(fields, "total");
  const sofar = number(fields, "cumulative_total");
  return [
    who(fields, "user"),
    ` gifted ${count.format(total)} ${tier(fields)} ${total === 1 ? "subscription" : "subscriptions"}`,
    sofar > total ? `, ${count.format(sofar)} so far` : "",
  ];
}

function pollEnded(fields: Fields): Sentence {
  const start: Part[] = ["The poll ", quote(string(fields, "title"))];
  if (string(fields, "status") === "terminated") return [...start, " was ended early"];
  const choices = list(fields, "choices").sort((a, b) => number(b, "votes") - number(a, "votes"));
  const [best, second] = choices;
  const votes = best ? number(best, "votes") : 0;
  if (!best || votes === 0) return [...start, " ended without votes"];
  if (second && number(second, "votes") === votes) return [...start, ` ended in a tie at ${plural(votes, "vote")}`];
  return [...start, " ended: ", quote(string(best, "title")), ` won with ${plural(votes, "vote")}`];
}

function predictionEnded(fields: Fields): Sentence {
  const start: Part[] = ["The prediction ", quote(string(fields, "title"))];
  if (string(fields, "status") === "canceled") return [...start, " was cancelled"];
  const winner = list(fields, "outcomes").find((outcome) => outcome.id === fields.winning_outcome_id);
  return [...start, " ended", ...quoted(": it was ", winner ? string(winner, "title") : "")];
}

const SENTENCES: Record<string, (fields: Fields, event: ChannelEvent, before?: ChannelEvent) => Sentence> = {
  "stream.online": (f) => [who(f, "broadcaster_user"), STREAMS[string(f, "type")] ?? " went live"],
  "stream.offline": (f) => [who(f, "broadcaster_user"), " ended the stream"],
  "channel.update": update,
  "channel.raid": raid,
  "user.update": (f) => [who(f, "user"), " updated their profile", ...quoted(": ", string(f, "description"))],
  "channel.follow": (f) => [who(f, "user"), " followed"],
  "channel.subscribe": (f) =>
    f.is_gift === true
      ? [who(f, "user"), ` got a ${tier(f)} subscription as a gift`]
      : [who(f, "user"), ` subscribed at ${tier(f)}`],
  "channel.subscription.gift": gifted,
  "channel.subscription.message": resubscribed,
  "channel.cheer": (f) => [
    who(f, "user"),
    ` cheered ${plural(number(f, "bits"), "bit")}`,
    ...quoted(": ", string(f, "message")),
  ],
  "channel.hype_train.begin": (f) => [`A hype train set off at level ${count.format(number(f, "level") || 1)}`],
  "channel.hype_train.progress": (f) => [`The hype train is at level ${count.format(number(f, "level") || 1)}`],
  "channel.hype_train.end": (f) => [`The hype train ended at level ${count.format(number(f, "level") || 1)}`],
  "channel.poll.begin": (f) => ["A poll began: ", quote(string(f, "title"))],
  "channel.poll.end": pollEnded,
  "channel.prediction.begin": (f) => ["A prediction began: ", quote(string(f, "title"))],
  "channel.prediction.lock": (f) => ["The prediction ", quote(string(f, "title")), " takes no more points"],
  "channel.prediction.end": predictionEnded,
  "channel.channel_points_custom_reward_redemption.add": (f) => [
    who(f, "user"),
    " redeemed ",
    named(string(object(f.reward), "title")),
    ...quoted(": ", string(f, "user_input")),
  ],
  "channel.shoutout.create": (f) => [
    who(f, "broadcaster_user"),
    " gave a shoutout to ",
    who(f, "to_broadcaster_user"),
  ],
  "channel.shoutout.receive": (f) => [who(f, "from_broadcaster_user"), " gave this channel a shoutout"],
  "channel.ad_break.begin": (f) => {
    const seconds = number(f, "duration_seconds");
    return [seconds > 0 ? `An ad break of ${plural(seconds, "second")} began` : "An ad break began"];
  },
};

/** The types of event that have a sentence of their own. */
export const KNOWN_TYPES = Object.keys(SENTENCES);

/** `channel.guest_star_session.begin` as words: a type that Twitch adds later still reads sensibly. */
function words(eventType: string): string {
  const text = eventType.replace(/^channel\./, "").replace(/[._]+/g, " ").trim();
  return text === "" ? "Something happened" : text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * What happened, for people. `before` is the channel's previous event of the same type, if known.
 * Never throws: fields that Twitch left out or changed make the sentence shorter, not the page break.
 */
export function sentence(event: ChannelEvent, before?: ChannelEvent): Sentence {
  const make = Object.hasOwn(SENTENCES, event.event_type) ? SENTENCES[event.event_type] : undefined;
  return make ? make(event.payload, event, before) : [words(event.event_type)];
}

/** A sentence as one line of text. */
export function plainText(parts: Sentence): string {
  return parts
    .map((part) => (typeof part === "string" ? part : part.as === "quote" ? `“${part.written}”` : part.written))
    .join("");
}
