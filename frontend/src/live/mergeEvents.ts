import type { ChannelEvent } from "../api";

/** How many events are held: more than are shown, so that bursts can be counted and types be filtered. */
export const FEED_SIZE = 300;

/** Where an event was learnt from: the live socket, or the record of the channel's events. */
type Source = "live" | "recorded";

export interface FeedItem {
  readonly event: ChannelEvent;
  readonly source: Source;
}

/**
 * Newest first by Twitch's clock, since queues do not keep the order. Times of the same millisecond are compared as
 * strings, for their finer digits.
 */
function newestFirst(a: FeedItem, b: FeedItem): number {
  return (
    Date.parse(b.event.occurred_at) - Date.parse(a.event.occurred_at) ||
    compare(b.event.occurred_at, a.event.occurred_at) ||
    compare(b.event.id, a.event.id)
  );
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Adds events to the feed: each id once, newest first, at most so many ({@link FEED_SIZE}).
 *
 * An event can come live, from the record, or both, any number of times and in any order. The recorded version
 * wins, because its `created_at` is the one that everybody else sees. An event that only came live stays:
 * the recorder may not have stored it yet.
 */
export function merge(
  feed: readonly FeedItem[],
  events: readonly ChannelEvent[],
  source: Source,
  most = FEED_SIZE,
): FeedItem[] {
  const items = new Map(feed.map((item) => [item.event.id, item]));
  for (const event of events) {
    if (source === "recorded" || items.get(event.id)?.source !== "recorded") {
      items.set(event.id, { event, source });
    }
  }
  return [...items.values()].sort(newestFirst).slice(0, most);
}
