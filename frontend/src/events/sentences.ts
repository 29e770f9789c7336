import type { ChannelEvent } from "../api";
import { formatMoney, formatNumber } from "../format";
import { SUBSCRIPTION_TYPES, type SubscriptionType } from "./subscriptionTypes";
import type { ToldEvent } from "./told";

/**
 * A piece of a sentence: our own words, or what people wrote on Twitch (names, titles, messages), which is isolated
 * from ours because its direction, markup and length can be anything.
 */
export type Part = string | { written: string; as: "name" | "quote" };
export type Sentence = readonly Part[];

/** The most characters of each: more than Twitch allows, and few enough for the rest of the sentence to be read. */
const LONGEST = { user: 36, name: 100, quote: 500 };

/** What people wrote, as a piece of a sentence; the end of what is too long is left out. */
export function written(text: string, kind: keyof typeof LONGEST): Part {
  const characters = Array.from(text);
  const shown = characters.length > LONGEST[kind] ? `${characters.slice(0, LONGEST[kind]).join("")}…` : text;
  return { written: shown, as: kind === "quote" ? "quote" : "name" };
}

type Fields = Record<string, unknown>;

const TOKENS = /“\{([\w.]+)\}”|\{([\w.]+)(?:\?([^}]*))?\}|\[([^\]]*)\]/g;

