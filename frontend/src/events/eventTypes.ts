import { formatNumber } from "../format";
import { ICONS } from "./icons";
import { SUBSCRIPTION_TYPES } from "./subscriptionTypes";

/** Groups of event types, as the feed is filtered by, in the order of the filter. */
export const FAMILIES = {
  stream: "Stream",
  updates: "Title & category",
  raids: "Raids",
  followers: "Followers",
  subs: "Subscriptions",
  bits: "Bits",
  hype: "Hype trains",
  charity: "Charity",
  goals: "Goals",
  polls: "Polls & predictions",
  rewards: "Rewards",
  shoutouts: "Shoutouts",
  ads: "Ad breaks",
  profile: "Profile",
  other: "Other",
} as const;

export type Family = keyof typeof FAMILIES;

/** How a type of event looks, and what people call it: `display` in the table of subscription types. */
export interface Display {
  family: Family;
  icon: keyof typeof ICONS;
  /** A colour of the palette: `.tone-<tone>` in styles/tokens.css. */
  tone: string;
  label: string;
  /** Singular and plural, in a running text. */
  noun: readonly [one: string, many: string];
  /** Whether its events come in bursts, which the feed shows as one row. */
  bursts?: boolean;
}

const DISPLAYS = new Map(
  SUBSCRIPTION_TYPES.flatMap(({ event_type, display }) => (display ? [[event_type, display as Display]] : [])),
);

/** The event types that Fanfare subscribes to. */
export const EVENT_TYPES: readonly string[] = [...DISPLAYS.keys()];

/** How an event type looks; a bell and the type's own name for one that is not known. */
export function displayOf(eventType: string): Display {
  return (
    DISPLAYS.get(eventType) ?? {
      family: "other",
      icon: "bell",
      tone: "brass",
      label: eventType,
      noun: ["other event", "other events"],
    }
  );
}

/** The event types of some families, as the events route takes them. */
export function typesOf(families: ReadonlySet<Family>): string[] {
  return EVENT_TYPES.filter((eventType) => families.has(displayOf(eventType).family));
}

/** "12 new followers". */
export function tally(n: number, eventType: string): string {
  const [one, many] = displayOf(eventType).noun;
  return `${formatNumber(n)} ${n === 1 ? one : many}`;
}
