import type { ChannelEvent } from "../api";

/** An event as it is told. */
export interface ToldEvent extends ChannelEvent {
  /** What an update of the channel changed (see {@link changes}); undefined if the update before it is not known. */
  readonly changed?: string;
}

/** How long before or after a gift (ms) its recipients may be told. */
const SAME_GIFT = 60_000;

/** The fields of `channel.update` that can be changed, as {@link changes} calls them. */
const UPDATED = { title: "title", category_name: "category", language: "language", content_classification_labels: "labels" };

/**
 * The id of what an event is about. A poll ends once, though Twitch tells `terminated` and later `archived` in two
 * events; so does whatever else has an id of its own. Only steps of progress have the same id and are told each.
 */
export function thingOf({ id, event_type, payload }: ChannelEvent): string {
  const own = event_type.endsWith(".progress") ? "" : payload.id;
  return typeof own === "string" && own !== "" ? `${event_type} ${own}` : id;
}

/** Whether an event is the subscription of somebody who was given it: the gift has an event of its own. */
export function isRecipient({ event_type, payload }: ChannelEvent): boolean {
  return event_type === "channel.subscribe" && payload.is_gift === true;
}

/**
 * The events that tell something of their own, in the order given, newest first:
 *
 * - what is about the same thing is one event: it stays where it first was, and says what Twitch said last;
 * - an update that changes nothing is left out;
 * - the recipients of a gift belong to it, though Twitch does not say to which, if there are several;
 * - Twitch tells a cheer twice, as `channel.cheer` and as bits that were used: it is told as a cheer.
 */
export function worthTelling(events: readonly ChannelEvent[]): ToldEvent[] {
  const gifts = events.filter(({ event_type }) => event_type === "channel.subscription.gift").map(timeOf);
  const told = new Map<string, ToldEvent>();
  let update: ChannelEvent | undefined;
  for (const event of [...events].reverse()) {
    const first = told.get(thingOf(event));
    if (first) {
      told.set(thingOf(event), { ...first, payload: event.payload });
    } else if (event.event_type === "channel.update") {
      const changed = update && changes(event.payload, update.payload);
      update = event;
      if (changed !== "") told.set(thingOf(event), changed === undefined ? event : { ...event, changed });
    } else if (!isCheerAgain(event) && !(isRecipient(event) && gifts.some((gift) => isNear(gift, timeOf(event))))) {
      told.set(thingOf(event), event);
    }
  }
  return [...told.values()].reverse();
}

/**
 * What differs between two updates of a channel: "title", "category" or "title+category"; if neither does, "language",
 * "labels" or "language+labels"; "" if nothing does. A field that one of them lacks tells nothing.
 */
function changes(now: ChannelEvent["payload"], before: ChannelEvent["payload"]): string {
  const differing = Object.entries(UPDATED).flatMap(([field, name]) => {
    const [after, earlier] = [comparable(now[field]), comparable(before[field])];
    return after === null || earlier === null || after === earlier ? [] : [name];
  });
  const main = differing.filter((name) => name === "title" || name === "category");
  return (main.length > 0 ? main : differing).join("+");
}

function comparable(value: unknown): string | null {
  if (Array.isArray(value)) return JSON.stringify(value.map(String).sort());
  return typeof value === "string" ? value.trim() : null;
}

function isCheerAgain({ event_type, payload }: ChannelEvent): boolean {
  return event_type === "channel.bits.use" && payload.type === "cheer";
}

function timeOf({ occurred_at }: ChannelEvent): number {
  return Date.parse(occurred_at);
}

function isNear(a: number, b: number): boolean {
  return Math.abs(a - b) < SAME_GIFT;
}