function object(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

function list(value: unknown): Fields[] {
  return Array.isArray(value) ? value.map(object) : [];
}

function valueOf(fields: Fields, path: string): unknown {
  return path.split(".").reduce<unknown>((value, key) => {
    const inside = object(value);
    return Object.hasOwn(inside, key) ? inside[key] : undefined;
  }, fields);
}

/** Whether a text has something to see: also of names there are some without. */
const VISIBLE = /[^\s\p{Cc}\p{Default_Ignorable_Code_Point}\u2800]/u;

/** A field as text, empty if it is missing: names fall back to logins, numbers are grouped. */
function textOf(fields: Fields, path: string): string {
  const value = valueOf(fields, path);
  const text = typeof value === "string" && VISIBLE.test(value) ? value.trim() : "";
  if (path.endsWith("user_name")) {
    if (fields.is_anonymous === true) return "";
    return text === "" ? textOf(fields, path.replace(/name$/, "login")) : text;
  }
  return typeof value === "number" && Number.isFinite(value) && value !== 0 ? formatNumber(value) : text;
}

/** The name of the user of an event, or the login; empty if it has neither or is anonymous. */
export function nameIn(fields: Fields): string {
  return textOf(fields, "user_name");
}

/**
 * What a sentence may say that is in no field of Twitch's:
 *
 * - `changed`: what an update changed, see `told.ts`;
 * - `winner`: the title of the poll's choice with most votes (none when two have as many) or of the prediction's outcome;
 * - `most_votes`: how many votes the best choice of a poll has;
 * - `others`: the other channels of a shared train;
 * - `donated`, `raised`, `target`: amounts of a charity campaign, as money.
 */
function derivedFields(fields: Fields, changed?: string): Fields {
  const choices = list(fields.choices).map((choice) => (typeof choice.votes === "number" ? choice.votes : 0));
  const most_votes = Math.max(0, ...choices);
  const [best, ...ties] = list(fields.choices).filter((_, index) => choices[index] === most_votes);
  const outcome = list(fields.outcomes).find(({ id }) => id !== undefined && id === fields.winning_outcome_id);
  const winner = outcome ?? (ties.length === 0 ? best : undefined);
  const others = list(fields.shared_train_participants)
    .filter(({ broadcaster_user_id }) => broadcaster_user_id !== fields.broadcaster_user_id)
    .map((channel) => textOf(channel, "broadcaster_user_name"))
    .filter((name) => name !== "");
  return {
    changed,
    winner: winner?.title ?? null,
    most_votes,
    others: others.join(", "),
    donated: moneyOf(fields.amount),
    raised: moneyOf(fields.current_amount),
    target: moneyOf(fields.target_amount),
  };
}

/** Twitch's amount of money as text, empty if it is none. */
function moneyOf(value: unknown): string {
  const { value: amount, currency, decimal_places: decimals } = object(value);
  if (typeof amount !== "number" || typeof currency !== "string" || typeof decimals !== "number") return "";
  try {
    return formatMoney(amount / 10 ** decimals, currency, decimals);
  } catch {
    return "";
  }
}

/**
 * The parts of a text; null if a field in it is empty and it must be `whole`.
 *
 * How an event reads is the `text` of the first entry of its subscription type's `sentence` whose `when` holds (fields
 * with the values they must have; "" is missing, too). In a text
 *
 * - `{field}` is a field of the event, `{message.text}` one inside another; a number is grouped (1,234);
 * - `“{field}”` is what somebody wrote, as a quotation;
 * - `{field?1:viewer|viewers}` chooses words by the field's value, the last ones for every other value;
 * - `[…]` is left out when one of the fields in it is missing, empty or zero.
 *
 * A `{user_name}` (or another `…user_name`) that is missing or anonymous is "somebody". The fields are Twitch's and
 * those of {@link derivedFields}.
 */
function fill(text: string, fields: Fields, whole: boolean): Part[] | null {
  const parts: Part[] = [];
  let end = 0;
  for (const token of text.matchAll(TOKENS)) {
    const [all, quoted, field, choices, optional] = token;
    parts.push(text.slice(end, token.index));
    end = token.index + all.length;
    if (optional !== undefined) {
      parts.push(...(fill(optional, fields, true) ?? []));
    } else if (field !== undefined && choices !== undefined) {
      parts.push(choose(choices, valueOf(fields, field)));
    } else {
      const path = quoted ?? field ?? "";
      const value = textOf(fields, path);
      if (value === "" && whole) return null;
      const isName = path.endsWith("user_name");
      if (typeof valueOf(fields, path) === "number" && !isName) parts.push(value === "" ? "0" : value);
      else if (value !== "") parts.push(written(value, quoted !== undefined ? "quote" : isName ? "user" : "name"));
      else if (isName) parts.push(token.index === 0 ? "Somebody" : "somebody");
    }
  }
  parts.push(text.slice(end));
  return parts;
}

function choose(choices: string, value: unknown): string {
  const words = choices.split("|");
  const other = words.pop() ?? "";
  // An object is none of the choices, and String() may throw for it.
  const chosen = typeof value === "object" ? "" : (value as string | number);
  const fitting = words.find((word) => word.startsWith(`${chosen}:`));
  return fitting === undefined ? other : fitting.slice(fitting.indexOf(":") + 1);
}

/** The parts without empty ones, neighbouring words joined. */
function joined(parts: readonly Part[]): Part[] {
  return parts.reduce<Part[]>((sentence, part) => {
    const last = sentence.at(-1);
    if (typeof part === "string" && typeof last === "string") return [...sentence.slice(0, -1), last + part];
    return part === "" ? sentence : [...sentence, part];
  }, []);
}

/** An event's subscription type: where its event type has several, the one whose condition names the channel. */
function subscriptionTypeOf({ event_type, streamer_id, payload }: ChannelEvent): SubscriptionType | undefined {
  const types = SUBSCRIPTION_TYPES.filter((type) => type.event_type === event_type);
  return (
    types.find(({ condition }) =>
      Object.entries(condition).every(([field, role]) => role !== "streamer" || payload[field] === streamer_id),
    ) ?? types[0]
  );
}

/** `channel.guest_star_session.begin` as words: a type that Twitch adds later still reads sensibly. */
function words(eventType: string): string {
  const text = eventType.replace(/^channel\./, "").replace(/[._]+/g, " ").trim();
  return text === "" ? "Something happened" : text.charAt(0).toUpperCase() + text.slice(1);
}

/** What happened, for people. Never throws: fields that Twitch left out or changed make the sentence shorter. */
export function sentence(event: ToldEvent): Sentence {
  const fields = { ...event.payload, ...derivedFields(event.payload, event.changed) };
  const variant = subscriptionTypeOf(event)?.sentence.find(({ when = {} }) =>
    Object.entries(when).every(([path, value]) => (value === "" ? textOf(fields, path) : valueOf(fields, path)) === value),
  );
  return variant ? joined(fill(variant.text, fields, false) ?? []) : [words(event.event_type)];
}
